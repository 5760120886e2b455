"""Every failure is problem+json that repeats no value, the description is whole, and nothing a client sends is a 500."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.conftest import planted_in, settings_for_tests
from tests.support import PHONE, SEALER, TEXT, VERIFY_TOKEN, ad, body, change, make_shop, message, process
from tests.test_api_tickets import TICKETS, Answer, Api, api_of, key_of, written
from tests.test_api_tickets import web as web  # a fixture
from whatrack.db import Database
from whatrack.inbox import intake
from whatrack.units import new_id
from whatrack.web.app import MAX_BODY, Service, build_app

DELIVERIES = "/api/v1/deliveries"
META = "/api/v1/meta-ads"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """An ASGI app on a real port, and a client of it."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, loop="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
        if task.done():
            task.result()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.getsockname()[1]}") as session:
            yield session
    finally:
        server.should_exit = True
        await task


class Cable:
    """A way to the database that can be pulled out: a socket that passes everything on."""

    def __init__(self, conninfo: str, folder: Path) -> None:
        self._to = conninfo_to_dict(conninfo)
        self._path = folder / ".s.PGSQL.5432"
        self.conninfo = make_conninfo(conninfo, host=str(folder), port="5432", hostaddr="")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def plug_in(self) -> None:
        self._server = await asyncio.start_unix_server(self._pass_on, self._path)

    async def pull_out(self) -> None:
        if self._server:
            self._server.close()
        self._path.unlink(missing_ok=True)
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = str(self._to["host"]), int(self._to.get("port") or 5432)
        far_reader, far_writer = (
            await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            if host.startswith("/")
            else await asyncio.open_connection(host, port)
        )
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()


def is_problem(answer: Answer) -> bool:
    """Whether an answer is a problem as RFC 9457 has it."""
    return (
        answer.headers["content-type"] == "application/problem+json"
        and {"type", "title", "status", "code", "detail"} <= set(answer.json) <= {"type", "title", "status", "code", "detail", "errors"}
        and answer.json["status"] == answer.status
        and all(isinstance(answer.json[name], str) and answer.json[name] for name in ("title", "code", "detail"))
    )  # fmt: skip


EVENTS = "/api/v1/conversion-events"


async def test_addresses_and_methods_that_are_not_there_are_problems(
    web: aiohttp.ClientSession, db: Database
):
    api = await api_of(web, db, await make_shop(db), "owner")
    ticket = f"{TICKETS}/{new_id()}"

    missing = [
        await api("GET", path)
        for path in (
            "/api/",
            "/api/v2/tickets",
            f"{ticket}/x",
            "/api/%00",
            "/api/v1/%ff",
            "/api/" + "x" * 9000,
        )
    ]
    wrong = [(await api(method, path), allowed) for path, allowed in (
        (TICKETS, {"GET", "POST"}), (ticket, {"GET", "PATCH"}), (f"{ticket}/timeline", {"GET"}), (DELIVERIES, {"GET"}),
        (f"{DELIVERIES}/replay", {"POST"}), ("/healthz", {"GET"}), ("/metrics", {"GET"}),
    ) for method in METHODS if method not in allowed]  # fmt: skip

    assert [answer.status for answer in missing] == [404] * len(missing)
    assert [answer.status for answer, _ in wrong] == [405] * len(wrong)
    assert all(is_problem(answer) for answer in (*missing, *(answer for answer, _ in wrong)))
    for answer, allowed in wrong:
        named = {each.strip() for each in answer.headers["allow"].split(",")}
        assert named & allowed  # RFC 9110: a 405 says which methods there are
        assert named <= allowed


async def test_a_ticket_id_that_is_none_is_a_problem_and_not_repeated(
    web: aiohttp.ClientSession, db: Database
):
    api = await api_of(web, db, await make_shop(db))

    answers = [
        await api("GET", f"{TICKETS}/{text}{rest}")
        for text in (
            "1",
            PHONE,
            "x" * 3000,
            "%00",
            "%ff%fe",
            "..%2f..",
            "01a209a3-d69d-7de9-ac08-c11bb0662ef8x",
        )
        for rest in ("", "/timeline")
    ]

    assert {(answer.status, *answer.fields) for answer in answers} <= {(422, "ticket_id"), (404,)}
    assert all(is_problem(answer) and PHONE.encode() not in answer.raw for answer in answers)


