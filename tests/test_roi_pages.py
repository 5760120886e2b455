"""The report's pages over a simulated shop: what a figure is narrowed to, what stands out, what is said about it."""

import base64
import csv
import html
import io
import random
import re
from collections.abc import AsyncIterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, LiteralString

import aiohttp
import pytest

from tests.pages_support import get
from tests.roi_world import World, catalog, make_world, spend
from tests.support import make_shop, sign_in, stranger
from tests.test_roi_api import tell
from whatrack.db import Database
from whatrack.insights import rollups
from whatrack.roi import metrics, secret_links, sharing
from whatrack.tenants.access import Access
from whatrack.web.pages import roi_chips

PERIOD = "period=custom&since=2026-10-01&until=2026-10-30"
SINCE, UNTIL = date(2026, 10, 1), date(2026, 10, 30)


@pytest.fixture
async def world(db: Database) -> World:
    """Ads of act_1 are 100 to 103; 1000 is a sibling whose id has the first one's in it."""
    world = await make_world(db, seed=41, tickets=160)
    async with db.system() as conn:
        await conn.execute("SELECT set_config('whatrack.org', %s, true)", [str(world.shop.id)])
        await catalog(conn, world, "1000", "act_1", "c1-0", "s1-0")
        await spend(conn, world, "act_1", SINCE, UNTIL, random.Random(5))
    return world


