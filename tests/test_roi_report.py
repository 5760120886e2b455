"""The report agrees to the cent with an independent calculation over the raw rows, at every level, by both dates."""

import asyncio
import random
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import combinations, product
from typing import Any, LiteralString
from uuid import UUID

import msgspec
import pytest

from tests.roi_world import CENT, SINCE, UNTIL, Truth, make_world, spend
from whatrack import migrations
from whatrack.db import Database
from whatrack.enrichment import catalog
from whatrack.enrichment.catalog import CatalogAd
from whatrack.insights import rollups
from whatrack.roi import costs, facts, hours, metrics
from whatrack.roi.answers import Report
from whatrack.roi.ask import Ask, Basis, Level, Status, Within
from whatrack.roi.costs import Cost
from whatrack.roi.report import cohort, daily, funnel, report, salespeople, tickets_behind, times

NOW = datetime(2026, 11, 11, 15, tzinfo=UTC)
OURS = (
    "leads",
    "conversations",
    "with_clid",
    "qualified",
    "sales",
    "revenue",
    "refunds",
    "product_cost",
    "fees",
)
THEIRS = ("spend", "gross_spend", "impressions", "link_clicks", "meta_conversations")
MORE_ADS = """
INSERT INTO meta_ads (organization_id, meta_ad_id, name, meta_ad_set_id, meta_ad_set_name, meta_campaign_id, meta_campaign_name,
    meta_account_id, fetched_at) SELECT %s, 'x' || n, 'Anúncio', 's' || n, 'Conjunto s', 'c' || n, 'Campanha c', '1', now()
FROM generate_series(1, %s) AS n
"""
# An account's ads that cost nothing on a day, though people saw them.
SHOWN_FOR_NOTHING = """
UPDATE meta_ad_insights_daily SET spend = 0, impressions = 77 WHERE organization_id = %s AND account_ref = %s AND day = %s
"""
KEYS_OF: dict[str, LiteralString] = {
    "account": "SELECT ad_account_id FROM meta_ad_accounts ORDER BY 1",
    "campaign": "SELECT DISTINCT meta_campaign_id FROM meta_ads WHERE meta_account_id <> '999' ORDER BY 1",
    "adset": "SELECT DISTINCT meta_ad_set_id FROM meta_ads WHERE meta_account_id <> '999' ORDER BY 1",
    "ad": "SELECT meta_ad_id FROM meta_ads WHERE meta_account_id <> '999' ORDER BY 1",
}
RENAMED: dict[str, LiteralString] = {
    "account": "UPDATE meta_ad_accounts SET ad_account_name = %s WHERE ad_account_id = %s",
    "campaign": "UPDATE meta_ads SET meta_campaign_name = %s WHERE meta_campaign_id = %s",
    "adset": "UPDATE meta_ads SET meta_ad_set_name = %s WHERE meta_ad_set_id = %s",
    "ad": "UPDATE meta_ads SET name = %s WHERE meta_ad_id = %s",
}
PERIODS = [
    (date(2026, 10, 1), date(2026, 10, 30)),
    (date(2026, 10, 14), date(2026, 10, 14)),
    (SINCE, UNTIL),
    (date(2026, 9, 7), date(2026, 9, 13)),
]


async def follow(db: Database) -> None:
    more = True
    while more:
        async with db.system() as conn:
            more = await facts.follow(conn)


def found(answer: Report) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (row.kind, row.id): {name: getattr(row.amounts, name) for name in (*OURS, *THEIRS)}
        for row in (*answer.rows, *answer.special)
    }


def rounded(number: Any) -> Decimal:
    return Decimal(number or 0).quantize(CENT)


def assert_same(mine: dict[str, Any], truth: dict[str, Any], where: object) -> None:
    for name in (*OURS, *THEIRS):
        assert rounded(mine[name]) == rounded(truth.get(name)), (where, name)


@pytest.mark.parametrize(
    ("followed", "rules"),
    [(True, True), (False, True), (True, False)],
    ids=["followed", "all marked", "without costs"],
)
async def test_every_row_and_total_is_that_of_the_independent_calculation(
    db: Database, followed: bool, rules: bool
):
    world = await make_world(db, rules=rules)
    if followed:
        await follow(db)
    truth = await Truth.of(db, world.shop.id)

    for level in ("account", "campaign", "adset", "ad"):
        for basis in ("sale", "click"):
            for since, until in PERIODS if followed else PERIODS[:1]:
                ask = Ask(level=level, since=since, until=until, basis=basis, spent_only=False, limit=1000)
                async with db.tenant(world.shop.id) as conn:
                    answer = await report(conn, world.shop.id, ask, NOW)

                expected: dict[Any, Any] = defaultdict(dict)
                for sums in (truth.spent(level, since, until), truth.told(level, since, until, basis)):
                    for place, numbers in sums.items():
                        expected[place] |= numbers
                rows = found(answer)
                for place in {*expected, *rows}:
                    assert_same(
                        rows.get(place, defaultdict(int)), expected[place], (level, basis, since, place)
                    )
                home = truth.told(level, since, until, basis, truth.home)
                whole = {name: sum(numbers[name] for numbers in home.values()) for name in OURS}
                whole |= {
                    name: sum(n[name] for n in truth.spent(level, since, until).values()) for name in THEIRS
                }
                totals = {name: getattr(answer.totals.amounts, name) for name in (*OURS, *THEIRS)}
                assert_same(totals, whole, (level, basis, since, "total"))
                assert "zones_differ" in answer.notes