async def test_a_value_that_is_refused_is_not_repeated(web: aiohttp.ClientSession, db: Database):
    shop = await make_shop(db)
    (ticket,) = await written(db, shop, "5511900000001")
    api, operator = await api_of(web, db, shop), Api(web, await key_of(db, None, "operator"))
    secret = f"{PHONE} {TEXT}"

    answers = [
        await api.get(status=secret), await api.get(limit=secret), await api.get(cursor=secret), await api.get(f"{TICKETS}/{secret}"),
        *[await api.patch(ticket, **{name: secret}) for name in ("deal_value", "currency", "won_at", "version")],
        await api.patch(ticket, stage="won", deal_value="1", lost_reason=secret), await api.post(secret),
        await api.post("5511900000002", phone_number_id=secret), await api.post("5511900000002", name=secret),
        await api("POST", TICKETS, data=secret.encode(), headers={"Content-Type": "application/json"}),
        await api("POST", TICKETS, json=secret), await operator.get(DELIVERIES, state=secret),
        await operator("POST", f"{DELIVERIES}/replay", json={"ids": [secret], "since": secret}),
        await api("GET", TICKETS, headers={"Authorization": f"Bearer {PHONE}"}),
    ]  # fmt: skip

    assert {answer.status for answer in answers} == {401, 422}
    assert all(is_problem(answer) for answer in answers)
    assert [answer.raw for answer in answers if planted_in(answer.raw.decode())] == []


async def test_a_body_beyond_the_limit_is_413_whoever_sends_it(web: aiohttp.ClientSession, db: Database):
    api = await api_of(web, db, await make_shop(db))
    headers = {"Content-Type": "application/json"}
    large = b'{"contact": "' + b"x" * MAX_BODY + b'"}'

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 100_000):
            yield large[start : start + 100_000]

    # 100-continue: nobody sends the body before the server says that it wants it.
    whole = await api("POST", TICKETS, data=large, headers=headers, expect100=True)
    unannounced = await api("POST", TICKETS, data=in_pieces(), headers=headers)
    stranger = await Api(web, None)(
        "PATCH", f"{TICKETS}/{new_id()}", data=large, headers=headers, expect100=True
    )
    fits = await api("POST", TICKETS, data=b" " * (MAX_BODY - 2) + b"{}", headers=headers)

    assert [answer.status for answer in (whole, unannounced, stranger, fits)] == [413, 413, 413, 422]
    assert all(is_problem(answer) for answer in (whole, unannounced, stranger, fits))


async def test_a_bug_is_a_problem_without_a_word_of_what_went_wrong(db: Database):
    api = build_app(settings_for_tests(), db, SEALER, None)

    @api.get("/api/bug")
    async def bug() -> None:
        raise ValueError(f"{PHONE} {TEXT}")

    async with running(api) as session:
        answer = await Api(session, None).get("/api/bug")

    assert (answer.status, answer.code, is_problem(answer)) == (500, "internal", True)
    assert planted_in(answer.raw.decode()) == []


async def test_while_the_database_is_away_a_request_is_503_and_afterwards_all_is_well(
    db: Database, conninfo: str, tmp_path_factory: pytest.TempPathFactory
):
    shop = await make_shop(db)
    cable = Cable(conninfo, tmp_path_factory.mktemp("c"))
    await cable.plug_in()
    key = await key_of(db, shop.id)
    async with running(
        Service(settings_for_tests(), Database(cable.conninfo), SEALER, with_workers=False)
    ) as session:
        api = Api(session, key)
        before = await api.get()

        await cable.pull_out()
        away = await api.get()
        ready, alive = await api.get("/readyz"), await api.get("/healthz")
        await cable.plug_in()
        back = await api.get()

    await cable.pull_out()
    assert (before.status, back.status) == (200, 200)
    assert (away.status, away.code, is_problem(away)) == (503, "database_away", True)
    assert int(away.headers["retry-after"]) > 0
    assert (ready.status, alive.status) == (503, 200)


