"""Is one process with its workers fast enough for a number that sends 1,000 messages a second?

Meta's sizing rule: such a number causes 3,000 statuses and, here, 1,000 inbound messages a second, each a webhook of its
own. They are due at fixed moments, whatever the answers do. Lag is the time from the 200 to the commit that makes the
message's ticket visible: PostgreSQL keeps every commit's moment (track_commit_timestamp), and generator, service and
PostgreSQL share one clock.
"""

import time

import msgspec

from benchmarks import servers
from benchmarks.bodies import Shop, Source, status
from benchmarks.database import Cluster, connect, settled
from benchmarks.load import Answers, Target, open_loop, percentile
from benchmarks.processes import in_process, memory_mb, wait_for

MESSAGES_PER_S = 1000
STATUSES = ("sent", "delivered", "read")
PER_S = MESSAGES_PER_S * (1 + len(STATUSES))
WARM_UP_S = 3
CONNECTIONS = 256
CATCH_UP_S = 120.0

COMMITTED = """
SELECT wamid, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM messages WHERE wamid = ANY(%s)
"""
COUNTED = """
SELECT coalesce(sum(count), 0)::bigint, max(extract(epoch FROM pg_xact_commit_timestamp(xmin)))::float8 FROM number_day_counters
WHERE phone_number_id = %s
"""
WAITING = "SELECT (SELECT count(*) FROM delivery_queue), (SELECT count(*) FROM delivery_exceptions)"


class MixedResult(msgspec.Struct, frozen=True):
    """lag_*: from the 200 to the commit of the message's ticket. behind_s: from the last 200 to the last commit.

    missing: messages and statuses that were acknowledged and are not in the database. Memory in MB, of the service alone.
    """

    seconds: float
    sent: int
    not_200: int
    p50_ms: float
    p99_ms: float
    lag_p50_s: float
    lag_p99_s: float
    lag_most_s: float
    behind_s: float
    missing: int
    set_aside: int
    server_share: float
    postgres_share: float
    pss_at_start: float
    pss: float
    uss: float


class _Sent(msgspec.Struct, frozen=True):
    """answers: to all requests, `wamids` to those with a message, by place."""

    answers: Answers
    wamids: dict[int, str]


def measure(cluster: Cluster, shop: Shop, seconds: int) -> MixedResult:
    """Send the mix to `whatrack serve`, wait until all is drained, then read what came of it."""
    source = Source((shop,), 900, int(time.time()))
    with servers.whatrack(cluster, with_workers=True) as target:
        at_start, _ = memory_mb([target.pids[0]])
        settled(cluster)
        wait_for(lambda: _waiting(cluster)[0] == 0, "an empty queue")
        before = _statuses(cluster, shop)[0]
        sent = in_process(_send, target, source, WARM_UP_S + seconds)
        wait_for(lambda: _waiting(cluster)[0] == 0, "an empty queue", CATCH_UP_S)
        pss, uss = memory_mb([target.pids[0]])
    return _result(cluster, shop, sent, seconds, before, (at_start, pss, uss))


def _send(target: Target, source: Source, seconds: int) -> _Sent:
    stream = source.open()
    bodies: list[bytes] = []
    wamids: dict[int, str] = {}
    for place in range(MESSAGES_PER_S * seconds):
        wamids[len(bodies)], body = stream.message(source.shops[0])
        bodies += [body, *_statuses_of(source, place)]
    return _Sent(open_loop(target, bodies, CONNECTIONS, PER_S), wamids)


def _statuses_of(source: Source, place: int) -> list[bytes]:
    shop = source.shops[0]
    person = shop.first_person + place % shop.people
    return [status(shop, person, source.now, f"{place:013d}", word) for word in STATUSES]


def _result(
    cluster: Cluster, shop: Shop, sent: _Sent, seconds: int, before: int, memory: tuple[float, float, float]
) -> MixedResult:
    answers = sent.answers
    with connect(cluster.conninfo) as conn:
        committed: dict[str, float] = dict(conn.execute(COMMITTED, [list(sent.wamids.values())]).fetchall())
    counted, last_count = _statuses(cluster, shop)
    first = WARM_UP_S * PER_S
    lags = [
        committed[wamid] - answers.at[place]
        for place, wamid in sent.wamids.items()
        if place >= first and wamid in committed
    ]
    requests = len(answers.at)
    expected = requests - len(sent.wamids)
    latencies = answers.latencies_s[first:]
    return MixedResult(
        seconds=seconds,
        sent=requests,
        not_200=requests - answers.statuses[200],
        p50_ms=percentile(latencies, 0.50) * 1000,
        p99_ms=percentile(latencies, 0.99) * 1000,
        lag_p50_s=percentile(lags, 0.50),
        lag_p99_s=percentile(lags, 0.99),
        lag_most_s=max(lags),
        behind_s=max(last_count, *committed.values()) - max(answers.at),
        missing=len(sent.wamids) - len(committed) + expected - (counted - before),
        set_aside=_waiting(cluster)[1],
        server_share=answers.server_s / answers.wall_s,
        postgres_share=answers.postgres_s / answers.wall_s,
        pss_at_start=memory[0],
        pss=memory[1],
        uss=memory[2],
    )


def _statuses(cluster: Cluster, shop: Shop) -> tuple[int, float]:
    """How many statuses of the number are counted, and when the last was committed."""
    with connect(cluster.conninfo) as conn:
        row = conn.execute(COUNTED, [shop.number]).fetchone()
    return (int(row[0]), float(row[1] or 0.0)) if row else (0, 0.0)


def _waiting(cluster: Cluster) -> tuple[int, int]:
    """How many deliveries are queued, and how many are set aside."""
    with connect(cluster.conninfo) as conn:
        row = conn.execute(WAITING).fetchone()
    return (int(row[0]), int(row[1])) if row else (-1, -1)
