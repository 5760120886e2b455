"""Which rows a page shows, in which order and of how many: found by the sorted number alone, before anything else is read.

Every ad of the period is looked at, but only for what decides: the numbers of the sort, and whether the row is shown at all.
The numbers are doubles, exact for whole numbers below 2^53; what is shown is summed exactly, in sums.py, for the rows shown.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, LiteralString

import msgspec
from psycopg.rows import dict_row

from whatrack.columns import Ints, Texts
from whatrack.db import Connection
from whatrack.roi import filtered
from whatrack.roi.events import (
    BLOCKS,
    BY_CLICK,
    BY_SALE,
    COLUMNS_OF_EVENTS,
    EACH_AD,
    EVENTS,
    MARKED,
    UNION,
    keyed,
)
from whatrack.roi.sums import (
    ALLOWED,
    ALLOWED_KEYS,
    CONVERTED,
    DOWN,
    EARNED,
    EVERYTHING,
    NAMES,
    NO_MORE,
    OF_AD_BLOCKS,
    OF_AD_DAYS,
    OF_BLOCKS,
    OF_THAT_AD,
    ORDERS,
    UP,
)

# A number of the order → how one row of blocks or days has it; x: that row, p: its piece of the period.
SPENT: dict[str, LiteralString] = {
    "spend": "p.weight * x.spend::float8", "gross": "p.weight * x.spend::float8 * p.factor", "impressions": "p.weight * x.impressions::float8",
    "clicks": "p.weight * x.clicks::float8", "link_clicks": "p.weight * x.link_clicks::float8", "meta_conversations": "p.weight * x.conversations::float8",
    "meta_leads": "p.weight * x.meta_leads::float8", "meta_purchases": "p.weight * x.meta_purchases::float8",
    "meta_purchase_value": "p.weight * x.meta_purchase_value::float8",
}  # fmt: skip
MONEY = ("spend", "gross", "meta_purchase_value")
OF_CONVERTED: dict[str, LiteralString] = {
    "spend": "x.spend::float8", "gross": "x.spend::float8 * (%(factors)s::float8[])[x.slot + 1]", "impressions": "x.impressions::float8",
    "clicks": "x.clicks::float8", "link_clicks": "x.link_clicks::float8", "meta_conversations": "x.meta_conversations::float8",
    "meta_leads": "x.meta_leads::float8", "meta_purchases": "x.meta_purchases::float8", "meta_purchase_value": "x.meta_purchase_value::float8",
}  # fmt: skip
# … and how one event has it. kept: what a sale leaves, after what it cost.
KEPT: LiteralString = (
    "{revenue} * (%(kept_rates)s::float8[])[{cost}] + {of}.sales * (%(kept_fixed)s::float8[])[{cost}]"
)
COST_OF: LiteralString = "width_bucket(e.sold_at, %(cost_starts)s::timestamptz[]) + 1"
TOLD: dict[str, LiteralString] = {
    "conversations": "e.conversations::float8", "with_clid": "e.with_clid::float8", "leads": "e.leads::float8",
    "qualified": "e.qualified::float8", "sales": "e.sales::float8", "valueless": "e.valueless::float8",
    "revenue": "e.revenue::float8", "refunds": "e.refunds::float8",
    "product_cost": f"""CASE WHEN e.sold_at IS NOT NULL THEN coalesce(e.revenue, 0) * (%(product_rates)s::float8[])[{COST_OF}]
        + e.sales * (%(product_fixed)s::float8[])[{COST_OF}] END""",
    "fees": f"""CASE WHEN e.sold_at IS NOT NULL THEN coalesce(e.revenue, 0) * (%(fee_rates)s::float8[])[{COST_OF}]
        + e.sales * (%(fee_fixed)s::float8[])[{COST_OF}] END""",
    "earned": f"""CASE WHEN e.sold_at IS NULL THEN -e.refunds
        ELSE {KEPT.format(revenue="coalesce(e.revenue, 0)", of="e", cost=COST_OF)} - e.refunds END""",
}  # fmt: skip
# … where a filter has told the events' costs already.
TOLD_AT_COST: dict[str, LiteralString] = {
    **TOLD,
    "product_cost": "coalesce(e.revenue, 0) * (%(product_rates)s::float8[])[e.cost + 1] + e.sales * (%(product_fixed)s::float8[])[e.cost + 1]",
    "fees": "coalesce(e.revenue, 0) * (%(fee_rates)s::float8[])[e.cost + 1] + e.sales * (%(fee_fixed)s::float8[])[e.cost + 1]",
    "earned": KEPT.format(revenue="coalesce(e.revenue, 0)", of="e", cost="e.cost + 1") + " - e.refunds",
}
REVENUE: LiteralString = "CASE WHEN s.currency = %(currency)s THEN s.revenue ELSE 0 END"
SUMMED_TOLD: dict[str, LiteralString] = {
    "conversations": "s.conversations::float8", "with_clid": "s.with_clid::float8", "leads": "s.leads::float8",
    "qualified": "s.qualified::float8", "sales": "s.sales::float8", "valueless": "s.valueless::float8", "revenue": f"({REVENUE})::float8",
    "product_cost": f"({REVENUE}) * (%(product_rates)s::float8[])[p.cost + 1] + s.sales * (%(product_fixed)s::float8[])[p.cost + 1]",
    "fees": f"({REVENUE}) * (%(fee_rates)s::float8[])[p.cost + 1] + s.sales * (%(fee_fixed)s::float8[])[p.cost + 1]",
    "earned": KEPT.format(revenue=f"({REVENUE})", of="s", cost="p.cost + 1"),
}  # fmt: skip
NOT_IN_IT: LiteralString = "NULL::float8"
PLACES: LiteralString = """acc AS MATERIALIZED (
    SELECT * FROM unnest(%(refs)s::int[], %(begins)s::timestamptz[], %(ends)s::timestamptz[], %(in_scope)s::bool[]) AS acc (ref, begins, ends, in_scope)
    WHERE in_scope
)"""
# In the order in which the sums name them: PostgreSQL would copy each row into that. unrated: impressions
# whose spend has no rate. present: days of ads with a row (not where the row has to have spent), tickets and repayments of the
# period; no row has less than nought of any.
PRESENT: LiteralString = "p.weight * x.days"
PRESENT_DAY: LiteralString = "p.weight"
PRESENT_ABROAD: LiteralString = "x.days::float8"
OF_AD: LiteralString = f"""
    SELECT x.ad_ref AS key, NULL::float8 AS unrated, {{spent}}, {{present}} AS present FROM {OF_AD_BLOCKS} {{only}}
    UNION ALL
    SELECT x.ad_ref, NULL, {{spent}}, {{present_day}} FROM {OF_AD_DAYS} {{only}}"""  # noqa: S608 - constants only
OF_PARENT: LiteralString = f"""
    SELECT x.key, NULL::float8 AS unrated, {{spent}}, {{present}} AS present FROM {OF_BLOCKS} {{only}}"""  # noqa: S608 - constants only
FROM_ABROAD: LiteralString = f"""
    SELECT {{key}}, x.unrated::float8 AS unrated, {{converted}}, {{present}} AS present
    FROM {CONVERTED} {{of_ad}} {{only}}"""  # noqa: S608 - constants only
# A block lies within the days of every account: it is longer than zones are apart, and read where it lies between all their ends.
OF_TICKETS: LiteralString = """
    SELECT e.{{key}}, NULL, {told}, (e.leads + e.qualified + e.sales + coalesce(e.refunds, 0))::float8
    FROM ({{events}}) AS e {columns} JOIN acc ON acc.ref = e.account_ref AND e.at >= acc.begins AND e.at < acc.ends
    UNION ALL
    SELECT s.{{key}}, NULL, {blocks}, (s.leads + s.qualified + s.sales)::float8
    {of_blocks} WHERE {asked}"""
ADDED: LiteralString = "sum(unrated) AS unrated, {numbers}, sum(present) AS present"
GROUPED: LiteralString = """
grouped AS MATERIALIZED (SELECT key, {summed} FROM {parts} AS part {by} {having})"""
ANY_ROW: LiteralString = "HAVING sum(present) > 0"
SPENT_ONLY: LiteralString = (
    "HAVING sum(spend) > 0 OR (sum(spend) IS NULL AND sum(unrated) > 0) OR sum(present) > 0"
)
PAGE: LiteralString = """
WITH {places}, {marked}{events}, {summed} {grouped}
SELECT ARRAY({page} LIMIT %(limit)s OFFSET %(offset)s) AS keys, {whole}
"""
IN_ORDER: LiteralString = (
    "SELECT g.key::text FROM grouped g {names} ORDER BY {order} {direction} NULLS LAST, g.key"
)
# Ads have an index in this order, so that it is read as far as the page goes. In CASE, or all would be joined, and sorted.
ADS_BY_NAME: LiteralString = """SELECT m.ref::text FROM meta_ads m WHERE m.organization_id = %(organization)s
    AND CASE WHEN m.ref IN (SELECT key FROM grouped) THEN true END ORDER BY m.ad_called {direction}"""
COUNT: LiteralString = "(SELECT count(*) FROM grouped) AS count"
ADS: LiteralString = """
SELECT m.ref, ({key})::text FROM meta_ads m WHERE m.organization_id = %(organization)s AND m.meta_account_id = ANY(%(digits)s) LIMIT %(most)s
"""
ALLOWED_ROWS: LiteralString = """
WITH {} nothing AS (SELECT 1) SELECT count(*), array_send(coalesce(array_agg(key), '{{}}')) FROM allowed
"""


class Ranking(msgspec.Struct, frozen=True):
    """What to rank, as sums.Statement has it, as far as it decides which rows there are."""

    level: str
    by_click: bool
    filtered: bool
    spent_only: bool
    sort: str
    descending: bool

    def text(self) -> LiteralString:
        """The whole statement."""
        needed = self._needed()
        read = [*SPENT_NUMBERS, *needed] if self.filtered else needed
        read = [*dict.fromkeys(read)]
        parts = UNION.join([self._spent(read), self._abroad(read), self._told(read)])
        return PAGE.format(
            places=PLACES,
            marked=MARKED,
            events=self._events() if self.filtered else EVERYTHING,
            summed=filtered.SUMMED.format(sums=_added(read), parts=parts) if self.filtered else EVERYTHING,
            grouped=self._grouped(needed, SUMMED if self.filtered else PART.format(parts)),
            page=self._page(),
            whole=self._totals() if self.filtered else COUNT,
        )

    def _page(self) -> LiteralString:
        direction = DOWN if self.descending else UP
        by_name = self.sort == "name"
        if by_name and self.level == "ad":
            return ADS_BY_NAME.format(direction=direction)
        names = NAMES[self.level].replace(*READ_WHOLE) if by_name else NO_MORE
        return IN_ORDER.format(names=names, order=RANKED[self.sort], direction=direction)

    def gross(self) -> LiteralString:
        """The statement that tells what the filter's rows spent under each tax."""
        by_ad = self.level == "ad"
        only, key = self._only("x.ad_ref" if by_ad else "x.key"), KEYS[self.level]
        return filtered.BY_TAX.format(
            spent=filtered.SPENT_OF_ADS.format(only=only)
            if by_ad
            else filtered.SPENT_OF_PARENTS.format(only=only),
            of_ad=NO_MORE if by_ad else OF_THAT_AD,
            only=self._only(key),
        )

    def _grouped(self, needed: Sequence[str], parts: LiteralString) -> LiteralString:
        grouped = GROUPED.format(
            summed=ADDED.format(numbers=NEXT.join([_sum(name) for name in needed])),
            parts=parts,
            by=ONE_BY_ONE,
            having=self._having(),
        )
        return _as_summed(grouped) if self.filtered else grouped

    def _having(self) -> LiteralString:
        return SPENT_ONLY if self.spent_only else ANY_ROW

    def _totals(self) -> LiteralString:
        """Of the rows that there are."""
        return filtered.TOTALS.format(shown=_as_summed(self._having()))

    @property
    def taxed(self) -> bool:
        """Whether the order depends on the tax, so that the period is to be cut where that changes."""
        return "gross" in self._needed()

    def _needed(self) -> list[str]:
        return [name for name in (*SPENT, *TOLD) if name == "spend" or f"g.{name}" in WORDS[self.sort]]

    def _spent(self, needed: Sequence[str]) -> LiteralString:
        of_rows = OF_AD if self.level == "ad" else OF_PARENT
        only = self._only("x.ad_ref" if self.level == "ad" else "x.key")
        return of_rows.format(
            spent=_each(SPENT, needed),
            present=self._present(PRESENT),
            present_day=self._present(PRESENT_DAY),
            only=only,
        )

    def _present(self, days: LiteralString) -> LiteralString:
        return NOT_IN_IT if self.spent_only else days

    def _only(self, row: LiteralString) -> LiteralString:
        return filtered.ONLY[self.level].format(row=row) if self.filtered else EVERYTHING

    def _abroad(self, needed: Sequence[str]) -> LiteralString:
        key = KEYS[self.level]
        return FROM_ABROAD.format(
            key=key,
            converted=_each(OF_CONVERTED, needed),
            present=self._present(PRESENT_ABROAD),
            of_ad=NO_MORE if self.level == "ad" else OF_THAT_AD,
            only=self._only(key),
        )

    def _told(self, needed: Sequence[str]) -> LiteralString:
        if self.filtered:
            return filtered.TOLD.format(told=_each(TOLD_AT_COST, needed))
        return OF_TICKETS.format(
            told=_each(TOLD, needed),
            columns=COLUMNS_OF_EVENTS,
            blocks=_each(SUMMED_TOLD, needed),
            of_blocks=BLOCKS,
            asked=filtered.ASKED,
        ).format(**self._tickets())

    def _events(self) -> LiteralString:
        key = EACH_AD if self.level == "ad" else KEY
        return filtered.EVENTS.format(
            only_events=self._only(EVENT + key), only_blocks=self._only(BLOCK + key), **self._tickets()
        )

    def _tickets(self) -> dict[str, LiteralString]:
        return {
            "key": EACH_AD if self.level == "ad" else KEY,
            "events": UNION.join(keyed(events, self.level) for events, _ in EVENTS[self.by_click]),
            "by_click": BY_CLICK if self.by_click else BY_SALE,
        }


