"""What cannot be processed yet: quarantined until its number is live, or failed until it is mended; listed, kept, and never in the way."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import (
    NOON,
    PHONE,
    TEXT,
    WABA,
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
    tickets,
)
from tests.test_days import logged
from tests.test_intake import api, eventually, listed, operator_key, post, serving
from whatrack import flow
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.contacts.messages import Months
from whatrack.db import Database
from whatrack.inbox import claim, exceptions, replay, routes, routing, store
from whatrack.tenants.organizations import Organization
from whatrack.units import new_id

DISPLAY = "+55 11 3555-0100"


@pytest.fixture
async def base(db: Database, conninfo: str) -> AsyncIterator[str]:
    """The service without its loops: these tests route, drain and prune by themselves."""
    async with serving(conninfo, workers=False) as url:
        yield url


async def exception_rows(db: Database) -> list[dict[str, Any]]:
    return await rows(
        db, "SELECT id, route, state, reason, attempts FROM delivery_exceptions ORDER BY id, route"
    )


async def summary(db: Database) -> list[tuple[str, str, str, int]]:
    """Each exception's route, state, reason and attempts, in order of arrival."""
    return [(row["route"], row["state"], row["reason"], row["attempts"]) for row in await exception_rows(db)]


async def counted(db: Database) -> dict[str, int]:
    """How many statuses of each kind were counted."""
    found = await rows(db, "SELECT status, sum(count)::int AS count FROM number_day_counters GROUP BY status")
    return {row["status"]: row["count"] for row in found}


def status(kind: str = "sent", **more: Any) -> dict[str, Any]:
    return {"id": "wamid.s", "status": kind, "timestamp": str(int(NOON.timestamp())), **more}


async def organization(db: Database, slug: str, place: int) -> Organization:
    """An organization whose partition is known: organizations that share one, and such that do not."""
    key = new_id()
    wanted = Organization(id=type(key)(int=key.int - key.int % 64 + place), name=slug.title(), slug=slug)
    return await flow.open_organization(db, wanted)


async def go_live(db: Database, owner: Organization, number: str, waba: str = WABA) -> int:
    return await flow.register_number(db, WhatsappNumber(owner.id, number, waba, DISPLAY))


# Quarantine


async def test_an_unknown_number_is_quarantined_and_released_when_it_goes_live(db: Database, base: str):
    number = phone_number_id()
    key = await operator_key(db)
    texts = [body(change(number, message(f"55119000000{place:02}", referral=ad()))) for place in range(3)]

    for text in texts:
        await post(base, text)
    await drain(db)
    quarantined = await listed(base, key, "quarantined")
    before = await tickets(db)
    released = await go_live(db, await organization(db, "loja", 7), number)
    await drain(db)

    assert [(each["route"], each["reason"], each["attempts"]) for each in quarantined] == [
        (number, "unknown_number", 1)
    ] * 3
    assert number in quarantined[0]["detail"]
    assert (before, released) == ([], 3)
    assert [ticket["meta_ad_id"] for ticket in await tickets(db)] == ["120226305854810726"] * 3
    assert await exception_rows(db) == []
    assert await listed(base, key, "quarantined") == []


async def test_nothing_of_a_quarantined_number_goes_to_anyone_else(db: Database):
    shop = await make_shop(db)

    await process(db, body(change(phone_number_id(), message()), waba=WABA))

    assert await tickets(db) == []
    assert await rows(db, "SELECT 1 FROM messages UNION ALL SELECT 1 FROM webhook_events") == []
    assert shop.number not in {row["route"] for row in await exception_rows(db)}


async def test_a_number_that_goes_live_between_arrival_and_routing_is_not_quarantined(
    db: Database, base: str
):
    number = phone_number_id()
    owner = await organization(db, "loja", 7)

    await post(base, body(change(number, message())))  # it has not heard of the number
    released = await go_live(db, owner, number)
    await drain(db)

    assert released == 0
    assert len(await tickets(db)) == 1
    assert await exception_rows(db) == []


