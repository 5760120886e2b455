"""The webhook endpoint over real HTTP: Meta's handshake, what is taken, what is refused and how, and outages."""

import asyncio
import io
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from psycopg import AsyncConnection

from tests.conftest import BIN_DIR
from tests.support import (
    APP_SECRET,
    NOON,
    SEALER,
    TEXT,
    VERIFY_TOKEN,
    ad,
    body,
    change,
    drain,
    make_shop,
    message,
    phone_number_id,
    published,
    rows,
    tickets,
)
from whatrack.db import Database
from whatrack.embedded import EmbeddedPostgres, remove
from whatrack.inbox.batch import Batcher, NotStored
from whatrack.inbox.signature import sign
from whatrack.meta.webhook import MAX_BODY
from whatrack.migrations import migrate
from whatrack.settings import Settings
from whatrack.tenants import api_keys
from whatrack.web.app import Service

PATH = "/api/v1/whatsapp/webhook"
T = TypeVar("T")
SOON_S = 20.0  # nothing awaited here takes this long unless it is broken


def settings(secrets: str = APP_SECRET, token: str = VERIFY_TOKEN, **more: Any) -> Settings:
    return Settings(WHATSAPP_APP_SECRET=secrets, WHATSAPP_VERIFY_TOKEN=token, **more)


@asynccontextmanager
async def serving(
    conninfo: str, *, settings: Settings | None = None, workers: bool = True
) -> AsyncIterator[str]:
    """A whole service of other settings, or without workers, on a real port; its base URL."""
    app = Service(settings or globals()["settings"](), Database(conninfo), SEALER, with_workers=workers)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, loop="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
        if task.done():
            task.result()
            raise RuntimeError("the service did not start")
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


def http(base: str, *, limit: int = 100) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=60)
    return aiohttp.ClientSession(base, connector=aiohttp.TCPConnector(limit=limit), timeout=timeout)


def signed(text: bytes, secret: str = APP_SECRET) -> dict[str, str]:
    return {"x-hub-signature-256": sign(text, secret.encode()), "content-type": "application/json"}


async def post(base: str, text: bytes, headers: dict[str, str] | None = None) -> int:
    """Post a body, rightly signed unless headers are given; the answer's status."""
    async with http(base) as client:
        return (await deliver(client, text, signed(text) if headers is None else headers)).status


async def status_of(client: aiohttp.ClientSession, path: str) -> int:
    async with client.get(path) as response:
        await response.read()
        return response.status


async def deliver(
    client: aiohttp.ClientSession, text: bytes, headers: dict[str, str] | None = None
) -> aiohttp.ClientResponse:
    """Post a body, rightly signed unless headers are given; the answer, read."""
    headers = signed(text) if headers is None else headers
    async with client.post(PATH, data=io.BytesIO(text), headers=headers) as response:
        await response.read()
        return response


