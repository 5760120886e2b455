"""The hot endpoint, GET|POST /api/v1/whatsapp/webhook: 200 only after the bytes are committed.

A raw ASGI callable in front of the router. In order: size, signature over the untouched bytes, the routes they need,
one micro-batched commit, 200. Whatever goes wrong before the commit is answered with what makes Meta send it again.
"""

import hmac
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import msgspec

from whatrack.db import Database
from whatrack.inbox import routes as number_routes
from whatrack.inbox.batch import Batcher, NotStored
from whatrack.inbox.routes import UNROUTED
from whatrack.inbox.signature import refusal
from whatrack.meta import webhook
from whatrack.meta.webhook import MAX_BODY
from whatrack.observe import INTAKE_ANSWERS, INTAKE_SECONDS

PATH = "/api/v1/whatsapp/webhook"
RETRY_AFTER_S = b"5"

# The one answer that is given thousands of times a second is made once.
_STORED_ANSWERS = INTAKE_ANSWERS.labels("200", "stored")
_STORED_HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
_EMPTY_BODY = {"type": "http.response.body", "body": b""}

Scope = MutableMapping[str, Any]  # ASGI's own three
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]


class _TooLarge(Exception):
    """More bytes than Meta ever sends."""


class _Gone(Exception):
    """The client hung up before the body was whole."""


class Intake:
    """The webhook endpoint. Start it before serving, stop it after."""

    def __init__(
        self, db: Database, *, app_secrets: Sequence[bytes], verify_token: str, stored: Callable[[], None]
    ) -> None:
        self._db = db
        self._secrets = app_secrets
        self._verify_token = verify_token.encode()
        self._stored = stored
        self._batcher = Batcher(db, self._committed)
        self._rows: dict[str, str] = {}  # route → its queue rows

    async def start(self) -> None:
        """Learn the routes and begin to commit."""
        await self.refresh_routes()
        self._batcher.start()

    async def stop(self) -> None:
        """Commit what waits, then end."""
        await self._batcher.stop()

    async def refresh_routes(self) -> None:
        """Learn the live numbers anew. A stale memory loses nothing: an unknown number is routed by the drain."""
        async with self._db.installation() as conn:
            routes = await number_routes.all_routes(conn)
        self._rows = {
            route: ",".join(f"{partition} {route}" for partition in partitions)
            for route, partitions in routes.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] == "POST":
            began = time.perf_counter()
            await self._post(scope, receive, send)
            INTAKE_SECONDS.observe(time.perf_counter() - began)
        elif scope["method"] == "GET":
            await self._handshake(scope, send)
        else:
            await _refuse(send, 405, "method", "Use GET or POST.", [(b"allow", b"GET, POST")])

    async def _handshake(self, scope: Scope, send: Send) -> None:
        """Meta's verification: echo the challenge to whoever knows the token. Nothing signs it."""
        # Latin-1 there and back: every byte as it came, text or not.
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, encoding="latin-1")
        mode, token, challenge = (
            query.get(f"hub.{name}", [""])[0].encode("latin-1")
            for name in ("mode", "verify_token", "challenge")
        )
        if not hmac.compare_digest(token, self._verify_token):
            detail = "The verify token does not match WHATSAPP_VERIFY_TOKEN."
            await _refuse(send, 403, "verify_token", detail)
        elif mode != b"subscribe" or not challenge:
            detail = "A handshake has hub.mode=subscribe and a hub.challenge."
            await _refuse(send, 403, "handshake", detail)
        else:
            INTAKE_ANSWERS.labels("200", "handshake").inc()
            await _answer(send, 200, b"text/plain; charset=utf-8", challenge)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _read(scope["headers"], receive)
        except _TooLarge:
            await _refuse(
                send, 413, "too_large", "A webhook body has at most 4 MB.", [(b"connection", b"close")]
            )
            return
        except _Gone:
            INTAKE_ANSWERS.labels("none", "client_gone").inc()
            return
        reason = refusal(_header(scope["headers"], b"x-hub-signature-256"), body, self._secrets)
        if reason:
            await _refuse(
                send, 401, f"signature_{reason}", "The signature does not match WHATSAPP_APP_SECRET."
            )
            return
        try:
            await self._batcher.put(body, self._queue_rows(body))
        except NotStored as error:
            await _refuse(
                send, 503, error.reason, "Not stored; send it again.", [(b"retry-after", RETRY_AFTER_S)]
            )
            return
        await send(_STORED_HEAD)
        await send(_EMPTY_BODY)

    def _committed(self, acknowledged: int) -> None:
        """Once for each batch, not for each body: both cost more than a body's routes."""
        self._stored()
        _STORED_ANSWERS.inc(acknowledged)

    def _queue_rows(self, body: bytes) -> str:
        """The queue rows a body needs, as store.append takes them."""
        routes = webhook.quick_routes(body)
        if routes is None or "" in routes:  # read part by part, by the unrouted partition
            return f"{UNROUTED} "
        return ",".join([self._rows.get(route) or f"{UNROUTED} {route}" for route in routes])


async def _read(headers: Headers, receive: Receive) -> bytes:
    """The whole body; raises _TooLarge as soon as it is known to pass the limit."""
    declared = _header(headers, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > MAX_BODY:
        raise _TooLarge
    chunks = []
    total = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        chunk = message.get("body", b"")
        total += len(chunk)
        if total > MAX_BODY:
            raise _TooLarge
        chunks.append(chunk)
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _header(headers: Headers, name: bytes) -> bytes | None:
    for key, value in headers:
        if key == name:
            return value
    return None


async def _refuse(
    send: Send, status: int, code: str, detail: str, extra: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Problem+json, as web/problems.py makes it for everything behind the router."""
    INTAKE_ANSWERS.labels(str(status), code).inc()
    title = HTTPStatus(status).phrase
    problem = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail}
    await _answer(send, status, b"application/problem+json", msgspec.json.encode(problem), extra)


async def _answer(
    send: Send, status: int, kind: bytes, body: bytes, extra: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
