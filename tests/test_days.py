"""Day partitions: made before they are needed and when they are, dropped whole, and neither ever stops the intake."""

import asyncio
from datetime import date, timedelta
from pathlib import Path
from typing import Any, LiteralString

import pytest
from psycopg import errors, sql

from tests.support import (
    NOON,
    arrive,
    body,
    change,
    drain,
    make_shop,
    message,
    phone_number_id,
    process,
    rows,
    tickets,
)
from tests.test_intake import SOON_S, api, deliver, deliveries, eventually, http, operator_key, post, serving
from whatrack.db import Database
from whatrack.inbox import days, replay

KEEP_DAYS = 30


async def today(db: Database) -> date:
    (found,) = await rows(db, "SELECT (now() AT TIME ZONE 'UTC')::date AS day")
    day: date = found["day"]
    return day


async def attached(db: Database) -> list[date]:
    async with db.installation() as conn:
        return await days.attached_days(conn)


def table(day: date) -> str:
    return f"webhook_deliveries_{day:%Y%m%d}"


async def statement(db: Database, text: LiteralString, **names: sql.Composable) -> None:
    async with db.autocommit() as conn:
        await conn.execute(sql.SQL(text).format(**names), prepare=False)


async def drop(db: Database, *wanted: date) -> None:
    """What a person with psql might do to the partitions."""
    for day in wanted:
        await statement(db, "DROP TABLE {table}", table=sql.Identifier(table(day)))


async def make(db: Database, day: date, *, bodies: int = 0) -> None:
    """A day of the past, with deliveries as they were then."""
    names = {
        "table": sql.Identifier(table(day)),
        "day": sql.Literal(str(day)),
        "next": sql.Literal(str(day + timedelta(days=1))),
    }
    await statement(
        db,
        "CREATE TABLE {table} PARTITION OF webhook_deliveries FOR VALUES FROM ({day}) TO ({next})",
        **names,
    )
    async with db.installation() as conn:
        for _ in range(bodies):
            await conn.execute(
                "INSERT INTO webhook_deliveries VALUES (%s, nextval('delivery_ids'), %s, '{\"entry\":[]}')",
                [day, NOON],
            )


def logged(suite_log: Path) -> str:
    return suite_log.read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
async def past_days_go(db: Database) -> Any:
    """The suite shares the database: what a test made of the past, it takes away."""
    yield
    first = await today(db) - timedelta(days=1)
    for row in await rows(
        db, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^webhook_deliveries_[0-9]{8}$'"
    ):
        if row["relname"] < table(first):
            await statement(db, "DROP TABLE {table}", table=sql.Identifier(row["relname"]))


async def test_days_are_made_from_yesterday_to_fourteen_ahead(db: Database):
    now = await today(db)
    await drop(db, *await attached(db))

    ahead = await days.ensure_days(db)

    assert ahead == 14
    assert await attached(db) == [now + timedelta(days=offset) for offset in range(-1, 15)]


async def test_many_processes_may_make_the_days_at_once(db: Database, conninfo: str):
    await drop(db, *await attached(db))
    others = [Database(conninfo, max_size=2) for _ in range(6)]
    for other in others:
        await other.open()

    ahead = await asyncio.gather(*(days.ensure_days(other) for other in others))

    for other in others:
        await other.close()
    assert max(ahead) == 14
    assert await days.ensure_days(db) == 14
    assert len(await attached(db)) == 16


async def test_a_delivery_makes_its_missing_day_and_is_stored_in_it(db: Database, conninfo: str):
    shop = await make_shop(db)
    texts = [body(change(shop.number, message(f"5511{900_000_000 + place}"))) for place in range(20)]

    async with serving(conninfo, workers=False) as base, http(base) as client:
        await drop(db, await today(db), await today(db) + timedelta(days=1))
        answers = await asyncio.gather(*(deliver(client, text) for text in texts))

    assert {answer.status for answer in answers} == {200}
    assert sorted(await deliveries(db)) == sorted(texts)
    await drain(db)
    assert len(await tickets(db)) == 20
    assert await days.ensure_days(db) == 14