async def send_raw(base: str, *parts: bytes) -> bytes:
    """Write bytes to a connection of its own; everything that comes back until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(base).port)
    answer = b""
    try:
        async with asyncio.timeout(SOON_S):
            for part in parts:
                writer.write(part)
                await writer.drain()
            answer = await reader.read()
    except ConnectionError:
        answer += await reader.read()
    finally:
        writer.close()
    return answer


async def eventually(look: Callable[[], Awaitable[T]]) -> T:
    """What `look` finds, as soon as it finds something."""
    async with asyncio.timeout(SOON_S):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(0.01)


async def metric(base: str, name: str, **labels: str) -> float:
    async with http(base) as client, client.get("/metrics") as response:
        text = await response.text()
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return sum(each.value for each in samples if each.name == name and each.labels == labels)


async def deliveries(db: Database) -> list[bytes]:
    """Every stored body, in the order of arrival."""
    return [bytes(row["body"]) for row in await rows(db, "SELECT body FROM webhook_deliveries ORDER BY id")]


async def operator_key(db: Database) -> dict[str, str]:
    async with db.installation() as conn:
        _, key = await api_keys.create(conn, None, "operator")
    return {"authorization": f"Bearer {key}"}


async def listed(base: str, key: dict[str, str], state: str = "failed") -> list[dict[str, Any]]:
    """The deliveries in one state, as the API shows them."""
    answer = await api(base, key, "GET", f"/api/v1/deliveries?state={state}&limit=200")
    found: list[dict[str, Any]] = answer["data"]
    return found


async def api(base: str, key: dict[str, str], method: str, path: str, **request: Any) -> dict[str, Any]:
    """What the API answers, when it does as asked."""
    async with http(base) as client, client.request(method, path, headers=key, **request) as response:
        assert response.ok, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


# The handshake


async def shake(base: str, query: str) -> tuple[int, bytes, str]:
    answer = await send_raw(
        base, f"GET {PATH}?{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
    )
    head, _, text = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), text, head.decode().lower()


def handshake(challenge: str = "1158201444", token: str = VERIFY_TOKEN, mode: str = "subscribe") -> str:
    return f"hub.mode={mode}&hub.challenge={challenge}&hub.verify_token={quote(token)}"


async def test_the_handshake_echoes_the_challenge_as_plain_text(service: str):
    status, text, head = await shake(service, handshake())

    assert (status, text) == (200, b"1158201444")
    assert "content-type: text/plain" in head


async def test_the_handshake_echoes_the_challenge_byte_for_byte(service: str):
    challenges = {
        "0042": b"0042",
        "a%26b%3Dc%25": b"a&b=c%",
        "%22%3Cb%3E": b'"<b>',
        "a+b%2B%20": b"a b+ ",
        "ol%C3%A1": "olá".encode(),
        "%FF%FE%00%0D%0A": b"\xff\xfe\x00\r\n",
        "9" * 4000: b"9" * 4000,
    }

    answers = {sent: (await shake(service, handshake(sent)))[:2] for sent in challenges}

    assert answers == {sent: (200, echoed) for sent, echoed in challenges.items()}


async def test_anything_but_the_right_handshake_is_forbidden(service: str):
    queries = [
        handshake(token="planted-verify-token-77c2"),
        handshake(token=VERIFY_TOKEN + " "),
        handshake(token=VERIFY_TOKEN.upper()),
        handshake(token=""),
        handshake(token="né"),
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=%FF%FE",
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=%ED%A0%80",
        "hub.mode=subscribe&hub.challenge=1",
        f"hub_mode=subscribe&hub_challenge=1&hub_verify_token={VERIFY_TOKEN}",
        handshake(mode="unsubscribe"),
        handshake(mode=""),
        f"hub.challenge=1&hub.verify_token={VERIFY_TOKEN}",
        handshake(challenge=""),
        f"hub.mode=subscribe&hub.verify_token={VERIFY_TOKEN}",
        "",
        "%",
        "&&==&;",
    ]

    answers = {query: await shake(service, query) for query in queries}

    assert {query: status for query, (status, _, _) in answers.items()} == dict.fromkeys(queries, 403)
    assert not any(VERIFY_TOKEN.encode() in text for _, text, _ in answers.values())


async def test_who_knows_the_token_is_told_what_else_the_handshake_lacks(service: str):
    answers = {
        query: json.loads((await shake(service, query))[1])["detail"]
        for query in (handshake(mode="unsubscribe"), handshake(challenge=""), handshake(token="another"))
    }

    assert [*answers.values()] == [
        *["A handshake has hub.mode=subscribe and a hub.challenge."] * 2,
        "The verify token does not match WHATSAPP_VERIFY_TOKEN.",
    ]


async def test_every_refusal_is_problem_json_with_its_code(service: str):
    text = body()
    signature = f"x-hub-signature-256: {sign(text, b'another')}"
    declared = f"content-length: {MAX_BODY + 1}"
    heads = {
        "verify_token": f"GET {PATH}?hub.mode=subscribe&hub.challenge=1",
        "method": f"PUT {PATH}",
        "signature_missing": f"POST {PATH}",
        "signature_malformed": f"POST {PATH} HTTP/1.1\r\nx-hub-signature-256: sha256=x",
        "signature_wrong": f"POST {PATH} HTTP/1.1\r\n{signature}",
        "too_large": f"POST {PATH} HTTP/1.1\r\n{declared}",
    }
    for code, start in heads.items():
        first, _, more = start.partition(" HTTP/1.1\r\n")
        lines = [f"{first} HTTP/1.1", "host: x", "connection: close", *([more] if more else []), "", ""]
        answer = await send_raw(service, "\r\n".join(lines).encode())

        head, _, said = answer.partition(b"\r\n\r\n")
        assert b"content-type: application/problem+json" in head.lower(), code
        problem = json.loads(said)
        assert set(problem) == {"type", "title", "status", "code", "detail"}
        assert (problem["code"], problem["status"]) == (code, int(head.split()[1]))


async def test_a_token_that_is_not_ascii_is_compared_like_any_other(db: Database, conninfo: str):
    token = "senha-é-ção-🔑"

    async with serving(conninfo, settings=settings(token=token), workers=False) as base:
        right = await shake(base, handshake(token=token))
        wrong = await shake(base, handshake(token=token[:-1]))

    assert (right[0], right[1], wrong[0]) == (200, b"1158201444", 403)


async def test_other_methods_are_not_allowed(service: str):
    async with http(service) as client:
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
            async with client.request(method, PATH) as response:
                assert (response.status, response.headers["allow"]) == (405, "GET, POST")


# What comes in


async def test_a_published_webhook_becomes_a_ticket_by_itself(db: Database, conninfo: str):
    shop = await make_shop(db)

    async with serving(conninfo) as base:
        status = await post(base, published("docs_messages_text__click_to_whatsapp_ad", shop.number))
        found = await eventually(lambda: tickets(db))

    assert status == 200
    assert [ticket["meta_ad_id"] for ticket in found] == ["120226305854810726"]


async def test_a_number_that_went_live_a_moment_ago_needs_no_restart(db: Database, service: str):
    shop = await make_shop(db)  # the running service has not heard of it yet

    await post(service, body(change(shop.number, message(referral=ad()))))

    found = await eventually(lambda: tickets(db))
    assert found[0]["meta_source_type"] == "ad"


BAD_BODIES = {
    "empty": (b"", "not_json"),
    "prose": (b"hello", "not_json"),
    "cut short": (b'{"object":"whatsapp_business_account","entry":[{"id"', "not_json"),
    "trailing words": (b"{} and more", "not_json"),
    "form": (b"a=1&b=2", "not_json"),
    "zero bytes": (b"\x00" * 100, "not_json"),
    "byte order mark": (b"\xef\xbb\xbf{}", "not_json"),
    "UTF-16": ("{}".encode("utf-16"), "not_json"),
    "a list": (b"[]", "not_a_webhook"),
    "null": (b"null", "not_a_webhook"),
    "a number": (b"1", "not_a_webhook"),
    "a text": (b'"entry"', "not_a_webhook"),
    "entry is a text": (b'{"entry":"x"}', "not_a_webhook"),
    "entry of texts": (b'{"entry":["x"]}', "no_number"),
    "nested too deeply": (b"[" * 500_000 + b"]" * 500_000, "not_a_webhook"),
    "nested without an end": (b'{"entry":' * 200_000, "not_a_webhook"),
    "nobody's change": (b'{"entry":[{"changes":[{"value":{}}]}]}', "no_number"),
    "a number that is none": (body(change("../../etc/passwd")), "no_number"),
    "a number without an end": (body(change("9" * 65)), "no_number"),
}


async def test_a_signed_body_nobody_can_use_is_stored_and_listed_as_failed(db: Database, service: str):
    key = await operator_key(db)

    answers = [await post(service, text) for text, _ in BAD_BODIES.values()]

    assert answers == [200] * len(BAD_BODIES)
    assert await deliveries(db) == [text for text, _ in BAD_BODIES.values()]
    await drain(db)
    failed = sorted(await listed(service, key), key=lambda each: int(each["id"]))
    assert [(each["reason"], each["bytes"]) for each in failed] == [
        (reason, len(text)) for text, reason in BAD_BODIES.values()
    ]
    assert {(each["state"], each["route"], each["attempts"]) for each in failed} == {("failed", "", 1)}


async def test_a_body_without_any_change_is_stored_and_done(db: Database, service: str):
    texts = [
        b"{}",
        b'{"object":"whatsapp_business_account","entry":[]}',
        b'{"entry":[{"id":"1","changes":[]}]}',
    ]

    answers = [await post(service, text) for text in texts]

    assert answers == [200] * len(texts)
    assert await deliveries(db) == texts
    assert await rows(db, "SELECT 1 FROM delivery_queue UNION ALL SELECT 1 FROM delivery_exceptions") == []


async def test_text_postgresql_cannot_hold_is_kept_with_replacements_and_harms_no_neighbour(
    db: Database, service: str
):
    shop = await make_shop(db)
    people = [message(f"55119000000{place:02}", text=f"{TEXT} {place}") for place in range(5)]
    people[1]["text"]["body"] = "lone \ud800 surrogate"
    people[3]["text"]["body"] = "a \x00 zero"
    people[4]["contacts"] = [{"name": {"formatted_name": "\udfff\x00"}}]

    status = await post(service, body(change(shop.number, *people)))
    await drain(db)

    assert status == 200
    found = await rows(db, "SELECT body, raw->>'id' AS wamid, raw::text AS raw FROM messages ORDER BY body")
    assert {row["body"] for row in found} == {
        f"{TEXT} 0",
        "lone \ufffd surrogate",
        f"{TEXT} 2",
        "a \ufffd zero",
        f"{TEXT} 4",
    }
    assert {row["wamid"] for row in found} == {each["id"] for each in people}
    assert len(await tickets(db)) == 5
    assert await rows(db, "SELECT 1 FROM delivery_exceptions") == []


async def test_bytes_that_are_not_utf_8_harm_no_neighbour(db: Database, service: str):
    shop = await make_shop(db)
    people = [message(f"55119000000{place:02}", text=f"texto-plantado-{place}") for place in range(3)]
    text = body(change(shop.number, *people)).replace(b"texto-plantado-1", b"texto-\xff\xfe-1")

    status = await post(service, text)
    await drain(db)

    assert status == 200
    found = await rows(db, "SELECT body FROM messages ORDER BY body")
    assert {row["body"] for row in found} == {"texto-plantado-0", "texto-\ufffd\ufffd-1", "texto-plantado-2"}
    assert await rows(db, "SELECT 1 FROM delivery_exceptions") == []


async def test_three_megabytes_with_a_thousand_messages_become_a_thousand_tickets(db: Database, service: str):
    shop = await make_shop(db)
    long = "á🙂" * 160
    people = [
        message(f"5511{900_000_000 + place}", text=f"{long} {place}", at=NOON + timedelta(seconds=place))
        for place in range(1000)
    ]
    text = body(change(shop.number, *people))
    assert 3_000_000 < len(text) < MAX_BODY

    status = await post(service, text)
    await drain(db)

    assert status == 200
    (counted,) = await rows(
        db,
        "SELECT count(*) AS messages, count(DISTINCT wamid) AS wamids, min(length(body)) AS shortest FROM messages",
    )
    assert (counted["messages"], counted["wamids"]) == (1000, 1000)
    assert counted["shortest"] == len(long) + 2
    assert await rows(db, "SELECT count(*) FROM tickets") == [{"count": 1000}]


# Size


def post_head(*lines: str) -> bytes:
    return "\r\n".join((f"POST {PATH} HTTP/1.1", "host: x", *lines, "", "")).encode()


async def test_a_body_declared_too_large_is_refused_before_any_of_it_is_sent(db: Database, service: str):
    signature = "x-hub-signature-256: sha256=00"

    answers = [
        await send_raw(service, post_head(f"content-length: {length}", signature))
        for length in (MAX_BODY + 1, 10**12)
    ]

    assert [answer.split()[1] for answer in answers] == [b"413", b"413"]
    assert await deliveries(db) == []


async def test_a_body_of_unknown_length_is_refused_as_soon_as_it_is_too_large(db: Database, service: str):
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"

    # No end is ever sent: an answer proves that nobody waits for it.
    answer = await send_raw(service, post_head("transfer-encoding: chunked"), *[chunk] * 65)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert await deliveries(db) == []


async def test_a_body_of_exactly_four_megabytes_is_taken(db: Database, service: str):
    text = b'{"entry":[]}' + b" " * (MAX_BODY - 12)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(text), 100_000):
            yield text[start : start + 100_000]

    async with http(service) as client:
        whole = await deliver(client, text)
        async with client.post(PATH, data=pieces(), headers=signed(text)) as chunked:
            assert (whole.status, chunked.status) == (200, 200)

    assert await deliveries(db) == [text, text]


async def test_a_client_that_hangs_up_in_the_middle_stores_nothing_and_harms_nobody(
    db: Database, service: str
):
    text = body(change(phone_number_id(), message()))
    head = post_head(
        f"content-length: {len(text)}", f"x-hub-signature-256: {sign(text, APP_SECRET.encode())}"
    )
    labels = {"status": "none", "reason": "client_gone"}
    gone = await metric(service, "whatrack_intake_answers_total", **labels)

    async def three_more() -> bool:
        return await metric(service, "whatrack_intake_answers_total", **labels) == gone + 3

    for part in (b"", text[:1], text[:-1]):
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(service).port)
        writer.write(head + part)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()

    assert await post(service, b"{}") == 200
    assert await deliveries(db) == [b"{}"]
    assert await eventually(three_more)


async def test_a_client_that_hangs_up_before_the_answer_harms_nobody(db: Database, service: str):
    texts = [b'{"entry":[],"n":%d}' % place for place in range(20)]

    for text in texts:
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(service).port)
        headers = f"content-length: {len(text)}", f"x-hub-signature-256: {sign(text, APP_SECRET.encode())}"
        writer.write(post_head(*headers) + text)
        await writer.drain()
        writer.transport.abort()

    assert await post(service, b"{}") == 200
    assert set(await deliveries(db)) <= {*texts, b"{}"}


async def test_a_malformed_request_is_refused_and_harms_nobody(db: Database, service: str):
    lines = ["content-length: -1", "content-length: 99999999999999999999999", "transfer-encoding: chunked"]

    answers = [await send_raw(service, post_head(line) + b"zz\r\n") for line in lines]

    assert all(answer.startswith(b"HTTP/1.1 400 ") for answer in answers)
    assert await post(service, b"{}") == 200


# Outages


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedPostgres, str]]:
    """A durable database that these tests stop, freeze and set read-only; each leaves it running and writable."""
    folder = tmp_path_factory.mktemp("own") / "data"
    with EmbeddedPostgres(folder, bin_dir=Path(BIN_DIR) if BIN_DIR else None) as server:
        conninfo = server.start()
        migrate(conninfo)
        yield server, conninfo
    remove(folder)


@asynccontextmanager
async def opened(conninfo: str) -> AsyncIterator[Database]:
    db = Database(conninfo)
    await db.open()
    yield db
    await db.close()


async def until_taken(client: aiohttp.ClientSession, text: bytes) -> list[int]:
    """Post a body until it is taken, as Meta would; every status on the way."""
    statuses: list[int] = []
    async with asyncio.timeout(SOON_S):
        while statuses[-1:] != [200]:
            statuses.append((await deliver(client, text)).status)
            await asyncio.sleep(0 if statuses[-1] == 200 else 0.1)
    return statuses


async def test_a_full_queue_refuses_at_once_and_loses_nothing_it_took(db: Database, conninfo: str):
    texts = [b'{"entry":[],"n":%d}' % place + b" " * 3_000_000 for place in range(40)]
    answered: list[tuple[int, str | None, bytes]] = []

    async with serving(conninfo, workers=False) as base, http(base) as client:

        async def one(text: bytes) -> None:
            response = await deliver(client, text)
            answered.append((response.status, response.headers.get("retry-after"), text))

        async def refusals() -> list[tuple[int, str | None, bytes]]:
            return list(answered)

        async with asyncio.TaskGroup() as group, db.system() as conn:
            await conn.execute("LOCK TABLE delivery_queue IN ACCESS EXCLUSIVE MODE")  # the database is busy
            for text in texts:
                group.create_task(one(text))
                await asyncio.sleep(0.01)
                if answered:
                    break
            while_busy = await eventually(refusals)
        await one(b"{}")

    assert {(status, retry) for status, retry, _ in while_busy} == {(503, "5")}
    taken = {text for status, _, text in answered if status == 200}
    assert {status for status, _, _ in answered} == {200, 503}
    assert b"{}" in taken
    assert 20 < len(taken) < 40
    assert set(await deliveries(db)) == taken


async def test_a_batch_that_fails_by_a_mistake_of_ours_is_refused_and_the_next_one_stored(db: Database):
    batcher = Batcher(db)
    batcher.start()

    for _ in range(4):
        with pytest.raises(NotStored):
            await batcher.put(b"{}", "no route can be written so: \ud800")
    async with asyncio.timeout(SOON_S):
        await batcher.put(b"[]", "-1 ")
        await batcher.stop()

    assert await deliveries(db) == [b"[]"]


@pytest.mark.xdist_group("outages")
async def test_while_the_database_is_away_nothing_is_acknowledged_and_afterwards_all_goes_on(
    own_server: tuple[EmbeddedPostgres, str],
):
    server, conninfo = own_server
    before, during, after = ([b'{"entry":[],"%d":%d}' % (part, n) for n in range(20)] for part in range(3))

    async with serving(conninfo) as base, http(base) as client:
        taken = [await until_taken(client, text) for text in before]
        await asyncio.to_thread(server.stop)
        refused = await asyncio.gather(*(deliver(client, text) for text in during))
        health = [await status_of(client, "/readyz"), await status_of(client, "/healthz")]
        await asyncio.to_thread(server.start)
        again = [await until_taken(client, text) for text in after]

    assert taken == [[200]] * len(before)
    assert {(answer.status, answer.headers.get("retry-after")) for answer in refused} == {(503, "5")}
    assert health == [503, 200]
    assert {status for statuses in again for status in statuses[:-1]} <= {503}
    async with opened(conninfo) as db:
        assert set(await deliveries(db)) >= {*before, *after}


async def keep_both_writers_busy(conninfo: str, client: aiohttp.ClientSession, texts: list[bytes]) -> None:
    """From here on each of the intake's two writers has a connection."""
    async with opened(conninfo) as db, asyncio.TaskGroup() as group, db.system() as conn:
        await conn.execute("LOCK TABLE delivery_queue IN ACCESS EXCLUSIVE MODE")
        for text in texts:
            group.create_task(until_taken(client, text))
            await asyncio.sleep(0.1)


