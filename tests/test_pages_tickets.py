"""The ticket pages over HTTP, without JavaScript unless a test says so: what is shown, moved, refused and kept."""

import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import aiohttp
import pytest

from tests.support import NOON, Shop, ad, body, change, make_shop, message, process, rows, tickets
from whatrack import db as database
from whatrack import flow
from whatrack.db import Database
from whatrack.tenants import members, sessions, users
from whatrack.units import new_id

ANA, BIA = "5511900000001", "5511900000002"


@asynccontextmanager
async def visiting(
    db: Database, service: str, shop: Shop, role: str = "agent", **headers: str
) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser in which a member of the shop is signed in."""
    async with db.system() as conn:
        person = await users.create(
            conn, email=f"{new_id()}@example.com", name=f"Pessoa {role}", password_hash=None
        )
        await members.put(conn, shop.id, person.id, role)
        token = await sessions.start(conn, person.id, agent="test", address="127.0.0.1")
    async with aiohttp.ClientSession(
        service,
        cookies={"whatrack": token},
        cookie_jar=aiohttp.CookieJar(unsafe=True),
        headers={"Accept-Language": "pt-BR", **headers},
    ) as browser:
        yield browser


async def shop_with_ticket(db: Database, slug: str = "loja", person: str = ANA) -> tuple[Shop, UUID]:
    shop = await make_shop(db, slug)
    await process(db, body(change(shop.number, message(person, referral=ad(clid=f"Aff-{slug}"), text="Oi"))))
    found = await rows(db, "SELECT id FROM tickets WHERE organization_id = %s", shop.id)
    return shop, found[0]["id"]


async def get(browser: aiohttp.ClientSession, path: str, **headers: str) -> tuple[int, str]:
    async with browser.get(path, headers=headers, allow_redirects=False) as answer:
        return answer.status, await answer.text()


async def post(
    browser: aiohttp.ClientSession, path: str, *, htmx: bool = False, **fields: Any
) -> tuple[int, str, Any]:
    headers = {"HX-Request": "true"} if htmx else {}
    data = {name: str(value) for name, value in fields.items()}
    async with browser.post(path, data=data, headers=headers, allow_redirects=False) as answer:
        return answer.status, await answer.text(), answer.headers


async def stage_id(db: Database, shop: Shop, role: str) -> UUID:
    found = await rows(db, "SELECT id FROM stages WHERE organization_id = %s AND role = %s", shop.id, role)
    return UUID(str(found[0]["id"]))


async def test_without_a_session_a_page_asks_to_sign_in_and_leads_back(db: Database, service: str):
    async with aiohttp.ClientSession(service) as stranger:
        async with stranger.get("/tickets?view=list&q=ana", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["location"]) == (
                303,
                "/login?next=%2Ftickets%3Fview%3Dlist%26q%3Dana",
            )
        async with stranger.get("/tickets", headers={"HX-Request": "true"}) as answer:
            assert answer.headers["hx-redirect"].startswith("/login?next=")


async def test_a_move_without_javascript_goes_back_to_where_the_person_was_and_says_so(
    db: Database, service: str
):
    shop, ticket = await shop_with_ticket(db)
    qualified = await stage_id(db, shop, "qualified")
    async with visiting(db, service, shop) as browser:
        status, _, headers = await post(
            browser, f"/tickets/{ticket}/stage", stage=qualified, version=1, back="/tickets?q=pessoa"
        )
        assert (status, headers["location"]) == (303, "/tickets?q=pessoa")
        _, text = await get(browser, headers["location"])
    assert "Pessoa 0001 foi para Qualificado." in text
    assert (await tickets(db))[0]["stage_id"] == qualified
    (entry,) = await rows(db, "SELECT action, actor FROM audit_log WHERE target = %s", f"ticket:{ticket}")
    assert entry["action"] == "ticket_moved"
    assert entry["actor"].startswith("user:")


@pytest.mark.parametrize(
    ("language", "typed", "stored"),
    [
        ("pt-BR", "1.234,56", "1234.56"),
        ("pt-BR", "R$ 199,9", "199.90"),
        ("pt-BR", "1234,5", "1234.50"),
        ("en", "1,234.56", "1234.56"),
        ("en", "99.90", "99.90"),
    ],
)
async def test_a_win_asks_for_the_value_in_the_readers_numbers(
    db: Database, service: str, language: str, typed: str, stored: str
):
    shop, ticket = await shop_with_ticket(db)
    won = await stage_id(db, shop, "won")
    async with visiting(db, service, shop, **{"Accept-Language": language}) as browser:
        status, _, headers = await post(browser, f"/tickets/{ticket}/stage", stage=won, version=1)
        assert (status, headers["location"].startswith(f"/tickets/{ticket}/move?stage={won}")) == (303, True)
        _, text = await get(browser, headers["location"])
        today = re.search(r'name="won_at" type="date" value="([0-9-]+)"', text)
        assert today
        status, _, _ = await post(
            browser,
            f"/tickets/{ticket}/stage",
            stage=won,
            version=1,
            answered="yes",
            deal_value=typed,
            won_at=today[1],
        )
    assert status == 303
    (row,) = await tickets(db)
    assert (row["close_reason"], str(row["deal_value"])) == ("WON", stored)


@pytest.mark.parametrize(
    "typed", ["", "1,234.56", "1.23", "-5", "0", "0,00", "1,999", "abc", "99999999999,00", "1e5", "٣"]
)
async def test_a_value_that_could_mean_two_things_is_refused_beside_its_field_and_kept(
    db: Database, service: str, typed: str
):
    shop, ticket = await shop_with_ticket(db)
    won = await stage_id(db, shop, "won")
    async with visiting(db, service, shop) as browser:
        status, text, _ = await post(
            browser,
            f"/tickets/{ticket}/stage",
            stage=won,
            version=1,
            answered="yes",
            deal_value=typed,
            won_at="2026-01-01",
        )
    assert status == 422
    assert 'id="deal_value-error"' in text
    assert f'value="{typed}"' in text
    assert (await tickets(db))[0]["status"] == "open"


async def test_a_sale_cannot_lie_in_the_future_or_before_its_ticket_and_an_old_one_is_confirmed(
    db: Database, service: str
):
    shop = await make_shop(db)
    await process(db, body(change(shop.number, message(ANA, at=NOON - timedelta(days=12), text="Oi"))))
    (row,) = await tickets(db)
    won = await stage_id(db, shop, "won")
    move = f"/tickets/{row['id']}/stage"
    asked = {"stage": won, "version": row["version"], "answered": "yes", "deal_value": "10"}
    async with visiting(db, service, shop) as browser:
        for wrong in (NOON + timedelta(days=2), NOON - timedelta(days=20)):
            status, text, _ = await post(browser, move, **asked, won_at=wrong.date())
            assert (status, 'id="won_at-error"' in text) == (422, True)
        old = (NOON - timedelta(days=10)).date()
        status, text, _ = await post(browser, move, **asked, won_at=old)
        assert (status, "mais de 7 dias" in text) == (422, True)
        status, _, _ = await post(browser, move, **asked, won_at=old, confirmed="yes")
    assert status == 303
    (row,) = await tickets(db)
    assert row["won_at"].date() == old


async def test_a_loss_asks_for_its_reason(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    lost = await stage_id(db, shop, "lost")
    async with visiting(db, service, shop) as browser:
        status, text, _ = await post(
            browser, f"/tickets/{ticket}/stage", stage=lost, version=1, answered="yes", lost_reason=" "
        )
        assert (status, 'id="lost_reason-error"' in text) == (422, True)
        status, _, _ = await post(
            browser,
            f"/tickets/{ticket}/stage",
            stage=lost,
            version=1,
            answered="yes",
            lost_reason="Achou caro",
        )
    assert status == 303
    assert (await tickets(db))[0]["lost_reason"] == "Achou caro"


async def test_of_two_people_who_move_the_same_ticket_the_second_is_told(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    qualified, lost = await stage_id(db, shop, "qualified"), await stage_id(db, shop, "lost")
    async with visiting(db, service, shop) as first, visiting(db, service, shop) as second:
        await post(first, f"/tickets/{ticket}/stage", stage=qualified, version=1)
        status, text, headers = await post(
            second,
            f"/tickets/{ticket}/stage",
            htmx=True,
            stage=lost,
            version=1,
            answered="yes",
            lost_reason="x",
        )
    assert (status, headers["hx-retarget"]) == (200, "#board")
    assert "Outra pessoa mudou este ticket" in text
    assert (await tickets(db))[0]["stage_id"] == qualified


async def test_an_undo_restores_the_ticket_exactly_and_only_for_who_moved_it(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    won = await stage_id(db, shop, "won")
    (before,) = await tickets(db)
    async with visiting(db, service, shop) as browser, visiting(db, service, shop) as other:
        _, text = await get(browser, f"/tickets/{ticket}/move?stage={won}")
        today = re.search(r'name="won_at" type="date" value="([0-9-]+)"', text)
        assert today
        _, text, _ = await post(
            browser,
            f"/tickets/{ticket}/stage",
            htmx=True,
            stage=won,
            version=1,
            answered="yes",
            deal_value="50",
            won_at=today[1],
        )
        assert "Desfazer" in text
        _, text, _ = await post(other, f"/tickets/{ticket}/undo", htmx=True, version=2)
        assert "Não dá mais para desfazer" in text
        status, _, _ = await post(browser, f"/tickets/{ticket}/undo", version=2, back="/tickets")
        again, text, _ = await post(browser, f"/tickets/{ticket}/undo", htmx=True, version=2)
    assert (status, again) == (303, 200)
    assert "Outra pessoa mudou" in text
    (after,) = await tickets(db)
    same = (
        "stage_id",
        "status",
        "close_reason",
        "deal_value",
        "won_at",
        "closed_at",
        "active_at",
        "currency",
    )
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    moves = await rows(db, "SELECT to_stage FROM ticket_stage_changes ORDER BY changed_at")
    assert [move["to_stage"] for move in moves] == ["Ganho", "Novo"]


async def test_a_move_of_long_ago_cannot_be_undone(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    qualified = await stage_id(db, shop, "qualified")
    async with visiting(db, service, shop) as browser:
        await post(browser, f"/tickets/{ticket}/stage", stage=qualified, version=1)
        _, text = await get(browser, f"/tickets/{ticket}")
        assert "Desfazer" in text
        async with db.system() as conn:
            await conn.execute(
                "UPDATE ticket_stage_changes SET changed_at = changed_at - interval '31 seconds'"
            )
        _, text = await get(browser, f"/tickets/{ticket}")
        assert "Desfazer" not in text
        _, text, _ = await post(browser, f"/tickets/{ticket}/undo", htmx=True, version=2)
    assert "Não dá mais para desfazer" in text
    assert (await tickets(db))[0]["stage_id"] == qualified


async def test_another_organizations_ticket_is_404_like_an_unknown_one(db: Database, service: str):
    ours, _ = await shop_with_ticket(db)
    _, theirs = await shop_with_ticket(db, "deles", BIA)
    async with visiting(db, service, ours, "owner") as browser:
        for ticket in (theirs, new_id()):
            pages = [
                await get(browser, f"/tickets/{ticket}"),
                await get(browser, f"/tickets/{ticket}/move?stage=won"),
            ]
            forms = [
                await post(
                    browser,
                    f"/tickets/{ticket}/{name}",
                    stage="won",
                    version=1,
                    owner="",
                    amount="1",
                    refunded_at="2026-01-01",
                    deal_value="1",
                )
                for name in ("stage", "owner", "refunds", "undo", "value", f"refunds/{new_id()}/remove")
            ]
            assert [status for status, _ in pages] == [404, 404]
            assert {form[0] for form in forms} <= {404, 422}
            texts = [page[1] for page in pages] + [form[1] for form in forms if form[0] == 404]
            assert all("Não encontramos isto." in text for text in texts)
    assert {row["status"] for row in await tickets(db)} == {"open"}


async def test_a_viewer_reads_masked_and_changes_nothing(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    async with visiting(db, service, shop, "viewer") as browser:
        for path in ("/tickets", "/tickets?view=list", f"/tickets/{ticket}"):
            status, text = await get(browser, path)
            assert (status, ANA in text, "90000-0001" in text, "wa.me" in text, '/stage"' in text) == (
                200,
                False,
                False,
                False,
                False,
            )
        for found in ("11900000001", "5511", "0001"):
            _, text = await get(browser, f"/tickets?view=list&q={found}")
            assert "Nenhum ticket com estes filtros" in text
        status, _, _ = await post(browser, f"/tickets/{ticket}/stage", stage="qualified", version=1)
        assert status == 403
        assert (await get(browser, "/tickets/new"))[0] == 403


async def test_filters_and_search_find_what_they_say(db: Database, service: str):
    shop = await make_shop(db)
    await process(
        db,
        body(change(shop.number, message(ANA, referral=ad("77", "Aff-1"), text="a"))),
        body(change(shop.number, message(BIA, referral={**ad("88", None), "source_type": "post"}, text="b"))),
        body(change(shop.number, message("5511900000003", text="c", at=NOON - timedelta(days=20)))),
    )
    async with visiting(db, service, shop) as browser:
        mine = (await rows(db, "SELECT id FROM users"))[0]["id"]
        async with db.tenant(shop.id) as conn:
            first = (await rows(db, "SELECT id FROM tickets ORDER BY opened_at LIMIT 1"))[0]["id"]
            await flow.assign_ticket(conn, shop.id, first, mine, actor="system")
        for query, expected in {
            "": {"0001", "0002", "0003"}, "source=ad": {"0001"}, "source=post": {"0002"}, "source=organic": {"0003"},
            "ad=77": {"0001"}, "q=pessoa": {"0001", "0002", "0003"}, "q=0002": {"0002"}, "q=11900000002": {"0002"},
            "q=pess 0003": {"0003"}, "owner=me": {"0003"}, "period=7": {"0001", "0002"}, "status=closed": set(),
            f"since={(NOON - timedelta(days=30)).date()}&until={(NOON - timedelta(days=15)).date()}": {"0003"},
            "q=%00": {"0001", "0002", "0003"}, "since=nonsense&owner=x&stage=y&status=z&cursor=q": {"0001", "0002", "0003"},
        }.items():  # fmt: skip
            for view in ("&view=list", ""):
                status, text = await get(browser, f"/tickets?{query}{view}")
                shown = set(re.findall(r">Pessoa (\d{4})<", text))
                assert (status, shown) == (200, expected), (query, view)


async def test_a_day_that_there_is_not_filters_nothing_and_the_page_says_so(db: Database, service: str):
    shop = await make_shop(db)
    bounds = "A data precisa estar entre 1 de jan. de 2000 e 31 de dez. de 9998."
    async with visiting(db, service, shop) as tab:
        for view in ("board", "list"):
            _status, far = await get(tab, f"/tickets?view={view}&since=0001-01-01&until=2026-11-30")
            _status, later = await get(tab, f"/tickets?view={view}&until=9999-12-31")
            _status, fine = await get(tab, f"/tickets?view={view}&since=2000-01-01&until=9998-12-31")
            assert f"Sem este filtro: 0001-01-01 não é um dia daqui. {bounds}" in far
            assert f"Sem este filtro: 9999-12-31 não é um dia daqui. {bounds}" in later
            assert "Sem este filtro" not in fine


async def test_a_column_loads_fifty_at_a_time_until_all_are_shown(db: Database, service: str):
    shop = await make_shop(db)
    people = [message(f"55119{n:08}", at=NOON - timedelta(minutes=n), text="Oi") for n in range(1, 113)]
    await process(db, body(change(shop.number, *people)))
    async with visiting(db, service, shop) as browser:
        _, text = await get(browser, "/tickets")
        shown = re.findall(r'id="card-([0-9a-f-]+)"', text)
        assert len(shown) == 50
        assert ">112<" in text
        while more := re.search(r'hx-get="(/tickets/column\?[^"]+)"', text):
            _, text = await get(browser, more[1].replace("&amp;", "&"), **{"HX-Request": "true"})
            shown += re.findall(r'id="card-([0-9a-f-]+)"', text)
        assert (len(shown), len(set(shown))) == (112, 112)


async def test_the_board_answers_204_while_nothing_changed_and_anew_when_something_did(
    db: Database, service: str
):
    shop, _ticket = await shop_with_ticket(db)
    async with visiting(db, service, shop) as browser:
        _, text = await get(browser, "/tickets")
        again = re.search(r'hx-get="(/tickets\?seen=[^"]+)"', text)
        assert again
        assert (await get(browser, again[1], **{"HX-Request": "true"}))[0] == 204
        await process(db, body(change(shop.number, message(BIA, text="Oi"))))
        status, text = await get(browser, again[1], **{"HX-Request": "true"})
    assert (status, "Pessoa 0002" in text, "<html" in text) == (200, True, False)


@pytest.mark.parametrize(
    "change_it",
    [
        "UPDATE ticket_tracking SET headline = 'Clareamento', meta_source_type = 'post'",
        "UPDATE contacts SET name = 'Clareamento'",
        "UPDATE stages SET name = 'Clareamento' WHERE role = 'new'",
    ],
)
async def test_the_board_is_anew_for_whatever_a_card_or_column_shows(
    db: Database, service: str, change_it: LiteralString
):
    shop, _ticket = await shop_with_ticket(db)
    async with visiting(db, service, shop) as browser:
        _, text = await get(browser, "/tickets")
        again = re.search(r'hx-get="(/tickets\?seen=[^"]+)"', text)
        assert again
        async with db.tenant(shop.id) as conn:
            await conn.execute(change_it)
        status, text = await get(browser, again[1], **{"HX-Request": "true"})
    assert (status, "Clareamento" in text) == (200, True)


async def test_the_board_is_anew_when_its_times_its_language_or_what_its_reader_may_do_changed(
    db: Database, service: str, monkeypatch: pytest.MonkeyPatch
):
    async def a_minute_later(conn: database.Connection) -> datetime:
        return await now(conn) + timedelta(minutes=1)

    now = database.now
    shop, _ticket = await shop_with_ticket(db)
    async with visiting(db, service, shop) as browser:
        async with db.tenant(shop.id) as conn:
            await conn.execute("UPDATE contacts SET wa_id = NULL, name = 'Ana'")  # nothing of hers is masked
            await conn.execute("UPDATE tickets SET last_message_at = now() - interval '1 minute'")
        _, text = await get(browser, "/tickets")
        again = re.search(r'hx-get="(/tickets\?seen=[^"]+)"', text)
        assert again

        async def asked(**headers: str) -> tuple[int, str]:
            return await get(browser, again[1], **{"HX-Request": "true"}, **headers)

        first = await asked()
        english = await asked(**{"Accept-Language": "en"})
        async with db.system() as conn:
            await conn.execute("UPDATE memberships SET role = 'viewer' WHERE organization_id = %s", [shop.id])
        reader = await asked()
        async with db.system() as conn:
            await conn.execute("UPDATE memberships SET role = 'agent' WHERE organization_id = %s", [shop.id])
        monkeypatch.setattr(database, "now", a_minute_later)
        later = await asked()

    assert ("há 1 minuto" in text, first[0]) == (True, 204)
    assert (english[0], "1 minute ago" in english[1]) == (200, True)
    assert (reader[0], "Mover" in reader[1]) == (200, False)
    assert (later[0], "há 2 minutos" in later[1]) == (200, True)


async def test_a_ticket_opened_by_hand_and_one_that_exists(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    async with visiting(db, service, shop) as browser:
        status, text, _ = await post(browser, "/tickets/new", phone="11 90000-0001", name="Ana")
        assert (status, f'href="/tickets/{ticket}"' in text, 'value="11 90000-0001"' in text) == (
            409 if status == 409 else 422,
            True,
            True,
        )
        for wrong in ("", "123", "abc", "9" * 41, "+", "11 9000\x00"):
            status, text, _ = await post(browser, "/tickets/new", phone=wrong, name="X")
            assert (status, 'id="phone-error"' in text) == (422, True), wrong
        status, _, headers = await post(browser, "/tickets/new", phone="+351 912 345 678", name="Rui")
        assert status == 303
        _, text = await get(browser, headers["location"])
    assert "+351912345678" in text


async def test_refunds_stay_within_the_sale_and_its_dates(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    won = await stage_id(db, shop, "won")
    refund = f"/tickets/{ticket}/refunds"
    async with visiting(db, service, shop) as browser:
        _, text = await get(browser, f"/tickets/{ticket}/move?stage={won}")
        today = (re.search(r'name="won_at" type="date" value="([0-9-]+)"', text) or [""])[1]
        status, text, _ = await post(browser, refund, amount="1", refunded_at=today, version=1)
        assert (status, "Só um ticket ganho" in text) == (422, False)  # the form is not even shown
        await post(
            browser,
            f"/tickets/{ticket}/stage",
            stage=won,
            version=1,
            answered="yes",
            deal_value="100",
            won_at=today,
        )
        more: dict[str, Any] = {
            "refunded_at": today,
            "reason": "Desistiu",
            "version": await version_of(db, ticket),
        }
        status, _, _ = await post(browser, refund, amount="60,50", **more)
        assert status == 303
        for amount, day in (
            ("39,51", today),
            ("0", today),
            ("1", "2099-01-01"),
            ("1", "2001-01-01"),
            ("x", today),
            ("1", "x"),
        ):
            version = await version_of(db, ticket)
            status, text, _ = await post(browser, refund, amount=amount, refunded_at=day, version=version)
            assert (status, "-error" in text) == (422, True), (amount, day)
        _, text = await get(browser, f"/tickets/{ticket}")
        assert "Reembolso de R$\xa060,50" in text
        refund_id = (await rows(db, "SELECT id FROM ticket_refunds"))[0]["id"]
        status, _, _ = await post(browser, f"{refund}/{refund_id}/remove")
        assert status == 303
    assert await rows(db, "SELECT id FROM ticket_refunds") == []
    actions = [row["action"] for row in await rows(db, "SELECT action FROM audit_log ORDER BY at, id")]
    assert actions == ["ticket_moved", "refund_added", "refund_removed"]


async def test_the_story_tells_why_this_ad(db: Database, service: str):
    shop = await make_shop(db)
    await process(
        db, body(change(shop.number, message(ANA, at=NOON, referral=ad("77", "Aff-1"), text="primeiro <b>")))
    )
    await process(
        db,
        body(
            change(
                shop.number,
                message(ANA, at=NOON + timedelta(minutes=9), referral=ad("88", "Aff-2"), text="segundo"),
            )
        ),
    )
    await process(
        db,
        body(
            change(
                shop.number,
                message(ANA, at=NOON - timedelta(minutes=9), referral=ad("66", "Aff-0"), text="atrasado"),
            )
        ),
    )
    (row,) = await tickets(db)
    async with visiting(db, service, shop) as browser:
        _, text = await get(browser, f"/tickets/{row['id']}")
    told = (
        "Primeiro toque deste ticket",
        "o crédito e todos os seus dados passam para ele",
        "o crédito não muda",
        "primeiro &lt;b&gt;",
    )
    assert [words for words in told if words not in text] == []
    assert "selected_ad_ids=88" in text
    assert f"https://wa.me/{ANA}" in text


async def won_ticket(
    db: Database, browser: aiohttp.ClientSession, shop: Shop, ticket: UUID, value: str
) -> str:
    """Wins the ticket today; answers today's date as the form had it."""
    won = await stage_id(db, shop, "won")
    _, text = await get(browser, f"/tickets/{ticket}/move?stage={won}")
    today = (re.search(r'name="won_at" type="date" value="([0-9-]+)"', text) or [""])[1]
    version = (await rows(db, "SELECT version FROM tickets WHERE id = %s", ticket))[0]["version"]
    more: dict[str, Any] = {"answered": "yes", "deal_value": value, "won_at": today}
    status, _, _ = await post(browser, f"/tickets/{ticket}/stage", stage=won, version=version, **more)
    assert status == 303
    return today


