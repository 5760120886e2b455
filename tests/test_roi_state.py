"""Why a report is empty is said by its cause; fetching is told until it is over, and asked for by a button."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec

from tests.meta_site import connect_profile
from tests.pages_support import get, send
from tests.site import Site
from tests.support import Shop, rows, sign_in
from whatrack.connections import ad_accounts
from whatrack.connections.ad_accounts import Wanted
from whatrack.db import Database
from whatrack.insights.progress import AccountProgress, Progress
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.state import AdAccount
from whatrack.tenants.access import Access
from whatrack.web.pages import roi_state

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
IDLE: Any = AccountProgress(
    account_id=uuid4(), ad_account_id="act_1", name="CA 01", zone="America/Sao_Paulo", is_active=True, is_running=False,
    reason=None, message=None, attempts=0, next_at=NOW, tried_at=NOW, whole_at=NOW, asked_at=None, days=90, fetched=90, due=0, missing=0, early=0, aside=0,
    since=NOW.date(), fetched_at=NOW,
)  # fmt: skip


def state(*changes: dict[str, Any]) -> roi_state.Syncing:
    return roi_state.syncing(Progress([msgspec.structs.replace(IDLE, **each) for each in changes]))


def test_polling_goes_on_while_something_will_change_by_itself_and_no_longer():
    assert not state({}).is_busy
    assert state({"is_running": True}).is_busy
    assert state({"due": 3}).is_busy
    assert state({"days": 0, "fetched": 0}).is_busy
    assert not state({"due": 3, "reason": "token_dead"}).is_busy
    assert not state({"due": 3, "is_active": False}).is_busy
    assert not state({"days": 0, "fetched": 0, "reason": "no_profile"}).is_busy


def test_a_first_reading_says_how_far_it_is():
    found = state({"fetched": 30, "missing": 60, "due": 60, "is_running": True}, {})

    assert (found.is_first, found.fetched, found.days, found.share, found.left) == (True, 120, 180, 66, 60)


def test_what_waits_behind_a_reason_is_named():
    found = state({"due": 3, "reason": "no_access"}, {}, {"reason": "transient", "due": 0})

    assert [each.reason for each in found.stuck] == ["no_access"]
    assert roi_state.why("no_access") == "o perfil perdeu o acesso a esta conta"


def test_a_day_that_is_set_aside_is_named_and_stops_nothing():
    spoilt = {"aside": 1, "reason": "row_unreadable", "message": "ad 1: spend = NaN"}
    again = {**spoilt, "aside": 0, "due": 1}
    found = state(spoilt, again, {**again, "reason": "internal", "attempts": 1})

    assert [each.goes_on for each in found.stuck] == [True, True, False]
    assert [state(each).is_busy for each in (spoilt, again)] == [False, True]
    assert "(ad 1: spend = NaN)" in roi_state.why("row_unreadable", "ad 1: spend = NaN")


def test_every_reason_that_the_table_may_hold_has_words():
    allowed = {
        "no_profile", "token_dead", "no_access", "permission_missing", "throttled", "transient", "report_waits",
        "report_failed", "too_much_data", "currency_differs", "refused", "row_unreadable", "internal",
    }  # fmt: skip

    assert {*roi_state.REASONS} == allowed


async def connect(db: Database, shop: Shop, *, on: bool) -> None:
    """A profile that sees an account; its Meta does not answer here."""
    sandbox = Sandbox()
    site = Site("", db, shop.organization, shop.number, {})
    person = await rows(db, "SELECT id FROM users LIMIT 1")
    site.people["owner"] = Access(shop.id, "owner", f"user:{person[0]['id']}")  # type: ignore[assignment] # its actor is all that is asked
    account = next(iter(sandbox.world.all(AdAccount)))
    await connect_profile(site, sandbox, sandbox.cast.thiago, days=50, accounts=[account])
    if on:
        async with db.tenant(shop.id) as conn:
            known = await ad_accounts.one(conn, shop.id, account.id)
            owner = Access(shop.id, "owner", "system")
            await ad_accounts.configure(conn, owner, known, Wanted(True, None, None))


async def test_without_a_profile_the_report_asks_for_one(admin: aiohttp.ClientSession):
    page = await get(admin, "/roi")

    assert "Conecte um perfil do Facebook" in page.words
    assert 'href="/settings/meta">Conectar um perfil' in page.text


async def test_without_an_account_that_is_on_the_report_asks_for_one(
    db: Database, shop: Shop, admin: aiohttp.ClientSession
):
    await connect(db, shop, on=False)
    page = await get(admin, "/roi")

    assert "Ligue a primeira para buscar os últimos 90 dias." in page.words
    assert "para buscar os últimos 400 dias" in roi_state.all_off(400)
    refused = await send(admin, "/roi/sync", follow=True)
    assert "Nenhuma conta de anúncio está ligada. Ligue uma em Meta Ads." in refused.words


async def test_while_the_history_is_fetched_the_report_says_so_and_polls(
    db: Database, shop: Shop, admin: aiohttp.ClientSession
):
    await connect(db, shop, on=True)
    async with db.tenant(shop.id) as conn:
        await conn.execute(
            "INSERT INTO insight_accounts (organization_id, account_id, next_at)"
            " SELECT organization_id, id, now() + interval '1 hour' FROM meta_ad_accounts ON CONFLICT DO NOTHING"
        )
    page = await get(admin, "/roi")

    assert "Buscando o histórico da Meta" in page.words
    assert 'hx-trigger="every 3s"' in page.text
    assert "htmx.min.js" in page.text
    part = await get(admin, "/roi/sync?back=/roi", headers={"HX-Request": "true"})
    assert part.text.startswith('<div id="sync"')


async def test_what_keeps_the_history_from_coming_is_named(
    db: Database, shop: Shop, admin: aiohttp.ClientSession
):
    await connect(db, shop, on=True)
    async with db.tenant(shop.id) as conn:
        await conn.execute(
            "INSERT INTO insight_accounts (organization_id, account_id, next_at, reason)"
            " SELECT organization_id, id, now() + interval '1 hour', 'token_dead' FROM meta_ad_accounts"
            " ON CONFLICT (organization_id, account_id) DO UPDATE SET reason = excluded.reason, next_at = excluded.next_at"
        )
    page = await get(admin, "/roi")

    assert "espera: o token do perfil não vale mais: reconecte o perfil." in page.words
    assert "hx-trigger" not in page.text
    assert "htmx.min.js" not in page.text


async def test_a_viewer_asks_meta_for_nothing(db: Database, shop: Shop, service: str):
    async with await sign_in(db, service, shop, "viewer") as tab:
        assert (await send(tab, "/roi/sync")).status == 403


async def test_the_way_back_leads_nowhere_else(admin: aiohttp.ClientSession):
    for elsewhere in ("https://evil.example/roi", "//evil.example", "/tickets"):
        page = await send(admin, "/roi/sync", back=elsewhere)
        assert page.to == "/roi"
        chosen = await send(admin, "/roi/columns", preset="media", back=elsewhere)
        assert chosen.to == "/roi"


async def test_home_is_the_report_once_an_account_is_on_except_for_who_attends_people(
    db: Database, shop: Shop, service: str, admin: aiohttp.ClientSession
):
    assert (await get(admin, "/", follow=False)).to == "/tickets"
    await connect(db, shop, on=True)
    assert (await get(admin, "/", follow=False)).to == "/roi"
    async with await sign_in(db, service, shop, "agent") as agent:
        assert (await get(agent, "/", follow=False)).to == "/tickets"
