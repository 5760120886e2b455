"""A simulated shop for the report: accounts in several zones and currencies, ads, spend with restatements, tickets of every kind,
refunds, costs and rates; and an independent calculation of every number, in plain Python over the raw rows."""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from psycopg.rows import dict_row

from tests.support import Shop, make_shop
from whatrack.db import Connection, Database
from whatrack.insights import rollups
from whatrack.roi import costs, rates
from whatrack.roi.costs import Cost
from whatrack.units import new_id

CENT = Decimal("0.01")
SINCE, UNTIL = date(2026, 8, 20), date(2026, 11, 10)
ZONES = {"act_1": "America/Sao_Paulo", "act_2": "America/Los_Angeles", "act_3": "Asia/Tokyo"}
CURRENCIES = {"act_1": "BRL", "act_2": "USD", "act_3": "BRL"}
SPENT = (
    "spend", "impressions", "reach", "clicks", "link_clicks", "conversations", "meta_leads", "meta_purchases",
    "meta_purchase_value",
)  # fmt: skip


@dataclass
class World:
    """A shop and what it knows. accounts: ad_account_id → ref; ads: id → (ref, account)."""

    shop: Shop
    accounts: dict[str, int] = field(default_factory=dict)
    ads: dict[str, int] = field(default_factory=dict)
    stages: dict[str, UUID] = field(default_factory=dict)


async def make_world(
    db: Database, seed: int = 7, *, tickets: int = 160, one_zone: bool = False, rules: bool = True
) -> World:
    chance = random.Random(seed)
    world = World(await make_shop(db, slug=f"mundo-{seed}"))
    async with db.system() as conn:
        await _accounts(conn, world, one_zone)
        await _ads(conn, world)
        for account in world.accounts:
            await spend(conn, world, account, SINCE, UNTIL, chance)
        # Meta restates: some days again, with other rows, as the nightly reading does.
        await spend(conn, world, "act_1", date(2026, 10, 3), date(2026, 10, 21), chance)
        await conn.execute("SELECT set_config('whatrack.org', %s, true)", [str(world.shop.id)])
        rows = await (await conn.execute("SELECT coalesce(role, name), id FROM stages")).fetchall()
        world.stages = dict(rows)
        for _ in range(tickets):
            await ticket(conn, world, chance)
        if rules:
            await _rules(conn, world)
    return world


async def _accounts(conn: Connection, world: World, one_zone: bool) -> None:
    for account, zone in ZONES.items():
        row = await (
            await conn.execute(
                """INSERT INTO meta_ad_accounts (organization_id, id, ad_account_id, ad_account_name, account_status, currency,
                   timezone_name, is_active, seen_at) VALUES (%s, %s, %s, %s, 1, %s, %s, true, now()) RETURNING ref""",
                [
                    world.shop.id,
                    new_id(),
                    account,
                    f"Conta {account}",
                    CURRENCIES[account],
                    ZONES["act_1"] if one_zone else zone,
                ],
            )
        ).fetchone()
        assert row
        world.accounts[account] = row[0]


async def _ads(conn: Connection, world: World) -> None:
    for account in (*world.accounts, "act_999"):  # the last one is nobody's
        for place in range(4):
            ad = f"{account[4:]}0{place}"
            await catalog(conn, world, ad, account, f"c{account[4:]}-{place // 2}", f"s{account[4:]}-{place}")


async def catalog(conn: Connection, world: World, ad: str, account: str, campaign: str, adset: str) -> None:
    row = await (
        await conn.execute(
            """INSERT INTO meta_ads (organization_id, meta_ad_id, name, effective_status, meta_ad_set_id, meta_ad_set_name,
               meta_campaign_id, meta_campaign_name, meta_account_id, fetched_at)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, now()) RETURNING ref""",
            [
                world.shop.id, ad, f"Anúncio {ad}", ("ACTIVE", "PAUSED", "DELETED")[int(ad) % 3], adset, f"Conjunto {adset}",
                campaign, f"Campanha {campaign}", account[4:],
            ],
        )
    ).fetchone()  # fmt: skip
    assert row
    world.ads[ad] = row[0]


