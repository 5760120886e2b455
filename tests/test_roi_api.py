"""The API and the files say what the report says; the reconciliation adds up."""

import csv
import io
import random
import re
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
from xlsxwriter.utility import xl_col_to_name

import whatrack
from tests.roi_world import Truth, make_world
from tests.support import Shop, make_shop
from whatrack.db import Database
from whatrack.insights import rollups
from whatrack.roi import costs, export, metrics, rates
from whatrack.roi.ask import Ask
from whatrack.roi.costs import Cost
from whatrack.roi.metrics import Amounts
from whatrack.roi.reconcile import CAUSES, LEADS, PURCHASES, Reconciliation, Side, reconcile, tickets
from whatrack.roi.report import report
from whatrack.tenants import api_keys
from whatrack.units import new_id

NOW = datetime(2026, 11, 11, 15, tzinfo=UTC)
INSIGHTS = "/api/v1/meta-ads/insights"
SINCE, UNTIL = date(2026, 10, 1), date(2026, 10, 30)


async def key_of(db: Database, shop: Shop) -> dict[str, str]:
    async with db.system() as conn:
        _, key = await api_keys.create(conn, shop.id, "viewer")
    return {"Authorization": f"Bearer {key}"}


async def test_the_api_tells_the_same_as_the_independent_calculation(db: Database, service: str):
    world = await make_world(db, seed=21, tickets=60)
    truth = await Truth.of(db, world.shop.id)
    query = {"level": "campaign", "since": str(SINCE), "until": str(UNTIL), "basis": "sale"}

    async with aiohttp.ClientSession(headers=await key_of(db, world.shop)) as http:
        async with http.get(f"{service}/api/v1/meta-ads/insights", params=query) as response:
            assert response.status == 200
            answer = await response.json()
        async with http.get(f"{service}/api/v1/meta-ads/insights", params={**query, "level": "x"}) as refused:
            assert refused.status == 422

    spent, told = truth.spent("campaign", SINCE, UNTIL), truth.told("campaign", SINCE, UNTIL, "sale")
    for row in answer["rows"]:
        place = ("campaign", row["id"])
        assert Decimal(row["spend"]) == spent[place]["spend"]
        assert Decimal(row["revenue"]) == told[place]["revenue"]
        assert (row["leads"], row["qualified"], row["sales"]) == tuple(
            told[place][name] for name in ("leads", "qualified", "sales")
        )
        assert row["cpl"] is None if not row["leads"] else Decimal(row["cpl"]) > 0
    assert {row["kind"] for row in answer["special"]} == {"organic", "post", "unidentified", "unconnected"}
    assert all(row["spend"] is None and row["roas"] is None for row in answer["special"])
    of_ads = [numbers for (kind, _), numbers in told.items() if kind == "campaign"]
    totals = answer["totals"]
    for name, cost in (("leads", "cpl"), ("qualified", "cost_per_qualified"), ("sales", "cpa")):
        brought = sum(int(numbers[name]) for numbers in of_ads)
        assert 0 < brought < totals[name]
        assert totals[f"attributed_{name}"] == brought
        assert Decimal(totals[f"attributed_{cost}"]) == round(Decimal(totals["spend"]) / brought, 2)
        assert all(row[f"attributed_{name}"] == row[name] for row in answer["rows"])
        assert all(row[f"attributed_{name}"] == 0 for row in answer["special"])
    wanted = {
        "spend",
        "impressions",
        "link_clicks",
        "leads",
        "qualified",
        "sales",
        "revenue",
        "profit",
        "roas",
        "roi",
        "cpl",
        "cpa",
    }
    assert wanted <= set(answer["totals"])


