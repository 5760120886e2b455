"""Ad accounts: what Meta tells of them, which profiles see them, and what was decided. One writer of both their tables.

One row an account, however many profiles see it. Listing never touches a decision: not whether it is on, nor its dataset,
nor whose token comes first.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.errors import NotFound, Refused
from whatrack.meta.ids import act_account
from whatrack.tenants import audit
from whatrack.tenants.access import Access
from whatrack.units import new_id

COLUMNS: LiteralString = """
a.organization_id, a.id, a.ad_account_id, a.ad_account_name, a.account_status, a.currency, a.timezone_name, a.business_name,
a.connection_id, a.pixel_id, a.pixel_name, a.pixel_confirmed, a.is_active, a.version, a.seen_at, a.updated_at
"""
# Sorted, so that two listings lock in one order. A profile that is gone leaves connection_id null: the next one fills it.
PUT_ALL: LiteralString = """
INSERT INTO meta_ad_accounts AS a (organization_id, id, ad_account_id, ad_account_name, account_status, currency, timezone_name,
    business_name, connection_id, seen_at)
SELECT %(organization)s, t.id, t.ad_account_id, t.name, t.status, t.currency, t.zone, t.business, %(profile)s, now()
FROM unnest(%(ids)s::uuid[], %(accounts)s::text[], %(names)s::text[], %(statuses)s::int[], %(currencies)s::text[],
    %(zones)s::text[], %(businesses)s::text[]) AS t (id, ad_account_id, name, status, currency, zone, business)
ORDER BY t.ad_account_id
ON CONFLICT (organization_id, ad_account_id) DO UPDATE SET ad_account_name = excluded.ad_account_name,
    account_status = excluded.account_status, currency = excluded.currency, timezone_name = excluded.timezone_name,
    business_name = excluded.business_name, connection_id = coalesce(a.connection_id, excluded.connection_id),
    seen_at = now()
"""
SEE: LiteralString = """
INSERT INTO meta_ad_account_access (organization_id, account_id, connection_id)
SELECT organization_id, id, %(profile)s FROM meta_ad_accounts
WHERE organization_id = %(organization)s AND ad_account_id = ANY(%(accounts)s)
ON CONFLICT DO NOTHING
"""
SEE_NO_MORE: LiteralString = """
DELETE FROM meta_ad_account_access AS s USING meta_ad_accounts a
WHERE s.organization_id = %(organization)s AND s.connection_id = %(profile)s
  AND a.organization_id = s.organization_id AND a.id = s.account_id AND NOT a.ad_account_id = ANY(%(accounts)s)
"""
# An account is shown while some profile sees it or something was decided about it. Read by meta_ad_accounts_folded; the rest
# of the filter is applied to one organization's rows, of which there are thousands at most.
PAGE: LiteralString = f"""
SELECT {COLUMNS} FROM meta_ad_accounts a
WHERE a.organization_id = %(organization)s
  AND (a.is_active OR a.pixel_id IS NOT NULL OR EXISTS (SELECT FROM meta_ad_account_access s
       WHERE s.organization_id = a.organization_id AND s.account_id = a.id))
  AND (%(active)s::bool IS NULL OR a.is_active = %(active)s)
  AND (%(profile)s::uuid IS NULL OR EXISTS (SELECT FROM meta_ad_account_access s
       WHERE s.organization_id = a.organization_id AND s.account_id = a.id AND s.connection_id = %(profile)s))
  AND (%(text)s::text IS NULL OR position(folded(%(text)s) IN a.folded_name) > 0
       OR starts_with(a.ad_account_id, 'act_' || %(text)s) OR starts_with(a.ad_account_id, %(text)s))
  AND (%(after_name)s::text IS NULL OR (a.folded_name, a.id) > (folded(%(after_name)s), %(after_id)s))
