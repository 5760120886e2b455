"""What a filter leaves, ranked and summed in one statement: the catalog, the tickets and what decides are read once for both.

Rows are ranked as in ranks.py. Meta's numbers in the totals are those of the rows that there are, tickets those of all that
the filter leaves, by the days of the totals' zone; both are sums of whole numbers, exact in doubles below 2^53.
"""

from typing import LiteralString

from whatrack.roi.events import BLOCKS, COLUMNS_OF_EVENTS
from whatrack.roi.sums import CONVERTED, OF_AD_BLOCKS, OF_AD_DAYS, OF_BLOCKS

# Each row read is looked up in a table made of the rows that the filter leaves, named as PostgreSQL writes an array, for there
# may be very many. In CASE, or the index would be searched for every one of them, and each weighed in planning.
ONLY: dict[str, LiteralString] = {
    "campaign": "WHERE CASE WHEN {row} = ANY(%(keys)s::text[]) THEN true END",
    "adset": "WHERE CASE WHEN {row} = ANY(%(keys)s::text[]) THEN true END",
    "ad": "WHERE CASE WHEN {row} = ANY(%(keys)s::int[]) THEN true END",
}
COUNTS: LiteralString = (
    "leads, conversations, with_clid, qualified, sales, valueless, revenue, refunds, unrated"
)
# Tickets as events and as blocks alike, of the accounts asked for: in which stretch of costs, whether in the row's days, and
# whether in the totals'; a block is in both (see ranks.OF_TICKETS). Their money is in the report's currency.
# OFFSET: one table of keys for all kinds of events.
ASKED: LiteralString = """CASE WHEN %(every_account)s THEN s.account_ref <> 0 WHEN s.account_ref = ANY(%(asked)s::int[]) THEN true END"""
EVENTS: LiteralString = f""", events AS MATERIALIZED (
    SELECT e.{{key}} AS key, coalesce(width_bucket(e.sold_at, %(cost_starts)s::timestamptz[]), 0) AS cost, {COUNTS},
        e.at >= acc.begins AND e.at < acc.ends AS shown, e.at >= %(total_begins)s AND e.at < %(total_ends)s AS counted
    FROM ({{events}} OFFSET 0) AS e {COLUMNS_OF_EVENTS} JOIN acc ON acc.ref = e.account_ref {{only_events}}
    UNION ALL
    SELECT s.{{key}}, p.cost, s.leads, s.conversations, s.with_clid, s.qualified, s.sales, s.valueless,
        CASE WHEN s.currency = %(currency)s THEN s.revenue ELSE 0 END, 0::bigint, 0, true, true {BLOCKS} {{only_blocks}} AND {ASKED}
)"""  # noqa: S608 - constants only
TOLD: LiteralString = """
    SELECT e.key, NULL, {told}, (e.leads + e.qualified + e.sales + coalesce(e.refunds, 0))::float8
    FROM events e WHERE e.shown"""
# What every row has, summed once: the order is found in it, and the totals of the rows that there are.
SUMMED: LiteralString = """
summed AS MATERIALIZED (SELECT key, {sums} FROM ({parts}) AS part GROUP BY 1), """
SPENT: LiteralString = """
    SELECT count(*) AS count, sum(spend)::bigint AS spend, sum(impressions)::bigint AS impressions, sum(clicks)::bigint AS clicks, sum(link_clicks)::bigint AS link_clicks,
        sum(meta_conversations)::bigint AS meta_conversations, sum(meta_leads)::bigint AS meta_leads, sum(meta_purchases)::bigint AS meta_purchases,
        sum(meta_purchase_value)::bigint AS meta_purchase_value
    FROM summed {shown}"""
# What was spent under each tax but the one that held longest, of all that the filter leaves: a row that is hidden spent nothing.
BY_TAX: LiteralString = f"""
SELECT slot, sum(spend)::bigint FROM (
    {{spent}} UNION ALL SELECT x.slot, x.spend::float8 FROM {CONVERTED} {{of_ad}} {{only}} AND x.slot <> %(longest)s
) AS spent GROUP BY 1
"""  # noqa: S608 - constants only
SPENT_OF_ADS: LiteralString = f"""
    SELECT p.slot, p.weight * x.spend::float8 AS spend FROM {OF_AD_BLOCKS} {{only}} AND p.slot <> %(longest)s
    UNION ALL SELECT p.slot, p.weight * x.spend::float8 FROM {OF_AD_DAYS} {{only}} AND p.slot <> %(longest)s"""  # noqa: S608 - constants only
SPENT_OF_PARENTS: LiteralString = (
    f"SELECT p.slot, p.weight * x.spend::float8 AS spend FROM {OF_BLOCKS} {{only}} AND p.slot <> %(longest)s"  # noqa: S608 - constants only
)
COST: LiteralString = "sum(coalesce(revenue, 0) * (%({rates})s::numeric[])[cost + 1] + sales * (%({fixed})s::numeric[])[cost + 1])"
PRODUCT_COST: LiteralString = COST.format(rates="product_rates", fixed="product_fixed")
FEES: LiteralString = COST.format(rates="fee_rates", fixed="fee_fixed")
COUNTED: LiteralString = f"""
    SELECT sum(leads) AS leads, sum(conversations) AS conversations, sum(with_clid) AS with_clid, sum(qualified) AS qualified, sum(sales) AS sales,
        sum(valueless) AS valueless, sum(revenue) AS revenue, sum(refunds) AS refunds, coalesce(sum(unrated), 0) AS unrated,
        {PRODUCT_COST} AS product_cost, {FEES} AS fees
    FROM (
        SELECT cost, sum(leads) AS leads, sum(conversations) AS conversations, sum(with_clid) AS with_clid, sum(qualified) AS qualified,
            sum(sales) AS sales, sum(valueless) AS valueless, sum(revenue) AS revenue, sum(refunds) AS refunds, sum(unrated) AS unrated
        FROM events WHERE counted GROUP BY 1) AS e"""  # noqa: S608 - constants only
# What the statement also answers: how many rows there are, and the columns of amounts.
# shown: which rows there are.
TOTALS: LiteralString = f"spent.*, told.* FROM ({SPENT}) AS spent CROSS JOIN ({COUNTED}) AS told"
