"""How fast one drainer on one core turns queued deliveries into attributed tickets, and where its time goes."""

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import islice
from statistics import median
from zoneinfo import ZoneInfo

import msgspec
import uvloop
from prometheus_client import REGISTRY

from benchmarks import orm
from benchmarks.bodies import Shop, Source
from benchmarks.database import Cluster, connect, open_shops
from benchmarks.laps import Lap, Pace, Watch, pace
from benchmarks.population import populate
from benchmarks.processes import CORE, in_process, pin, unpin
from whatrack.attribution.decide import Desk, decide
from whatrack.cli.common import collect_seldom
from whatrack.contacts.identity import People
from whatrack.db import Connection, Database
from whatrack.inbox import routes, store
from whatrack.inbox.reading import Delivery, Reading, Route, read
from whatrack.meta import webhook
from whatrack.tickets.lifecycle import Rules, Tickets
from whatrack.units import new_id
from whatrack.workers import Drain

APPEND_ROWS = 500
ORGANIZATIONS = 200


class Size(msgspec.Struct, frozen=True):
    """How much is measured. people: present before; messages: drained, in `laps`; rows: of the row-by-row peer."""

    people: int
    messages: int
    laps: int
    rows: int


class Pure(msgspec.Struct, frozen=True):
    """What the part without a database costs, alone: µs a message."""

    read_us: float
    decide_us: float


class DrainResult(msgspec.Struct, frozen=True):
    """What was measured, by the name it has in the table. left: deliveries set aside or still queued; must be 0."""

    size: Size
    ours: dict[str, Pace]
    peer: dict[str, Pace]
    pure: Pure
    left: int


