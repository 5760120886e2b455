"""The load generator: signed webhooks over kept-alive HTTP/1.1 connections, in a process of its own; every latency kept.

Closed loop: each connection sends again as soon as it is answered. Open loop: requests are due at fixed moments however
slow the answers, and a latency counts from the moment it was due.
"""

import asyncio
import re
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import uvloop
from typing_extensions import override

from benchmarks.bodies import Source
from benchmarks.processes import cpu_s
from whatrack.inbox.signature import sign

SETTLE_S = 0.5  # what goes on after the answers (background tasks, commits) counts as CPU too
TICK_S = 0.001
ANSWERED_S = 30.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Target(msgspec.Struct, frozen=True):
    """A server under load. pids: itself, then PostgreSQL's first process."""

    port: int
    path: str
    secret: bytes
    pids: tuple[int, int]


class Answers(msgspec.Struct):
    """What came back. generator_s, server_s, postgres_s: CPU seconds. at: moments of the answers (seconds since 1970), by
    request, of an open loop."""

    statuses: Counter[int]
    latencies_s: list[float]
    wall_s: float
    generator_s: float
    server_s: float
    postgres_s: float
    at: list[float]

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return len(self.latencies_s) / self.wall_s

    def latency_ms(self, share: float) -> float:
        """The latency that this share of the answers did not pass."""
        return percentile(self.latencies_s, share) * 1000


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values did not pass."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def closed_loop(target: Target, stream: Source, count: int, connections: int, seconds: float) -> Answers:
    """Send so many distinct messages, then the same again, over so many connections for so long."""
    requests = [request(target, body) for body in stream.open().bodies(count)]
    return uvloop.run(_closed_loop(target, requests, connections, seconds))


def open_loop(target: Target, bodies: list[bytes], connections: int, per_s: float) -> Answers:
    """Send each body once, at this rate, over at most so many connections."""
    requests = [request(target, body) for body in bodies]
    return uvloop.run(_open_loop(target, requests, connections, per_s))


def request(target: Target, body: bytes) -> bytes:
    """A webhook as Meta posts it."""
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nAccept: */*\r\nUser-Agent: facebookexternalua\r\n"
        f"Content-Type: application/json\r\nX-Hub-Signature-256: {sign(body, target.secret)}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Parsed(msgspec.Struct, frozen=True):
    """A whole answer. closes: the server ends the connection after it."""

    status: int
    closes: bool


def parsed(data: bytes) -> Parsed | None:
    """What an answer says; None while it is not whole."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(data, 0, end + 2)
    if len(data) < end + 4 + (int(length[1]) if length else 0):
        return None
    return Parsed(int(data[9:12]), b"onnection: close" in data[:end])


class _Load:
    """What all connections share: the requests still to be sent, and the answers so far."""

    def __init__(self, target: Target, requests: list[bytes], *, again: bool) -> None:
        self.target = target
        self.requests = requests
        self.again = again
        self.sent = 0
        self.stopping = False
        self.answers = Answers(Counter(), [], 0.0, 0.0, 0.0, 0.0, [0.0] * (0 if again else len(requests)))
        self.free: deque[_Connection] = deque()
        self.due: deque[tuple[int, float]] = deque()
        self.all_answered = asyncio.Event()
        self.known: dict[bytes, Parsed] = {}  # answers repeat: looking one up is cheaper than reading it

    async def connect(self, connections: int) -> None:
        """Open the connections."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.target.port)

    def ready(self, connection: "_Connection") -> None:
        """A connection has nothing to do: give it the next request, or let it wait."""
        if self.stopping:
            connection.close()
        elif self.again:
            connection.send(self.sent % len(self.requests), time.perf_counter())
            self.sent += 1
        elif self.due:
            connection.send(*self.due.popleft())
        else:
            self.free.append(connection)

    def answered(self, place: int, status: int, latency_s: float) -> None:
        """Keep one answer."""
        self.answers.statuses[status] += 1
        self.answers.latencies_s.append(latency_s)
        if not self.again:
            self.answers.at[place] = time.time()
            if len(self.answers.latencies_s) == len(self.requests):
                self.all_answered.set()


class _Connection(asyncio.Protocol):
    """One connection with at most one request under way. A server that closes it after the answer is connected to anew."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._place = -1
        self._began = 0.0
        self._buffer = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # a TCP connection's is a Transport
        if self._place >= 0 and self._transport:
            self._transport.write(self._load.requests[self._place])  # it was closed under us: once more
        else:
            self._load.ready(self)

    def send(self, place: int, began: float) -> None:
        self._place, self._began = place, began
        if self._transport:
            self._transport.write(self._load.requests[place])

    @override
    def data_received(self, data: bytes) -> None:
        known = self._load.known.get(data)
        if known is None or self._buffer:
            self._buffer += data
            known = parsed(self._buffer)
            if known is None:
                return
            self._load.known[self._buffer] = known
            self._buffer = b""
        self._load.answered(self._place, known.status, time.perf_counter() - self._began)
        self._place = -1
        if known.closes and self._transport:
            self._transport.close()
        else:
            self._load.ready(self)

    @override
    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self._load.stopping:
            self._buffer = b""
            if self._place < 0 and self._load.again:  # the time to connect anew belongs to the next request
                self._place, self._began = self._load.sent % len(self._load.requests), time.perf_counter()
                self._load.sent += 1
            loop = asyncio.get_running_loop()
            self._again = loop.create_task(
                loop.create_connection(lambda: self, "127.0.0.1", self._load.target.port)
            )

    def close(self) -> None:
        if self._transport:
            self._transport.close()


async def _closed_loop(target: Target, requests: list[bytes], connections: int, seconds: float) -> Answers:
    load = _Load(target, requests, again=True)
    server, postgres = (cpu_s(pid) for pid in target.pids)
    began, generator = time.perf_counter(), time.process_time()
    await load.connect(connections)
    await asyncio.sleep(seconds)
    load.answers.wall_s = time.perf_counter() - began
    load.answers.generator_s = time.process_time() - generator
    load.stopping = True
    counted = len(load.answers.latencies_s)
    await asyncio.sleep(SETTLE_S)
    load.answers.server_s = cpu_s(target.pids[0]) - server
    load.answers.postgres_s = cpu_s(target.pids[1]) - postgres
    del load.answers.latencies_s[counted:]
    return load.answers


async def _open_loop(target: Target, requests: list[bytes], connections: int, per_s: float) -> Answers:
    load = _Load(target, requests, again=False)
    await load.connect(connections)
    server, postgres = (cpu_s(pid) for pid in target.pids)
    began, generator = time.perf_counter(), time.process_time()
    for place in range(len(requests)):
        due = began + place / per_s
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(max(wait, TICK_S))
        if load.free:
            load.free.popleft().send(place, due)
        else:
            load.due.append((place, due))
    with suppress(TimeoutError):  # what is not answered then is missing in the statuses
        await asyncio.wait_for(load.all_answered.wait(), ANSWERED_S)
    load.answers.wall_s = time.perf_counter() - began
    load.answers.generator_s = time.process_time() - generator
    load.answers.server_s = cpu_s(target.pids[0]) - server
    load.answers.postgres_s = cpu_s(target.pids[1]) - postgres
    load.stopping = True
    while load.free:
        load.free.popleft().close()
    return load.answers
