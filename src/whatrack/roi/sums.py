"""The one statement behind the table: spend and tickets summed into rows, filtered, sorted, a page of them and the totals.

Spend is read as blocks and days (insights/rollups.py), tickets as facts (facts.py), those that changed since from the view:
added anew and, as they were, taken away. One statement is one snapshot, so rows, totals and special rows agree.
Money of tickets is in hundredths of the report's currency, spend in its minor units.
"""

from typing import Any, LiteralString

import msgspec
from psycopg.rows import dict_row

from whatrack.db import Connection
from whatrack.roi.events import (
    ANY_AD,
    ANYTHING,
    EACH_AD,
    MANY_BUCKETS,
    MARKED,
    ONE_BUCKET,
    counted,
    of_ads,
)

# p.sign: 1, or −1 for what a larger block has beyond the period; p.weight: the same in doubles.
SUMS: LiteralString = """sum({days})::bigint AS days, sum(p.sign * x.spend)::bigint AS spend, sum(p.sign * x.impressions)::bigint AS impressions,
    sum(p.sign * x.clicks)::bigint AS clicks, sum(p.sign * x.link_clicks)::bigint AS link_clicks, sum(p.sign * x.conversations)::bigint AS meta_conversations,
    sum(p.sign * x.meta_leads)::bigint AS meta_leads, sum(p.sign * x.meta_purchases)::bigint AS meta_purchases,
    sum(p.sign * x.meta_purchase_value)::bigint AS meta_purchase_value"""
OF_BLOCK: LiteralString = SUMS.format(days="p.sign * x.days")
OF_DAY: LiteralString = SUMS.format(days="p.sign")
# Pieces of the period, each for every account of its group.
PIECES: LiteralString = """unnest(%(b_group)s::int[], %(b_size)s::int[], %(b_block)s::int[], %(b_sign)s::int[], %(b_sign)s::float8[], %(b_slot)s::int[], %(b_factor)s::float8[])
        AS p (place, size, block, sign, weight, slot, factor)
    JOIN unnest(%(a_account)s::int[], %(a_group)s::int[]) AS a (account_ref, place) USING (place)"""
OF_BLOCKS: LiteralString = f"""{PIECES}
    JOIN insight_blocks x ON x.organization_id = %(organization)s AND x.level = %(blocks_level)s AND x.account_ref = a.account_ref
        AND x.size = p.size AND x.block = p.block"""
OF_AD_BLOCKS: LiteralString = f"""{PIECES}
    JOIN insight_ad_blocks x ON x.organization_id = %(organization)s AND x.account_ref = a.account_ref AND x.size = p.size
        AND x.block = p.block AND p.size > 1"""
# One account's days at a time: joined otherwise, all of its days were read for each piece.
OF_AD_DAYS: LiteralString = f"""{PIECES}
    CROSS JOIN LATERAL (SELECT * FROM meta_ad_insights_daily d WHERE d.organization_id = %(organization)s AND d.account_ref = a.account_ref
        AND p.size = 1 AND d.day = date '2000-01-01' + p.block OFFSET 0) AS x"""  # noqa: S608 - constants only
# Of accounts in another currency each day of an ad is converted at its own rate, and rounded, so that all sums agree; in whole
# numbers where these hold the product (times: the rate of minor units, by 10¹¹), which numeric is too slow for.
ABROAD: LiteralString = """unnest(%(f_account)s::int[], %(f_currency)s::text[], %(f_first)s::date[], %(f_last)s::date[], %(f_slot)s::int[], %(f_factor)s::float8[])
        AS p (account_ref, currency, first, last, slot, factor)
    JOIN meta_ad_insights_daily x ON x.organization_id = %(organization)s AND x.account_ref = p.account_ref AND x.day BETWEEN p.first AND p.last
    LEFT JOIN (
        SELECT currency, day, rate, CASE WHEN rate < 1e6 THEN (rate * 1e11)::bigint END AS times,
            CASE WHEN rate BETWEEN 1e-6 AND 1e6 THEN trunc(9e7 / rate)::bigint END AS most FROM (
            SELECT r.currency, r.day, r.rate * c.scale AS rate
            FROM (SELECT DISTINCT currency, scale FROM unnest(%(f_currency)s::text[], %(f_scale)s::numeric[]) AS f (currency, scale)) AS c
            JOIN fx_rates r ON r.organization_id = %(organization)s AND r.currency = c.currency AND r.into_currency = %(currency)s
            OFFSET 0) AS r OFFSET 0
    ) AS r ON r.currency = p.currency AND r.day = x.day"""