async def test_readiness_is_red_when_fewer_than_three_days_are_ahead(db: Database, service: str):
    now = await today(db)

    async def ready() -> tuple[int, int]:
        async with http(service) as client, client.get("/readyz") as response:
            return response.status, (await response.json())["partition_days_ahead"]

    before = await ready()
    await drop(db, now + timedelta(days=4))
    three = await ready()
    await drop(db, now + timedelta(days=3))
    two = await ready()
    await drop(db, now)
    none = await ready()
    await days.ensure_days(db)
    again = await ready()

    assert [before, three, two, none, again] == [(200, 14), (200, 3), (503, 2), (503, 0), (200, 14)]


async def test_old_days_are_dropped_and_those_still_queued_are_kept(db: Database, suite_log: Path):
    now = await today(db)
    kept, queued, oldest = [now - timedelta(days=KEEP_DAYS + age) for age in (0, 1, 10)]
    for day in (kept, queued, oldest):
        await make(db, day, bodies=2)
    async with db.installation() as conn:
        ids = await rows(db, "SELECT id FROM webhook_deliveries WHERE day = %s", queued)
        await replay.replay_ids(conn, [row["id"] for row in ids])

    dropped = await days.drop_days(db, KEEP_DAYS)
    still_there = await attached(db)
    await drain(db)
    dropped_later = await days.drop_days(db, KEEP_DAYS)

    assert (dropped, dropped_later) == ([oldest], [queued])
    assert still_there[:2] == [queued, kept]
    assert await attached(db) == [kept, *(now + timedelta(days=offset) for offset in range(-1, 15))]
    assert "old_day_still_queued" in logged(suite_log)


async def test_what_failed_or_is_quarantined_outlives_its_day(db: Database, conninfo: str):
    number = phone_number_id()
    key = await operator_key(db)
    await process(db, body(change(number, message())), b"not json")
    old = await today(db) - timedelta(days=KEEP_DAYS + 1)
    await move_to(db, old)

    dropped = await days.drop_days(db, KEEP_DAYS)
    async with serving(conninfo, workers=False) as base:  # a service's own workers drop old days as well
        queued = await api(base, key, "POST", "/api/v1/deliveries/replay", json={"state": "failed"})
    await make_shop(db, number=number)
    await drain(db)

    assert dropped == [old]
    assert queued == {"queued": 1}
    assert len(await tickets(db)) == 1
    (failed,) = await rows(db, "SELECT reason, attempts FROM delivery_exceptions")
    assert failed == {"reason": "not_json", "attempts": 2}


async def move_to(db: Database, day: date) -> None:
    """As if everything had arrived on that day."""
    await make(db, day)
    async with db.installation() as conn:
        await conn.execute("UPDATE webhook_deliveries SET day = %s", [day])
        await conn.execute("UPDATE delivery_exceptions SET day = %s", [day])
        await conn.execute("UPDATE delivery_queue SET day = %s", [day])


async def interrupted_detach(db: Database, day: date) -> None:
    """A detach whose process was killed while it waited for a reader."""
    async with db.installation() as reader:
        await reader.execute("SELECT count(*) FROM webhook_deliveries WHERE day = %s", [day])
        waiting = asyncio.create_task(days.drop_days(db, KEEP_DAYS))
        await eventually(lambda: pending(db))
        async with db.autocommit() as conn:
            await conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%% DETACH %%' AND pid <> pg_backend_pid()"
            )
        with pytest.raises(errors.AdminShutdown):
            await waiting


async def pending(db: Database) -> list[dict[str, Any]]:
    return await rows(db, "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhdetachpending")


async def test_an_interrupted_detach_is_finished_next_time(db: Database):
    now = await today(db)
    first, second = [now - timedelta(days=KEEP_DAYS + age) for age in (2, 1)]
    await make(db, first, bodies=1)
    await make(db, second, bodies=1)
    await interrupted_detach(db, first)
    assert [row["name"] for row in await pending(db)] == [table(first)]

    dropped = await days.drop_days(db, KEEP_DAYS)

    assert dropped == [first, second]
    assert await pending(db) == []
    assert len(await attached(db)) == 16


