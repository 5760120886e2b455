"""The morning's letter: what it tells, to whom, and when."""

import asyncio
import base64
import hashlib
import html
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from email import message_from_bytes, policy
from typing import Any
from urllib.parse import quote
from uuid import uuid4
from zoneinfo import ZoneInfo

import aiohttp
import msgspec
import pytest

from tests.conftest import serving, settings_for_tests
from tests.conversions import put
from tests.insights import Ledger, a_ledger
from tests.mail_server import mail_server
from tests.pages_support import get, send
from tests.roi_world import make_world, spend
from tests.simulated_clock import SimulatedClock
from tests.support import SEALER, Shop, make_person, make_shop, rows, sign_in, stranger
from tests.test_exceptions import waits
from whatrack.db import Connection, Database
from whatrack.db import now as clock
from whatrack.insights import progress, rollups
from whatrack.roi import letters, morning, secret_links, subscriptions
from whatrack.roi.answers import Apart, Row
from whatrack.roi.ask import Ask
from whatrack.roi.letters import Morning
from whatrack.roi.metrics import Amounts
from whatrack.roi.report import report
from whatrack.roi.subscriptions import Reader
from whatrack.tenants import emails, members, post
from whatrack.web.pages.roi_filters import Filters

ZONE = ZoneInfo("America/Sao_Paulo")
SITE = "https://wt.example"
STOP = "https://wt.example/stop"


def reader(language: str | None = None) -> Reader:
    until = datetime(2026, 11, 27, 3, tzinfo=UTC)
    return Reader(uuid4(), uuid4(), "ana@example.com", language, date(2026, 11, 25), until, is_owed=True)


async def yesterday(conn: Connection) -> date:
    return (await clock(conn)).astimezone(ZONE).date() - timedelta(days=1)


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


async def make_it(db: Database, hour: int) -> None:
    """Let it be this hour where the organizations are."""
    async with db.system() as conn:
        hours = hour - (await clock(conn)).hour
        hours = (hours + 12) % 24 - 12
        await conn.execute("UPDATE organizations SET timezone = %s", [f"Etc/GMT{-hours:+d}"])  # +3: behind


async def make_due(db: Database) -> None:
    """Let everybody have asked days ago, and it be noon where the organizations are."""
    await make_it(db, 12)
    async with db.system() as conn:
        await conn.execute(
            "UPDATE report_subscriptions SET due_at = now() - interval '5 hours', first_day = first_day - 3"
        )


async def mails(db: Database) -> list[emails.Letter]:
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
    found = {letter.to: letter for letter in await mails(db)}
    assert {*found} == {"ana@example.com", "bob@example.com"}
    assert "Investimento: —" in found["ana@example.com"].text
    assert "Spend: —" in found["bob@example.com"].text
    assert f"https://wt.example/in/{shop.organization.slug}/roi?" in found["ana@example.com"].text
    assert len({letter.stop for letter in found.values()}) == 2
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


async def test_two_processes_serve_two_organizations_at_once(db: Database, shop: Shop):
    other = await make_shop(db, "vizinha")
    for each in (shop, other):
        person = await make_person(db, each)
        async with db.tenant(each.id) as conn:
            await subscriptions.subscribe(conn, each.id, person.id)
    await make_due(db)
    async with db.system() as one, db.system() as two:
        claimed = [await subscriptions.claim(conn) for conn in (one, two)]

    assert {reader.organization_id for readers in claimed for reader in readers} == {shop.id, other.id}
    assert [len(readers) for readers in claimed] == [1, 1]


async def test_removing_a_member_waits_for_their_letter_and_the_letter_for_nobody(db: Database, shop: Shop):
    person = await make_person(db, shop)
    async with db.tenant(shop.id) as conn:
        await subscriptions.subscribe(conn, shop.id, person.id)
    await make_due(db)
    async with db.system() as conn:
        (owed,) = await subscriptions.claim(conn)
        removing = asyncio.create_task(put(db, "DELETE FROM memberships WHERE user_id = %s", person.id))
        await waits(db, "DELETE FROM memberships")
        await subscriptions.tell(conn, owed, b"x" * 32)
        told = await (await conn.execute("SELECT day FROM report_letters")).fetchall()

    assert await removing == 1
    assert told == [(owed.day,)]
    assert await rows(db, "SELECT 1 FROM report_letters") == []
    assert await due_at(db) == []