# What is asked for, the field that is named, what else the answer says.
NOT_THERE = [
    ([("account", "act_404")], "account", "act_404", "/api/v1/meta-ads/ad-accounts"),
    ([("account", "act_1"), ("account", "404"), ("account", "2")], "account", "404", "/api/v1/meta-ads/ad-accounts"),
    ([("profile", "Ada")], "profile", "Ada", "/api/v1/meta-ads/connections"),
    ([("profile", "018bcfe5-6800-7000-8000-0123456789ab")], "profile", "018bcfe5", "/api/v1/meta-ads/connections"),
    ([("campaign", "c404")], "campaign", "c404", "level=campaign"),
    ([("adset", "s404")], "adset", "s404", "level=adset"),
    ([("ad", "404")], "ad", "404", "level=ad"),
    ([("level", "city")], "level", "level", "'campaign'"),
    ([("basis", "day")], "basis", "basis", "'click'"),
    ([("status", "gone")], "status.0", "status", "'paused'"),
    ([("sort", "luck")], "sort", "Use one of", "spend"),
    ([("offset", "9" * 30)], "offset", "offset", "1000000"),
]  # fmt: skip


async def test_what_the_organization_does_not_have_is_named_instead_of_summed_to_zero(
    db: Database, service: str
):
    world = await make_world(db, seed=24, tickets=2)
    async with aiohttp.ClientSession(headers=await key_of(db, world.shop)) as http:
        for asked, field, *said in NOT_THERE:
            query = [("since", str(SINCE)), ("until", str(UNTIL)), *asked]
            if asked[0][0] != "level":
                query.append(("level", "ad"))
            async with http.get(f"{service}/api/v1/meta-ads/insights", params=query) as response:
                assert response.status == 422
                assert response.content_type == "application/problem+json"
                problem = await response.json()
            assert [each["field"] for each in problem["errors"]] == [field]
            assert all(words in problem["detail"] for words in said)
            assert "act_1" not in problem["detail"]


async def test_every_remedy_that_names_an_address_names_one_that_there_is(db: Database, service: str):
    shop = await make_shop(db)
    query = {"level": "ad", "since": "2026-11-01", "until": "2026-11-02"}
    named = [
        re.findall(r"\b(GET) (/[\w/-]+)", path.read_text())
        for path in Path(whatrack.__file__).parent.rglob("*.py")
    ]
    addresses = sorted({address for found in named for _method, address in found if "/api/" in address})
    async with aiohttp.ClientSession(headers=await key_of(db, shop)) as http:
        for field, address in (("account", "ad-accounts"), ("profile", "connections")):
            async with http.get(
                f"{service}{INSIGHTS}", params={**query, field: str(UUID(int=9))}
            ) as response:
                assert f"GET /api/v1/meta-ads/{address} " in (await response.json())["detail"]
        for address in addresses:
            async with http.get(f"{service}{address}") as response:
                assert response.status not in (404, 405), address
    assert {"/api/v1/meta-ads/ad-accounts", "/api/v1/meta-ads/connections"} <= {*addresses}


OUT_OF_BOUNDS = "Days go from 2000-01-01 to 9998-12-31."
NO_DAY = "Write a day as YYYY-MM-DD, such as 2026-11-24."


@pytest.mark.parametrize(
    ("since", "until", "field", "said"),
    [
        ("0001-01-01", "0001-01-02", "since", OUT_OF_BOUNDS), ("1999-12-31", "2000-01-02", "since", OUT_OF_BOUNDS),
        ("9998-12-31", "9999-01-01", "until", OUT_OF_BOUNDS), ("2026-02-30", "2026-03-01", "since", NO_DAY),
        ("01/11/2026", "2026-11-02", "since", NO_DAY), ("20261101", "2026-11-02", "since", NO_DAY), ("1700000000", "2026-11-02", "since", NO_DAY),
        ("2026-11-01", "", "until", NO_DAY), ("2026-11-01", "２０２６-11-02", "until", NO_DAY),
    ],
)  # fmt: skip
async def test_days_that_there_are_not_are_refused_by_name(
    db: Database, service: str, since: str, until: str, field: str, said: str
):
    shop = await make_shop(db)
    query = {"level": "ad", "since": since, "until": until}
    async with (
        aiohttp.ClientSession(headers=await key_of(db, shop)) as http,
        http.get(f"{service}{INSIGHTS}", params=query) as response,
    ):
        assert response.status == 422
        assert {"field": field, "detail": said} in (await response.json())["errors"]