@pytest.mark.parametrize("followed", [True, False], ids=["followed", "all marked"])
async def test_refunds_may_be_dated_on_the_day_of_their_sale(db: Database, followed: bool):
    world = await make_world(db, seed=17)
    if followed:
        await follow(db)
    truth = await Truth.of(db, world.shop.id)
    moved = 0
    levels: tuple[Level, ...] = ("account", "campaign", "ad")
    for level, (since, until), account in product(levels, (PERIODS[0], PERIODS[3]), ("", "act_1")):
        ask = Ask(
            level, since, until, accounts=(account,) if account else (), refunds="sale", sort="refunds", limit=1000
        )  # fmt: skip
        async with db.tenant(world.shop.id) as conn:
            answer = await report(conn, world.shop.id, ask, NOW)
            days = metrics.total(day.amounts for day in await daily(conn, world.shop.id, ask, NOW))
            usual = await report(conn, world.shop.id, msgspec.structs.replace(ask, refunds="refund"), NOW)
            for row in (*answer.rows[:3], *answer.special, answer.totals):
                behind = await tickets_behind(conn, world.shop.id, ask, "refunds", (row.kind, row.id), NOW)
                assert sum((each.part for each in behind), Decimal(0)) == row.amounts.refunds
            people = await salespeople(conn, world.shop.id, ask, NOW)

        truth.refunds = "sale"
        told = truth.told(level, since, until, "sale")
        for row in (*answer.rows, *answer.special):
            assert row.amounts.refunds == told[row.kind, row.id]["refunds"], (level, row.id)
        assert [row.amounts.refunds for row in answer.rows] == sorted(
            (row.amounts.refunds for row in answer.rows), reverse=True
        )
        assert days.refunds == answer.totals.amounts.refunds == sum(each.refunds for each in people)
        if not account:
            whole = truth.told(level, since, until, "sale", truth.home)
            assert answer.totals.amounts.refunds == sum(each["refunds"] for each in whole.values())
        assert answer.totals.amounts.revenue == usual.totals.amounts.revenue
        assert ("refunds_by_sale" in answer.notes, "refunds_by_sale" in usual.notes) == (True, False)
        moved += answer.totals.amounts.refunds != usual.totals.amounts.refunds
    assert moved >= 6


async def test_days_and_the_tickets_behind_each_number_add_up_to_it(db: Database):
    world = await make_world(db, seed=11)
    await follow(db)
    since, until = PERIODS[0]
    for basis in ("sale", "click"):
        ask = Ask(level="campaign", since=since, until=until, basis=basis, spent_only=False, limit=1000)
        async with db.tenant(world.shop.id) as conn:
            answer = await report(conn, world.shop.id, ask, NOW)
            whole = metrics.total(day.amounts for day in await daily(conn, world.shop.id, ask, NOW))
            for name in (*OURS, *THEIRS, "attributed_revenue"):
                assert rounded(getattr(whole, name)) == rounded(getattr(answer.totals.amounts, name)), (
                    basis,
                    name,
                )
            for row in (answer.rows[0], answer.rows[-1], *answer.special, answer.totals):
                for metric in ("leads", "qualified", "sales", "revenue", "refunds", "with_clid"):
                    behind = await tickets_behind(conn, world.shop.id, ask, metric, (row.kind, row.id), NOW)
                    assert sum((each.part for each in behind), Decimal(0)) == getattr(row.amounts, metric), (
                        row.id,
                        metric,
                    )


async def test_sums_of_cohorts_are_sums_of_sales(db: Database):
    world = await make_world(db, seed=12)
    async with db.tenant(world.shop.id) as conn:
        by = {
            basis: await report(
                conn,
                world.shop.id,
                Ask(level="ad", since=date(2026, 8, 1), until=date(2026, 12, 31), basis=basis, limit=1000),
                NOW,
            )
            for basis in ("sale", "click")
        }

    assert found(by["sale"]) == found(by["click"])
    assert by["sale"].totals.amounts == by["click"].totals.amounts


@pytest.mark.parametrize(
    ("account", "since", "until", "costs", "tax"),
    [
        ("act_1", date(2026, 9, 7), date(2026, 9, 9), "0.3499", "0"),
        ("act_1", date(2026, 10, 1), date(2026, 10, 4), "0.3499", "0.1215"),
        ("act_1", date(2026, 10, 1), date(2026, 10, 30), "0.0999", "0.1215"),
        ("act_3", date(2026, 10, 1), date(2026, 10, 20), "0.0999", "0.05"),
        ("act_3", date(2026, 10, 21), date(2026, 10, 30), "0.0999", "0.1215"),
    ],
)
async def test_break_even_is_of_the_costs_of_the_last_day_and_the_tax_of_what_was_spent(
    db: Database, account: str, since: date, until: date, costs: str, tax: str
):
    """The rules of roi_world, read off by hand: an account's own tax while it lasts, else that of all."""
    world = await make_world(db, seed=13)
    async with db.tenant(world.shop.id) as conn:
        told = await report(conn, world.shop.id, Ask("account", since, until, accounts=(account,)), NOW)

    assert told.totals.amounts.spend
    exact = 1 / ((1 - Decimal(costs)) * (1 - Decimal(tax)))
    assert told.break_even is not None
    assert round(told.break_even, 6) == round(exact, 6)