async def test_who_leaves_the_organization_gets_no_more_letters(db: Database, shop: Shop):
    person = await make_person(db, shop)
    async with db.tenant(shop.id) as conn:
        await subscriptions.subscribe(conn, shop.id, person.id)
        await conn.execute("DELETE FROM memberships WHERE user_id = %s", [person.id])

    assert await due_at(db) == []


def ad_row(name: str, spend: int, revenue: int, account: str | None = "Conta 1") -> Row:
    money = Decimal(revenue)
    amounts = Amounts(
        spend=Decimal(spend), gross_spend=Decimal(spend), revenue=money, attributed_revenue=money
    )
    return Row("ad", name, name, amounts, account_id="act_1", account_name=account)


def a_morning(**changed: Any) -> Morning:
    best, worst = ad_row("Forte", 300, 900), ad_row("Fraco", 500, 100, "Conta 2")
    told = Morning(
        "Sorriso", "sorriso", date(2026, 11, 25), "BRL", best.amounts, best, worst, (), is_late=False
    )
    return msgspec.structs.replace(told, **changed)


def test_the_letter_names_the_best_ad_and_the_worst_with_their_accounts():
    letter = letters.letter(reader(), a_morning(), SITE, STOP)

    assert "Melhor anúncio: Forte (Conta 1) — lucro R$\xa0600,00, ROAS 3,00x\n" in letter.text
    assert "Pior anúncio: Fraco (Conta 2) — lucro -R$\xa0400,00, ROAS 0,20x\n" in letter.text
    assert letter.subject == "Sorriso: investimento de R$\xa0300,00, 0 vendas em 25/11/2026"


@pytest.mark.parametrize(
    ("language", "sales", "said"),
    [
        ("pt_BR", 0, "investimento de R$ 300,00, 0 vendas em 25/11/2026"),
        ("pt_BR", 1, "investimento de R$ 300,00, 1 venda em 25/11/2026"),
        ("pt_BR", 1200, "investimento de R$ 300,00, 1.200 vendas em 25/11/2026"),
        ("en", 0, "R$300.00 spent, 0 sales on Nov 25, 2026"),
        ("en", 1, "R$300.00 spent, 1 sale on Nov 25, 2026"),
        ("en", 2, "R$300.00 spent, 2 sales on Nov 25, 2026"),
    ],
)
def test_one_sale_is_one_sale(language: str, sales: int, said: str):
    totals = Amounts(spend=Decimal(300), sales=sales)
    letter = letters.letter(reader(language), a_morning(totals=totals), SITE, STOP)

    assert letter.subject.replace("\xa0", " ") == f"Sorriso: {said}"


def test_what_nobody_knows_is_not_in_the_subject():
    letter = letters.letter(reader("en"), a_morning(totals=Amounts(sales=1)), SITE, STOP)

    assert letter.subject == "Sorriso: 1 sale on Nov 25, 2026"
    assert "Spend: —\n" in letter.text


def test_the_report_is_that_of_the_very_day_whenever_it_is_opened():
    link = re.findall(r"\S+/roi\?\S+", letters.letter(reader(), a_morning(), SITE, STOP).text)[0]
    filters = Filters.of_question(link.partition("?")[2])

    assert filters.days(date(2027, 3, 1)) == (date(2026, 11, 25), date(2026, 11, 25))
    assert (filters.level, filters.sort, filters.dir) == ("ad", "profit", "desc")


def words_of(text: str) -> list[str]:
    return re.findall(r"[\w$.,-]+", text)


@pytest.mark.parametrize("language", ["pt_BR", "en"])
def test_both_parts_of_a_letter_say_the_same(language: str):
    apart = (
        Apart("JPY", Decimal(12_345), Decimal(0), Decimal(6)),
        Apart("USD", Decimal(10), Decimal(99), Decimal(0)),
    )
    letter = letters.letter(reader(language), a_morning(apart=apart, is_late=True), SITE, STOP)
    assert letter.html
    shown = html.unescape(re.sub(r"<head>.*</head>|<[^>]+>", " ", letter.html, flags=re.DOTALL))
    links = sorted(re.findall(r"https:\S+", letter.text))

    assert links == sorted(html.unescape(each) for each in re.findall(r'href="([^"]*)"', letter.html))
    told = words_of(re.sub(r"https:\S+", "", letter.text).replace(":", " "))
    assert Counter(word.strip(".,") for word in told if word.strip(".,-")) == Counter(
        word.strip(".,") for word in words_of(shown.replace(":", " ")) if word.strip(".,-")
    )


