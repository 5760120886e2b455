"""A person wants fresh figures now: the last days of their accounts become due, once, however often they ask."""

from typing import LiteralString
from uuid import UUID

import msgspec

from whatrack.connections import ad_accounts
from whatrack.db import Connection
from whatrack.errors import Refused
from whatrack.insights import facts, schedule
from whatrack.tenants.access import Access

USUAL_DAYS = 3  # today, yesterday, and the day before where the zone is far
MOST_DAYS = 28
# recent: wished for within a minute, for no fewer days.
ACTIVE: LiteralString = """
SELECT a.id, coalesce(s.reason = 'throttled' AND s.next_at > now(), false) AS is_throttled,
       s.account_id IS NULL OR s.next_at IS NULL OR s.next_at <= now() OR coalesce(s.lease_until > now(), false) AS is_under_way
FROM meta_ad_accounts a LEFT JOIN insight_accounts s ON s.organization_id = a.organization_id AND s.account_id = a.id
WHERE a.organization_id = %(organization)s AND a.is_active AND (%(account)s::uuid IS NULL OR a.id = %(account)s)
"""


class Asked(msgspec.Struct, frozen=True):
    """What becomes of a wish: accounts that are fetched at once because of it, and the others.

    under_way: being fetched, or about to be; throttled: Meta wants us to wait; recent: somebody wished for as much within a minute.
    added_days: account-days that are due because of it and were not before, of accounts under way and throttled ones too.
    """

    asked: int
    under_way: int
    throttled: int
    recent: int
    added_days: int


async def hurry(conn: Connection, organization_id: UUID, last_days: int) -> None:
    """Have the last days fetched at the loops' next round, for a demonstration. No person's wish: it takes nobody's turn."""
    await schedule.lock(conn, organization_id, None)
    found = await (await conn.execute(ACTIVE, {"organization": organization_id, "account": None})).fetchall()
    active = [row[0] for row in found]
    await facts.want(conn, organization_id, active, last_days)
    await schedule.hurry(conn, organization_id, active)


async def ask(conn: Connection, access: Access, account: str | None, last_days: int = USUAL_DAYS) -> Asked:
    """Have the last days of one account, or of all that are on, fetched. account: our id, act_… or digits.

    Days that were not due become so, whatever is under way: a wish for more than that is not lost. What is limited is the wish that
    was taken, for as many days, and not one that changed nothing. The accounts are locked until the commit, so that what is under
    way stays so until its end can see the days.
    Refused: `account_inactive` when none of them is on; `sync_too_soon` (429) when each was wished for within a minute.
    """
    access.require("agent")
    one = (await ad_accounts.one(conn, access.organization_id, account)).id if account else None
    await schedule.lock(conn, access.organization_id, one)
    values = {"organization": access.organization_id, "account": one}
    found: list[tuple[UUID, bool, bool]] = await (await conn.execute(ACTIVE, values)).fetchall()
    if not found:
        raise Refused("account_inactive", "There is no ad account that is on: turn one on first.")
    taken = {*await schedule.wish(conn, access.organization_id, one, last_days)}
    rest = [row for row in found if row[0] not in taken]
    throttled = [row[0] for row in rest if row[1]]
    under_way = [row[0] for row in rest if row[2] and not row[1]]
    recent = len(rest) - len(throttled) - len(under_way)
    if recent == len(found):
        raise Refused("sync_too_soon", "Somebody asked within the last minute.", status=429)
    wanted = sorted({*taken, *throttled, *under_way})
    added = await facts.want(conn, access.organization_id, wanted, last_days)
    more = [each for each in under_way if added[each]]
    await schedule.wished(conn, access.organization_id, more, last_days)
    return Asked(len(taken), len(under_way), len(throttled), recent, added.total())
