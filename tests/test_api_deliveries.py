"""/api/v1/deliveries over HTTP: the operator sees what waits, failed or is quarantined, and has it processed again."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from tests.support import APP_SECRET, PHONE, TEXT, body, change, drain, make_shop, message, process, rows
from tests.support import tickets as all_tickets
from tests.test_api_tickets import Answer, Api, api_of, key_of
from tests.test_api_tickets import web as web  # a fixture
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.db import Database
from whatrack.flow import register_number
from whatrack.inbox import intake
from whatrack.inbox.signature import sign

DELIVERIES = "/api/v1/deliveries"
NOT_LIVE = "777000777"


async def operator_of(web: aiohttp.ClientSession, db: Database) -> Api:
    return Api(web, await key_of(db, None, "operator"))


async def replay(operator: Api, **what: Any) -> Answer:
    return await operator("POST", f"{DELIVERIES}/replay", json=what)


async def counted(operator: Api, **wanted: int) -> dict[str, int]:
    """The counts of all states, once those named are as wanted; or as they are after a few seconds."""
    async with asyncio.timeout(10):
        while True:
            counts: dict[str, int] = (await operator.get(DELIVERIES)).json["counts"]
            if counts["pending"] == 0 and counts.items() >= wanted.items():
                return counts
            await asyncio.sleep(0.05)


async def test_an_organizations_key_of_any_role_sees_no_delivery(web: aiohttp.ClientSession, db: Database):
    shop = await make_shop(db)
    await process(db, b"not json", body(change(NOT_LIVE, message())))

    for role in ("viewer", "agent", "admin", "owner"):
        api = await api_of(web, db, shop, role)
        answers = [await api.get(DELIVERIES), await replay(api, state="failed"), await replay(api, ids=[1])]
        assert [(answer.status, answer.code) for answer in answers] == [(403, "forbidden")] * 3
    assert await rows(db, "SELECT FROM delivery_queue") == []


async def test_the_operator_sees_what_failed_and_what_is_quarantined_without_its_words(
    web: aiohttp.ClientSession, db: Database
):
    operator = await operator_of(web, db)
    shop = await make_shop(db)
    texts = [
        f"not json, {TEXT} {PHONE}".encode(),
        body(change(NOT_LIVE, message())),
        body(change(shop.number, message())),
    ]
    for text in texts:
        headers = {"X-Hub-Signature-256": sign(text, APP_SECRET.encode())}
        assert (await operator("POST", intake.PATH, data=text, headers=headers)).status == 200
    counts = await counted(operator, failed=1, quarantined=1)

    answers = {
        state: await operator.get(DELIVERIES, state=state) for state in ("failed", "quarantined", "pending")
    }

    assert set(counts) == {"pending", "done", "failed", "quarantined"}
    assert len(await all_tickets(db)) == 1
    assert all(set(answer.json) == {"data", "next", "counts"} for answer in answers.values())
    (failed,), (quarantined,) = (answers[state].json["data"] for state in ("failed", "quarantined"))
    assert set(failed) == set(quarantined) == {
        "id", "route", "state", "reason", "detail", "attempts", "received_at", "first_at", "last_at", "bytes",
    }  # fmt: skip
    assert (failed["state"], failed["reason"], failed["attempts"], failed["bytes"]) == (
        "failed",
        "not_json",
        1,
        len(texts[0]),
    )
    assert (quarantined["state"], quarantined["route"]) == ("quarantined", NOT_LIVE)
    assert answers["pending"].json["data"] == []
    assert (await operator.get(DELIVERIES)).json["data"] == [failed]
    assert all(failed[name].endswith("Z") for name in ("received_at", "first_at", "last_at"))
    for answer in answers.values():
        assert TEXT.encode() not in answer.raw
        assert PHONE.encode() not in answer.raw


async def test_deliveries_page_from_the_newest_on_without_a_gap(web: aiohttp.ClientSession, db: Database):
    operator = await operator_of(web, db)
    await process(db, *(b"not json %d" % place for place in range(23)))

    seen: list[int] = []
    cursor: dict[str, str] = {}
    while cursor or not seen:
        page = (await operator.get(DELIVERIES, state="failed", limit=5, **cursor)).json
        seen += [each["id"] for each in page["data"]]
        cursor = {"cursor": page["next"]} if page["next"] else {}

    assert seen == sorted(
        {row["id"] for row in await rows(db, "SELECT id FROM delivery_exceptions")}, reverse=True
    )
    assert len(seen) == 23


async def test_a_replay_by_id_by_range_or_of_a_state_leaves_the_same_tickets(
    web: aiohttp.ClientSession, db: Database
):
    operator = await operator_of(web, db)
    shop = await make_shop(db)
    await process(
        db, body(change(shop.number, message())), body(change(shop.number, message("5511900000002"))), b"x"
    )
    before = await all_tickets(db)
    ids = [row["id"] for row in await rows(db, "SELECT id FROM webhook_deliveries ORDER BY id")]
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    far = {"since": "0001-01-01T00:00:00+14:00", "until": "9999-12-31T23:59:59-14:00"}
    ways: list[tuple[dict[str, Any], int]] = [
        ({"ids": ids[:1]}, 1), ({"ids": [2**63 - 1]}, 0), ({"since": str(now - hour), "until": str(now + hour)}, 3), (far, 3),
        ({"state": "failed"}, 1), ({"state": "quarantined"}, 0),
    ]  # fmt: skip

    queued = []
    for way, _ in ways:
        answer = await replay(operator, **way)
        assert (answer.status, set(answer.json)) == (202, {"queued"})
        queued.append(answer.json["queued"])
        await drain(db)

    assert queued == [count for _, count in ways]
    assert (await replay(operator, since=str(now + hour), until=str(now - hour))).status == 422
    assert await all_tickets(db) == before
    (failed,) = (await operator.get(DELIVERIES, state="failed")).json["data"]
    assert failed["attempts"] == 4


async def test_what_was_quarantined_is_processed_once_its_number_is_live(
    web: aiohttp.ClientSession, db: Database
):
    operator = await operator_of(web, db)
    await process(db, body(change(NOT_LIVE, message())))
    early = await replay(operator, state="quarantined")
    await counted(operator, quarantined=1)
    shop = await make_shop(db)

    await register_number(db, WhatsappNumber(shop.id, NOT_LIVE, "1", "+55 11 3555-0101"))
    counts = await counted(operator, quarantined=0)

    assert early.json == {"queued": 1}
    assert (counts["failed"], len(await all_tickets(db))) == (0, 1)


async def test_a_replay_that_cannot_be_read_is_refused_and_queues_nothing(
    web: aiohttp.ClientSession, db: Database
):
    operator = await operator_of(web, db)
    await process(db, b"x")
    since, until = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    cases: list[tuple[Any, str]] = [
        ({}, "body"), ([], "body"), ("failed", "body"), ({"ids": [1], "state": "failed"}, "body"), ({"since": since}, "body"),
        ({"until": until}, "body"), ({"since": since, "until": until, "ids": [1]}, "body"), ({"ids": []}, "ids"),
        ({"ids": 1}, "ids"), ({"ids": [0]}, "ids.0"), ({"ids": [2**63]}, "ids.0"), ({"ids": [1, "x"]}, "ids.1"),
        ({"ids": [1] * 10_001}, "ids"), ({"state": "done"}, "state"), ({"state": "pending"}, "state"),
        ({"since": since, "until": "2026-01-02T00:00:00"}, "until"), ({"since": "x", "until": until}, "since"),
        ({"all": True}, "all"),
    ]  # fmt: skip

    answers = [await operator("POST", f"{DELIVERIES}/replay", json=json) for json, _ in cases]

    assert [(answer.status, answer.fields) for answer in answers] == [(422, [field]) for _, field in cases]
    assert await rows(db, "SELECT FROM delivery_queue") == []


async def test_a_list_of_deliveries_that_cannot_be_read_is_refused_by_its_field(
    web: aiohttp.ClientSession, db: Database
):
    operator = await operator_of(web, db)
    refused = [("state", "done"), ("state", ""), ("state", "x" * 10_000), ("limit", "0"), ("limit", "201"), ("cursor", "0"),
               ("cursor", "x"), ("cursor", "-1"), ("cursor", str(2**63)), ("cursor", "\x00")]  # fmt: skip

    answers = [await operator.get(DELIVERIES, **{name: value}) for name, value in refused]

    assert [(answer.status, answer.fields) for answer in answers] == [(422, [name]) for name, _ in refused]
