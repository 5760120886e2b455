"""What tickets tell of a period, as events: leads, qualified, sales and repayments, each with its instant and its ad.

Tickets are read as facts (facts.py); those that changed since they were followed from the view: added anew and, as they were,
taken away, in the same statement. Money of tickets is in hundredths of the report's currency.
"""

from typing import LiteralString

# Tickets that changed since they were followed: as they were, to be taken away, and as they are.
MARKED: LiteralString = """marked AS MATERIALIZED (
    SELECT ARRAY(SELECT DISTINCT unnest(ticket_ids) FROM ticket_marks WHERE organization_id = %(organization)s) AS ids
), changed AS MATERIALIZED (
    SELECT -1 AS w, f.* FROM roi_tickets f
    WHERE f.organization_id = %(organization)s AND f.ticket_id = ANY((SELECT ids FROM marked)::uuid[])
    UNION ALL
    SELECT 1, f.* FROM ticket_facts f
    WHERE f.organization_id = %(organization)s AND f.ticket_id = ANY((SELECT ids FROM marked)::uuid[])
)"""
# Every fact of the organization, as it is now; sums are of w times what is counted.
FACTS: LiteralString = """(
    SELECT 1 AS w, f.* FROM roi_tickets f WHERE f.organization_id = %(organization)s UNION ALL SELECT * FROM changed
) AS f"""
FACTS_OF_ADS: LiteralString = """(
    SELECT 1 AS w, f.* FROM roi_tickets f WHERE f.organization_id = %(organization)s AND f.ad_ref = ANY(%(ads)s)
    UNION ALL SELECT * FROM changed c WHERE c.ad_ref = ANY(%(ads)s)
) AS f"""
# The facts of the parts of a period that no block covers; and of all of it, those that changed. {at}: by which date.
EDGES: LiteralString = """(
    SELECT 1 AS w, f.* FROM unnest(%(t_from)s::timestamptz[], %(t_to)s::timestamptz[]) AS q (lo, hi) CROSS JOIN LATERAL (
        SELECT * FROM roi_tickets f WHERE f.organization_id = %(organization)s AND f.{at} >= q.lo AND f.{at} < q.hi OFFSET 0) AS f
    UNION ALL SELECT * FROM changed
) AS f"""
# Leads alone; the column itself is not asked for, as no index has it.
OPENED: LiteralString = (
    EDGES.format(at="opened_at")
    .replace("OFFSET 0", "AND f.is_lead OFFSET 0")
    .replace("FROM changed", "FROM changed WHERE is_lead")
)
BY_QUALIFIED: LiteralString = EDGES.format(at="qualified_at")
WON: LiteralString = EDGES.format(at="won_at")
TOUCHED: LiteralString = EDGES.format(at="touched_at")
# Sales in other currencies, of the parts that blocks cover: a block has no days to convert by.
ABROAD_FACTS: LiteralString = """(
    SELECT 1 AS w, f.* FROM unnest(%(s_from)s::timestamptz[], %(s_to)s::timestamptz[]) AS q (lo, hi) CROSS JOIN LATERAL (
        SELECT * FROM roi_tickets f WHERE f.organization_id = %(organization)s AND f.currency < %(currency)s AND f.won_at IS NOT NULL
            AND f.{at} >= q.lo AND f.{at} < q.hi
        UNION ALL
        SELECT * FROM roi_tickets f WHERE f.organization_id = %(organization)s AND f.currency > %(currency)s AND f.won_at IS NOT NULL
            AND f.{at} >= q.lo AND f.{at} < q.hi) AS f
) AS f"""
LEADS_OF_ADS: LiteralString = FACTS_OF_ADS.replace("f.ad_ref =", "f.is_lead AND f.ad_ref =").replace(
    "c.ad_ref =", "c.is_lead AND c.ad_ref ="
)
# What an event's ad belongs to, where a statement asks for it (keyed): no index has that.
NO_KEY: LiteralString = "''::text"
KEYS: dict[str, LiteralString] = {"campaign": "f.campaign_id", "adset": "f.ad_set_id"}
# What tickets tell of a period, as events. in_base, abroad: sales in the report's currency and in others; a sale without a
# rate counts, its money is told apart.
SOLD: LiteralString = """CASE WHEN f.currency = %(currency)s THEN f.value
    ELSE round(f.value * (SELECT r.rate FROM fx_rates r WHERE r.organization_id = %(organization)s AND r.currency = f.currency
        AND r.into_currency = %(currency)s AND r.day = (f.won_at AT TIME ZONE %(zone)s)::date), %(places)s)::bigint END"""