async def test_a_day_detached_and_not_dropped_is_dropped_next_time(db: Database):
    day = await today(db) - timedelta(days=KEEP_DAYS + 1)
    await make(db, day, bodies=1)
    await statement(
        db, "ALTER TABLE webhook_deliveries DETACH PARTITION {table}", table=sql.Identifier(table(day))
    )

    dropped = await days.drop_days(db, KEEP_DAYS)

    assert dropped == [day]
    assert await rows(db, "SELECT 1 FROM pg_class WHERE relname = %s", table(day)) == []


async def test_an_interrupted_detach_stops_neither_intake_nor_drain_nor_new_days(db: Database, conninfo: str):
    day = await today(db) - timedelta(days=KEEP_DAYS + 1)
    await make(db, day, bodies=1)
    await interrupted_detach(db, day)
    shop = await make_shop(db)
    await drop(db, await today(db) + timedelta(days=14))

    async with serving(conninfo, workers=False) as base:
        status = await post(base, body(change(shop.number, message())))
    ahead = await days.ensure_days(db)
    await drain(db)

    assert (status, ahead) == (200, 14)
    assert len(await tickets(db)) == 1
    assert [row["name"] for row in await pending(db)] == [table(day)]


async def test_dropping_a_day_never_stops_the_intake_or_the_drain(db: Database, conninfo: str):
    day = await today(db) - timedelta(days=KEEP_DAYS + 1)
    await make(db, day, bodies=1)
    shop = await make_shop(db)
    texts = [body(change(shop.number, message(f"5511{900_000_000 + place}"))) for place in range(20)]

    async with serving(conninfo, workers=False) as base, http(base) as client:
        async with db.installation() as reader:
            await reader.execute(
                "SELECT count(*) FROM webhook_deliveries"
            )  # the drop has to wait for this one
            dropping = asyncio.create_task(days.drop_days(db, KEEP_DAYS))
            await eventually(lambda: pending(db))
            async with asyncio.timeout(SOON_S):
                answers = [(await deliver(client, text)).status for text in texts]
                await drain(db)
            waited = not dropping.done()
        dropped = await dropping

    assert answers == [200] * len(texts)
    assert waited
    assert dropped == [day]
    assert len(await tickets(db)) == 20


async def test_many_processes_may_drop_days_at_once(db: Database, conninfo: str):
    old = [await today(db) - timedelta(days=KEEP_DAYS + age) for age in range(1, 6)]
    for day in old:
        await make(db, day, bodies=1)
    others = [Database(conninfo, max_size=2) for _ in range(4)]
    for other in others:
        await other.open()

    async with db.installation() as reader:
        await reader.execute("SELECT count(*) FROM webhook_deliveries")
        dropping = [asyncio.create_task(days.drop_days(other, KEEP_DAYS)) for other in others]
        await eventually(lambda: pending(db))
        await asyncio.sleep(0.2)
    by_each = await asyncio.gather(*dropping)
    afterwards = await days.drop_days(db, KEEP_DAYS)

    for other in others:
        await other.close()
    assert sorted(by_each) == [[], [], [], sorted(old)]
    assert afterwards == []
    assert await pending(db) == []
    assert len(await attached(db)) == 16


async def test_making_a_day_never_stops_the_intake(db: Database, service: str):
    last = await today(db) + timedelta(days=14)
    await drop(db, last)

    async with db.installation() as writer:
        await writer.execute(
            "INSERT INTO webhook_deliveries SELECT (now() AT TIME ZONE 'UTC')::date, nextval('delivery_ids'), now(), ''"
        )
        async with asyncio.timeout(SOON_S):
            ahead = await days.ensure_days(db)
            status = await post(service, b"{}")

    assert (ahead, status) == (14, 200)


async def test_a_queued_delivery_whose_body_is_gone_is_told_of(db: Database, suite_log: Path):
    await arrive(db, body(change(phone_number_id(), message())))
    async with db.installation() as conn:
        await conn.execute("DELETE FROM webhook_deliveries")

    await drain(db)

    assert await rows(db, "SELECT 1 FROM delivery_queue") == []
    assert "delivery_body_gone" in logged(suite_log)
