"""The sandbox over HTTP: the Graph API, the login dialog and the admin pages on one port.

`served()` runs it beside a test or a program; `serve()` until a signal, for the command line.
"""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from whatrack.sandbox import admin, dialog, sender, traffic
from whatrack.sandbox.calls import read_call
from whatrack.sandbox.chance import digits
from whatrack.sandbox.failures import GraphError
from whatrack.sandbox.graph import Answer, Call
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.state import Number

START_WITHIN_S = 10.0
TRANSPORT = "whatrack.sandbox.transport"


class _Protocol(HttpToolsProtocol):
    """Lets an answer close its connection without a word, as a dropped one does."""

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: {"transport": self.transport}}


class _NoAnswer(Response):
    """Closes the connection."""

    @override
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        found = scope.get("extensions", {}).get(TRANSPORT)
        if found is None:
            raise ConnectionResetError("the sandbox drops this answer")
        found["transport"].abort()
        while (await receive())["type"] != "http.disconnect":
            pass


class GraphEndpoint:
    """Every path that is not the dialog's or the admin's."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._posts: set[asyncio.Task[sender.Sent]] = set()

    async def answer(self, request: Request) -> Response:
        """Answer one request, with the faults of the connection around it."""
        if request.url.path == "/" and not request.url.query and request.method == "GET":
            return RedirectResponse("/_sandbox")
        try:
            call = await read_call(request)
        except GraphError as error:
            return _json(Answer(error.status, error.envelope("A" * 23)))
        faults, target = self._sandbox.faults, self._sandbox.graph.target(call)
        if slow := faults.take("slow", target):
            await asyncio.sleep(float(slow["seconds"]))
        if faults.take("drop_request", target):
            return _NoAnswer()
        broken = faults.take("server_error", target)
        if broken and not broken["done"]:
            return _no_json(broken)
        answer = await self._refused_callback(call) or self._sandbox.graph.answer(call)
        self._tell_status(call, answer)
        if broken:
            return _no_json(broken)
        return _NoAnswer() if faults.take("drop_answer", target) else _json(answer)

    async def _refused_callback(self, call: Call) -> Answer | None:
        """Shake hands with a callback before it is taken; the refusal when it does not."""
        url = call.params.get("callback_url") or call.params.get("override_callback_uri")
        if (
            call.method != "POST"
            or not url
            or call.path[-1:] not in (("subscriptions",), ("subscribed_apps",))
        ):
            return None
        challenge = digits(10, self._sandbox.seed, "challenge", self._sandbox.world.serial())
        if await sender.shakes_hands(url, call.params.get("verify_token", ""), challenge):
            return None
        text = (
            "(#2200) Callback verification failed with the following errors: the challenge did not come back"
        )
        return Answer(400, GraphError(2200, text).envelope("A" * 23))

    def _tell_status(self, call: Call, answer: Answer) -> None:
        """A message that was sent is reported as sent, delivered and read, to whoever subscribed."""
        if answer.status != 200 or call.path[-1:] != ("messages",) or "messages" not in answer.body:
            return
        world = self._sandbox.world
        number = world.get(Number, call.path[0])
        message, at = world.sent[-1], world.clock()
        bodies = [
            traffic.envelope(
                number, traffic.status_value(number, message["to"], message["id"], status, at + place)
            )
            for place, status in enumerate(("sent", "delivered", "read"))
        ]
        for endpoint in sender.endpoints_of(world, number.id):
            task = asyncio.create_task(sender.post(bodies, endpoint))
            self._posts.add(task)
            task.add_done_callback(self._posts.discard)


def _no_json(settings: Mapping[str, Any]) -> Response:
    return HTMLResponse("<html><body>Sorry, something went wrong.</body></html>", int(settings["status"]))


def _json(answer: Answer) -> Response:
    text = json.dumps(answer.body, ensure_ascii=False, separators=(",", ":"))
    body = text.encode(errors="backslashreplace")  # a lone surrogate becomes the escape that JSON has for it
    return Response(body, answer.status, answer.headers, "application/json; charset=UTF-8")


def build_app(sandbox: Sandbox) -> Starlette:
    """The sandbox as an ASGI app."""
    graph = GraphEndpoint(sandbox)
    methods = ["GET", "POST", "DELETE"]
    routes = [
        *admin.routes(sandbox),
        *dialog.routes(sandbox),
        Route("/{path:path}", graph.answer, methods=methods),
    ]
    return Starlette(routes=routes, exception_handlers=admin.HANDLERS)


def _config(sandbox: Sandbox) -> uvicorn.Config:
    return uvicorn.Config(
        build_app(sandbox),
        http=_Protocol,
        lifespan="off",
        log_config=None,
        access_log=False,  # it would hold tokens
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )


def serve(sandbox: Sandbox, listener: socket.socket) -> None:
    """Serve until a signal."""
    uvicorn.Server(_config(sandbox)).run(sockets=[listener])


@contextmanager
def served(sandbox: Sandbox, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The sandbox on a port of its own, in a thread, for as long as the block; its base URL."""
    listener = socket.create_server((host, port))
    server = uvicorn.Server(_config(sandbox))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        _wait_until_started(server, thread)
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_WITHIN_S)
        listener.close()


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    pause = threading.Event()
    for _ in range(int(START_WITHIN_S / 0.005)):
        if server.started:
            return
        if not thread.is_alive():
            break
        pause.wait(0.005)
    raise RuntimeError("the sandbox did not start")