ORDER BY a.folded_name, a.id LIMIT %(limit)s
"""  # noqa: S608 - constants only
ONE: LiteralString = (
    f"SELECT {COLUMNS} FROM meta_ad_accounts a WHERE a.organization_id = %s AND a.ad_account_id = %s"  # noqa: S608 - constants only
)
ONE_BY_ID: LiteralString = (
    f"SELECT {COLUMNS} FROM meta_ad_accounts a WHERE a.organization_id = %s AND a.id = %s"  # noqa: S608 - constants only
)
SEEN_BY: LiteralString = """
SELECT account_id, array_agg(connection_id) FROM meta_ad_account_access WHERE organization_id = %s AND account_id = ANY(%s)
GROUP BY account_id
"""
ONLY_SEEN_BY: LiteralString = """
SELECT a.ad_account_name FROM meta_ad_account_access s
JOIN meta_ad_accounts a ON a.organization_id = s.organization_id AND a.id = s.account_id AND a.is_active
WHERE s.organization_id = %(organization)s AND s.connection_id = %(profile)s AND NOT EXISTS (SELECT FROM meta_ad_account_access o
    JOIN meta_connections c ON c.organization_id = o.organization_id AND c.id = o.connection_id AND c.status = 'ACTIVE'
    WHERE o.organization_id = s.organization_id AND o.account_id = s.account_id AND o.connection_id <> s.connection_id)
ORDER BY a.folded_name LIMIT 20
"""
COUNTS: LiteralString = (
    "SELECT count(*), count(*) FILTER (WHERE is_active) FROM meta_ad_accounts WHERE organization_id = %s"
)
CONFIGURE: LiteralString = """
UPDATE meta_ad_accounts SET is_active = %(is_active)s, pixel_id = %(pixel_id)s, pixel_name = %(pixel_name)s,
    pixel_confirmed = %(pixel_confirmed)s, version = version + 1, updated_at = now()
WHERE organization_id = %(organization)s AND id = %(id)s AND version = %(version)s
"""
MARK_LISTED: LiteralString = """
UPDATE meta_connections SET listed_at = now(), list_error = NULL, list_after = now() + interval '6 hours'
WHERE organization_id = %s AND id = %s
"""
BEGIN_LIST: LiteralString = """
UPDATE meta_connections SET list_after = now() + interval '5 minutes' WHERE organization_id = %s AND id = %s
"""
MARK_NOT_LISTED: LiteralString = """
UPDATE meta_connections SET list_error = %s, list_after = now() + interval '1 second' * %s WHERE organization_id = %s AND id = %s
"""


class AdAccount(msgspec.Struct, frozen=True):
    """An account and what was decided. pixel_confirmed: chosen although not linked to the organization's WhatsApp."""

    organization_id: UUID
    id: UUID
    ad_account_id: str
    ad_account_name: str
    account_status: int
    currency: str
    timezone_name: str
    business_name: str | None
    connection_id: UUID | None
    pixel_id: str | None
    pixel_name: str | None
    pixel_confirmed: bool
    is_active: bool
    version: int
    seen_at: datetime
    updated_at: datetime


class Listed(msgspec.Struct, frozen=True):
    """An account as a profile's list tells it."""

    ad_account_id: str
    name: str
    status: int
    currency: str
    zone: str
    business: str | None


class Wanted(msgspec.Struct, frozen=True):
    """A decision about an account. pixel_confirmed: the person knows that it is not linked to their WhatsApp."""

    is_active: bool
    pixel_id: str | None = None
    pixel_name: str | None = None
    pixel_confirmed: bool = False


class Search(msgspec.Struct, frozen=True):
    """Which accounts. text: part of the name, or a beginning of the id; after: the last one of the page before."""

    text: str | None = None
    active: bool | None = None
    profile: UUID | None = None
    after: tuple[str, UUID] | None = None
    limit: int = 50


async def store(conn: Connection, organization_id: UUID, profile_id: UUID, found: Sequence[Listed]) -> None:
    """Take over what a profile's whole list says: accounts new and known, and those it no longer sees."""
    accounts = [each.ad_account_id for each in found]
    values = {
        "organization": organization_id,
        "profile": profile_id,
        "ids": [new_id() for _ in found],
        "accounts": accounts,
        "names": [each.name for each in found],
        "statuses": [each.status for each in found],
        "currencies": [each.currency for each in found],
        "zones": [each.zone for each in found],
        "businesses": [each.business for each in found],
    }
    await conn.execute(PUT_ALL, values)
    await conn.execute(SEE, values)
    await conn.execute(SEE_NO_MORE, values)
    await conn.execute(MARK_LISTED, [organization_id, profile_id])


