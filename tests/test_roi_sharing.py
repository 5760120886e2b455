"""Links for people without an account, the morning's mail, costs and rates as people enter them."""

import base64
import html
import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, LiteralString
from uuid import uuid4

import aiohttp
import pytest

from tests.pages_support import get, send
from tests.support import Shop, make_shop, rows, sign_in, stranger
from whatrack.db import Database
from whatrack.errors import Forbidden, NotFound, Refused
from whatrack.roi import costs, looks, secret_links, sharing
from whatrack.roi import rates as fx_rates
from whatrack.roi.costs import Cost
from whatrack.tenants.access import Access
from whatrack.units import LAST_DAY
from whatrack.web.pages import rates

# Links


async def make_link(db: Database, shop: Shop, question: str = "", role: str = "agent") -> str:
    async with db.tenant(shop.id) as conn:
        return await sharing.create(conn, Access(shop.id, role, "system"), "Resultados", question, 7)


async def test_a_link_opens_for_anybody_and_tells_nobody_where_it_was(db: Database, shop: Shop, service: str):
    path = await make_link(db, shop, "level=ad&period=7")
    async with stranger(service) as tab:
        page = await get(tab, path)

    assert page.status == 200
    assert "Resultados" in page.words
    assert page.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert '<meta name="robots" content="noindex' in page.text
    assert "/roi/tickets" not in page.text
    assert "/roi/number" not in page.text


async def test_only_the_hash_of_a_link_is_kept(db: Database, shop: Shop):
    path = await make_link(db, shop)
    (row,) = await rows(db, "SELECT * FROM report_links")

    assert path.removeprefix(sharing.PATH) not in repr(row)
    assert len(row["token_hash"]) == 32


async def test_a_revoked_and_an_expired_link_open_no_more(db: Database, shop: Shop, service: str):
    revoked, expired = await make_link(db, shop), await make_link(db, shop)
    async with db.tenant(shop.id) as conn:
        first, second = await sharing.everyone(conn, shop.id)
        await sharing.revoke(conn, Access(shop.id, "agent", "system"), second.id)
        await conn.execute(
            "UPDATE report_links SET expires_at = now() - interval '1 second' WHERE id = %s", [first.id]
        )
    async with stranger(service) as tab:
        pages = [
            await get(tab, path) for path in (revoked, expired, sharing.PATH + "x", sharing.PATH + "_" * 64)
        ]

    assert [page.status for page in pages] == [404] * 4
    assert all("não funciona mais" in page.words for page in pages)


async def test_a_link_of_one_organization_does_not_open_another(db: Database, shop: Shop, service: str):
    other = await make_shop(db, "vizinha")
    token = (await make_link(db, shop)).removeprefix(sharing.PATH)
    assert secret_links.organization_of(token) == shop.id
    async with db.tenant(other.id) as conn:
        with pytest.raises(NotFound):
            await sharing.opened(conn, other.id, token)
    forged = base64.urlsafe_b64encode(other.id.bytes + base64.urlsafe_b64decode(token)[16:]).decode()
    async with stranger(service) as tab:
        assert (await get(tab, sharing.PATH + forged)).status == 404


async def test_a_reader_of_a_link_cannot_widen_what_it_shows(db: Database, shop: Shop, service: str):
    path = await make_link(db, shop, "period=7&account=act_1&within=campaign:5")
    async with stranger(service) as tab:
        page = await get(tab, f"{path}?period=30&account=act_2&within=campaign:9&level=ad&sort=roas&dir=asc")

    addresses = " ".join(re.findall(r'href="([^"]*)"', page.text))
    assert "act_1" in addresses
    assert "campaign%3A5" in addresses
    assert not re.search(r"act_2|period=30|campaign%3A9", addresses)
    assert 'aria-current="true">Anúncios' in page.text