AT_RATE: LiteralString = """CASE WHEN {amount} BETWEEN 0 AND r.most THEN ({amount} * r.times + 50000000000) / 100000000000
    ELSE round({amount} * r.rate)::bigint END"""
SPEND_AT_RATE: LiteralString = AT_RATE.format(amount="x.spend")
VALUE_AT_RATE: LiteralString = AT_RATE.format(amount="x.meta_purchase_value")
# Converted once for a question, whatever its statements are: as columns, each written as PostgreSQL writes an array.
CONVERT: LiteralString = f"""
SELECT coalesce(array_agg(account_ref)::text, '{{{{}}}}') AS c_account, coalesce(array_agg(ad_ref)::text, '{{{{}}}}') AS c_ad, coalesce(array_agg(slot)::text, '{{{{}}}}') AS c_slot,
    coalesce(array_agg(days)::text, '{{{{}}}}') AS c_days, coalesce(array_agg(spend)::text, '{{{{}}}}') AS c_spend, coalesce(array_agg(own)::text, '{{{{}}}}') AS c_own,
    coalesce(array_agg(impressions)::text, '{{{{}}}}') AS c_impressions, coalesce(array_agg(unrated)::text, '{{{{}}}}') AS c_unrated,
    coalesce(array_agg(clicks)::text, '{{{{}}}}') AS c_clicks, coalesce(array_agg(link_clicks)::text, '{{{{}}}}') AS c_link_clicks,
    coalesce(array_agg(meta_conversations)::text, '{{{{}}}}') AS c_conversations, coalesce(array_agg(meta_leads)::text, '{{{{}}}}') AS c_leads,
    coalesce(array_agg(meta_purchases)::text, '{{{{}}}}') AS c_purchases, coalesce(array_agg(meta_purchase_value)::text, '{{{{}}}}') AS c_value
FROM (
    SELECT p.account_ref, {{ad}} AS ad_ref, p.slot, count(*) AS days, sum({SPEND_AT_RATE})::bigint AS spend, sum(x.spend)::bigint AS own, sum(x.impressions)::bigint AS impressions,
        sum(CASE WHEN r.rate IS NULL THEN x.impressions END)::bigint AS unrated, sum(x.clicks)::bigint AS clicks,
        sum(x.link_clicks)::bigint AS link_clicks, sum(x.conversations)::bigint AS meta_conversations, sum(x.meta_leads)::bigint AS meta_leads,
        sum(x.meta_purchases)::bigint AS meta_purchases, sum({VALUE_AT_RATE})::bigint AS meta_purchase_value
    FROM {ABROAD} GROUP BY 1, 2, 3) AS c"""  # noqa: S608 - constants only
EACH: LiteralString = "x.ad_ref"
ANY: LiteralString = "0"
CONVERTED: LiteralString = """unnest(%(c_account)s::int[], %(c_ad)s::int[], %(c_slot)s::int[], %(c_days)s::bigint[], %(c_spend)s::bigint[], %(c_impressions)s::bigint[],
        %(c_unrated)s::bigint[], %(c_clicks)s::bigint[], %(c_link_clicks)s::bigint[], %(c_conversations)s::bigint[], %(c_leads)s::bigint[],
        %(c_purchases)s::bigint[], %(c_value)s::bigint[])
    AS x (account_ref, ad_ref, slot, days, spend, impressions, unrated, clicks, link_clicks, meta_conversations, meta_leads, meta_purchases, meta_purchase_value)"""