GIVEN_BACK: LiteralString = """CASE WHEN r.currency = %(currency)s THEN (r.amount * 100)::bigint
    ELSE round(r.amount * 100 * (SELECT x.rate FROM fx_rates x WHERE x.organization_id = %(organization)s AND x.currency = r.currency
        AND x.into_currency = %(currency)s AND x.day = (r.refunded_at AT TIME ZONE %(zone)s)::date), %(places)s)::bigint END"""
# The few repayments, each with its ticket's facts: looked up one by one, for there may be a million tickets.
REFUNDED: LiteralString = """ticket_refunds r CROSS JOIN LATERAL (
    SELECT 1 AS w, f.* FROM roi_tickets f WHERE f.organization_id = r.organization_id AND f.ticket_id = r.ticket_id
    UNION ALL SELECT * FROM changed c WHERE c.ticket_id = r.ticket_id
) AS f"""
REFUNDED_OF_ADS: LiteralString = f"ticket_refunds r JOIN {FACTS_OF_ADS} ON f.ticket_id = r.ticket_id"
# The day a repayment belongs to: its own, or its sale's, which is never later.
REFUND_AT: LiteralString = "CASE WHEN %(refunds_by_sale)s THEN f.won_at ELSE r.refunded_at END"
REFUND_WITHIN: LiteralString = """r.refunded_at >= %(lo)s AND CASE WHEN %(refunds_by_sale)s THEN f.won_at >= %(lo)s AND f.won_at < %(hi)s
    ELSE r.refunded_at < %(hi)s END"""
