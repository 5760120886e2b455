"""The operators' pages of deliveries over HTTP: what came, what failed and why, its body, and processing it again."""

import ast
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import whatrack
from tests.support import PHONE, Shop, ad, arrive, body, change, make_shop, message, process, rows
from tests.test_pages_tickets import get, post, visiting
from whatrack import flow
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.db import Database
from whatrack.inbox import replay, store
from whatrack.web.pages import deliveries
from whatrack.web.pages.deliveries import readable

HERE = "/deliveries"
NOT_LIVE = "777000777"


def operating(db: Database, service: str, shop: Shop) -> Any:
    return visiting(db, service, shop, "viewer")


async def make_operators(db: Database) -> None:
    async with db.system() as conn:
        await conn.execute("UPDATE users SET is_operator = true")


async def counts(db: Database) -> store.Counts:
    async with db.installation() as conn:
        return await store.counts(conn)


async def until_done(db: Database, browser: aiohttp.ClientSession) -> None:
    """Wait for the service's own loops."""
    for _ in range(200):
        if (await counts(db)).pending == 0:
            return
        await get(browser, "/healthz")


async def ids(db: Database) -> list[dict[str, Any]]:
    return await rows(db, "SELECT day, id FROM webhook_deliveries ORDER BY id")


@pytest.mark.parametrize("role", ["viewer", "owner"])
async def test_who_does_not_operate_the_installation_sees_no_delivery(db: Database, service: str, role: str):
    shop = await make_shop(db)
    await process(db, b"not json")
    (one,) = await ids(db)
    async with visiting(db, service, shop, role) as browser:
        asked = [
            await get(browser, HERE + path) for path in ("", "?state=failed", f"/{one['day']}/{one['id']}")
        ]
        sent = [
            await post(browser, HERE + path, state="failed")
            for path in ("/replay", f"/{one['day']}/{one['id']}/replay")
        ]

    assert {answer[0] for answer in [*asked, *sent]} == {403}
    assert (await counts(db)).failed == 1


async def test_each_state_has_its_list_its_count_and_the_reason_with_what_to_do(db: Database, service: str):
    shop = await make_shop(db)
    await process(db, b"not json", body(change(NOT_LIVE, message())), body(change(shop.number, message())))
    async with operating(db, service, shop) as browser:
        await make_operators(db)
        recent = (await get(browser, HERE))[1]
        failed = (await get(browser, f"{HERE}?state=failed"))[1]
        quarantined = (await get(browser, f"{HERE}?state=quarantined"))[1]
        pending = (await get(browser, f"{HERE}?state=pending"))[1]

    assert all(">1</span></a>" in text for text in (recent, failed, quarantined, pending))
    assert recent.count('href="/deliveries/20') == 3
    assert shop.number in recent
    assert NOT_LIVE in recent
    assert "Não é JSON" in failed
    assert "mantém o WhaTrack" in failed
    assert "Número não ativado" in quarantined
    assert "whatrack number add" in quarantined
    assert NOT_LIVE in quarantined
    assert "A fila está vazia." in pending
    assert "Reprocessar todas" in failed
    assert "Reprocessar todas" not in recent + pending


async def test_an_installation_where_nothing_came_says_so_in_each_list(db: Database, service: str):
    shop = await make_shop(db)
    said = {
        "recent": "Nenhuma entrega ainda.",
        "pending": "A fila está vazia.",
        "failed": "Nenhuma falha",
        "quarantined": "Nada em quarentena",
    }
    async with operating(db, service, shop) as browser:
        await make_operators(db)
        for state, words in said.items():
            status, text = await get(browser, f"{HERE}?state={state}")
            assert (status, words in text) == (200, True)
            assert "Reprocessar todas" not in text


