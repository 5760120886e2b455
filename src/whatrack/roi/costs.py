"""What ads and sales cost beside the spend that Meta tells: its tax, fees, the product. One writer of `cost_settings`.

Nothing stored is ever altered: what was spent and sold is read, and these are laid over it, each for the days it holds.
Tax is a part of the invoice, so the invoice is spend ÷ (1 − tax): 12,15 % of it are 13,83 % on the media.
Source: Meta's notice to Brazilian advertisers on passing on PIS/COFINS and ISS from 2026-01-01, read 2026-11.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.errors import NotFound, bad_value
from whatrack.tenants import audit
from whatrack.units import check_day, new_id

Kind = Literal["meta_tax", "fee", "product"]
BRAZIL = Decimal("0.1215")  # of the invoice, since 2026-01-01
REAIS = "BRL"  # of what is billed in it
FACTOR = Decimal("0.000000000001")  # what a factor is rounded to: a thousandth of a cent on a billion
COLUMNS: LiteralString = "id, kind, label, ad_account_id, rate, fixed, since, until"
ALL: LiteralString = f"""
SELECT {COLUMNS} FROM cost_settings WHERE organization_id = %s ORDER BY kind, ad_account_id NULLS FIRST, since NULLS FIRST, id
"""  # noqa: S608 - constants only
# Two people who add at once wait for each other, so that what they add cannot overlap unseen.
LOCK: LiteralString = "SELECT FROM organizations WHERE id = %s FOR NO KEY UPDATE"
PUT: LiteralString = """
INSERT INTO cost_settings (organization_id, id, kind, label, ad_account_id, rate, fixed, since, until, created_at, actor)
VALUES (%(organization)s, %(id)s, %(kind)s, %(label)s, %(ad_account_id)s, %(rate)s, %(fixed)s, %(since)s, %(until)s, now(), %(actor)s)
ON CONFLICT (organization_id, id) DO UPDATE SET kind = excluded.kind, label = excluded.label, ad_account_id = excluded.ad_account_id,
    rate = excluded.rate, fixed = excluded.fixed, since = excluded.since, until = excluded.until
"""
REMOVE: LiteralString = (
    "DELETE FROM cost_settings WHERE organization_id = %s AND id = %s RETURNING kind, label"
)


class Cost(msgspec.Struct, frozen=True):
    """One rule and the days it holds, both included; None is open.

    meta_tax: rate is the part of the invoice (0.1215), of one account or of all that have no rule of their own; 0: no tax.
    fee: rate of each sale's value, fixed for each sale, in the base currency; fees add up. product: the same, one at a time.
    """

    kind: Kind
    rate: Decimal = Decimal(0)
    fixed: Decimal = Decimal(0)
    since: date | None = None
    until: date | None = None
    label: str = ""
    ad_account_id: str | None = None
    id: UUID | None = None

    def holds(self, day: date) -> bool:
        """Whether the rule is in force on a day."""
        return (self.since or date.min) <= day <= (self.until or date.max)


class TaxSpan(msgspec.Struct, frozen=True):
    """Days of an account with one tax. factor: gross = spend × factor."""

    since: date
    until: date
    factor: Decimal


class SaleCost(msgspec.Struct, frozen=True):
    """What a sale costs in one stretch of days: a part of its value, and a fixed amount."""

    product_rate: Decimal = Decimal(0)
    product_fixed: Decimal = Decimal(0)
    fee_rate: Decimal = Decimal(0)
    fee_fixed: Decimal = Decimal(0)


class SaleCosts(msgspec.Struct, frozen=True):
    """The stretches of all time: parts[n] holds from starts[n − 1] on, parts[0] before the first."""

    starts: list[date]
    parts: list[SaleCost]


def tax(costs: Sequence[Cost], ad_account_id: str | None, day: date) -> Decimal:
    """What part of the invoice is tax: the account's own rule, else the one for all, else nothing."""
    rules = [cost for cost in costs if cost.kind == "meta_tax" and cost.holds(day)]
    own = [rule for rule in rules if rule.ad_account_id == ad_account_id and ad_account_id]
    general = [rule for rule in rules if rule.ad_account_id is None]
    return next((rule.rate for rule in [*own, *general]), Decimal(0))


def factor(rate: Decimal) -> Decimal:
    """By how much the invoice exceeds the media: 0.1215 → 1.138304…"""
    return (1 / (1 - rate)).quantize(FACTOR)


def tax_spans(costs: Sequence[Cost], ad_account_id: str, since: date, until: date) -> list[TaxSpan]:
    """The period in stretches of one tax, oldest first."""
    rules = [
        cost for cost in costs if cost.kind == "meta_tax" and cost.ad_account_id in (None, ad_account_id)
    ]
    starts = sorted({since, *(day for day in _edges(rules) if since < day <= until)})
    ends = [*(day - timedelta(days=1) for day in starts[1:]), until]
    return [
        TaxSpan(first, last, factor(tax(costs, ad_account_id, first)))
        for first, last in zip(starts, ends, strict=True)
    ]