# Of few ads, looked up one by one: joined, the whole catalog would be read.
OF_THAT_AD: LiteralString = """CROSS JOIN LATERAL (
        SELECT * FROM meta_ads m WHERE m.organization_id = %(organization)s AND m.ref = x.ad_ref OFFSET 0) AS m"""
ADDED: LiteralString = """sum(x.days)::bigint, sum(x.spend)::bigint, sum(x.impressions)::bigint, sum(x.clicks)::bigint, sum(x.link_clicks)::bigint,
    sum(x.meta_conversations)::bigint, sum(x.meta_leads)::bigint, sum(x.meta_purchases)::bigint, sum(x.meta_purchase_value)::bigint"""
SPENT_BY_AD: LiteralString = f"""spent AS MATERIALIZED (
    SELECT x.ad_ref AS key, p.slot, {OF_BLOCK} FROM {OF_AD_BLOCKS} {{only}} GROUP BY 1, 2
    UNION ALL
    SELECT x.ad_ref, p.slot, {OF_DAY} FROM {OF_AD_DAYS} {{only}} GROUP BY 1, 2
    UNION ALL
    SELECT x.ad_ref, x.slot, {ADDED} FROM {CONVERTED} {{only}} GROUP BY 1, 2
)"""  # noqa: S608 - constants only
SPENT_BY_PARENT: LiteralString = f"""spent AS MATERIALIZED (
    SELECT x.key, p.slot, {OF_BLOCK} FROM {OF_BLOCKS} {{only_keys}} GROUP BY 1, 2
    UNION ALL
    SELECT {{key}}, x.slot, {ADDED} FROM {CONVERTED}
    {OF_THAT_AD} {{only}} GROUP BY 1, 2
)"""  # noqa: S608 - constants only
SPENT_BY_ACCOUNT: LiteralString = f"""spent AS MATERIALIZED (
    SELECT x.account_ref AS key, p.slot, {OF_BLOCK} FROM {OF_BLOCKS} GROUP BY 1, 2
    UNION ALL
    SELECT x.account_ref, x.slot, {ADDED} FROM {CONVERTED} GROUP BY 1, 2
)"""  # noqa: S608 - constants only
SPENT: dict[str, LiteralString] = {
    "account": SPENT_BY_ACCOUNT,
    "campaign": SPENT_BY_PARENT,
    "adset": SPENT_BY_PARENT,
    "ad": SPENT_BY_AD,
}
# Not by the index, which would be searched once for every ad in every block.
ONLY_ADS: dict[str, LiteralString] = {
    "campaign": " WHERE x.ad_ref + 0 = ANY(%(ads)s::int[])",
    "adset": " WHERE x.ad_ref + 0 = ANY(%(ads)s::int[])",
    "ad": " WHERE x.ad_ref + 0 = ANY(%(keys)s::int[])",
}
ONLY_KEYS: LiteralString = " WHERE x.key || '' = ANY(%(keys)s)"
TOLD_BY: dict[str, tuple[LiteralString, LiteralString]] = {
    "campaign": ("WHERE key = ANY(%(keys)s)", "WHERE s.key = ANY(%(keys)s)"),
    "adset": ("WHERE key = ANY(%(keys)s)", "WHERE s.key = ANY(%(keys)s)"),
    "ad": ("WHERE ad_ref = ANY(%(keys)s::int[])", "WHERE s.ad_ref = ANY(%(keys)s::int[])"),
}
# Which account each ad is of, as far as that account is one of the organization's.
SCOPE: LiteralString = """acc AS MATERIALIZED (
    SELECT * FROM unnest(%(refs)s::int[], %(first_buckets)s::int[], %(last_buckets)s::int[], %(in_scope)s::bool[])
        AS acc (ref, first_bucket, last_bucket, in_scope)
)"""
# {counted_key}: what a row is about. Special rows have the kind alone.
JOINED: LiteralString = """joined AS (
    SELECT 'own' AS kind, s.key, s.days, s.spend, s.spend * (%(factors)s::numeric[])[s.slot + 1] AS gross, s.impressions, s.clicks,
        s.link_clicks, s.meta_conversations, s.meta_leads, s.meta_purchases, s.meta_purchase_value,
        NULL::bigint AS conversations, NULL::bigint AS with_clid, NULL::bigint AS leads, NULL::bigint AS qualified, NULL::bigint AS sales,
        NULL::bigint AS valueless, NULL::bigint AS revenue, NULL::bigint AS refunds, NULL::numeric AS product_cost, NULL::numeric AS fees,
        NULL::bigint AS unrated
    FROM spent s
    UNION ALL
    SELECT CASE WHEN c.account_ref IS NOT NULL THEN 'own' WHEN c.ad_ref = -1 THEN 'organic' WHEN c.ad_ref = -2 THEN 'post'
                WHEN c.ad_ref = -3 THEN 'unidentified' ELSE 'unconnected' END,
        CASE WHEN c.account_ref IS NOT NULL THEN {counted_key} END, NULL, NULL, NULL, z.zero, z.zero, z.zero, z.zero, z.zero, z.zero, NULL,
        c.conversations, c.with_clid, c.leads, c.qualified, c.sales, c.valueless, c.revenue, c.refunds,
        coalesce(c.revenue, 0) * (%(product_rates)s::numeric[])[c.cost + 1] + c.sales * (%(product_fixed)s::numeric[])[c.cost + 1],
        coalesce(c.revenue, 0) * (%(fee_rates)s::numeric[])[c.cost + 1] + c.sales * (%(fee_fixed)s::numeric[])[c.cost + 1], c.unrated
    FROM counted c LEFT JOIN acc ON acc.ref = c.account_ref
    CROSS JOIN LATERAL (SELECT CASE WHEN c.account_ref IS NOT NULL THEN 0::bigint END AS zero) AS z
    WHERE c.bucket BETWEEN coalesce(acc.first_bucket, %(first_bucket)s) AND coalesce(acc.last_bucket, %(last_bucket)s)
    AND CASE WHEN c.account_ref IS NULL THEN %(whole)s ELSE acc.in_scope END{every}
)"""
COUNTED: dict[str, LiteralString] = {
    "account": "c.account_ref",
    "campaign": "c.key",
    "adset": "c.key",
    "ad": "c.ad_ref",
}
# The same by the catalog, of spent and of counted.
KEYS: dict[str, tuple[LiteralString, LiteralString]] = {
    "account": ("s.account_ref", "c.account_ref"),
    "campaign": ("coalesce(m.meta_campaign_id, '')", "coalesce(m.meta_campaign_id, '')"),
    "adset": ("coalesce(m.meta_ad_set_id, '')", "coalesce(m.meta_ad_set_id, '')"),
    "ad": ("s.ad_ref", "c.ad_ref"),
}
# effective: all statuses of the ranks asked for but those of rank 2, which are Meta's every other.
# Which rows a filter lets through, by what the catalog says today; a text is looked for in names and in Meta's ids. rank: see RANK.
RANK: LiteralString = """CASE WHEN m.effective_status = 'ACTIVE' THEN 0 WHEN m.effective_status IN ('PAUSED', 'CAMPAIGN_PAUSED', 'ADSET_PAUSED') THEN 1
    WHEN m.effective_status IN ('ARCHIVED', 'DELETED', 'NOT_VISIBLE') THEN 3 ELSE 2 END"""
