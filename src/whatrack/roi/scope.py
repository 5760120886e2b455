"""What a question is about: the accounts it means, their zones and currencies, the costs that hold, and it all as values of SQL."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from psycopg.rows import class_row

from whatrack.columns import written
from whatrack.db import Connection
from whatrack.errors import bad_value
from whatrack.insights import rollups
from whatrack.roi import costs as cost_rules
from whatrack.roi import facts, hours, periods
from whatrack.roi.ask import Ask, Status
from whatrack.roi.costs import Cost
from whatrack.tenants import organizations
from whatrack.units import minor_digits

RANKS: dict[Status, int] = {"active": 0, "paused": 1, "other": 2, "archived": 3}
# The words of Meta's for each, as sums.RANK has them; "other" is any other.
EFFECTIVE: dict[Status, tuple[str, ...]] = {
    "active": ("ACTIVE",),
    "paused": ("PAUSED", "CAMPAIGN_PAUSED", "ADSET_PAUSED"),
    "other": (),
    "archived": ("ARCHIVED", "DELETED", "NOT_VISIBLE"),
}

ACCOUNTS: LiteralString = """
SELECT ref, id, ad_account_id, ad_account_name AS name, currency, timezone_name AS zone, is_active, account_status
FROM meta_ad_accounts WHERE organization_id = %s ORDER BY ref
"""
OF_PROFILES: LiteralString = """
SELECT DISTINCT account_id FROM meta_ad_account_access WHERE organization_id = %s AND connection_id = ANY(%s)
"""
OF_PARENTS: LiteralString = """
SELECT DISTINCT meta_account_id FROM meta_ads
WHERE organization_id = %(organization)s AND (meta_campaign_id = ANY(%(campaigns)s) OR (meta_campaign_id IS NULL AND '' = ANY(%(campaigns)s))
    OR meta_ad_set_id = ANY(%(adsets)s) OR (meta_ad_set_id IS NULL AND '' = ANY(%(adsets)s)) OR meta_ad_id = ANY(%(ads)s))
"""


NOTHING_CONVERTED = {
    f"c_{name}": "{}"
    for name in (
        "account", "ad", "slot", "days", "spend", "own", "impressions", "unrated", "clicks", "link_clicks", "conversations", "leads",
        "purchases", "value",
    )
}  # fmt: skip


class Account(msgspec.Struct, frozen=True):
    """An ad account, as far as the report needs it."""

    ref: int
    id: UUID
    ad_account_id: str
    name: str
    currency: str
    zone: str
    is_active: bool
    account_status: int

    @property
    def digits(self) -> str:
        """Meta's bare account number."""
        return self.ad_account_id.removeprefix("act_")


class Scope(msgspec.Struct, frozen=True):
    """What a question is about. whole: tickets without an ad of a connected account belong to it.

    accounts: all of the organization's, so that an ad of one that is filtered away is not taken for an unconnected one's.
    abroad: what accounts in other currencies spent in the period, converted once (reading.py), as values of SQL.
    zone: of the totals: the organization's, or the accounts' where they have one and nothing else belongs to it.
    """

    organization_id: UUID
    currency: str
    home: str
    zone: str
    accounts: list[Account]
    asked: list[Account]
    costs: list[Cost]
    whole: bool
    abroad: dict[str, str] = {}

    @property
    def zones_differ(self) -> bool:
        """Whether some row's days are not those of the totals."""
        return any(account.zone != self.zone for account in self.asked)

    @property
    def has_unrated_spend(self) -> bool:
        """Whether some of what was converted has no rate on its day; what has one is NULL there."""
        return bool(self.abroad.get("c_unrated", "").replace("NULL", "").strip("{,}"))

    def cuts_apart(self, ask: Ask) -> bool:
        """Whether some row's period begins or ends at another instant than that of the totals."""
        home = periods.span(ask.since, ask.until, self.zone)
        zones = {account.zone for account in self.asked}
        return any(periods.span(ask.since, ask.until, zone) != home for zone in zones)

    @property
    def tax_known(self) -> bool:
        """Whether somebody said what Meta's invoice has on top."""
        return any(cost.kind == "meta_tax" for cost in self.costs)

    @property
    def asks_tax(self) -> bool:
        """Whether Brazil's tax may be on an invoice here and nobody said so.

        It is on what an account asked about is billed in reais; without any account yet, on what one of the organization's currency
        would be.
        """
        billed = {each.currency for each in self.asked} if self.accounts else {self.currency}
        return not self.tax_known and cost_rules.REAIS in billed


