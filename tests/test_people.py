"""An organization's people: invited, joined, given roles, removed; and what each role may open."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.conftest import serving
from tests.mail_server import mail_server
from tests.pages_support import Page, get, log_in, send
from tests.support import PASSWORD, Shop, make_person, make_shop, rows, sign_in, stranger
from whatrack.db import Database
from whatrack.tenants import members
from whatrack.tenants.users import User
from whatrack.units import new_id

PEOPLE = "/settings/members"
EMAIL = "bia@example.com"
NEW: dict[str, Any] = {"name": "Bia Lima", "password": "uma frase bem longa"}


@pytest.fixture
async def owner(db: Database, shop: Shop, service: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with await sign_in(db, service, shop, "owner", name="Olga Reis") as tab:
        yield tab


async def invite(tab: aiohttp.ClientSession, email: str = EMAIL, role: str = "agent") -> str:
    """The path of an invitation's link, as the page shows it to be copied."""
    page = await send(tab, PEOPLE, email=email, role=role)
    assert page.status == 200, page.words
    return page.link("http://localhost:3000/invite/").removeprefix("http://localhost:3000")


async def roles(db: Database, shop: Shop) -> dict[str, str]:
    query = "SELECT u.email, m.role FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.organization_id = %s"
    return {row["email"]: row["role"] for row in await rows(db, query, shop.id)}


async def actions(db: Database, shop: Shop) -> list[str]:
    query = "SELECT action FROM audit_log WHERE organization_id = %s ORDER BY at, id"
    return [row["action"] for row in await rows(db, query, shop.id)]


# Invitations


async def test_somebody_new_accepts_with_a_name_and_a_password_and_is_in(
    db: Database, shop: Shop, owner: aiohttp.ClientSession, service: str
):
    path = await invite(owner)
    waiting = await get(owner, PEOPLE)
    async with stranger(service) as guest:
        page = await get(guest, path)
        weak = await send(guest, path, **{**NEW, "password": "x"})
        done = await send(guest, path, **NEW)
        board = await get(guest, "/tickets")
        again = await send(guest, path, **NEW)

    assert EMAIL in waiting.words
    assert "Convite para Loja" in page.words
    assert page.headers["referrer-policy"] == "strict-origin"
    assert (weak.status, set(weak.errors), weak.value("name")) == (422, {"password"}, "Bia Lima")
    assert (done.status, done.to, board.status) == (303, "/", 200)
    assert "Bia Lima" in board.words
    assert again.status == 404
    assert (await roles(db, shop))[EMAIL] == "agent"
    assert await rows(db, "SELECT count(*) AS n FROM invitations") == [{"n": 0}]
    assert await actions(db, shop) == ["invitation_sent", "member_joined"]


async def test_somebody_with_an_account_signs_in_and_joins(
    db: Database, shop: Shop, owner: aiohttp.ClientSession, service: str
):
    other = await make_shop(db, "outra")
    await make_person(db, other, "viewer", email=EMAIL, password=PASSWORD, name="Bia Lima")
    path = await invite(owner)
    async with stranger(service) as guest:
        page = await get(guest, path)
        grabbed = await send(guest, path, **NEW)  # nobody makes a second account, or takes this one over
        entered = await log_in(guest, EMAIL, next=path)
        ready = await get(guest, entered.to)
        done = await send(guest, path)
        board = await get(guest, "/tickets")

    assert "Este e-mail já tem uma conta." in page.words
    assert grabbed.status == 409
    assert entered.to == path
    assert "Participar" in ready.words
    assert (done.status, done.to) == (303, "/")
    assert (await roles(db, shop))[EMAIL] == "agent"
    assert (await roles(db, other))[EMAIL] == "viewer"
    assert "Loja" in board.words  # the new organization is on screen


async def test_the_wrong_account_is_told_so_and_joins_nothing(
    db: Database, shop: Shop, owner: aiohttp.ClientSession, service: str
):
    other = await make_shop(db, "outra")
    path = await invite(owner)
    async with await sign_in(db, service, other, email="eve@example.com") as eve:
        page = await get(eve, path)
        tried = await send(eve, path, **NEW)
        out = await send(eve, "/logout", next=path)
        form = await get(eve, out.to)

    assert "Você está na conta eve@example.com" in page.words
    assert tried.status == 409
    assert out.to == path
    assert "Criar conta e entrar" in form.words
    assert set(await roles(db, shop)) == {next(iter(await roles(db, shop)))}


