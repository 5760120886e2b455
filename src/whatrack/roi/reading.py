"""How the report's sums are read: the rows of a page first found, then summed; totals from the accounts' days.

Whole organizations are ranked by one number (ranks.py), and only the rows shown are summed. What is left of few ads is read
in one statement over those ads alone. Totals are sums of accounts; those of a filter by name or status are found with its ranking.
"""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, LiteralString

import msgspec

from whatrack.columns import Ints, Texts
from whatrack.db import Connection
from whatrack.roi import costs as cost_rules
from whatrack.roi import metrics, ranks, scope, sums
from whatrack.roi.ask import Ask
from whatrack.roi.metrics import Amounts
from whatrack.roi.scope import Account, Scope
from whatrack.units import from_minor

FEW_ADS = 500  # of as many the tickets are looked up one by one
COUNTS = ("conversations", "with_clid", "leads", "qualified", "sales")
ADS_OF: dict[str, LiteralString] = {
    "ad": """SELECT ref, meta_account_id FROM meta_ads WHERE organization_id = %(organization)s AND meta_account_id = ANY(%(digits)s)
        AND ref = ANY(%(keys)s::int[])""",
    "campaign": """SELECT ref, meta_account_id FROM meta_ads WHERE organization_id = %(organization)s AND meta_account_id = ANY(%(digits)s)
        AND (meta_campaign_id = ANY(%(keys)s) OR (meta_campaign_id IS NULL AND '' = ANY(%(keys)s)))""",
    "adset": """SELECT ref, meta_account_id FROM meta_ads WHERE organization_id = %(organization)s AND meta_account_id = ANY(%(digits)s)
        AND (meta_ad_set_id = ANY(%(keys)s) OR (meta_ad_set_id IS NULL AND '' = ANY(%(keys)s)))""",
}


class Found(msgspec.Struct, frozen=True):
    """What was found: one page of rows, the special ones, the totals of all others, and of everything.

    unrated: nought where every amount has its rate, so that no row's money without one is to be looked for.
    """

    rows: list[tuple[str, Amounts, int]]  # key, amounts, how many sales or refunds have no rate
    special: dict[str, tuple[Amounts, int]]
    total: Amounts
    whole: Amounts
    count: int
    unrated: int


class Only(msgspec.Struct, frozen=True):
    """Which rows are asked for, and of which ads they are. few: so few ads that their tickets are looked up one by one.

    keys: one by one, or as a column.
    """

    keys: list[str] | Ints | Texts
    ads: list[int]
    few: bool


async def converted(conn: Connection, about: Scope, ask: Ask) -> Scope:
    """The same with what accounts in other currencies spent in the period: read once, for every statement that sums it."""
    if all(account.currency == about.currency for account in about.asked):
        return about
    found = await sums.convert(conn, scope.values(about, ask), by_ad=ask.level != "account")
    return msgspec.structs.replace(about, abroad=found)


async def read(conn: Connection, about: Scope, ask: Ask) -> Found:
    """A page of rows in their accounts' days, with everything else in the totals' days. about: converted for this ask."""
    found = await _rows_and_totals(conn, about, ask)
    return msgspec.structs.replace(found, unrated=found.unrated + about.has_unrated_spend)


async def _rows_and_totals(conn: Connection, about: Scope, ask: Ask) -> Found:
    only = await _left(conn, about, ask) if ask.level != "account" else None
    if ask.level == "account" or (only is not None and only.few):
        found = await _read(conn, about, ask, only=only)
        return msgspec.structs.replace(found, whole=await _whole(conn, about, ask, found, only=only))
    keys, everything = await _page(conn, about, ask, only)
    if only is None:
        everything = msgspec.structs.replace(await _of_accounts(conn, about, ask), count=everything.count)
    rows = await _shown(conn, about, ask, keys)
    unrated = everything.unrated + sum(row[2] for row in rows)
    return msgspec.structs.replace(everything, rows=rows, unrated=unrated)


