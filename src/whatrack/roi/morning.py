"""The morning's letter: what yesterday's ads cost and brought, the best of them and the worst. Its words are in letters.py."""

from datetime import date, datetime
from uuid import UUID

import msgspec

from whatrack import db as database
from whatrack.crypto import Sealer
from whatrack.db import Connection
from whatrack.observe import logger
from whatrack.roi import letters, periods, scope, secret_links, subscriptions
from whatrack.roi import report as reports
from whatrack.roi.ask import MAX_LIMIT, Ask
from whatrack.roi.letters import Morning
from whatrack.roi.report import Report, Row
from whatrack.tenants import emails, organizations

# Ads that are looked through for the best and for the worst; beyond so many that sold and spent nothing, none is named.
ROWS = MAX_LIMIT
PAGES = 5

log = logger(__name__)


async def send_due(conn: Connection, sealer: Sealer, address: str) -> bool:
    """Owe the letters of one organization for which it is time to look (system scope); whether there was one.

    Mail, its row and the next look are one transaction. A report that cannot be made is tried again in half an hour.
    """
    readers = await subscriptions.claim(conn)
    if not readers:
        return False
    owed = [each for each in readers if each.is_owed]
    if not owed:
        return True
    try:
        async with conn.transaction():
            morning = await of_day(conn, owed[0].organization_id, owed[0].day)
            for reader in owed:
                token, token_hash = secret_links.make(reader.organization_id)
                await subscriptions.tell(conn, reader, token_hash)
                stop = address + subscriptions.STOP + token
                await emails.queue(
                    conn,
                    sealer,
                    letters.letter(reader, morning, address, stop),
                )
    except Exception as error:
        log.exception("morning_failed", organization=str(readers[0].organization_id), exc_info=error)
        await subscriptions.put_off(conn, readers)
    return True


async def of_day(conn: Connection, organization_id: UUID, day: date) -> Morning:
    """What the letters about a day tell."""
    own = await organizations.by_id(conn, organization_id)
    now = await database.now(conn)
    ask = Ask("ad", day, day, sort="profit", limit=ROWS)
    found = await reports.report(conn, organization_id, ask, now)
    best = await _first(conn, organization_id, found, now)
    worst = None
    if best:
        rising = await reports.report(
            conn, organization_id, msgspec.structs.replace(ask, descending=False), now
        )
        worst = await _first(conn, organization_id, rising, now, but=best)
    totals = found.totals
    late = "gaps" in found.notes or await _still_lasts(conn, organization_id, ask, now)
    return Morning(own.name, own.slug, day, found.currency, totals.amounts, best, worst, totals.apart, late)


async def _first(
    conn: Connection, organization_id: UUID, found: Report, now: datetime, but: Row | None = None
) -> Row | None:
    """The first row in the report's order that spent and lacks no money for want of a rate; None without any on these pages.

    Which of two of one profit comes first, the report decides, always alike. but: another row than this.
    """
    for page in range(PAGES):
        if page:
            if found.next_offset is None:
                break
            ask = msgspec.structs.replace(found.ask, offset=found.next_offset)
            found = await reports.report(conn, organization_id, ask, now)
        for row in found.rows:
            if row.amounts.spend and not row.apart and not (but and row.id == but.id):
                return row
    return None


async def _still_lasts(conn: Connection, organization_id: UUID, ask: Ask, now: datetime) -> bool:
    """Whether the day of some account that is on is not over: west of the organization, yesterday ends later."""
    about = await scope.load(conn, organization_id, ask)
    return any(each.is_active and periods.day_in(now, each.zone) <= ask.until for each in about.asked)