ALLOWED_ADS: LiteralString = f"""allowed AS MATERIALIZED (
    SELECT m.ref AS key FROM meta_ads m WHERE m.organization_id = %(organization)s
    AND (%(campaigns)s::text[] IS NULL OR m.meta_campaign_id = ANY(%(campaigns)s) OR (m.meta_campaign_id IS NULL AND '' = ANY(%(campaigns)s)))
    AND (%(adsets)s::text[] IS NULL OR m.meta_ad_set_id = ANY(%(adsets)s) OR (m.meta_ad_set_id IS NULL AND '' = ANY(%(adsets)s)))
    AND (%(ad_ids)s::text[] IS NULL OR m.meta_ad_id = ANY(%(ad_ids)s))
    AND (%(text)s::text IS NULL OR position(folded(%(text)s) IN m.ad_called) > 0)
    AND (%(ranks)s::int[] IS NULL OR m.effective_status = ANY(%(effective)s)
         OR (2 = ANY(%(ranks)s) AND {RANK} = 2))
), """  # noqa: S608 - constants only
# Of what several ads have in common: any of their names, and the liveliest status; read from an index that has them in this order.
ALLOWED_BY: LiteralString = f"""allowed AS MATERIALIZED (
    SELECT coalesce(id, '') AS key FROM (
        SELECT {{id}} AS id, {{called}} AS called, min({RANK}) AS rank FROM meta_ads m WHERE m.organization_id = %(organization)s
        AND (%(campaigns)s::text[] IS NULL OR m.meta_campaign_id = ANY(%(campaigns)s) OR (m.meta_campaign_id IS NULL AND '' = ANY(%(campaigns)s)))
        AND (%(adsets)s::text[] IS NULL OR m.meta_ad_set_id = ANY(%(adsets)s) OR (m.meta_ad_set_id IS NULL AND '' = ANY(%(adsets)s)))
         AND (%(ad_ids)s::text[] IS NULL OR m.meta_ad_id = ANY(%(ad_ids)s)) GROUP BY 1, 2 OFFSET 0
    ) AS named
    GROUP BY id HAVING (%(text)s::text IS NULL OR bool_or(position(folded(%(text)s) IN called) > 0))
    AND (%(ranks)s::int[] IS NULL OR min(rank) = ANY(%(ranks)s))
), """  # noqa: S608 - constants only
ACCOUNT_RANK: LiteralString = "CASE WHEN NOT m.is_active THEN 1 WHEN m.account_status = 1 THEN 0 ELSE 2 END"
ALLOWED_ACCOUNTS: LiteralString = f"""allowed AS MATERIALIZED (
    SELECT m.ref AS key FROM meta_ad_accounts m WHERE m.organization_id = %(organization)s
    AND (%(text)s::text IS NULL OR position(folded(%(text)s) IN m.folded_name || ' ' || m.ad_account_id) > 0)
    AND (%(ranks)s::int[] IS NULL OR {ACCOUNT_RANK} = ANY(%(ranks)s))
), """  # noqa: S608 - constants only
ALLOWED_KEYS: dict[str, LiteralString] = {
    "campaign": "coalesce(m.meta_campaign_id, '')",
    "adset": "coalesce(m.meta_ad_set_id, '')",
    "ad": "m.ref",
}
ALLOWED: dict[str, LiteralString] = {
    "account": ALLOWED_ACCOUNTS,
    "campaign": ALLOWED_BY.format(id="m.meta_campaign_id", called="m.campaign_called"),
    "adset": ALLOWED_BY.format(id="m.meta_ad_set_id", called="m.ad_set_called"),
    "ad": ALLOWED_ADS,
}
ONLY_ALLOWED: LiteralString = "WHERE key IN (SELECT key FROM allowed)"
EVERYTHING: LiteralString = ""
# What a row is called, for sorting by it (see 0026_folded_names.sql).
NAMES: dict[str, LiteralString] = {
    "account": """LEFT JOIN (SELECT ref AS key, folded_name AS called FROM meta_ad_accounts
        WHERE organization_id = %(organization)s) n USING (key)""",
    "campaign": """LEFT JOIN (SELECT coalesce(meta_campaign_id, '') AS key, max(campaign_called) AS called FROM meta_ads
        WHERE organization_id = %(organization)s GROUP BY 1) n USING (key)""",
    "adset": """LEFT JOIN (SELECT coalesce(meta_ad_set_id, '') AS key, max(ad_set_called) AS called FROM meta_ads
        WHERE organization_id = %(organization)s GROUP BY 1) n USING (key)""",
    "ad": "LEFT JOIN (SELECT ref AS key, ad_called AS called FROM meta_ads WHERE organization_id = %(organization)s) n USING (key)",
}
# Money of no day is nothing; of days without a rate it is not known.
KNOWN: LiteralString = (
    "coalesce(sum({name}), CASE WHEN kind = 'own' AND coalesce(sum(impressions), 0) = 0 THEN 0 END)"
)
GROUPED: LiteralString = """grouped AS MATERIALIZED (
    SELECT kind, key, {spend} AS spend, {gross} AS gross, sum(impressions) AS impressions, sum(clicks) AS clicks,
        sum(link_clicks) AS link_clicks, sum(meta_conversations) AS meta_conversations, sum(meta_leads) AS meta_leads,
        sum(meta_purchases) AS meta_purchases, {value} AS meta_purchase_value, coalesce(sum(conversations), 0) AS conversations,
        coalesce(sum(with_clid), 0) AS with_clid, coalesce(sum(leads), 0) AS leads, coalesce(sum(qualified), 0) AS qualified, coalesce(sum(sales), 0) AS sales,
        coalesce(sum(valueless), 0) AS valueless, coalesce(sum(revenue), 0) AS revenue, coalesce(sum(refunds), 0) AS refunds, coalesce(sum(product_cost), 0) AS product_cost,
        coalesce(sum(fees), 0) AS fees, coalesce(sum(unrated), 0) AS unrated
    FROM joined {allowed} GROUP BY 1, 2 {having}
)"""
# A marked ticket may leave a row of nothing behind, where it was.
ANY_ROW: LiteralString = """HAVING sum(days) > 0 OR sum(leads) <> 0 OR sum(qualified) <> 0 OR sum(sales) <> 0
    OR sum(refunds) <> 0 OR kind <> 'own'"""