def test_names_are_text_in_both_parts_of_a_letter():
    odd = ad_row('<img src="x">\nROAS: 900', 300, 900, "A & B")
    letter = letters.letter(reader(), a_morning(best=odd, organization="Zé <b>& Filhos</b>"), SITE, STOP)
    assert letter.html

    assert 'Melhor anúncio: <img src="x"> ROAS: 900 (A & B) — ' in letter.text
    assert "<img" not in letter.html
    assert "Zé &lt;b&gt;&amp; Filhos&lt;/b&gt;" in letter.html
    assert not re.search(r"<(img|script|link|style)|url\(", letter.html)


def test_a_letter_goes_out_as_text_and_html_side_by_side():
    letter = letters.letter(reader(), a_morning(), SITE, STOP)
    message = message_from_bytes(
        post.written(letter, sender="WhaTrack <a@wt.example>", domain="wt.example").as_bytes(),
        policy=policy.default,
    )
    text, page = message.iter_parts()

    assert message.get_content_type() == "multipart/alternative"
    assert (text.get_content_type(), page.get_content_type()) == ("text/plain", "text/html")
    assert (text.get_content(), page.get_content().rstrip("\n")) == (letter.text, letter.html)


def test_bodies_are_ascii_in_lines_that_every_server_takes():
    stop = SITE + subscriptions.STOP + "x" * 64
    letter = letters.letter(
        reader(), a_morning(organization="Clínica " + "Sorriso " * 20, is_late=True), SITE, stop
    )
    for each in (letter, emails.Letter("a@example.com", "Olá", "Olá\n" + "plain " * 60)):
        sent = post.written(each, sender="WhaTrack <a@wt.example>", domain="wt.example").as_bytes()
        body = sent.partition(b"\n\n")[2]
        read = message_from_bytes(sent, policy=policy.default).get_body(("plain",))

        assert body.isascii()
        assert max(map(len, body.splitlines())) <= 76  # RFC 2045, 6.7
        assert read
        assert read.get_content() in (each.text, each.text + "\n")


MANY_ADS = """
WITH made AS (
    INSERT INTO meta_ads (organization_id, meta_ad_id, name, effective_status, meta_ad_set_id, meta_ad_set_name, meta_campaign_id,
        meta_campaign_name, meta_account_id, fetched_at)
    SELECT %(organization)s, (70000 + n)::text, 'Anúncio ' || n, 'ACTIVE', 's', 'Conjunto', 'c', 'Campanha', '1', now()
    FROM generate_series(1, %(ads)s) AS n RETURNING meta_ad_id, ref
)
INSERT INTO meta_ad_insights_daily (organization_id, account_ref, day, ad_ref, spend, impressions, reach, clicks, link_clicks,
    conversations, meta_leads, meta_purchases, meta_purchase_value)
SELECT %(organization)s, %(account)s, %(day)s, ref, ((meta_ad_id::int - 70000) * 37) %% 1009 * 10 + %(least)s, 1, 1, 1, 1, 0, 0, 0, 0
FROM made
"""


async def with_ads(db: Database, ads: int, least: int) -> Morning:
    """Yesterday of a shop of so many ads that spent, each another sum, the least so many cents, and none sold."""
    world = await make_world(db, tickets=0, rules=False)
    async with db.system() as conn:
        day = await yesterday(conn)
        ref = world.accounts["act_1"]
        values = {"organization": world.shop.id, "ads": ads, "account": ref, "day": day, "least": least}
        await conn.execute(MANY_ADS, values)
        await rollups.replace_days(conn, world.shop.id, ref, [day])
        return await morning.of_day(conn, world.shop.id, day)