@pytest.mark.parametrize("state", ["recent", "failed", "quarantined"])
async def test_long_lists_come_in_pages_and_show_each_delivery_once(db: Database, service: str, state: str):
    shop = await make_shop(db)
    bodies = {
        "recent": [body(change(shop.number, message())) for _ in range(120)],
        "failed": [b"not json"] * 120,
        "quarantined": [body(change(NOT_LIVE, message()))] * 120,
    }[state]
    await process(db, *bodies)
    seen: list[int] = []
    path: str | None = f"{HERE}?state={state}"
    async with operating(db, service, shop) as browser:
        await make_operators(db)
        while path:
            _, text = await get(browser, path)
            seen += [int(found) for found in re.findall(r'href="/deliveries/[\d-]+/(\d+)"', text)]
            found = re.search(r'href="([^"]*after=[^"]*)"[^>]*>Próximas', text)
            path = found[1].replace("&amp;", "&") if found else None

    assert seen == sorted((each["id"] for each in await ids(db)), reverse=True)


@pytest.mark.parametrize("query", ["state=done", "after=x", "after=1.%27", "state=failed&after=2026-13-45."])
async def test_an_address_that_makes_no_sense_is_no_bug(db: Database, service: str, query: str):
    shop = await make_shop(db)
    async with operating(db, service, shop) as browser:
        await make_operators(db)
        status, _ = await get(browser, f"{HERE}?{query}")

    assert status in (200, 422)


async def test_one_delivery_shows_its_body_as_text_and_what_is_wrong_with_it(db: Database, service: str):
    shop = await make_shop(db)
    script = "<script>alert(1)</script>"
    await process(db, body(change(NOT_LIVE, message(text=script)), change(shop.number, message())))
    (one,) = await ids(db)
    async with operating(db, service, shop) as browser:
        await make_operators(db)
        status, text = await get(browser, f"{HERE}/{one['day']}/{one['id']}")
        unknown = await get(browser, f"{HERE}/{one['day']}/{one['id'] + 1}")
        other_day = await get(browser, f"{HERE}/2020-01-01/{one['id']}")
        huge = await get(browser, f"{HERE}/{one['day']}/{10**30}")
        no_day = await get(browser, f"{HERE}/yesterday/{one['id']}")

    assert status == 200
    assert PHONE in text
    assert "&#34;object&#34;: &#34;whatsapp_business_account&#34;" in text
    assert script not in text
    assert "&lt;script&gt;" in text
    assert "Em quarentena" in text
    assert "no live number 777000777" in text
    assert [answer[0] for answer in (unknown, other_day, huge, no_day)] == [404, 404, 404, 422]


async def test_a_delivery_that_is_done_says_so(db: Database, service: str):
    shop = await make_shop(db)
    await process(db, body(change(shop.number, message())))
    (one,) = await ids(db)
    async with operating(db, service, shop) as browser:
        await make_operators(db)
        _, text = await get(browser, f"{HERE}/{one['day']}/{one['id']}")

    assert "Processada" in text


async def test_one_is_processed_again_and_the_page_says_how_many_were_queued(db: Database, service: str):
    shop = await make_shop(db)
    await process(db, body(change(NOT_LIVE, message(referral=ad()))))
    (one,) = await ids(db)
    async with operating(db, service, shop) as browser:
        await make_operators(db)
        path = f"{HERE}/{one['day']}/{one['id']}"
        async with db.system() as conn:  # live, but nobody told the quarantine
            await conn.execute(
                "INSERT INTO number_routes SELECT %s, waba_id, organization_id, partition FROM number_routes",
                [NOT_LIVE],
            )
        status, _, headers = await post(browser, f"{path}/replay")
        _, text = await get(browser, headers["location"])
        await until_done(db, browser)

    assert (status, headers["location"]) == (303, path)
    assert re.search(r"1 entrega foi para a fila|Nada a reprocessar", text)  # or the quarantine was quicker
    assert len(await rows(db, "SELECT FROM tickets")) == 1
    assert (await counts(db)).quarantined == 0