async def deliver_at(client: aiohttp.ClientSession, text: bytes, after_s: float) -> aiohttp.ClientResponse:
    await asyncio.sleep(after_s)
    return await deliver(client, text)


@pytest.mark.xdist_group("outages")
async def test_a_database_that_hangs_is_answered_503_before_meta_gives_up(
    own_server: tuple[EmbeddedPostgres, str],
):
    _, conninfo = own_server
    texts = [b'{"entry":[],"hangs":%d}' % place for place in range(5)]

    async with serving(conninfo) as base, http(base) as client:
        not_yet = [b'{"entry":[],"hangs":"not yet %d"}' % place for place in range(2)]
        await keep_both_writers_busy(conninfo, client, not_yet)
        frozen = await server_processes(conninfo)
        began = time.monotonic()
        try:
            send_all(signal.SIGSTOP, frozen)
            probe = asyncio.create_task(status_of(client, "/readyz"))
            answers = await asyncio.gather(
                *(deliver_at(client, text, 0.02 * n) for n, text in enumerate(texts))
            )
            took = time.monotonic() - began
        finally:
            send_all(signal.SIGCONT, frozen)
        ready = await probe
        await until_taken(client, b'{"entry":[],"hangs":"no more"}')

    assert [answer.status for answer in answers] == [503] * len(texts)
    assert took < 14  # 8 s and a busy machine's slack; a connection that hangs is given up only after 18 s
    assert ready == 503
    async with opened(conninfo) as db:
        stored = await deliveries(db)
    assert {*not_yet, b'{"entry":[],"hangs":"no more"}'} <= set(stored)


