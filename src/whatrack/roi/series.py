"""Beside the table: each day, how long sales take, who sold, and exactly which tickets a number is made of."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString

import msgspec
from psycopg.rows import dict_row

from whatrack.db import Connection
from whatrack.errors import bad_value
from whatrack.roi import costs as cost_rules
from whatrack.roi import hours, periods
from whatrack.roi import scope as scopes
from whatrack.roi.answers import Age, Behind, BehindKind, Cohort, Day, Salesperson, Times
from whatrack.roi.ask import Ask
from whatrack.roi.events import (
    ANY_AD,
    EACH_AD,
    FACTS,
    GIVEN_BACK,
    MARKED,
    REFUND_AT,
    REFUND_WITHIN,
    REFUNDED,
    SOLD,
    counted,
)
from whatrack.roi.metrics import Amounts
from whatrack.roi.scope import Scope
from whatrack.roi.sums import (
    ABROAD,
    ALLOWED,
    ALLOWED_KEYS,
    KEYS,
    SCOPE,
    SPEND_AT_RATE,
    VALUE_AT_RATE,
)
from whatrack.units import from_minor

EVERYTHING: LiteralString = ""
KIND: LiteralString = """CASE WHEN c.account_ref IS NOT NULL THEN 'own' WHEN c.ad_ref = -1 THEN 'organic' WHEN c.ad_ref = -2 THEN 'post'
    WHEN c.ad_ref = -3 THEN 'unidentified' ELSE 'unconnected' END"""
OF_ACCOUNT: LiteralString = "LEFT JOIN acc ON acc.ref = c.account_ref"
OF_AD: LiteralString = (
    f"{OF_ACCOUNT} LEFT JOIN meta_ads m ON m.organization_id = %(organization)s AND m.ref = c.ad_ref"
)
ALL_OF_IT: LiteralString = "true"
IN_SCOPE: LiteralString = "CASE WHEN c.account_ref IS NULL THEN %(whole)s ELSE acc.in_scope END"

SPEND_SUMS: LiteralString = """sum({spend})::bigint AS spend, sum(x.impressions)::bigint AS impressions, sum(x.clicks)::bigint AS clicks,
    sum(x.link_clicks)::bigint AS link_clicks, sum(x.conversations)::bigint AS meta_conversations, sum(x.meta_leads)::bigint AS meta_leads,
    sum(x.meta_purchases)::bigint AS meta_purchases, sum({value})::bigint AS meta_purchase_value"""
AS_IT_IS: LiteralString = SPEND_SUMS.format(spend="x.spend", value="x.meta_purchase_value")
AT_ITS_RATE: LiteralString = SPEND_SUMS.format(spend=SPEND_AT_RATE, value=VALUE_AT_RATE)
# {days}: of accounts, or of the ads that a filter leaves. {only}: that filter.
SPENT_DAYS: LiteralString = f"""
SELECT day, sum(spend) AS spend, sum(spend * (%(factors)s::numeric[])[slot + 1]) AS gross, sum(impressions) AS impressions, sum(clicks) AS clicks,
    sum(link_clicks) AS link_clicks, sum(meta_conversations) AS meta_conversations, sum(meta_leads) AS meta_leads,
    sum(meta_purchases) AS meta_purchases, sum(meta_purchase_value) AS meta_purchase_value
