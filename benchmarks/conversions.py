"""Telling Meta what it earned: CPU per event beside Meta's own SDK, 100,000 owed events drained, and an API move's way to Meta.

The sandbox runs in a process of its own. Forming and sending 1,000 events is measured alone, because the SDK has no database;
the drain and the move are the whole path, on the durable embedded PostgreSQL.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from statistics import median
from typing import Any
from uuid import UUID

import msgspec
import uvloop
from facebook_business.adobjects.serverside.action_source import ActionSource
from facebook_business.adobjects.serverside.custom_data import CustomData as TheirCustomData
from facebook_business.adobjects.serverside.event import Event as TheirEvent
from facebook_business.adobjects.serverside.event_request import EventRequest
from facebook_business.adobjects.serverside.messaging_channel import MessagingChannel
from facebook_business.adobjects.serverside.user_data import UserData as TheirUserData
from facebook_business.api import FacebookAdsApi
from facebook_business.session import FacebookSession

from benchmarks.database import Cluster
from whatrack import flow
from whatrack.connections.keys import Keys
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.conversions.dispatch import Dispatcher
from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.inbox import days
from whatrack.meta import capi
from whatrack.meta.calls import Token
from whatrack.meta.capi import CustomData, Event, UserData
from whatrack.meta.graph import Graph
from whatrack.sandbox.graph import NEWEST
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.server import served
from whatrack.tenants.organizations import Organization
from whatrack.tickets.moves import Change
from whatrack.tickets.stages import find_stage
from whatrack.units import new_id
from whatrack.work import run_loop

BATCH = 1000
SENDERS = 2
SEALER = Sealer(["a-key-for-the-benchmark-and-nothing-else"])


class Peer(msgspec.Struct, frozen=True):
    """CPU per event of forming and sending a request of 1,000, in µs: the median and the extremes of the rounds."""

    median_us: float
    least_us: float
    most_us: float


class ConversionsResult(msgspec.Struct, frozen=True):
    """What was measured. accepted: events that Meta has after the drain; move_*: seconds from an API move to acceptance."""

    ours: Peer
    sdk: Peer
    ratio: float
    drained: int
    drained_s: float
    accepted: int
    moves: int
    move_p50_s: float
    move_p95_s: float


class Meta(msgspec.Struct, frozen=True):
    """Where the sandbox is, and what a sender needs."""

    url: str
    dataset_id: str
    waba_id: str
    number: str
    token: str
    clids: list[str]


def measure(running: Cluster, *, quick: bool) -> ConversionsResult:
    """All three."""
    owed, moves, rounds = (10_000, 20, 3) if quick else (100_000, 60, 5)
    with _sandbox(2) as meta:
        ours, sdk = _cpu(meta, rounds)
    return uvloop.run(_paths(running, ours, sdk, owed, moves))


def _cpu(meta: Meta, rounds: int) -> tuple[Peer, Peer]:
    """Interleaved rounds, each of some requests."""
    theirs = _sdk(meta)
    mine, sdk = [], []
    uvloop.run(_ours(meta, 1))
    theirs()
    for _ in range(rounds):
        mine.append(uvloop.run(_ours(meta, 20)))
        sdk.append(min(_timed(theirs) for _ in range(2)))
    return _peer(mine), _peer(sdk)


def _peer(times: list[float]) -> Peer:
    return Peer(median(times), min(times), max(times))


async def _ours(meta: Meta, requests: int) -> float:
    graph = Graph(meta.url, NEWEST)
    token = Token(meta.token)
    ids = [f"purchase-{new_id()}" for _ in range(BATCH)]
    now, value = int(time.time()), Decimal("199.90")
    await graph.call("GET", meta.dataset_id, token)  # the connection is there
    began = time.process_time()
    for _ in range(requests):
        events = [
            Event(
                "Purchase",
                now,
                each,
                UserData(meta.waba_id, meta.clids[0]),
                CustomData("BRL", value),
            )
            for each in ids
        ]
        found = await graph.call("POST", f"{meta.dataset_id}/events", token, body=capi.body(events))
        if found.read(capi.Answer).events_received != BATCH:
            raise RuntimeError("the sandbox did not take them all")
    used = time.process_time() - began
    await graph.close()
    return used / requests / BATCH * 1e6


def _sdk(meta: Meta) -> Callable[[], None]:
    """The SDK's own batch form: one EventRequest of 1,000. It cannot name the WhatsApp account, so its events are those of a
    website's pixel-like dataset; the sandbox refuses them after reading, which costs the client nothing more."""
    FacebookSession.GRAPH = meta.url
    FacebookAdsApi.init(access_token=meta.token, crash_log=False)
    ids, now = [f"purchase-{new_id()}" for _ in range(BATCH)], int(time.time())

    def send() -> None:
        events = [
            TheirEvent(
                event_name="Purchase",
                event_time=now,
                event_id=each,
                action_source=ActionSource.BUSINESS_MESSAGING,
                messaging_channel=MessagingChannel.WHATSAPP,
                user_data=TheirUserData(ctwa_clid=meta.clids[0], page_id=meta.waba_id),
                custom_data=TheirCustomData(currency="BRL", value=199.90),
            )
            for each in ids
        ]
        try:
            EventRequest(pixel_id=meta.dataset_id, events=events, partner_agent="whatrack").execute()
        except Exception as error:
            if "2804131" not in str(error) and "No Page" not in str(error):
                raise

    return send


