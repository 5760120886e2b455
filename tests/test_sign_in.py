"""Signing in: who gets in, who waits, and what a stranger learns from trying. Through HTTP, on a real database."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.conftest import serving, settings_for_tests
from tests.pages_support import Page, get, log_in, send
from tests.support import PASSWORD, SEALER, Shop, make_person, rows, sign_in, stranger
from whatrack.db import Database
from whatrack.errors import Refused
from whatrack.tenants import throttle
from whatrack.tenants.passwords import Passwords, check_new
from whatrack.tenants.users import User
from whatrack.web.addresses import own_path
from whatrack.web.app import build_app

EMAIL = "ana@example.com"


@pytest.fixture
async def ana(db: Database, shop: Shop) -> User:
    return await make_person(db, shop, email=EMAIL, password=PASSWORD, name="Ana Prado")


@pytest.fixture
async def guest(service: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with stranger(service) as session:
        yield session


def token_of(browser: aiohttp.ClientSession) -> str:
    return next((cookie.value for cookie in browser.cookie_jar if cookie.key == "whatrack"), "")


async def count(db: Database, table: str) -> int:
    return int((await rows(db, f"SELECT count(*) AS n FROM {table}"))[0]["n"])


async def test_the_right_password_opens_a_session_and_is_in_the_audit(
    db: Database, ana: User, shop: Shop, guest: aiohttp.ClientSession
):
    answer = await log_in(guest, "  ANA@example.com ")
    board = await get(guest, "/tickets")

    assert (answer.status, answer.to) == (303, "/")
    assert board.status == 200
    assert "Ana Prado" in board.words
    cookie = answer.headers.getall("set-cookie")[0].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie
    deeds = await rows(db, "SELECT organization_id, actor, action, detail FROM audit_log")
    assert deeds == [
        {
            "organization_id": shop.id,
            "actor": ana.actor,
            "action": "sign_in",
            "detail": {"address": "127.0.0.1"},
        }
    ]


async def test_a_wrong_password_and_an_unknown_address_are_answered_alike(
    db: Database, ana: User, guest: aiohttp.ClientSession
):
    known = await log_in(guest, EMAIL, "not the password")
    unknown = await log_in(guest, "bia@example.com", "not the password")

    assert known.status == unknown.status == 422
    assert "E-mail ou senha incorretos." in known.words
    assert known.text.replace(EMAIL, "X") == unknown.text.replace("bia@example.com", "X")
    assert known.value("email") == EMAIL
    assert "not the password" not in known.text
    assert await count(db, "sessions") == 0


async def test_somebody_shut_out_or_without_a_password_cannot_sign_in(
    db: Database, ana: User, shop: Shop, guest: aiohttp.ClientSession
):
    bia = await make_person(db, shop, email="bia@example.com")
    async with db.installation() as conn:
        await conn.execute("UPDATE users SET disabled_at = now() WHERE id = %s", [ana.id])

    assert (await log_in(guest, EMAIL)).status == 422
    assert (await log_in(guest, bia.email, "")).errors == {"password": "Preencha este campo."}
    assert (await log_in(guest, bia.email, "anything at all")).status == 422


async def test_signing_in_rotates_the_token_and_ends_the_session_that_was_there(
    db: Database, ana: User, guest: aiohttp.ClientSession, service: str
):
    await log_in(guest, EMAIL)
    first = token_of(guest)
    await log_in(guest, EMAIL)
    second = token_of(guest)

    async with stranger(service) as thief:
        answer = await get(thief, "/tickets", follow=False, headers={"cookie": f"whatrack={first}"})
    assert first
    assert first != second
    assert answer.to.startswith("/login")
    assert await count(db, "sessions") == 1


async def test_signing_out_ends_the_session_itself(db: Database, ana: User, guest: aiohttp.ClientSession):
    await log_in(guest, EMAIL)
    token = token_of(guest)
    out = await send(guest, "/logout")
    again = await get(guest, "/tickets", follow=False, headers={"cookie": f"whatrack={token}"})

    assert (out.status, out.to) == (303, "/login")
    assert token_of(guest) == ""
    assert again.to == "/login?next=%2Ftickets"
    assert await count(db, "sessions") == 0


async def test_who_is_not_signed_in_comes_back_to_the_page_after_signing_in(
    ana: User, guest: aiohttp.ClientSession, service: str
):
    door = await get(guest, "/tickets?view=list&q=a%20b")
    entered = await log_in(guest, EMAIL, next=door.value("next"))

    assert door.path.startswith("/login?next=")
    assert entered.to == "/tickets?view=list&q=a%20b"
    async with stranger(service) as late:
        answer = await send(late, "/account", name="x", headers={"referer": f"{service}/account?x=1"})
        assert (answer.status, answer.to) == (303, "/login?next=%2Faccount%3Fx%3D1")


AWAY = ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil", "/\t/evil", "/\n/evil", "javascript:alert(1)", "evil.example",
        "/ /evil", "http:/evil", "", " /x", "/" + "a" * 3000, "/\x00", "/\u2028/x"]  # fmt: skip


@pytest.mark.parametrize("address", AWAY)
def test_an_address_that_could_lead_away_is_not_followed(address: str):
    assert own_path(address) == "/"


@pytest.mark.parametrize("address", ["/", "/tickets?q=a&x=%2F%2Fevil", "/a//b", "/tickets/1#story", "/ção"])
def test_an_address_of_our_own_is_followed(address: str):
    assert own_path(address) == address


async def test_next_never_leads_away_from_the_site(ana: User, guest: aiohttp.ClientSession):
    for address in ("https://evil.example/x", "//evil.example", "/\\evil.example", "/\t/evil.example"):
        assert (await log_in(guest, EMAIL, next=address)).to == "/"
        assert (await get(guest, "/login?next=" + address.replace("\t", "%09"), follow=False)).to == "/"
        chosen = await send(guest, "/language", language="en", next=address)
        assert chosen.to == "/"


async def test_after_five_failures_the_account_waits_and_even_the_right_password_does(
    db: Database, ana: User, guest: aiohttp.ClientSession, conninfo: str
):
    for _ in range(5):
        assert (await log_in(guest, EMAIL, "wrong")).status == 422
    refused = await log_in(guest, EMAIL)
    for _ in range(5):
        await log_in(guest, "nobody@example.com", "wrong")
    unknown = await log_in(guest, "nobody@example.com", "wrong")

    assert refused.status == unknown.status == 429
    assert int(refused.headers["retry-after"]) in range(20, 31)
    assert "Muitas tentativas. Espere 30 segundos e tente de novo." in refused.words
    assert refused.value("email") == EMAIL

    async with (
        serving(conninfo) as restarted,
        stranger(restarted) as other,
    ):  # a new process on the same database
        assert (await log_in(other, EMAIL)).status == 429
        await time_passes(db, 31)
        assert (await log_in(other, EMAIL, "wrong")).status == 422
        longer = await log_in(other, EMAIL)
        await time_passes(db, 61)
        assert int(longer.headers["retry-after"]) in range(50, 61)
        assert (await log_in(other, EMAIL)).status == 303
        for _ in range(4):  # success wiped the account's slate
            assert (await log_in(other, EMAIL, "wrong")).status == 422
        assert (await log_in(other, EMAIL)).status == 303


async def time_passes(db: Database, seconds: int) -> None:
    """As seen from the failures: what they wait for comes closer."""
    async with db.installation() as conn:
        query = "UPDATE sign_in_failures SET blocked_until = blocked_until - make_interval(secs => %s)"
        await conn.execute(query, [seconds])


async def test_a_hundred_attempts_at_once_are_counted_one_by_one(
    db: Database, ana: User, guest: aiohttp.ClientSession
):
    answers = await asyncio.gather(*(log_in(guest, EMAIL, f"guess {n}") for n in range(30)))

    statuses = [answer.status for answer in answers]
    assert (statuses.count(422), statuses.count(429)) == (5, 25)


async def test_one_address_that_tries_many_accounts_waits_too(
    db: Database, ana: User, guest: aiohttp.ClientSession
):
    for number in range(20):
        assert (await log_in(guest, f"nobody-{number}@example.com", "wrong")).status == 422

    assert (await log_in(guest, "somebody-new@example.com", "wrong")).status == 429
    assert (await log_in(guest, EMAIL)).status == 429


def test_waits_grow_and_addresses_of_one_customer_are_one():
    assert [throttle.wait_after(count, 5) for count in range(4, 12)] == [0, 30, 60, 120, 300, 900, 900, 900]
    assert throttle.origin("2001:db8::1") == throttle.origin("2001:db8::ffff:1")
    assert throttle.origin("2001:db8::1") != throttle.origin("2001:db8:0:1::1")
    assert throttle.origin("::ffff:10.0.0.1") == throttle.origin("10.0.0.1")
    assert throttle.account(" Ana@Example.com ") == throttle.account("ana@example.com")


async def test_a_forwarded_address_counts_only_from_a_trusted_proxy(
    db: Database, ana: User, shop: Shop, conninfo: str
):
    async def address_seen(base: str) -> str:
        forwarded = {"x-forwarded-for": "198.51.100.7, 203.0.113.9, 10.1.2.3"}
        async with stranger(base) as browser:
            await send(browser, "/login", email=EMAIL, password=PASSWORD, headers=forwarded)
        return str((await rows(db, "SELECT address FROM sessions ORDER BY created_at DESC"))[0]["address"])

    async with serving(conninfo) as base:
        assert await address_seen(base) == "127.0.0.1"
    async with serving(conninfo, WHATRACK_TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8") as base:
        assert await address_seen(base) == "203.0.113.9"


async def test_a_hash_made_with_less_memory_is_renewed_at_the_next_sign_in(
    db: Database, ana: User, conninfo: str
):
    async def kept() -> str:
        return str((await rows(db, "SELECT password_hash FROM users"))[0]["password_hash"])

    assert "m=1024" in await kept()
    async with serving(conninfo, WHATRACK_PASSWORD_MEMORY_KIB=2048) as base, stranger(base) as browser:
        assert (await log_in(browser, EMAIL)).status == 303
        assert "$argon2id$" in await kept()
        assert "m=2048" in await kept()
        assert (await log_in(browser, EMAIL)).status == 303


async def test_behind_https_cookies_are_secure_and_bound_to_the_host(db: Database, ana: User, conninfo: str):
    address = "https://app.example.com"
    async with serving(conninfo, WHATRACK_BASE_URL=address) as base, stranger(base) as browser:
        entered = await send(browser, "/login", email=EMAIL, password=PASSWORD, headers={"origin": address})
        chosen = await send(browser, "/language", language="en")

    (session,) = [each for each in entered.headers.getall("set-cookie") if "__Host-whatrack=" in each]
    assert entered.status == 303  # the proxy changed Host; the origin is the address that people use
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= set(session.lower().split("; "))
    assert all("secure" in each.lower() for each in chosen.headers.getall("set-cookie"))


async def test_another_site_cannot_sign_in_or_out_or_change_anything(
    db: Database, ana: User, shop: Shop, service: str
):
    foreign: list[dict[str, str]] = [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ]
    async with await sign_in(db, service, shop, person=ana) as browser:
        for headers in foreign:
            for path in ("/login", "/logout", "/account", "/language", "/settings/keys", "/settings/members"):
                answer = await send(browser, path, headers=headers, email=EMAIL, password=PASSWORD)
                assert (answer.status, path) == (403, path)
        own = await send(browser, "/language", language="en", headers={"origin": service})
        fetched = await send(browser, "/language", language="en", headers={"sec-fetch-site": "same-origin"})
        typed = await get(browser, "/account", headers={"sec-fetch-site": "cross-site"})

    assert (own.status, fetched.status, typed.status) == (303, 303, 200)
    assert await count(db, "api_key_hashes") == 0


ODD: list[tuple[str, Any]] = [
    ("NUL", {"email": "a\0b@example.com", "password": "x\0y"}),
    ("nothing", {}),
    ("long", {"email": "a" * 5000, "password": "p" * 1000}),
    ("not UTF-8", b"email=%ff%fe&password=%ed%a0%80"),
    ("no form", b"\xff\x00"),
]


@pytest.mark.parametrize("sent", [each[1] for each in ODD], ids=[each[0] for each in ODD])
async def test_odd_input_is_a_message_and_no_failure(guest: aiohttp.ClientSession, sent: Any):
    if isinstance(sent, bytes):
        kind = {"content-type": "application/x-www-form-urlencoded"}
        async with guest.post("/login", data=sent, headers=kind) as answer:
            assert answer.status == 422
    else:
        assert (await send(guest, "/login", **sent)).status == 422


async def test_half_a_character_is_refused_beside_its_field(guest: aiohttp.ClientSession):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="email"\r\n\r\n\\ud800@example.com\r\n'
        b'--x\r\nContent-Disposition: form-data; name="password"\r\n\r\n\\udfff\r\n--x--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=x; charset=unicode_escape"}
    async with guest.post("/login", data=body, headers=headers) as answer:
        text = await answer.text()

    assert answer.status == 422
    assert text.count("Há um caractere que não pode ser guardado") == 2


WEAK = [("password_too_short", "123456789"), ("password_too_long", "a1" * 500), ("password_too_common", "1234567890"), ("password_too_common", "Senha123456"),
        ("password_too_common", "aaaaaaaaaaaaaaa"), ("password_too_common", "12121212121212"), ("password_is_personal", "ana.prado@example.com"),
        ("password_is_personal", "Ana  Prado Lima"), ("password_is_personal", "Ana.Prado-"), ("password_odd", "uma frase\0 longa"),
        ("password_odd", "uma frase\ud800 longa")]  # fmt: skip


@pytest.mark.parametrize(("code", "password"), WEAK)
def test_a_password_that_anybody_could_guess_is_refused(code: str, password: str):
    with pytest.raises(Refused) as refusal:
        check_new(password, email="ana.prado@example.com", name="Ana Prado Lima")

    assert (refusal.value.code, refusal.value.status, refusal.value.field) == (code, 422, "password")


@pytest.mark.parametrize(
    "password", ["correto cavalo bateria", "çãéüßñ-10-ok", "日本語のパスワード長い", "😀😁😂🤣😃😄😅😆😉😊"]
)
async def test_a_good_password_matches_itself_alone(password: str):
    passwords = Passwords(1024)
    check_new(password, email="ana@example.com", name="Ana")
    kept = await passwords.hash(password)

    assert await passwords.matches(kept, password)
    assert not await passwords.matches(kept, password + " ")
    assert not await passwords.matches(None, password)
    assert not await passwords.matches("no hash at all", password)


async def test_an_accent_is_the_same_from_every_keyboard():
    passwords = Passwords(1024)
    kept = await passwords.hash("cafe\u0301 com a\u00e7u\u0301car")

    assert await passwords.matches(kept, "caf\u00e9 com a\u00e7\u00facar")


async def test_the_api_knows_who_is_signed_in_to_the_site(db: Database, ana: User, shop: Shop, service: str):
    async with await sign_in(db, service, shop, person=ana) as browser:
        async with browser.get("/api/v1/tickets") as answer:
            own = answer.status
        async with browser.get("/api/v1/deliveries") as answer:
            operators = answer.status
        async with browser.post(
            "/api/v1/tickets", json={}, headers={"origin": "https://evil.example"}
        ) as answer:
            foreign = answer.status
        async with browser.get("/api/v1/tickets", headers={"authorization": "Bearer wt_wrong"}) as answer:
            with_bad_key = answer.status
    async with stranger(service) as nobody, nobody.get("/api/v1/tickets") as answer:
        unknown = answer.status
    async with (
        await sign_in(db, service, shop, is_operator=True) as boss,
        boss.get("/api/v1/deliveries") as answer,
    ):
        operator = answer.status
    async with await sign_in(db, service, None) as loner, loner.get("/api/v1/tickets") as answer:
        homeless = (answer.status, json.loads(await answer.text())["code"])

    assert (own, operators, foreign, with_bad_key, unknown, operator) == (200, 403, 403, 401, 401, 200)
    assert homeless == (403, "forbidden")


async def test_who_belongs_nowhere_is_told_so_and_finds_their_account(db: Database, service: str):
    async with await sign_in(db, service, None) as browser:
        home: Page = await get(browser, "/")
        board = await get(browser, "/tickets")

    assert home.path == "/account"
    assert board.status == 403
    assert "Você ainda não faz parte de nenhuma organização." in board.words


def test_no_route_of_the_site_changes_anything_by_get(db: Database, conninfo: str):
    app = build_app(settings_for_tests(), Database(conninfo), SEALER, None)
    changing = ("/logout", "/language", "/organization/choose")

    for route in app.routes:
        if getattr(route, "path", "") in changing:
            assert getattr(route, "methods", set()) == {"POST"}
