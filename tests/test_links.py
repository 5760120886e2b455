"""Links that work once: a forgotten password, the first start, a sign-in from the command line; and the mail they go by."""

import asyncio
import re
import smtplib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import serving, settings_for_tests
from tests.mail_server import MailServer, mail_server
from tests.pages_support import Page, get, log_in, send
from tests.support import PASSWORD, SEALER, Shop, make_person, make_shop, rows, sign_in, stranger
from whatrack.db import Database
from whatrack.tenants import emails, links, post
from whatrack.tenants.emails import Letter
from whatrack.tenants.users import User

EMAIL = "ana@example.com"
NEW = "outra senha bem longa"


@pytest.fixture
async def ana(db: Database, shop: Shop) -> User:
    return await make_person(db, shop, email=EMAIL, password=PASSWORD)


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with mail_server() as taking:
        yield taking


def by_mail(server: MailServer) -> dict[str, Any]:
    return {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": server.port,
        "SMTP_SECURITY": "none",
        "SMTP_FROM": "WhaTrack <no-reply@example.com>",
        "WHATRACK_BASE_URL": "https://app.example.com",
    }


async def link(db: Database, kind: links.Kind, user: User | None = None) -> str:
    async with db.installation() as conn:
        return await links.make(conn, kind, user.id if user else None)


# A forgotten password


async def test_a_reset_link_comes_by_mail_shows_a_form_and_works_once(
    db: Database, ana: User, shop: Shop, conninfo: str, server: MailServer, service: str
):
    async with serving(conninfo, **by_mail(server)) as base, stranger(base) as guest:
        asked = await send(guest, "/forgot", email="ANA@example.com")
        mail = await server.arrives()
        await asyncio.sleep(0.1)  # the mail is owed until the server's word came back
    text = mail.get_content()
    found = re.search(r"https://app\.example\.com(/reset/[\w-]{43})\s", text)
    assert found
    async with stranger(service) as guest, await sign_in(db, service, shop, person=ana) as signed_in:
        looks = [await get(guest, found[1]) for _ in range(3)]
        weak = await send(guest, found[1], password="1234567890")
        done = await send(guest, found[1], password=NEW)
        again = await send(guest, found[1], password="ainda outra senha")
        looked = await get(guest, found[1])
        out = await get(signed_in, "/tickets", follow=False)
        old, new = await log_in(guest, EMAIL), await log_in(guest, EMAIL, NEW)

    assert (asked.status, asked.to) == (303, "/login")
    assert mail["To"] == EMAIL
    assert mail["From"] == "WhaTrack <no-reply@example.com>"
    assert mail["Subject"] == "Nova senha no WhaTrack"
    assert mail["Message-ID"].endswith("@app.example.com>")
    assert [look.status for look in looks] == [200] * 3
    assert {look.headers["referrer-policy"] for look in looks} == {"strict-origin"}
    assert (weak.status, set(weak.errors)) == (422, {"password"})
    assert "1234567890" not in weak.text
    assert (done.status, done.to) == (303, "/login")
    assert (again.status, looked.status) == (404, 404)
    assert "Este link não vale mais." in again.words
    assert out.to.startswith("/login")
    assert (old.status, new.status) == (422, 303)
    assert await rows(db, "SELECT count(*) AS n FROM emails") == [{"n": 0}]
    actions = [row["action"] for row in await rows(db, "SELECT action FROM audit_log ORDER BY at")]
    assert actions == ["password_reset", "sign_in"]


async def test_an_unknown_address_is_answered_like_a_known_one(
    db: Database, ana: User, conninfo: str, server: MailServer
):
    async with serving(conninfo, **by_mail(server)) as base, stranger(base) as guest:
        answers = [await send(guest, "/forgot", email=each) for each in (EMAIL, "nobody@example.com")]
        malformed = await send(guest, "/forgot", email="not an address")
        for _ in range(8):
            assert (await send(guest, "/forgot", email=EMAIL)).status == 303
        await asyncio.sleep(0.1)

    assert answers[0].status == answers[1].status == 303
    assert answers[0].headers.getall("set-cookie") == answers[1].headers.getall("set-cookie")
    assert (malformed.status, set(malformed.errors)) == (422, {"email"})
    owed = (await rows(db, "SELECT count(*) AS n FROM emails"))[0]["n"]
    assert owed + len(server.taken) == 5  # no more mails than anybody needs, in the same words