async def test_pages_are_the_whole_in_parts_and_sorted_with_dashes_last(db: Database):
    world = await make_world(db, seed=13)
    await follow(db)
    since, until = PERIODS[0]
    async with db.tenant(world.shop.id) as conn:
        for name in metrics.SORTS:
            for descending in (True, False):
                ask = Ask(level="ad", since=since, until=until, sort=name, descending=descending, limit=8)
                pages = [
                    await report(conn, world.shop.id, msgspec.structs.replace(ask, offset=place), NOW)
                    for place in (0, 8)
                ]
                rows = [row for page in pages for row in page.rows]
                assert len({row.id for row in rows}) == len(rows) == pages[0].count
                assert [page.next_offset for page in pages][-1] is None
                numbers = [metrics.value(row.amounts, name) for row in rows]
                known = [number for number in numbers if number is not None]
                assert numbers[: len(known)] == known, name
                assert known == sorted(known, reverse=descending), name


async def test_filters_leave_what_they_name_and_totals_follow(db: Database):
    world = await make_world(db, seed=14)
    since, until = PERIODS[2]
    async with db.tenant(world.shop.id) as conn:

        async def rows(**more: Any) -> Report:
            return await report(conn, world.shop.id, Ask(level="ad", since=since, until=until, **more), NOW)

        everything = await rows()
        one = await rows(accounts=("act_2",))
        campaign = await rows(within=(Within("campaign", "c1-0"),))
        text = await rows(text="anúncio 30")
        paused = await rows(statuses=("paused",))

    assert {row.account_id for row in one.rows} == {"act_2"}
    assert not one.special
    assert one.totals.zone == "America/Los_Angeles"  # where all that is asked for has one zone
    assert {row.campaign_id for row in campaign.rows} == {"c1-0"}
    assert {row.id for row in text.rows} == {row.id for row in everything.rows if row.id.startswith("30")}
    assert {row.status for row in paused.rows} == {"PAUSED"}
    for answer in (one, campaign):
        assert answer.totals.amounts.spend == sum(row.amounts.spend or 0 for row in answer.rows)


@pytest.mark.parametrize("level", ["account", "campaign", "adset", "ad"])
async def test_names_are_searched_and_sorted_without_regard_to_capitals_and_accents(
    db: Database, level: Level
):
    world = await make_world(db, seed=14)
    called = (
        "PROMOÇÃO de Verão",
        "Ágata",
        "promocao 2",
        "Zebra",
        "Abacaxi",
        "àgata 2",
        "Ótica",
        "Promoção",
        "abc",
    )
    async with db.tenant(world.shop.id) as conn:
        keys = [row[0] for row in await (await conn.execute(KEYS_OF[level])).fetchall()]
        names: dict[str, str | None] = {
            key: called[place] if place < len(called) else f"É {key}" for place, key in enumerate(keys)
        }
        for key, name in names.items():
            await conn.execute(RENAMED[level], [name, key])
        if level != "account":  # Meta does not tell every name
            await conn.execute(RENAMED[level], [None, keys[-1]])
            names[keys[-1]] = None

        async def ids(**more: Any) -> list[str]:
            ask = Ask(level, SINCE, UNTIL, spent_only=False, sort="name", **more)
            return [row.id for row in (await report(conn, world.shop.id, ask, NOW)).rows if row.id]

        rows = await ids(descending=False)
        backwards = await ids(descending=True)
        pages = [
            each
            for place in range(0, len(rows), 3)
            for each in await ids(descending=False, limit=3, offset=place)
        ]
        found = {
            text: await ids(descending=False, text=text)
            for text in ("PROMOÇÃO", "promoção", "Promocao", "ágata")
        }

    assert len(rows) > 2
    assert rows == pages == sorted(rows, key=lambda key: folded(names[key] or key))
    assert backwards == rows[::-1]
    assert found.pop("ágata") == [key for key in rows if "gata" in (names[key] or "")]
    assert [*found.values()] == [[key for key in rows if "promo" in folded(names[key] or "")]] * 3


async def test_an_ad_tells_what_it_was_called_at_the_last_click_under_another_name(db: Database):
    world = await make_world(db, seed=14)
    async with db.tenant(world.shop.id) as conn:
        clicks = await conn.execute(
            """UPDATE ticket_tracking k SET meta_ad_name = 'Nome ' || n FROM (
                SELECT ticket_id, row_number() OVER (PARTITION BY meta_ad_id ORDER BY last_touch_at) AS n FROM ticket_tracking
                WHERE meta_ad_id IS NOT NULL) AS c WHERE k.ticket_id = c.ticket_id RETURNING k.meta_ad_id"""
        )
        counts = Counter(row[0] for row in await clicks.fetchall())
        for ad, count in counts.items():
            await conn.execute("UPDATE meta_ads SET name = %s WHERE meta_ad_id = %s", [f"Nome {count}", ad])
        answer = await report(conn, world.shop.id, Ask("ad", SINCE, UNTIL), NOW)

    then = {row.id: row.name_then for row in answer.rows if row.id in counts}
    assert len(then) > 3
    assert then == {ad: f"Nome {counts[ad] - 1}" for ad in then}


def folded(name: str) -> str:
    """Small letters without their accents."""
    return "".join(
        each for each in unicodedata.normalize("NFD", name.lower()) if not unicodedata.combining(each)
    )