async def test_best_and_worst_are_those_of_all_ads_however_many(db: Database):
    told = await with_ads(db, 205, least=1)
    spent = {place: place * 37 % 1009 for place in range(1, 206)}

    assert told.best
    assert told.worst
    assert told.best.name == f"Anúncio {min(spent, key=lambda place: spent[place])}"
    assert told.worst.name == f"Anúncio {max(spent, key=lambda place: spent[place])}"


@pytest.mark.parametrize(("ads", "named"), [(0, (False, False)), (1, (True, False)), (2, (True, True))])
async def test_one_ad_is_the_best_and_not_the_worst_as_well(db: Database, ads: int, named: tuple[bool, bool]):
    told = await with_ads(db, ads, least=1)

    assert (told.best is not None, told.worst is not None) == named
    assert not told.worst or not told.best or told.worst.id != told.best.id


async def test_of_equal_ads_two_are_named_and_always_the_same(db: Database):
    world = await make_world(db, tickets=0, rules=False)
    async with db.system() as conn:
        day = await yesterday(conn)
        ref = world.accounts["act_1"]
        values = {"organization": world.shop.id, "ads": 5, "account": ref, "day": day, "least": 0}
        await conn.execute(MANY_ADS, values)
        await conn.execute("UPDATE meta_ad_insights_daily SET spend = 700 WHERE day = %s", [day])
        await rollups.replace_days(conn, world.shop.id, ref, [day])
        told = [await morning.of_day(conn, world.shop.id, day) for _ in range(3)]

    pairs = {(each.best and each.best.id, each.worst and each.worst.id) for each in told}
    assert len(pairs) == 1
    (pair,) = pairs
    assert None not in pair
    assert len({*pair}) == 2


async def test_the_best_ad_is_looked_for_on_so_many_pages_and_no_more(db: Database):
    world = await make_world(db, tickets=0, rules=False)
    async with db.system() as conn:
        day = await yesterday(conn)
        ref, now = world.accounts["act_1"], await clock(conn)
        values = {"organization": world.shop.id, "ads": 12, "account": ref, "day": day, "least": 1}
        await conn.execute(MANY_ADS, values)
        last = "UPDATE meta_ad_insights_daily SET spend = 0 WHERE day = %s AND ad_ref < (SELECT max(ref) FROM meta_ads)"
        await conn.execute(last, [day])
        await rollups.replace_days(conn, world.shop.id, ref, [day])
        ask = Ask("ad", day, day, sort="profit", spent_only=False)
        whole = await report(conn, world.shop.id, ask, now)
        found = {}
        for limit in (1, 2, 3, 20):
            page = await report(conn, world.shop.id, msgspec.structs.replace(ask, limit=limit), now)
            found[limit] = await morning._first(conn, world.shop.id, page, now)
    (place,) = [place for place, row in enumerate(whole.rows) if row.amounts.spend]

    assert morning.PAGES <= place < 20
    assert {limit: row is not None for limit, row in found.items()} == {
        limit: place < limit * morning.PAGES for limit in found
    }


async def test_an_ad_that_spent_nothing_is_neither_best_nor_worst(db: Database):
    world = await make_world(db, tickets=0, rules=False)
    async with db.system() as conn:
        day = await yesterday(conn)
        ref = world.accounts["act_1"]
        values = {"organization": world.shop.id, "ads": 3, "account": ref, "day": day, "least": 1}
        await conn.execute(MANY_ADS, values)
        last = "UPDATE meta_ad_insights_daily SET spend = 0 WHERE day = %s AND ad_ref < (SELECT max(ref) FROM meta_ads)"
        await conn.execute(last, [day])
        await rollups.replace_days(conn, world.shop.id, ref, [day])
        told = await morning.of_day(conn, world.shop.id, day)

    assert told.best
    assert told.best.amounts.spend
    assert told.worst is None


async def test_the_mail_is_turned_on_and_off_on_its_page(
    db: Database, shop: Shop, admin: aiohttp.ClientSession
):
    assert "SMTP_HOST" in (await get(admin, "/roi/mail")).words
    on = await send(admin, "/roi/mail", on="yes", follow=True)
    assert "Ligado" in on.words
    assert "Anotado. Ele começa a chegar quando quem opera a instalação definir SMTP_HOST." in on.words
    assert "às 8 h." not in on.words.partition("Anotado")[0]
    assert len(await due_at(db)) == 1
    off = await send(admin, "/roi/mail", on="no", follow=True)

    assert "Receber todo dia" in off.words
    assert await due_at(db) == []