def _timed(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) / BATCH * 1e6


def _serve(pipe: Pipe, clicks: int) -> None:
    """The sandbox, in a process of its own, until the pipe says enough."""
    sandbox = Sandbox(seed=1)
    cast, ad_id, now = sandbox.cast, sandbox.ads()[0].id, sandbox.clock()
    clids = [str(sandbox.traffic.tap(ad_id, f"5511{place:09d}", now - 60).clid) for place in range(clicks)]
    with served(sandbox) as url:
        pipe.send(
            Meta(
                url,
                str(cast.waba.dataset_id),
                cast.waba.id,
                cast.number.id,
                sandbox.number_token.value,
                clids,
            )
        )
        pipe.recv()
        pipe.send(len(sandbox.world.learned))


class _sandbox:  # noqa: N801 - used as a function
    def __init__(self, clicks: int) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, clicks))
        self.learned = 0

    def __enter__(self) -> Meta:
        self._process.start()
        meta: Meta = self._pipe.recv()
        return meta

    def __exit__(self, *_: object) -> None:
        self._pipe.send("enough")
        self.learned = self._pipe.recv()
        self._process.join()


OWED = """
WITH stage AS (SELECT id FROM stages WHERE organization_id = %(org)s AND role = 'won'), made AS (
    INSERT INTO contacts (organization_id, id, name, created_at) SELECT %(org)s, gen_random_uuid(), 'Ana', now()
    FROM generate_series(1, %(count)s) RETURNING id
), tickets_ AS (
    INSERT INTO tickets (organization_id, id, contact_id, phone_number_id, stage_id, status, close_reason, currency, deal_value, source,
        follow_up, opened_at, active_at, closed_at, won_at, created_at, updated_at)
    SELECT %(org)s, gen_random_uuid(), made.id, %(number)s, stage.id, 'closed', 'WON', 'BRL', 199.90, 'message', false, now(), now(),
        now(), now(), now(), now() FROM made, stage RETURNING id
)
INSERT INTO meta_conversion_events (organization_id, id, ticket_id, event_name, event_id, status, ctwa_clid, ctwa_clid_hash, waba_id, value,
    currency, event_time, owed_version, not_before, next_attempt_at, created_at, updated_at)
SELECT %(org)s, gen_random_uuid(), id, 'Purchase', 'purchase-' || id, 'PENDING', %(clid)s::text, sha256(convert_to(%(clid)s::text, 'UTF8')), %(waba)s, 199.90, 'BRL',
    now(), 1, now(), now(), now(), now() FROM tickets_
"""