async def test_a_status_is_any_of_meta_s_words_for_it_and_other_is_every_other(db: Database):
    world = await make_world(db, seed=14)
    words: dict[Status, list[str | None]] = {
        "active": ["ACTIVE"],
        "paused": ["PAUSED", "CAMPAIGN_PAUSED", "ADSET_PAUSED"],
        "archived": ["ARCHIVED", "DELETED", "NOT_VISIBLE"],
        "other": ["WITH_ISSUES", "PENDING_REVIEW", None],
    }
    every = [word for each in words.values() for word in each]
    levels: tuple[Level, ...] = ("ad", "adset")
    await follow(db)
    day = PERIODS[1][0]
    async with db.tenant(world.shop.id) as conn:
        await conn.execute(
            "UPDATE meta_ads SET effective_status = (%s::text[])[1 + ref %% %s]", [every, len(every)]
        )
        for level in levels:
            ask = Ask(level, day, day, spent_only=False, limit=1000)
            everything = (await report(conn, world.shop.id, ask, NOW)).rows
            for statuses in [*combinations(words, 1), *combinations(words, 2)]:
                only = msgspec.structs.replace(ask, statuses=statuses)
                rows = (await report(conn, world.shop.id, only, NOW)).rows
                told = [word for status in statuses for word in words[status]]
                assert {row.id for row in rows} == {row.id for row in everything if row.status in told}


async def test_an_account_in_another_currency_also_tells_what_it_spent_in_its_own(db: Database):
    world = await make_world(db, seed=18)
    since, until = PERIODS[0]
    truth = await Truth.of(db, world.shop.id)
    levels: tuple[Level, ...] = ("account", "campaign", "adset", "ad")
    raw: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in truth.rows["meta_ad_insights_daily"]:
        if since <= row["day"] <= until and row["account_ref"] == world.accounts["act_2"]:
            for level in levels:
                raw[level, truth.key(truth.by_ref[row["ad_ref"]], level)] += Decimal(row["spend"]) / 100
    for level in levels:
        async with db.tenant(world.shop.id) as conn:
            answer = await report(conn, world.shop.id, Ask(level, since, until, spent_only=False), NOW)
            alone = await report(conn, world.shop.id, Ask(level, since, until, accounts=("act_2",)), NOW)
            some = await report(
                conn, world.shop.id, Ask(level, since, until, accounts=("act_2",), text="zzz"), NOW
            )
        told = {(line.kind, line.id): line.own_spend for line in answer.rows if line.own_spend is not None}
        assert told == {place: spent for place, spent in raw.items() if place[0] == level}
        assert answer.totals.own_spend is None  # of several currencies
        assert (alone.totals.own_spend, alone.totals.currency) == (raw["account", "act_2"], "USD")
        assert (alone.currency, some.totals.own_spend) == ("BRL", None)


@pytest.mark.parametrize("more", [0, 600], ids=["few", "many"])
async def test_a_filter_leaves_the_same_sums_however_much_it_leaves(db: Database, more: int):
    """Few ads' tickets are looked up, of many the sums are read: by either way, the truth."""
    world = await make_world(db, seed=22)
    await follow(db)
    async with db.system() as conn:
        await conn.execute(MORE_ADS, [world.shop.id, more])
    truth = await Truth.of(db, world.shop.id)
    since, until = PERIODS[0]
    texts: dict[Level, str] = {"campaign": "campanha c", "adset": "CONJUNTO", "ad": "anúncio"}
    bases: tuple[Basis, ...] = ("sale", "click")
    for (level, text), accounts, basis in product(texts.items(), ((), ("act_1", "act_2")), bases):
        ask = Ask(level, since, until, basis, text=text, accounts=accounts, spent_only=False, limit=1000)
        async with db.tenant(world.shop.id) as conn:
            answer = await report(conn, world.shop.id, ask, NOW)

        def theirs(sums: dict[Any, Any], level: Level = level, accounts: Any = accounts) -> dict[Any, Any]:
            return {
                place: numbers
                for place, numbers in sums.items()
                if place[0] == level and (not accounts or truth.account_of(level, place[1]) in accounts)
            }

        expected: dict[Any, Any] = defaultdict(dict)
        for sums in (truth.spent(level, since, until), truth.told(level, since, until, basis)):
            for place, numbers in theirs(sums).items():
                expected[place] |= numbers
        rows = found(answer)
        for place in {*expected, *rows}:
            assert_same(rows.get(place, defaultdict(int)), expected[place], (ask, place))
        home = theirs(truth.told(level, since, until, basis, truth.home))
        whole = {name: sum(numbers[name] for numbers in home.values()) for name in OURS}
        whole |= {name: sum(row[name] or 0 for row in rows.values()) for name in THEIRS}
        totals = {name: getattr(answer.totals.amounts, name) for name in (*OURS, *THEIRS)}
        assert_same(totals, whole, (ask, "total"))