async def test_the_letter_says_what_money_is_in_none_of_its_sums(db: Database):
    world = await make_world(db, tickets=0, rules=False)
    async with db.system() as conn:
        day = await yesterday(conn)
        await spend(conn, world, "act_2", day, day, random.Random(3))  # dollars, without a rate
        told = await morning.of_day(conn, world.shop.id, day)
    (spent,) = await rows(
        db, "SELECT sum(spend) / 100.0 AS usd FROM meta_ad_insights_daily WHERE day = %s", day
    )
    letter = letters.letter(reader("en"), told, SITE, STOP)

    assert not told.totals.spend
    assert f"USD without a rate: ${spent['usd']:,.2f} spent, $0.00 revenue\n" in letter.text
    assert "In none of these sums, nor in best and worst ad, for want of a rate:" in letter.text
    assert (
        f"Enter the rate: https://wt.example/in/{world.shop.organization.slug}/settings/rates" in letter.text
    )


def test_money_without_a_rate_is_told_currency_by_currency():
    apart = (
        Apart("JPY", Decimal(12_345), Decimal(0), Decimal(0)),
        Apart("USD", Decimal(10), Decimal(99), Decimal(9)),
    )
    told = Morning(
        "Sorriso", "sorriso", date(2026, 11, 25), "BRL", Amounts(), None, None, apart, is_late=False
    )
    text = letters.letter(reader(), told, SITE, STOP).text.replace("\xa0", " ")

    assert "JPY sem cotação: JP¥ 12.345 investidos, JP¥ 0 faturados\n" in text
    assert "USD sem cotação: US$ 10,00 investidos, US$ 99,00 faturados, US$ 9,00 reembolsados\n" in text
    assert (
        "sem cotação"
        not in letters.letter(reader(), msgspec.structs.replace(told, apart=()), SITE, STOP).text
    )


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
        whole = await morning.of_day(conn, ledger.desk.shop.id, await yesterday(conn))
    await put(ledger.db, CUT_SHORT)
    async with ledger.db.system() as conn:
        told = await morning.of_day(conn, ledger.desk.shop.id, await yesterday(conn))

    assert not whole.is_late
    assert told.is_late
    assert "ainda não veio inteiro da Meta" in letters.letter(reader(), told, SITE, STOP).text


async def test_the_letter_says_that_yesterday_lasts_where_an_account_is(db: Database):
    world = await make_world(db, tickets=0, rules=False)
    await put(
        db, "UPDATE meta_ad_accounts SET is_active = ad_account_id = 'act_1', timezone_name = 'Etc/GMT+12'"
    )
    await put(db, "UPDATE organizations SET timezone = 'Pacific/Kiritimati'")  # 26 hours ahead
    async with db.system() as conn:
        day = (await clock(conn)).astimezone(ZoneInfo("Etc/GMT+12")).date()
        on = await morning.of_day(conn, world.shop.id, day)
        await conn.execute("UPDATE meta_ad_accounts SET is_active = false")
        off = await morning.of_day(conn, world.shop.id, day)

    assert (on.is_late, off.is_late) == (True, False)


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


async def wake(db: Database) -> None:
    """What the loop does while the service runs."""
    async with db.system() as conn:
        while await morning.send_due(conn, SEALER, SITE):
            pass


async def test_a_night_after_a_morning_slept_through_brings_one_letter_about_a_day(
    db: Database, shop: Shop, conninfo: str
):
    person = await make_person(db, shop)
    async with SimulatedClock(conninfo) as moved:
        own = await moved.open()
        async with own.system() as conn:
            local = (await clock(conn)).astimezone(ZONE)
            two = local.replace(hour=2, minute=0) + timedelta(days=3)
        async with own.tenant(shop.id) as conn:
            await subscriptions.subscribe(conn, shop.id, person.id)
        await moved.move(int((two - local).total_seconds()))  # two in the night, a morning was missed
        await wake(own)
        in_the_night = await rows(db, "SELECT day FROM report_letters")
        await moved.move(int((two - local).total_seconds()) + 7 * 3600)  # nine the same morning
        await wake(own)
        await own.close()

    assert in_the_night == []
    assert [row["day"] for row in await rows(db, "SELECT day FROM report_letters")] == [
        two.date() - timedelta(days=1)
    ]
    assert len(await rows(db, "SELECT 1 FROM emails")) == 1