async def test_a_number_that_goes_live_while_its_delivery_is_being_quarantined_is_released_by_the_next_round(
    db: Database,
):
    number = phone_number_id()
    owner = await organization(db, "loja", 7)
    await arrive(db, body(change(number, message())))

    async with db.system() as conn:
        claimed = await claim.claim(conn, 10, unrouted=True)
        moved, failed = await routing.route(conn, claimed)  # it looks, and finds nobody
        released = await go_live(db, owner, number)
        await claim.settle(conn, claimed, moved=moved, failed=failed)
    assert await summary(db) == [(number, "quarantined", "unknown_number", 1)]
    await drain(db)

    assert released == 0
    assert len(await tickets(db)) == 1
    assert await exception_rows(db) == []


async def test_a_change_of_an_unknown_waba_is_quarantined_and_released_with_one_of_its_numbers(db: Database):
    account_update = published("docs_account_update__partner_app_installed")
    waba = json.loads(account_update)["entry"][0]["id"]
    await process(db, account_update)
    quarantined = await summary(db)

    released = await go_live(db, await organization(db, "loja", 7), phone_number_id(), waba)
    await drain(db)

    assert quarantined == [(f"waba:{waba}", "quarantined", "unknown_waba", 1)]
    assert released == 1
    kept = await rows(db, "SELECT waba_id FROM webhook_events")
    assert [row["waba_id"] for row in kept] == [waba]
    assert await exception_rows(db) == []


async def test_a_change_of_a_waba_reaches_every_organization_with_one_of_its_numbers(db: Database):
    owners = [await organization(db, f"loja-{n}", place) for n, place in enumerate((5, 5, 6))]
    for owner in owners:
        await go_live(db, owner, phone_number_id())
    stranger = await organization(db, "outra", 5)
    await go_live(db, stranger, phone_number_id(), "999")
    entry = {"id": WABA, "time": 1, "changes": [{"field": "account_update", "value": {"event": "X"}}]}

    await process(db, json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode())

    kept = await rows(db, "SELECT organization_id FROM webhook_events")
    assert sorted(row["organization_id"] for row in kept) == sorted(owner.id for owner in owners)


async def test_two_organizations_in_one_body_each_get_only_their_part(db: Database, base: str):
    for places in ((5, 5), (6, 7)):
        owners = [await organization(db, f"loja-{places[0]}-{n}", place) for n, place in enumerate(places)]
        numbers = [phone_number_id(), phone_number_id()]
        for owner, number in zip(owners, numbers, strict=True):
            await go_live(db, owner, number)
        parts = [
            change(
                number,
                message(f"551190000000{n}", text=f"{TEXT} {n}"),
                statuses=[status("sent"), status("read")][: n + 1],
            )
            for n, number in enumerate(numbers)
        ]

        await post(base, body(*parts))
        await drain(db)

        found = await rows(
            db,
            "SELECT organization_id, phone_number_id, body FROM messages WHERE organization_id = ANY(%s) ORDER BY body",
            [owner.id for owner in owners],
        )
        assert [(row["organization_id"], row["phone_number_id"], row["body"]) for row in found] == [
            (owner.id, number, f"{TEXT} {n}")
            for n, (owner, number) in enumerate(zip(owners, numbers, strict=True))
        ]
        counts = await rows(
            db,
            "SELECT phone_number_id, status, count FROM number_day_counters WHERE organization_id = ANY(%s) ORDER BY 1, 2",
            [owner.id for owner in owners],
        )
        assert sorted((row["phone_number_id"], row["status"], row["count"]) for row in counts) == sorted(
            [(numbers[0], "sent", 1), (numbers[1], "read", 1), (numbers[1], "sent", 1)]
        )


async def test_a_half_known_body_is_half_processed_and_the_rest_follows_once(db: Database, base: str):
    known = await make_shop(db)
    number = phone_number_id()
    text = body(
        change(known.number, message("5511900000001"), statuses=[status()]),
        change(number, message("5511900000002"), statuses=[status()]),
    )

    await post(base, text)
    await drain(db)
    first = (len(await tickets(db)), await counted(db), await summary(db))
    await go_live(db, await organization(db, "outra", 7), number)
    await drain(db)

    assert first == (1, {"sent": 1}, [(number, "quarantined", "unknown_number", 1)])
    assert (len(await tickets(db)), await counted(db), await summary(db)) == (2, {"sent": 2}, [])