def sale_costs(costs: Sequence[Cost]) -> SaleCosts:
    """What sales cost, for every day there is."""
    rules = [cost for cost in costs if cost.kind != "meta_tax"]
    starts = sorted(_edges(rules))
    return SaleCosts(starts, [_sale_cost(rules, day) for day in (date.min, *starts)])


def sale_cost(costs: Sequence[Cost], day: date) -> SaleCost:
    """What a sale of this day costs."""
    return _sale_cost([cost for cost in costs if cost.kind != "meta_tax"], day)


def _sale_cost(rules: Sequence[Cost], day: date) -> SaleCost:
    product = [rule for rule in rules if rule.kind == "product" and rule.holds(day)]
    fees = [rule for rule in rules if rule.kind == "fee" and rule.holds(day)]
    return SaleCost(
        product_rate=sum((rule.rate for rule in product), Decimal(0)),
        product_fixed=sum((rule.fixed for rule in product), Decimal(0)),
        fee_rate=sum((rule.rate for rule in fees), Decimal(0)),
        fee_fixed=sum((rule.fixed for rule in fees), Decimal(0)),
    )


def _edges(rules: Sequence[Cost]) -> set[date]:
    """The days on which some rule begins, or has just ended."""
    begun = {rule.since for rule in rules if rule.since}
    return begun | {rule.until + timedelta(days=1) for rule in rules if rule.until and rule.until < date.max}


async def listed(conn: Connection, organization_id: UUID) -> list[Cost]:
    """Every rule; those for all accounts before those of one, oldest first."""
    async with conn.cursor(row_factory=class_row(Cost)) as cursor:
        return await (await cursor.execute(ALL, [organization_id])).fetchall()


async def put(conn: Connection, organization_id: UUID, cost: Cost, *, actor: str) -> UUID:
    """Add a rule, or change the one with its id. Refused where tax or product would then have two rules for one day.

    To say that there is no tax, put a rate of 0: without any rule the question is still open.
    """
    await conn.execute(LOCK, [organization_id])
    check(cost, await listed(conn, organization_id))
    cost_id = cost.id or new_id()
    values = {**msgspec.structs.asdict(cost), "organization": organization_id, "id": cost_id, "actor": actor}
    await conn.execute(PUT, values)
    told = {
        "kind": cost.kind,
        "label": cost.label or cost.kind,
        "rate": str(cost.rate),
        "fixed": str(cost.fixed),
    }
    await audit.record(conn, organization_id, actor, "cost_set", f"cost:{cost_id}", told)
    return cost_id


async def remove(conn: Connection, organization_id: UUID, cost_id: UUID, *, actor: str) -> None:
    """Take a rule away; NotFound when there is none."""
    row = await (await conn.execute(REMOVE, [organization_id, cost_id])).fetchone()
    if row is None:
        raise NotFound("There is no such cost.")
    await audit.record(
        conn,
        organization_id,
        actor,
        "cost_removed",
        f"cost:{cost_id}",
        {"kind": row[0], "label": row[1] or row[0]},
    )


def check(cost: Cost, others: Sequence[Cost]) -> None:
    """Refused (422), naming the field, when a rule cannot be; pure."""
    if not 0 <= cost.rate < 1:
        raise bad_value("rate", "A rate lies between 0 and 1, as 0.1215 for 12,15 %.")
    if cost.fixed < 0:
        raise bad_value("fixed", "A cost is not below zero.")
    if cost.kind == "meta_tax" and cost.fixed:
        raise bad_value("fixed", "Meta's tax is a part of the invoice, without a fixed amount.")
    if cost.kind != "meta_tax" and cost.ad_account_id:
        raise bad_value("ad_account_id", "Only Meta's tax belongs to one account.")
    for name, day in (("since", cost.since), ("until", cost.until)):
        if day:
            check_day(day, name)
    if cost.since and cost.until and cost.until < cost.since:
        raise bad_value("until", "The cost ends before it begins.")
    rivals = [
        each for each in others if each.kind == cost.kind != "fee" and (cost.id is None or each.id != cost.id)
    ]
    for other in rivals:
        if other.ad_account_id == cost.ad_account_id and _meet(cost, other):
            raise bad_value(
                "since", "Another rule holds on some of these days: end it first.", code="cost_overlaps"
            )


def _meet(one: Cost, two: Cost) -> bool:
    return (one.since or date.min) <= (two.until or date.max) and (two.since or date.min) <= (
        one.until or date.max
    )