async def test_who_asks_after_eight_is_told_of_no_day_before_even_where_the_zone_changes(
    db: Database, shop: Shop
):
    person = await make_person(db, shop)
    await make_it(db, 9)
    async with db.tenant(shop.id) as conn:
        await subscriptions.subscribe(conn, shop.id, person.id)
    await make_it(db, 10)
    (looked,) = await rows(db, "SELECT due_at <= now() AS now FROM report_subscriptions")
    await wake(db)

    assert looked["now"]  # for eight is at another moment now
    assert await rows(db, "SELECT 1 FROM report_letters") == []


FAR = ("America/Sao_Paulo", "America/Manaus", "Pacific/Honolulu", "Pacific/Auckland", "Asia/Kolkata")


@pytest.mark.parametrize("seed", range(5))
async def test_a_day_is_told_once_between_eight_and_midnight_whenever_the_service_runs_and_wherever_it_is(
    db: Database, shop: Shop, conninfo: str, seed: int
):
    chance = random.Random(seed)
    person = await make_person(db, shop)
    runs, zone, told = True, ZONE, list[date]()
    first: date | None = None  # that may be told; None while nothing is asked for
    async with SimulatedClock(conninfo) as moved:
        own = await moved.open()
        async with own.system() as conn:
            local = (await clock(conn)).astimezone(ZONE)
        start = int((local.replace(hour=0, minute=5, second=0) - local).total_seconds())
        for hour in range(24 * 5):
            await moved.move(start + hour * 3600)
            if chance.random() < 0.08:
                runs = not runs
            if chance.random() < 0.03:
                zone = ZoneInfo(chance.choice(FAR))
                async with own.tenant(shop.id) as conn:
                    await conn.execute("UPDATE organizations SET timezone = %s", [zone.key])
            async with own.tenant(shop.id) as conn:
                at = (await clock(conn)).astimezone(zone)
                if first and chance.random() < 0.06:
                    await subscriptions.unsubscribe(conn, shop.id, person.id)
                    first = None
                elif not first and chance.random() < 0.4:
                    await subscriptions.subscribe(conn, shop.id, person.id)
                    first = at.date() - timedelta(days=1 if at.hour < 8 else 0)
            if not runs:
                continue
            await wake(own)
            day = at.date() - timedelta(days=1)
            is_new = first is not None and at.hour >= 8 and day >= first and (not told or day > told[-1])
            told += [day] * is_new
            found = await rows(db, "SELECT day FROM report_letters ORDER BY owed_at")
            assert [row["day"] for row in found] == told, (at, zone.key)
        await own.close()

    assert len(told) >= 2
    assert len(await rows(db, "SELECT 1 FROM emails")) == len(told)


async def test_a_letter_that_could_not_be_sent_by_midnight_is_sent_no_more(db: Database, shop: Shop):
    person = await make_person(db, shop)
    async with db.tenant(shop.id) as conn:
        await subscriptions.subscribe(conn, shop.id, person.id)
    await make_due(db)
    await wake(db)
    async with db.installation() as conn:
        owed = await emails.claim(conn, SEALER)
    assert owed
    assert owed.letter.until
    async with db.system() as conn:
        (zone,) = await (await conn.execute("SELECT timezone FROM organizations")).fetchone() or ("",)
    midnight = owed.letter.until.astimezone(ZoneInfo(zone))
    assert (midnight.time(), owed.is_over) == (time(), False)
    late = msgspec.structs.replace(owed.letter, until=midnight - timedelta(days=1))
    async with db.installation() as conn:
        await emails.drop(conn, owed.id)
        await emails.queue(conn, SEALER, late)
    settings = settings_for_tests(
        SMTP_HOST="127.0.0.1", SMTP_PORT=1, SMTP_SECURITY="none"
    )  # nobody listens there
    assert await post.send_next(db, SEALER, settings)
    assert await rows(db, "SELECT 1 FROM emails") == []