async def test_the_page_of_links_writes_days_as_people_read_them(
    db: Database, shop: Shop, admin: aiohttp.ClientSession
):
    await make_link(db, shop, "period=custom&since=2026-10-01&until=2026-10-30&q=frio")
    page = await get(admin, "/roi/share?period=custom&since=2026-09-01&until=2026-09-01")

    assert "01/10/2026 – 30/10/2026 · com filtros" in page.words
    assert re.search(r'<p class="muted num">01/09/2026\s*</p>', page.text)
    assert "2026-10-01" not in page.words


async def test_a_viewer_makes_no_links(db: Database, shop: Shop):
    with pytest.raises(Forbidden):
        await make_link(db, shop, role="viewer")


async def test_a_link_is_made_and_revoked_on_the_page(db: Database, shop: Shop, admin: aiohttp.ClientSession):
    page = await send(
        admin, "/roi/share", title="  Cliente   Sorriso ", days="30", question="level=ad&nonsense=1"
    )
    assert page.status == 200
    assert "/shared/" in page.text
    (row,) = await rows(db, "SELECT id, title, question, expires_at - created_at AS life FROM report_links")
    assert (row["title"], row["question"], row["life"]) == ("Cliente Sorriso", "level=ad", timedelta(days=30))

    listed = await get(admin, "/roi/share")
    assert "Cliente Sorriso" in listed.words
    assert "/shared/" not in listed.text
    done = await send(admin, f"/roi/share/{row['id']}/revoke", follow=True)

    assert "Link revogado" in done.words
    assert await rows(db, "SELECT 1 FROM report_links") == []
    audit = await rows(db, "SELECT action FROM audit_log WHERE action LIKE 'report%%' ORDER BY at")
    assert [row["action"] for row in audit] == ["report_shared", "report_unshared"]


# Costs


async def test_the_first_visits_question_is_asked_until_it_is_answered(
    db: Database, shop: Shop, admin: aiohttp.ClientSession, service: str
):
    question = "Quanto a Meta cobra de imposto sobre a fatura?"
    assert question in (await get(admin, "/roi")).words
    async with await sign_in(db, service, shop, "agent") as agent:
        assert question not in (await get(agent, "/roi")).words
    answered = await send(admin, "/settings/costs/tax", answer="brazil", follow=True)

    assert "Imposto de 12,15% da fatura, 13,83% sobre a mídia." in answered.words
    assert question not in answered.words
    await send(admin, "/settings/costs/tax", answer="none")
    (rule,) = await rows(db, "SELECT kind, rate, since FROM cost_settings")
    assert (rule["kind"], rule["rate"], rule["since"]) == ("meta_tax", Decimal("0.1215"), date(2026, 1, 1))


ACCOUNT = """
INSERT INTO meta_ad_accounts (organization_id, id, ad_account_id, ad_account_name, account_status, currency, timezone_name, is_active, seen_at)
VALUES (%s, %s, %s, 'Loja', 1, %s, 'America/New_York', true, now())
"""


async def test_brazils_tax_is_asked_about_only_where_an_account_is_billed_in_reais(
    db: Database, shop: Shop, admin: aiohttp.ClientSession
):
    question = "Quanto a Meta cobra de imposto sobre a fatura?"

    async def change(statement: LiteralString, *values: object) -> None:
        async with db.tenant(shop.id) as conn:
            await conn.execute(statement, [*values])

    async def asks(query: str = "") -> bool:
        """What the page asks, and the API notes."""
        address = "/api/v1/meta-ads/insights?level=account&since=2026-11-01&until=2026-11-02"
        async with admin.get(f"{address}&{query}") as answer:
            noted = "tax_off" in (await answer.json())["notes"]
        asked = question in (await get(admin, f"/roi?{query}")).words
        assert noted is asked
        return asked

    await change("UPDATE organizations SET base_currency = 'USD' WHERE id = %s", shop.id)
    assert not await asks()
    await change(ACCOUNT, shop.id, uuid4(), "act_1", "USD")
    assert not await asks()
    await change("UPDATE organizations SET base_currency = 'BRL' WHERE id = %s", shop.id)
    assert not await asks()  # the accounts are known, and none is
    await change(ACCOUNT, shop.id, uuid4(), "act_2", "BRL")
    assert await asks()
    assert await asks("account=act_2")
    assert not await asks("account=act_1")

    costs_page = await get(admin, "/settings/costs")
    assert "/settings/costs/new?kind=meta_tax" in costs_page.text