SPENT_ONLY: LiteralString = """HAVING sum(spend) > 0 OR (sum(spend) IS NULL AND sum(impressions) > 0) OR sum(leads) <> 0
    OR sum(qualified) <> 0 OR sum(sales) <> 0 OR sum(refunds) <> 0 OR kind <> 'own'"""
# Every account, also one without anything in the period.
EVERY_ACCOUNT: LiteralString = """
    UNION ALL
    SELECT 'own', acc.ref, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM acc WHERE acc.in_scope"""
NO_MORE: LiteralString = ""
TOTAL: LiteralString = """
    sum(spend) AS spend, sum(gross) AS gross, sum(impressions) AS impressions, sum(clicks) AS clicks, sum(link_clicks) AS link_clicks,
    sum(meta_conversations) AS meta_conversations, sum(meta_leads) AS meta_leads, sum(meta_purchases) AS meta_purchases,
    sum(meta_purchase_value) AS meta_purchase_value, sum(conversations) AS conversations, sum(with_clid) AS with_clid,
    sum(leads) AS leads, sum(qualified) AS qualified, sum(sales) AS sales, sum(valueless) AS valueless, sum(revenue) AS revenue,
    sum(refunds) AS refunds, sum(product_cost) AS product_cost, sum(fees) AS fees, sum(unrated) AS unrated
"""
# Special rows, the totals of the rest, and one page of it.
ANSWER: LiteralString = f"""
SELECT 0 AS part, 0::bigint AS count, g.kind, g.key::text, {{columns}} FROM grouped g WHERE g.kind <> 'own'
UNION ALL
SELECT 1, count(*), 'own', NULL, {TOTAL} FROM grouped WHERE kind = 'own'
UNION ALL
SELECT * FROM (
    SELECT 2, 0::bigint, g.kind, g.key::text, {{columns}} FROM grouped g {{names}} WHERE g.kind = 'own'
    ORDER BY {{order}} {{direction}} NULLS LAST, g.key LIMIT %(limit)s OFFSET %(offset)s
) AS page
"""  # noqa: S608 - constants only
GROUP_COLUMNS: LiteralString = """g.spend, g.gross, g.impressions, g.clicks, g.link_clicks, g.meta_conversations, g.meta_leads,
    g.meta_purchases, g.meta_purchase_value, g.conversations, g.with_clid, g.leads, g.qualified, g.sales, g.valueless, g.revenue,
    g.refunds, g.product_cost, g.fees, g.unrated"""