async def test_without_a_mail_server_the_page_says_whom_to_ask_and_nothing_is_owed(
    db: Database, ana: User, service: str
):
    async with stranger(service) as guest:
        page = await get(guest, "/forgot")
        sent = await send(guest, "/forgot", email=EMAIL)

    assert "Peça a quem a administra" in page.words
    assert sent.status == 422
    assert await rows(db, "SELECT count(*) AS n FROM emails") == [{"n": 0}]
    assert await rows(db, "SELECT count(*) AS n FROM one_time_links") == [{"n": 0}]


async def test_a_link_ends_with_its_hour_and_with_the_next_one(db: Database, ana: User, service: str):
    first = await link(db, "reset", ana)
    second = await link(db, "reset", ana)
    async with stranger(service) as guest:
        old, new = await get(guest, first), await get(guest, second)
        async with db.installation() as conn:
            await conn.execute("UPDATE one_time_links SET expires_at = now() - interval '1 second'")
        late = await get(guest, second)
        sent = await send(guest, second, password=NEW)

    assert [page.status for page in (old, new, late, sent)] == [404, 200, 404, 404]


async def test_a_link_of_one_kind_opens_no_other_door(db: Database, ana: User, service: str):
    token = (await link(db, "reset", ana)).rpartition("/")[2]
    async with stranger(service) as guest:
        pages = [await get(guest, f"/{door}/{token}") for door in ("enter", "setup", "invite")]
        odd = [await get(guest, f"/reset/{text}") for text in ("%00", "%ED%A0%80", "a" * 5000)]

    assert [page.status for page in (*pages, *odd)] == [404] * 6


# Signing in by a printed link


async def test_a_sign_in_link_shows_a_button_and_signs_in_once(db: Database, ana: User, service: str):
    path = await link(db, "sign_in", ana)
    async with stranger(service) as guest:
        looks = [await get(guest, path) for _ in range(2)]
        before = await get(guest, "/tickets", follow=False)
        done = await send(guest, path)
        board = await get(guest, "/tickets")
        again = await send(guest, path)

    assert [look.status for look in looks] == [200, 200]
    assert before.to.startswith("/login")
    assert (done.status, done.to, board.status, again.status) == (303, "/", 200, 404)


# The first start

FIRST: dict[str, Any] = {"name": "Ana Prado", "email": EMAIL, "password": NEW, "organization": "Clínica São João & Cia.",
         "timezone": "America/Recife", "currency": "USD"}  # fmt: skip


async def test_the_set_up_link_makes_the_operator_and_the_first_organization_once(db: Database, service: str):
    path = await link(db, "setup")
    async with stranger(service) as guest, stranger(service) as late:
        form = await get(guest, path)
        wrong = await send(guest, path, **{**FIRST, "password": "short", "timezone": "Mars/Base"})
        done = await send(guest, path, **FIRST)
        board = await get(guest, "/tickets")
        api = await get(guest, "/api/v1/deliveries?state=failed")
        again = [await get(late, path), await send(late, path, **{**FIRST, "email": "eve@example.com"})]

    assert form.status == 200
    assert form.headers["referrer-policy"] == "strict-origin"
    assert (wrong.status, set(wrong.errors)) == (422, {"timezone"})
    assert wrong.value("organization") == FIRST["organization"]
    assert (done.status, done.to, board.status, api.status) == (303, "/", 200, 200)
    assert [page.status for page in again] == [404, 404]
    assert await rows(db, "SELECT slug, name, timezone, base_currency FROM organizations") == [
        {"slug": "clinica-sao-joao-cia", "name": FIRST["organization"], "timezone": "America/Recife", "base_currency": "USD"}
    ]  # fmt: skip
    assert await rows(db, "SELECT email, is_operator FROM users") == [{"email": EMAIL, "is_operator": True}]
    assert await rows(db, "SELECT role FROM memberships") == [{"role": "owner"}]
    assert len(await rows(db, "SELECT id FROM stages")) == 5