async def test_a_release_beside_a_running_drain_counts_no_status_twice(db: Database):
    number = phone_number_id()
    await process(db, body(change(number, message(), statuses=[status()])))
    await go_live(db, await organization(db, "loja", 7), number)

    async with db.installation() as brake:
        await brake.execute(
            "LOCK TABLE delivery_counters IN EXCLUSIVE MODE"
        )  # the drain stops before its commit
        draining = asyncio.create_task(flow.message_in(db, Months(db), 500))
        await waits(db, "delivery_counters")
        releasing = asyncio.create_task(flow.route_in(db, 500))
        await asyncio.sleep(0.2)
    await asyncio.gather(draining, releasing)
    await drain(db)

    assert await counted(db) == {"sent": 1}
    assert await exception_rows(db) == []


async def waits(db: Database, what: str) -> None:
    """Until somebody waits for a lock with this table in his statement."""
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%' || %s || '%%'"
    await eventually(lambda: rows(db, query, what))


async def test_an_operators_replay_beside_a_running_drain_counts_no_status_twice(db: Database):
    number = phone_number_id()
    await process(db, body(change(number, message(), statuses=[status()])))
    (row,) = await exception_rows(db)
    await go_live(db, await organization(db, "loja", 7), number)

    async with db.installation() as brake:
        await brake.execute("LOCK TABLE delivery_counters IN EXCLUSIVE MODE")
        draining = asyncio.create_task(flow.message_in(db, Months(db), 500))
        await waits(db, "delivery_counters")
        async with db.installation() as conn:
            await replay.replay_state(conn, "quarantined")
            await replay.replay_ids(conn, [row["id"]])
    await draining
    await drain(db)

    assert await counted(db) == {"sent": 1}
    assert await exception_rows(db) == []


async def test_a_replay_of_what_was_never_processed_counts_its_statuses(db: Database):
    number = phone_number_id()
    await process(db, body(change(number, message(), statuses=[status()])))
    (row,) = await exception_rows(db)
    async with db.system() as conn:  # live, and nobody released it yet
        owner = await organization(db, "loja", 7)
        await routes.put(conn, number, WABA, owner.id, owner.partition)

    async with db.installation() as conn:
        await replay.replay_ids(conn, [row["id"]])
    await drain(db)

    assert (len(await tickets(db)), await counted(db), await summary(db)) == (1, {"sent": 1}, [])


async def test_a_replay_of_what_still_waits_counts_its_statuses(db: Database):
    shop = await make_shop(db)
    await arrive(db, body(change(shop.number, message(), statuses=[status()])))
    async with db.installation() as conn:
        found = await rows(db, "SELECT id FROM webhook_deliveries")
        await replay.replay_ids(conn, [row["id"] for row in found])

    await drain(db)

    assert (len(await tickets(db)), await counted(db)) == (1, {"sent": 1})


# Failed


async def test_one_bad_message_among_a_thousand_fails_alone(db: Database, base: str):
    shop = await make_shop(db)
    people: list[Any] = [
        message(f"5511{900_000_000 + place}", referral=ad(str(place + 1))) for place in range(1000)
    ]
    people[567] = f"{PHONE} wrote {TEXT}"
    key = await operator_key(db)

    await post(
        base,
        body(
            {"field": "messages", "value": {"metadata": {"phone_number_id": shop.number}, "messages": people}}
        ),
    )
    await drain(db)

    assert len(await tickets(db)) == 999
    (failed,) = await listed(base, key)
    assert (failed["route"], failed["reason"], failed["attempts"]) == (shop.number, "bad_message", 1)
    assert PHONE not in failed["detail"]


BAD_PARTS: dict[str, tuple[Any, str]] = {
    "a message that is a text": ({"messages": ["x"]}, "bad_message"),
    "a message that is null": ({"messages": [None]}, "bad_message"),
    "a message from nobody": ({"messages": [{"id": "1", "timestamp": "1", "type": "text"}]}, "no_sender"),
    "messages that are no list": ({"messages": {"id": "1"}}, "bad_value"),
    "a status without a status": ({"statuses": [{"id": "1"}]}, "bad_status"),
    "a status that is a number": ({"statuses": [7]}, "bad_status"),
    "a history that is a text": ({"history": ["x"]}, "bad_history"),
}


