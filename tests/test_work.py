"""Loops that never end by an error, wake-ups between processes, and many workers on the same rows at once."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from selectors import SelectorKey
from uuid import UUID

from psycopg import AsyncConnection
from typing_extensions import override

from tests.support import (
    NOON,
    ad,
    arrive,
    body,
    change,
    drain,
    make_shop,
    message,
    process,
    rows,
)
from tests.test_intake import api, eventually, http, opened, post, serving
from tests.test_replay import comparable, status, story, stream
from whatrack import flow
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.db import Database
from whatrack.errors import Refused
from whatrack.tickets import store as ticket_rows
from whatrack.tickets.moves import Change
from whatrack.tickets.stages import Stage
from whatrack.work import CHANNEL, NOTIFY_EVERY_S, Wakeups, run_loop
from whatrack.workers import Drain

# Loops, on a clock that does not wait


class HurriedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while it works, and jumps to the next moment at which something is due."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._poll = self._selector.select  # type: ignore[attr-defined] # asyncio's own attribute
        self._selector.select = self._jump  # type: ignore[attr-defined]

    @override
    def time(self) -> float:
        return self._now_s

    def _jump(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        found: list[tuple[SelectorKey, int]] = self._poll(timeout if timeout is None else 0)
        if not found and timeout:
            self._now_s += timeout
        return found


def hurried(what: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await what()

    with asyncio.Runner(loop_factory=HurriedLoop) as runner:
        runner.run(run())


class Steps:
    """A step that answers as it is told (None: it fails), then stops its loop; remembers when each round began."""

    def __init__(self, *answers: bool | None) -> None:
        self.answers = answers
        self.at: list[float] = []
        self.stop = asyncio.Event()

    async def __call__(self) -> bool:
        self.at.append(asyncio.get_running_loop().time())
        if len(self.at) == len(self.answers):
            self.stop.set()
        answer = self.answers[len(self.at) - 1]
        if answer is None:
            raise RuntimeError("as told")
        return answer

    @property
    def pauses(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.at, self.at[1:], strict=False)]


def test_a_loop_goes_on_at_once_while_there_is_more_and_rests_when_there_is_none():
    async def scene() -> None:
        steps = Steps(True, True, False, True, False, False)

        await run_loop("test", steps, stop=steps.stop, idle_s=7)

        assert [round(pause) for pause in steps.pauses] == [0, 0, 7, 0, 7]

    hurried(scene)


def test_a_failing_step_backs_off_further_each_time_and_goes_on():
    async def scene() -> None:
        steps = Steps(*[None] * 9, False, None, False)

        await run_loop("test", steps, stop=steps.stop, idle_s=7)

        expected = [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 7, 0.5]
        assert all(
            0.74 * want <= pause <= 1.26 * want for want, pause in zip(expected, steps.pauses, strict=True)
        )

    hurried(scene)


def test_a_loop_outlives_a_night_of_failures():
    async def scene() -> None:
        steps = Steps(*[None] * 1100, False)

        await run_loop("test", steps, stop=steps.stop, idle_s=7)

        assert len(steps.at) == 1101
        assert steps.at[-1] - steps.at[0] > 6 * 3600

    hurried(scene)


def test_a_wake_up_shortens_the_rest_even_when_it_comes_during_the_step():
    async def scene() -> None:
        wake, stop = asyncio.Event(), asyncio.Event()
        began: list[float] = []
        loop = asyncio.get_running_loop()

        async def step() -> bool:
            began.append(loop.time())
            if len(began) == 1:
                wake.set()  # while it works
            elif len(began) == 2:
                loop.call_later(3, wake.set)  # while it rests
            elif len(began) == 3:
                loop.call_later(5, stop.set)
            return False

        await run_loop("test", step, stop=stop, idle_s=600, wake=wake)

        assert [round(each - began[0]) for each in began] == [0, 0, 3]
        assert round(loop.time() - began[0]) == 8

    hurried(scene)


def test_a_wake_up_does_not_shorten_the_pause_after_a_failure():
    async def scene() -> None:
        wake = asyncio.Event()
        steps = Steps(None, None, False)

        async def step() -> bool:
            wake.set()
            return await steps()

        await run_loop("test", step, stop=steps.stop, idle_s=600, wake=wake)

        assert steps.pauses[0] > 0.3
        assert steps.pauses[1] > 0.7

    hurried(scene)


def test_stop_lets_the_step_finish_and_ends_the_rest_at_once():
    async def scene() -> None:
        stop = asyncio.Event()
        done: list[str] = []

        async def step() -> bool:
            await asyncio.sleep(5)
            done.append("finished")
            return True

        asyncio.get_running_loop().call_later(12, stop.set)
        before = asyncio.get_running_loop().time()
        await run_loop("test", step, stop=stop, idle_s=600)

        assert done == ["finished"] * 3
        assert round(asyncio.get_running_loop().time() - before) == 15

    hurried(scene)


# Wake-ups through PostgreSQL


@asynccontextmanager
async def connected(db: Database) -> AsyncIterator[Wakeups]:
    """The wake-ups of one process, sent and heard."""
    wakeups = Wakeups(db)
    tasks = [asyncio.create_task(wakeups.send()), asyncio.create_task(wakeups.listen())]
    try:
        yield wakeups
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def heard(speaker: Wakeups, listener: Wakeups, name: str) -> bool:
    """Whether the other process hears, sooner or later: a listener may be connecting still."""

    async def poked() -> bool:
        speaker.poke(name)
        await asyncio.sleep(0.05)
        return listener.event(name).is_set()

    return await eventually(poked)


async def test_a_wake_up_is_heard_in_another_process_and_only_by_its_name(db: Database, conninfo: str):
    async with opened(conninfo) as other, connected(db) as here, connected(other) as there:
        assert await heard(here, there, "deliveries")
        assert await heard(there, here, "something-else")

        assert here.event("deliveries").is_set()
        assert not there.event("a-third").is_set()


async def test_many_pokes_are_few_notifications(db: Database, conninfo: str):
    async with await AsyncConnection.connect(conninfo, autocommit=True) as conn, connected(db) as here:
        await conn.execute(f"LISTEN {CHANNEL}".encode())

        began = asyncio.get_running_loop().time()
        for _ in range(400):
            here.poke("deliveries")
            await asyncio.sleep(0.001)
        took_s = asyncio.get_running_loop().time() - began
        notes = [note.payload async for note in conn.notifies(timeout=0.3)]

    assert set(notes) == {"deliveries"}
    assert 2 <= len(notes) <= took_s / NOTIFY_EVERY_S + 2


async def test_a_listener_whose_connection_is_lost_hears_again(db: Database, conninfo: str):
    async with opened(conninfo) as other, connected(db) as here, connected(other) as there:
        assert await heard(here, there, "deliveries")
        there.event("deliveries").clear()

        killed = await rows(
            db,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' AND pid <> pg_backend_pid()",
        )

        assert len(killed) >= 2
        assert await heard(here, there, "deliveries")


async def test_a_worker_of_another_process_drains_what_this_one_stored(db: Database, conninfo: str):
    shop = await make_shop(db)

    async with serving(conninfo, workers=True), serving(conninfo, workers=False) as base:
        await post(base, body(change(shop.number, message())))
        found = await eventually(lambda: rows(db, "SELECT status FROM tickets"))

    assert found == [{"status": "open"}]


# Readiness


async def test_readiness_stays_green_while_the_drain_lags_unless_it_is_asked_for(db: Database, conninfo: str):
    shop = await make_shop(db)
    await arrive(db, body(change(shop.number, message())))
    async with db.installation() as conn:
        await conn.execute("UPDATE delivery_queue SET queued_at = now() - interval '5 minutes'")

    async with serving(conninfo, workers=False) as base, http(base) as client:
        ready = await api(base, {}, "GET", "/readyz")
        async with client.get("/readyz?check=drain") as response:
            behind = response.status, (await response.json())["status"]
        await drain(db)
        caught_up = await api(base, {}, "GET", "/readyz?check=drain")

    assert (ready["status"], round(ready["drain_lag_seconds"] / 60)) == ("ok", 5)
    assert behind[0] == 503
    assert "drain" in behind[1]
    assert (caught_up["status"], caught_up["drain_lag_seconds"]) == ("ok", 0)


# Many workers


@asynccontextmanager
async def workers(conninfo: str, count: int) -> AsyncIterator[list[Database]]:
    """So many workers' own connections."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(conninfo)) for _ in range(count)]