async def sums_of(conn: Connection, about: Scope, ask: Ask) -> Found:
    """Totals and special rows alone, in the totals' days."""
    about = await converted(conn, about, ask)
    if not scope.is_filtered(ask):
        return await _of_accounts(conn, about, ask)
    one = msgspec.structs.replace(ask, limit=1, sort="spend")
    only = None if ask.level == "account" else await _left(conn, about, ask)
    if only is None or only.few:
        return await _read(conn, about, one, zone=about.zone, only=only)
    _, everything = await _page(conn, about, one, only)
    return everything


async def totals(conn: Connection, about: Scope, ask: Ask) -> Amounts:
    """Everything that was asked for, tickets by the days of the totals' zone."""
    return (await sums_of(conn, about, ask)).whole


async def _page(conn: Connection, about: Scope, ask: Ask, only: Only | None) -> tuple[list[str], Found]:
    """The keys of a page's rows, and how many there are; with a filter also the totals, in the totals' days."""
    ranking = _ranking(ask)
    values = scope.values(about, ask, summed=True, taxed=ranking.taxed)
    if only is not None:
        values |= {"keys": only.keys, **scope.total_days(about, ask)}
    keys, count, found = await ranks.page(conn, ranking, values)
    if only is not None:
        is_cut = ranking.taxed or len(values["factors"]) < 2
        cut = values if is_cut else {**scope.values(about, ask), "keys": only.keys}
        found["gross"] = await ranks.gross(conn, ranking, cut, found["spend"])
    total = _amounts(about, defaultdict(int) | found, own=True)
    return keys, Found([], {}, total, total, count, int(found.get("unrated", 0)))


async def _of_accounts(conn: Connection, about: Scope, ask: Ask) -> Found:
    wanted = msgspec.structs.replace(ask, level="account", limit=1, offset=0, sort="spend")
    return await _read(conn, about, wanted, zone=about.zone)


async def _shown(
    conn: Connection, about: Scope, ask: Ask, keys: Sequence[str]
) -> list[tuple[str, Amounts, int]]:
    """The rows of these keys, in their order."""
    theirs = await _ads_of(conn, about, ask, keys, about.asked)
    digits = set(theirs.values())
    about = msgspec.structs.replace(
        about, asked=[account for account in about.asked if account.digits in digits]
    )
    only = Only([*keys], [*theirs], few=len(theirs) <= FEW_ADS)
    wanted = msgspec.structs.replace(ask, offset=0, limit=max(len(keys), 1), sort="spend")
    rows = {row[0]: row for row in (await _read(conn, about, wanted, only=only)).rows}
    return [rows[key] for key in keys]


async def _left(conn: Connection, about: Scope, ask: Ask) -> Only | None:
    """What the filters leave; None without one by name or status, but for few ads of the accounts."""
    if about.whole:
        return None
    ranking, values = _ranking(ask), scope.values(about, ask, spend=False)
    if not scope.is_filtered(ask):
        found = await ranks.ads(conn, ranking, values, FEW_ADS)
        return Only([*{*found.values()}], [*found], few=True) if found is not None else None
    count, keys = await ranks.keys(conn, ranking, values)
    ads = await _ads_of(conn, about, ask, keys, about.asked) if count <= FEW_ADS else {}
    return Only(keys, [*ads], few=count <= FEW_ADS and len(ads) <= FEW_ADS)


async def _ads_of(
    conn: Connection, about: Scope, ask: Ask, keys: Sequence[str] | Ints | Texts, accounts: Sequence[Account]
) -> dict[int, str]:
    """The ads of these rows, as far as they are in these accounts, each with its account."""
    digits = [account.digits for account in accounts]
    values = {"organization": about.organization_id, "keys": keys, "digits": digits}
    return dict(await (await conn.execute(ADS_OF[ask.level], values)).fetchall())


def _ranking(ask: Ask) -> ranks.Ranking:
    return ranks.Ranking(
        level=ask.level,
        by_click=ask.basis == "click",
        filtered=scope.is_filtered(ask),
        spent_only=ask.spent_only,
        sort=ask.sort,
        descending=ask.descending,
    )


