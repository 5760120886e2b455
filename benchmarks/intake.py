"""How many webhooks a second one process takes in, durably, beside two usual ways of receiving them."""

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from statistics import median
from urllib.request import urlopen

import msgspec

from benchmarks import servers
from benchmarks.bodies import Mix, Shop, Source
from benchmarks.database import Cluster, connect
from benchmarks.load import Answers, Target, closed_loop
from benchmarks.processes import in_process

CONNECTIONS = 64
DISTINCT_PER_S = 10_000
WARM_UP_S = 0.5
OURS, PYWA, FLASK = "WhaTrack", "pywa_async + FastAPI", "Flask + psycopg"
MIX = Mix(referral=1.0)  # 1.3 kB each


class Intake(msgspec.Struct, frozen=True):
    """One system at one number of connections, medians of its rounds; µs of CPU a request."""

    per_s: float
    least_per_s: float
    most_per_s: float
    p50_ms: float
    p99_ms: float
    most_p99_ms: float
    generator_us: float
    server_us: float
    postgres_us: float
    refused: int


class IntakeResult(msgspec.Struct, frozen=True):
    """stored: rows of ours after the last answer, against `acknowledged` 200s. handled: what pywa says it handled."""

    rounds: int
    seconds: float
    systems: dict[str, Intake]
    connections: dict[int, Intake]
    body_bytes: float
    acknowledged: int
    stored: int
    handled: int


def measure(cluster: Cluster, shop: Shop, *, rounds: int, seconds: float) -> IntakeResult:
    """All systems in turn, round by round; then ours alone with fewer and more connections."""
    now = int(time.time())
    answers: dict[tuple[str, int], list[Answers]] = {}
    seed = 1000

    def run(name: str, target: Target, connections: int, seconds: float) -> None:
        nonlocal seed
        seed += 1
        source = Source((shop,), seed, now, MIX)
        count = int(seconds * DISTINCT_PER_S)
        found = in_process(closed_loop, target, source, count, connections, seconds)
        answers.setdefault((name, connections if seconds > WARM_UP_S else 0), []).append(found)

    with ExitStack() as stack:
        targets: Mapping[str, Target] = {
            OURS: stack.enter_context(servers.whatrack(cluster, with_workers=False)),
            PYWA: stack.enter_context(servers.pywa(cluster, shop)),
            FLASK: stack.enter_context(servers.flask(cluster)),
        }
        for name, target in targets.items():
            run(name, target, CONNECTIONS, WARM_UP_S)
        for _ in range(rounds):
            for name, target in targets.items():
                run(name, target, CONNECTIONS, seconds)
        for connections in (8, 256):
            for _ in range(2):
                run(OURS, targets[OURS], connections, seconds)
        with urlopen(f"http://127.0.0.1:{targets[PYWA].port}/handled", timeout=30) as page:
            handled = int(json.load(page)["messages"])
    ours = [each for (name, _), found in answers.items() if name == OURS for each in found]
    return IntakeResult(
        rounds=rounds,
        seconds=seconds,
        systems={name: _summary(answers[name, CONNECTIONS]) for name in targets},
        connections={count: _summary(answers[OURS, count]) for count in (8, CONNECTIONS, 256)},
        body_bytes=median(len(body) for body in Source((shop,), 1, now, MIX).open().bodies(200)),
        acknowledged=sum(each.statuses[200] for each in ours),
        stored=_stored(cluster),
        handled=handled,
    )


def _summary(rounds: list[Answers]) -> Intake:
    speeds = [each.per_s for each in rounds]
    totals = [(each, each.statuses.total()) for each in rounds]
    return Intake(
        per_s=median(speeds),
        least_per_s=min(speeds),
        most_per_s=max(speeds),
        p50_ms=median(each.latency_ms(0.50) for each in rounds),
        p99_ms=median(each.latency_ms(0.99) for each in rounds),
        most_p99_ms=max(each.latency_ms(0.99) for each in rounds),
        generator_us=median(each.generator_s / total * 1e6 for each, total in totals),
        server_us=median(each.server_s / total * 1e6 for each, total in totals),
        postgres_us=median(each.postgres_s / total * 1e6 for each, total in totals),
        refused=sum(total - each.statuses[200] for each, total in totals),
    )


def _stored(cluster: Cluster) -> int:
    """How many deliveries are there; then none are, and no peer's."""
    with connect(cluster.conninfo) as conn:
        row = conn.execute("SELECT count(*) FROM webhook_deliveries").fetchone()
        conn.execute("TRUNCATE webhook_deliveries, delivery_queue, peer_deliveries")
    return int(row[0]) if row else 0