# The orders of sums, with what was earned as one number, and which numbers each is of.
RANKED: dict[str, LiteralString] = {name: order.replace(EARNED, "g.earned") for name, order in ORDERS.items()}
WORDS: dict[str, frozenset[str]] = {
    name: frozenset(re.findall(r"g\.\w+", order)) for name, order in RANKED.items()
}
SPENT_NUMBERS = tuple(name for name in SPENT if name != "gross")
# The names of all rows, in one reading of the catalog: looked up one by one, they cost more than the sums.
READ_WHOLE: tuple[LiteralString, LiteralString] = (") n USING", " OFFSET 0) n USING")
MATERIALIZED: LiteralString = "AS MATERIALIZED"
IN_PASSING: LiteralString = "AS NOT MATERIALIZED"
NEXT: LiteralString = ", "
PART: LiteralString = "({})"
SUMMED: LiteralString = "summed"
ONE_BY_ONE: LiteralString = "GROUP BY 1"
# Where there is one sum of each row already: to be picked from, not to be kept once more.
AS_SUMMED: tuple[tuple[LiteralString, LiteralString], ...] = (
    (MATERIALIZED, IN_PASSING),
    ("sum(", "("),
    (ONE_BY_ONE, ""),
    ("HAVING", "WHERE"),
)
KEYS: dict[str, LiteralString] = {
    "campaign": "coalesce(m.meta_campaign_id, '')",
    "adset": "coalesce(m.meta_ad_set_id, '')",
    "ad": "x.ad_ref",
}
EVENT: LiteralString = "e."
BLOCK: LiteralString = "s."
KEY: LiteralString = "key"
AS: LiteralString = " AS "
NAMED: dict[str, LiteralString] = {
    "spend": "spend", "gross": "gross", "impressions": "impressions", "clicks": "clicks", "link_clicks": "link_clicks",
    "meta_conversations": "meta_conversations", "meta_leads": "meta_leads", "meta_purchases": "meta_purchases",
    "meta_purchase_value": "meta_purchase_value", "conversations": "conversations", "with_clid": "with_clid", "leads": "leads",
    "qualified": "qualified", "sales": "sales", "valueless": "valueless", "revenue": "revenue", "refunds": "refunds",
    "product_cost": "product_cost", "fees": "fees", "earned": "earned", "present": "present", "unrated": "unrated",
}  # fmt: skip
SUM: LiteralString = "sum({name}) AS {name}"
# Nothing is nought, but for money of days without a rate on which somebody saw the ads, which is not known (see sums.KNOWN).
SUM_OR_0: LiteralString = "coalesce(sum({name}), 0) AS {name}"
SUM_OF_MONEY: LiteralString = (
    "coalesce(sum({name}), CASE WHEN coalesce(sum(unrated), 0) = 0 THEN 0 END) AS {name}"
)