@pytest.fixture
async def tab(db: Database, world: World, service: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with await sign_in(db, service, world.shop, "owner", name="Ada Nunes") as tab:
        yield tab


def money(text: str) -> Decimal:
    """R$ 1.234,56 as a number."""
    return Decimal(re.sub(r"[^\d,-]", "", text).replace(",", "."))


async def test_the_days_of_an_ad_are_its_own_and_not_those_of_an_id_that_has_it_in_it(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    async with db.tenant(world.shop.id) as conn:
        row = await (
            await conn.execute(
                "SELECT sum(spend) FROM meta_ad_insights_daily WHERE ad_ref = %s AND day BETWEEN %s AND %s",
                [world.ads["100"], SINCE, UNTIL],
            )
        ).fetchone()
    assert row

    page = await get(tab, f"/roi/number?metric=spend&row=ad:100&level=ad&{PERIOD}")

    days = re.findall(r'<th scope="row" class="font-normal">[\d/]+</th><td class="text-right">([^<]+)</td>', page.text)  # fmt: skip
    assert sum(money(each) for each in days) == Decimal(row[0]) / 100
    assert (
        money(re.findall(r'<th scope="row">Soma</th><td[^>]*>([^<]+)', page.text)[0]) == Decimal(row[0]) / 100
    )


async def test_a_row_of_no_kind_is_not_answered_with_everything(tab: aiohttp.ClientSession):
    for page in ("/roi/tickets?metric=revenue", "/roi/number?metric=spend"):
        for row in ("zz", "zz:1", "ads%20", "%3A"):
            assert (await get(tab, f"{page}&row={row}&{PERIOD}")).status == 404, (page, row)
        assert (await get(tab, f"{page}&row=total%3A&{PERIOD}")).status == 200


@pytest.mark.parametrize("row", ["account:act_1", "campaign:c1-0", "adset:s1-0", "ad:100", "ad:1000"])
async def test_a_figure_taken_apart_is_that_of_the_table(world: World, tab: aiohttp.ClientSession, row: str):
    level = row.partition(":")[0]
    table = await get(tab, f"/roi?level={level}&{PERIOD}&spent=0&account=act_1")
    href = f"/roi/number?metric=spend&amp;row={row.replace(':', '%3A')}&amp;"
    shown = re.findall(re.escape(href) + r"[^>]*>(R\$[^<]+)<", table.text)

    apart = await get(tab, f"/roi/number?metric=spend&row={row}&{PERIOD}&account=act_1&account=act_2")

    assert len(shown) == 1
    assert shown[0] in apart.text


async def test_the_figures_of_costs_say_that_they_are_rounded_last_and_no_others_do(
    tab: aiohttp.ClientSession,
):
    said = "Arredondado só no fim: as linhas somadas podem diferir do total em alguns centavos."
    table = await get(tab, f"/roi?{PERIOD}")
    tips = dict(re.findall(r'<dl data-for="(\w+)">(.*?)</dl>', table.text, re.DOTALL))
    assert said in tips["profit"]
    assert said not in tips["spend"] + tips["revenue"] + tips["roas"]
    for metric in (*metrics.DERIVED, "spend", "revenue", "net_revenue", "roas"):
        page = await get(tab, f"/roi/number?metric={metric}&{PERIOD}")
        assert (said in page.words) is (metric in metrics.DERIVED), metric


async def test_an_ad_that_spent_beyond_what_few_sales_excuse_is_a_clear_loss_at_a_glance(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    async with db.tenant(world.shop.id) as conn:
        await conn.execute(
            "UPDATE meta_ad_insights_daily SET spend = spend * 20 WHERE ad_ref = %s", [world.ads["1000"]]
        )
        days = [SINCE + timedelta(days=place) for place in range(30)]
        await rollups.replace_days(conn, world.shop.id, world.accounts["act_1"], days)

    table = await get(tab, f"/roi?{PERIOD}")
    losers = html.unescape(re.findall(r'href="([^"]+)"[^>]*title="Anúncios, o maior prejuízo primeiro"', table.text)[0])  # fmt: skip
    page = await get(tab, losers)
    first = page.text.partition("Tabela de resultados")[2].partition("<tbody>")[2].partition("</tr>")[0]
    apart = await get(tab, f"/roi/number?metric=roas&row=ad:1000&level=ad&{PERIOD}")
    query = {"level": "ad", "since": str(SINCE), "until": str(UNTIL)}
    async with tab.get("/api/v1/meta-ads/insights", params=query) as response:
        told = {each["id"]: each["clear_loss"] for each in (await response.json())["rows"]}

    assert "Anúncio 1000" in first
    assert "prejuízo claro" in first
    assert first.count('class="figure bad"') >= 3  # profit, ROAS, ROI
    assert "prejuízo claro" in apart.words
    assert told["1000"]


async def test_rows_of_one_name_say_what_they_belong_to_on_a_phone_too(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    async with db.tenant(world.shop.id) as conn:
        await conn.execute(
            "UPDATE meta_ads SET meta_campaign_name = 'Mensagens' WHERE meta_campaign_id IN ('c1-0', 'c2-0')"
        )

    page = await get(tab, f"/roi?level=campaign&{PERIOD}&spent=0")

    twins = re.findall(r'row-under row-twin">([^<]+)<', page.text)
    assert sorted(each.removeprefix(" · ") for each in twins) == ["Conta act_1", "Conta act_2"]


async def test_many_opened_rows_have_a_chip_each_most_of_them_folded(
    world: World, tab: aiohttp.ClientSession
):
    ids = [
        *(f"c1-{place}" for place in range(2)),
        *(f"c2-{place}" for place in range(2)),
        *map(str, range(9)),
    ]
    within = "&".join(f"within=campaign:{each}" for each in ids)
    page = await get(tab, f"/roi?level=ad&{PERIOD}&{within}")

    chips = re.findall(r'<a class="chip" href="([^"]+)"><span class="clip">([^<]+)<', page.text)
    assert [name for _href, name in chips] == ["Campanha c1-0", "Campanha c1-1", "Campanha c2-0", "Campanha c2-1", *map(str, range(9))]  # fmt: skip
    assert all(f"campaign%3A{each}&" not in f"{html.unescape(href)}&" for each, (href, _name) in zip(ids, chips, strict=True))  # fmt: skip
    assert "mais 5" in page.words


async def test_chips_of_rows_with_one_name_are_told_apart_by_account_or_by_id(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    async with db.tenant(world.shop.id) as conn:
        await conn.execute(
            "UPDATE meta_ads SET meta_campaign_name = 'Mensagens' WHERE meta_campaign_id IN ('c1-0', 'c2-0')"
        )
        await conn.execute(
            "UPDATE meta_ads SET meta_ad_set_name = 'Frio' WHERE meta_ad_set_id IN ('s1-0', 's1-1')"
        )
        access = Access(world.shop.id, "owner", "system")
        path = await sharing.create(conn, access, "Cliente", PERIOD, 7)
    campaigns = "within=campaign:c1-0&within=campaign:c2-0&within=campaign:c1-1"
    adsets = "within=adset:s1-0&within=adset:s1-1"

    for address in (f"/roi?level=ad&{PERIOD}&{campaigns}&{adsets}", f"{path}?level=ad&{campaigns}&{adsets}"):
        page = await get(tab, address)
        chips = re.findall(r'<a class="chip"[^>]*><span class="clip">([^<]+)</span>(?:<span class="chip-apart">([^<]+)<)?', page.text)  # fmt: skip
        told = ["".join(each) for each in chips]
        wanted = [
            "Mensagens · Conta act_1",
            "Mensagens · Conta act_2",
            "Campanha c1-1",
            "Frio · …s1-0",
            "Frio · …s1-1",
        ]
        assert told == wanted or address.startswith("/shared"), told
        assert len({*told}) == len(told)
    same = [
        ("Loja", None, "act_111111222222"),
        ("Loja", None, "act_111111333333"),
        ("Clínica", None, "act_4"),
    ]
    assert roi_chips.distinct(same) == ["Loja · …222222", "Loja · …333333", "Clínica"]


async def test_a_shared_report_names_no_row_outside_it(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    async with db.tenant(world.shop.id) as conn:
        access = Access(world.shop.id, "owner", "system")
        path = await sharing.create(conn, access, "Cliente", f"{PERIOD}&level=campaign&account=act_1", 7)

    inside = await get(tab, f"{path}?level=ad&within=campaign:c1-0")
    outside = await get(tab, f"{path}?level=ad&within=campaign:c2-0")

    assert '<span class="clip">Campanha c1-0<' in inside.text
    assert '<span class="clip">linha aberta<' in outside.text
    assert "Campanha c2" not in outside.text


async def test_a_shared_report_opens_its_rows_and_nothing_beyond_them(
    db: Database, world: World, tab: aiohttp.ClientSession, service: str
):
    neighbour = await make_shop(db, slug="vizinha")
    questions = {
        "account": f"{PERIOD}&level=campaign&account=act_1",
        "text": f"{PERIOD}&level=campaign&q=c1-0",
        "adset": f"{PERIOD}&level=ad&within=adset:s1-0",
        "other": f"{PERIOD}&level=campaign",
    }
    link = {}
    for name, question in questions.items():
        shop = neighbour if name == "other" else world.shop
        async with db.tenant(shop.id) as conn:
            link[name] = await sharing.create(conn, Access(shop.id, "owner", "system"), name, question, 7)

    async with stranger(service) as reader:

        async def rows(name: str, asked: str) -> set[str]:
            """The names of the rows that come."""
            page = await get(reader, f"{link[name]}/rows?{asked}", headers={"HX-Request": "true"})
            assert page.status == 200
            assert not re.search(r"/roi/|/tickets|\+55", page.text)
            return {*re.findall(r'class="row-name[^>]*>([^<]+)<', page.text)}

        sets = {"Conjunto s1-0", "Conjunto s1-1"}
        assert await rows("account", "level=adset&within=campaign:c1-0") == sets
        assert await rows("account", "level=adset&within=campaign:c2-0") == set()
        assert await rows("account", "level=campaign&within=account:act_2") == set()
        assert await rows("account", "level=adset&within=campaign:c2-0&account=act_2&spent=0") == set()
        wide = await get(reader, f"{link['account']}/rows?level=adset&within=campaign:c1-0&period=7&since=2020-01-01&basis=click", headers={"HX-Request": "true"})  # fmt: skip
        same = await get(reader, f"{link['account']}/rows?level=adset&within=campaign:c1-0", headers={"HX-Request": "true"})  # fmt: skip
        assert wide.text == same.text

        assert await rows("text", "level=adset&within=campaign:c1-0") == sets
        assert await rows("text", "level=ad&within=adset:s1-1") == {"Anúncio 101"}
        assert await rows("text", "level=ad&within=adset:s1-2") == set()
        assert await rows("text", "level=ad&within=campaign:c1-0&within=campaign:c1-1") == {"Campanha c1-0"}
        assert await rows("text", "level=account") == {"Campanha c1-0"}

        assert await rows("adset", "level=campaign") == {"Anúncio 100", "Anúncio 1000"}
        assert await rows("adset", "level=ad&within=adset:s1-1") == {"Anúncio 100", "Anúncio 1000"}

        assert await rows("other", "level=adset&within=campaign:c1-0") == set()
        forged = secret_links._bytes(link["other"].removeprefix(sharing.PATH))[16:]
        token = base64.urlsafe_b64encode(world.shop.id.bytes + forged).decode().rstrip("=")
        assert (await get(reader, f"{sharing.PATH}{token}/rows?level=ad")).status == 404
        page = await get(reader, f"{link['account']}/rows?level=adset&within=campaign:c1-0")
        assert page.path.startswith(link["account"] + "?")
        assert 'data-children="/shared/' in page.text


async def test_an_opened_account_holds_its_own_rows_also_where_others_are_filtered(
    world: World, tab: aiohttp.ClientSession
):
    asked = f"{PERIOD}&level=campaign&within=account:act_1&account=act_1&account=act_2"
    page = await get(tab, f"/roi/rows?{asked}", headers={"HX-Request": "true"})
    assert {*re.findall(r'class="row-name[^>]*>([^<]+)<', page.text)} == {"Campanha c1-0", "Campanha c1-1"}


async def test_refunds_move_to_the_day_of_their_sale_on_the_page_in_the_api_and_in_the_file(
    world: World, tab: aiohttp.ClientSession
):
    query = {"level": "account", "since": str(SINCE), "until": str(UNTIL), "refunds": "sale"}
    async with tab.get("/api/v1/meta-ads/insights", params=query) as response:
        totals = (await response.json())["totals"]
    async with tab.get("/api/v1/meta-ads/insights", params={**query, "refunds": "refund"}) as response:
        usual = (await response.json())["totals"]
    page = await get(tab, f"/roi/number?metric=refunds&row=total:&{PERIOD}&refunds=sale")
    behind = await get(tab, f"/roi/tickets?metric=refunds&row=total:&{PERIOD}&refunds=sale")
    table = await get(tab, f"/roi?{PERIOD}&refunds=sale")
    file = await get(tab, f"/roi/export.csv?{PERIOD}&refunds=sale")
    line = list(csv.DictReader(io.StringIO(file.text.lstrip("\ufeff")), delimiter=";"))[-1]

    assert totals["refunds"] != usual["refunds"]
    assert Decimal(totals["profit"]) != Decimal(usual["profit"])
    wanted = Decimal(totals["refunds"])
    assert money(re.findall(r"text-3xl[^>]*>([^<]+)<", page.text)[0]) == wanted
    assert money(re.findall(r'text-xl font-semibold num">([^<]+)<', behind.text)[0]) == wanted
    assert Decimal(line["Reembolsos"].replace(",", ".")) == wanted
    assert "Cada reembolso conta no dia da sua venda" in table.words
    assert re.search(r'name="refunds" value="sale" checked', table.text)


async def test_the_curve_says_which_part_of_it_is_young(world: World, tab: aiohttp.ClientSession):
    by_sale = await get(tab, f"/roi/time?{PERIOD}")
    young = await get(tab, "/roi/time?period=custom&since=2026-10-01&until=2026-11-20&basis=click")
    none = await get(tab, "/roi/time?period=today&basis=click")

    assert "as vendas parecem mais rápidas do que são" in by_sale.words
    assert "imaturo" not in by_sale.words.replace("imaturos", "")
    (hatched,) = re.findall(r'class="chart-soft" x="[\d.]+" y="0" width="([\d.]+)"', young.text)
    assert float(hatched) > 0
    ages = re.findall(r"(\d+) dias?(?: (imaturo))? ([\d,]+)% (\d+)", young.words)
    assert len(ages) > 4
    assert len({soft for _days, soft, _share, _of in ages}) == 2
    counts = [int(of) for *_rest, of in ages]
    assert counts == sorted(counts, reverse=True)
    assert "não há tempo a medir" in none.words


async def test_a_foreign_account_shows_its_own_currency_beside_the_converted(
    world: World, tab: aiohttp.ClientSession
):
    query = {"level": "account", "since": str(SINCE), "until": str(UNTIL), "account": "act_2"}
    async with tab.get("/api/v1/meta-ads/insights", params=query) as response:
        answer = await response.json()
    page = await get(tab, f"/roi?level=account&account=act_2&{PERIOD}")

    (row,) = answer["rows"]
    assert (row["account_currency"], answer["currency"]) == ("USD", "BRL")
    assert Decimal(row["spend"]) > 4 * Decimal(row["account_spend"])
    shown = re.findall(r'figure-note">(US\$[^<]+)<', page.text)
    assert {money(each) for each in shown} == {Decimal(row["account_spend"])}
    assert len(shown) == 3  # the row, the totals, the card


ADDED = ("leads", "qualified", "sales", "revenue", "profit")  # of the usual columns, what adds up
LONG = "period=custom&since=2026-07-01&until=2026-12-31"  # every ticket lies well within, in any zone


async def test_totals_that_zones_keep_from_being_the_sum_of_the_rows_say_so_and_no_others(
    world: World, tab: aiohttp.ClientSession
):
    hint = '<a class="link-plain" href="#note-zones_differ">não é a soma'
    told = []
    for place in range(14, 23):
        day = SINCE + timedelta(days=place)
        query = {"level": "campaign", "since": str(day), "until": str(day)}
        async with tab.get("/api/v1/meta-ads/insights", params=query) as response:
            answer = await response.json()
        rows = [*answer["rows"], *answer["special"]]
        rest = [sum(Decimal(row[name]) for row in rows) - Decimal(answer["totals"][name]) for name in ADDED]
        differs = any(abs(each) > Decimal("0.1") for each in rest)  # a row's profit is rounded
        page = await get(tab, f"/roi?period=custom&since={day}&until={day}&spent=0")
        assert (hint in page.text) is differs, day
        assert 'id="note-zones_differ"' in page.text
        told.append(differs)
    assert {*told} == {True, False}

    one = await get(tab, f"/roi?{PERIOD}&account=act_2")
    whole = await get(tab, f"/roi?{LONG}")
    part = await get(tab, f"/roi?{PERIOD}&level=ad&offset=2")
    alone = await get(tab, f"/roi?{PERIOD}&level=ad&offset=2&account=act_1")

    assert "os fusos diferem" not in one.text + whole.text + alone.text
    assert 'href="#note-zones_differ">pode não ser a soma' in part.text


async def test_the_api_answers_one_ad_by_its_whole_id(db: Database, world: World, tab: aiohttp.ClientSession):
    query = {"level": "ad", "since": str(SINCE), "until": str(UNTIL), "ad": "100"}
    async with tab.get("/api/v1/meta-ads/insights", params=query) as response:
        answer = await response.json()

    assert [each["id"] for each in answer["rows"]] == ["100"]
    assert answer["totals"]["spend"] == answer["rows"][0]["spend"]


CAME = """
INSERT INTO insight_days (organization_id, account_id, day, due_at, fetched_at, answer_hash)
SELECT organization_id, id, %(day)s, now(), %(at)s::timestamptz, CASE WHEN %(at)s::timestamptz IS NOT NULL THEN ''::bytea END
FROM meta_ad_accounts WHERE ad_account_id = %(account)s
ON CONFLICT (organization_id, account_id, day) DO UPDATE SET fetched_at = excluded.fetched_at, answer_hash = excluded.answer_hash
"""


@pytest.mark.parametrize("level", ["account", "campaign", "ad"])
async def test_what_meta_never_told_of_an_account_is_unknown_and_what_came_without_a_row_is_zero(
    db: Database, world: World, tab: aiohttp.ClientSession, level: str
):
    query = {"level": level, "since": str(SINCE), "until": str(UNTIL)}

    async def told() -> tuple[list[dict[str, Any]], dict[str, Any], list[str]]:
        """The rows of act_3, the totals, the notes."""
        async with tab.get("/api/v1/meta-ads/insights", params=query) as response:
            answer = await response.json()
        return (
            [row for row in answer["rows"] if row["account_id"] == "act_3"],
            answer["totals"],
            answer["notes"],
        )

    async def change(statement: LiteralString, **values: object) -> None:
        async with db.tenant(world.shop.id) as conn:
            await conn.execute(statement, values)

    for account in ("act_1", "act_2"):
        await change(CAME, account=account, day=SINCE, at="2026-11-01")
    async with db.tenant(world.shop.id) as conn:
        ref = world.accounts["act_3"]
        gone = await conn.execute(
            "DELETE FROM meta_ad_insights_daily WHERE account_ref = %s RETURNING day", [ref]
        )
        await rollups.replace_days(conn, world.shop.id, ref, {row[0] for row in await gone.fetchall()})
        await conn.execute("UPDATE meta_ad_accounts SET is_active = false WHERE ref = %s", [ref])

    off, totals, notes = await told()
    async with tab.get("/api/v1/meta-ads/insights", params={**query, "sort": "spend", "order": "asc"}) as response:  # fmt: skip
        order = [row["spend"] is None for row in (await response.json())["rows"]]
    page = await get(tab, f"/roi?{PERIOD}&level={level}")
    await change(CAME, account="act_3", day=SINCE, at=None)
    await change(CAME, account="act_3", day=UNTIL + timedelta(days=1), at="2026-11-01")
    await change("UPDATE meta_ad_accounts SET is_active = true")
    due, _totals, _notes = await told()
    await change(CAME, account="act_3", day=UNTIL, at="2026-11-01")
    came, same, _notes = await told()

    assert sum(row["leads"] for row in off) > 0
    for row in (*off, *due):
        assert {row[name] for name in (*metrics.OF_META, "roas", "cpl", "cpm")} == {None}
    assert order == sorted(order)
    assert len({*order}) == 2
    assert "gaps" in notes
    assert "Há dias de alguma conta que ainda não vieram inteiros da Meta" in page.words
    first = page.text.partition(off[0]["name"] + "</a>")[2].partition("<td")[2].partition("</td>")[0]
    assert re.search(r'<span class="figure"[^>]*>—</span>', first)
    assert {row["spend"] for row in came} == {"0.00"}
    assert {row["impressions"] for row in came} == {0}
    assert [row["leads"] for row in off] == [row["leads"] for row in came]
    assert totals == same


async def test_totals_of_days_that_never_came_are_unknown_and_not_zero(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    day = UNTIL + timedelta(days=400)
    query = {"since": str(day), "until": str(day + timedelta(days=2)), "level": "account"}

    async def totals() -> dict[str, Any]:
        async with tab.get("/api/v1/meta-ads/insights", params=query) as response:
            found: dict[str, Any] = (await response.json())["totals"]
        return found

    before = await totals()
    async with db.tenant(world.shop.id) as conn:
        await conn.execute(CAME, {"account": "act_1", "day": day, "at": "2026-11-01"})
    after = await totals()

    assert {before[name] for name in metrics.OF_META} == {None}
    assert before["leads"] == after["leads"] == 0
    assert after["spend"] == "0.00"


NOT_THERE = {
    "account=act_404": "Não existe aqui: conta act_404.",
    "account=404&account=505": "Não existe aqui: conta 404, 505.",
    "profile=Ada": "Não existe aqui: perfil Ada.",
    "profile=018bcfe5-6800-7000-8000-0123456789ab": "Não existe aqui: perfil 018bcfe5-6800-7000-8000-0123456789ab.",
    "within=campaign:c404": "Não existe aqui: campanha c404.",
}
PARTLY_THERE = {
    "account=act_404&account=act_1": "Não existe aqui: conta act_404.",
    "status=gone&status=active": "Não existe aqui: situação gone.",
    "level=city": "O endereço diz level=city, o que não existe. Vale o de costume.",
    "basis=day": "O endereço diz basis=day, o que não existe. Vale o de costume.",
    "sort=foo": "O endereço diz sort=foo, o que não existe. Vale o de costume.",
    "offset=x": "O endereço diz offset=x, o que não existe. Vale o de costume.",
    "within=foo:bar": "O endereço diz within=foo:bar, o que não é uma linha. Mostramos sem este filtro.",
    "within=ad:100": "O endereço diz within=ad:100, o que não é uma linha. Mostramos sem este filtro.",
    "within=foo:bar&within=campaign:c1-0": "O endereço diz within=foo:bar, o que não é uma linha. Mostramos sem este filtro.",
}
DATES = {
    "since=2026-13-01": "O endereço diz since=2026-13-01, o que não é uma data como 2026-11-24. Mostramos 30/10/2026.",
    "since=2026-02-30": "O endereço diz since=2026-02-30, o que não é uma data como 2026-11-24. Mostramos 30/10/2026.",
    "since=01/10/2026": "O endereço diz since=01/10/2026, o que não é uma data como 2026-11-24. Mostramos 30/10/2026.",
    "since=1999-12-31": "O endereço diz since=1999-12-31. A data precisa estar entre 1 de jan. de 2000 e 31 de dez. de 9998. "
    "Mostramos 30/10/2026.",
}
LONG = "O endereço pede mais de 730 dias, o máximo de um relatório. Mostramos 31/10/2024 – 30/10/2026."


async def test_an_address_that_asks_for_what_is_not_there_says_so_and_shows_no_zeros(
    tab: aiohttp.ClientSession,
):
    for path in ("/roi", "/roi/time"):
        for asked, said in NOT_THERE.items():
            page = await get(tab, f"{path}?{PERIOD}&{asked}")
            assert said in page.text
            assert "R$ 0,00" not in page.text.replace("\xa0", " ")
            without = href(page.text, "Tirar do filtro") or ""
            assert without.startswith(f"{path}?period=custom&since=")
            assert asked.partition("&")[0] not in without


async def test_beside_what_is_there_the_rest_is_told_in_a_notice(tab: aiohttp.ClientSession):
    for asked, said in PARTLY_THERE.items():
        page = await get(tab, f"/roi?{PERIOD}&{asked}")
        assert said in page.text
        assert 'class="figures"' in page.text
        assert ("Dentro de" in page.text) is (
            "campaign" in asked
        )  # a chip for what filters, for nothing else


async def test_a_date_that_is_none_is_told_beside_the_days_that_are_shown(tab: aiohttp.ClientSession):
    for path in ("/roi", "/roi/time", "/roi/people", "/roi/reconciliation"):
        for asked, said in DATES.items():
            page = await get(tab, f"{path}?period=custom&{asked}&until=2026-10-30")
            assert page.status == 200
            assert said in page.text
            assert href(page.text, "Usar este período") == f"{path}?period=custom&until=2026-10-30"
    neither = await get(tab, "/roi?period=custom&since=ontem&until=amanhã")
    assert "since=ontem, o que não é uma data" in neither.text
    assert "until=amanhã, o que não é uma data" in neither.text
    assert len(re.findall(r"Mostramos \d\d/\d\d/2\d{3} – \d", neither.text)) == 1


async def test_a_period_longer_than_a_report_is_told_beside_the_days_that_are_shown(
    tab: aiohttp.ClientSession,
):
    for path in ("/roi", "/roi/time", "/roi/people", "/roi/reconciliation"):
        page = await get(tab, f"{path}?period=custom&since=2020-01-01&until=2026-10-30")
        assert LONG in page.text
        assert (
            href(page.text, "Usar este período") == f"{path}?period=custom&since=2024-10-31&until=2026-10-30"
        )
    for fine in (
        "since=2024-10-31&until=2026-10-30",
        "since=2026-10-30&until=2024-10-31",
        "until=2001-01-01",
        "",
    ):
        assert "O endereço" not in (await get(tab, f"/roi?period=custom&{fine}")).text
    until_today = await get(tab, "/roi?period=custom&since=2000-01-01")
    assert LONG.partition(" Mostramos")[0] in until_today.text


BEHIND = (
    "/roi/tickets?metric=sales&row=total%3A", "/roi/number?metric=spend&row=total%3A", "/roi/days/act_1?",
    "/roi/reconciliation/tickets?side=sales&cause=organic",
)  # fmt: skip


@pytest.mark.parametrize("path", BEHIND)
async def test_what_is_behind_a_figure_says_too_that_its_days_are_other_than_asked_for(
    tab: aiohttp.ClientSession, path: str
):
    odd = await get(tab, f"{path}&period=custom&since=1999-12-31&until=2026-10-30")
    long = await get(tab, f"{path}&period=custom&since=2020-01-01&until=2026-10-30")
    fine = await get(tab, f"{path}&{PERIOD}")

    assert DATES["since=1999-12-31"] in odd.text
    assert LONG in long.text
    without = href(long.text, "Usar este período") or ""
    assert "since=2024-10-31&until=2026-10-30" in without
    again = await get(tab, without)
    assert again.status == 200
    assert "O endereço" not in again.text + fine.text


async def test_no_file_is_made_of_what_is_not_there(tab: aiohttp.ClientSession):
    async with tab.get(f"/roi/export.csv?{PERIOD}&account=act_404") as answer:
        assert answer.status == 422
        assert "Não existe aqui: conta act_404." in await answer.text()


async def test_no_file_is_made_of_other_days_than_were_asked_for(tab: aiohttp.ClientSession):
    asked = {
        **{f"{since}&until=2026-10-30": said.partition(" Mostramos")[0] for since, said in DATES.items()},
        "since=2020-01-01&until=2026-10-30": LONG.partition(" Mostramos")[0],
        "since=2026-10-01&until=2026-10-30&basis=day": "O endereço diz basis=day, o que não existe.",
    }
    for kind in ("csv", "xlsx"):
        for question, said in asked.items():
            async with tab.get(f"/roi/export.{kind}?period=custom&{question}") as answer:
                text = html.unescape(await answer.text())
                assert answer.status == 422, (kind, question)
                assert said in text
                assert "Mostramos" not in text


async def test_every_page_is_shown_at_the_first_and_at_the_last_day_there_is(tab: aiohttp.ClientSession):
    paths = (
        "/roi", "/roi/time", "/roi/people", "/roi/reconciliation", "/roi/days/act_1", "/roi/number?metric=roas",
        "/roi/tickets?metric=revenue", "/roi/export.csv", "/roi/export.xlsx", "/roi/days",
    )  # fmt: skip
    for path in paths:
        for basis in ("sale", "click"):
            for days in ("since=2000-01-01&until=2000-01-02", "since=9998-12-30&until=9998-12-31"):
                parted = "&" if "?" in path else "?"
                async with tab.get(f"{path}{parted}period=custom&{days}&basis={basis}&level=ad") as answer:
                    assert answer.status == 200, (path, basis, days)
    async with tab.get("/tickets?since=0001-01-01&until=9999-12-31") as answer:
        assert answer.status == 200


async def test_each_cause_leads_to_exactly_its_tickets(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    await tell(db, world.shop.id)

    page = await get(tab, f"/roi/reconciliation?{PERIOD}")
    lines = re.findall(
        r'<tr>\s*<th scope="row" class="font-normal"><span class="font-medium[^"]*">([^<]+)</span>(.*?)</tr>', page.text, re.DOTALL
    )  # fmt: skip
    assert len(lines) > 8
    for name, rest in lines:
        numbers = re.findall(r'<td class="sm:text-right"[^>]*>([^<]+)</td>', rest)
        link = re.search(r'href="(/roi/reconciliation/tickets[^"]+)"', rest)
        assert bool(link) == (name != "Não explicado")
        if not link:
            continue
        behind = await get(tab, html.unescape(link.group(1)))
        told = re.findall(r'<span class="text-xl font-semibold num">([^<]+)</span>', behind.text)
        assert told == numbers, name
        shown = re.findall(r'<th scope="row" class="font-normal', behind.text)
        assert len(shown) == min(50, int(re.sub(r"\D", "", numbers[0]))), name


async def test_our_side_of_the_comparison_leads_to_exactly_its_tickets(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    await tell(db, world.shop.id)

    page = await get(tab, f"/roi/reconciliation?{PERIOD}")
    sides = re.findall(r'<tr><th scope="row" class="font-semibold">(.*?)</tr>', page.text, re.DOTALL)[:4:2]
    assert len(sides) == 2
    for place, side in enumerate(sides):
        numbers = re.findall(r'<td class="sm:text-right font-semibold"[^>]*>([^<]+)</td>', side)
        link = re.search(r'href="(/roi/reconciliation/tickets[^"]+)"', side)
        assert link, side
        behind = await get(tab, html.unescape(link.group(1)))
        told = re.findall(r'<span class="text-xl font-semibold num">([^<]+)</span>', behind.text)
        assert told == numbers
        assert len(numbers) == 2 - place  # sales have a value
        shown = re.findall(r'<th scope="row" class="font-normal', behind.text)
        assert len(shown) == min(50, int(re.sub(r"\D", "", numbers[0])))


async def test_each_figure_of_a_salesperson_leads_to_exactly_its_tickets(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    async with db.tenant(world.shop.id) as conn:
        await conn.execute(
            """UPDATE tickets t SET owner_id = m.user_id FROM memberships m
               WHERE m.organization_id = t.organization_id AND right(t.id::text, 1) < '8'"""
        )
    for filters in (PERIOD, f"{PERIOD}&basis=click", f"{PERIOD}&refunds=sale", f"{PERIOD}&account=act_1"):
        page = await get(tab, f"/roi/people?{filters}")
        figures = re.findall(r'<a class="[^"]*" href="(/roi/tickets[^"]+)">([^<]+)</a>', page.text)
        assert len(figures) >= 2
        for link, text in figures:
            behind = await get(tab, html.unescape(link))
            told = re.findall(r'<span class="text-xl font-semibold num">([^<]+)</span>', behind.text)
            assert told[0] == text, (filters, link)
            assert re.search("<h1[^>]*>[^<]* · (Ada Nunes|Sem responsável)</h1>", behind.text)
    nobody = await get(tab, f"/roi/tickets?metric=sales&row=person:none-such&{PERIOD}")
    assert "Nenhum ticket por trás deste número" in nobody.words


async def test_the_sales_whose_time_is_told_and_the_leads_of_its_curve_are_opened(
    tab: aiohttp.ClientSession, world: World
):
    for basis, metric in (("sale", "sales"), ("click", "leads")):
        page = await get(tab, f"/roi/time?{PERIOD}&basis={basis}")
        found = re.search(rf'href="(/roi/tickets[^"]*metric={metric}[^"]*)">([^<]+)</a>', page.text)
        assert found, basis
        behind = await get(tab, html.unescape(found.group(1)))
        told = re.findall(r'<span class="text-xl font-semibold num">([^<]+)</span>', behind.text)
        assert told[0] == found.group(2)
        assert int(told[0]) > 0


async def test_the_tickets_behind_a_number_come_fifty_a_page_and_lead_back(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    await tell(db, world.shop.id)
    long = "period=custom&since=2026-08-01&until=2026-11-30"
    for address, home, label in (
        (f"/roi/tickets?metric=leads&row=total:&{long}", "/roi", "Voltar ao relatório"),
        (f"/roi/reconciliation/tickets?side=leads&cause=organic&{long}", "/roi/reconciliation", "Voltar à conciliação"),
    ):  # fmt: skip
        first = await get(tab, address)
        on = re.search(r'href="([^"]+)">Próximos 50<', first.text)
        none = await get(tab, f"{address}&since=2019-01-01&until=2019-01-02")
        assert (href(none.text, label) or "").startswith(f"{home}?period=custom&since=2019")
        assert "Nenhum ticket por trás deste número" in none.words
        assert bool(on) == ("metric" in address)
        if on:
            second = await get(tab, html.unescape(on.group(1)))
            back = re.search(r'<a [^>]*href="([^"]+)">[^\n]*?Início<', second.text)
            assert back
            again = await get(tab, html.unescape(back.group(1)))
            tickets = [set(re.findall(r'href="/tickets/([0-9a-f-]{36})"', each.text)) for each in (first, second, again)]  # fmt: skip
            assert len(tickets[0]) == 50
            assert tickets[1]
            assert not tickets[0] & tickets[1]
            assert tickets[2] == tickets[0]


async def test_a_reconciliation_of_nothing_leads_to_the_next_step(
    db: Database, world: World, tab: aiohttp.ClientSession, service: str
):
    empty = await make_shop(db, slug="sem-nada")
    async with await sign_in(db, service, empty, "owner", name="Bia Reis") as other:
        page = await get(other, "/roi/reconciliation")
        assert href(page.text, "Conectar um perfil") == "/settings/meta"
        assert "<table" not in page.text

    old = "period=custom&since=2019-10-01&until=2019-10-30"
    await tell(db, world.shop.id)  # every day came
    async with db.tenant(world.shop.id) as conn:
        await conn.execute("UPDATE insight_days SET fetched_at = now(), due_at = NULL")
    page = await get(tab, f"/roi/reconciliation?{old}")
    assert href(page.text, "Escolher o dataset") == "/settings/meta"
    async with db.tenant(world.shop.id) as conn:
        await conn.execute("UPDATE meta_ad_accounts SET pixel_id = '77'")
    page = await get(tab, f"/roi/reconciliation?{old}")
    assert href(page.text, "Ver 30 dias") == "/roi/reconciliation"
    page = await get(tab, f"/roi/reconciliation?{old}&account=act_1")
    assert href(page.text, "Limpar filtros") == f"/roi/reconciliation?{old}"
    async with db.tenant(world.shop.id) as conn:
        await conn.execute("UPDATE meta_ad_accounts SET is_active = false")
    page = await get(tab, f"/roi/reconciliation?{old}")
    assert href(page.text, "Ligar uma conta") == "/settings/meta"


def href(page: str, label: str) -> str | None:
    """Where the link of this label leads."""
    found = re.search(r'<a [^>]*href="([^"]+)"[^>]*>' + re.escape(label) + "</a>", page)
    return html.unescape(found.group(1)) if found else None