async def test_an_invitation_ends_after_seven_days_when_withdrawn_and_when_renewed(
    db: Database, shop: Shop, owner: aiohttp.ClientSession, service: str
):
    async with stranger(service) as guest:
        first = await invite(owner)
        (row,) = await rows(db, "SELECT id, expires_at - created_at AS life FROM invitations")
        renewed = await send(owner, f"{PEOPLE}/invitations/{row['id']}/again")
        second = renewed.link("http://localhost:3000/invite/").removeprefix("http://localhost:3000")
        replaced = await get(guest, first)
        async with db.system() as conn:
            await conn.execute("UPDATE invitations SET expires_at = now() - interval '1 second'")
        late = await send(guest, second, **NEW)
        listed = await get(owner, PEOPLE)
        third = await invite(owner)
        withdrawn = await send(owner, f"{PEOPLE}/invitations/{row['id']}/withdraw")
        gone = await get(guest, third)

    assert row["life"].days == 7
    assert (replaced.status, late.status, withdrawn.status, gone.status) == (404, 404, 303, 404)
    assert "Expirou em" in listed.words
    assert EMAIL not in (await roles(db, shop))


async def test_a_member_is_not_invited_again_and_an_invitation_takes_no_role_away(
    db: Database, shop: Shop, owner: aiohttp.ClientSession, service: str
):
    path = await invite(owner, role="viewer")
    bia = await make_person(db, shop, "admin", email=EMAIL)
    again = await send(owner, PEOPLE, email="BIA@example.com", role="agent")
    async with await sign_in(db, service, None, person=bia) as tab:
        joined = await send(tab, path)

    assert (again.status, again.errors) == (422, {"email": "Esta pessoa já faz parte da organização."})
    assert joined.status == 303
    assert (await roles(db, shop))[EMAIL] == "admin"


async def test_with_a_mail_server_the_link_goes_by_mail_alone(db: Database, shop: Shop, conninfo: str):
    async with mail_server() as server:
        settings = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": server.port, "SMTP_SECURITY": "none"}
        async with serving(conninfo, **settings) as base:
            async with await sign_in(db, base, shop, "admin", name="Ada Nunes") as tab:
                answer = await send(tab, PEOPLE, email=EMAIL, role="agent", follow=True)
            mail = await server.arrives()

    text = mail.get_content()
    assert "Convite enviado para bia@example.com" in answer.words
    assert "/invite/" not in answer.text
    assert mail["To"] == EMAIL
    assert "Ada Nunes convidou você para Loja" in text
    assert "http://localhost:3000/invite/" in text


ODD = ["", "bia", "bia@", "@example.com", "bia@example", "a b@example.com", "bia@exa\0mple.com", "a,b@example.com", "bia@example.com,eve@example.com",
       "Bia <bia@example.com>", "bia@example.com\r\nBcc: eve@example.com", "a" * 300 + "@example.com"]  # fmt: skip


async def test_an_address_that_no_mail_can_go_to_is_refused_beside_its_field(
    db: Database, owner: aiohttp.ClientSession
):
    for email in ODD:
        page = await send(owner, PEOPLE, email=email, role="agent")
        assert (page.status, set(page.errors), email) == (422, {"email"}, email)
    assert await rows(db, "SELECT count(*) AS n FROM invitations") == [{"n": 0}]


# Roles


async def test_only_owners_make_owners(
    db: Database, shop: Shop, admin: aiohttp.ClientSession, owner: aiohttp.ClientSession
):
    bia = await make_person(db, shop, "agent", email=EMAIL)
    tries = [
        await send(admin, PEOPLE, email="new@example.com", role="owner"),
        await send(admin, f"{PEOPLE}/{bia.id}", role="owner"),
        await send(admin, "/settings/keys", name="k", role="owner"),
    ]
    path = await invite(owner, "chefe@example.com", "owner")
    (row,) = await rows(db, "SELECT id FROM invitations")
    renewed = await send(admin, f"{PEOPLE}/invitations/{row['id']}/again")
    to_admin = await send(admin, f"{PEOPLE}/{bia.id}", role="admin")
    to_owner = await send(owner, f"{PEOPLE}/{bia.id}", role="owner")

    assert [page.status for page in tries] == [422, 403, 422]
    assert path
    assert renewed.status == 403  # a link that makes an owner is not handed to an admin
    assert (to_admin.status, to_owner.status) == (303, 303)
    assert (await roles(db, shop))[EMAIL] == "owner"