async def test_a_moment_out_of_bounds_is_refused_wherever_one_is_taken(db: Database, service: str):
    shop = await make_shop(db)
    async with aiohttp.ClientSession(headers=await key_of(db, shop)) as http:
        for path in ("tickets", "conversion-events"):
            for moment in ("0001-01-01T00:00:00Z", "1999-12-31T23:59:59Z", "9999-01-01T00:00:00Z"):
                async with http.get(f"{service}/api/v1/{path}", params={"since": moment}) as response:
                    assert response.status == 422
                    assert OUT_OF_BOUNDS in (await response.json())["detail"]


async def test_the_first_and_the_last_days_there_are_can_be_asked_for(db: Database, service: str):
    world = await make_world(db, tickets=5)
    choices = product(
        ("account", "campaign", "adset", "ad"),
        ("sale", "click"),
        (("2000-01-01", "2000-01-02"), ("9998-12-30", "9998-12-31"), ("9996-01-01", "9998-12-31")),
    )
    async with aiohttp.ClientSession(headers=await key_of(db, world.shop)) as http:
        for level, basis, (since, until) in choices:
            query = {"level": level, "basis": basis, "since": since, "until": until, "compare": "true"}
            async with http.get(f"{service}{INSIGHTS}", params=query) as response:
                assert response.status == 200, query


async def test_what_it_has_is_not_refused(db: Database, service: str):
    world = await make_world(db, seed=25, tickets=2)
    query = [("since", str(SINCE)), ("until", str(UNTIL)), ("level", "ad"), ("account", "act_1"), ("account", "2"),
             ("campaign", "c1-0"), ("campaign", ""), ("adset", "s1-0"), ("ad", "100")]  # fmt: skip
    async with (
        aiohttp.ClientSession(headers=await key_of(db, world.shop)) as http,
        http.get(f"{service}/api/v1/meta-ads/insights", params=query) as response,
    ):
        assert response.status == 200, await response.text()


async def test_files_hold_every_column_and_read_back_to_the_cent(db: Database):
    world = await make_world(db, seed=22, tickets=60)
    async with db.tenant(world.shop.id) as conn:
        await conn.execute("UPDATE meta_ads SET name = '=cmd()' WHERE meta_ad_id = '100'")
        answer = await report(conn, world.shop.id, Ask(level="ad", since=SINCE, until=UNTIL, limit=1000), NOW)
    lines = export.table(answer)
    # Every sum is in one currency, and says so; what an account pays in another stands beside it, with its own.
    assert {line["currency"] for line in lines} == {"BRL"}
    abroad = {line["account_currency"]: line["account_spend"] for line in lines}
    assert {"BRL", "USD", None} == {*abroad}
    assert all((line["account_currency"] == "USD") == (line["account_spend"] is not None) for line in lines)
    assert all(line["account_currency"] is None for line in lines[-5:])

    brazil = export.as_csv(answer, "pt")
    assert brazil.startswith(b"\xef\xbb\xbf")
    for body, separator, point in ((brazil, ";", ","), (export.as_csv(answer, "en"), ",", ".")):
        read = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig")), delimiter=separator))
        assert len(read) == len(lines) == len(answer.rows) + 5
        # A bare number of 18 digits would be 1,2E+17: a tab makes a spreadsheet keep it as text, and a reader strips it.
        assert [row["id"] for row in read] == [f"\t{row.id}" for row in answer.rows] + [""] * 5
        assert [row["account_id"] for row in read][:1] == [answer.rows[0].account_id]
        for row, line in zip(read, lines, strict=True):
            for name in export.NUMBERS:
                cell = row[name].replace(point, ".")
                assert (Decimal(cell) if cell else None) == line[name]
        assert not any(cell.startswith("=") for row in read for cell in row.values())
    with zipfile.ZipFile(io.BytesIO(export.as_xlsx(answer))) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
        words = book.read("xl/sharedStrings.xml").decode()
    assert sheet.count("<row ") == len(lines) + 1
    assert "<f>" not in sheet
    assert all(f"<t>{row.id}</t>" in words for row in answer.rows)  # ids are texts