async def spend(
    conn: Connection, world: World, account: str, since: date, until: date, chance: random.Random
) -> None:
    """Whole account-days, as insights writes them: the rows replaced, the roll-ups after them."""
    days = [since + timedelta(days=place) for place in range((until - since).days + 1)]
    ref = world.accounts[account]
    await conn.execute(
        "DELETE FROM meta_ad_insights_daily WHERE organization_id = %s AND account_ref = %s AND day = ANY(%s)",
        [world.shop.id, ref, days],
    )
    for day in days:
        for ad in (ad for ad in world.ads if ad.startswith(account[4:] + "0")):
            if chance.random() < 0.6:
                numbers = [chance.randrange(0, 30_000), *(chance.randrange(1, 900) for _ in SPENT[1:])]
                await conn.execute(
                    f"INSERT INTO meta_ad_insights_daily (organization_id, account_ref, day, ad_ref, {', '.join(SPENT)}) "
                    f"VALUES (%s, %s, %s, %s{', %s' * len(SPENT)})".encode(),
                    [world.shop.id, ref, day, world.ads[ad], *numbers],
                )
    await rollups.replace_days(conn, world.shop.id, ref, days)


async def ticket(conn: Connection, world: World, chance: random.Random) -> UUID:
    """A ticket of any kind, with its tracking, moves and refunds, as their writers leave them."""
    at = datetime(2026, 8, 18, tzinfo=UTC) + timedelta(seconds=chance.randrange(86 * 86400))
    if chance.random() < 0.3:  # around the midnights, where the zones part
        at = at.replace(
            hour=chance.choice((2, 3, 6, 7, 8, 14, 15)), minute=chance.choice((0, 1, 59)), second=0
        )
    ticket_id, contact = new_id(), new_id()
    organization = world.shop.id
    await conn.execute(
        "INSERT INTO contacts (organization_id, id, created_at) VALUES (%s, %s, %s)",
        [organization, contact, at],
    )
    ended = chance.choices(("open", "WON", "LOST", "MERGED", "reopened"), (30, 40, 15, 5, 10))[0]
    won_at = at + timedelta(hours=chance.randrange(0, 24 * 20)) if ended == "WON" else None
    currency = chance.choices(("BRL", "USD"), (85, 15))[0]
    value = Decimal(chance.randrange(100, 500_000)) / 100 if ended == "WON" else None
    reason = ended if ended in ("WON", "LOST", "MERGED") else None
    await conn.execute(
        """INSERT INTO tickets (organization_id, id, contact_id, phone_number_id, stage_id, status, close_reason, deal_value, currency,
           source, follow_up, opened_at, active_at, closed_at, won_at, created_at, updated_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 'message', %s, %s, %s, %s, %s, %s, %s)""",
        [
            organization, ticket_id, contact, world.shop.number, world.stages["won" if ended == "WON" else "new"],
            "closed" if reason else "open", reason, value, currency, chance.random() < 0.08, at, at, at if reason else None, won_at, at, at,
        ],
    )  # fmt: skip
    await track(conn, world, ticket_id, at, chance)
    await _moves(conn, world, ticket_id, at, ended, won_at, chance)
    if won_at and value and chance.random() < 0.3:
        await conn.execute(
            """INSERT INTO ticket_refunds (organization_id, id, ticket_id, amount, currency, reason, refunded_at, created_at, actor)
               VALUES (%s, %s, %s, %s, %s, '', %s, now(), 'user:x')""",
            [
                organization,
                new_id(),
                ticket_id,
                (value * Decimal("0.37")).quantize(CENT),
                currency,
                won_at + timedelta(days=chance.randrange(9)),
            ],
        )
    return ticket_id