async def test_of_two_who_set_up_at_once_one_does(db: Database, service: str):
    path = await link(db, "setup")
    async with stranger(service) as one, stranger(service) as two:
        answers = await asyncio.gather(
            send(one, path, **FIRST), send(two, path, **{**FIRST, "email": "bia@example.com"})
        )

    assert sorted(answer.status for answer in answers) == [303, 404]
    assert len(await rows(db, "SELECT id FROM users")) == 1
    assert len(await rows(db, "SELECT id FROM organizations")) == 1


async def test_a_set_up_link_is_void_once_somebody_has_an_account(db: Database, service: str):
    path = await link(db, "setup")
    await make_person(db)
    async with stranger(service) as guest:
        pages: list[Page] = [await get(guest, path), await send(guest, path, **FIRST)]

    assert [page.status for page in pages] == [404, 404]


async def test_an_organization_of_the_same_name_gets_another_slug(db: Database, service: str):
    await make_shop(db, "clinica")
    path = await link(db, "setup")
    async with stranger(service) as guest:
        done = await send(guest, path, **{**FIRST, "organization": "Clínica"})

    assert done.status == 303
    found = await rows(db, "SELECT slug FROM organizations ORDER BY slug")
    assert [row["slug"] for row in found] == ["clinica", "clinica-2"]


# The mail itself


async def owe(db: Database, to: str = EMAIL) -> None:
    async with db.installation() as conn:
        await emails.queue(conn, SEALER, Letter(to, "Olá\r\nBcc: eve@example.com", "Segredo: abc\n"))


async def test_a_mail_is_owed_until_the_server_takes_it(db: Database, server: MailServer):
    settings = settings_for_tests(**by_mail(server))
    await owe(db)
    server.answers["DATA"] = "451 later"
    first = await post.send_next(db, SEALER, settings)
    waits = await post.send_next(db, SEALER, settings)
    del server.answers["DATA"]
    async with db.installation() as conn:
        await conn.execute("UPDATE emails SET next_attempt_at = now()")
    second = await post.send_next(db, SEALER, settings)
    none = await post.send_next(db, SEALER, settings)

    assert (first, waits, second, none) == (True, False, True, False)
    assert len(server.taken) == 1
    assert server.taken[0]["Subject"] == "Olá Bcc: eve@example.com"  # one line, and no header of its own
    assert server.taken[0]["Bcc"] is None
    assert await rows(db, "SELECT count(*) AS n FROM emails") == [{"n": 0}]


async def test_a_mail_is_given_up_after_two_days_or_when_nobody_is_there(db: Database, server: MailServer):
    settings = settings_for_tests(**by_mail(server))
    server.answers["RCPT"] = "550 no such person"
    await owe(db, "gone@example.com")
    await post.send_next(db, SEALER, settings)
    unknown = await rows(db, "SELECT count(*) AS n FROM emails")
    server.answers["RCPT"] = "450 busy"
    await owe(db)
    await post.send_next(db, SEALER, settings)
    kept = await rows(db, "SELECT attempts FROM emails")
    async with db.installation() as conn:
        await conn.execute(
            "UPDATE emails SET created_at = now() - interval '49 hours', next_attempt_at = now()"
        )
    await post.send_next(db, SEALER, settings)

    assert (unknown, kept) == ([{"n": 0}], [{"attempts": 1}])
    assert await rows(db, "SELECT count(*) AS n FROM emails") == [{"n": 0}]
    assert server.taken == []


async def test_what_is_owed_is_sealed(db: Database):
    await owe(db)

    (row,) = await rows(db, "SELECT sealed FROM emails")
    assert b"Segredo" not in bytes(row["sealed"])
    assert EMAIL.encode() not in bytes(row["sealed"])


async def test_without_the_promised_encryption_neither_mail_nor_password_is_sent(server: MailServer):
    settings = settings_for_tests(
        **{**by_mail(server), "SMTP_SECURITY": "starttls", "SMTP_USER": "me", "SMTP_PASSWORD": PASSWORD}
    )
    letter = Letter(EMAIL, "s", "t")

    with pytest.raises(smtplib.SMTPException):
        await asyncio.to_thread(post.deliver, settings, letter)

    assert server.taken == []
    assert not any(line.upper().startswith(("AUTH", "MAIL")) for line in server.lines)