async def _read(
    conn: Connection,
    about: Scope,
    ask: Ask,
    *,
    zone: str | None = None,
    spend: bool = True,
    only: Only | None = None,
) -> Found:
    few = only is not None and only.few
    statement = sums.Statement(
        level=ask.level,
        by_click=ask.basis == "click",
        zones=scope.has_many_zones(about, zone),
        costs=bool(cost_rules.sale_costs(about.costs).starts),
        filtered=only is None and scope.is_filtered(ask),
        spent_only=ask.spent_only,
        sort=ask.sort,
        descending=ask.descending,
        of_ads=only is not None,
        few=few,
    )
    values = scope.values(about, ask, zone=zone, spend=spend, summed=not few)
    if only is not None:
        values |= {"ads": only.ads, "keys": only.keys}
    return _found(about, await sums.read(conn, statement, values))


def _found(about: Scope, rows: Sequence[sums.Sum]) -> Found:
    (total,) = (row for row in rows if row.part == 1)
    own = _amounts(about, total.found, own=True)
    special = {
        row.kind: (_amounts(about, row.found, own=False), int(row.found["unrated"]))
        for row in rows
        if row.part == 0
    }
    ours = metrics.total([own, *(amounts for amounts, _ in special.values())])
    return Found(
        rows=[
            (str(row.key), _amounts(about, row.found, own=True), int(row.found["unrated"]))
            for row in rows
            if row.part == 2
        ],
        special=special,
        total=own,
        whole=_with_spend(ours, own),
        count=total.count,
        unrated=sum(int(row.found["unrated"] or 0) for row in rows if row.part < 2),
    )


def _with_spend(ours: Amounts, spent: Amounts) -> Amounts:
    return msgspec.structs.replace(ours, **{name: getattr(spent, name) for name in metrics.OF_META})


async def _whole(
    conn: Connection, about: Scope, ask: Ask, found: Found, *, only: Only | None = None
) -> Amounts:
    """Of what was read in the rows' days, the totals in the totals'."""
    of_accounts = only is not None and not scope.is_filtered(ask)
    if of_accounts and (ask.spent_only or about.zones_differ):  # in fewer rows, with those that are hidden
        return (await _of_accounts(conn, about, ask)).whole
    if not about.zones_differ:
        return found.whole
    wanted = msgspec.structs.replace(ask, limit=1, offset=0, sort="spend")
    counted = await _read(conn, about, wanted, zone=about.zone, spend=False, only=only)
    return _with_spend(counted.whole, found.total)


def _amounts(about: Scope, found: dict[str, Any], *, own: bool) -> Amounts:
    """A summed row as amounts. own: of an ad of ours, so that no spend is a spend of zero, unless its rate is not known."""
    revenue = _hundredths(found["revenue"])
    unit = from_minor(1, about.currency)
    unknown = found["spend"] is None and found["impressions"]
    told: dict[str, Any] = {
        name: found["gross" if name == "gross_spend" else name] for name in metrics.OF_META
    }
    if own:
        told = {
            name: number if number is not None or (unknown and name in metrics.MONEY) else 0
            for name, number in told.items()
        }
    for name, number in told.items():
        if number is not None:
            told[name] = number * unit if name in metrics.MONEY else int(number)
    counts: dict[str, Any] = {name: int(found[name] or 0) for name in COUNTS}
    money: dict[str, Any] = {name: _hundredths(found[name]) for name in ("refunds", "product_cost", "fees")}
    return Amounts(
        **told,
        **counts,
        **money,
        sales_without_value=int(found["valueless"] or 0),
        revenue=revenue,
        attributed_leads=counts["leads"] if own else 0,
        attributed_qualified=counts["qualified"] if own else 0,
        attributed_sales=counts["sales"] if own else 0,
        attributed_revenue=revenue if own else Decimal(0),
    )


def _hundredths(amount: Decimal | int | None) -> Decimal:
    return Decimal(amount or 0) / 100