def random_days(chance: random.Random) -> tuple[date, date]:
    since = date(2026, 8, 20) + timedelta(days=chance.randrange(60))
    return since, since + timedelta(days=chance.randrange(1, 40))


async def random_rules(db: Database, shop: Shop, chance: random.Random) -> None:
    """Costs of every kind, with shares that leave no whole cents, for days that begin and end within the world's."""
    middle = date(2026, 9, 10) + timedelta(days=chance.randrange(40))

    def share(most: float) -> Decimal:
        return Decimal(str(round(chance.uniform(0.0001, most), 6)))

    halves: tuple[tuple[date | None, date | None], ...] = ((None, middle), (middle + timedelta(days=1), None))
    made = [
        *(Cost("meta_tax", share(0.3), since=since, until=until) for since, until in halves),
        Cost("meta_tax", share(0.3), ad_account_id="act_3", since=middle),
        *(
            Cost("product", share(0.5), Decimal(chance.randrange(999)) / 100, since, until)
            for since, until in halves
        ),
        *(
            Cost("fee", share(0.1), Decimal(chance.randrange(99)) / 100, *random_days(chance))
            for _ in range(3)
        ),
    ]
    async with db.tenant(shop.id) as conn:
        for cost in made:
            await costs.put(conn, shop.id, cost, actor="user:x")
        worth = {date(2026, 8, 18) + timedelta(days=day): share(9) for day in range(120) if day % 9 != 4}
        await rates.put(conn, shop.id, "USD", "BRL", worth, actor="user:x")


HALF_A_CENT = Decimal("0.005")
WHOLE = ("spend", "revenue", "refunds", "net_revenue", "attributed_revenue", "meta_purchase_value")


@pytest.mark.parametrize("seed", range(4))
async def test_rows_sum_to_the_totals_and_each_profit_is_that_of_its_terms(
    db: Database, service: str, seed: int
):
    chance = random.Random(seed)
    world = await make_world(db, seed=300 + seed, tickets=60, one_zone=True, rules=False)
    await random_rules(db, world.shop, chance)
    truth = await Truth.of(db, world.shop.id)
    finer = 0
    async with aiohttp.ClientSession(headers=await key_of(db, world.shop)) as http:
        for level, basis in product(("account", "campaign", "adset", "ad"), ("sale", "click")):
            since, until = random_days(chance)
            query = {
                "level": level,
                "basis": basis,
                "since": str(since),
                "until": str(until),
                "limit": "1000",
            }
            async with http.get(f"{service}{INSIGHTS}", params=query) as response:
                answer = await response.json()
            lines = [*answer["rows"], *answer["special"]]
            for name in (*WHOLE, *metrics.DERIVED):
                told = sum((Decimal(each[name] or 0) for each in lines), Decimal(0))
                off = abs(told - Decimal(answer["totals"][name]))
                assert off < HALF_A_CENT if name in metrics.DERIVED else off == 0, (level, basis, name)
            for line in (*lines, answer["totals"]):
                net, product_cost, fees, gross = (Decimal(line[name] or 0) for name in ("net_revenue", "product_cost", "fees", "gross_spend"))  # fmt: skip
                assert Decimal(line["profit"]) == net - product_cost - fees - gross
                assert all(places(line[name]) == 2 for name in WHOLE if line[name] is not None)
                assert all(2 <= places(line[name]) <= 6 for name in metrics.DERIVED if line[name] is not None)
                finer += places(line["profit"]) > 2
            sums = truth.told(level, since, until, basis, truth.home)
            for place, numbers in truth.spent(level, since, until).items():
                sums[place]["gross_spend"] += numbers["gross_spend"]
            for line in lines:
                expected = sums[line["kind"], line["id"]]
                for name in ("gross_spend", "product_cost", "fees"):
                    assert abs(Decimal(line[name] or 0) - expected[name]) <= Decimal("0.000001"), (
                        line["id"],
                        name,
                    )
    assert finer > 20


def places(text: str) -> int:
    return len(text.partition(".")[2])