async def test_whatever_part_is_bad_the_rest_of_the_body_is_processed(db: Database):
    for place, (name, (value, reason)) in enumerate(BAD_PARTS.items()):
        shop = await make_shop(db, slug=f"loja-{place}")
        bad = {"field": "messages", "value": {"metadata": {"phone_number_id": shop.number}, **value}}

        await process(db, body(bad, change(shop.number, message(), statuses=[status()]), bad))

        found = await rows(db, "SELECT 1 FROM tickets WHERE organization_id = %s", shop.id)
        assert len(found) == 1, name
        assert (await summary(db))[-1] == (shop.number, "failed", reason, 1), name
    assert await counted(db) == {"sent": len(BAD_PARTS)}


async def test_a_change_nobody_can_read_leaves_its_neighbours_alone(db: Database):
    shop = await make_shop(db)
    changes: list[Any] = ["x", None, 7, [], {"value": "x"}, {"value": {"metadata": "x"}}]
    changes += [
        {"value": {"metadata": {"phone_number_id": "x"}}},
        {"value": {"metadata": {"phone_number_id": {}}}},
    ]

    for place, bad in enumerate(changes):
        good = change(shop.number, message(f"5511{900_000_000 + place}"))
        entry = {"id": WABA, "changes": [bad, good, bad]}
        await process(db, json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode())

    assert len(await tickets(db)) == len(changes)
    failed = [row for row in await exception_rows(db) if row["state"] == "failed"]
    assert {row["reason"] for row in failed} <= {"no_number", "bad_change", "bad_value"}
    assert {row["attempts"] for row in failed} == {1}


async def test_a_delivery_postgresql_refuses_is_bisected_out_and_replayed_after_the_fix(
    db: Database, base: str
):
    shop = await make_shop(db)
    key = await operator_key(db)
    texts = [
        body(
            change(
                shop.number,
                message(f"55119000000{place:02}", referral=ad(str(place + 1))),
                statuses=[status()],
            )
        )
        for place in range(40)
    ]
    async with db.system() as conn:
        await conn.execute(
            "ALTER TABLE ticket_tracking ADD CONSTRAINT test_refuses CHECK (meta_ad_id <> '14')"
        )
    try:
        await process(db, *texts)
        found = await tickets(db)
        failed = await listed(base, key)
        first = await counted(db)
        again = await api(base, key, "POST", "/api/v1/deliveries/replay", json={"state": "failed"})
        await drain(db)
        still = await listed(base, key)
    finally:
        async with db.system() as conn:
            await conn.execute("ALTER TABLE ticket_tracking DROP CONSTRAINT test_refuses")

    assert {ticket["meta_ad_id"] for ticket in found} == {str(place + 1) for place in range(40)} - {"14"}
    assert [(each["route"], each["reason"], each["detail"]) for each in failed] == [
        (shop.number, "refused_by_database", "23514")
    ]
    assert (first, await counted(db)) == ({"sent": 39}, {"sent": 39})
    assert again == {"queued": 1}
    assert [each["attempts"] for each in still] == [2]

    await api(base, key, "POST", "/api/v1/deliveries/replay", json={"ids": [int(failed[0]["id"])]})
    await drain(db)

    assert len(await tickets(db)) == 40
    assert await counted(db) == {"sent": 40}
    assert await listed(base, key) == []


async def test_a_value_too_large_for_an_index_is_bisected_out_like_any_other(db: Database):
    shop = await make_shop(db)
    people = [message(f"55119000000{place:02}") for place in range(8)]
    people[5]["text"]["body"] = secrets.token_hex(20_000)
    async with db.system() as conn:
        await conn.execute("CREATE INDEX test_too_large ON messages (body)")
    try:
        async with asyncio.timeout(10):
            await process(db, *(body(change(shop.number, person)) for person in people))
    finally:
        async with db.system() as conn:
            await conn.execute("DROP INDEX test_too_large")

    assert len(await tickets(db)) == 7
    assert await summary(db) == [(shop.number, "failed", "refused_by_database", 1)]