NET: LiteralString = "(g.revenue - g.refunds)"
# unit: hundredths in one minor unit of the report's currency.
SPEND: LiteralString = "(g.spend * %(unit)s)"
GROSS: LiteralString = "(g.gross * %(unit)s)"
EARNED: LiteralString = f"{NET} - g.product_cost - g.fees"
PROFIT: LiteralString = f"({EARNED} - coalesce({GROSS}, 0))"
ORDERS: dict[str, LiteralString] = {
    "spend": "g.spend", "gross_spend": "g.gross", "impressions": "g.impressions", "reach": "NULL::int", "clicks": "g.clicks",
    "link_clicks": "g.link_clicks", "meta_conversations": "g.meta_conversations", "meta_leads": "g.meta_leads",
    "meta_purchases": "g.meta_purchases", "meta_purchase_value": "g.meta_purchase_value", "conversations": "g.conversations",
    "with_clid": "g.with_clid", "leads": "g.leads", "qualified": "g.qualified", "sales": "g.sales",
    "sales_without_value": "g.valueless", "revenue": "g.revenue", "refunds": "g.refunds", "product_cost": "g.product_cost",
    "fees": "g.fees", "net_revenue": NET, "profit": PROFIT,
    "roas": f"g.revenue / nullif({SPEND}, 0)", "blended_roas": f"g.revenue / nullif({SPEND}, 0)",
    "net_roas": f"{NET} / nullif({SPEND}, 0)", "gross_roas": f"g.revenue / nullif({GROSS}, 0)",
    "roi": f"{PROFIT} / nullif({GROSS}, 0)", "roi_on_costs": f"CASE WHEN {GROSS} <> 0 THEN {PROFIT} / nullif({GROSS} + g.product_cost + g.fees, 0) END",
    "margin": f"{PROFIT} / nullif({NET}, 0)",
    "ticket_average": "g.revenue / nullif(g.sales - g.valueless, 0)",
    "cpa": "g.spend / nullif(g.sales, 0)", "cpl": "g.spend / nullif(g.leads, 0)", "cost_per_qualified": "g.spend / nullif(g.qualified, 0)",
    "cost_per_conversation": "g.spend / nullif(g.conversations, 0)",
    "cost_per_meta_conversation": "g.spend / nullif(g.meta_conversations, 0)", "cpm": "g.spend / nullif(g.impressions, 0)",
    "cpc": "g.spend / nullif(g.link_clicks, 0)", "cpc_all": "g.spend / nullif(g.clicks, 0)",
    "ctr": "g.link_clicks / nullif(g.impressions, 0)", "ctr_all": "g.clicks::numeric / nullif(g.impressions, 0)",
    "frequency": "NULL::int", "conversation_rate": "g.conversations / nullif(g.link_clicks, 0)",
    "qualification_rate": "g.qualified / nullif(g.leads, 0)", "conversion_rate": "g.sales::numeric / nullif(g.leads, 0)",
    "close_rate": "g.sales / nullif(g.qualified, 0)",
    "name": "n.called",
}  # fmt: skip