async def load(conn: Connection, organization_id: UUID, ask: Ask) -> Scope:
    """Find what the question is about. Refused (422) for a currency that is not the organization's."""
    organization = await organizations.by_id(conn, organization_id)
    if ask.currency not in (None, organization.base_currency):
        raise bad_value(
            "currency", f"Money is shown in the organization's currency, {organization.base_currency}."
        )
    async with conn.cursor(row_factory=class_row(Account)) as cursor:
        accounts = await (await cursor.execute(ACCOUNTS, [organization_id])).fetchall()
    accounts = [
        msgspec.structs.replace(each, zone=_known(each.zone, organization.timezone)) for each in accounts
    ]
    asked = await _asked(conn, organization_id, ask, accounts)
    zones = {account.zone for account in asked}
    return Scope(
        organization_id=organization_id,
        currency=organization.base_currency,
        home=organization.timezone,
        zone=zones.pop() if not ask.is_whole and len(zones) == 1 else organization.timezone,
        accounts=accounts,
        asked=asked,
        costs=await cost_rules.listed(conn, organization_id),
        whole=ask.is_whole,
    )


async def _asked(conn: Connection, organization_id: UUID, ask: Ask, accounts: list[Account]) -> list[Account]:
    """The accounts that the filters leave."""
    asked = accounts
    opened = [parent.id for parent in ask.within if parent.kind == "account"]
    for named in (ask.accounts, opened):  # an opened row narrows down what the filter leaves
        if named:
            asked = [account for account in asked if {*named} & {account.ad_account_id, account.digits}]
    if ask.profiles:
        rows = await (await conn.execute(OF_PROFILES, [organization_id, list(ask.profiles)])).fetchall()
        seen = {row[0] for row in rows}
        asked = [account for account in asked if account.id in seen]
    if any(below := parents(ask)):
        values = dict(
            zip(("organization", "campaigns", "adsets", "ads"), (organization_id, *below), strict=True)
        )
        rows = await (await conn.execute(OF_PARENTS, values)).fetchall()
        theirs = {row[0] for row in rows}
        asked = [account for account in asked if account.digits in theirs]
    return asked


def parents(ask: Ask) -> tuple[list[str], list[str], list[str]]:
    """The campaigns, ad sets and ads that the rows are to be of."""
    of = {"campaign": list[str](), "adset": list[str](), "ad": list[str]()}
    for parent in ask.within:
        if parent.kind != "account":
            of[parent.kind].append(parent.id)
    return of["campaign"], of["adset"], of["ad"]


def is_filtered(ask: Ask) -> bool:
    """Whether the catalog has to be asked which rows there may be."""
    return bool(ask.text.strip() or ask.statuses or any(parents(ask)))


def values(
    scope: Scope,
    ask: Ask,
    *,
    zone: str | None = None,
    spend: bool = True,
    summed: bool = False,
    taxed: bool = True,
) -> dict[str, Any]:
    """Everything that the statements of sums.py want. zone: take every account's days in this one. spend, taxed: or leave it out.

    summed: tickets as sums of blocks, as far as they go; by click, sales are of no stretch of costs, so then not with several.
    """
    zones = {account.ref: zone or account.zone for account in scope.accounts}
    spans = {
        name: [str(end) for end in periods.span(ask.since, ask.until, name)] for name in {*zones.values()}
    }
    cut = periods.buckets(ask.since, ask.until, {scope.zone, *zones.values()})
    first, last = cut.of_zone[scope.zone]
    digits = minor_digits(scope.currency)
    asked = {account.ref for account in scope.asked}
    sales = _sale_values(scope)
    starts = sales["cost_starts"]
    level = facts.LEVELS[ask.level]
    return {
        "organization": scope.organization_id,
        "currency": scope.currency,
        "zone": scope.home,
        "places": digits - 2,
        "unit": Decimal(10) ** (2 - digits),
        "lo": cut.lo,
        "hi": cut.hi,
        "bounds": cut.bounds,
        "first_bucket": first,
        "last_bucket": last,
        "whole": scope.whole,
        "refs": written(zones),
        "first_buckets": written(cut.of_zone[name][0] for name in zones.values()),
        "last_buckets": written(cut.of_zone[name][1] for name in zones.values()),
        "begins": written(spans[name][0] for name in zones.values()),
        "ends": written(spans[name][1] for name in zones.values()),
        "asked": written(asked),
        "every_account": len(asked) == len(scope.accounts),
        "in_scope": written(ref in asked for ref in zones),
        "digits": written(account.digits for account in scope.asked),
        **_filter_values(ask),
        "refunds_by_sale": ask.refunds_by_sale,
        "limit": ask.limit,
        "offset": ask.offset,
        **sales,
        **hours.values(
            cut.bounds, starts, level if summed and not (starts and ask.basis == "click") else None
        ),
        "blocks_level": rollups.LEVELS.get(ask.level),
        **_spend_values(scope, ask, scope.asked if spend else [], taxed=taxed),
        **NOTHING_CONVERTED,
        **(scope.abroad if spend else {}),
    }