async def test_a_body_that_could_not_be_read_until_now_is_processed_whole_when_it_can(db: Database):
    shop = await make_shop(db)
    await process(db, b"what an older version could not read")
    text = body(change(shop.number, message(), statuses=[status()]))
    async with db.installation() as conn:  # and this one can
        await conn.execute("UPDATE webhook_deliveries SET body = %s", [text])
        await conn.execute("UPDATE delivery_exceptions SET body = %s", [text])

    for _ in range(2):
        async with db.installation() as conn:
            await replay.replay_state(conn, "failed")
            found = await rows(db, "SELECT id FROM webhook_deliveries")
            await replay.replay_ids(conn, [row["id"] for row in found])
        await drain(db)

    assert (len(await tickets(db)), await counted(db), await summary(db)) == (1, {"sent": 1}, [])


async def test_two_bad_messages_in_one_delivery_are_one_attempt(db: Database):
    shop = await make_shop(db)
    value = {"metadata": {"phone_number_id": shop.number}, "messages": [None, "x", message(), 7]}

    await process(db, body({"field": "messages", "value": value}))

    assert await summary(db) == [(shop.number, "failed", "bad_message", 1)]
    assert len(await tickets(db)) == 1


# Kept long, not for ever


async def put_exception(db: Database, *, age_days: float, size: int = 10) -> None:
    async with db.installation() as conn:
        await conn.execute(
            """INSERT INTO delivery_exceptions (id, route, state, reason, day, received_at, first_at, body)
               SELECT nextval('delivery_ids'), '', 'failed', 'not_json', current_date, now(),
                      now() - %s * interval '1 day', convert_to(repeat('x', %s), 'UTF8')""",
            [age_days, size],
        )


async def ages(db: Database) -> list[int]:
    found = await rows(
        db, "SELECT round(extract(epoch FROM now() - first_at) / 86400)::int AS age FROM delivery_exceptions"
    )
    return sorted(row["age"] for row in found)


def since(suite_log: Path, size: int) -> list[str]:
    """The events logged after the log had this size."""
    lines = logged(suite_log)[size:].splitlines()
    return [json.loads(line)["event"] for line in lines]


async def test_old_exceptions_are_warned_of_a_week_before_and_then_dropped(
    db: Database, suite_log: Path, base: str
):
    for age in (1, 82, 84, 89, 91, 200):
        await put_exception(db, age_days=age)
    size = len(logged(suite_log))

    dropped = await exceptions.prune(db, 90, 2**30)

    assert dropped == 2
    assert await ages(db) == [1, 82, 84, 89]
    assert [event for event in since(suite_log, size) if "exceptions" in event] == [
        "delivery_exceptions_leave_soon",
        "delivery_exceptions_dropped",
    ]
    async with db.installation() as conn:
        assert (await exceptions.leaving(conn, 90)).soon == 2
    assert (await api(base, {}, "GET", "/readyz"))["exceptions_leaving_soon"] == 2


async def test_what_is_young_and_small_is_neither_warned_of_nor_dropped(db: Database, suite_log: Path):
    await put_exception(db, age_days=80, size=700)
    size = len(logged(suite_log))

    dropped = await exceptions.prune(db, 90, 1000)

    assert dropped == 0
    assert [event for event in since(suite_log, size) if "exceptions" in event] == []


async def test_beyond_the_cap_the_oldest_exceptions_go_with_a_warning_before(db: Database, suite_log: Path):
    for age in (5, 1, 4, 2, 3):
        await put_exception(db, age_days=age, size=300)
    size = len(logged(suite_log))

    none = await exceptions.prune(db, 90, 1800)  # four fifths are passed: a warning, and nothing goes
    warned = [event for event in since(suite_log, size) if "exceptions" in event]
    dropped = await exceptions.prune(db, 90, 1000)

    assert (none, warned) == (0, ["delivery_exceptions_leave_soon"])
    assert dropped == 2
    assert await ages(db) == [1, 2, 3]


async def test_the_counts_of_the_api_agree_with_what_is_there(db: Database, base: str):
    shop = await make_shop(db)
    key = await operator_key(db)

    await process(
        db, body(change(shop.number, message())), body(change(phone_number_id(), message())), b"x", b"y"
    )
    async with db.installation() as conn:
        state = await store.counts(conn)

    page = await api(base, key, "GET", "/api/v1/deliveries")
    assert page["counts"] == {"pending": 0, "done": state.done, "failed": 2, "quarantined": 1}
    assert state.done >= 1