async def test_an_answer_leads_back_to_the_report_as_it_was_filtered(
    db: Database, shop: Shop, admin: aiohttp.ClientSession
):
    page = await get(admin, "/roi?level=ad&period=7")
    _head, *forms = page.text.split('action="/settings/costs/tax"')
    backs = [found[1] for form in forms if (found := re.search(r'name="back" value="([^"]*)"', form))]
    assert [html.unescape(back) for back in backs] == ["/roi?level=ad&period=7"] * 2
    answered = await send(admin, "/settings/costs/tax", answer="brazil", back=html.unescape(backs[0]))

    assert (answered.status, answered.headers["Location"]) == (303, "/roi?level=ad&period=7")


async def test_no_tax_is_an_answer_too(db: Database, shop: Shop, admin: aiohttp.ClientSession):
    answered = await send(admin, "/settings/costs/tax", answer="none", follow=True)

    assert "Sem imposto" in answered.words
    assert "Quanto a Meta cobra" not in answered.words


async def test_a_cost_is_added_changed_and_removed(db: Database, shop: Shop, admin: aiohttp.ClientSession):
    fee: dict[str, Any] = {
        "kind": "fee",
        "label": "Gateway",
        "rate": "4,99",
        "fixed": "0,40",
        "since": "2026-01-01",
    }
    await send(admin, "/settings/costs/new", **fee)
    page = await get(admin, "/settings/costs")
    assert "Gateway 4,99% R$ 0,40 desde 01/01/2026" in page.words.replace("\xa0", " ")
    (cost,) = await rows(db, "SELECT id, rate, fixed FROM cost_settings")
    assert (cost["rate"], cost["fixed"]) == (Decimal("0.0499"), Decimal("0.40"))
    form = await get(admin, f"/settings/costs/{cost['id']}")
    assert (form.value("rate"), form.value("fixed")) == ("4,99", "0,40")

    changed = await send(
        admin, f"/settings/costs/{cost['id']}", **{**fee, "rate": "5", "until": "2026-06-30"}
    )
    assert changed.to == "/settings/costs"
    (cost,) = await rows(db, "SELECT id, rate, until FROM cost_settings")
    assert (cost["rate"], cost["until"]) == (Decimal("0.05"), date(2026, 6, 30))
    await send(admin, f"/settings/costs/{cost['id']}/remove")
    assert await rows(db, "SELECT 1 FROM cost_settings") == []


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"kind": "meta_tax", "rate": ""}, {"rate": "Preencha este campo."}),
        ({"kind": "meta_tax", "rate": "12.15"}, {"rate": "Escreva a porcentagem como 12,15."}),
        ({"kind": "meta_tax", "rate": "100"}, {"rate": "Use uma porcentagem de 0 a menos de 100, com até quatro casas."}),
        ({"kind": "fee", "rate": "", "fixed": ""}, {"rate": "Preencha a porcentagem, o valor fixo, ou os dois."}),
        ({"kind": "product", "rate": "5", "since": "2026-02-01", "until": "2026-01-01"}, {"until": "O fim não pode ser antes do início."}),
        ({"kind": "meta_tax", "rate": "5", "ad_account_id": "act_9"}, {"ad_account_id": "Escolha uma das opções."}),
    ],
)  # fmt: skip
async def test_what_cannot_be_a_cost_is_said_beside_its_field(
    db: Database, shop: Shop, admin: aiohttp.ClientSession, fields: dict[str, Any], errors: dict[str, str]
):
    page = await send(admin, "/settings/costs/new", **fields)

    assert page.status == 422
    assert page.errors == errors
    assert await rows(db, "SELECT 1 FROM cost_settings") == []