@pytest.mark.parametrize("more", [0, 600], ids=["few", "many"])
async def test_what_a_filter_leaves_is_ranked_and_counted_and_hidden_rows_are_in_no_total(
    db: Database, more: int
):
    world = await make_world(db, seed=22)
    await follow(db)
    days = PERIODS[0][0], UNTIL  # with two taxes, and with one
    async with db.system() as conn:
        await conn.execute(MORE_ADS, [world.shop.id, more])
        account = world.accounts["act_1"]
        for day in days:
            changed = await conn.execute(SHOWN_FOR_NOTHING, [world.shop.id, account, day])
            assert changed.rowcount
        await rollups.replace_days(conn, world.shop.id, account, days)
    levels: tuple[Level, ...] = ("campaign", "adset", "ad")
    sorts = ("spend", "profit", "ctr", "roi", "name")
    for level, spent_only, sort, day in product(levels, (True, False), sorts, days):
        ask = Ask(level, day, day, statuses=("active", "paused", "other", "archived"), sort=sort, limit=1000)
        ask = msgspec.structs.replace(ask, spent_only=spent_only)
        async with db.tenant(world.shop.id) as conn:
            everything = await report(conn, world.shop.id, ask, NOW)
            page = await report(conn, world.shop.id, msgspec.structs.replace(ask, limit=2, offset=1), NOW)
            steps = await funnel(conn, world.shop.id, ask, NOW)

        assert [row.id for row in page.rows] == [row.id for row in everything.rows[1:3]]
        assert page.count == everything.count == len(everything.rows) > 3
        assert page.totals == everything.totals
        for name in THEIRS:
            shown = sum(getattr(row.amounts, name) or 0 for row in everything.rows)
            assert getattr(everything.totals.amounts, name) == shown, (ask, name)
        assert steps.link_clicks == everything.totals.amounts.link_clicks


@pytest.mark.parametrize("level", ["campaign", "adset", "ad"])
async def test_a_page_of_one_foreign_account_alone_has_the_tax_of_that_account(db: Database, level: Level):
    """What was converted for all accounts is read again for the rows shown, whatever other accounts' taxes are."""
    world = await make_world(db, seed=28)
    async with db.tenant(world.shop.id) as conn:
        theirs = Cost("meta_tax", Decimal("0.2"), ad_account_id="act_2", since=PERIODS[0][0])
        await costs.put(conn, world.shop.id, theirs, actor="user:x")
    truth = (await Truth.of(db, world.shop.id)).spent(level, *PERIODS[0])
    ask = Ask(level, *PERIODS[0], spent_only=False, sort="name", descending=False, limit=2)
    async with db.tenant(world.shop.id) as conn:
        count = (await report(conn, world.shop.id, ask, NOW)).count
        pages = [
            await report(conn, world.shop.id, msgspec.structs.replace(ask, offset=place), NOW)
            for place in range(0, count, 2)
        ]

    rows = [row for page in pages for row in page.rows]
    assert {row.account_id for row in rows} == {*world.accounts}
    for row in rows:
        assert rounded(row.amounts.gross_spend) == rounded(truth[level, row.id]["gross_spend"]), row.id


@pytest.mark.parametrize("more", [0, 600], ids=["few", "many"])
async def test_totals_of_accounts_have_what_is_hidden_too_as_the_steps_and_the_days_do(
    db: Database, more: int
):
    world = await make_world(db, seed=22, tickets=0)
    account, (since, until) = world.accounts["act_1"], PERIODS[3]
    async with db.system() as conn:
        await conn.execute(MORE_ADS, [world.shop.id, more])
        await conn.execute(
            "UPDATE meta_ad_insights_daily SET spend = 0 WHERE ad_ref = %s", [world.ads["100"]]
        )
        await rollups.replace_days(
            conn, world.shop.id, account, [since + timedelta(days=each) for each in range(7)]
        )
    ask = Ask("ad", since, until, accounts=("act_1",))
    async with db.tenant(world.shop.id) as conn:
        answer = await report(conn, world.shop.id, ask, NOW)
        steps = await funnel(conn, world.shop.id, ask, NOW)
        days = metrics.total(each.amounts for each in await daily(conn, world.shop.id, ask, NOW))

    totals = answer.totals.amounts
    assert sum(row.amounts.link_clicks or 0 for row in answer.rows) < (totals.link_clicks or 0)
    assert totals.link_clicks == steps.link_clicks == days.link_clicks
    assert totals.spend == days.spend


async def test_spend_without_a_rate_that_nobody_saw_is_nought_in_the_order_as_it_is_in_the_row(db: Database):
    world = await make_world(db, seed=29, tickets=0, rules=False)
    (since, until), account = PERIODS[0], world.accounts["act_2"]
    async with db.system() as conn:
        unseen = "UPDATE meta_ad_insights_daily SET impressions = 0 WHERE account_ref = %s"
        await conn.execute(unseen, [account])
    async with db.tenant(world.shop.id) as conn:
        ask = Ask("ad", since, until, spent_only=False, sort="spend", descending=False)
        rows = (await report(conn, world.shop.id, ask, NOW)).rows

    assert [row.amounts.spend for row in rows[:4]] == [0] * 4
    assert {row.account_id for row in rows[:4]} == {"act_2"}


async def test_money_without_a_rate_is_in_no_sum_and_told_apart(db: Database):
    world = await make_world(db, seed=15, rules=False)
    since, until = PERIODS[0]
    async with db.tenant(world.shop.id) as conn:
        answer = await report(conn, world.shop.id, Ask(level="account", since=since, until=until), NOW)
    truth = await Truth.of(db, world.shop.id)

    raw = sum(
        row["spend"]
        for row in truth.rows["meta_ad_insights_daily"]
        if since <= row["day"] <= until and row["account_ref"] == world.accounts["act_2"]
    )
    (dollars,) = (row for row in answer.rows if row.id == "act_2")
    assert dollars.amounts.spend is None
    assert [(each.currency, each.spend) for each in dollars.apart] == [("USD", Decimal(raw) / 100)]
    assert "rate_missing" in answer.notes
    assert answer.totals.amounts.spend == sum(row.amounts.spend or 0 for row in answer.rows)