async def work_until_done(db: Database, limit: int) -> None:
    """One worker, routing and draining until nothing waits; whatever a loop would log as a failure is raised."""
    drainer = Drain(db)
    drainer._limit = limit
    idle = 0
    while idle < 3:
        routed = await flow.route_in(db, limit)
        more = await drainer.step()
        waiting = await rows(db, "SELECT 1 FROM delivery_queue LIMIT 1")
        idle = 0 if routed.rows or more or waiting else idle + 1
        await asyncio.sleep(0)


async def test_four_workers_end_as_one_does(db: Database, conninfo: str):
    shops = [await make_shop(db, f"loja-{place}") for place in range(20)]
    numbers = [shop.number for shop in shops]
    for shop in shops[:5]:  # a second number
        numbers.append(f"{shop.number}7")
        await flow.register_number(db, WhatsappNumber(shop.id, numbers[-1], "1", "+55 11 3555-0100"))
    texts = [text for seed in range(4) for text in stream(numbers, seed=seed, size=100, merging=False)]
    await process(db, *texts)
    by_one = comparable(await story(db))
    async with db.system() as conn:
        await conn.execute(
            "TRUNCATE contacts, contact_identities, ticket_tracking, meta_attribution_history, messages, webhook_deliveries,"
            " delivery_queue, number_day_counters CASCADE"
        )

    await arrive(db, *texts)
    async with workers(conninfo, 4) as several:
        await asyncio.gather(
            *(work_until_done(each, limit) for each, limit in zip(several, (500, 100, 20, 5), strict=True))
        )

    assert await rows(db, "SELECT route, reason, detail FROM delivery_exceptions") == []
    assert comparable(await story(db)) == by_one