# Each kind of event by itself, with the numbers that it has.
Arm = tuple[LiteralString, frozenset[str]]
LEADS: LiteralString = f"""
    SELECT f.ad_ref, f.account_ref, {NO_KEY}, f.opened_at AS at, f.w AS leads, f.w * f.is_conversation::int AS conversations,
        f.w * (f.is_conversation AND f.has_clid)::int AS with_clid, 0 AS qualified, 0 AS sales, 0 AS valueless, 0::bigint AS revenue,
        0::bigint AS refunds, 0 AS unrated, NULL::timestamptz AS sold_at
    FROM {OPENED} WHERE f.opened_at >= %(lo)s AND f.opened_at < %(hi)s
"""  # noqa: S608 - constants only
QUALIFIED: LiteralString = f"""
    SELECT f.ad_ref, f.account_ref, {NO_KEY}, f.qualified_at, 0, 0, 0, f.w, 0, 0, 0, 0, 0, NULL FROM {BY_QUALIFIED} WHERE f.qualified_at >= %(lo)s AND f.qualified_at < %(hi)s
"""  # noqa: S608 - constants only
SALES: LiteralString = f"""
    SELECT f.ad_ref, f.account_ref, {NO_KEY}, f.won_at, 0, 0, 0, 0, f.w, f.w * (f.value IS NULL)::int, f.w * {SOLD}, 0,
        f.w * (f.value IS NOT NULL AND {SOLD} IS NULL)::int, f.won_at
    FROM {WON} WHERE f.won_at >= %(lo)s AND f.won_at < %(hi)s
"""  # noqa: S608 - constants only
REFUNDS: LiteralString = f"""
    SELECT f.ad_ref, f.account_ref, {NO_KEY}, {REFUND_AT}, 0, 0, 0, 0, 0, 0, 0, f.w * {GIVEN_BACK}, f.w * ({GIVEN_BACK} IS NULL)::int, NULL
    FROM {REFUNDED}
    WHERE r.organization_id = %(organization)s AND {REFUND_WITHIN} AND f.won_at IS NOT NULL
"""  # noqa: S608 - constants only
COHORT: LiteralString = f"""
    SELECT f.ad_ref, f.account_ref, {NO_KEY}, f.touched_at AS at, f.w * f.is_lead::int AS leads, f.w * f.is_conversation::int AS conversations,
        f.w * (f.is_conversation AND f.has_clid)::int AS with_clid, f.w * (f.qualified_at IS NOT NULL)::int AS qualified,
        f.w * (f.won_at IS NOT NULL)::int AS sales, f.w * (f.won_at IS NOT NULL AND f.value IS NULL)::int AS valueless,
        CASE WHEN f.won_at IS NULL THEN 0 ELSE f.w * {SOLD} END AS revenue, 0::bigint AS refunds,
        f.w * (f.won_at IS NOT NULL AND f.value IS NOT NULL AND {SOLD} IS NULL)::int AS unrated, f.won_at AS sold_at
    FROM {TOUCHED} WHERE f.touched_at >= %(lo)s AND f.touched_at < %(hi)s
"""  # noqa: S608 - constants only
COHORT_REFUNDS: LiteralString = f"""
    SELECT f.ad_ref, f.account_ref, {NO_KEY}, f.touched_at, 0, 0, 0, 0, 0, 0, 0, f.w * {GIVEN_BACK}, f.w * ({GIVEN_BACK} IS NULL)::int, NULL
    FROM {REFUNDED}
    WHERE r.organization_id = %(organization)s AND r.refunded_at >= %(lo)s AND f.touched_at >= %(lo)s AND f.touched_at < %(hi)s AND f.won_at IS NOT NULL
"""  # noqa: S608 - constants only
ABROAD: LiteralString = """
    SELECT f.ad_ref, f.account_ref, {key}, f.{at}, 0, 0, 0, 0, 0, 0, f.w * {sold}, 0, (f.value IS NOT NULL AND {sold} IS NULL)::int, f.won_at
    FROM {facts}
"""
ABROAD_SALES: LiteralString = ABROAD.format(
    key=NO_KEY, at="won_at", sold=SOLD, facts=ABROAD_FACTS.format(at="won_at")
)
ABROAD_COHORT: LiteralString = ABROAD.format(
    key=NO_KEY, at="touched_at", sold=SOLD, facts=ABROAD_FACTS.format(at="touched_at")
)
# By click? Each arm with the numbers that it has.
EVENTS: dict[bool, tuple[Arm, ...]] = {
    False: (
        (LEADS, frozenset(["leads", "conversations", "with_clid"])),
        (QUALIFIED, frozenset(["qualified"])),
        (SALES, frozenset(["sales", "valueless", "revenue", "unrated"])),
        (REFUNDS, frozenset(["refunds", "unrated"])),
        (ABROAD_SALES, frozenset(["sales", "revenue", "unrated"])),
    ),
    True: (
        (
            COHORT,
            frozenset(
                [
                    "leads",
                    "conversations",
                    "with_clid",
                    "qualified",
                    "sales",
                    "valueless",
                    "revenue",
                    "unrated",
                ]
            ),
        ),
        (COHORT_REFUNDS, frozenset(["refunds", "unrated"])),
        (ABROAD_COHORT, frozenset(["sales", "revenue", "unrated"])),
    ),
}
COLUMNS_OF_EVENTS: LiteralString = """(ad_ref, account_ref, key, at, leads, conversations, with_clid, qualified, sales, valueless, revenue, refunds,
    unrated, sold_at)"""
SUM_OF: dict[str, LiteralString] = {
    "leads": "sum(leads)", "conversations": "sum(conversations)", "with_clid": "sum(with_clid)", "qualified": "sum(qualified)",
    "sales": "sum(sales)", "valueless": "sum(valueless)", "revenue": "sum(revenue)::bigint", "refunds": "sum(refunds)::bigint",
    "unrated": "sum(unrated)",
}  # fmt: skip
NOT_IN_IT: LiteralString = "NULL::bigint"  # a sum passes it over at no cost
COUNTED_ARM: LiteralString = """
    SELECT {ad} AS ad_ref, account_ref, key, {bucket} AS bucket, {cost} AS cost, {leads} AS leads, {conversations} AS conversations,
        {with_clid} AS with_clid, {qualified} AS qualified, {sales} AS sales, {valueless} AS valueless, {revenue} AS revenue,
        {refunds} AS refunds, {unrated} AS unrated
    FROM ({events}) AS event {columns} {only} GROUP BY 1, 2, 3, 4, 5"""