@pytest.mark.xdist_group("outages")
async def test_a_database_that_takes_no_writes_is_an_outage_like_any_other(
    own_server: tuple[EmbeddedPostgres, str],
):
    _, conninfo = own_server

    async with serving(conninfo, workers=False) as base, http(base) as client:

        async def unready() -> int:
            status = await status_of(client, "/readyz")
            return status if status != 200 else 0

        await until_taken(client, b"{}")
        await run_alone(conninfo, "ALTER ROLE whatrack SET default_transaction_read_only = on")
        try:
            await end_other_sessions(conninfo)
            ready = await eventually(unready)
            answer = await deliver(client, b"{}")
        finally:
            await run_alone(
                conninfo, "BEGIN READ WRITE; ALTER ROLE whatrack RESET default_transaction_read_only; COMMIT"
            )
            await end_other_sessions(conninfo)
        back = await until_taken(client, b"{}")

    assert (answer.status, ready) == (503, 503)
    assert back[-1] == 200


async def run_alone(conninfo: str, statement: LiteralString) -> None:
    async with await AsyncConnection.connect(conninfo, autocommit=True) as conn:
        await conn.execute(statement)


async def end_other_sessions(conninfo: str) -> None:
    """Settings of a role count from the next session on."""
    await run_alone(
        conninfo,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()",
    )


async def server_processes(conninfo: str) -> list[int]:
    """The processes of a server of ours: the one all others descend from, then its children."""
    async with opened(conninfo) as db:
        (found,) = await rows(db, "SELECT pg_backend_pid() AS pid")
        parent = parent_of(found["pid"])
    assert parent is not None
    return [parent, *(pid for pid in every_process() if parent_of(pid) == parent)]


def send_all(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, number)


def every_process() -> list[int]:
    return [int(each.name) for each in Path("/proc").glob("[0-9]*")]


def parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None  # it has just ended
