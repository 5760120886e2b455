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
ACTIVE: LiteralString = """
SELECT a.id, s.reason = 'throttled' AND s.next_at > now(),
       s.account_id IS NULL OR s.next_at IS NULL OR s.next_at <= now() OR s.lease_until > now()
FROM meta_ad_accounts a LEFT JOIN insight_accounts s ON s.organization_id = a.organization_id AND s.account_id = a.id
WHERE a.organization_id = %(organization)s AND a.is_active AND (%(account)s::uuid IS NULL OR a.id = %(account)s)
"""


class Asked(msgspec.Struct, frozen=True):
    """What becomes of a wish: accounts that will be fetched because of it, and those it changes nothing for.

    under_way: being fetched, or about to be; throttled: Meta wants us to wait; recent: somebody wished within a minute.
    """

    asked: int
    under_way: int
    throttled: int
    recent: int


async def ask(conn: Connection, access: Access, account: str | None, last_days: int = USUAL_DAYS) -> Asked:
    """Have the last days of one account, or of all that are on, fetched at once. account: our id, act_… or digits.

    Refused: `account_inactive` when none of them is on; `sync_too_soon` (429) when each was wished for within a minute.
    """
    access.require("agent")
    one = (await ad_accounts.one(conn, access.organization_id, account)).id if account else None
    values = {"organization": access.organization_id, "account": one}
    found = await (await conn.execute(ACTIVE, values)).fetchall()
    if not found:
        raise Refused("account_inactive", "There is no ad account that is on: turn one on first.")
    taken = set(await schedule.wish(conn, access.organization_id, one))
    await facts.want(conn, access.organization_id, sorted(taken), last_days)
    rest: list[tuple[UUID, bool, bool]] = [row for row in found if row[0] not in taken]
    throttled = sum(bool(each[1]) for each in rest)
    under_way = sum(bool(each[2]) and not each[1] for each in rest)
    asked = Asked(len(taken), under_way, throttled, len(rest) - throttled - under_way)
    if asked.recent == len(found):
        raise Refused("sync_too_soon", "Somebody asked within the last minute.", status=429)
    return asked
