"""What a report is asked about and its organization does not have: ids are found or named, never silently summed to zero."""

from collections.abc import Sequence
from typing import Literal, LiteralString
from uuid import UUID

import msgspec

from whatrack.db import Connection
from whatrack.errors import bad_value
from whatrack.roi.ask import Ask

Field = Literal["account", "profile", "campaign", "adset", "ad"]
FIND: LiteralString = """
SELECT 'account', v FROM unnest(%(account)s::text[]) AS v WHERE NOT EXISTS (SELECT FROM meta_ad_accounts a
    WHERE a.organization_id = %(organization)s AND a.ad_account_id IN (v, 'act_' || v))
UNION ALL SELECT 'profile', v FROM unnest(%(profile)s::text[]) AS v WHERE NOT EXISTS (SELECT FROM meta_connections c
    WHERE c.organization_id = %(organization)s AND c.id::text = lower(v))
UNION ALL SELECT 'campaign', v FROM unnest(%(campaign)s::text[]) AS v WHERE v <> '' AND NOT EXISTS (SELECT FROM meta_ads m
    WHERE m.organization_id = %(organization)s AND m.meta_campaign_id = v)
UNION ALL SELECT 'adset', v FROM unnest(%(adset)s::text[]) AS v WHERE v <> '' AND NOT EXISTS (SELECT FROM meta_ads m
    WHERE m.organization_id = %(organization)s AND m.meta_ad_set_id = v)
UNION ALL SELECT 'ad', v FROM unnest(%(ad)s::text[]) AS v WHERE NOT EXISTS (SELECT FROM meta_ads m
    WHERE m.organization_id = %(organization)s AND m.meta_ad_id = v)
"""
REMEDIES: dict[Field, str] = {
    "account": "GET /api/v1/meta-ads/ad-accounts lists them.",
    "profile": "GET /api/v1/meta-ads/connections lists them.",
    "campaign": "Leave it out, or take an id from rows of level=campaign.",
    "adset": "Leave it out, or take an id from rows of level=adset.",
    "ad": "Leave it out, or take an id from rows of level=ad.",
}
NAMES: dict[Field, str] = {
    "account": "ad account",
    "profile": "profile",
    "campaign": "campaign",
    "adset": "ad set",
    "ad": "ad",
}


class Unknown(msgspec.Struct, frozen=True):
    """A value of a filter that nothing of the organization's has."""

    field: Field
    value: str


async def find(
    conn: Connection, organization_id: UUID, ask: Ask, profiles: Sequence[str] | None = None
) -> list[Unknown]:
    """All of them, in the order of the fields; no statement where nothing is filtered. profiles: as typed, where they are no ids."""
    asked: dict[str, list[str]] = {
        "account": [*ask.accounts, *_within(ask, "account")],
        "profile": [*(ask.profiles if profiles is None else profiles)],
        **{kind: _within(ask, kind) for kind in ("campaign", "adset", "ad")},
    }
    if not any(asked.values()):
        return []
    rows = await (await conn.execute(FIND, {"organization": organization_id, **asked})).fetchall()
    return [Unknown(field, value) for field, value in rows]


async def refuse(conn: Connection, organization_id: UUID, ask: Ask) -> None:
    """Refused (422) naming the first field that has such values, the values, and where those there are can be found."""
    found = await find(conn, organization_id, ask)
    if not found:
        return
    field = found[0].field
    values = ", ".join(dict.fromkeys(each.value[:64] for each in found if each.field == field))
    raise bad_value(field, f"There is no {NAMES[field]} {values} here. {REMEDIES[field]}")


def _within(ask: Ask, kind: str) -> list[str]:
    return [parent.id for parent in ask.within if parent.kind == kind]