FROM (
    SELECT {{day}} AS day, p.slot, {AS_IT_IS}
    FROM unnest(%(g_group)s::int[], %(g_first)s::date[], %(g_last)s::date[], %(g_slot)s::int[]) AS p (place, first, last, slot)
    JOIN unnest(%(a_account)s::int[], %(a_group)s::int[]) AS a (account_ref, place) USING (place)
    JOIN {{days}} {{only}} GROUP BY 1, 2
    UNION ALL
    SELECT x.day, p.slot, {AT_ITS_RATE} FROM {ABROAD} {{only}} GROUP BY 1, 2
) AS spent GROUP BY 1
"""  # noqa: S608 - constants only
ACCOUNT_DAYS: LiteralString = """LATERAL (SELECT * FROM insight_blocks b WHERE b.organization_id = %(organization)s AND b.level = 0
        AND b.account_ref = a.account_ref AND b.size = 1 AND b.block BETWEEN p.first - date '2000-01-01' AND p.last - date '2000-01-01'
        OFFSET 0) AS x ON true"""
DAY_OF_BLOCK: LiteralString = "date '2000-01-01' + x.block"
AD_DAYS: LiteralString = """meta_ad_insights_daily x ON x.organization_id = %(organization)s AND x.account_ref = a.account_ref
        AND x.day BETWEEN p.first AND p.last"""
DAY: LiteralString = "x.day"
ADS_OF_ALLOWED: LiteralString = """WHERE x.ad_ref IN (SELECT m.ref FROM meta_ads m
    WHERE m.organization_id = %(organization)s AND {key} IN (SELECT key FROM allowed))"""
ACCOUNTS_OF_ALLOWED: LiteralString = "WHERE x.account_ref IN (SELECT key FROM allowed)"
COUNTED_DAYS: LiteralString = """
WITH {scope}, {allowed} {marked}, counted AS ({counted})
SELECT c.bucket AS day, sum(c.conversations) AS conversations, sum(c.with_clid) AS with_clid, sum(c.leads) AS leads, sum(c.qualified) AS qualified,
    sum(c.sales) AS sales, sum(c.valueless) AS sales_without_value, sum(c.revenue) AS revenue, sum(c.refunds) AS refunds,
    sum(coalesce(c.revenue, 0) * (%(product_rates)s::numeric[])[c.cost + 1] + c.sales * (%(product_fixed)s::numeric[])[c.cost + 1]) AS product_cost,
    sum(coalesce(c.revenue, 0) * (%(fee_rates)s::numeric[])[c.cost + 1] + c.sales * (%(fee_fixed)s::numeric[])[c.cost + 1]) AS fees,
    sum(c.leads) FILTER (WHERE c.account_ref IS NOT NULL) AS attributed_leads,
    sum(c.qualified) FILTER (WHERE c.account_ref IS NOT NULL) AS attributed_qualified,
    sum(c.sales) FILTER (WHERE c.account_ref IS NOT NULL) AS attributed_sales,
    sum(c.revenue) FILTER (WHERE c.account_ref IS NOT NULL) AS attributed_revenue
FROM counted c {of_ad} WHERE {in_scope} {only} GROUP BY 1
"""
DAY_BUCKETS: LiteralString = "width_bucket(at, %(days)s::timestamptz[])"
KEY_ALLOWED: LiteralString = "AND {key} IN (SELECT key FROM allowed)"
# {allowed}, {of_ad}, {only}: what a filter leaves; see _filtered.
TIMES: LiteralString = f"""
WITH {SCOPE}, {{allowed}} {MARKED}, sold AS (
    SELECT c.w, extract(epoch FROM c.won_at - c.touched_at) / 3600 AS hours
    FROM (SELECT f.* FROM {FACTS} WHERE f.won_at >= %(lo)s AND f.won_at < %(hi)s AND f.ad_ref <> -1) AS c {{of_ad}}
    WHERE {IN_SCOPE} AND c.ad_ref <> -2 {{only}}
), took AS (SELECT hours, sum(w) AS count FROM sold GROUP BY 1 HAVING sum(w) > 0),
ranked AS (SELECT hours, count, sum(count) OVER (ORDER BY hours) AS upto, sum(count) OVER () AS whole FROM took)
SELECT coalesce(max(whole), 0), min(hours) FILTER (WHERE upto * 2 >= whole), min(hours) FILTER (WHERE upto * 4 >= whole * 3),
    ARRAY(SELECT coalesce(sum(count) FILTER (WHERE hours <= d * 24), 0) FROM took, unnest(%(curve)s::int[]) WITH ORDINALITY AS c (d, n)
          GROUP BY n ORDER BY n)
FROM ranked
"""  # noqa: S608 - constants only
# By click: what has not reached an age says nothing about it, so each point has a base of its own.
COHORT: LiteralString = f"""
WITH {SCOPE}, {{allowed}} {MARKED}, clicked AS MATERIALIZED (
    SELECT c.w, c.touched_at, c.won_at
    FROM (SELECT f.* FROM {FACTS} WHERE f.touched_at >= %(lo)s AND f.touched_at < %(hi)s AND f.is_lead AND f.ad_ref <> -1) AS c {{of_ad}}
    WHERE {IN_SCOPE} AND c.ad_ref <> -2 {{only}}
)
SELECT p.days, coalesce(sum(c.w) FILTER (WHERE c.touched_at <= p.upto), 0)::int,
    coalesce(sum(c.w) FILTER (WHERE c.touched_at <= p.upto AND c.won_at <= c.touched_at + p.days * interval '24 hours'), 0)::int,
    coalesce(sum(c.w), 0)::int, coalesce(sum(c.w) FILTER (WHERE c.won_at IS NOT NULL), 0)::int
