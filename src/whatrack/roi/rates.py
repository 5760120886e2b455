"""What currencies were worth on each day, as entered or imported. One writer of `fx_rates`.

Money is converted at the rate of its own day, from its currency into the asked one; never by the inverse, never by the nearest
day. A series without weekends may be carried over them when it is written, and is then marked so.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.errors import bad_value
from whatrack.tenants import audit
from whatrack.units import LAST_DAY, check_day, parse_currency

CARRY_DAYS = 4  # a weekend with a holiday at each end
MAX_RATES = 5000
PLACES = Decimal("0.00000001")

PUT: LiteralString = """
INSERT INTO fx_rates AS r (organization_id, currency, into_currency, day, rate, source, updated_at, actor)
SELECT %(organization)s, %(currency)s, %(into)s, n.day, n.rate, %(source)s, now(), %(actor)s
FROM unnest(%(days)s::date[], %(rates)s::numeric[]) AS n (day, rate)
ON CONFLICT (organization_id, currency, into_currency, day) DO UPDATE
    SET rate = excluded.rate, source = excluded.source, updated_at = now(), actor = excluded.actor
    WHERE excluded.source <> 'carried' OR r.source = 'carried'
"""
REMOVE: LiteralString = """
DELETE FROM fx_rates WHERE organization_id = %s AND currency = %s AND into_currency = %s AND day = ANY(%s)
"""
LISTED: LiteralString = """
SELECT currency, into_currency, day, rate, source FROM fx_rates
WHERE organization_id = %s AND day BETWEEN %s AND %s ORDER BY day DESC, currency, into_currency LIMIT %s
"""


class Rate(msgspec.Struct, frozen=True):
    """One unit of currency was worth so much of the other on that day. source: entered, imported or carried."""

    currency: str
    into_currency: str
    day: date
    rate: Decimal
    source: str


async def put(
    conn: Connection,
    organization_id: UUID,
    currency: str,
    into: str,
    rates: Mapping[date, Decimal],
    *,
    actor: str,
    source: str = "entered",
    carry: bool = False,
) -> int:
    """Write a pair's rates, over what was there; how many. carry: also over the days without one until the next, at most four.

    A carried rate never replaces one that was entered or imported. Refused for a currency into itself or a rate of zero.
    """
    _check(currency, into, rates)
    values = {
        "organization": organization_id,
        "currency": currency,
        "into": into,
        "source": source,
        "actor": actor,
    }
    exact = {day: rate.quantize(PLACES) for day, rate in rates.items()}
    await conn.execute(PUT, {**values, "days": list(exact), "rates": list(exact.values())})
    if carry:
        filled = carried(exact)
        more = {"days": list(filled), "rates": list(filled.values()), "source": "carried"}
        await conn.execute(PUT, {**values, **more})
    told = {"currency": currency, "into": into, "days": len(rates)}
    await audit.record(conn, organization_id, actor, "fx_rates_set", f"fx:{currency}-{into}", told)
    return len(rates)


def carried(rates: Mapping[date, Decimal]) -> dict[date, Decimal]:
    """The rates for the days between two that are known, and after the last, each of the day before it; pure."""
    found: dict[date, Decimal] = {}
    for day, rate in rates.items():
        for ahead in range(1, CARRY_DAYS + 1):
            following = day + timedelta(days=ahead)
            if following in rates or following > LAST_DAY:
                break
            found[following] = rate
    return found


async def remove(
    conn: Connection, organization_id: UUID, currency: str, into: str, days: list[date], *, actor: str
) -> int:
    """Forget a pair's rates of these days; how many there were."""
    done = (await conn.execute(REMOVE, [organization_id, currency, into, days])).rowcount
    told = {"currency": currency, "into": into, "days": done}
    await audit.record(conn, organization_id, actor, "fx_rates_removed", f"fx:{currency}-{into}", told)
    return done


async def listed(
    conn: Connection, organization_id: UUID, since: date, until: date, limit: int = 1000
) -> list[Rate]:
    """The rates of a period, newest first."""
    async with conn.cursor(row_factory=class_row(Rate)) as cursor:
        return await (await cursor.execute(LISTED, [organization_id, since, until, limit])).fetchall()


def _check(currency: str, into: str, rates: Mapping[date, Decimal]) -> None:
    parse_currency(currency, "currency")
    parse_currency(into, "into_currency")
    if currency == into:
        raise bad_value("currency", "A currency needs no rate into itself.")
    if len(rates) > MAX_RATES:
        raise bad_value("rates", f"At most {MAX_RATES} rates at once.")
    for day in rates:
        check_day(day, "day")
    if any(not rate.is_finite() or not PLACES <= rate < 10**10 for rate in rates.values()):
        raise bad_value("rate", "A rate is a number above zero.")