async def track(conn: Connection, world: World, ticket_id: UUID, at: datetime, chance: random.Random) -> None:
    kind = chance.choices(("ad", "organic", "post"), (70, 22, 8))[0]
    ad = (
        chance.choices((chance.choice(list(world.ads)), None, "404", "403"), (80, 8, 6, 6))[0]
        if kind == "ad"
        else None
    )
    touched = at + timedelta(hours=chance.choice((0, 0, 0, 5, 50))) if kind != "organic" else None
    failed = ad in ("404", "403")
    await conn.execute(
        """INSERT INTO ticket_tracking (organization_id, ticket_id, meta_source_type, meta_ad_id, meta_enrichment_status,
           meta_enrichment_error, ctwa_clid, last_touch_at, first_touch_at, first_source_type)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [
            world.shop.id, ticket_id, kind, ad, "FAILED" if failed else "COMPLETED" if ad else "NOT_APPLICABLE",
            {"404": "deleted", "403": "no_access"}.get(ad or ""), "clid" if kind == "ad" and chance.random() < 0.8 else None,
            touched, chance.choice((at, touched)) if touched else None, kind if touched else None,
        ],
    )  # fmt: skip


async def _moves(
    conn: Connection,
    world: World,
    ticket_id: UUID,
    at: datetime,
    ended: str,
    won_at: datetime | None,
    chance: random.Random,
) -> None:
    version = 1
    moves: list[tuple[str | None, datetime, bool]] = []
    if ended != "MERGED" and chance.random() < 0.5:
        moves.append(("qualified", at + timedelta(hours=chance.randrange(100)), False))
        if chance.random() < 0.2:
            moves.append((None, moves[-1][1] + timedelta(seconds=5), True))  # taken back at once
        if chance.random() < 0.2:
            moves.append(("qualified", at + timedelta(hours=chance.randrange(100, 200)), False))
    if won_at:
        moves.append(("won", won_at, False))
    if ended == "reopened":
        moves.append(("won", at + timedelta(hours=3), False))
        moves.append((None, at + timedelta(hours=9), False))
    for reached, when, is_undo in moves:
        version += 1
        await conn.execute(
            """INSERT INTO ticket_stage_changes (organization_id, id, ticket_id, from_stage_id, to_stage_id, from_stage, to_stage, currency,
               happened_at, changed_at, actor, version, is_undo, reached) VALUES (%s, %s, %s, %s, %s, '', '', 'BRL', %s, %s, '', %s, %s, %s)""",
            [
                world.shop.id,
                new_id(),
                ticket_id,
                world.stages["new"],
                world.stages["new"],
                when,
                when,
                version,
                is_undo,
                reached,
            ],
        )


async def _rules(conn: Connection, world: World) -> None:
    organization = world.shop.id
    for cost in (
        Cost("meta_tax", Decimal("0.1215"), since=date(2026, 9, 10)),
        Cost(
            "meta_tax",
            Decimal("0.05"),
            ad_account_id="act_3",
            since=date(2026, 10, 1),
            until=date(2026, 10, 20),
        ),
        Cost("fee", Decimal("0.0499"), Decimal("0.40"), label="gateway"),
        Cost("fee", Decimal("0.05"), since=date(2026, 10, 5), label="comissão"),
        Cost("product", Decimal("0.3"), until=date(2026, 10, 15)),
    ):
        await costs.put(conn, organization, cost, actor="user:x")
    days = {
        SINCE + timedelta(days=place): Decimal("5.1234") + Decimal(place) / 1000
        for place in range(90)
        if place % 9 != 4
    }
    await rates.put(conn, organization, "USD", "BRL", days, actor="user:x", source="imported")


class Truth:
    """Every number again, slowly: from the raw rows, ticket by ticket and day by day, with no SQL but SELECT *."""

    def __init__(self, rows: dict[str, list[dict[str, Any]]], home: str = "America/Sao_Paulo") -> None:
        self.rows = rows
        self.home = home
        self.refunds = "refund"
        self.accounts = {row["ref"]: row for row in rows["meta_ad_accounts"]}
        self.ads = {row["meta_ad_id"]: row for row in rows["meta_ads"]}
        self.by_ref = {row["ref"]: row for row in rows["meta_ads"]}
        self.rates = {(row["currency"], row["day"]): row["rate"] for row in rows["fx_rates"]}
        self.tracking = {row["ticket_id"]: row for row in rows["ticket_tracking"]}
        self.moves = defaultdict(list)
        for row in rows["ticket_stage_changes"]:
            self.moves[row["ticket_id"]].append(row)

    @classmethod
    async def of(cls, db: Database, organization_id: UUID) -> "Truth":
        tables = (
            "meta_ad_accounts", "meta_ads", "fx_rates", "tickets", "ticket_tracking", "ticket_stage_changes", "ticket_refunds",
            "meta_ad_insights_daily", "cost_settings",
        )  # fmt: skip
        found = {}
        async with db.tenant(organization_id) as conn:
            for table in tables:
                async with conn.cursor(row_factory=dict_row) as cursor:
                    found[table] = await (await cursor.execute(f"SELECT * FROM {table}".encode())).fetchall()
        return cls(found)

    def place(self, ticket: dict[str, Any], level: str) -> tuple[str, str]:
        """(kind, id) of the row that a ticket belongs to."""
        tracking = self.tracking[ticket["id"]]
        if tracking["meta_source_type"] != "ad":
            return tracking["meta_source_type"], ""
        ad = self.ads.get(tracking["meta_ad_id"])
        if ad is None:
            return ("unconnected" if tracking["meta_enrichment_error"] == "no_access" else "unidentified"), ""
        return (level, self.key(ad, level)) if self.account(ad) else ("unconnected", "")

    def key(self, ad: dict[str, Any], level: str) -> str:
        names = {"campaign": "meta_campaign_id", "adset": "meta_ad_set_id", "ad": "meta_ad_id"}
        return f"act_{ad['meta_account_id']}" if level == "account" else ad[names[level]] or ""

    def account_of(self, level: str, key: str) -> str:
        """The account of a row."""
        return next(f"act_{ad['meta_account_id']}" for ad in self.ads.values() if self.key(ad, level) == key)

    def account(self, ad: dict[str, Any]) -> dict[str, Any] | None:
        return next(
            (a for a in self.accounts.values() if a["ad_account_id"] == f"act_{ad['meta_account_id']}"), None
        )

    def zone(self, ticket: dict[str, Any]) -> str:
        ad = self.ads.get(self.tracking[ticket["id"]]["meta_ad_id"] or "")
        account = self.account(ad) if ad else None
        return account["timezone_name"] if account else self.home

    def qualified_at(self, ticket: dict[str, Any]) -> datetime | None:
        if ticket["close_reason"] == "MERGED":
            return None
        moves = self.moves[ticket["id"]]
        undone = {move["version"] - 1 for move in moves if move["is_undo"]}
        stands = [move for move in moves if move["version"] not in undone]
        moments = [move["happened_at"] for move in stands if move["reached"] == "qualified"]
        if ticket["close_reason"] == "WON":
            moments.append(ticket["won_at"])
        else:
            moments += [move["happened_at"] for move in stands if move["reached"] == "won"]
        return min(moments, default=None)

    def money(self, amount: Decimal, currency: str, day: date) -> Decimal | None:
        if currency == "BRL":
            return amount
        rate = self.rates.get((currency, day))
        return None if rate is None else (amount * rate).quantize(CENT, ROUND_HALF_UP)

    def tax(self, account: str, day: date) -> Any:
        rules = [r for r in self.rows["cost_settings"] if r["kind"] == "meta_tax" and _holds(r, day)]
        own = [r["rate"] for r in rules if r["ad_account_id"] == account]
        return (own or [r["rate"] for r in rules if r["ad_account_id"] is None] or [Decimal(0)])[0]

    def costs(self, kind: str, value: Decimal, day: date) -> Decimal:
        rules = [r for r in self.rows["cost_settings"] if r["kind"] == kind and _holds(r, day)]
        return sum((value * r["rate"] + r["fixed"] for r in rules), Decimal(0))

    def spent(self, level: str, since: date, until: date) -> dict[tuple[str, str], defaultdict[str, Decimal]]:
        sums: dict[tuple[str, str], defaultdict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        for row in self.rows["meta_ad_insights_daily"]:
            if since <= row["day"] <= until:
                account = self.accounts[row["account_ref"]]
                into = sums[level, self.key(self.by_ref[row["ad_ref"]], level)]
                amount = self.money(Decimal(row["spend"]) / 100, account["currency"], row["day"])
                if amount is not None:
                    into["spend"] += amount
                    into["gross_spend"] += amount / (1 - self.tax(account["ad_account_id"], row["day"]))
                into["impressions"] += row["impressions"]
                into["link_clicks"] += row["link_clicks"]
                into["meta_conversations"] += row["conversations"]
        return sums

    def told(
        self, level: str, since: date, until: date, basis: str, zone: str | None = None
    ) -> dict[tuple[str, str], defaultdict[str, Decimal]]:
        """Ours, row by row. zone: of every row; None for each row's own."""
        sums: dict[tuple[str, str], defaultdict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        for ticket in self.rows["tickets"]:
            place = self.place(ticket, level)
            into = sums[place]
            where = ZoneInfo(zone or self.zone(ticket))
            tracking = self.tracking[ticket["id"]]
            touched = tracking["last_touch_at"] or ticket["opened_at"]

            def counts(at: datetime | None, *, touched: datetime = touched, where: ZoneInfo = where) -> bool:
                moment = touched if basis == "click" and at else at
                return moment is not None and since <= moment.astimezone(where).date() <= until

            merged, won = ticket["close_reason"] == "MERGED", ticket["close_reason"] == "WON"
            lead = not merged and not ticket["follow_up"]
            is_ad = tracking["meta_source_type"] == "ad"
            if lead and counts(ticket["opened_at"]):
                into["leads"] += 1
                if (
                    is_ad
                    and tracking["first_source_type"] == "ad"
                    and tracking["first_touch_at"] <= ticket["opened_at"]
                ):
                    into["conversations"] += 1
                    into["with_clid"] += tracking["ctwa_clid"] is not None
            into["qualified"] += counts(self.qualified_at(ticket))
            if won and counts(ticket["won_at"]):
                day = ticket["won_at"].astimezone(ZoneInfo(self.home)).date()
                into["sales"] += 1
                value = self.money(ticket["deal_value"], ticket["currency"], day)
                into["revenue"] += value or 0
                into["product_cost"] += self.costs("product", value or Decimal(0), day)
                into["fees"] += self.costs("fee", value or Decimal(0), day)
        self._refunds(sums, level, since, until, basis, zone)
        return sums

    def _refunds(self, sums: Any, level: str, since: date, until: date, basis: str, zone: str | None) -> None:
        tickets = {ticket["id"]: ticket for ticket in self.rows["tickets"]}
        for refund in self.rows["ticket_refunds"]:
            ticket = tickets[refund["ticket_id"]]
            touched = self.tracking[ticket["id"]]["last_touch_at"] or ticket["opened_at"]
            at = (
                touched
                if basis == "click"
                else ticket["won_at"]
                if self.refunds == "sale"
                else refund["refunded_at"]
            )
            if since <= at.astimezone(ZoneInfo(zone or self.zone(ticket))).date() <= until:
                day = refund["refunded_at"].astimezone(ZoneInfo(self.home)).date()
                sums[self.place(ticket, level)]["refunds"] += (
                    self.money(refund["amount"], refund["currency"], day) or 0
                )


def _holds(rule: dict[str, Any], day: date) -> bool:
    return (rule["since"] or date.min) <= day <= (rule["until"] or date.max)