async def test_a_letters_link_opens_its_own_organization_whichever_is_on_screen(
    db: Database, shop: Shop, service: str
):
    person = await make_person(db, shop, "admin")
    other, strange = await make_shop(db, "vizinha"), await make_shop(db, "de-outros")
    async with db.system() as conn:
        await members.put(conn, other.id, person.id, "viewer")
    told = Morning("Vizinha", "vizinha", date(2026, 11, 25), "BRL", Amounts(), None, None, (), is_late=False)
    links = re.findall(r"(/in/\S+)", letters.letter(reader(), told, "", "").text)
    field = f'name="page_organization" value="{other.id}"'
    async with await sign_in(db, service, shop, person=person) as tab:
        assert field not in (await get(tab, "/roi/mail")).text
        opened = [await get(tab, link, follow=False) for link in links]
        assert [page.to for page in opened] == [link.removeprefix("/in/vizinha") for link in links]
        for page in opened:
            assert field in (await get(tab, page.to)).text
        stale = await send(tab, "/roi/mail", on="yes", page_organization=str(shop.id))
        refused = await get(tab, f"/in/{strange.organization.slug}/roi")
        away = await get(tab, "/in/vizinha//elsewhere.example/", follow=False)
        assert field in (await get(tab, "/roi/mail")).text
    async with stranger(service) as nobody:
        asked = await get(nobody, links[0], follow=False)

    assert (stale.status, refused.status, away.to) == (409, 403, "/")
    assert asked.to == f"/login?next={quote(links[0], safe='')}"


# Stopping it, without signing in


async def with_letter(db: Database, shop: Shop, language: str | None = None) -> emails.Letter:
    """A letter that was owed to a member of the shop."""
    person = await make_person(db, shop, "viewer", email="ana@example.com")
    async with db.tenant(shop.id) as conn:
        await subscriptions.subscribe(conn, shop.id, person.id)
    async with db.system() as conn:
        await conn.execute("UPDATE users SET language = %s WHERE id = %s", [language, person.id])
    await make_due(db)
    await wake(db)
    (found,) = await mails(db)
    return found


async def is_on(db: Database) -> bool:
    return bool(await rows(db, "SELECT 1 FROM report_subscriptions"))


async def test_a_letter_is_stopped_by_its_link_with_one_press_and_nobody_signs_in(
    db: Database, shop: Shop, service: str
):
    letter = await with_letter(db, shop)
    assert letter.stop
    path = letter.stop.removeprefix(SITE)
    async with stranger(service) as tab:
        looked = [await get(tab, path) for _ in range(2)]
        still = await is_on(db)
        done = [await send(tab, path) for _ in range(2)]
        after = await get(tab, path)

    assert letter.stop in letter.text
    assert still
    assert not await is_on(db)
    assert "os números de ontem de Loja vão para ana@example.com." in looked[0].words
    assert looked[1].text == looked[0].text
    for page in (*done, after):
        assert page.status == 200
        assert "Os números diários de Loja não vão mais para ana@example.com." in page.words
        assert "Não receber mais" not in page.words
    for page in (*looked, *done):
        assert page.headers["X-Robots-Tag"] == "noindex, nofollow"
        assert page.headers["Referrer-Policy"] == "strict-origin"


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://mail.example"}], ids=str
)
async def test_a_mail_program_stops_letters_by_itself_even_from_a_site_of_its_own(
    db: Database, shop: Shop, service: str, headers: dict[str, str]
):
    letter = await with_letter(db, shop)
    sent = post.written(letter, sender="WhaTrack <a@wt.example>", domain="wt.example").as_bytes()
    (line,) = re.findall(rb"^List-Unsubscribe: <(.*)>\r?$", sent, re.MULTILINE)  # whole, and as it is
    assert line.decode() == letter.stop
    assert re.search(rb"^List-Unsubscribe-Post: List-Unsubscribe=One-Click\r?$", sent, re.MULTILINE)
    form = aiohttp.FormData({"List-Unsubscribe": "One-Click"})
    async with (
        aiohttp.ClientSession(service) as machine,
        machine.post(
            line.decode().removeprefix(SITE), data=form, headers=headers, allow_redirects=False
        ) as answer,
    ):
        assert answer.status == 200

    assert not await is_on(db)


