"""What currencies were worth on each day, as entered or imported. One writer of `fx_rates`.

Money is converted at the rate of its own day, from its currency into the asked one; never by the inverse, never by the nearest
day. A series without weekends may be carried over them when it is written, and is then marked so.
"""

from collections.abc import Collection, Mapping
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
DELETE FROM fx_rates WHERE organization_id = %(organization)s AND currency = %(currency)s AND into_currency = %(into)s AND day = ANY(%(days)s)
"""
# What repeats these days' rates, up to the next one that was entered or imported; a rate that is written again as it was keeps
# what repeats it. rates: as they will be, null where they go.
REMOVE_COPIES: LiteralString = """
DELETE FROM fx_rates c USING unnest(%(days)s::date[], %(rates)s::numeric[]) AS n (day, rate)
WHERE c.organization_id = %(organization)s AND c.currency = %(currency)s AND c.into_currency = %(into)s AND c.source = 'carried'
    AND c.day > n.day AND c.day <= n.day + %(most)s
    AND NOT EXISTS (SELECT FROM fx_rates o WHERE o.organization_id = %(organization)s AND o.currency = %(currency)s
        AND o.into_currency = %(into)s AND o.day > n.day AND o.day < c.day AND o.source <> 'carried')
    AND CASE WHEN n.rate IS NULL THEN EXISTS (SELECT FROM fx_rates r WHERE r.organization_id = %(organization)s AND r.currency = %(currency)s
            AND r.into_currency = %(into)s AND r.day = n.day AND r.source <> 'carried')
        ELSE NOT EXISTS (SELECT FROM fx_rates r WHERE r.organization_id = %(organization)s AND r.currency = %(currency)s
            AND r.into_currency = %(into)s AND r.day = n.day AND r.rate = n.rate) END
"""
OWN_DAYS: LiteralString = """
SELECT day FROM fx_rates WHERE organization_id = %(organization)s AND currency = %(currency)s AND into_currency = %(into)s
    AND day BETWEEN %(first)s AND %(last)s AND source <> 'carried'
"""
LISTED: LiteralString = """
SELECT currency, into_currency, day, rate, source FROM fx_rates WHERE organization_id = %(organization)s
    AND (%(day)s::date IS NULL OR day < %(day)s OR (day = %(day)s AND (currency, into_currency) > (%(currency)s, %(into)s)))
ORDER BY day DESC, currency, into_currency LIMIT %(limit)s
"""
LAST: LiteralString = """
SELECT l.* FROM unnest(%(currencies)s::text[]) AS c (code) CROSS JOIN LATERAL (
    SELECT currency, into_currency, day, rate, source FROM fx_rates WHERE organization_id = %(organization)s
        AND currency = c.code AND into_currency = %(into)s AND day <= %(today)s ORDER BY day DESC LIMIT 1) AS l
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

    What is carried repeats the last rate that was entered or imported before it, never replaces one, and goes with it or when
    it changes. Refused for a currency into itself, a rate of zero, or a day out of bounds.
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
    told = {"days": list(exact), "rates": list(exact.values())}
    await conn.execute(REMOVE_COPIES, {**values, **told, "most": CARRY_DAYS})
    await conn.execute(PUT, {**values, **told})
    if carry and exact:
        ends = {"first": min(exact), "last": max(exact) + timedelta(days=CARRY_DAYS)}
        own = await (await conn.execute(OWN_DAYS, {**values, **ends})).fetchall()
        filled = carried(exact, {day for (day,) in own})
        more = {"days": list(filled), "rates": list(filled.values()), "source": "carried"}
        await conn.execute(PUT, {**values, **more})
    entry = {"currency": currency, "into": into, "days": len(rates)}
    await audit.record(conn, organization_id, actor, "fx_rates_set", f"fx:{currency}-{into}", entry)
    return len(rates)


def carried(rates: Mapping[date, Decimal], own: Collection[date] = ()) -> dict[date, Decimal]:
    """The rates for the days between two that are known, and after the last, each of the day before it; pure. own: further known days."""
    found: dict[date, Decimal] = {}
    for day, rate in rates.items():
        for ahead in range(1, CARRY_DAYS + 1):
            following = day + timedelta(days=ahead)
            if following in rates or following in own or following > LAST_DAY:
                break
            found[following] = rate
    return found


async def remove(
    conn: Connection, organization_id: UUID, currency: str, into: str, days: list[date], *, actor: str
) -> int:
    """Forget a pair's rates of these days, and with each the days that it was carried over; how many there were."""
    values = {
        "organization": organization_id, "currency": currency, "into": into, "days": days, "rates": [None] * len(days), "most": CARRY_DAYS,
    }  # fmt: skip
    copies = (await conn.execute(REMOVE_COPIES, values)).rowcount
    done = copies + (await conn.execute(REMOVE, values)).rowcount
    told = {"currency": currency, "into": into, "days": done}
    await audit.record(conn, organization_id, actor, "fx_rates_removed", f"fx:{currency}-{into}", told)
    return done


class Place(msgspec.Struct, frozen=True):
    """Where a page of rates begins: after this one."""

    day: date
    currency: str
    into_currency: str


async def listed(
    conn: Connection, organization_id: UUID, after: Place | None = None, *, limit: int = 1000
) -> list[Rate]:
    """Every rate there is, newest day first: a page of them. after: the last one of the page before."""
    values = {
        "organization": organization_id,
        "day": after.day if after else None,
        "currency": after.currency if after else "",
        "into": after.into_currency if after else "",
        "limit": limit,
    }
    async with conn.cursor(row_factory=class_row(Rate)) as cursor:
        return await (await cursor.execute(LISTED, values)).fetchall()


async def last(
    conn: Connection, organization_id: UUID, currencies: Collection[str], into: str, today: date
) -> dict[str, Rate]:
    """Of each currency its newest rate of a day that has begun, where it has one."""
    values = {"organization": organization_id, "currencies": [*currencies], "into": into, "today": today}
    async with conn.cursor(row_factory=class_row(Rate)) as cursor:
        found = await (await cursor.execute(LAST, values)).fetchall()
    return {each.currency: each for each in found}


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
