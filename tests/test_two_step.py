"""Two-step sign-in: turned on by a first code, asked for at each sign-in, a code works once, recovery codes too."""

import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pyotp
import pytest

from tests.pages_support import Page, get, log_in, send
from tests.support import PASSWORD, Shop, make_person, rows, sign_in, stranger
from whatrack.db import Database
from whatrack.tenants import two_step
from whatrack.tenants.users import User

EMAIL = "ana@example.com"


@pytest.fixture
async def ana(db: Database, shop: Shop) -> User:
    return await make_person(db, shop, email=EMAIL, password=PASSWORD)


@pytest.fixture
async def tab(db: Database, ana: User, shop: Shop, service: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Ana's own browser."""
    async with await sign_in(db, service, shop, person=ana) as session:
        yield session


def secret_on(page: Page) -> str:
    found = re.search(r"secret=([A-Z2-7]{32})", page.text)
    assert found
    return found[1]


def code_of(secret: str, steps: int = 0) -> str:
    """The code of now, or of some steps from now: each works once, so a test that needs another takes the next."""
    return pyotp.TOTP(secret).at(int(time.time()) + 30 * steps)


async def turn_on(tab: aiohttp.ClientSession) -> tuple[str, list[str]]:
    """Ana's secret and recovery codes; the code of the step before now is used up."""
    offer = await get(tab, "/account/two-step")
    secret = secret_on(offer)
    done = await send(tab, "/account/two-step", key=offer.value("key"), code=code_of(secret, -1))
    assert done.status == 200, done.words
    return secret, re.findall(r"\b[a-z2-7]{4}(?:-[a-z2-7]{4}){3}\b", done.words)


async def actions(db: Database) -> list[str]:
    return [row["action"] for row in await rows(db, "SELECT action FROM audit_log ORDER BY at, id")]


async def test_a_first_code_turns_it_on_and_shows_ten_codes_once(db: Database, tab: aiohttp.ClientSession):
    offer = await get(tab, "/account/two-step")
    wrong = await send(tab, "/account/two-step", key=offer.value("key"), code="000000")
    forged = await send(tab, "/account/two-step", key="nonsense", code="000000")
    secret, codes = await turn_on(tab)
    account = await get(tab, "/account/two-step")

    assert "<svg" in offer.text
    assert "style=" not in offer.text
    assert wrong.status == 422
    assert "code" in wrong.errors
    assert secret_on(wrong) == secret_on(offer)  # the same key as was scanned
    assert forged.to == "/account/two-step"
    assert len(set(codes)) == 10
    assert "Restam 10 códigos" in account.words
    assert secret not in account.text
    kept = await rows(db, "SELECT totp_secret FROM users WHERE totp_secret IS NOT NULL")
    assert secret.encode() not in bytes(kept[0]["totp_secret"])
    assert await actions(db) == ["two_step_on"]


async def test_the_password_alone_opens_no_session_and_the_code_does(
    db: Database, tab: aiohttp.ClientSession, service: str
):
    secret, _ = await turn_on(tab)
    async with stranger(service) as guest:
        first = await log_in(guest, EMAIL, next="/tickets?q=1")
        between = await get(guest, "/tickets", follow=False)
        asked = await get(guest, first.to)
        wrong = await send(guest, "/login/code", code="000000", next=asked.value("next"))
        done = await send(guest, "/login/code", code=code_of(secret), next=asked.value("next"))
        board = await get(guest, "/tickets", follow=False)

    assert (first.status, first.to) == (303, "/login/code?next=%2Ftickets%3Fq%3D1")
    assert between.to.startswith("/login?")
    assert (wrong.status, set(wrong.errors)) == (422, {"code"})
    assert (done.status, done.to, board.status) == (303, "/tickets?q=1", 200)
    assert await actions(db) == ["two_step_on", "code_refused", "sign_in"]


async def test_a_code_that_was_used_does_not_work_again(
    db: Database, tab: aiohttp.ClientSession, service: str
):
    secret, _ = await turn_on(tab)
    code = code_of(secret)
    async with stranger(service) as guest, stranger(service) as thief:
        await log_in(guest, EMAIL)
        first = await send(guest, "/login/code", code=code)
        await log_in(thief, EMAIL)
        second = await send(thief, "/login/code", code=code)
        earlier = await send(thief, "/login/code", code=code_of(secret, -1))

    assert (first.status, second.status, earlier.status) == (303, 422, 422)


async def test_a_recovery_code_works_once_however_it_is_typed(
    db: Database, tab: aiohttp.ClientSession, service: str
):
    _, codes = await turn_on(tab)
    async with stranger(service) as guest:
        await log_in(guest, EMAIL)
        first = await send(guest, "/login/code", code=codes[3].upper().replace("-", " "))
    async with stranger(service) as guest:
        await log_in(guest, EMAIL)
        second = await send(guest, "/login/code", code=codes[3])

    assert (first.status, second.status) == (303, 422)
    assert (await rows(db, "SELECT count(*) AS n FROM recovery_codes"))[0]["n"] == 9


async def test_codes_cannot_be_guessed_at_by_who_knows_the_password(
    db: Database, tab: aiohttp.ClientSession, service: str
):
    secret, _ = await turn_on(tab)
    async with stranger(service) as guest:
        for number in range(5):
            await log_in(guest, EMAIL)  # the right password forgives its own count, not that of the codes
            assert (await send(guest, "/login/code", code=f"{number:06}")).status == 422
        await log_in(guest, EMAIL)
        answer = await send(guest, "/login/code", code=code_of(secret))

    assert answer.status == 429


async def test_a_new_password_voids_the_first_step_and_without_it_there_is_no_second(
    db: Database, tab: aiohttp.ClientSession, service: str
):
    secret, _ = await turn_on(tab)
    async with stranger(service) as guest:
        nowhere = await get(guest, "/login/code", follow=False)
        await log_in(guest, EMAIL)
        await send(tab, "/account/password", current=PASSWORD, password="outra senha bem longa")
        answer = await send(guest, "/login/code", code=code_of(secret))

    assert nowhere.to == "/login"
    assert (answer.status, answer.to) == (303, "/login")


async def test_turning_it_off_takes_password_and_code(db: Database, tab: aiohttp.ClientSession):
    secret, codes = await turn_on(tab)
    off = "/account/two-step/off"
    no_password = await send(tab, off, current="wrong", code=code_of(secret))
    no_code = await send(tab, off, current=PASSWORD, code="000000")
    fresh = await send(tab, "/account/two-step/codes", current=PASSWORD, code=code_of(secret))
    old_code = await send(tab, off, current=PASSWORD, code=codes[0])
    done = await send(tab, off, current=PASSWORD, code=code_of(secret, 1))
    account = await get(tab, "/account")

    assert (no_password.status, set(no_password.errors)) == (422, {"current"})
    assert (no_code.status, set(no_code.errors)) == (422, {"code"})
    assert fresh.status == 200
    assert codes[0] not in fresh.text
    assert old_code.status == 422
    assert (done.status, done.to) == (303, "/account")
    assert "Ligar" in account.words
    assert (await rows(db, "SELECT count(*) AS n FROM recovery_codes"))[0]["n"] == 0
    assert await actions(db) == [
        "two_step_on",
        "code_refused",
        "recovery_codes_made",
        "code_refused",
        "two_step_off",
    ]


async def test_it_cannot_be_replaced_without_turning_it_off(
    db: Database, tab: aiohttp.ClientSession, ana: User, shop: Shop, service: str
):
    async with await sign_in(db, service, shop, person=ana) as other:
        offer = await get(other, "/account/two-step")
        secret, _ = await turn_on(tab)
        answer = await send(
            other, "/account/two-step", key=offer.value("key"), code=code_of(secret_on(offer))
        )

    assert (answer.status, answer.to) == (303, "/account/two-step")
    assert secret != secret_on(offer)


@pytest.mark.parametrize("drift", [-2, -1, 0, 1, 2])
def test_a_clock_may_be_one_step_off(drift: int):
    secret, now = pyotp.random_base32(), datetime(2026, 11, 23, 12, 0, 10, tzinfo=UTC)
    current = int(now.timestamp()) // 30
    found = two_step.matching_step(secret, f" {pyotp.TOTP(secret).at((current + drift) * 30)} ", now)

    assert found == (current + drift if abs(drift) <= 1 else None)


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "\ud800", "0" * 500])
def test_what_is_no_code_matches_nothing(code: str):
    assert two_step.matching_step(pyotp.random_base32(), code, datetime(2026, 11, 23, tzinfo=UTC)) is None