FROM (SELECT days, %(now)s::timestamptz - days * interval '24 hours' AS upto FROM unnest(%(curve)s::int[]) AS days) AS p
LEFT JOIN clicked c ON true GROUP BY 1 ORDER BY 1
"""  # noqa: S608 - constants only
CURVE = (1, 2, 3, 5, 7, 14, 21, 30, 45, 60, 90)
SELLERS: LiteralString = f"""
WITH {SCOPE}, {{allowed}} {MARKED}, told AS (
    SELECT f.ticket_id, f.ad_ref, f.account_ref, f.w AS sales, f.w * {SOLD} AS revenue, 0::bigint AS refunds
    FROM {FACTS} WHERE f.won_at >= %(lo)s AND f.won_at < %(hi)s
    UNION ALL
    SELECT f.ticket_id, f.ad_ref, f.account_ref, 0, 0, f.w * {GIVEN_BACK}
    FROM {REFUNDED}
    WHERE r.organization_id = %(organization)s AND {REFUND_WITHIN} AND f.won_at IS NOT NULL
)
SELECT t.owner_id AS user_id, u.name, sum(c.sales)::int AS sales, coalesce(sum(c.revenue), 0) / 100.0 AS revenue,
    coalesce(sum(c.refunds), 0) / 100.0 AS refunds
FROM told c JOIN tickets t ON t.organization_id = %(organization)s AND t.id = c.ticket_id
LEFT JOIN users u ON u.id = t.owner_id {{of_ad}} WHERE {IN_SCOPE} {{only}}
GROUP BY 1, 2 HAVING sum(c.sales) <> 0 OR sum(c.refunds) <> 0 ORDER BY revenue DESC, u.name, t.owner_id
"""  # noqa: S608 - constants only
# What one fact adds to each number, by sale and by click; {at} is the day it belongs to.
LEAD: LiteralString = "f.is_lead"
PARTS: dict[
    str, tuple[LiteralString, LiteralString, LiteralString]
] = {  # when, on the sale's basis; which; how much
    "leads": ("opened_at", "f.is_lead", "1"),
    "conversations": ("opened_at", "f.is_conversation", "1"),
    "with_clid": ("opened_at", "f.is_conversation AND f.has_clid", "1"),
    "qualified": ("qualified_at", "f.qualified_at IS NOT NULL", "1"),
    "sales": ("won_at", "f.won_at IS NOT NULL", "1"),
    "sales_without_value": ("won_at", "f.won_at IS NOT NULL AND f.value IS NULL", "1"),
    "revenue": ("won_at", "f.won_at IS NOT NULL", SOLD),
}
METRICS = (*PARTS, "refunds")
FACT_PARTS: LiteralString = f"""
SELECT f.ticket_id, f.ad_ref, f.account_ref, f.{{at}} AS at, f.w * ({{part}}) AS part FROM {FACTS}
WHERE {{which}} AND f.{{at}} >= %(lo)s AND f.{{at}} < %(hi)s
"""  # noqa: S608 - constants only
REFUND_PARTS: LiteralString = f"""
SELECT f.ticket_id, f.ad_ref, f.account_ref, {{at}} AS at, f.w * {GIVEN_BACK} AS part
FROM {REFUNDED}
WHERE r.organization_id = %(organization)s AND f.won_at IS NOT NULL AND {{at}} >= %(lo)s AND {{at}} < %(hi)s
"""  # noqa: S608 - constants only
BEHIND: LiteralString = """
WITH {scope}, {allowed} {marked}, told AS ({parts})
SELECT c.ticket_id, c.at, sum(c.part) AS part FROM told c {of_ad}
WHERE {in_scope} AND width_bucket(c.at, %(bounds)s::timestamptz[])
    BETWEEN coalesce(acc.first_bucket, %(first_bucket)s) AND coalesce(acc.last_bucket, %(last_bucket)s) {only}
