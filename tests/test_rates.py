"""Rates of currencies: whatever was entered is seen and can be removed, with its repetitions; no import means two things."""

import re
from datetime import date, timedelta
from decimal import Decimal

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pages_support import get, send
from tests.support import Shop, rows
from whatrack.db import Database
from whatrack.roi import rates
from whatrack.web.pages.rates import Unreadable, read_sheet

HERE = "/settings/rates"
FRIDAY = date(2026, 11, 20)


async def put(
    db: Database, shop: Shop, worth: dict[date, str], *, carry: bool, currency: str = "USD"
) -> None:
    async with db.tenant(shop.id) as conn:
        told = {day: Decimal(rate) for day, rate in worth.items()}
        await rates.put(conn, shop.id, currency, "BRL", told, actor="user:x", carry=carry)


async def kept(db: Database, currency: str = "USD") -> list[tuple[int, str, str]]:
    """(day of the month, rate, source) of every rate of a currency, by day."""
    found = await rows(db, "SELECT currency, day, rate, source FROM fx_rates ORDER BY day")
    return [
        (row["day"].day, f"{row['rate']:.2f}", row["source"]) for row in found if row["currency"] == currency
    ]


def listed(text: str) -> list[tuple[str, str]]:
    """(currency, day) of each rate that can be removed on a page."""
    return re.findall(r'type="hidden" name="currency" value="(\w+)">.*?name="day" value="([\d-]+)"', text)


async def walked(tab: aiohttp.ClientSession) -> list[tuple[str, str]]:
    """Every rate of every page, page after page."""
    found, path = [], HERE
    for _page in range(20):
        page = await get(tab, path)
        found += listed(page.text)
        further = re.search(r'href="(/settings/rates\?after=[^"]+)"', page.text)
        if not further:
            return found
        path = further[1]
    raise AssertionError("no last page")


async def test_every_rate_is_on_some_page_newest_first(
    db: Database, shop: Shop, admin: aiohttp.ClientSession
):
    far = [date(2000, 1, 1), date(3026, 11, 24), date(9998, 12, 31), date(2015, 1, 15), date(2026, 5, 1)]
    days = [date(2026, 1, 1) + timedelta(days=place) for place in range(130)]
    for currency in ("USD", "JPY"):
        await put(db, shop, dict.fromkeys({*days, *far}, "5"), carry=False, currency=currency)
    async with db.tenant(shop.id) as conn:  # as an earlier version took it
        await conn.execute(
            "UPDATE fx_rates SET day = '1026-11-24' WHERE day = '2000-01-01' AND currency = 'JPY'"
        )

    found = await walked(admin)
    every = await rows(db, "SELECT currency, day::text FROM fx_rates ORDER BY fx_rates.day DESC, currency")
    assert found == [(row["currency"], row["day"]) for row in every]
    assert len(found) > 250

    first = await get(admin, HERE)
    odd = re.findall(r"(\d+ de \w+\.? de \d+)<br><span[^>]*>([^<]+)<", first.text)
    assert ("24 de nov. de 3026", "no futuro: confira o dia") in odd
    assert {day[-4:] for day, _said in odd} == {"3026", "9998"}
    for day in ("1026-11-24", "3026-11-24"):
        await send(admin, f"{HERE}/remove", currency="JPY", into="BRL", day=day)
    left = await walked(admin)
    assert {*found} - {*left} == {("JPY", "1026-11-24"), ("JPY", "3026-11-24")}


async def test_removing_leads_back_to_the_page_it_was_done_on(
    db: Database, shop: Shop, admin: aiohttp.ClientSession
):
    days = [date(2026, 1, 1) + timedelta(days=place) for place in range(150)]
    await put(db, shop, dict.fromkeys(days, "5"), carry=False)
    after = "2026-02-20.USD.BRL"

    page = await get(admin, f"{HERE}?after={after}")
    done = await send(admin, f"{HERE}/remove", currency="USD", into="BRL", day="2026-02-19", after=after)
    odd = await get(admin, f"{HERE}?after=2026-13-45.USD.BRL")
    beyond = await send(
        admin, f"{HERE}/remove", currency="USD", into="BRL", day="2026-02-18", after="//example.com"
    )

    assert listed(page.text)[0] == ("USD", "2026-02-19")
    assert done.to == f"{HERE}?after={after}"
    assert odd.status == 200
    assert listed(odd.text)[0] == ("USD", "2026-05-30")
    assert beyond.to == HERE


