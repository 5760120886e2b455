"""Account, organization, keys, audit: what is typed is kept or refused beside its field, and every deed is written down."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.pages_support import Page, get, log_in, send
from tests.support import PASSWORD, Shop, make_person, make_shop, rows, sign_in, stranger
from whatrack.db import Database
from whatrack.tenants import audit, links, members
from whatrack.tenants.audit import ACTIONS
from whatrack.tenants.users import User
from whatrack.web.pages.account import browser_name
from whatrack.web.pages.deeds import SENTENCES

EMAIL = "ana@example.com"
NEW = "outra senha bem longa"
ORGANIZATION: dict[str, Any] = {
    "name": "Clínica Nova",
    "timezone": "America/Manaus",
    "currency": "USD",
    "days": "45",
}


@pytest.fixture
async def ana(db: Database, shop: Shop) -> User:
    return await make_person(db, shop, email=EMAIL, password=PASSWORD, name="Ana Prado")


@pytest.fixture
async def tab(db: Database, ana: User, shop: Shop, service: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with await sign_in(db, service, shop, person=ana) as session:
        yield session


# The account


async def test_a_new_password_takes_the_old_one_and_ends_every_other_session(
    db: Database, tab: aiohttp.ClientSession, ana: User, shop: Shop, service: str
):
    async with await sign_in(db, service, shop, person=ana) as other, stranger(service) as guest:
        wrong = await send(tab, "/account/password", current="wrong", password=NEW)
        weak = await send(tab, "/account/password", current=PASSWORD, password="a" * 1000)
        done = await send(tab, "/account/password", current=PASSWORD, password=NEW)
        here, there = await get(tab, "/account"), await get(other, "/account", follow=False)
        old, new = await log_in(guest, EMAIL), await log_in(guest, EMAIL, NEW)

    assert (wrong.status, wrong.errors) == (422, {"current": "Esta não é a sua senha atual."})
    assert (weak.status, weak.errors) == (422, {"password": "Use no máximo 256 caracteres."})
    assert PASSWORD not in weak.text
    assert (done.status, here.status, there.status) == (303, 200, 303)
    assert (old.status, new.status) == (422, 303)
    found = await rows(db, "SELECT action FROM audit_log ORDER BY at, id")
    assert [row["action"] for row in found] == ["password_changed", "sign_in"]


async def test_the_present_password_cannot_be_guessed_from_a_browser_left_open(
    tab: aiohttp.ClientSession, ana: User
):
    for _ in range(5):
        assert (await send(tab, "/account/password", current="wrong", password=NEW)).status == 422
    answer = await send(tab, "/account/password", current=PASSWORD, password=NEW)

    assert answer.status == 429


async def test_who_has_no_password_yet_makes_one(db: Database, shop: Shop, service: str):
    async with (
        await sign_in(db, service, shop, email="bia@example.com") as browser,
        stranger(service) as guest,
    ):
        page = await get(browser, "/account")
        done = await send(browser, "/account/password", password=NEW)
        entered = await log_in(guest, "bia@example.com", NEW)

    assert "Criar senha" in page.words
    assert (done.status, entered.status) == (303, 303)


async def test_sessions_are_listed_and_ended_one_by_one_and_all_at_once(
    db: Database, tab: aiohttp.ClientSession, ana: User, shop: Shop, service: str
):
    async with (
        await sign_in(db, service, shop, person=ana) as two,
        await sign_in(db, service, shop, person=ana) as three,
        await sign_in(db, service, shop, email="eve@example.com") as eve,
    ):
        page = await get(tab, "/account")
        (eves,) = await rows(
            db, "SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.email LIKE 'eve%%'"
        )
        await send(tab, f"/account/sessions/{eves['id']}/end")
        shown = re.findall(r"/account/sessions/([0-9a-f-]{36})/end", page.text)
        await send(tab, f"/account/sessions/{shown[0]}/end")
        after_one = [(await get(each, "/account", follow=False)).status for each in (two, three)]
        await send(tab, "/account/sessions/others/end")
        after_all = [(await get(each, "/account", follow=False)).status for each in (two, three)]
        others = [(await get(each, "/account", follow=False)).status for each in (tab, eve)]

    assert len(shown) == 2
    assert "(este navegador)" in page.words
    assert sorted(after_one) == [200, 303]
    assert after_all == [303, 303]
    assert others == [200, 200]  # nobody ends another person's session


async def test_name_language_and_theme_are_kept_and_follow_to_other_browsers(
    db: Database, tab: aiohttp.ClientSession, service: str
):
    saved = await send(tab, "/account", name="  Ana\n Lima ", language="en", theme="dark")
    page = await get(tab, "/account")
    wrong = await send(tab, "/account", name="", language="xx", theme="neon")
    long = await send(tab, "/account", name="n" * 121, language="", theme="")
    async with stranger(service) as elsewhere:
        await log_in(elsewhere, EMAIL)
        there = await get(elsewhere, "/account")
    reset = await send(tab, "/account", name="Ana", language="", theme="")
    plain = await get(tab, "/account")

    assert (saved.status, reset.status) == (303, 303)
    for each in (page, there):
        assert '<html lang="en" data-theme="dark">' in each.text
        assert 'value="Ana Lima"' in each.text
    assert (wrong.status, set(wrong.errors)) == (422, {"name", "language", "theme"})
    assert (long.status, long.value("name")) == (422, "n" * 121)
    assert '<html lang="pt-BR">' in plain.text


async def test_language_is_chosen_before_signing_in_too(
    db: Database, tab: aiohttp.ClientSession, service: str
):
    async with stranger(service) as guest:
        chosen = await send(guest, "/language", language="en", next="/login?next=%2Ftickets")
        page = await get(guest, chosen.to)
        odd = await send(guest, "/language", language="xx", next="/login")
    await send(tab, "/language", language="en", next="/account")

    assert chosen.to == "/login?next=%2Ftickets"
    assert '<html lang="en"' in page.text
    assert odd.status == 303
    assert await rows(db, "SELECT language FROM users") == [{"language": "en"}]


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130 Safari/537.36 Edg/130",
            "Edge · Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile Safari/604.1",
            "Safari · iPhone",
        ),
        ("Mozilla/5.0 (Linux; Android 14) Chrome/130 Mobile Safari/537.36", "Chrome · Android"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Firefox/130.0", "Firefox · Linux"),
        ("curl/8.1", "curl/8.1"),
        ("", "Navegador desconhecido"),
    ],
)
def test_a_browser_is_called_what_people_call_it(agent: str, name: str):
    assert browser_name(agent) == name


# The organization


async def test_the_organization_changes_and_the_audit_says_how(
    db: Database, tab: aiohttp.ClientSession, shop: Shop
):
    saved = await send(tab, "/settings/organization", **ORGANIZATION)
    same = await send(tab, "/settings/organization", **ORGANIZATION)
    page, log = await get(tab, "/settings/organization"), await get(tab, "/settings/audit")

    assert (saved.status, same.status) == (303, 303)
    assert page.value("name") == "Clínica Nova"
    found = await rows(
        db, "SELECT name, slug, timezone, base_currency, ticket_expiration_days FROM organizations"
    )
    assert [tuple(row.values()) for row in found] == [("Clínica Nova", "loja", "America/Manaus", "USD", 45)]
    assert len(await rows(db, "SELECT id FROM audit_log")) == 1  # nothing changed the second time
    assert "Ana Prado mudou a organização: nome de “Loja” para “Clínica Nova”" in log.words


WRONG = [("name", ""), ("name", "x" * 201), ("name", "a\0b"), ("timezone", "Mars/Base"), ("timezone", "../../etc/passwd"), ("currency", "reais"),
         ("days", "0"), ("days", "366"), ("days", "1.5"), ("days", "trinta"), ("days", "٣٠"), ("days", "9" * 400)]  # fmt: skip


async def test_what_an_organization_cannot_be_is_refused_beside_its_field(
    db: Database, tab: aiohttp.ClientSession, shop: Shop
):
    for field, value in WRONG:
        page = await send(tab, "/settings/organization", **{**ORGANIZATION, field: value})
        assert (page.status, set(page.errors), value) == (422, {field}, value)
        assert field == "name" or page.value("name") == "Clínica Nova"
    assert (await rows(db, "SELECT name FROM organizations")) == [{"name": "Loja"}]


# Keys


async def test_a_key_is_shown_once_works_and_works_no_longer_once_revoked(
    db: Database, tab: aiohttp.ClientSession, shop: Shop, service: str
):
    empty = await get(tab, "/settings/keys")
    made = await send(tab, "/settings/keys", name="Planilha <b>", role="viewer")
    key = made.link("wt_")
    async with stranger(service) as program:

        async def call() -> int:
            headers = {"authorization": f"Bearer {key}"}
            return (await get(program, "/api/v1/tickets", headers=headers)).status

        unused = await get(tab, "/settings/keys")
        works = await call()
        listed = await get(tab, "/settings/keys")
        (row,) = await rows(db, "SELECT id, role, used_at FROM api_key_hashes")
        revoked = await send(tab, f"/settings/keys/{row['id']}/revoke")
        again = await send(tab, f"/settings/keys/{row['id']}/revoke")
        refused = await call()

    assert "Nenhuma chave ainda." in empty.words
    assert made.status == 200
    assert "nunca" in unused.words
    assert "nunca" not in listed.words
    assert key not in listed.text
    assert "Planilha <b>" in listed.words
    assert (row["role"], row["used_at"].minute, row["used_at"].second) == ("viewer", 0, 0)
    assert (works, revoked.status, again.status, refused) == (200, 303, 404, 401)
    found = await rows(db, "SELECT action, detail FROM audit_log ORDER BY at, id")
    assert [row["action"] for row in found] == ["key_created", "key_revoked"]
    assert key not in str(found)


def logged(suite_log: Path) -> str:
    return suite_log.read_text(encoding="utf-8")


async def test_no_token_key_or_code_reaches_the_log(
    db: Database, tab: aiohttp.ClientSession, ana: User, service: str, suite_log: Path
):
    async with db.installation() as conn:
        paths = [await links.make(conn, "reset", ana.id), await links.make(conn, "sign_in", ana.id)]
    key = (await send(tab, "/settings/keys", name="k", role="agent")).link("wt_")
    invited = (await send(tab, "/settings/members", email="bia@example.com", role="agent")).link("/invite/")
    offer = await get(tab, "/account/two-step")
    async with stranger(service) as guest:
        for path in (*paths, invited, "/reset/an-unknown-token-in-an-address"):
            await get(guest, path)
            await send(guest, path, password="1234567890", name="x")
        await get(guest, "/api/v1/tickets", headers={"authorization": f"Bearer {key}x"})
        cookies = [cookie.value for cookie in guest.cookie_jar]
    found = re.search(r"secret=([A-Z2-7]{32})", offer.text)

    log = logged(suite_log)
    assert found
    tokens = [path.rpartition("/")[2] for path in (*paths, invited)]
    secrets = [*tokens, key, found[1], *cookies, "an-unknown-token-in-an-address"]
    assert len(secrets) > 5
    assert [secret for secret in secrets if secret in log] == []


async def test_a_key_needs_a_name_and_a_role_of_at_most_ones_own(db: Database, shop: Shop, service: str):
    async with await sign_in(db, service, shop, "admin") as admin:
        tries: list[tuple[dict[str, Any], str]] = [
            ({"name": "", "role": "agent"}, "name"),
            ({"name": "n" * 81, "role": "agent"}, "name"),
            ({"name": "k", "role": "owner"}, "role"),
            ({"name": "k", "role": "operator"}, "role"),
            ({"name": "k"}, "role"),
        ]
        for fields, field in tries:
            page = await send(admin, "/settings/keys", **fields)
            assert (page.status, set(page.errors)) == (422, {field})
    assert await rows(db, "SELECT count(*) AS n FROM api_key_hashes") == [{"n": 0}]


# The audit


def test_every_deed_has_a_sentence_and_every_sentence_a_deed():
    assert set(SENTENCES) == ACTIONS


async def test_the_audit_is_read_page_by_page_in_the_organizations_zone(
    db: Database, tab: aiohttp.ClientSession, ana: User, shop: Shop
):
    async with db.tenant(shop.id) as conn:
        for number in range(120):
            detail = {"name": f"chave-{number}", "role": "agent"}
            await audit.record(conn, shop.id, ana.actor, "key_created", "api_key:x", detail)
        await audit.record(
            conn, shop.id, "system", "member_added", "user:x", {"name": "Bia", "role": "viewer"}
        )
        await audit.record(conn, shop.id, f"api_key:{shop.id}", "organization_changed", "x", {"odd": 1})
    first = await get(tab, "/settings/audit")
    pages: list[Page] = [first]
    while older := re.search(r'href="(/settings/audit\?after=[^"]+)"', pages[-1].text):
        pages.append(await get(tab, older[1].replace("&amp;", "&")))
    odd = [
        (await get(tab, f"/settings/audit?after={text}")).status
        for text in ("x", "1~2", "%00", "2026-01-01~")
    ]

    text = " ".join(page.words for page in pages)
    assert [page.text.count("<time") for page in pages] == [50, 50, 22]
    assert {f"chave-{number}:" in text for number in range(120)} == {True}
    assert "Ana Prado criou a chave de API chave-119: Atendente." in first.words
    assert "O sistema adicionou Bia à organização: Leitor." in first.words
    assert "Uma chave de API mudou a organização: —." in first.words
    assert "Horário" in first.words
    (row,) = await rows(db, "SELECT max(at) AS at FROM audit_log")
    local = row["at"] - timedelta(hours=3)
    assert f"{local:%H:%M}" in first.words
    assert odd == [404] * 4


async def test_a_sign_in_is_told_to_each_of_the_persons_organizations(
    db: Database, ana: User, shop: Shop, service: str
):
    other = await make_shop(db, "outra")
    async with db.system() as conn:
        await members.put(conn, other.id, ana.id, "viewer")
    async with stranger(service) as guest:
        await log_in(guest, EMAIL)

    found = await rows(db, "SELECT organization_id FROM audit_log WHERE action = 'sign_in'")
    assert {row["organization_id"] for row in found} == {shop.id, other.id}


@pytest.mark.parametrize("path", ["/account", "/account/two-step", "/settings", "/settings/organization", "/settings/members",
                                  "/settings/keys", "/settings/audit", "/login", "/forgot"])  # fmt: skip
async def test_a_page_holds_no_inline_script_or_style_and_names_every_field(
    tab: aiohttp.ClientSession, service: str, path: str
):
    if path in ("/login", "/forgot"):
        async with stranger(service) as guest:
            page = await get(guest, path)
    else:
        page = await get(tab, path)

    assert page.status == 200
    assert not re.search(r"\sstyle=|<style|<script(?![^>]*\bsrc=)|\son\w+=", page.text)
    named = set(re.findall(r'<label for="([\w-]+)"', page.text))
    fields = re.findall(
        r"<(?:input|select|textarea)\b(?![^>]*type=\"hidden\")[^>]*\bid=\"([\w-]+)\"", page.text
    )
    assert set(fields) == named
    assert len(fields) == len(set(fields))
    assert page.text.count("<h1") == 1