class Sum(msgspec.Struct, frozen=True):
    """One row as summed: what it is about (key is None for special rows and totals), and what was found."""

    part: int
    count: int
    kind: str
    key: str | None
    found: dict[str, Any]


class Statement(msgspec.Struct, frozen=True):
    """How to ask. of_ads: of those of the values, and of the rows that they make up, alone.

    few: so few ads that their tickets are looked up one by one.
    """

    level: str
    by_click: bool
    zones: bool
    costs: bool
    filtered: bool
    spent_only: bool
    sort: str
    descending: bool
    of_ads: bool = False
    few: bool = False

    def text(self) -> LiteralString:
        """The whole statement."""
        by_account = self.level == "account"
        by_ad = counted(
            by_click=self.by_click,
            ad=EACH_AD if self.level == "ad" else ANY_AD,
            level=self.level,
            bucket=MANY_BUCKETS if self.zones else ONE_BUCKET,
            costs=self.costs,
            only=TOLD_BY[self.level] if self.of_ads and not self.few else ANYTHING,
        )
        joined = JOINED.format(
            counted_key=COUNTED[self.level],
            every=EVERY_ACCOUNT if by_account and not self.spent_only else NO_MORE,
        )
        grouped = GROUPED.format(
            spend=KNOWN.format(name="spend"),
            gross=KNOWN.format(name="gross"),
            value=KNOWN.format(name="meta_purchase_value"),
            allowed=ONLY_ALLOWED if self.filtered else EVERYTHING,
            having=SPENT_ONLY if self.spent_only else ANY_ROW,
        )
        answer = ANSWER.format(
            columns=GROUP_COLUMNS,
            names=NAMES[self.level] if self.sort == "name" else NO_MORE,
            order=ORDERS[self.sort],
            direction=DOWN if self.descending else UP,
        )
        spent = SPENT[self.level].format(
            key=KEYS[self.level][1],
            only=ONLY_ADS[self.level] if self.of_ads else EVERYTHING,
            only_keys=ONLY_KEYS if self.of_ads else EVERYTHING,
        )
        whole = WHOLE.format(
            SCOPE,
            ALLOWED[self.level] if self.filtered else EVERYTHING,
            MARKED,
            spent,
            by_ad,
            joined,
            grouped,
            answer,
        )
        return of_ads(whole) if self.few else whole


