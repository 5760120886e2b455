"""The morning's letter: what yesterday's ads cost and brought, the best of them and the worst. Its words are in letters.py."""

from datetime import date, datetime
from uuid import UUID

import msgspec

from whatrack import db as database
from whatrack.crypto import Sealer
from whatrack.db import Connection
from whatrack.observe import logger
from whatrack.roi import letters, secret_links, subscriptions
from whatrack.roi import report as reports
from whatrack.roi.ask import MAX_OFFSET, Ask
from whatrack.roi.letters import Morning
from whatrack.roi.report import Report, Row
from whatrack.tenants import emails, organizations

ROWS = 100  # of a page of ads: seldom more than one is looked through, for those with sales and no spend

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
    late = "gaps" in found.notes
    return Morning(own.name, own.slug, day, found.currency, totals.amounts, best, worst, totals.apart, late)


async def _first(
    conn: Connection, organization_id: UUID, found: Report, now: datetime, but: Row | None = None
) -> Row | None:
    """The first row in the report's order that spent and lacks no money for want of a rate, on whichever page; None without any.

    Which of two of one profit comes first, the report decides, always alike. but: another row than this.
    """
    while True:
        for row in found.rows:
            if row.amounts.spend and not row.apart and not (but and row.id == but.id):
                return row
        if found.next_offset is None or found.next_offset > MAX_OFFSET:
            return None
        ask = msgspec.structs.replace(found.ask, offset=found.next_offset)
        found = await reports.report(conn, organization_id, ask, now)