async def test_an_admin_neither_demotes_nor_removes_an_owner(
    db: Database, shop: Shop, admin: aiohttp.ClientSession
):
    boss = await make_person(db, shop, "owner", email=EMAIL)
    page = await get(admin, f"{PEOPLE}/{boss.id}")
    demoted = await send(admin, f"{PEOPLE}/{boss.id}", role="viewer")
    removed = await send(admin, f"{PEOPLE}/{boss.id}/remove")

    assert "Só um proprietário" in page.words
    assert (demoted.status, removed.status) == (403, 403)
    assert (await roles(db, shop))[EMAIL] == "owner"


async def test_the_last_owner_stays_owner(db: Database, shop: Shop, owner: aiohttp.ClientSession):
    (me,) = await rows(db, "SELECT user_id FROM memberships WHERE role = 'owner'")
    where = f"{PEOPLE}/{me['user_id']}"
    demoted, removed = await send(owner, where, role="admin"), await send(owner, f"{where}/remove")
    await make_person(db, shop, "owner")
    left = await send(owner, f"{where}/remove")
    outside = await get(owner, "/tickets")

    assert (demoted.status, removed.status) == (422, 409)
    assert "A organização precisa de pelo menos um proprietário." in demoted.words
    assert "A organização precisa de pelo menos um proprietário." in removed.words
    assert (left.status, left.to) == (303, "/")
    assert outside.status == 403


async def test_two_owners_who_demote_each_other_at_once_leave_one(db: Database, shop: Shop, service: str):
    ana, bia = await make_person(db, shop, "owner"), await make_person(db, shop, "owner")
    async with (
        await sign_in(db, service, shop, person=ana) as one,
        await sign_in(db, service, shop, person=bia) as two,
    ):
        await asyncio.gather(
            send(one, f"{PEOPLE}/{bia.id}", role="viewer"), send(two, f"{PEOPLE}/{ana.id}", role="viewer")
        )

    assert sorted((await roles(db, shop)).values()) == ["owner", "viewer"]


async def test_who_is_removed_sees_the_organization_no_more(
    db: Database, shop: Shop, owner: aiohttp.ClientSession, service: str
):
    bia = await make_person(db, shop, "agent", email=EMAIL, name="Bia Lima")
    async with await sign_in(db, service, shop, person=bia) as tab:
        before = await get(tab, "/tickets")
        removed = await send(owner, f"{PEOPLE}/{bia.id}/remove", follow=True)
        after = await get(tab, "/tickets")

    assert (before.status, after.status) == (200, 403)
    assert "Bia Lima não faz mais parte da organização." in removed.words
    assert await actions(db, shop) == ["member_removed"]


async def test_a_change_of_role_counts_from_the_next_click(
    db: Database, shop: Shop, owner: aiohttp.ClientSession, service: str
):
    bia = await make_person(db, shop, "admin")
    async with await sign_in(db, service, shop, person=bia) as tab:
        before = await get(tab, PEOPLE)
        await send(owner, f"{PEOPLE}/{bia.id}", role="viewer")
        after = await get(tab, PEOPLE)

    assert (before.status, after.status) == (200, 403)
    assert await actions(db, shop) == ["member_role_changed"]