WHOLE: LiteralString = "WITH {}, {} {}, {}, counted AS MATERIALIZED ({}), {}, {} {}"
UP: LiteralString = "ASC"
DOWN: LiteralString = "DESC"


# Sums of an organization's every ad fit in memory, not in the server's default of 4 MB; workers cost more than they save; and
# how many days, accounts and ads are asked for decides how to read them, so each question is planned anew. It expects few rows
# of an array's elements and would sort them; many more are there, and hashing them is quicker. What is read is in memory or nearly:
# one page costs as much as the next, so an index that has all that is asked is read instead of every tenant's rows.
ROOM: LiteralString = """SELECT set_config('work_mem', '64MB', true), set_config('max_parallel_workers_per_gather', '0', true),
    set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_sort', 'off', true),
    set_config('random_page_cost', '1.1', true)"""


async def convert(conn: Connection, values: dict[str, object], *, by_ad: bool) -> dict[str, str]:
    """What accounts in other currencies spent, at the rate of each day, as values of the statements: by ad, or by account alone."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        statement = CONVERT.format(ad=EACH if by_ad else ANY)
        return await (await cursor.execute(statement, values)).fetchone() or {}


async def read(conn: Connection, statement: Statement, values: dict[str, object]) -> list[Sum]:
    """Special rows, then the totals of the others (with how many there are), then the page of them."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        rows = await (await cursor.execute(statement.text(), values)).fetchall()
    return [Sum(row.pop("part"), row.pop("count"), row.pop("kind"), row.pop("key"), row) for row in rows]