def test_money_has_the_places_of_its_currency_or_as_many_more_as_it_needs():
    amounts = Amounts(
        spend=Decimal(100), gross_spend=Decimal("113.83038133181"), revenue=Decimal("199.90"), product_cost=Decimal("59.970"),
        fees=Decimal("0.00000049"), leads=3,
    )  # fmt: skip

    told = export.exact(amounts, "BRL")
    assert (str(told["spend"]), str(told["gross_spend"])) == ("100.00", "113.830381")
    assert (str(told["product_cost"]), str(told["fees"]), str(told["profit"])) == (
        "59.97",
        "0.00",
        "26.099619",
    )
    assert str(told["cpl"]) == "33.33"
    assert str(export.exact(amounts, "JPY")["spend"]) == "100"
    assert str(export.exact(amounts, "KWD")["product_cost"]) == "59.970"
    assert export.exact(Amounts(), "BRL")["gross_spend"] is None
    assert str(export.shown(amounts, "BRL")["profit"]) == "26.10"


async def test_a_workbook_holds_derived_money_in_full_and_a_csv_in_cents(db: Database):
    world = await make_world(db, seed=26, tickets=60, one_zone=True)
    async with db.tenant(world.shop.id) as conn:
        answer = await report(conn, world.shop.id, Ask(level="ad", since=SINCE, until=UNTIL, limit=1000), NOW)
    columns = (*export.TEXTS, *export.OF_ACCOUNT, *export.NUMBERS)
    with zipfile.ZipFile(io.BytesIO(export.as_xlsx(answer))) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    for name in metrics.DERIVED:
        column = xl_col_to_name(columns.index(name))
        cells = re.findall(rf'<c r="{column}(\d+)" s="\d+"><v>([^<]+)</v>', sheet)
        *rows, (_last, totals) = [(int(line), Decimal(value)) for line, value in cells]
        assert abs(sum(value for _line, value in rows) - totals) < HALF_A_CENT, name
        assert any(value != round(value, 2) for _line, value in rows), name
    lines = csv.DictReader(io.StringIO(export.as_csv(answer, "en").decode("utf-8-sig")))
    assert {places(line[name]) for line in lines for name in metrics.DERIVED if line[name]} == {2}