async def test_a_rate_takes_its_repetitions_with_it_and_no_others(
    db: Database, shop: Shop, admin: aiohttp.ClientSession
):
    await put(db, shop, {FRIDAY: "55.00", FRIDAY + timedelta(days=3): "5.60"}, carry=True)
    await put(db, shop, {FRIDAY: "6.20"}, carry=True, currency="EUR")
    euros = await kept(db, "EUR")

    await send(admin, f"{HERE}/remove", currency="USD", into="BRL", day=str(FRIDAY))
    page = await get(admin, HERE)
    assert "Cotação removida, e as repetições dela em 2 dias seguintes." in page.words
    monday = [(23, "5.60", "entered"), *((day, "5.60", "carried") for day in (24, 25, 26, 27))]
    assert await kept(db) == monday
    assert await kept(db, "EUR") == euros

    await send(admin, f"{HERE}/remove", currency="USD", into="BRL", day="2026-11-25")  # a repetition alone
    assert await kept(db) == [each for each in monday if each[0] != 25]


async def test_nothing_is_carried_past_a_rate_of_its_own(db: Database, shop: Shop):
    await put(db, shop, {FRIDAY: "5.50"}, carry=True)
    await put(db, shop, {FRIDAY + timedelta(days=2): "5.70"}, carry=False)
    assert await kept(db) == [(20, "5.50", "entered"), (21, "5.50", "carried"), (22, "5.70", "entered")]

    await put(db, shop, {FRIDAY: "5.40"}, carry=True)
    assert await kept(db) == [(20, "5.40", "entered"), (21, "5.40", "carried"), (22, "5.70", "entered")]


async def test_no_repetition_outlives_the_rate_that_was_corrected(db: Database, shop: Shop):
    await put(db, shop, {FRIDAY: "55.00"}, carry=True)
    await put(db, shop, {FRIDAY: "55.00"}, carry=False)  # the same again: nothing changes
    assert len(await kept(db)) == 5
    await put(db, shop, {FRIDAY: "5.50"}, carry=False)

    assert await kept(db) == [(20, "5.50", "entered")]


DAYS = st.integers(0, 12)
DEEDS = st.lists(st.tuples(st.sampled_from(("put", "carry", "remove")), DAYS, st.integers(1, 3)), max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds=DEEDS)
async def test_whatever_is_done_a_repetition_is_of_the_last_rate_before_it(
    db: Database, shop: Shop, deeds: list[tuple[str, int, int]]
):
    async with db.tenant(shop.id) as conn:
        await conn.execute("DELETE FROM fx_rates")
        for deed, place, rate in deeds:
            day = FRIDAY + timedelta(days=place)
            if deed == "remove":
                await rates.remove(conn, shop.id, "USD", "BRL", [day], actor="user:x")
            else:
                worth = {day: Decimal(rate)}
                await rates.put(conn, shop.id, "USD", "BRL", worth, actor="user:x", carry=deed == "carry")
        found = await rates.listed(conn, shop.id)

    own = {each.day: each.rate for each in found if each.source != "carried"}
    for each in found:
        if each.source == "carried":
            last = max(day for day in own if day < each.day)
            assert (each.day - last).days <= rates.CARRY_DAYS
            assert each.rate == own[last]


def test_two_rates_of_one_day_are_refused_and_the_same_one_twice_is_not():
    twice = "dia;moeda;cotação\n\n24/11/2026;USD;5,4321\n25/11/2026;USD;5,5\n2026-11-24;usd;5,43210\n24/11/2026;EUR;6"
    november = {date(2026, 11, 24): Decimal("5.4321"), date(2026, 11, 25): Decimal("5.5")}
    assert read_sheet(twice)["USD"] == november

    with pytest.raises(
        Unreadable, match=r"Linhas 3 e 7: duas cotações diferentes de USD no dia 24 de nov\. de 2026\."
    ):
        read_sheet(f"{twice}\n24/11/26;USD;5,44")


async def test_nothing_of_a_sheet_with_two_rates_for_a_day_is_kept(
    db: Database, admin: aiohttp.ClientSession
):
    sent = await send(admin, f"{HERE}/import", lines="23/11/2026;EUR;6\n24/11/2026;USD;5\n24/11/2026;USD;6")

    assert sent.errors["lines"].startswith("Linhas 2 e 3: duas cotações diferentes de USD")
    assert await rows(db, "SELECT 1 FROM fx_rates") == []


async def test_an_example_is_written_as_its_reader_would_type_it(admin: aiohttp.ClientSession):
    for language, rate, target in (("pt-BR", "5,4321", "3,00"), ("en", "5.4321", "3.00")):
        spoken = {"Accept-Language": language}
        for path, name, example in ((HERE, "rate", rate), ("/settings/costs", "target", target)):
            page = await get(admin, path, headers=spoken)
            found = re.search(rf'<input[^>]* name="{name}"[^>]* placeholder="([^"]*)"', page.text)
            assert found
            assert found[1] == example
