"""The morning's letter: what it tells, to whom, and when."""

import random
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4
from zoneinfo import ZoneInfo

import aiohttp
import msgspec
import pytest

from tests.conversions import put
from tests.insights import Ledger, a_ledger
from tests.pages_support import get, send
from tests.roi_world import make_world, spend
from tests.support import SEALER, Shop, make_person, make_shop, rows, sign_in
from whatrack.db import Database
from whatrack.db import now as clock
from whatrack.insights import progress
from whatrack.roi import morning, subscriptions
from whatrack.roi.answers import Apart, Row
from whatrack.roi.ask import Ask
from whatrack.roi.metrics import Amounts
from whatrack.roi.morning import Morning
from whatrack.roi.report import report
from whatrack.roi.subscriptions import Reader
from whatrack.tenants import emails

ZONE = ZoneInfo("America/Sao_Paulo")
SITE = "https://wt.example"


@pytest.fixture
async def shop(db: Database) -> Shop:
    return await make_shop(db)


@pytest.fixture
async def admin(db: Database, shop: Shop, service: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with await sign_in(db, service, shop, "admin", name="Ada Nunes") as tab:
        yield tab


def reader(language: str | None = None) -> Reader:
    return Reader(uuid4(), uuid4(), "ana@example.com", language, is_disabled=False, organization="Sorriso")


async def due_at(db: Database) -> list[datetime]:
    return [row["due_at"] for row in await rows(db, "SELECT due_at FROM report_subscriptions")]


async def test_the_letter_is_due_at_eight_in_the_organizations_zone(db: Database):
    shop = await make_shop(db, timezone="America/Manaus")
    person = await make_person(db, shop)
    async with db.tenant(shop.id) as conn:
        await subscriptions.subscribe(conn, shop.id, person.id)
        await subscriptions.subscribe(conn, shop.id, person.id)

    (row,) = await rows(
        db,
        "SELECT (due_at AT TIME ZONE 'America/Manaus')::time::text AS at, due_at > now() AND due_at < now() + interval '1 day 1 minute'"
        " AS soon FROM report_subscriptions",
    )
    assert (row["at"], row["soon"]) == ("08:00:00", True)


async def make_due(db: Database) -> None:
    async with db.system() as conn:
        await conn.execute("UPDATE report_subscriptions SET due_at = now() - interval '5 hours'")


async def letters(db: Database) -> list[emails.Letter]:
    found = []
    async with db.installation() as conn:
        while owed := await emails.claim(conn, SEALER):
            found.append(owed.letter)
    return found


async def test_each_reader_gets_one_letter_a_day_in_their_language(db: Database, shop: Shop):
    for email, language in (
        ("ana@example.com", "pt_BR"),
        ("bob@example.com", "en"),
        ("gone@example.com", None),
    ):
        person = await make_person(db, shop, email=email)
        async with db.tenant(shop.id) as conn:
            await subscriptions.subscribe(conn, shop.id, person.id)
        async with db.system() as conn:
            await conn.execute("UPDATE users SET language = %s WHERE id = %s", [language, person.id])
            if email == "gone@example.com":
                await conn.execute("UPDATE users SET disabled_at = now() WHERE id = %s", [person.id])
    await make_due(db)
    steps = []
    for _ in range(2):
        async with db.system() as conn:
            steps.append(await morning.send_due(conn, SEALER, SITE))

    assert steps == [True, False]
    found = {letter.to: letter for letter in await letters(db)}
    assert {*found} == {"ana@example.com", "bob@example.com"}
    assert "Investimento: R$\xa00,00" in found["ana@example.com"].text
    assert "Spend: R$0.00" in found["bob@example.com"].text
    assert "https://wt.example/roi/mail" in found["ana@example.com"].text
    assert all(at > datetime.now(at.tzinfo) for at in await due_at(db))


async def test_a_letter_that_is_put_off_comes_again_in_half_an_hour(db: Database, shop: Shop):
    person = await make_person(db, shop)
    async with db.tenant(shop.id) as conn:
        await subscriptions.subscribe(conn, shop.id, person.id)
    await make_due(db)
    async with db.system() as conn:
        readers = await subscriptions.claim(conn)
        await subscriptions.put_off(conn, readers)
        assert await subscriptions.claim(conn) == []

    (row,) = await rows(db, "SELECT due_at - now() < interval '31 minutes' AS soon FROM report_subscriptions")
    assert row["soon"]


async def test_who_leaves_the_organization_gets_no_more_letters(db: Database, shop: Shop):
    person = await make_person(db, shop)
    async with db.tenant(shop.id) as conn:
        await subscriptions.subscribe(conn, shop.id, person.id)
        await conn.execute("DELETE FROM memberships WHERE user_id = %s", [person.id])

    assert await due_at(db) == []


def test_the_letter_names_the_best_ad_and_the_worst():
    def row(name: str, spend: int, revenue: int) -> Row:
        money = Decimal(revenue)
        amounts = Amounts(
            spend=Decimal(spend), gross_spend=Decimal(spend), revenue=money, attributed_revenue=money
        )
        return Row("ad", name, name, amounts)

    ads = [row("Fraco", 500, 100), row("Forte", 300, 900), row("Sem gasto", 0, 2000), row("Médio", 100, 100)]
    best, worst = morning.extremes(ads)
    assert best
    assert worst
    told = Morning("Sorriso", date(2026, 11, 25), "BRL", ads[1].amounts, best, worst, (), is_late=False)
    letter = morning.letter(reader(), told, SITE)

    assert "Melhor anúncio: Forte — lucro R$\xa0600,00, ROAS 3,00x" in letter.text
    assert "Pior anúncio: Fraco — lucro -R$\xa0400,00, ROAS 0,20x" in letter.text
    assert letter.subject == "Sorriso: R$\xa0300,00 investidos, 0 vendas em 25/11/2026"
    assert morning.extremes(ads[:1]) == (ads[0], None)
    assert morning.extremes([ads[2]]) == (None, None)


async def test_the_mail_is_turned_on_and_off_on_its_page(
    db: Database, shop: Shop, admin: aiohttp.ClientSession
):
    assert "SMTP_HOST" in (await get(admin, "/roi/mail")).words
    on = await send(admin, "/roi/mail", on="yes", follow=True)
    assert "Ligado" in on.words
    assert len(await due_at(db)) == 1
    off = await send(admin, "/roi/mail", on="no", follow=True)

    assert "Receber todo dia" in off.words
    assert await due_at(db) == []


async def test_the_letter_says_what_money_is_in_none_of_its_sums(db: Database):
    world = await make_world(db, tickets=0, rules=False)
    async with db.system() as conn:
        yesterday = (await clock(conn)).astimezone(ZONE).date() - timedelta(days=1)
        await spend(conn, world, "act_2", yesterday, yesterday, random.Random(3))  # dollars, without a rate
        told = await morning.of_yesterday(conn, world.shop.id)
    (spent,) = await rows(
        db, "SELECT sum(spend) / 100.0 AS usd FROM meta_ad_insights_daily WHERE day = %s", yesterday
    )
    letter = morning.letter(reader("en"), told, SITE)

    assert not told.totals.spend
    assert f"USD without a rate: ${spent['usd']:,.2f} spent, $0.00 revenue\n" in letter.text
    assert "In none of these sums, nor in best and worst ad, for want of a rate:" in letter.text
    assert "Enter the rate at https://wt.example/settings/rates" in letter.text


def test_money_without_a_rate_is_told_currency_by_currency():
    apart = (
        Apart("JPY", Decimal(12_345), Decimal(0), Decimal(0)),
        Apart("USD", Decimal(10), Decimal(99), Decimal(9)),
    )
    told = Morning("Sorriso", date(2026, 11, 25), "BRL", Amounts(), None, None, apart, is_late=False)
    text = morning.letter(reader(), told, SITE).text.replace("\xa0", " ")

    assert "JPY sem cotação: JP¥ 12.345 investidos, JP¥ 0 faturados\n" in text
    assert "USD sem cotação: US$ 10,00 investidos, US$ 99,00 faturados, US$ 9,00 reembolsados\n" in text
    assert "sem cotação" not in morning.letter(reader(), msgspec.structs.replace(told, apart=()), SITE).text


@pytest.fixture
async def ledger(db: Database) -> AsyncIterator[Ledger]:
    async with a_ledger(db) as made:
        yield made


CUT_SHORT = """
UPDATE insight_days SET fetched_at = (day + time '22:57') AT TIME ZONE 'America/Sao_Paulo', due_at = now(), reason = 'no_profile'
WHERE day = (SELECT max(day) - 1 FROM insight_days)
"""


async def test_the_letter_says_that_yesterday_was_last_read_while_it_lasted(ledger: Ledger):
    await ledger.fetched()
    async with ledger.db.system() as conn:
        whole = await morning.of_yesterday(conn, ledger.desk.shop.id)
    await put(ledger.db, CUT_SHORT)
    async with ledger.db.system() as conn:
        told = await morning.of_yesterday(conn, ledger.desk.shop.id)

    assert not whole.is_late
    assert told.is_late
    assert "ainda não veio inteiro da Meta" in morning.letter(reader(), told, SITE).text


async def test_a_day_is_whole_once_it_was_read_after_its_end_and_today_is_no_gap(ledger: Ledger):
    await ledger.fetched()
    await put(ledger.db, CUT_SHORT)
    async with ledger.db.system() as conn:
        now = await clock(conn)
        today = now.astimezone(ZONE).date()
        notes = {
            back: (await report(conn, ledger.desk.shop.id, Ask("ad", day, day), now)).notes
            for back in (0, 1, 2)
            for day in (today - timedelta(days=back),)
        }
        (state, *_) = (await progress.progress(conn, ledger.desk.shop.id)).accounts
        days = await progress.account_days(
            conn, ledger.desk.shop.id, ledger.account, today - timedelta(days=2), today
        )

    assert ["gaps" in notes[back] for back in (0, 1, 2)] == [False, True, False]
    assert "partial" in notes[0]
    assert (state.missing, state.early) == (0, 1)
    assert [each.is_whole for each in days] == [False, False, True]
