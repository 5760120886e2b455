"""Money whose day has no rate: told apart in its own currency, row by row, and in no sum."""

from collections import defaultdict
from decimal import Decimal
from typing import LiteralString

from whatrack.db import Connection
from whatrack.roi import scope as scopes
from whatrack.roi.answers import Apart
from whatrack.roi.ask import Ask
from whatrack.roi.events import FACTS, MARKED, REFUND_AT, REFUNDED
from whatrack.roi.scope import Scope
from whatrack.roi.sums import ALLOWED, KEYS, SCOPE
from whatrack.units import from_minor

NO_RATE: LiteralString = """NOT EXISTS (SELECT FROM fx_rates x WHERE x.organization_id = %(organization)s AND x.currency = {currency}
    AND x.into_currency = %(currency)s AND x.day = {day})"""
WITHOUT_RATE: LiteralString = f"""WITH {SCOPE}, {{allowed}} {MARKED}, spent AS (
    SELECT p.account_ref, d.ad_ref, p.currency, sum(d.spend) AS spend
    FROM (
        SELECT account_ref, currency, first + n AS day
        FROM unnest(%(f_account)s::int[], %(f_currency)s::text[], %(f_first)s::date[], %(f_last)s::date[]) AS f (account_ref, currency, first, last)
        CROSS JOIN LATERAL generate_series(0, last - first) AS n
        EXCEPT ALL
        SELECT f.account_ref, f.currency, r.day
        FROM unnest(%(f_account)s::int[], %(f_currency)s::text[], %(f_first)s::date[], %(f_last)s::date[]) AS f (account_ref, currency, first, last)
        JOIN fx_rates r ON r.organization_id = %(organization)s AND r.currency = f.currency AND r.into_currency = %(currency)s
            AND r.day BETWEEN f.first AND f.last
    ) AS p
    CROSS JOIN LATERAL (SELECT * FROM meta_ad_insights_daily d WHERE d.organization_id = %(organization)s AND d.account_ref = p.account_ref
        AND d.day = p.day OFFSET 0) AS d
    GROUP BY 1, 2, 3
), told AS (
    SELECT f.ad_ref, f.account_ref, f.currency, f.{{sale_at}} AS at, f.w * f.value AS revenue, 0 AS refunds FROM {FACTS}
    WHERE f.won_at IS NOT NULL AND f.{{sale_at}} >= %(lo)s AND f.{{sale_at}} < %(hi)s AND f.currency <> %(currency)s AND {{no_rate_of_sale}}
    UNION ALL
    SELECT f.ad_ref, f.account_ref, r.currency, {{refund_at}}, 0, f.w * r.amount * 100
    FROM {REFUNDED}
    WHERE r.organization_id = %(organization)s AND f.won_at IS NOT NULL AND {{refund_at}} >= %(lo)s AND {{refund_at}} < %(hi)s
    AND r.currency <> %(currency)s AND {{no_rate_of_refund}}
)
SELECT 'own', {{spent_key}}::text, s.currency, s.spend, 0, 0 FROM spent s
LEFT JOIN meta_ads m ON m.organization_id = %(organization)s AND m.ref = s.ad_ref {{spent_only}}
UNION ALL
SELECT CASE WHEN c.account_ref IS NOT NULL THEN 'own' WHEN c.ad_ref = -1 THEN 'organic' WHEN c.ad_ref = -2 THEN 'post'
            WHEN c.ad_ref = -3 THEN 'unidentified' ELSE 'unconnected' END,
    CASE WHEN c.account_ref IS NOT NULL THEN {{counted_key}}::text ELSE '' END, c.currency, 0, c.revenue, c.refunds
FROM told c LEFT JOIN acc ON acc.ref = c.account_ref LEFT JOIN meta_ads m ON m.organization_id = %(organization)s AND m.ref = c.ad_ref
WHERE CASE WHEN c.account_ref IS NULL THEN %(whole)s ELSE acc.in_scope END
AND width_bucket(c.at, %(bounds)s::timestamptz[]) BETWEEN coalesce(acc.first_bucket, %(first_bucket)s) AND coalesce(acc.last_bucket, %(last_bucket)s) {{counted_only}}
"""  # noqa: S608 - constants only


# IS TRUE: the catalog is asked when there is a first row, and mostly there is none.
ALLOWED_ALONE: LiteralString = "{word} ({key} IN (SELECT key FROM allowed)) IS TRUE"
WHERE: LiteralString = "WHERE"
AND: LiteralString = "AND"
EVERYTHING: LiteralString = ""


async def find(conn: Connection, about: Scope, ask: Ask) -> dict[tuple[str, str], tuple[Apart, ...]]:
    """(kind, key) → what has no rate, a currency each, of the rows that the filters leave; key as in sums.py, "" for special rows."""
    spent_key, counted_key = KEYS[ask.level]
    by_click, is_filtered = ask.basis == "click", scopes.is_filtered(ask)
    statement = WITHOUT_RATE.format(
        sale_at="touched_at" if by_click else "won_at",
        refund_at="f.touched_at" if by_click else REFUND_AT,
        no_rate_of_sale=NO_RATE.format(currency="f.currency", day="(f.won_at AT TIME ZONE %(zone)s)::date"),
        no_rate_of_refund=NO_RATE.format(
            currency="r.currency", day="(r.refunded_at AT TIME ZONE %(zone)s)::date"
        ),
        allowed=ALLOWED[ask.level] if is_filtered else EVERYTHING,
        spent_only=ALLOWED_ALONE.format(word=WHERE, key=spent_key) if is_filtered else EVERYTHING,
        counted_only=ALLOWED_ALONE.format(word=AND, key=counted_key) if is_filtered else EVERYTHING,
        spent_key=spent_key,
        counted_key=counted_key,
    )
    summed: defaultdict[tuple[str, str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    for kind, key, currency, *money in await (
        await conn.execute(statement, scopes.values(about, ask))
    ).fetchall():
        place = summed[kind, key, currency]
        for index, amount in enumerate(money):
            place[index] += amount or 0
    found: dict[tuple[str, str], tuple[Apart, ...]] = {}
    for (kind, key, currency), (spend, revenue, refunds) in sorted(summed.items()):
        if spend or revenue or refunds:
            told = Apart(currency, spend * from_minor(1, currency), revenue / 100, refunds / 100)
            found[kind, key] = (*found.get((kind, key), ()), told)
    return found