def _each(how: dict[str, LiteralString], needed: Sequence[str]) -> LiteralString:
    return NEXT.join([how.get(name, NOT_IN_IT) + AS + NAMED[name] for name in needed])


def _as_summed(statement: LiteralString) -> LiteralString:
    for several, one in AS_SUMMED:
        statement = statement.replace(several, one)
    return statement


def _added(names: Sequence[str]) -> LiteralString:
    return ADDED.format(numbers=NEXT.join([SUM.format(name=NAMED[name]) for name in names]))


def _sum(name: str) -> LiteralString:
    return (SUM_OF_MONEY if name in MONEY else SUM_OR_0).format(name=NAMED[name])


async def page(
    conn: Connection, ranking: Ranking, values: dict[str, Any]
) -> tuple[list[str], int, dict[str, Any]]:
    """The keys of the page's rows, in order, how many rows there are on all pages, and with a filter the totals."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        found = await (await cursor.execute(ranking.text(), values)).fetchone() or {}
    return found.pop("keys", []), found.pop("count", 0), found


async def gross(
    conn: Connection, ranking: Ranking, values: dict[str, Any], spend: int | None
) -> Decimal | None:
    """What the filter's rows spent with the tax of each day. spend: without; values: of a period cut where a tax changes."""
    factors: list[Decimal] = values["factors"]
    longest: int = values["longest"]
    if spend is None or len(factors) == 1:
        return None if spend is None else spend * factors[0]
    found = await (await conn.execute(ranking.gross(), values)).fetchall()
    told: dict[int, int] = {slot: amount or 0 for slot, amount in found}
    told[longest] = spend - sum(told.values())
    return sum((amount * factors[slot] for slot, amount in told.items()), Decimal(0))


async def keys(conn: Connection, ranking: Ranking, values: dict[str, Any]) -> tuple[int, Ints | Texts]:
    """The rows that the filters leave, of every period: how many, and their keys, to be handed on as they came."""
    statement = ALLOWED_ROWS.format(ALLOWED[ranking.level].replace(MATERIALIZED, IN_PASSING))
    cursor = conn.cursor(binary=True)
    count, found = await (await cursor.execute(statement, values)).fetchone() or (0, b"")
    return count, Ints(found) if ranking.level == "ad" else Texts(found)


async def ads(conn: Connection, ranking: Ranking, values: dict[str, Any], most: int) -> dict[int, str] | None:
    """All ads of the accounts asked for, each with its row's key; None when there are more than so many."""
    statement = ADS.format(key=ALLOWED_KEYS[ranking.level])
    found = await (await conn.execute(statement, {**values, "most": most + 1})).fetchall()
    return dict(found) if len(found) <= most else None
