"""What accounts of another currency spent in their own: as Meta tells it, converted by nothing, exact without any rate."""

from decimal import Decimal
from typing import LiteralString

from whatrack.db import Connection
from whatrack.roi.ask import Ask, Level
from whatrack.roi.scope import Scope
from whatrack.units import from_minor

OWN: LiteralString = (
    "unnest(%(c_account)s::int[], %(c_ad)s::int[], %(c_own)s::bigint[]) AS x (account_ref, ad_ref, spend)"
)
OF_ROWS: LiteralString = (
    "SELECT {key}::text, sum(x.spend)::bigint FROM {rows} WHERE {key}::text = ANY(%(keys)s) GROUP BY 1"
)
OF_PARENTS: LiteralString = (
    f"{OWN} JOIN meta_ads m ON m.organization_id = %(organization)s AND m.ref = x.ad_ref"
)
OF: dict[Level, LiteralString] = {
    "account": OF_ROWS.format(key="x.account_ref", rows=OWN),
    "campaign": OF_ROWS.format(key="m.meta_campaign_id", rows=OF_PARENTS),
    "adset": OF_ROWS.format(key="m.meta_ad_set_id", rows=OF_PARENTS),
    "ad": OF_ROWS.format(key="x.ad_ref", rows=OWN),
}
WHOLE: LiteralString = f"SELECT sum(x.spend)::bigint FROM {OWN}"  # noqa: S608 - constants only


async def spend(
    conn: Connection, about: Scope, ask: Ask, currencies: dict[str, str | None]
) -> dict[str, Decimal]:
    """key → spend in the row's own currency, of rows in another than the report's. currencies: of the page's rows, by key.

    about: converted for this ask (reading.py), which has the amounts before that as well.
    """
    keys = [key for key, currency in currencies.items() if currency not in (None, about.currency)]
    if not keys or not about.abroad:
        return {}
    values = {"organization": about.organization_id, "keys": keys, **about.abroad}
    found = dict(await (await conn.execute(OF[ask.level], values)).fetchall())
    return {key: found.get(key, 0) * from_minor(1, currencies[key] or about.currency) for key in keys}


async def whole(conn: Connection, about: Scope, ask: Ask) -> tuple[str, Decimal] | None:
    """(currency, spend) of all accounts that are asked about, where they have one currency in common that is not the report's.

    None where a filter leaves only a part of them. about: as spend() takes it.
    """
    currencies = {account.currency for account in about.asked}
    if len(currencies) != 1 or about.currency in currencies or about.whole:
        return None
    if ask.text.strip() or ask.statuses or any(each.kind != "account" for each in ask.within):
        return None
    (currency,) = currencies
    (spent,) = await (await conn.execute(WHOLE, about.abroad)).fetchone() or (None,)
    return currency, (spent or 0) * from_minor(1, currency)