async def begin(conn: Connection, organization_id: UUID, profile_id: UUID) -> None:
    """A profile's list is being read: nobody else need begin for five minutes."""
    await conn.execute(BEGIN_LIST, [organization_id, profile_id])


async def not_listed(
    conn: Connection, organization_id: UUID, profile_id: UUID, reason: str, again_in_s: float
) -> None:
    """A profile's list could not be read; what is known of it stays."""
    await conn.execute(MARK_NOT_LISTED, [reason, again_in_s, organization_id, profile_id])


async def page(conn: Connection, organization_id: UUID, search: Search) -> list[AdAccount]:
    """Accounts by name."""
    after_name, after_id = search.after or (None, None)
    values = {
        "organization": organization_id,
        "active": search.active,
        "profile": search.profile,
        "text": search.text or None,
        "after_name": after_name,
        "after_id": after_id,
        "limit": search.limit,
    }
    async with conn.cursor(row_factory=class_row(AdAccount)) as cursor:
        return await (await cursor.execute(PAGE, values)).fetchall()


async def one(conn: Connection, organization_id: UUID, text: str) -> AdAccount:
    """The account of our id, of act_ and digits, or of digits; NotFound without it."""
    query, key = _key(text)
    if query is not None:
        async with conn.cursor(row_factory=class_row(AdAccount)) as cursor:
            found = await (await cursor.execute(query, [organization_id, key])).fetchone()
        if found is not None:
            return found
    raise NotFound("There is no such ad account here.")


async def is_known(conn: Connection, organization_id: UUID, text: str) -> bool:
    """Whether this is an account of the organization's."""
    try:
        await one(conn, organization_id, text)
    except NotFound:
        return False
    return True


def _key(text: str) -> tuple[LiteralString | None, Any]:
    if (account := act_account(text)) is not None:
        return ONE, account
    try:
        return ONE_BY_ID, UUID(text)
    except ValueError:
        return None, None


async def seen_by(
    conn: Connection, organization_id: UUID, account_ids: Sequence[UUID]
) -> dict[UUID, list[UUID]]:
    """Account → the profiles that see it."""
    found = await (await conn.execute(SEEN_BY, [organization_id, list(account_ids)])).fetchall()
    return {account_id: list(profiles) for account_id, profiles in found}


async def only_seen_by(conn: Connection, organization_id: UUID, profile_id: UUID) -> list[str]:
    """The names of accounts that are on and that no other working profile sees, 20 at most."""
    values = {"organization": organization_id, "profile": profile_id}
    return [row[0] for row in await (await conn.execute(ONLY_SEEN_BY, values)).fetchall()]


async def counts(conn: Connection, organization_id: UUID) -> tuple[int, int]:
    """How many accounts are known, and how many are on."""
    row = await (await conn.execute(COUNTS, [organization_id])).fetchone()
    return (row[0], row[1]) if row else (0, 0)


async def configure(conn: Connection, access: Access, account: AdAccount, wanted: Wanted) -> AdAccount:
    """Turn an account on or off and choose its dataset. Idempotent; Refused `account_stale` when somebody was quicker.

    account: as it was when the decision was made.
    """
    access.require("admin")
    now = Wanted(account.is_active, account.pixel_id, account.pixel_name, account.pixel_confirmed)
    if wanted == now:
        return account
    values = {
        **msgspec.structs.asdict(wanted),
        "organization": access.organization_id,
        "id": account.id,
        "version": account.version,
    }
    if (await conn.execute(CONFIGURE, values)).rowcount == 0:
        raise stale()
    action: audit.Action = (
        "account_changed"
        if wanted.is_active == account.is_active
        else "account_on"
        if wanted.is_active
        else "account_off"
    )
    detail = {"name": account.ad_account_name, "dataset": wanted.pixel_name or wanted.pixel_id or ""}
    target = f"ad_account:{account.ad_account_id}"
    await audit.record(conn, access.organization_id, access.actor, action, target, detail)
    return await one(conn, access.organization_id, account.ad_account_id)


def stale() -> Refused:
    """Told to the second of two people who change one account."""
    return Refused("account_stale", "Somebody else changed this ad account meanwhile: look at it again.")