async def test_anothers_people_invitations_and_keys_are_404_like_unknown_ones(
    db: Database, shop: Shop, owner: aiohttp.ClientSession, service: str
):
    other = await make_shop(db, "outra")
    eve = await make_person(db, other, "agent")
    async with await sign_in(db, service, other) as tab:
        await invite(tab)
        await send(tab, "/settings/keys", name="k", role="agent")
    (invitation,) = await rows(db, "SELECT id FROM invitations")
    (key,) = await rows(db, "SELECT id FROM api_key_hashes")

    async def statuses(person: object, invitation_id: object, key_id: object) -> list[int]:
        pages = [
            await get(owner, f"{PEOPLE}/{person}"),
            await send(owner, f"{PEOPLE}/{person}", role="viewer"),
            await send(owner, f"{PEOPLE}/{person}/remove"),
            await send(owner, f"{PEOPLE}/invitations/{invitation_id}/again"),
            await send(owner, f"{PEOPLE}/invitations/{invitation_id}/withdraw"),
            await send(owner, f"/settings/keys/{key_id}/revoke"),
            await send(owner, "/organization/choose", organization=str(other.id)),
        ]
        return [page.status for page in pages]

    assert await statuses(eve.id, invitation["id"], key["id"]) == [404] * 7
    assert await statuses(new_id(), new_id(), new_id()) == [404] * 7
    assert len(await roles(db, other)) == 2


ADMINS = ("/settings/organization", PEOPLE, "/settings/keys", "/settings/audit")


@pytest.mark.parametrize("role", ["viewer", "agent", "admin", "owner"])
async def test_each_role_opens_its_pages(db: Database, shop: Shop, service: str, role: str):
    async with await sign_in(db, service, shop, role) as tab:
        everybodys = [(await get(tab, path)).status for path in ("/tickets", "/settings", "/account")]
        admins = [(await get(tab, path)).status for path in ADMINS]
        posts = [
            await send(tab, PEOPLE, email=EMAIL, role="viewer"),
            await send(tab, "/settings/keys", name="k", role="viewer"),
            await send(tab, "/settings/organization", name="X", timezone="UTC", currency="BRL", days="30"),
        ]
        index = await get(tab, "/settings")

    is_admin = role in ("admin", "owner")
    assert everybodys == [200] * 3
    assert admins == [200 if is_admin else 403] * 4
    assert [page.status for page in posts] == ([200, 200, 303] if is_admin else [403] * 3)
    assert ("Pessoas" in index.words) == is_admin


async def test_nobody_opens_a_page_without_signing_in(service: str):
    async with stranger(service) as guest:
        pages: list[Page] = [
            await get(guest, path, follow=False)
            for path in (*ADMINS, "/settings", "/account", "/account/two-step")
        ]

    assert {page.status for page in pages} == {303}
    assert all(page.to.startswith("/login?next=%2F") for page in pages)


async def test_one_person_changes_between_their_organizations(db: Database, shop: Shop, service: str):
    other = await make_shop(db, "outra")
    ana: User = await make_person(db, shop, "owner")
    async with db.system() as conn:
        await members.put(conn, other.id, ana.id, "viewer")
    async with await sign_in(db, service, shop, person=ana) as tab:
        before = await get(tab, PEOPLE)
        chosen = await send(tab, "/organization/choose", organization=str(other.id))
        after = await get(tab, PEOPLE)
        odd = await send(tab, "/organization/choose", organization="\0")

    assert (before.status, chosen.to, after.status, odd.status) == (200, "/", 403, 404)


async def test_an_admin_makes_a_reset_link_only_for_who_has_no_more_than_this_organization(
    db: Database, service: str
):
    ours, theirs = await make_shop(db, "nossa", waba="1"), await make_shop(db, "deles", waba="2")
    alone = await make_person(db, ours, "agent")
    both = await make_person(db, ours, "agent")
    async with db.tenant(theirs.id) as conn:
        await members.put(conn, theirs.id, both.id, "viewer")
    browser = await sign_in(db, service, ours, "admin")
    async with browser:
        async with browser.post(f"/settings/members/{alone.id}/reset-link") as made:
            text = await made.text()
        async with browser.post(f"/settings/members/{both.id}/reset-link") as refused:
            refused_text = await refused.text()
    assert (made.status, "/reset/" in text) == (200, True)
    assert (refused.status, "outras organizações" in refused_text, "/reset/" in refused_text) == (
        409,
        True,
        False,
    )
    links = await rows(db, "SELECT user_id FROM one_time_links WHERE kind = 'reset'")
    assert [row["user_id"] for row in links] == [alone.id]