async def test_two_rules_for_one_day_are_refused_in_words(
    db: Database, shop: Shop, admin: aiohttp.ClientSession
):
    await send(admin, "/settings/costs/new", kind="product", rate="20")
    page = await send(admin, "/settings/costs/new", kind="product", rate="30", since="2026-01-01")

    assert page.errors == {"since": "Outra regra já vale em alguns destes dias. Antes, dê um fim a ela."}


async def test_break_even_and_target_are_told(db: Database, shop: Shop, admin: aiohttp.ClientSession):
    async with db.tenant(shop.id) as conn:
        await costs.put(conn, shop.id, costs.Cost("meta_tax", costs.BRAZIL), actor="system")
        await costs.put(conn, shop.id, costs.Cost("product", Decimal("0.2")), actor="system")
    page = await send(admin, "/settings/costs/target", target="3,5", follow=True)

    assert "um ROAS de 1,42x" in page.words  # 1 ÷ (0,8 × 0,8785)
    assert page.value("target") == "3,50"
    async with db.tenant(shop.id) as conn:
        assert await looks.target(conn, shop.id) == Decimal("3.50")
    none = await send(admin, "/settings/costs/target", target="", follow=True)
    assert none.value("target") == ""
    assert (await send(admin, "/settings/costs/target", target="-1")).errors.keys() == {"target"}


async def test_members_read_costs_and_admins_change_them(db: Database, shop: Shop, service: str):
    async with await sign_in(db, service, shop, "viewer") as tab:
        page = await get(tab, "/settings/costs")
        refused = await send(tab, "/settings/costs/new", kind="product", rate="20")
        rates_page = await get(tab, "/settings/rates")

    assert page.status == rates_page.status == 200
    assert "/settings/costs/new" not in page.text
    assert refused.status == 403


# Rates


def test_a_sheet_is_read_as_brazilians_and_others_write_it():
    brazil = rates.read_sheet(
        "\ufeffdia;moeda;cotação\n24/11/2026;usd;5,4321\n25/11/26;USD;5,5\n\n24/11/2026;EUR;6\n"
    )
    other = rates.read_sheet("2026-11-24,USD,5.4321\n")

    assert brazil == {
        "USD": {date(2026, 11, 24): Decimal("5.4321"), date(2026, 11, 25): Decimal("5.5")},
        "EUR": {date(2026, 11, 24): Decimal(6)},
    }
    assert other == {"USD": {date(2026, 11, 24): Decimal("5.4321")}}


@pytest.mark.parametrize(
    "sheet",
    [
        "",
        "dia;moeda;valor",
        "24/11/2026;USD;5,4321\n32/11/2026;USD;5",
        "24/11/2026;DOLAR;5",
        "24/11/2026;USD;1.234,56",
        "24/11/2026;USD;0",
        "24/11/2026;USD;-5",
        "24/11/2026;USD;5;6",
        "24/11/2026;USD;١",
    ],
)
def test_a_line_that_could_mean_two_things_is_refused(sheet: str):
    with pytest.raises(rates.Unreadable):
        rates.read_sheet(sheet)