GROUP BY 1, 2 HAVING sum(c.part) <> 0 ORDER BY 2 DESC, 1
"""
OF_KIND: LiteralString = f"AND {KIND} = %(kind)s"
# {only}: what a filter leaves, as the salespeople's figures have it.
OF_PERSON: LiteralString = """{only} AND coalesce((SELECT t.owner_id FROM tickets t
    WHERE t.organization_id = %(organization)s AND t.id = c.ticket_id)::text, '') = %(key)s"""
OF_KEY: LiteralString = f"AND {KIND} = 'own' AND {{key}} = %(key)s"
ROW_KEYS: dict[BehindKind, LiteralString] = {
    "account": "acc.ref::text",
    "campaign": "coalesce(m.meta_campaign_id, '')",
    "adset": "coalesce(m.meta_ad_set_id, '')",
    "ad": "m.meta_ad_id",
}


async def daily(conn: Connection, about: Scope, ask: Ask) -> list[Day]:
    """Each day of the period; ours in the zone of the totals."""
    days = periods.days(ask.since, ask.until)
    values = scopes.values(about, ask, zone=about.zone)
    bounds = [periods.begins(day, about.zone) for day in (*days, ask.until + timedelta(days=1))]
    values |= hours.values(bounds, values["cost_starts"], 0 if _is_summed(about, ask) else None)
    values["days"] = bounds
    spent = {row["day"]: row for row in await _dicts(conn, _spent_days(ask), values)}
    told = {days[row["day"] - 1]: row for row in await _dicts(conn, _counted_days(about, ask), values)}
    return [Day(day, _of_day(about, spent.get(day, {}), told.get(day, {}))) for day in days]


def _is_summed(about: Scope, ask: Ask) -> bool:
    """Whether the days are those of everything, so that sums of hours serve; by click, no sum tells a sale's costs."""
    is_one_cost = ask.basis == "sale" or not cost_rules.sale_costs(about.costs).starts
    return about.whole and is_one_cost


def _spent_days(ask: Ask) -> LiteralString:
    if not scopes.is_filtered(ask):
        return SPENT_DAYS.format(day=DAY_OF_BLOCK, days=ACCOUNT_DAYS, only=EVERYTHING)
    if ask.level == "account":
        return _with_allowed(ask) + SPENT_DAYS.format(
            day=DAY_OF_BLOCK, days=ACCOUNT_DAYS, only=ACCOUNTS_OF_ALLOWED
        )
    only = ADS_OF_ALLOWED.format(key=ALLOWED_KEYS[ask.level])
    return _with_allowed(ask) + SPENT_DAYS.format(day=DAY, days=AD_DAYS, only=only)


def _with_allowed(ask: Ask) -> LiteralString:
    return ALONE.format(_allowed(ask))


ALONE: LiteralString = "WITH {} nothing AS (SELECT 1) "


def _allowed(ask: Ask) -> LiteralString:
    """The filter's CTE, with the comma that ends it."""
    return ALLOWED[ask.level] if scopes.is_filtered(ask) else EVERYTHING


def _only_allowed(ask: Ask) -> LiteralString:
    return KEY_ALLOWED.format(key=KEYS[ask.level][1]) if scopes.is_filtered(ask) else EVERYTHING


def _filtered(statement: LiteralString, ask: Ask) -> LiteralString:
    """The same statement, of what the filters leave."""
    of_ad = OF_AD if scopes.is_filtered(ask) else OF_ACCOUNT
    return statement.format(allowed=_allowed(ask), of_ad=of_ad, only=_only_allowed(ask))


def _counted_days(about: Scope, ask: Ask) -> LiteralString:
    is_filtered = scopes.is_filtered(ask)
    return COUNTED_DAYS.format(
        scope=SCOPE,
        allowed=_allowed(ask),
        marked=MARKED,
        counted=counted(
            by_click=ask.basis == "click",
            ad=EACH_AD if is_filtered else ANY_AD,
            bucket=DAY_BUCKETS,
            costs=any(cost.kind != "meta_tax" for cost in about.costs),
        ),
        of_ad=OF_AD if is_filtered else OF_ACCOUNT,
        in_scope=ALL_OF_IT if about.whole else IN_SCOPE,
        only=_only_allowed(ask),
    )