async def test_no_two_workers_ever_open_two_tickets_for_one_person(db: Database, conninfo: str):
    shop = await make_shop(db)
    people = [f"5511{900_000_000 + place}" for place in range(40)]
    texts = [body(change(shop.number, message(person, text=f"{n}"))) for n in range(5) for person in people]
    await arrive(db, *texts)

    refused: list[str] = []

    async def open_by_hand(hand: Database, seed: int) -> None:
        for person in random.Random(seed).sample(people, len(people)):
            try:
                async with hand.tenant(shop.id) as conn:
                    await flow.open_ticket(
                        conn, shop.id, shop.number, wa_id=person, name="Ana", actor="api_key:test"
                    )
            except Refused as error:
                refused.append(error.code)

    async with workers(conninfo, 4) as several:
        await asyncio.gather(
            open_by_hand(several[0], 1),
            open_by_hand(several[1], 2),
            work_until_done(several[2], 7),
            work_until_done(several[3], 11),
        )

    found = await rows(
        db,
        "SELECT count(*) AS tickets, count(DISTINCT contact_id) AS people FROM tickets WHERE status = 'open'",
    )
    assert found == [{"tickets": 40, "people": 40}]
    assert len(await rows(db, "SELECT 1 FROM contacts WHERE merged_into IS NULL")) == 40
    assert len(await rows(db, "SELECT 1 FROM messages")) == len(texts)
    assert await rows(db, "SELECT 1 FROM delivery_exceptions") == []
    assert set(refused) <= {"open_ticket_exists", "try_again"}


async def test_people_move_tickets_while_workers_drain_and_the_sweep_runs(db: Database, conninfo: str):
    shop = await make_shop(db)
    people = [f"5511{900_000_000 + place}" for place in range(30)]

    def texts(round_: int) -> list[bytes]:
        at = NOON - timedelta(days=40 - 4 * round_)
        return [
            body(
                change(
                    shop.number,
                    *(
                        message(
                            person, at=at + timedelta(seconds=n), text=f"{round_}", referral=ad(f"{round_}")
                        )
                        for n, person in enumerate(random.Random(part).sample(people, 6))
                    ),
                    statuses=[status("sent", "s")],
                )
            )
            for part in range(20)
        ]

    await process(db, *texts(0))
    ended = asyncio.Event()

    moves, refused = 0, []

    async def move(hand: Database, seed: int) -> None:
        nonlocal moves
        chance = random.Random(seed)
        while not ended.is_set():
            ids = [row["id"] for row in await rows(hand, "SELECT id FROM tickets ORDER BY id")]
            try:
                async with hand.tenant(shop.id) as conn:
                    await flow.move_ticket(conn, shop.id, chance.choice(ids), chosen(chance), actor="test")
                moves += 1
            except Refused as error:
                refused.append(error.code)

    async def sweep(hand: Database) -> None:
        while not ended.is_set():
            async with hand.system() as conn:
                await ticket_rows.expire_due(conn, 5)
            await asyncio.sleep(0.005)

    async def drains(several: list[Database]) -> None:
        for round_ in range(1, 8):
            await arrive(db, *texts(round_))
            await asyncio.gather(*(work_until_done(each, 9) for each in several))
        ended.set()

    async with workers(conninfo, 5) as several, asyncio.timeout(30):
        await asyncio.gather(drains(several[:2]), move(several[2], 1), move(several[3], 2), sweep(several[4]))

    assert moves > 20
    assert set(refused) <= {"open_ticket_exists"}
    assert await rows(db, "SELECT route, reason, detail FROM delivery_exceptions") == []
    await check_tickets(db, shop.id)
    stored = {row["wamid"] for row in await rows(db, "SELECT wamid FROM messages")}
    assert stored == {wamid for round_ in range(8) for text in texts(round_) for wamid in wamids(text)}
    assert await rows(db, "SELECT count FROM number_day_counters") == [{"count": 8 * 20}]


def wamids(text: bytes) -> set[str]:
    changes = json.loads(text)["entry"][0]["changes"]
    return {each["id"] for change in changes for each in change["value"].get("messages", ())}


def chosen(chance: random.Random) -> Callable[[list[Stage]], Change]:
    def choose(stages: list[Stage]) -> Change:
        stage = chance.choice(stages)
        return Change(stage=stage, deal_value=Decimal(1) if stage.group == "WON" else None)

    return choose


async def check_tickets(db: Database, organization_id: UUID) -> None:
    """What must hold of every ticket, whoever wrote it last."""
    (wrong,) = await rows(
        db,
        """SELECT count(*) FILTER (WHERE t.status = 'open' AND s."group" <> 'ACTIVE') AS open_in_a_closed_stage,
                  count(*) FILTER (WHERE t.close_reason IN ('WON', 'LOST') AND s."group" <> t.close_reason) AS closed_elsewhere,
                  count(*) FILTER (WHERE t.last_message_at > t.active_at) AS said_after_its_life
           FROM tickets t JOIN stages s ON s.organization_id = t.organization_id AND s.id = t.stage_id
           WHERE t.organization_id = %s""",
        organization_id,
    )
    assert set(wrong.values()) == {0}, wrong