@pytest.mark.parametrize(
    ("level", "ours", "dollars"),
    [("account", "act_1", "act_2"), ("campaign", "c1-0", "c2-0"), ("ad", "100", "200")],
)
async def test_what_has_no_rate_is_told_of_the_rows_that_a_filter_leaves(
    db: Database, level: Level, ours: str, dollars: str
):
    world = await make_world(db, seed=27)
    async with db.tenant(world.shop.id) as conn:
        await conn.execute("UPDATE tickets SET currency = 'BRL'")
        await conn.execute("UPDATE ticket_refunds SET currency = 'BRL'")
        reais, foreign = [
            await report(conn, world.shop.id, Ask(level, SINCE, UNTIL, text=text, limit=1000), NOW)
            for text in (ours, dollars)
        ]

    assert reais.rows
    assert reais.totals.apart == ()
    assert "rate_missing" not in reais.notes
    missing = sum(each.spend for row in foreign.rows for each in row.apart)
    assert missing > 0
    assert [(each.currency, each.spend) for each in foreign.totals.apart] == [("USD", missing)]


async def test_roll_ups_are_the_raw_sums(db: Database):
    world = await make_world(db, seed=16, tickets=0)

    assert await blocks(db, world.shop.id) == await expected_blocks(db, world.shop.id)


async def test_an_ad_that_moves_takes_its_past_with_it_at_once(db: Database):
    """Its days, its tickets and every past number, in the transaction that says so; also while rows of its account are replaced."""
    world = await make_world(db, seed=19)
    await follow(db)
    moves = (
        [moved("100", "act_1", "c1-1", "s1-0"), moved("200", "act_2", "c1-0", None)],
        [moved("101", "act_1", None, None), moved("301", "act_3", "c3-0", "s3-0")],
        [moved("999", "act_999", "c1-0", "s1-1"), moved("100", "act_1", "c1-0", "s1-1")],
    )
    for ads in moves:
        async with db.tenant(world.shop.id) as conn:
            await catalog.put(conn, world.shop.id, ads)
        assert await blocks(db, world.shop.id) == await expected_blocks(db, world.shop.id)
        for followed in (False, True):
            if followed:
                await follow(db)
            for level in ("campaign", "adset"):
                await assert_rows_are_the_truth(
                    db,
                    world.shop.id,
                    Ask(level=level, since=SINCE, until=UNTIL, spent_only=False, limit=1000),
                )


@pytest.mark.parametrize("level", ["campaign", "adset"])
async def test_ads_of_no_campaign_are_a_row_that_opens_like_any_other(db: Database, level: Level):
    world = await make_world(db, seed=25)
    async with db.tenant(world.shop.id) as conn:
        ads = [moved("100", "act_1", None, None), moved("201", "act_2", None, None)]
        await catalog.put(conn, world.shop.id, ads)
    ask = Ask(level, SINCE, UNTIL, spent_only=False, limit=1000)
    async with db.tenant(world.shop.id) as conn:
        (row,) = (each for each in (await report(conn, world.shop.id, ask, NOW)).rows if each.id == "")
        inside = msgspec.structs.replace(ask, level="ad", within=(Within(level, ""),))
        opened = await report(conn, world.shop.id, inside, NOW)
        behind = {
            metric: await tickets_behind(conn, world.shop.id, ask, metric, (level, ""), NOW)
            for metric in ("leads", "sales", "revenue")
        }

    assert {each.id for each in opened.rows} == {"100", "201"}
    assert sum(each.amounts.spend or 0 for each in opened.rows) == row.amounts.spend
    assert row.amounts.leads > 0
    for metric, tickets in behind.items():
        assert sum(each.part for each in tickets) == getattr(row.amounts, metric)


@pytest.mark.parametrize("level", ["account", "campaign", "ad"])
async def test_what_stands_beside_the_table_is_of_the_same_filters(db: Database, level: Level):
    """Who sold, and how long it took: of the rows that a text leaves, as the totals are, not of their accounts' all."""
    world = await make_world(db, seed=26)
    texts = {"account": "act_1", "campaign": "c1-0", "ad": "Anúncio 10"}
    ask = Ask(level, SINCE, UNTIL, text=texts[level])
    async with db.tenant(world.shop.id) as conn:
        answer = (await report(conn, world.shop.id, ask, NOW)).totals.amounts
        people = await salespeople(conn, world.shop.id, ask, NOW)
        took = await times(conn, world.shop.id, ask, NOW)
        clicked = await report(conn, world.shop.id, msgspec.structs.replace(ask, basis="click"), NOW)
        grown = await cohort(conn, world.shop.id, msgspec.structs.replace(ask, basis="click"), NOW)

    assert answer.sales > 0
    assert sum(each.sales for each in people) == took.sales == answer.sales
    assert sum((each.revenue for each in people), Decimal(0)) == answer.revenue
    assert grown.leads == clicked.totals.amounts.leads


def moved(ad: str, account: str, campaign: str | None, adset: str | None) -> CatalogAd:
    return CatalogAd(
        ad,
        f"Anúncio {ad}",
        "ACTIVE",
        adset,
        f"Conjunto {adset}",
        campaign,
        f"Campanha {campaign}",
        account[4:],
    )


async def assert_rows_are_the_truth(db: Database, organization: UUID, ask: Ask) -> None:
    truth = await Truth.of(db, organization)
    async with db.tenant(organization) as conn:
        rows = found(await report(conn, organization, ask, NOW))
    expected: dict[Any, Any] = defaultdict(dict)
    for sums in (
        truth.spent(ask.level, ask.since, ask.until),
        truth.told(ask.level, ask.since, ask.until, ask.basis),
    ):
        for place, numbers in sums.items():
            expected[place] |= numbers
    for place in {*expected, *rows}:
        assert_same(rows.get(place, defaultdict(int)), expected[place], (ask, place))