def measure(cluster: Cluster, shop: Shop, size: Size) -> DrainResult:
    """Everything about the drain. The shop's people are there already; a second lot, of 200 organizations, is added."""
    few = msgspec.structs.replace(shop, people=size.people // 50)
    run = _Run(cluster, size)
    one = f"1 organization, any of its {size.people:,} people"
    ours = {one: run.drain([shop], 1)}
    ours[f"{one}, 10 messages a delivery"] = run.drain([shop], 10)
    ours[f"1 organization, {few.people:,} of its people active"] = run.drain([few], 1)
    many = asyncio.run(_many_shops(cluster.conninfo, shop, size.people))
    populate(cluster.conninfo, many)
    cluster.restart()
    ours[f"{ORGANIZATIONS} organizations, {size.people:,} more people"] = run.drain(many, 1)
    peer = {
        "SQLAlchemy ORM, a commit per message": run.peer(shop, 1),
        "SQLAlchemy ORM, a commit per 500": run.peer(shop, 500),
    }
    return DrainResult(size, ours, peer, in_process(pure_cost, 2000), _left(cluster))


class _Run:
    """Measures with a seed of its own each time, so that every stream is new."""

    def __init__(self, cluster: Cluster, size: Size) -> None:
        self._cluster = cluster
        self._size = size
        self._seed = 0

    def drain(self, shops: list[Shop], per_delivery: int) -> Pace:
        size, server = self._size, self._cluster
        self._seed += 1
        source = Source(tuple(shops), self._seed, int(time.time()))
        return pace(
            in_process(
                queue_and_drain, server.conninfo, server.pid, source, size.messages, per_delivery, size.laps
            )
        )

    def peer(self, shop: Shop, per_commit: int) -> Pace:
        size, server = self._size, self._cluster
        self._seed += 1
        source = Source((shop,), self._seed, int(time.time()))
        in_process(queue_only, server.conninfo, source, size.rows, 1)
        return pace(in_process(orm.run, server.conninfo, server.pid, size.rows, per_commit, 4))


async def _many_shops(conninfo: str, shop: Shop, people: int) -> list[Shop]:
    db = Database(conninfo)
    await db.open()
    try:
        first = shop.first_person + shop.people
        return await open_shops(db, ORGANIZATIONS, people=people, first_person=first, first_number=1000)
    finally:
        await db.close()


def _left(cluster: Cluster) -> int:
    with connect(cluster.conninfo) as conn:
        row = conn.execute(
            "SELECT (SELECT count(*) FROM delivery_queue) + (SELECT count(*) FROM delivery_exceptions)"
        ).fetchone()
    return int(row[0]) if row else -1


def queue_and_drain(
    conninfo: str, server_pid: int, source: Source, messages: int, per_delivery: int, laps: int
) -> list[Lap]:
    """Queue a stream, then drain it to the end on one core; in a process of its own."""
    collect_seldom()
    bodies = source.open().bodies(messages // per_delivery, per_delivery)
    return uvloop.run(_queue_and_drain(conninfo, server_pid, bodies, messages // laps))


def queue_only(conninfo: str, source: Source, messages: int, per_delivery: int) -> None:
    """Queue a stream for another drainer; in a process of its own."""
    bodies = source.open().bodies(messages // per_delivery, per_delivery)
    uvloop.run(_queue_only(conninfo, bodies))


async def _queue_only(conninfo: str, bodies: Iterator[bytes]) -> None:
    db = Database(conninfo)
    await db.open()
    try:
        async with db.installation() as conn:
            await _queue(conn, bodies)
    finally:
        await db.close()


async def _queue_and_drain(conninfo: str, server_pid: int, bodies: Iterator[bytes], size: int) -> list[Lap]:
    db = Database(conninfo)
    await db.open()
    try:
        async with db.installation() as conn:
            await _queue(conn, bodies)
        pin(os.getpid(), {CORE})
        pin(server_pid, {CORE})
        return await _laps(Drain(db), server_pid, size)
    finally:
        unpin(server_pid)
        await db.close()


async def _queue(conn: Connection, bodies: Iterator[bytes]) -> None:
    """Store the bodies as the intake does when it knows their number."""
    known = await routes.all_routes(conn)
    while batch := list(islice(bodies, APPEND_ROWS)):
        rows = [_queue_row(body, known) for body in batch]
        await store.append(conn, batch, rows)


def _queue_row(body: bytes, known: dict[str, frozenset[int]]) -> str:
    found = webhook.quick_routes(body) or set()
    return ",".join(f"{partition} {route}" for route in found for partition in known[route])


async def _laps(drain: Drain, server_pid: int, size: int) -> list[Lap]:
    """Drain until nothing waits; a lap is over when its messages are done."""
    watch = Watch(server_pid)
    before = _drained()
    more = True
    while more:
        more = await drain.step()
        messages = _drained() - before
        if messages >= size or (messages and not more):
            watch.lap(messages)
            before += messages
    return watch.laps


def _drained() -> int:
    return int(REGISTRY.get_sample_value("whatrack_drain_messages_total") or 0)


def pure_cost(messages: int) -> Pure:
    """Time reading and deciding in memory, everybody but the newcomers known from a first part that is not timed."""
    shop = Shop("106540352242922", "102290129340398", 0, 4 * messages)
    now = datetime.fromtimestamp(int(time.time()), UTC)
    stream = Source((shop,), 1, int(now.timestamp())).open()
    organization = new_id()
    targets = {shop.number: [Route(organization, ZoneInfo("America/Sao_Paulo"), 0)]}
    desk = Desk(
        rules={organization: Rules(30, "BRL", new_id())},
        people=People([], {}, new_id),
        tickets=Tickets((), new_id),
        trackings={},
        seen=set(),
        now=now,
    )
    reads, decisions = [], []
    for _ in range(6):
        deliveries = [
            Delivery(place, shop.number, now, body, date(2026, 1, 1))
            for place, body in enumerate(stream.bodies(messages))
        ]
        reading = Reading()
        start = time.process_time()
        read(deliveries, targets, reading)
        middle = time.process_time()
        for message in reading.messages:
            decide(desk, message)
        reads.append(middle - start)
        decisions.append(time.process_time() - middle)
    return Pure(median(reads[1:]) / messages * 1e6, median(decisions[1:]) / messages * 1e6)
