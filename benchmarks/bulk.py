"""How much memory does `whatrack serve` with its workers keep after bodies as large as it takes, 4 MB each?

Meta sends at most 3 MB, mostly far less; but bodies pile up at Meta while a server is away, and then come one after the other.
"""

import hashlib
import hmac
import http.client
import time
from collections.abc import Callable, Sequence

import msgspec

from benchmarks import servers
from benchmarks.bodies import Shop, change, envelope
from benchmarks.database import Cluster, connect
from benchmarks.load import Target
from benchmarks.processes import memory_mb, peak_mb, wait_for

COUNTS = (1, 5, 20)  # bodies so far when memory is read
ROOM = 4 * 1024 * 1024 - 1000
IDLE_S = 3.0  # after the last commit: what is given back, is given back soon
QUEUED = "SELECT count(*) FROM delivery_queue"
SET_ASIDE = "SELECT count(*) FROM delivery_exceptions"


class BulkResult(msgspec.Struct, frozen=True):
    """Memory of the service alone, in MB. pss: at the start, then after so many bodies as COUNTS says. peak: the most at once (RSS)."""

    kind: str
    messages: int
    pss: tuple[float, ...]
    peak: float


def measure(cluster: Cluster, shop: Shop) -> list[BulkResult]:
    """Bodies of many short messages, of about as many long ones as Meta puts into one, and of one long text; each kind to a server of its own."""
    kinds: dict[str, Callable[[int], tuple[int, bytes]]] = {
        "as many messages as fit": lambda place: _many(shop, place, 0),
        "long messages": lambda place: _many(shop, place, 3000),
        "one long text": lambda place: _long(shop, place),
    }
    return [_measure(cluster, kind, make) for kind, make in kinds.items()]


def _measure(cluster: Cluster, kind: str, make: Callable[[int], tuple[int, bytes]]) -> BulkResult:
    with servers.whatrack(cluster, with_workers=True) as target:
        time.sleep(IDLE_S)
        read = [memory_mb([target.pids[0]])[0]]
        messages = 0
        for place in range(max(COUNTS)):
            messages, body = make(place)
            _post(target, body)
            if place + 1 in COUNTS:
                wait_for(lambda: _count(cluster, QUEUED) == 0, "an empty queue", 120)
                time.sleep(IDLE_S)
                read.append(memory_mb([target.pids[0]])[0])
        peak = peak_mb(target.pids[0])
    if _count(cluster, SET_ASIDE):
        raise RuntimeError("a body was set aside")
    return BulkResult(kind, messages, tuple(read), peak)


def _post(target: Target, body: bytes) -> None:
    """One signed body. RuntimeError when it is not acknowledged."""
    signature = "sha256=" + hmac.digest(target.secret, body, hashlib.sha256).hex()
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=30)
    connection.request("POST", target.path, body, {"X-Hub-Signature-256": signature})
    status = connection.getresponse().status
    connection.close()
    if status != 200:
        raise RuntimeError(f"answered {status}")


def _many(shop: Shop, place: int, text: int) -> tuple[int, bytes]:
    """Messages of different people in one body: how many, and the body. text: characters of each beside what it says anyway."""
    sample = _changes(shop, place, range(1), text)
    count = ROOM // (len(msgspec.json.encode(sample[0])) + 20)  # names differ in length
    return count, envelope(shop, _changes(shop, place, range(count), text))


def _changes(shop: Shop, place: int, people: Sequence[int], text: int) -> list[dict[str, object]]:
    now = int(time.time())
    made = [
        change(shop, shop.first_person + each, now, f"B{text:04d}{place:04d}{each:06d}", None)
        for each in people
    ]
    for each in made:
        each["value"]["messages"][0]["text"]["body"] += "x" * text
    return made


def _long(shop: Shop, place: int) -> tuple[int, bytes]:
    return 1, envelope(shop, _changes(shop, place, range(1), ROOM - 1000))


def _count(cluster: Cluster, query: str) -> int:
    with connect(cluster.conninfo) as conn:
        row = conn.execute(query.encode()).fetchone()
    return int(row[0]) if row else -1