# The description


def refs(part: Any) -> set[str]:
    """Every $ref in a document."""
    if isinstance(part, dict):
        here = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return here.union(*map(refs, part.values()))
    return set().union(*map(refs, part)) if isinstance(part, list) else set()


async def test_the_openapi_document_is_whole_and_names_every_address(
    web: aiohttp.ClientSession, db: Database
):
    answer = await Api(web, None).get("/api/openapi.json")

    document = answer.json
    assert answer.status == 200
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    assert set(document["info"]) >= {"title", "version"}
    paths = document["paths"]
    assert {(path, method) for path, methods in paths.items() for method in methods} == {
        ("/api/v1/whatsapp/webhook", "get"), ("/api/v1/whatsapp/webhook", "post"), (TICKETS, "get"), (TICKETS, "post"),
        (f"{TICKETS}/{{ticket_id}}", "get"), (f"{TICKETS}/{{ticket_id}}", "patch"), (f"{TICKETS}/{{ticket_id}}/timeline", "get"),
        (f"{TICKETS}/{{ticket_id}}/refunds", "get"), (f"{TICKETS}/{{ticket_id}}/refunds", "post"),
        (f"{META}/connect", "get"), (f"{META}/callback", "get"), (f"{META}/connections", "get"), (f"{META}/connections", "post"),
        (f"{META}/connections/{{connection_id}}", "delete"), (f"{META}/ad-accounts", "get"), (f"{META}/ad-accounts/{{account_id}}", "get"),
        (f"{META}/ad-accounts/{{account_id}}/datasets", "get"), (f"{META}/ad-accounts/{{account_id}}/config", "put"),
        (f"{META}/deauthorize", "post"), (f"{META}/data-deletion", "post"), (f"{META}/sync", "get"), (f"{META}/sync", "post"),
        (f"{META}/insights", "get"),
        (EVENTS, "get"), (f"{EVENTS}/{{event_id}}", "get"), (f"{EVENTS}/{{event_id}}/retry", "post"),
        (DELIVERIES, "get"), (f"{DELIVERIES}/replay", "post"), ("/healthz", "get"), ("/readyz", "get"), ("/metrics", "get"),
    }  # fmt: skip
    operations = [(path, each) for path, methods in document["paths"].items() for each in methods.values()]
    assert len({each["operationId"] for _, each in operations}) == len(operations)
    for path, each in operations:
        named = {parameter["name"] for parameter in each.get("parameters", []) if parameter["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))
        assert all({"name", "in", "schema"} <= set(parameter) for parameter in each.get("parameters", []))
        assert all(response["description"] for response in each["responses"].values())
        if path.startswith((TICKETS, DELIVERIES, EVENTS, f"{META}/connections", f"{META}/ad-accounts")):
            assert each["security"] == [{"HTTPBearer": []}]
            assert {"401", "403", "422", "503"} <= set(each["responses"])
            errors = [content for status, content in each["responses"].items() if status >= "400"]
            assert all(set(content["content"]) == {"application/problem+json"} for content in errors)
        kinds = {
            kind
            for status, content in each["responses"].items()
            if status >= "400"
            for kind in content.get("content", ())
        }
        assert kinds <= {"application/problem+json"}, path
        if path.endswith(("/deauthorize", "/data-deletion")):
            assert "400" in each["responses"]  # what our app did not sign
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert refs(document) <= schemas
    ticket = document["components"]["schemas"]["Ticket"]["properties"]
    assert {"id", "status", "close_reason", "stage", "deal_value", "currency", "contact", "tracking"} <= set(
        ticket
    )


# Nothing is a 500

MARK = "zqplanted"  # in most texts sent below, and in no answer
texts = st.text(max_size=60).map(lambda text: MARK + text) | st.sampled_from(
    [
        "",
        "\x00",
        MARK * 2000,
        "qualified",
        "Ganho",
        "open",
        PHONE,
        "199.90",
        "2026-11-23T10:00:00Z",
        "0001-01-01T00:00:00+14:00",
    ]
)
values = st.recursive(
    texts
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.sampled_from([2**63, -(2**63), 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(
    ["status", "campaign", "ad", "text", "cursor", "limit", "deal_value", "currency", "won_at", "lost_reason", "version", "contact",
     "phone_number_id", "wa_id", "name", "ids", "since", "until", "state", "check", "hub.mode", "hub.challenge"]
)  # fmt: skip
objects = st.dictionaries(names, values, max_size=5) | st.fixed_dictionaries(
    {"contact": st.fixed_dictionaries({"wa_id": texts}, optional={"name": texts})},
    optional={"deal_value": texts},
)
requests = st.fixed_dictionaries(
    {
        "method": st.sampled_from(METHODS),
        "path": st.sampled_from([TICKETS, f"{TICKETS}/ID", f"{TICKETS}/ID/timeline", DELIVERIES, f"{DELIVERIES}/replay",
                                 "/readyz", "/healthz", intake.PATH, "/api/openapi.json", "/"]),
        "params": st.dictionaries(names, st.integers().map(str) | texts, max_size=3),
        "json": objects | values,
        "as_operator": st.booleans(),
    }
)  # fmt: skip


async def send(api: Api, operator: Api, ticket: str, request: dict[str, Any]) -> Answer:
    sender = operator if request["as_operator"] else api
    path = request["path"].replace("ID", ticket)
    data = json.dumps(request["json"]).encode()  # NaN and lone surrogates as clients write them
    params = {name: value.encode("utf-8", "replace").decode() for name, value in request["params"].items()}
    return await sender(
        request["method"], path, params=params, data=data, headers={"Content-Type": "application/json"}
    )


async def test_nothing_a_client_sends_is_a_500_and_no_value_comes_back(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    await process(db, body(change(shop.number, message("5511900000001", referral=ad(), text="Oi"))))
    api, operator = await api_of(web, db, shop), Api(web, await key_of(db, None, "operator"))
    (ticket,) = await api.ids()
    loop = asyncio.get_running_loop()
    bad: list[tuple[int, dict[str, Any], bytes]] = []

    async def try_all(batch: list[dict[str, Any]]) -> None:
        answers = await asyncio.gather(*(send(api, operator, ticket, each) for each in batch))
        for request, answer in zip(batch, answers, strict=True):
            other = request["path"] in (intake.PATH, "/")  # plain text, in front of the router; and a page
            refused = answer.status >= 400
            repeated = refused and MARK.encode() in answer.raw
            if answer.status >= 500 or repeated or (refused and not other and not is_problem(answer)):
                bad.append((answer.status, request, answer.raw[:500]))

    await loop.run_in_executor(None, _hunt, lambda batch: _wait(loop, try_all(batch)))

    assert bad == []
    assert (await api.one(ticket))["contact"]["wa_id"] == "5511900000001"


def _hunt(try_all: Callable[[list[dict[str, Any]]], None]) -> None:
    """Hypothesis's own loop, in a thread: it is not async."""

    @settings(max_examples=16, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(requests, min_size=25, max_size=25))
    def hunt(batch: list[dict[str, Any]]) -> None:
        try_all(batch)

    hunt()


def _wait(loop: asyncio.AbstractEventLoop, work: Awaitable[None]) -> None:
    async def run() -> None:
        await work

    asyncio.run_coroutine_threadsafe(run(), loop).result()


async def test_the_verify_token_of_a_handshake_comes_back_in_no_answer(web: aiohttp.ClientSession):
    for path in (intake.PATH, TICKETS, "/nowhere", "/readyz"):
        async with web.get(path, params={"hub.verify_token": VERIFY_TOKEN, "hub.mode": "x"}) as answer:
            assert VERIFY_TOKEN not in await answer.text()
