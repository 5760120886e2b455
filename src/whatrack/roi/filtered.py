"""What a filter leaves, ranked and summed in one statement: the catalog, the tickets and what decides are read once for both.

Rows are ranked as in ranks.py. Meta's numbers in the totals are those of the rows that there are, tickets those of all that
the filter leaves, by the days of the totals' zone; both are summed in whole numbers.
"""

from typing import LiteralString

from whatrack.roi.events import BLOCKS, COLUMNS_OF_EVENTS
from whatrack.roi.sums import CONVERTED, OF_THAT_AD, PIECES

# The rows that the filter leaves, of every period; named as PostgreSQL writes an array, for there may be very many.
ALLOWED: dict[str, LiteralString] = {
    "campaign": "allowed AS MATERIALIZED (SELECT unnest(%(keys)s::text[]) AS key), ",
    "adset": "allowed AS MATERIALIZED (SELECT unnest(%(keys)s::text[]) AS key), ",
    "ad": "allowed AS MATERIALIZED (SELECT unnest(%(keys)s::int[]) AS key), ",
}
# IS TRUE: each row read is looked up in a table made once. Joined instead, rows are left out late, or sought one by one.
ONLY: LiteralString = "WHERE ({row} IN (SELECT key FROM {among})) IS TRUE"
COUNTS: LiteralString = (
    "leads, conversations, with_clid, qualified, sales, valueless, revenue, refunds, unrated"
)
# Tickets as events and as blocks alike: when, and in which stretch of costs. Their money is in the report's currency.
EVENTS: LiteralString = f""", events AS MATERIALIZED (
    SELECT e.{{key}} AS key, e.account_ref, e.at, coalesce(width_bucket(e.sold_at, %(cost_starts)s::timestamptz[]), 0) AS cost, {COUNTS}
    FROM ({{events}}) AS e {COLUMNS_OF_EVENTS} {ONLY.format(row="e.{key}", among="allowed")}
    UNION ALL
    SELECT s.{{key}}, s.account_ref, p.begins, p.cost, s.leads, s.conversations, s.with_clid, s.qualified, s.sales, s.valueless,
        CASE WHEN s.currency = %(currency)s THEN s.revenue ELSE 0 END, 0, 0 {BLOCKS} {ONLY.format(row="s.{key}", among="allowed")}
)"""  # noqa: S608 - constants only
TOLD: LiteralString = """
    SELECT e.key, {told}, NULL, NULL, (e.leads + e.qualified + e.sales + coalesce(e.refunds, 0))::float8
    FROM events e JOIN acc ON acc.ref = e.account_ref AND e.at >= acc.begins AND e.at < acc.ends"""
NUMBERS: LiteralString = """sum({sign}spend) AS spend, sum({sign}impressions) AS impressions, sum({sign}clicks) AS clicks,
    sum({sign}link_clicks) AS link_clicks, sum({sign}conversations) AS conversations, sum({sign}meta_leads) AS meta_leads,
    sum({sign}meta_purchases) AS meta_purchases, sum({sign}meta_purchase_value) AS meta_purchase_value"""
SIGNED: LiteralString = NUMBERS.format(sign="p.sign * x.")
ADDED: LiteralString = NUMBERS.format(sign="x.")
# Each piece of each account by itself, so that no row read needs more than to be added.
IN_PIECES: LiteralString = f"""
    SELECT p.slot, {SIGNED} FROM {PIECES} CROSS JOIN LATERAL (
        SELECT {ADDED} FROM {{table}} x
        WHERE x.organization_id = %(organization)s AND x.account_ref = a.account_ref AND {{piece}} AND ({{row}} IN (SELECT key FROM grouped)) IS TRUE
    ) AS x GROUP BY 1"""  # noqa: S608 - constants only
OF_AD_BLOCKS: LiteralString = IN_PIECES.format(
    table="insight_ad_blocks",
    row="x.ad_ref",
    piece="p.size > 1 AND x.size = p.size AND x.block BETWEEN p.first AND p.last",
)
OF_AD_DAYS: LiteralString = IN_PIECES.format(
    table="meta_ad_insights_daily",
    row="x.ad_ref",
    piece="p.size = 1 AND x.day BETWEEN date '2000-01-01' + p.first AND date '2000-01-01' + p.last",
)
OF_BLOCKS: LiteralString = IN_PIECES.format(
    table="insight_blocks",
    row="x.key",
    piece="x.level = %(blocks_level)s AND x.size = p.size AND x.block BETWEEN p.first AND p.last",
)
OF_CONVERTED: LiteralString = """x.slot, x.spend, x.impressions, x.clicks, x.link_clicks, x.meta_conversations, x.meta_leads,
    x.meta_purchases, x.meta_purchase_value"""
OF_ADS: LiteralString = f"""{OF_AD_BLOCKS}
    UNION ALL {OF_AD_DAYS}
    UNION ALL
    SELECT {OF_CONVERTED} FROM ({CONVERTED.format(only=ONLY.format(row="x.ad_ref", among="grouped"))}) AS x"""  # noqa: S608 - constants only
OF_PARENTS: LiteralString = f"""{OF_BLOCKS}
    UNION ALL
    SELECT {OF_CONVERTED} FROM ({CONVERTED.format(only="")}) AS x {OF_THAT_AD}
    {ONLY.format(row="coalesce(m.{parent}, '')", among="grouped")}"""  # noqa: S608 - constants only
SPENT: LiteralString = """
    SELECT sum(spend) AS spend, sum(spend * (%(factors)s::numeric[])[slot + 1]) AS gross, sum(impressions) AS impressions,
        sum(clicks) AS clicks, sum(link_clicks) AS link_clicks, sum(conversations) AS meta_conversations, sum(meta_leads) AS meta_leads,
        sum(meta_purchases) AS meta_purchases, sum(meta_purchase_value) AS meta_purchase_value
    FROM ({of}) AS x"""
COST: LiteralString = """sum(CASE WHEN sales <> 0 OR revenue <> 0 THEN
        coalesce(revenue, 0) * (%({rates})s::numeric[])[cost + 1] + sales * (%({fixed})s::numeric[])[cost + 1] END)"""
PRODUCT_COST: LiteralString = COST.format(rates="product_rates", fixed="product_fixed")
FEES: LiteralString = COST.format(rates="fee_rates", fixed="fee_fixed")
COUNTED: LiteralString = f"""
    SELECT sum(leads) AS leads, sum(conversations) AS conversations, sum(with_clid) AS with_clid, sum(qualified) AS qualified, sum(sales) AS sales,
        sum(valueless) AS valueless, sum(revenue) AS revenue, sum(refunds) AS refunds, coalesce(sum(unrated), 0) AS unrated,
        {PRODUCT_COST} AS product_cost, {FEES} AS fees
    FROM events JOIN acc ON acc.ref = account_ref WHERE at >= %(total_begins)s AND at < %(total_ends)s"""  # noqa: S608 - constants only
TOTALS: LiteralString = ", spent.*, told.* FROM ({spent}) AS spent CROSS JOIN ({told}) AS told"
PARENTS: dict[str, LiteralString] = {"campaign": "meta_campaign_id", "adset": "meta_ad_set_id"}


def totals(level: str) -> LiteralString:
    """What the statement also answers, as the columns of amounts.

    Its pieces of the period (cut_…) are cut where the tax changes, also where the order does not depend on that.
    """
    of = OF_ADS if level == "ad" else OF_PARENTS.format(parent=PARENTS[level])
    of = of.replace("%(b_", "%(cut_b_").replace("%(a_", "%(cut_a_")
    return TOTALS.format(spent=SPENT.format(of=of), told=COUNTED)
