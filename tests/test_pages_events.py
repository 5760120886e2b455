"""Conversion events over HTTP: the API, the pages without JavaScript, and who may do what."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest

import whatrack
from tests.conversions import a_desk, events, move, put, tickets_of
from tests.support import Shop, make_shop, rows
from tests.test_pages_tickets import get, post, visiting
from whatrack.conversions import rules
from whatrack.db import Database
from whatrack.tenants import api_keys
from whatrack.web.pages import event_words, meta_words

EVENTS = "/api/v1/conversion-events"


async def key(db: Database, shop: Shop, role: str = "agent") -> dict[str, str]:
    async with db.installation() as conn:
        return {"Authorization": f"Bearer {(await api_keys.create(conn, shop.id, role))[1]}"}


async def failed(db: Database, shop: Shop, *clids: str) -> list[dict[str, Any]]:
    for ticket in await tickets_of(db, shop, *clids):
        await move(db, shop, ticket, "won", value="199.90")
    await put(db, "UPDATE meta_conversion_events SET status = 'PENDING' WHERE status <> 'PENDING'")
    await put(
        db,
        """UPDATE meta_conversion_events SET status = 'FAILED', attempts = 1, error_code = '100/2804132', hold_reason = NULL,
           lease_id = NULL, lease_until = NULL""",
    )
    return await events(db)


async def test_the_api_lists_filters_pages_reads_and_retries(db: Database, service: str):
    shop = await make_shop(db)
    made = await failed(db, shop, "Aff-1", "Aff-2", "Aff-3")
    async with aiohttp.ClientSession(service, headers=await key(db, shop)) as api:

        async def json(path: str, **query: Any) -> Any:
            async with api.get(path, params=query) as answer:
                assert answer.status == 200, await answer.text()
                return await answer.json()

        first = await json(EVENTS, status="FAILED", limit=2)
        second = await json(EVENTS, status="FAILED", limit=2, cursor=first["next"])
        assert len(first["data"]) == 2
        assert (len(second["data"]), second["next"]) == (1, None)
        event = first["data"][0]
        assert (event["event_name"], event["value"], event["currency"]) == ("Purchase", "199.90", "BRL")
        assert (event["success"], event["error_code"], event["sent_at"]) == (False, "100/2804132", None)
        assert (await json(EVENTS, event_name="LeadSubmitted"))["data"] == []
        assert len((await json(EVENTS, ticket_id=event["ticket_id"], error_code="100/2804132"))["data"]) == 1
        assert (await json(f"{EVENTS}/{event['id']}"))["tries"] == []
        ticket = await json(f"/api/v1/tickets/{event['ticket_id']}")
        assert [each["event_id"] for each in ticket["conversion_events"]] == [
            f"purchase-{event['ticket_id']}"
        ]
        story = await json(f"/api/v1/tickets/{event['ticket_id']}/timeline")
        assert "conversion" in [each["kind"] for each in story["data"]]

        async with api.post(f"{EVENTS}/{event['id']}/retry") as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, "PENDING")
        await put(
            db,
            "UPDATE meta_conversion_events SET event_time = now() - interval '9 days' WHERE id = %s",
            made[0]["id"],
        )
        async with api.post(f"{EVENTS}/{made[0]['id']}/retry") as answer:
            problem = await answer.json()
            assert (answer.status, problem["code"]) in ((409, "window_closed"), (409, "not_retryable"))
        async with api.get(EVENTS, params={"nonsense": "1"}) as answer:
            assert answer.status == 422
    other = await make_shop(db, "outra")
    async with aiohttp.ClientSession(service, headers=await key(db, other)) as api:
        async with api.get(EVENTS) as answer:
            assert (await answer.json())["data"] == []
        async with api.get(f"{EVENTS}/{made[0]['id']}") as answer:
            assert answer.status == 404
    viewer = await key(db, shop, "viewer")
    address = f"{service}{EVENTS}/{made[0]['id']}/retry"
    async with aiohttp.ClientSession(headers=viewer) as api, api.post(address) as answer:
        assert answer.status == 403


async def test_a_failure_is_read_in_portuguese_and_retried_from_the_page(db: Database, service: str):
    shop = await make_shop(db)
    (event,) = await failed(db, shop, "Aff-1")
    async with visiting(db, service, shop) as browser:
        _, text = await get(browser, "/events")
        assert "O dataset não está ligado a esta conta do WhatsApp." in text
        assert "A Meta aceita até" in text
        _, text = await get(browser, f"/events/{event['id']}")
        assert "100/2804132" in text
        code, _, headers = await post(browser, f"/events/{event['id']}/retry", back="/events")
        assert (code, headers["location"]) == (303, "/events")
    (audit,) = await rows(db, "SELECT action FROM audit_log WHERE target = %s", f"event:{event['id']}")
    assert audit["action"] == "event_retried"


async def test_all_of_one_cause_are_retried_and_a_viewer_has_no_button(db: Database, service: str):
    shop = await make_shop(db)
    await failed(db, shop, "Aff-1", "Aff-2")
    async with visiting(db, service, shop, "viewer") as browser:
        _, text = await get(browser, "/events")
        assert "Tentar de novo" not in text
        assert (await post(browser, "/events/retry", cause="100/2804132"))[0] == 403
    async with visiting(db, service, shop) as browser:
        await post(browser, "/events/retry", cause="100/2804132")
    assert "FAILED" not in {row["status"] for row in await events(db)}


async def test_the_way_an_event_would_go_is_shown_before_it_goes(db: Database, service: str):
    async with a_desk(db, pixel="4242") as desk:
        (ticket,) = await desk.tickets()
        await put(db, "UPDATE meta_ad_accounts SET pixel_confirmed = true")
        await move(db, desk.shop, ticket, "qualified", hold_s=3600)
        (event,) = await events(db)
        async with visiting(db, service, desk.shop, "viewer") as browser:
            _, text = await get(browser, f"/events/{event['id']}")
            assert "Dataset da conta do anúncio" in text
            assert "4242" in text
            assert "acesso de Thiago" in text
            await put(db, "UPDATE meta_ad_accounts SET is_active = false")
            _, text = await get(browser, f"/events/{event['id']}")
            assert "4242" not in text
            assert meta_words.missing("account_inactive") in text
            await put(db, "UPDATE meta_conversion_events SET attempts = 1, status = 'SENT', sent_at = now()")
            assert "Caminho" not in (await get(browser, f"/events/{event['id']}"))[1]


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (timedelta(days=7), "faltam 7 dias"),
        (timedelta(days=2), "faltam 2 dias"),
        (timedelta(days=2, seconds=-1), "faltam 47 h"),
        (timedelta(hours=1), "faltam 1 h"),
        (timedelta(minutes=59, seconds=59), "faltam 59 min"),
        (timedelta(seconds=20), "faltam 0 min"),
    ],
)
def test_the_countdown_is_exact_where_it_matters(time: timedelta, words: str):
    assert event_words.left(time) == words


@pytest.mark.parametrize(
    ("state", "column", "code", "address"),
    [
        ("FAILED", "error_code", "100/2804132", "/settings/meta"),
        ("FAILED", "error_code", "100/2804066", "/settings/stages"),
        ("FAILED", "error_code", "100/2804087", None),
        ("PENDING", "hold_reason", "no_token", "/settings/meta"),
        ("PENDING", "hold_reason", "transient", None),
        ("SKIPPED_NO_DATASET", "error_code", "100/33", "/settings/numbers"),
    ],
)
async def test_an_admin_is_led_to_where_it_is_mended(
    db: Database, service: str, state: str, column: str, code: str, address: str | None
):
    shop = await make_shop(db)
    (event,) = await failed(db, shop, "Aff-1")
    await put(db, "UPDATE meta_conversion_events SET status = 'PENDING', error_code = NULL")
    await put(db, f"UPDATE meta_conversion_events SET status = %s, {column} = %s", state, code)
    for role in ("admin", "agent"):
        async with visiting(db, service, shop, role) as browser:
            _, text = await get(browser, f"/events/{event['id']}")
            main = text.partition("<main")[2]
            found = [each for each in event_words.MENDED_AT.values() if f'href="{each[0]}"' in main]
            assert {each[0] for each in found} == ({address} if address and role == "admin" else set())


async def test_the_tickets_page_tells_what_meta_was_told(db: Database, service: str):
    shop = await make_shop(db)
    (event,) = await failed(db, shop, "Aff-1")
    await put(
        db,
        "UPDATE meta_conversion_events SET status = 'SENT', sent_at = now(), fbtrace_id = 'AtraceAtrace', error_code = NULL",
    )
    async with visiting(db, service, shop) as browser:
        _, text = await get(browser, f"/tickets/{event['ticket_id']}")
    assert "Enviado e aceito" in text
    assert "AtraceAtrace" in text


async def test_ads_without_names_are_listed_with_their_reason(db: Database, service: str):
    shop = await make_shop(db)
    await put(
        db,
        "INSERT INTO meta_ad_lookups VALUES (%s, '120', 'no_access', 3, now(), now() + interval '1 hour')",
        shop.id,
    )
    async with visiting(db, service, shop) as browser:
        _, text = await get(browser, "/events/ads")
        assert "nenhum perfil conectado vê a conta dele" in text
        assert (await post(browser, "/events/ads/retry", ad="120"))[0] == 303


async def test_a_phrase_is_tried_before_it_is_switched_on(db: Database, service: str):
    shop = await make_shop(db)
    async with visiting(db, service, shop, "agent") as browser:
        assert (await get(browser, "/settings/conversions"))[0] == 403
    async with visiting(db, service, shop, "admin") as browser:
        status, text, _ = await post(browser, "/settings/conversions/sale", phrase="Fechou", step="try")
        assert (status, "Ligar com esta frase" in text) == (200, True)
        assert re.search(r"Qualificado</a></dt><dd>LeadSubmitted", text)
        assert await rows(db, "SELECT * FROM conversion_settings") == []
        assert 'name="tried" value="Fechou"' in text
        for tried in ("", "Outra"):  # the phrase was changed after the try, or never tried
            status, text, _ = await post(
                browser, "/settings/conversions/sale", phrase="Fechou", step="on", tried=tried
            )
            assert (status, "ainda não foi testada" in text, "Ligar com esta frase" in text) == (
                422,
                True,
                True,
            )
        assert await rows(db, "SELECT * FROM conversion_settings") == []
        on: dict[str, Any] = {"phrase": "Fechou", "step": "on", "tried": "Fechou"}
        assert (await post(browser, "/settings/conversions/sale", **on))[0] == 303
        status, text, _ = await post(browser, "/settings/conversions/sale", phrase="ab", step="on")
        assert (status, "Use pelo menos 3 letras." in text) == (422, True)
        assert (await post(browser, "/settings/conversions/test-code", dataset="77", code="TEST1"))[0] == 303
        assert (await post(browser, "/settings/conversions/test-code", dataset="x", code="?"))[0] == 422
        assert (await post(browser, "/settings/conversions/test-code", dataset="77", code=""))[0] == 303
    (rule,) = await rows(db, "SELECT sale_phrase, sale_phrase_on FROM conversion_settings")
    assert (rule["sale_phrase"], rule["sale_phrase_on"]) == ("Fechou", True)
    assert await rows(db, "SELECT * FROM dataset_test_codes") == []


@pytest.mark.parametrize(
    ("role", "event", "words"),
    [("qualified", "Purchase", "só uma etapa de ganho"), ("new", "ViewContent", "sem ninguém decidir")],
)
async def test_a_stages_event_is_refused_beside_its_field(
    db: Database, service: str, role: str, event: str, words: str
):
    shop = await make_shop(db)
    (stage,) = await rows(db, "SELECT * FROM stages WHERE role = %s", role)
    fields = {name: stage[name] for name in ("name", "group", "role", "probability", "color")}
    async with visiting(db, service, shop, "admin") as browser:
        _, text = await get(browser, f"/settings/stages/{stage['id']}")
        assert "Para que serve cada evento" in text
        status, text, _ = await post(
            browser, f"/settings/stages/{stage['id']}", **fields, event_name=event, seen=_mark(text)
        )
        assert (status, words in text) == (422, True)
        assert isinstance(stage["id"], UUID)


def _mark(text: str) -> str:
    return text.partition('name="seen" value="')[2].partition('"')[0]


def test_every_state_hold_outcome_and_event_has_its_words(db: Database):
    sql = (Path(whatrack.__file__).parent / "migrations/versions/0010_conversions.sql").read_text()
    holds = set(re.findall(r"'([a-z_]+)'", re.search(r"hold_reason IN \((.*?)\)", sql, re.DOTALL)[1]))  # type: ignore[index]
    outcomes = set(re.findall(r"'([a-z_]+)'", re.search(r"outcome IN \((.*?)\)", sql, re.DOTALL)[1]))  # type: ignore[index]
    reasons = set(re.findall(r"'([a-z_]+)'", re.search(r"reason IN \('not_an_ad'(.*?)\)", sql, re.DOTALL)[0]))  # type: ignore[index]

    assert set(event_words.STATUSES) == set(event_words.EXPLAINED) == set(rules.STATUSES)
    assert set(event_words.HOLDS) == holds
    assert set(event_words.OUTCOMES) == outcomes
    assert set(event_words.AD_REASONS) == reasons
    assert set(event_words.NOTES) == set(rules.EVENT_NAMES)
