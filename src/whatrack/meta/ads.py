"""An ad as the Marketing API tells it: its name, ad set, campaign and account.

Sources: Meta, "Ad" and "Multiple IDs" <https://developers.facebook.com/documentation/ads-commerce/marketing-api/reference/ad-account>,
read 2026-11. account_id has no act_ in front.
"""

from collections.abc import Sequence

import msgspec

from whatrack.meta.calls import Token
from whatrack.meta.errors import BadRequest
from whatrack.meta.graph import MAX_IDS, Graph

FIELDS = "id,name,effective_status,account_id,adset{id,name},campaign{id,name}"


class Named(msgspec.Struct, frozen=True):
    """An id and what it is called."""

    id: str
    name: str | None = None


class Ad(msgspec.Struct, frozen=True):
    """An ad. effective_status: ACTIVE, PAUSED … DELETED; a deleted one is still told for a while."""

    id: str
    name: str | None = None
    effective_status: str | None = None
    account_id: str | None = None
    adset: Named | None = None
    campaign: Named | None = None

    @property
    def is_ad(self) -> bool:
        """Whether the node is one: a post or page with this id has no account and no campaign."""
        return self.account_id is not None and self.campaign is not None


class Seen(msgspec.Struct, frozen=True):
    """What one token sees. ads: by id; not_ads: ids of other things, such as posts. The rest it does not see."""

    ads: dict[str, Ad]
    not_ads: set[str]


async def read_ads(graph: Graph, token: Token, ids: Sequence[str], *, account: str | None = None) -> Seen:
    """Ads by id, 50 a call. What is no ad makes Meta refuse the fields of all: refused calls are halved until it is found."""
    seen = Seen({}, set())
    waiting = [list(ids[start : start + MAX_IDS]) for start in range(0, len(ids), MAX_IDS)]
    while waiting:
        some = waiting.pop()
        try:
            found = await graph.by_ids(some, token, Ad, fields=FIELDS, account=account)
        except BadRequest:
            if len(some) == 1:
                seen.not_ads.add(some[0])
            else:
                waiting += [some[: len(some) // 2], some[len(some) // 2 :]]
            continue
        for ad_id, ad in found.items():
            if ad.is_ad:
                seen.ads[ad_id] = ad
            else:
                seen.not_ads.add(ad_id)
    return seen