# The parts of the period that blocks cover. In another currency their sales count, and ABROAD has their money.
BLOCKS: LiteralString = """
    FROM unnest(%(s_hours)s::smallint[], %(s_first)s::int[], %(s_last)s::int[], %(s_bucket)s::int[], %(s_cost)s::int[], %(s_from)s::timestamptz[])
        AS p (hours, first, last, bucket, cost, begins)
    CROSS JOIN LATERAL (
        SELECT * FROM roi_ticket_sums s WHERE s.organization_id = %(organization)s AND s.by_click = {by_click} AND s.level = %(s_level)s
            AND s.hours = p.hours AND s.block BETWEEN p.first AND p.last OFFSET 0) AS s"""
COUNTED_BLOCKS: LiteralString = f"""
    SELECT s.ad_ref, nullif(s.account_ref, 0), s.key, p.bucket, p.cost, sum(s.leads), sum(s.conversations), sum(s.with_clid), sum(s.qualified),
        sum(s.sales), sum(s.valueless), (sum(s.revenue) FILTER (WHERE s.currency = %(currency)s))::bigint, NULL::bigint, NULL::bigint
    {BLOCKS} {{only}} GROUP BY 1, 2, 3, 4, 5"""
BY_CLICK: LiteralString = "true"
BY_SALE: LiteralString = "false"
UNION: LiteralString = " UNION ALL "
ONE_BUCKET: LiteralString = "1"
MANY_BUCKETS: LiteralString = "width_bucket(at, %(bounds)s::timestamptz[])"
NO_COSTS: LiteralString = "0"
COSTS: LiteralString = (
    "CASE WHEN sold_at IS NULL THEN 0 ELSE width_bucket(sold_at, %(cost_starts)s::timestamptz[]) END"
)
EACH_AD: LiteralString = "ad_ref"
ANYTHING: tuple[LiteralString, LiteralString] = ("", "")
# Which ad it was does not matter to an account; without one, it says what kind of ticket it is.
ANY_AD: LiteralString = "CASE WHEN account_ref IS NULL THEN ad_ref ELSE 0 END"


def counted(
    *,
    by_click: bool,
    ad: LiteralString,
    level: str = "ad",
    bucket: LiteralString,
    costs: bool,
    only: tuple[LiteralString, LiteralString] = ANYTHING,
) -> LiteralString:
    """Tickets summed by ad, account, what it belongs to (key), bucket and stretch of costs; several rows for each, which add up.

    level: whose key. only: which to leave, of tickets and of their blocks.
    """
    arms = [
        COUNTED_ARM.format(
            ad=ad,
            bucket=bucket,
            cost=COSTS if costs and "sales" in has else NO_COSTS,
            events=keyed(events, level),
            columns=COLUMNS_OF_EVENTS,
            only=only[0],
            **{name: SUM_OF[name] if name in has else NOT_IN_IT for name in SUM_OF},
        )
        for events, has in EVENTS[by_click]
    ]
    blocks = COUNTED_BLOCKS.format(by_click=BY_CLICK if by_click else BY_SALE, only=only[1])
    return UNION.join([*arms, blocks])


def keyed(events: LiteralString, level: str) -> LiteralString:
    """The same events, each with its campaign or ad set."""
    return events.replace(NO_KEY, KEYS.get(level, NO_KEY))


def of_ads(statement: LiteralString) -> LiteralString:
    """The same statement, of the tickets of some ads alone."""
    statement = statement.replace(OPENED, LEADS_OF_ADS)
    for edges in (BY_QUALIFIED, WON, TOUCHED):
        statement = statement.replace(edges, FACTS_OF_ADS)
    return statement.replace(REFUNDED, REFUNDED_OF_ADS)