async def tell(db: Database, world_id: object) -> None:
    """Meta is owed something for each ticket that was won or qualified, and answered in every way."""
    truth = await Truth.of(db, world_id)  # type: ignore[arg-type] # a UUID
    statuses = ("SENT", "SENT", "SENT", "PENDING", "EXPIRED_WINDOW", "FAILED")
    async with db.tenant(world_id) as conn:  # type: ignore[arg-type] # a UUID
        await conn.execute("ALTER TABLE meta_conversion_events DISABLE TRIGGER USER")
        for place, ticket in enumerate(truth.rows["tickets"]):
            tracking = truth.tracking[ticket["id"]]
            at, won = truth.qualified_at(ticket), ticket["close_reason"] == "WON"
            for name, moment in (("LeadSubmitted", at), ("Purchase", ticket["won_at"] if won else None)):
                if moment is None or (name == "LeadSubmitted" and place % 5 == 0):
                    continue
                status = statuses[place % 6] if tracking["ctwa_clid"] else "SKIPPED_NO_CTWA"
                sent = moment + timedelta(minutes=1) if status == "SENT" else None
                await conn.execute(
                    """INSERT INTO meta_conversion_events (organization_id, id, ticket_id, event_name, event_id, status, success, ctwa_clid,
                       ctwa_clid_hash, meta_ad_id, value, currency, event_time, owed_version, not_before, next_attempt_at, attempts, sent_at,
                       created_at, updated_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 1, now(), now() + interval '1 day', 1, %s, now(), now())""",
                    [
                        ticket["organization_id"], new_id(), ticket["id"], name, f"{name}-{ticket['id']}", status, status == "SENT",
                        tracking["ctwa_clid"], str(ticket["id"]).encode() if tracking["ctwa_clid"] else None, tracking["meta_ad_id"],
                        ticket["deal_value"] if name == "Purchase" else None, ticket["currency"], moment, sent,
                    ],
                )  # fmt: skip
        await conn.execute("ALTER TABLE meta_conversion_events ENABLE TRIGGER USER")
        await conn.execute(
            """INSERT INTO insight_days (organization_id, account_id, day, fetched_at, answer_hash)
               SELECT a.organization_id, a.id, day, %s, '' FROM meta_ad_accounts a, generate_series(date '2026-08-01', date '2026-12-31', '1 day') AS day
               ON CONFLICT (organization_id, account_id, day) DO UPDATE SET fetched_at = excluded.fetched_at, answer_hash = ''""",
            [NOW + timedelta(days=90)],
        )
        # What Meta then says: each event of a connected account's ad on its day, if the click was at most a week before. A click
        # whose message named no ad was one of ours too, as Meta knows.
        await conn.execute(
            "UPDATE meta_ad_insights_daily SET meta_leads = 0, meta_purchases = 0, meta_purchase_value = 0"
        )
        await conn.execute(
            """WITH credited AS (SELECT ac.ref AS account, a.ref AS ad, (e.event_time AT TIME ZONE ac.timezone_name)::date AS day, e.event_name
               FROM meta_conversion_events e JOIN ticket_tracking k USING (organization_id, ticket_id) JOIN meta_ads a ON a.meta_ad_id = coalesce(e.meta_ad_id, '100')
               JOIN meta_ad_accounts ac ON ac.ad_account_id = 'act_' || a.meta_account_id
               WHERE e.status = 'SENT' AND e.event_time - k.last_touch_at <= interval '168 hours')
               INSERT INTO meta_ad_insights_daily (organization_id, account_ref, day, ad_ref, spend, impressions, reach, clicks, link_clicks, conversations,
                   meta_leads, meta_purchases, meta_purchase_value)
               SELECT %s, account, day, ad, 0, 0, 0, 0, 0, 0, count(*) FILTER (WHERE event_name = 'LeadSubmitted'),
                   count(*) FILTER (WHERE event_name = 'Purchase'), 0 FROM credited GROUP BY 2, 3, 4
               ON CONFLICT (organization_id, account_ref, day, ad_ref) DO UPDATE SET meta_leads = excluded.meta_leads, meta_purchases = excluded.meta_purchases""",
            [world_id],
        )


def adds_up(side: Side) -> bool:
    return (
        side.ours == side.meta + sum(line.count for line in side.lines)
        and side.ours_value == side.meta_value + sum(line.value for line in side.lines)
        and tuple(line.cause for line in side.lines) == CAUSES
    )


async def test_the_reconciliation_adds_up_and_explains_every_difference(db: Database):
    world = await make_world(db, seed=23, tickets=200)
    await tell(db, world.shop.id)
    async with db.tenant(world.shop.id) as conn:
        for ref in world.accounts.values():
            days = [date(2026, 8, 1) + timedelta(days=place) for place in range(150)]
            await rollups.replace_days(conn, world.shop.id, ref, days)
    async with db.tenant(world.shop.id) as conn:
        found: Reconciliation = await reconcile(
            conn, world.shop.id, Ask(level="account", since=SINCE, until=UNTIL), NOW
        )

    for side in (found.leads, found.purchases):
        assert adds_up(side)
        assert side.meta > 0
        events = LEADS if side is found.leads else PURCHASES
        async with db.tenant(world.shop.id) as conn:
            for line in side.lines[:-1]:  # of what is unexplained, nobody knows the tickets
                behind = await tickets(conn, world.shop.id, found.ask, events, line.cause)
                assert sum(each.count for each in behind) == line.count, line
                assert sum(each.value for each in behind) == line.value, line
                assert len({each.ticket_id for each in behind}) == len(behind) >= abs(line.count)
        causes = {line.cause: line.count for line in side.lines}
        assert causes["unexplained"] == 0, causes
        assert all(
            causes[cause]
            for cause in ("organic", "waiting", "refused", "no_click_id", "outside_window", "other_window")
        ), causes
    assert {line.cause: line.count for line in found.leads.lines}["not_owed"] > 0
