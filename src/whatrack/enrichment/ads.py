"""Looking ads up at Meta: 50 a call, per ad and not per ticket, with the token of whoever sees them; no call in a transaction.

The profile that sees the ad's account is asked first, where that is known; else each profile until one sees it. What nobody
sees ends in a reason of its own, is remembered, and asked for again with growing pauses or when a profile is added:
not_an_ad · no_access (not there, or nobody sees its account) · token_dead · no_profile. A deleted ad that Meta still tells is
named, with the remark `deleted`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial
from uuid import UUID

import msgspec

from whatrack.attribution import tracking
from whatrack.connections import profiles, tokens
from whatrack.connections.keys import Held, Keys
from whatrack.db import Connection
from whatrack.db import now as clock
from whatrack.enrichment import catalog
from whatrack.enrichment.catalog import CatalogAd, Wanted
from whatrack.meta.ads import Ad, Seen, read_ads
from whatrack.meta.errors import GraphError, MissingPermission, NotVisible, Throttled, TokenDead
from whatrack.meta.graph import Graph

Scope = Callable[[], AbstractAsyncContextManager[Connection]]
Answered = Callable[[Connection, UUID, list[str]], Awaitable[object]]


class Question(msgspec.Struct):
    """Ads to ask for, whose tokens to ask with, and what was learned so far."""

    organization_id: UUID
    ads: list[str]
    attempts: dict[str, int]
    holders: list[Held]
    has_profiles: bool
    found: dict[str, Ad] = {}
    not_ads: set[str] = set()
    dead: list[tuple[Held, GraphError]] = []
    trouble: GraphError | None = None

    @property
    def left(self) -> list[str]:
        """What nobody has shown yet."""
        return [ad for ad in self.ads if ad not in self.found and ad not in self.not_ads]


class Enricher:
    """Names ads. scope: a transaction over all organizations; answered: told of ads that are settled, in their transaction."""

    def __init__(self, scope: Scope, graph: Graph, keys: Keys, answered: Answered) -> None:
        self._scope = scope
        self._graph = graph
        self._keys = keys
        self._answered = answered

    async def step(self) -> bool:
        """Name up to 50 ads of one organization; whether more may wait."""
        async with self._scope() as conn:
            wanted = await catalog.due(conn)
            if not wanted:
                return False
        await self._settle_known(wanted)
        async with self._scope() as conn:
            question = await self._prepare(conn, wanted)
        if question is not None:
            await self._ask(question)
            await self._write(question)
        return True

    async def refresh(self) -> bool:
        """Ask anew for names that are a day old; whether more may be."""
        async with self._scope() as conn:
            stale = await catalog.stale(conn)
            if stale is None:
                return False
            organization_id, account, ads = stale
            question = await _question(conn, organization_id, ads, {}, account)
        await self._ask(question)
        async with self._scope() as conn:
            await catalog.put(conn, organization_id, [_as_catalogued(ad) for ad in question.found.values()])
            if _reason(question) == "no_access":  # trouble and dead tokens say nothing about an ad
                await catalog.gone(conn, organization_id, question.left)
            await _report(conn, question)
        return True

    async def _settle_known(self, wanted: list[Wanted]) -> None:
        """Do what needs no call."""
        organization_id = wanted[0].organization_id
        fresh = [each.meta_ad_id for each in wanted if each.fresh]
        await self._onto_tickets(organization_id, fresh, _refused(wanted))
        if fresh:
            async with self._scope() as conn:
                await self._answered(conn, organization_id, fresh)

    async def _onto_tickets(self, organization_id: UUID, named: list[str], refused: dict[str, str]) -> None:
        """Write what is known onto the tickets that wait for it, in pieces with a transaction each: whoever writes to them
        meanwhile waits for one piece at most. Between full pieces it rests as long as the last one took: the first profile
        of a large organization names a million tickets, and new ones should not wait for that."""
        clock = asyncio.get_running_loop().time
        for write in (partial(catalog.name_known, ads=named), partial(tracking.give_up_ads, reasons=refused)):
            written = tracking.AT_ONCE if named or refused else 0
            while written == tracking.AT_ONCE:
                began = clock()
                async with self._scope() as conn:
                    written = await write(conn, organization_id)
                if written == tracking.AT_ONCE:
                    await asyncio.sleep(clock() - began)

    async def _prepare(self, conn: Connection, wanted: list[Wanted]) -> Question | None:
        """Lease to this process what needs a call."""
        organization_id = wanted[0].organization_id
        refused = _refused(wanted)
        asked = {
            each.meta_ad_id: each for each in wanted if not each.fresh and each.meta_ad_id not in refused
        }
        mine = await catalog.lease(conn, organization_id, asked)
        if not mine:
            return None
        accounts = {asked[ad].meta_account_id for ad in mine}
        account = accounts.pop() if len(accounts) == 1 else None
        attempts = {ad: asked[ad].attempts for ad in mine}
        return await _question(conn, organization_id, mine, attempts, account)

    async def _ask(self, question: Question) -> None:
        for held in question.holders:
            left = question.left
            if not left:
                return
            try:
                seen = await read_ads(self._graph, self._keys.token(held), left)
            except TokenDead as error:
                question.dead.append((held, error))
            except (MissingPermission, NotVisible):
                continue
            except GraphError as error:  # a limit, or trouble: nobody knows yet
                question.trouble = error
            else:
                _learn(question, seen)

    async def _write(self, question: Question) -> None:
        """The catalog, then the tickets, and last what lets the ads go: a crash before that has them asked for again."""
        organization_id = question.organization_id
        async with self._scope() as conn:
            await catalog.put(conn, organization_id, [_as_catalogued(ad) for ad in question.found.values()])
        reason = _reason(question)
        reasons = dict.fromkeys(question.not_ads, "not_an_ad") | dict.fromkeys(question.left, reason)
        ended = {ad: why for ad, why in reasons.items() if why not in catalog.PASSING}
        await self._onto_tickets(organization_id, list(question.found), ended)
        wait = None
        if reason == "throttled" and isinstance(question.trouble, Throttled):
            wait = timedelta(seconds=question.trouble.retry_after_s)
        async with self._scope() as conn:
            await catalog.found(conn, organization_id, list(question.found))
            now = await clock(conn)
            await catalog.refused(conn, organization_id, reasons, question.attempts, now, wait)
            settled = [ad for ad in question.ads if reasons.get(ad) not in catalog.PASSING]
            await self._answered(conn, organization_id, settled)
            await _report(conn, question)


async def _question(
    conn: Connection, organization_id: UUID, ads: list[str], attempts: dict[str, int], account: str | None
) -> Question:
    working = [each.held for each in await tokens.working(conn, organization_id)]
    first = await tokens.token_for_account(conn, organization_id, account) if account else []
    holders = [*first, *(each for each in working if each not in first)]
    everyone = await profiles.everyone(conn, organization_id)
    return Question(organization_id, list(ads), attempts, holders, bool(everyone))


def _refused(wanted: list[Wanted]) -> dict[str, str]:
    """The ads that were refused for good and whose pause is not over, with the reason."""
    return {
        each.meta_ad_id: each.reason
        for each in wanted
        if not each.fresh and each.later and each.reason and each.reason not in catalog.PASSING
    }


async def _report(conn: Connection, question: Question) -> None:
    for held, error in question.dead:
        await tokens.report(conn, held, error)


def _learn(question: Question, seen: Seen) -> None:
    question.found |= seen.ads
    question.not_ads |= seen.not_ads


def _reason(question: Question) -> str:
    """Why what is left was not found."""
    if isinstance(question.trouble, Throttled):
        return "throttled"
    if question.trouble is not None:
        return "transient"
    if not question.has_profiles:
        return "no_profile"
    return "token_dead" if question.dead or not question.holders else "no_access"


def _as_catalogued(ad: Ad) -> CatalogAd:
    adset, campaign = ad.adset, ad.campaign
    return CatalogAd(
        id=ad.id,
        name=ad.name,
        status=ad.effective_status,
        ad_set_id=adset.id if adset else None,
        ad_set_name=adset.name if adset else None,
        campaign_id=campaign.id if campaign else None,
        campaign_name=campaign.name if campaign else None,
        account_id=ad.account_id or "",
    )