async def test_rates_are_entered_imported_and_removed(db: Database, shop: Shop, admin: aiohttp.ClientSession):
    await send(admin, "/settings/rates", day="2026-11-20", currency="USD", rate="5,4321")
    form = aiohttp.FormData()
    form.add_field(
        "sheet", "23/11/2026;USD;5,50\n24/11/2026;USD;5,60".encode("cp1252"), filename="cotacoes.csv"
    )
    form.add_field("carry", "yes")
    async with admin.post("/settings/rates/import", data=form, allow_redirects=False) as answer:
        assert answer.status == 303, await answer.text()
    found = await rows(db, "SELECT day, rate, source FROM fx_rates ORDER BY day")

    assert [(row["day"].day, row["source"]) for row in found][:3] == [
        (20, "entered"),
        (23, "imported"),
        (24, "imported"),
    ]
    assert {row["source"] for row in found[3:]} == {"carried"}
    await send(admin, "/settings/rates/remove", day="2026-11-20", currency="USD", into="BRL")
    assert len(await rows(db, "SELECT 1 FROM fx_rates WHERE day = '2026-11-20'")) == 0
    kept = len(await rows(db, "SELECT 1 FROM fx_rates"))
    for odd in (
        {},
        {"day": "2026-11-23", "currency": "dólar", "into": "BRL"},
        {"day": "x", "currency": "USD", "into": "BRL"},
    ):
        left = await send(admin, "/settings/rates/remove", follow=True, **odd)
        assert "Nada foi removido." in left.words
    assert len(await rows(db, "SELECT 1 FROM fx_rates")) == kept
    wrong = await send(admin, "/settings/rates", day="2026-11-20", currency="BRL", rate="1")
    assert wrong.errors == {"currency": "A moeda da organização não precisa de cotação."}
    wrong = await send(admin, "/settings/rates/import", lines="x;y;z\nx;y;z")
    assert "Linha 2" in wrong.errors["lines"]


# Days


@pytest.mark.parametrize("day", ["0001-01-01", "1999-12-31", "9999-01-01", "9999-12-31"])
async def test_a_day_that_there_is_not_is_refused_beside_its_field(
    db: Database, admin: aiohttp.ClientSession, day: str
):
    said = "A data precisa estar entre 1 de jan. de 2000 e 31 de dez. de 9998."
    brazilian = "/".join(reversed(day.split("-")))

    since = await send(admin, "/settings/costs/new", kind="product", rate="20", since=day)
    until = await send(admin, "/settings/costs/new", kind="product", rate="20", until=day)
    entered = await send(admin, "/settings/rates", day=day, currency="JPY", rate="1", carry="yes")
    pasted = f"24/11/2026;JPY;1\n{brazilian};JPY;1"
    imported = await send(admin, "/settings/rates/import", lines=pasted, carry="yes")

    assert since.errors == {"since": said}
    assert until.errors == {"until": said}
    assert entered.errors == {"day": said}
    assert imported.errors["lines"].startswith(f"Linha 2: {said}")
    assert await rows(db, "SELECT 1 FROM fx_rates UNION ALL SELECT 1 FROM cost_settings") == []


async def test_rules_and_rates_of_days_that_there_are_not_are_refused_whoever_asks(db: Database, shop: Shop):
    for day in (date(1999, 12, 31), date(9999, 1, 1)):
        async with db.tenant(shop.id) as conn:
            for since, until in ((day, None), (None, day)):
                with pytest.raises(Refused, match="Days go from 2000-01-01 to 9998-12-31"):
                    await costs.put(
                        conn,
                        shop.id,
                        Cost("product", Decimal("0.1"), since=since, until=until),
                        actor="user:x",
                    )
            with pytest.raises(Refused, match="Days go from 2000-01-01 to 9998-12-31"):
                await fx_rates.put(conn, shop.id, "JPY", "BRL", {day: Decimal(1)}, actor="user:x", carry=True)


async def test_the_last_day_there_is_has_a_rate_that_is_not_carried_beyond_it(db: Database, shop: Shop):
    async with db.tenant(shop.id) as conn:
        await fx_rates.put(conn, shop.id, "JPY", "BRL", {LAST_DAY: Decimal(1)}, actor="user:x", carry=True)

    assert [row["day"] for row in await rows(db, "SELECT day FROM fx_rates")] == [LAST_DAY]