def _filter_values(ask: Ask) -> dict[str, Any]:
    campaigns, adsets, ads = parents(ask)
    return {
        "text": ask.text.strip() or None,
        "ranks": [RANKS[status] for status in ask.statuses] or None,
        "effective": [word for status in ask.statuses for word in EFFECTIVE[status]],
        "campaigns": campaigns or None,
        "adsets": adsets or None,
        "ad_ids": ads or None,
    }


def total_days(scope: Scope, ask: Ask) -> dict[str, Any]:
    """What the totals of a filter (filtered.py) want beside: their own days."""
    begins, ends = periods.span(ask.since, ask.until, scope.zone)
    return {"total_begins": begins, "total_ends": ends}


def has_many_zones(scope: Scope, zone: str | None) -> bool:
    """Whether tickets are to be told apart by zone. zone: as values() takes it."""
    return len({scope.zone, *(zone or account.zone for account in scope.accounts)}) > 1


def _sale_values(scope: Scope) -> dict[str, Any]:
    """What sales cost, stretch by stretch; days are the organization's. Part 0 is also every ticket that is no sale."""
    rules = cost_rules.sale_costs(scope.costs)
    return {
        "cost_starts": [periods.begins(day, scope.home) for day in rules.starts],
        "product_rates": [part.product_rate for part in rules.parts],
        "product_fixed": [part.product_fixed * 100 for part in rules.parts],
        "fee_rates": [part.fee_rate for part in rules.parts],
        "fee_fixed": [part.fee_fixed * 100 for part in rules.parts],
        "kept_rates": [1 - part.product_rate - part.fee_rate for part in rules.parts],
        "kept_fixed": [-(part.product_fixed + part.fee_fixed) * 100 for part in rules.parts],
    }


def _spend_values(scope: Scope, ask: Ask, accounts: Sequence[Account], *, taxed: bool) -> dict[str, Any]:
    """The period of each account as blocks and days, cut where its tax changes; of those in other currencies as days alone.

    Accounts with the same cuts are a group: its pieces are told once. taxed: or do not cut, where the tax does not matter.
    Taxes are numbered over all accounts, whichever are asked about: what was converted for many is read again for some of them.
    """
    slots: dict[Decimal, int] = {}
    groups: dict[tuple[tuple[date, date, int], ...], int] = {}
    ours: list[tuple[int, int]] = []
    foreign: list[tuple[Any, ...]] = []
    special = {cost.ad_account_id for cost in scope.costs}
    cuts: dict[str | None, tuple[tuple[date, date, int], ...]] = {}
    asked = {account.ref for account in accounts}
    for account in scope.accounts:
        its = account.ad_account_id if account.ad_account_id in special else None
        if its not in cuts:
            tax = cost_rules.tax_spans(scope.costs, account.ad_account_id, ask.since, ask.until)
            cuts[its] = tuple(
                (part.since, part.until, slots.setdefault(part.factor, len(slots))) for part in tax
            )
        cut = cuts[its]
        if account.ref not in asked:
            continue
        if account.currency == scope.currency:
            whole = cut if taxed else ((ask.since, ask.until, 0),)
            ours.append((account.ref, groups.setdefault(whole, len(groups))))
        else:
            shift = minor_digits(scope.currency) - minor_digits(account.currency)
            foreign += [(account.ref, account.currency, Decimal(10) ** shift, *part) for part in cut]
    factors = list(slots)
    spans = [(group, *span) for cut, group in groups.items() for span in cut]
    pieces = [
        (group, *piece, slot, factors[slot])
        for group, since, until, slot in spans
        for piece in rollups.blocks(rollups.number(since), rollups.number(until))
    ]
    abroad = [(*part, factors[part[5]]) for part in foreign]
    days = Counter[int]()
    for _, since, until, slot in spans:
        days[slot] += (until - since).days + 1
    return {
        "factors": factors,
        "longest": max(days, key=days.__getitem__, default=0),
        "a_account": written(ref for ref, _ in ours),
        "a_group": written(group for _, group in ours),
        **_columns("g", ("group", "first", "last", "slot"), spans),
        **_columns("b", ("group", "size", "block", "sign", "slot", "factor"), pieces),
        **_columns("f", ("account", "currency", "scale", "first", "last", "slot", "factor"), abroad),
    }


def _columns(prefix: str, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, str]:
    return {f"{prefix}_{name}": written(row[place] for row in rows) for place, name in enumerate(names)}


def _known(zone: str, otherwise: str) -> str:
    """The zone, if this machine knows it."""
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        return otherwise
    return zone