async def _paths(running: Cluster, ours: Peer, sdk: Peer, owed: int, moves: int) -> ConversionsResult:
    sandbox = _sandbox(moves + 1)
    with sandbox as meta:
        async with _shop(running, meta) as (db, shop, dispatchers):
            async with db.system() as conn:
                values = {
                    "org": shop,
                    "count": owed,
                    "number": meta.number,
                    "clid": meta.clids[0],
                    "waba": meta.waba_id,
                }
                await conn.execute(OWED.encode(), values)
            async with db.autocommit() as conn:
                await conn.execute(b"ANALYZE meta_conversion_events")
            began = time.perf_counter()
            await asyncio.gather(*(_until_done(each) for each in dispatchers))
            drained_s = time.perf_counter() - began
            waits = await _moves(db, shop, meta, dispatchers, moves)
    waits.sort()
    return ConversionsResult(
        ours, sdk, sdk.median_us / ours.median_us, owed, drained_s, sandbox.learned - moves, moves, median(waits),
        waits[int(len(waits) * 0.95)],
    )  # fmt: skip


@asynccontextmanager
async def _shop(running: Cluster, meta: Meta) -> AsyncIterator[tuple[Database, UUID, list[Dispatcher]]]:
    db = Database(running.conninfo)
    await db.open()
    await days.ensure_days(db)
    organization = await flow.open_organization(db, Organization(new_id(), "Conversões", "conversoes"))
    await flow.register_number(
        db, WhatsappNumber(organization.id, meta.number, meta.waba_id, "+55 11 3555-0100")
    )
    graph, keys = Graph(meta.url, NEWEST), Keys(SEALER, None)
    async with db.system() as conn:
        await conn.execute(
            b"UPDATE whatsapp_numbers SET dataset_id = %s, token = %s, token_app_id = '' WHERE organization_id = %s",
            [meta.dataset_id, SEALER.seal(meta.token), organization.id],
        )
    yield db, organization.id, [Dispatcher(db.system, graph, keys) for _ in range(SENDERS)]
    await graph.close()
    await db.close()


async def _until_done(dispatcher: Dispatcher) -> None:
    while await dispatcher.step():
        pass


async def _moves(
    db: Database, shop: UUID, meta: Meta, dispatchers: list[Dispatcher], count: int
) -> list[float]:
    """One after the other, as when idle: from before the move to the moment Meta's acceptance is committed.

    The senders run as in workers.py, woken after the move's commit as the service wakes them after each change.
    """
    stop, wake = asyncio.Event(), asyncio.Event()
    loops = [
        asyncio.create_task(run_loop(f"send-{place}", each.step, stop=stop, idle_s=1.0, wake=wake))
        for place, each in enumerate(dispatchers)
    ]
    waits = []
    for clid in meta.clids[1 : count + 1]:
        async with db.tenant(shop) as conn:
            ticket = await flow.open_ticket(
                conn, shop, None, wa_id=f"5511{new_id().int % 10**9:09d}", name=None, actor="system"
            )
            await conn.execute(
                b"UPDATE ticket_tracking SET ctwa_clid = %s WHERE ticket_id = %s", [clid, ticket]
            )
        began = time.perf_counter()
        async with db.tenant(shop) as conn:
            await flow.move_ticket(
                conn,
                shop,
                ticket,
                lambda stages: Change(stage=find_stage(stages, "qualified")),
                actor="system",
            )
        wake.set()
        for _ in range(2000):
            if await _is_sent(db, shop, ticket):
                break
            await asyncio.sleep(0.005)
        waits.append(time.perf_counter() - began)
    stop.set()
    await asyncio.gather(*loops)
    return waits


async def _is_sent(db: Database, shop: UUID, ticket: UUID) -> bool:
    async with db.tenant(shop) as conn:
        query: Any = b"SELECT status = 'SENT' FROM meta_conversion_events WHERE organization_id = %s AND ticket_id = %s"
        row = await (await conn.execute(query, [shop, ticket])).fetchone()
    return bool(row and row[0])