def _of_day(about: Scope, spent: dict[str, Any], counted: dict[str, Any]) -> Amounts:
    unit = from_minor(1, about.currency)
    money = ("revenue", "refunds", "product_cost", "fees", "attributed_revenue")
    ours: dict[str, Any] = {
        name: Decimal(number or 0) / 100 if name in money else int(number or 0)
        for name, number in counted.items()
        if name != "day"
    }
    ads = ("impressions", "clicks", "link_clicks", "meta_conversations", "meta_leads", "meta_purchases")
    theirs: dict[str, Any] = {name: int(spent.get(name) or 0) for name in ads}
    paid: dict[str, Any] = {
        "spend": (spent.get("spend") or 0) * unit,
        "gross_spend": (spent.get("gross") or 0) * unit,
        "meta_purchase_value": (spent.get("meta_purchase_value") or 0) * unit,
    }
    return Amounts(**ours, **theirs, **paid)


async def times(conn: Connection, about: Scope, ask: Ask) -> Times:
    """How long the sales of the period took; half, and three quarters of them, took no longer than told."""
    values = scopes.values(about, ask, zone=about.zone) | {"curve": list(CURVE)}
    row = await (await conn.execute(_filtered(TIMES, ask), values)).fetchone()
    sales, median, three_quarters, upto = row or (0, None, None, [])
    curve = (
        [(day, Decimal(count) / Decimal(sales)) for day, count in zip(CURVE, upto, strict=True)]
        if sales
        else []
    )
    return Times(int(sales), median, three_quarters, curve)


async def cohort(conn: Connection, about: Scope, ask: Ask, now: datetime) -> Cohort:
    """The leads whose last touch lies in the period, and by which age they had bought."""
    values = scopes.values(about, ask, zone=about.zone) | {"curve": list(CURVE), "now": now}
    rows = await (await conn.execute(_filtered(COHORT, ask), values)).fetchall()
    leads, sales = rows[0][3:]
    return Cohort(leads, sales, [Age(*row[:3]) for row in rows])


async def salespeople(conn: Connection, about: Scope, ask: Ask) -> list[Salesperson]:
    """Sales by who owns the ticket; refunds on their own day."""
    rows = await _dicts(conn, _filtered(SELLERS, ask), scopes.values(about, ask, zone=about.zone))
    return [msgspec.convert(row, Salesperson) for row in rows]


async def behind(
    conn: Connection, about: Scope, ask: Ask, metric: str, row: tuple[BehindKind, str]
) -> list[Behind]:
    """The tickets that a number is made of."""
    if metric not in METRICS:
        raise bad_value("metric", f"Use one of {', '.join(METRICS)}.")
    kind, key = row
    is_person = kind == "person"
    is_total = kind == "total" or is_person
    if kind == "account":
        key = next((str(account.ref) for account in about.accounts if account.ad_account_id == key), "")
    values = scopes.values(about, ask, zone=about.zone if is_total else None) | {"kind": kind, "key": key}
    if is_total:
        only = OF_PERSON.format(only=_only_allowed(ask)) if is_person else _only_allowed(ask)
    else:
        only = OF_KEY.format(key=ROW_KEYS[kind]) if kind in ROW_KEYS else OF_KIND
    statement = BEHIND.format(
        scope=SCOPE,
        allowed=_allowed(ask) if is_total else EVERYTHING,
        marked=MARKED,
        parts=_parts(ask, metric),
        of_ad=OF_AD,
        in_scope=IN_SCOPE,
        only=only,
    )
    found = await (await conn.execute(statement, values)).fetchall()
    is_money = metric in ("revenue", "refunds")
    return [
        Behind(ticket, at, Decimal(part) / 100 if is_money else Decimal(part)) for ticket, at, part in found
    ]


def _parts(ask: Ask, metric: str) -> LiteralString:
    by_click = ask.basis == "click"
    if metric == "refunds":
        return REFUND_PARTS.format(at="f.touched_at" if by_click else REFUND_AT)
    at, which, part = PARTS[metric]
    return FACT_PARTS.format(at="touched_at" if by_click else at, which=which, part=part)


async def _dicts(conn: Connection, statement: LiteralString, values: dict[str, Any]) -> list[dict[str, Any]]:
    async with conn.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(statement, values)).fetchall()