async def version_of(db: Database, ticket: UUID) -> int:
    return int((await rows(db, "SELECT version FROM tickets WHERE id = %s", ticket))[0]["version"])


async def test_a_page_of_one_organization_changes_nothing_once_another_was_chosen(db: Database, service: str):
    ours, _ticket = await shop_with_ticket(db)
    async with visiting(db, service, ours) as browser:
        form: dict[str, Any] = {"phone": "11 90000-0009", "name": "X"}
        refused, text, _ = await post(browser, "/tickets/new", page_organization=new_id(), **form)
        async with browser.get(
            "/tickets", headers={"HX-Request": "true", "X-Organization": str(new_id())}
        ) as answer:
            polled = answer.status, answer.headers.get("hx-refresh")
        taken, _, _ = await post(browser, "/tickets/new", page_organization=ours.id, **form)
    assert (refused, "outra organização" in text) == (409, True)
    assert polled == (204, "true")
    assert taken == 303


async def test_a_sale_with_refunds_is_not_undone_lost_or_worth_less_than_they(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    lost = await stage_id(db, shop, "lost")
    async with visiting(db, service, shop) as browser:
        today = await won_ticket(db, browser, shop, ticket, "1.000,00")
        version = await version_of(db, ticket)
        given: dict[str, Any] = {"amount": "400", "refunded_at": today, "version": version}
        first, _, _ = await post(browser, f"/tickets/{ticket}/refunds", **given)
        again, text, _ = await post(browser, f"/tickets/{ticket}/refunds", **given)
        undone, undo_text, _ = await post(browser, f"/tickets/{ticket}/undo", htmx=True, version=version)
        now = await version_of(db, ticket)
        less, less_text, _ = await post(browser, f"/tickets/{ticket}/value", deal_value="399,99", version=now)
        gone, _, _ = await post(browser, f"/tickets/{ticket}/value", deal_value="", version=now)
        move: dict[str, Any] = {"stage": lost, "version": now, "answered": "yes", "lost_reason": "x"}
        moved, moved_text, _ = await post(browser, f"/tickets/{ticket}/stage", htmx=True, **move)
    assert (first, again, "Outra pessoa mudou" in text) == (303, 422, True)
    assert (undone, "Outra pessoa mudou" in undo_text) == (200, True)
    assert (less, "tem reembolsos" in less_text, gone) == (422, True, 422)
    assert (moved, "tem reembolsos" in moved_text) == (200, True)
    (row,) = await tickets(db)
    assert (row["close_reason"], str(row["deal_value"])) == ("WON", "1000.00")
    assert len(await rows(db, "SELECT id FROM ticket_refunds")) == 1


@pytest.mark.parametrize("typed", ["USD 10", "$10", "US$ 10", "€ 10", "XYZ 10", "R$ R$ 10"])
async def test_another_currency_is_refused_never_taken_for_ours(db: Database, service: str, typed: str):
    shop, ticket = await shop_with_ticket(db)
    async with visiting(db, service, shop) as browser:
        refused, text, _ = await post(browser, f"/tickets/{ticket}/value", deal_value=typed, version=1)
        taken, _, _ = await post(browser, f"/tickets/{ticket}/value", deal_value="BRL 10", version=1)
    assert (refused, 'id="deal_value-error"' in text, taken) == (422, True, 303)


async def test_who_takes_care_of_a_ticket_is_a_member_and_two_who_assign_are_told(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    async with visiting(db, service, shop) as browser:
        me = (await rows(db, "SELECT id FROM users"))[0]["id"]
        for wrong in ("zzz", new_id()):
            status, text, _ = await post(browser, f"/tickets/{ticket}/owner", owner=wrong, version=1)
            assert (status, 'id="owner-error"' in text) == (422, True)
        status, _, _ = await post(browser, f"/tickets/{ticket}/owner", owner=me, version=1)
        late, text, _ = await post(browser, f"/tickets/{ticket}/owner", owner="", version=1)
    assert (status, late, "Outra pessoa mudou" in text) == (303, 422, True)
    assert (await tickets(db))[0]["owner_id"] == me


async def test_nothing_that_an_address_or_form_may_hold_is_a_500(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    async with visiting(db, service, shop, "owner") as browser:
        for path in (
            "/tickets?until=9999-12-31",
            "/tickets?since=0001-01-01&view=list",
            "/tickets?campaign=%00&ad=%00",
        ):
            assert (await get(browser, path))[0] == 200, path
        assert (await get(browser, "/tickets/pictures/%00"))[0] == 404
        for back in ("/tickets?q=日本", "/tickets\r\nX: y", "/tickets?q=a b"):
            status, _, _ = await post(browser, f"/tickets/{ticket}/undo", htmx=True, version=1, back=back)
            assert status in (200, 204), back
        status, _, _ = await post(browser, f"/tickets/{ticket}/undo", version="0" * 40 + "1")
        assert status < 500


async def test_the_filters_survive_the_question_without_javascript(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    won = await stage_id(db, shop, "won")
    async with visiting(db, service, shop) as browser:
        _, _, headers = await post(
            browser, f"/tickets/{ticket}/stage", stage=won, version=1, back="/tickets?q=a&owner=me&period=7"
        )
        _, text = await get(browser, headers["location"])
    assert 'name="back" value="/tickets?q=a&amp;owner=me&amp;period=7"' in text


async def test_after_signing_in_a_forms_own_address_leads_to_its_page(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    async with (
        visiting(db, service, shop, "owner") as browser,
        browser.get(f"/tickets/{ticket}/value", allow_redirects=False) as answer,
    ):
        assert (answer.status, answer.headers["location"]) == (303, f"/tickets/{ticket}")


async def test_every_answer_of_the_site_carries_its_guards(db: Database, service: str):
    shop, _ = await shop_with_ticket(db)
    async with visiting(db, service, shop) as browser:
        async with browser.post("/tickets/new", data=io.BytesIO(b"x" * 1_100_000)) as large:
            headers = [large.headers]
        for path in ("/tickets", "/nowhere", "/static/icon.svg", "/login"):
            async with browser.get(path) as answer:
                headers.append(answer.headers)
    assert large.status == 413
    for each in headers:
        assert "default-src 'none'" in each["content-security-policy"]
        assert each["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("en;q=0.1,pt;q=0.9", "pt-BR"),
        ("en", "en"),
        ("de,en;q=0.5", "en"),
        ("", "pt-BR"),
        ("en;q=x,pt-PT", "pt-BR"),
        (",;", "pt-BR"),
    ],
)
async def test_the_language_is_what_the_browser_wants_most(service: str, header: str, expected: str):
    async with (
        aiohttp.ClientSession(service) as stranger,
        stranger.get("/login", headers={"Accept-Language": header}) as answer,
    ):
        assert f'<html lang="{expected}"' in await answer.text()


FORMS = (
    "/tickets",
    "/tickets/new",
    "/settings/organization",
    "/settings/members",
    "/settings/keys",
    "/settings/stages/new",
    "/account",
)


async def test_every_form_that_posts_says_which_organization_its_page_is_of(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    field = f'<input type="hidden" name="page_organization" value="{shop.id}">'

    async with visiting(db, service, shop, "owner") as browser:
        for path in (*FORMS, f"/tickets/{ticket}"):
            _, text = await get(browser, path)
            _before, *opened = re.split(r'<form[^>]*method="post"[^>]*>', text)
            assert opened
            assert [path for after in opened if not after.startswith(field)] == []
    async with aiohttp.ClientSession(service) as stranger:
        assert "page_organization" not in (await get(stranger, "/login"))[1]


async def test_head_of_a_page_is_get_without_the_body(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)

    async with visiting(db, service, shop) as browser:
        for path, status in (("/", 303), ("/tickets", 200), (f"/tickets/{ticket}", 200), ("/nowhere", 404)):
            async with browser.head(path) as answer:
                assert (answer.status, await answer.read()) == (status, b"")
                assert answer.headers["content-type" if status != 303 else "location"]
    async with (
        aiohttp.ClientSession(service) as stranger,
        stranger.head("/tickets", allow_redirects=False) as answer,
    ):
        assert answer.headers["location"] == "/login?next=%2Ftickets"


async def test_the_audit_leads_to_the_ticket(db: Database, service: str):
    shop, ticket = await shop_with_ticket(db)
    async with visiting(db, service, shop, "owner") as browser:
        proposal = await rows(
            db, "SELECT id FROM stages WHERE organization_id = %s AND name = 'Proposta'", shop.id
        )
        await post(browser, f"/tickets/{ticket}/stage", stage=proposal[0]["id"], version=1, back="/tickets")

        _, text = await get(browser, "/settings/audit")

        assert f'href="/tickets/{ticket}">Ver o ticket</a>' in text


ODD = "<script>alert(1)</script> \U0001f9b7\u202egnirts \u05e9\u05dc\u05d5\u05dd" + "\U0001d518" * 60


async def test_a_viewer_finds_a_phone_nowhere_not_in_links_search_parts_or_the_api(
    db: Database, service: str
):
    shop, ticket = await shop_with_ticket(db)
    new = await stage_id(db, shop, "new")
    part = {"HX-Request": "true"}
    paths = [
        "/tickets",
        "/tickets?view=list",
        f"/tickets/{ticket}",
        f"/tickets/column?stage={new}",
        "/events",
    ]
    paths += ["/api/v1/tickets", f"/api/v1/tickets/{ticket}", f"/api/v1/tickets/{ticket}/timeline"]

    async with visiting(db, service, shop, "viewer") as browser:
        for path in paths:
            for headers in ({}, part):
                status, text = await get(browser, path, **headers)
                assert (status, ANA in text, ANA[2:] in text, "wa.me" in text) == (
                    200,
                    False,
                    False,
                    False,
                ), path
        for sought in (ANA, ANA[2:], ANA[-4:], f"+{ANA}"):
            assert str(ticket) not in (await get(browser, f"/tickets?view=list&q={sought}"))[1]
            assert str(ticket) not in (await get(browser, f"/tickets?q={sought}"))[1]
    async with visiting(db, service, shop, "agent") as browser:
        assert str(ticket) in (await get(browser, f"/tickets?view=list&q={ANA}"))[1]


async def test_a_name_of_any_letters_is_text_everywhere_and_never_markup(db: Database, service: str):
    shop, _ = await shop_with_ticket(db)
    async with visiting(db, service, shop, "owner") as browser:
        status, _, answer = await post(browser, "/tickets/new", phone="11 90000-0077", name=ODD)
        assert status == 303
        for path in ("/tickets", "/tickets?view=list", answer["location"], "/settings/audit"):
            _, text = await get(browser, path)
            assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in (await get(browser, "/tickets"))[1]
        assert (
            await post(
                browser, "/settings/stages/new", name=ODD[:40], group="ACTIVE", color="teal", probability=5
            )
        )[0] in (303, 422)
        assert "<script>alert" not in (await get(browser, "/tickets"))[1]


@pytest.mark.parametrize(
    "said",
    [
        "x",
        ":",
        "{stage}:",
        "{stage}:-1",
        "{stage}:\u0669\u0669",
        "{stage}:1000000",
        "{stage}:9 " * 300,
        "{stage}:499",
    ],
)
async def test_whatever_a_script_says_of_its_columns_the_board_is_answered(
    db: Database, service: str, said: str
):
    shop, ticket = await shop_with_ticket(db)
    header = said.format(stage=await stage_id(db, shop, "new")).encode().decode("latin-1")

    async with visiting(db, service, shop) as browser:
        status, text = await get(browser, "/tickets", **{"HX-Request": "true", "X-Loaded": header})

    assert (status, str(ticket) in text) == (200, True)