async def test_rows_that_are_replaced_while_their_ads_move_are_summed_by_what_they_belong_to(db: Database):
    """Either may come first: each waits for the other, and none is overlooked."""
    world = await make_world(db, seed=20, tickets=0)
    chance = random.Random(20)

    async def restate() -> None:
        for start in range(0, 60, 7):
            async with db.tenant(world.shop.id) as conn:
                since = SINCE + timedelta(days=start)
                await spend(conn, world, "act_1", since, since + timedelta(days=9), chance)

    async def move() -> None:
        for place in range(12):
            async with db.tenant(world.shop.id) as conn:
                ads = [
                    moved(f"10{ad}", "act_1", f"c1-{(place + ad) % 3}", f"s1-{(place * ad) % 5}")
                    for ad in range(4)
                ]
                await catalog.put(conn, world.shop.id, ads)

    await asyncio.gather(restate(), move())

    assert await blocks(db, world.shop.id) == await expected_blocks(db, world.shop.id)


@pytest.mark.parametrize("level", ["account", "campaign", "adset", "ad"])
async def test_who_reads_sees_one_moment_whatever_is_written_meanwhile(db: Database, level: Level):
    """A table is several statements: rows are found, then summed, beside totals. What moves between them would be missed."""
    world = await make_world(db, seed=21, tickets=20)
    ask = Ask(level, SINCE, UNTIL, spent_only=False, limit=1000)
    async with db.reading(world.shop.id) as conn:
        before = await report(conn, world.shop.id, ask, NOW)
        async with db.tenant(world.shop.id) as other:
            await catalog.put(other, world.shop.id, [moved("100", "act_1", "c1-9", "s1-9")])
            await spend(other, world, "act_1", SINCE, UNTIL, random.Random(22))
        after = await report(conn, world.shop.id, ask, NOW)
        days = metrics.total(day.amounts for day in await daily(conn, world.shop.id, ask, NOW))
    async with db.reading(world.shop.id) as conn:
        later = await report(conn, world.shop.id, ask, NOW)

    assert (after.rows, after.totals) == (before.rows, before.totals)
    assert days.spend == before.totals.amounts.spend != later.totals.amounts.spend


async def blocks(db: Database, organization: UUID) -> dict[Any, Any]:
    """Every roll-up: (level, account, size, block, key) → the ads' days in it, spend, impressions, purchases' value."""
    async with db.tenant(organization) as conn:
        rows = await (
            await conn.execute(
                """SELECT level, account_ref, size, block, key, days, spend, impressions, meta_purchase_value FROM insight_blocks
                   UNION ALL SELECT 3, account_ref, size, block, ad_ref::text, days, spend, impressions, meta_purchase_value
                   FROM insight_ad_blocks"""
            )
        ).fetchall()
    return {tuple(row[:5]): list(row[5:]) for row in rows}