async def test_other_mails_cannot_be_stopped():
    message = post.written(
        emails.Letter("a@example.com", "s", "t"), sender="a@wt.example", domain="wt.example"
    )

    assert "List-Unsubscribe" not in message
    assert message.get_content_type() == "text/plain"


async def test_the_page_that_stops_letters_speaks_its_readers_language(
    db: Database, shop: Shop, service: str
):
    letter = await with_letter(db, shop, "en")
    path = (letter.stop or "").removeprefix(SITE)
    async with stranger(service) as tab:
        english = await get(tab, path, headers={"Accept-Language": "pt-BR"})
        portuguese = await get(tab, path, headers={"Cookie": "language=pt_BR"})

    assert "Every morning, yesterday’s figures of Loja go to ana@example.com." in english.words
    assert "vão para ana@example.com." in portuguese.words


async def test_a_token_that_is_none_of_ours_stops_nothing(db: Database, shop: Shop, service: str):
    letter = await with_letter(db, shop)
    other = await make_shop(db, "vizinha")
    token = (letter.stop or "").rpartition("/")[2]
    known = base64.urlsafe_b64decode(token)
    wrong = [
        "x",
        "_" * 64,
        *(
            base64.urlsafe_b64encode(each).decode()
            for each in (known[:-1] + bytes([known[-1] ^ 1]), other.id.bytes + known[16:], known[:40])
        ),
    ]
    async with stranger(service) as tab:
        pages = [await ask(tab, subscriptions.STOP + each) for each in wrong for ask in (get, send)]

    assert {page.status for page in pages} == {404}
    assert await is_on(db)


async def test_only_the_hash_of_a_letters_token_is_kept_and_each_has_its_own(db: Database, shop: Shop):
    letter = await with_letter(db, shop)
    (row,) = await rows(db, "SELECT * FROM report_letters")
    token = (letter.stop or "").rpartition("/")[2]

    assert secret_links.organization_of(token) == shop.id
    assert bytes(row["token_hash"]) == hashlib.sha256(base64.urlsafe_b64decode(token)).digest()
    assert token.encode() not in repr(row).encode()


async def test_letters_of_more_than_a_year_ago_are_forgotten(db: Database, shop: Shop):
    await with_letter(db, shop)
    async with db.system() as conn:
        await subscriptions.drop_old(conn)
        kept = await rows(db, "SELECT 1 FROM report_letters")
        await conn.execute("UPDATE report_letters SET owed_at = now() - interval '401 days'")
        await subscriptions.drop_old(conn)

    assert len(kept) == 1
    assert await rows(db, "SELECT 1 FROM report_letters") == []


async def test_where_mail_is_sent_the_page_says_when_the_next_letter_comes(
    db: Database, shop: Shop, conninfo: str
):
    async with (
        serving(conninfo, SMTP_HOST="127.0.0.1", SMTP_PORT=1, SMTP_SECURITY="none") as base,
        await sign_in(db, base, shop, "viewer") as tab,
    ):
        on = await send(tab, "/roi/mail", on="yes", follow=True)

    assert "O próximo chega às 8 h." in on.words
    assert "SMTP_HOST" not in on.words


async def test_a_letter_arrives_by_mail_and_its_link_stops_the_next(db: Database, shop: Shop, conninfo: str):
    person = await make_person(db, shop, email="ana@example.com")
    async with db.tenant(shop.id) as conn:
        await subscriptions.subscribe(conn, shop.id, person.id)
    await make_due(db)
    async with mail_server() as server:
        settings = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": server.port, "SMTP_SECURITY": "none"}
        async with serving(conninfo, **settings) as base, stranger(base) as tab:
            mail = await server.arrives()
            stop = mail["List-Unsubscribe"].strip("<>").removeprefix("http://localhost:3000")
            done = await send(tab, stop, one_click="yes")
    text, page = mail.iter_parts()

    assert mail["To"] == "ana@example.com"
    assert stop in text.get_content()
    assert stop in page.get_content()
    assert done.status == 200
    assert not await is_on(db)
