"""What accounts of another currency spent in their own: as Meta tells it, converted by nothing, exact without any rate."""

from collections.abc import Sequence
from decimal import Decimal
from typing import LiteralString

from whatrack.db import Connection
from whatrack.roi.ask import Ask, Level
from whatrack.roi.scope import Scope
from whatrack.units import from_minor

# By the index of an account's days: those accounts are read day by day anyhow, for their rates.
OF_DAYS: LiteralString = """
SELECT {key}::text, sum(d.spend)::bigint FROM meta_ad_insights_daily d
WHERE d.organization_id = %(organization)s AND d.account_ref = ANY(%(accounts)s) AND d.day BETWEEN %(since)s AND %(until)s {only} GROUP BY 1
"""
OF_ACCOUNTS: LiteralString = OF_DAYS.format(key="d.account_ref", only="")
OF_PARENTS: LiteralString = """
SELECT {key}::text, sum(d.spend)::bigint FROM meta_ad_insights_daily d
JOIN meta_ads m ON m.organization_id = d.organization_id AND m.ref = d.ad_ref
WHERE d.organization_id = %(organization)s AND d.account_ref = ANY(%(accounts)s) AND d.day BETWEEN %(since)s AND %(until)s
AND {key}::text = ANY(%(keys)s) GROUP BY 1
"""
OF: dict[Level, LiteralString] = {
    "account": OF_ACCOUNTS,
    "campaign": OF_PARENTS.format(key="m.meta_campaign_id"),
    "adset": OF_PARENTS.format(key="m.meta_ad_set_id"),
    "ad": OF_DAYS.format(key="d.ad_ref", only="AND d.ad_ref = ANY(%(keys)s::int[])"),
}


async def spend(
    conn: Connection, about: Scope, ask: Ask, currencies: dict[str, str | None]
) -> dict[str, Decimal]:
    """key → spend in the row's own currency, of rows in another than the report's. currencies: of the page's rows, by key."""
    keys = [key for key, currency in currencies.items() if currency not in (None, about.currency)]
    accounts = [account.ref for account in about.asked if account.currency != about.currency]
    if not keys or not accounts:
        return {}
    values = {
        "organization": about.organization_id,
        "accounts": accounts,
        "since": ask.since,
        "until": ask.until,
        "keys": keys,
    }
    found = dict(await (await conn.execute(OF[ask.level], values)).fetchall())
    return {key: found.get(key, 0) * from_minor(1, currencies[key] or about.currency) for key in keys}


async def whole(conn: Connection, about: Scope, ask: Ask) -> tuple[str, Decimal] | None:
    """(currency, spend) of all accounts that are asked about, where they have one currency in common that is not the report's.

    None where a filter leaves only a part of them.
    """
    currencies = {account.currency for account in about.asked}
    if len(currencies) != 1 or about.currency in currencies or about.whole:
        return None
    if ask.text.strip() or ask.statuses or any(each.kind != "account" for each in ask.within):
        return None
    (currency,) = currencies
    values = {
        "organization": about.organization_id,
        "accounts": [account.ref for account in about.asked],
        "since": ask.since,
        "until": ask.until,
    }
    rows: Sequence[tuple[str, int]] = await (await conn.execute(OF_ACCOUNTS, values)).fetchall()
    return currency, sum(spent for _, spent in rows) * from_minor(1, currency)