def having(day: int, *, days: bool) -> Iterator[tuple[int, int]]:
    """Every block that this day lies in, and itself."""
    if days:
        yield 1, day
    for size, step in ((4, 4), (32, 4), (128, 32)):
        for block in range(day // step - size // step, day // step + 1):
            if block * step <= day < block * step + size:
                yield size, block


async def expected_blocks(db: Database, organization: UUID) -> dict[Any, Any]:
    """The same from the rows of the days, one by one, and from the catalog as it is now."""
    truth = await Truth.of(db, organization)
    found: Any = defaultdict(lambda: [0] * 4)
    for row in truth.rows["meta_ad_insights_daily"]:
        ad = truth.by_ref[row["ad_ref"]]
        keys = ("", ad["meta_campaign_id"] or "", ad["meta_ad_set_id"] or "", str(row["ad_ref"]))
        numbers = (1, row["spend"], row["impressions"], row["meta_purchase_value"])
        for level, key in enumerate(keys):
            for size, block in having(rollups.number(row["day"]), days=level < 3):
                into = found[level, row["account_ref"], size, block, key]
                for place, number in enumerate(numbers):
                    into[place] += number
    return dict(found)


async def test_a_change_of_many_tickets_is_followed_piece_by_piece(db: Database):
    world = await make_world(db, seed=17)
    await follow(db)
    async with db.tenant(world.shop.id) as conn:
        await conn.execute(
            """INSERT INTO ticket_tracking (organization_id, ticket_id, meta_source_type, meta_enrichment_status)
               SELECT %s, gen_random_uuid(), 'organic', 'NOT_APPLICABLE' FROM generate_series(1, %s)""",
            [world.shop.id, 2 * facts.TICKETS_AT_ONCE],
        )
        held = await (await conn.execute("SELECT max(cardinality(ticket_ids)) FROM ticket_marks")).fetchone()
    pieces = []
    more = True
    while more:
        async with db.system() as conn:
            more = await facts.follow(conn)
            left = await (
                await conn.execute("SELECT coalesce(sum(cardinality(ticket_ids)), 0)::int FROM ticket_marks")
            ).fetchone()
        pieces.append(left[0] if left else None)

    assert held == (1000,)
    assert pieces == [facts.TICKETS_AT_ONCE, 0, 0]


async def test_an_ad_that_moves_marks_its_tickets_piece_by_piece(db: Database):
    world = await make_world(db, seed=24, tickets=0)
    async with db.tenant(world.shop.id) as conn:
        await conn.execute(
            """INSERT INTO ticket_tracking (organization_id, ticket_id, meta_source_type, meta_ad_id, meta_enrichment_status)
               SELECT %s, gen_random_uuid(), 'ad', '100', 'COMPLETED' FROM generate_series(1, 2500)""",
            [world.shop.id],
        )
    await follow(db)
    async with db.tenant(world.shop.id) as conn:
        await catalog.put(conn, world.shop.id, [moved("100", "act_1", "c1-9", "s1-9")])
        held = await (
            await conn.execute("SELECT cardinality(ticket_ids) FROM ticket_marks ORDER BY 1")
        ).fetchall()

    assert held == [(500,), (1000,), (1000,)]


async def test_facts_are_followed_and_equal_to_their_definition(db: Database):
    world = await make_world(db, seed=17)
    await follow(db)
    async with db.tenant(world.shop.id) as conn:
        followed = await (await conn.execute("SELECT * FROM roi_tickets ORDER BY ticket_id")).fetchall()
        defined = await (await conn.execute("SELECT * FROM ticket_facts ORDER BY ticket_id")).fetchall()
        marks = await (await conn.execute("SELECT count(*) FROM ticket_marks")).fetchone()

    assert followed == defined
    assert len(followed) == 160
    assert await sums(db, world.shop.id) == expected_sums(followed)
    assert marks == (0,)


def migration(name: str) -> bytes:
    return (migrations.SQL_FOLDER / f"{name}.sql").read_bytes()


async def test_sums_of_tickets_over_more_lengths_come_from_the_facts(db: Database):
    world = await make_world(db, seed=17)
    await follow(db)
    before = await sums(db, world.shop.id)
    async with db.system() as conn:
        deleted = await conn.execute("DELETE FROM roi_ticket_sums WHERE hours IN (96, 3072)")
        assert deleted.rowcount > 0
        await conn.execute("DROP INDEX meta_ads_status")
        await conn.execute(migration("0019_more_blocks"))

    assert await sums(db, world.shop.id) == before


async def test_overlapping_blocks_come_from_those_of_four_days(db: Database):
    world = await make_world(db, seed=17)
    before = await blocks(db, world.shop.id)
    async with db.system() as conn:
        for table in ("insight_ad_blocks", "insight_blocks"):  # as they were: 64 days side by side
            await conn.execute(f"DELETE FROM {table} WHERE size = 128".encode())
            await conn.execute(f"UPDATE {table} SET size = 64 WHERE size = 32".encode())
        await conn.execute(migration("0022_overlapping_blocks"))

    assert await blocks(db, world.shop.id) == before


async def test_sums_of_tickets_follow_every_change(db: Database):
    world = await make_world(db, seed=18)
    await follow(db)
    async with db.tenant(world.shop.id) as conn:
        for change in (
            "UPDATE ticket_tracking SET meta_ad_id = '301' WHERE meta_ad_id = '101'",
            "UPDATE ticket_tracking SET last_touch_at = last_touch_at + interval '17 days' WHERE meta_ad_id = '201'",
            "UPDATE tickets SET deal_value = deal_value * 2 WHERE close_reason = 'WON' AND currency = 'BRL'",
            "UPDATE tickets SET currency = 'USD' WHERE close_reason = 'WON' AND deal_value < 1000",
        ):
            await conn.execute(change.encode())
    await follow(db)
    async with db.tenant(world.shop.id) as conn:
        facts_now = await (await conn.execute("SELECT * FROM ticket_facts ORDER BY ticket_id")).fetchall()

    assert await sums(db, world.shop.id) == expected_sums(facts_now)


async def sums(db: Database, organization: UUID) -> dict[Any, Any]:
    """Every sum of tickets that is not of nothing."""
    async with db.tenant(organization) as conn:
        rows = await (await conn.execute("SELECT * FROM roi_ticket_sums")).fetchall()
    return {tuple(row[1:9]): list(row[9:]) for row in rows if any(row[9:])}


def expected_sums(tickets: list[Any]) -> dict[Any, Any]:
    """The same from the facts, one by one."""
    found: Any = defaultdict(lambda: [0] * 7)
    for (
        _,
        _,
        ad,
        account,
        lead,
        conversation,
        clid,
        opened,
        touched,
        qualified,
        won,
        value,
        currency,
        campaign,
        ad_set,
    ) in tickets:
        count = [1, conversation, conversation and clid, 0, 0, 0, 0]
        sale = [0, 0, 0, 0, 1, value is None, value or 0]
        whole = [
            lead,
            conversation,
            conversation and clid,
            qualified is not None,
            *([0] * 3 if won is None else sale[4:]),
        ]
        events = [
            (False, opened if lead else None, count),
            (False, qualified, [0, 0, 0, 1, 0, 0, 0]),
            (False, won, sale),
            (True, touched, whole),
        ]
        for by_click, at, numbers in events:
            for level, sizes in facts.SIZES.items():
                for size in sizes if at and (level < 2 or account) else ():
                    block = (at - hours.EPOCH) // hours.HOUR // size
                    place = (by_click, level, size, block, (account if level else -1) if account else 0)
                    kind = ad if level == 2 or not account else 0
                    key = {3: campaign, 4: ad_set}.get(level, "")
                    into = found[(*place, kind, key, currency)]
                    for index, number in enumerate(numbers):
                        into[index] += int(number)
    return {place: numbers for place, numbers in found.items() if any(numbers)}