@pytest.mark.parametrize("state", ["failed", "quarantined"])
async def test_all_of_a_state_are_processed_again(db: Database, service: str, state: str):
    shop = await make_shop(db)
    await process(db, b"not json", b"nor this", body(change(NOT_LIVE, message())))
    expected = {"failed": 2, "quarantined": 1}[state]
    async with operating(db, service, shop) as browser:
        await make_operators(db)
        status, _, headers = await post(browser, f"{HERE}/replay", state=state)
        _, text = await get(browser, headers["location"])
        await until_done(db, browser)
        nonsense = await post(browser, f"{HERE}/replay", state="done")

    assert (status, headers["location"]) == (303, f"{HERE}?state={state}")
    assert re.search(rf"{expected} entregas? fo", text)
    assert nonsense[0] == 303
    attempts = await rows(db, "SELECT state, attempts FROM delivery_exceptions WHERE state = %s", state)
    assert {row["attempts"] for row in attempts} == {2}


async def test_what_waits_already_is_not_queued_twice(db: Database):
    await process(db, b"not json")
    (one,) = await ids(db)
    async with db.installation() as conn:
        found = [await replay.replay_one(conn, one["day"], one["id"]) for _ in range(2)]

    assert found == [1, 0]


async def test_a_number_that_goes_live_takes_its_quarantine_off_the_list(db: Database, service: str):
    shop = await make_shop(db)
    await process(db, body(change(NOT_LIVE, message())))
    await flow.register_number(db, WhatsappNumber(shop.id, NOT_LIVE, "1", "+55 11 3555-0300"))
    async with operating(db, service, shop) as browser:
        await make_operators(db)
        await until_done(db, browser)
        _, text = await get(browser, f"{HERE}?state=quarantined")

    assert "Nada em quarentena" in text


async def test_what_waits_is_listed_with_where_it_came_from(db: Database, service: str):
    shop = await make_shop(db)
    async with operating(db, service, shop) as browser:
        await make_operators(db)
        async with db.installation() as lock:  # the drain and the router find their partitions taken
            for partition in range(-1, 64):
                await lock.execute("SELECT pg_advisory_xact_lock(%s, %s)", [0x7761, partition])
            await arrive(db, body(change(shop.number, message())))
            _, text = await get(browser, f"{HERE}?state=pending")

    assert "Chegou agora" in text
    assert shop.number in text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        pytest.param(b'{"a":[1]}', '{\n  "a": [\n    1\n  ]\n}', id="JSON"),
        pytest.param('{"a":"é"}'.encode(), '{\n  "a": "é"\n}', id="letters"),
        pytest.param(b"not json", "not json", id="text"),
        pytest.param(b"\xff\xfe", "\ufffd\ufffd", id="bytes"),
        pytest.param(b'"\\ud83d"', '"?"', id="lone surrogate"),
        pytest.param(b"a\x00b\x1b[0m", "a\ufffdb\ufffd[0m", id="control characters"),
        pytest.param(b"[" * 100_000, "[" * (deliveries.SHOWN + 1), id="deep"),
    ],
)
def test_a_body_is_shown_as_text_whatever_it_is(raw: bytes, shown: str):
    assert readable(raw).replace("\ufffd", "?") == shown.replace("\ufffd", "?")


async def test_a_large_body_is_cut(db: Database, service: str):
    shop = await make_shop(db)
    await process(db, body(change(shop.number, message(text="x" * 100_000))))
    (one,) = await ids(db)
    async with operating(db, service, shop) as browser:
        await make_operators(db)
        _, text = await get(browser, f"{HERE}/{one['day']}/{one['id']}")
        _, listed = await get(browser, HERE)

    assert "Só o começo" in text
    assert len(text) < 200_000
    assert f"#{one['id']}" in listed


def test_every_reason_that_the_inbox_gives_has_its_words():
    inbox = Path(whatrack.__file__).parent / "inbox"
    given = {"unknown_number", "unknown_waba", "refused_by_database", "intake", "released", "replay"}
    for path in (inbox / "reading.py", inbox / "routing.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith((".fail", "Failure")):
                found = [each.value for each in ast.walk(call) if isinstance(each, ast.Constant)]
                given |= {
                    text for text in found if isinstance(text, str) and re.fullmatch(r"[a-z]+_[a-z_]+", text)
                }

    assert given >= {"bad_message", "no_sender", "not_json", "no_number"}
    assert given <= set(deliveries.REASONS)
