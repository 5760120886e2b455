"""Processing again changes nothing: one delivery, a range, all that failed, everything twice, also while new ones come in."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support import (
    NOON,
    PAYLOADS,
    ad,
    arrive,
    body,
    change,
    drain,
    make_shop,
    message,
    phone_number_id,
    process,
    published,
    rows,
)
from tests.test_intake import api, http, listed, operator_key, serving
from whatrack import flow
from whatrack.db import Database
from whatrack.inbox import replay
from whatrack.tenants import api_keys
from whatrack.tickets.moves import Change
from whatrack.tickets.stages import Stage, find_stage

PATH = "/api/v1/deliveries/replay"
WITHOUT_CHANGE = (
    b"{}",
    b'{"entry":[]}',
    b'{"entry":[{"id":"1","changes":[]}]}',
    b'{"entry":[],"note":"\\u0000"}',
)
# Everything a delivery may change, and nothing that says when or how often it was processed.
STORY = {
    "tickets": """SELECT t.*, k.* FROM tickets t JOIN ticket_tracking k ON k.organization_id = t.organization_id
                  AND k.ticket_id = t.id ORDER BY t.id""",
    "touches": "SELECT * FROM meta_attribution_history ORDER BY id",
    "moves": "SELECT * FROM ticket_stage_changes ORDER BY id",
    "contacts": "SELECT * FROM contacts ORDER BY id",
    "identities": "SELECT * FROM contact_identities ORDER BY organization_id, key",
    "terms": """SELECT w.* FROM contact_terms w JOIN contacts c ON c.organization_id = w.organization_id
                AND c.id = w.contact_id ORDER BY w.organization_id, w.term, w.contact_id""",
    "messages": """SELECT organization_id, wamid, sent_at, phone_number_id, contact_id, ticket_id, origin, type, body, raw::text
                   FROM messages ORDER BY organization_id, wamid, sent_at""",
    "statuses": "SELECT * FROM number_day_counters ORDER BY organization_id, phone_number_id, day, status",
    "events": "SELECT organization_id, digest, field, value::text FROM webhook_events ORDER BY organization_id, digest",
    "exceptions": "SELECT id, route, state, reason FROM delivery_exceptions ORDER BY id, route",
}


@pytest.fixture
async def base(db: Database, conninfo: str) -> AsyncIterator[str]:
    """The service without its loops: these tests drain by themselves."""
    async with serving(conninfo, workers=False) as url:
        yield url


async def story(db: Database) -> dict[str, list[dict[str, Any]]]:
    return {name: await rows(db, query) for name, query in STORY.items()}


async def ids(db: Database) -> list[int]:
    return [row["id"] for row in await rows(db, "SELECT id FROM webhook_deliveries ORDER BY id")]


async def replay_all(db: Database) -> int:
    async with db.installation() as conn:
        return await replay.replay_ids(conn, await ids(db))


def status(kind: str, wamid: str) -> dict[str, Any]:
    return {
        "id": wamid,
        "status": kind,
        "timestamp": str(int(NOON.timestamp())),
        "recipient_id": "5511900000001",
    }


def stream(numbers: list[str], *, seed: int, size: int = 120, merging: bool = True) -> list[bytes]:
    """Bodies as a busy month brings them: ads, posts, late and repeated messages, statuses, and people with two ids.

    merging: some are known by one id first and by the other later, some change their number, and tickets expire.
    """
    chance = random.Random(seed)
    texts = []
    for place in range(size):
        number, person = chance.choice(numbers), chance.randrange(12)
        at = NOON - timedelta(minutes=chance.randrange(60 * 24 * (45 if merging else 20)))
        post = {"source_type": "post", "source_id": "7"}
        referral = chance.choice([None, None, ad(str(person + 1), f"clid-{place}"), post])
        phone = chance.choice(
            [f"551196{person:06}", f"5511996{person:06}"]
        )  # with and without the ninth digit
        wa_id, user_id = chance.choice([(phone, None), (phone, f"BR.{person}"), (None, f"BR.{person}")])
        if not merging:
            wa_id, user_id = phone, None
        sent = message(wa_id, at=at, referral=referral, user_id=user_id, wamid=f"wamid.{seed}.{place}")
        parts = [change(number, sent)]
        if chance.random() < 0.4:
            seen = status(chance.choice(["sent", "read"]), f"s{place}")
            parts.append(change(chance.choice(numbers), statuses=[seen]))
        if merging and chance.random() < 0.1:
            system = {"wa_id": f"5511997{place:06}", "type": "user_changed_number"}
            parts.append(change(number, message(phone, at=at, type="system", system=system)))
        texts.append(body(*parts))
    return texts + chance.sample(texts, size // 10)


async def test_replaying_everything_twice_changes_nothing(db: Database):
    shop, other = await make_shop(db, "loja"), await make_shop(db, "outra")
    unknown = phone_number_id()
    names = sorted(path.stem for path in PAYLOADS.glob("*.json"))
    await process(
        db,
        *(published(name, shop.number) for name in names),
        *stream([shop.number, other.number, unknown], seed=1),
        b"not json",
        body(
            {
                "field": "messages",
                "value": {"metadata": {"phone_number_id": shop.number}, "messages": ["x", message()]},
            }
        ),
    )
    before = await story(db)
    attempts = await rows(db, "SELECT id, route, attempts FROM delivery_exceptions ORDER BY id, route")

    for _ in range(2):
        assert await replay_all(db) > len(names)
        await drain(db, limit=37)

    assert len(before["tickets"]) > 10
    assert await story(db) == before
    after = await rows(db, "SELECT id, route, attempts FROM delivery_exceptions ORDER BY id, route")
    assert [{**row, "attempts": row["attempts"] + 2} for row in attempts] == after


async def test_a_replay_undoes_no_persons_move(db: Database):
    shop = await make_shop(db)
    await process(
        db,
        *(
            body(change(shop.number, message(f"55119000000{n:02}", referral=ad(str(n + 1)))))
            for n in range(4)
        ),
    )
    found = await rows(db, "SELECT id FROM tickets ORDER BY id")

    def to(stage: str) -> Any:
        def choose(stages: list[Stage]) -> Change:
            return Change(stage=find_stage(stages, stage))

        return choose

    async with db.tenant(shop.id) as conn:
        for row, stage in zip(found, ("Qualificado", "Proposta", "Perdido"), strict=False):
            await flow.move_ticket(conn, shop.id, row["id"], to(stage), actor="test")
    before = await story(db)

    await replay_all(db)
    await drain(db)

    assert {row["status"] for row in before["tickets"]} == {"open", "closed"}
    assert await story(db) == before


async def test_one_delivery_is_replayed_by_its_id(db: Database, base: str):
    shop = await make_shop(db)
    key = await operator_key(db)
    await process(db, *(body(change(shop.number, message(f"55119000000{n:02}"))) for n in range(3)))
    before = await story(db)
    wanted = (await ids(db))[1]

    answer = await api(base, key, "POST", PATH, json={"ids": [wanted]})
    waiting = await listed(base, key, "pending")
    again = await api(base, key, "POST", PATH, json={"ids": [wanted, wanted, 10**18]})
    await drain(db)

    assert (answer, again) == ({"queued": 1}, {"queued": 0})
    assert [int(row["id"]) for row in waiting] == [wanted]
    assert await story(db) == before


async def test_a_range_takes_what_arrived_from_its_start_until_before_its_end(db: Database, base: str):
    shop = await make_shop(db)
    key = await operator_key(db)
    await process(db, *(body(change(shop.number, message(f"55119000000{n:02}"))) for n in range(5)))
    before = await story(db)
    async with db.installation() as conn:
        for place, delivery_id in enumerate(await ids(db)):
            await conn.execute(
                "UPDATE webhook_deliveries SET received_at = %s WHERE id = %s",
                [(await now(db)).replace(microsecond=0) - timedelta(seconds=10 - place), delivery_id],
            )
    arrived = [
        row["received_at"] for row in await rows(db, "SELECT received_at FROM webhook_deliveries ORDER BY id")
    ]

    answer = await api(
        base, key, "POST", PATH, json={"since": arrived[1].isoformat(), "until": arrived[3].isoformat()}
    )
    waiting = await listed(base, key, "pending")
    await drain(db)

    assert answer == {"queued": 2}
    assert sorted(int(row["id"]) for row in waiting) == (await ids(db))[1:3]
    assert await story(db) == before


async def now(db: Database) -> datetime:
    (found,) = await rows(db, "SELECT now() AS now")
    moment: datetime = found["now"]
    return moment


async def test_all_failed_are_replayed_and_their_attempts_counted(db: Database, base: str):
    shop = await make_shop(db)
    key = await operator_key(db)
    bad = {
        "field": "messages",
        "value": {"metadata": {"phone_number_id": shop.number}, "messages": ["x", message()]},
    }
    await process(db, b"not json", b"[]", body(bad), body(change(shop.number, message("5511900000009"))))
    before = await story(db)

    for attempt in (2, 3):
        answer = await api(base, key, "POST", PATH, json={"state": "failed"})
        await drain(db)

        failed = await listed(base, key)
        assert answer == {"queued": 3}
        assert {(row["reason"], row["attempts"]) for row in failed} == {
            ("not_json", attempt),
            ("not_a_webhook", attempt),
            ("bad_message", attempt),
        }
        assert all(row["first_at"] < row["last_at"] for row in failed)
        assert await story(db) == before


async def test_replaying_the_quarantined_before_their_number_is_live_counts_the_attempt(
    db: Database, base: str
):
    number = phone_number_id()
    key = await operator_key(db)
    await process(db, body(change(number, message(), statuses=[status("sent", "s")])))

    answer = await api(base, key, "POST", PATH, json={"state": "quarantined"})
    await drain(db)
    (row,) = await listed(base, key, "quarantined")
    shop = await make_shop(db, number=number)
    await drain(db)

    assert answer == {"queued": 1}
    assert (row["route"], row["attempts"]) == (number, 2)
    assert [ticket["organization_id"] for ticket in (await story(db))["tickets"]] == [shop.id]
    assert [row["count"] for row in (await story(db))["statuses"]] == [1]


async def test_a_replay_follows_todays_numbers(db: Database):
    first, second = phone_number_id(), phone_number_id()
    await make_shop(db, "loja", number=first)
    await process(db, body(change(first, message("5511900000001")), change(second, message("5511900000002"))))
    async with db.installation() as conn:
        await conn.execute("DELETE FROM delivery_exceptions")  # its time was over
    late = await make_shop(db, "outra", number=second)

    await replay_all(db)
    await drain(db)

    found = await rows(db, "SELECT organization_id, phone_number_id FROM tickets ORDER BY phone_number_id")
    assert [(row["phone_number_id"]) for row in found] == [first, second]
    assert found[1]["organization_id"] == late.id


async def test_a_replay_in_another_order_beside_new_deliveries_ends_as_if_there_had_been_none(
    db: Database, conninfo: str
):
    shop = await make_shop(db)
    old, new = (stream([shop.number], seed=seed, size=80, merging=False) for seed in (2, 3))
    await process(db, *old, *new)
    expected = comparable(await story(db))
    async with db.system() as conn:
        await conn.execute(
            "TRUNCATE contacts, contact_identities, ticket_tracking, meta_attribution_history, messages, webhook_deliveries,"
            " delivery_queue, number_day_counters CASCADE"
        )

    await process(db, *old)
    other = Database(conninfo)
    await other.open()

    async def replays() -> None:
        known = await ids(db)
        for start in range(0, len(known), 10):
            async with other.installation() as conn:
                await replay.replay_ids(conn, known[start : start + 10])
            await drain(other, limit=7)

    async def arrivals() -> None:
        for start in range(0, len(new), 10):
            await arrive(db, *new[start : start + 10])
            await drain(db, limit=3)

    await asyncio.gather(replays(), arrivals())
    await drain(db)
    await other.close()

    assert comparable(await story(db)) == expected


def comparable(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    """The story without the ids and moments that two runs cannot share."""
    ours = {"id", "contact_id", "ticket_id", "merged_into", "created_at", "updated_at", "changed_at"}
    return {
        name: sorted(
            json.dumps(
                {key: value for key, value in row.items() if key not in ours}, default=str, sort_keys=True
            )
            for row in entries
        )
        for name, entries in found.items()
    }


async def test_a_replay_names_exactly_one_way_and_needs_the_operators_key(db: Database, base: str):
    shop = await make_shop(db)
    operator = await operator_key(db)
    async with db.installation() as conn:
        _, key = await api_keys.create(conn, shop.id, "owner")
    requests: list[tuple[dict[str, str], Any, int]] = [
        ({}, {"state": "failed"}, 401),
        ({"authorization": "Bearer wt_made-up"}, {"state": "failed"}, 401),
        ({"authorization": f"Bearer {key}"}, {"state": "failed"}, 403),
        (operator, {}, 422),
        (operator, {"ids": []}, 422),
        (operator, {"ids": [0]}, 422),
        (operator, {"ids": [2**63]}, 422),
        (operator, {"ids": ["1; DROP TABLE tickets"]}, 422),
        (operator, {"ids": [1], "state": "failed"}, 422),
        (operator, {"since": "2026-01-01T00:00:00Z"}, 422),
        (operator, {"since": "2026-01-01T00:00:00", "until": "2026-01-02T00:00:00"}, 422),
        (operator, {"state": "pending"}, 422),
        (operator, {"state": "failed", "all": True}, 422),
        (operator, {"state": "failed"}, 202),
        (operator, {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, 422),
        (operator, {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}, 202),
    ]

    async with http(base) as client:
        answers = []
        for headers, wanted, _ in requests:
            async with client.post(PATH, json=wanted, headers=headers) as response:
                answers.append(response.status)

    assert answers == [status for _, _, status in requests]


async def test_what_needed_nothing_needs_nothing_when_it_is_replayed(db: Database):
    await arrive(db, *WITHOUT_CHANGE)
    async with db.installation() as conn:
        await replay.replay_range(conn, NOON - timedelta(days=9999), NOON + timedelta(days=9999))
    await drain(db)

    assert await rows(db, "SELECT reason FROM delivery_exceptions") == []
