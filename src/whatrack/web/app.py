"""The service: the webhook in front of the router, site and API behind it, the background loops beside them."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.inbox import days, intake
from whatrack.inbox.intake import Intake, Receive, Scope, Send
from whatrack.observe import logger
from whatrack.settings import Settings
from whatrack.tenants.passwords import Passwords
from whatrack.web import health, problems, security
from whatrack.web.api import conversion_events, deliveries, insights, meta_ads, meta_login, sync, tickets
from whatrack.web.openapi import Api
from whatrack.web.pages import site
from whatrack.web.pages.render import compile_ahead
from whatrack.web.security import Security
from whatrack.work import Wakeups, run_loop
from whatrack.workers import DELIVERIES, OWED, Workers, keys_of, open_graph

log = logger(__name__)

ROUTES_EVERY_S = 5.0
MAX_BODY = 1_000_000  # bytes; the webhook in front has its own limit


class Service:
    """One process of WhaTrack as an ASGI app."""

    def __init__(self, settings: Settings, db: Database, sealer: Sealer, *, with_workers: bool) -> None:
        app_secrets, verify_token = settings.webhook_secrets()
        self._db = db
        self._wakeups = Wakeups(db)
        self._graph = open_graph(settings)
        workers = Workers(db, self._wakeups, settings, sealer, self._graph)
        self._workers = workers if with_workers else None
        self._intake = Intake(db, app_secrets=app_secrets, verify_token=verify_token, stored=self._stored)
        self._api = build_app(settings, db, sealer, self._run)
        self._api.state.graph = self._graph
        self._api.state.poke = self._wakeups.poke
        self._guarded = Security(self._bounded, own_host=urlsplit(settings.address).netloc)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: the webhook at once, everything else guarded, through the router."""
        if scope["type"] == "http" and scope["path"] == intake.PATH:
            await self._intake(scope, receive, send)
        else:
            await self._guarded(scope, receive, send)

    async def get_ready(self) -> None:
        """Do once what is otherwise put off until somebody waits for it. The database is open; nothing is changed."""
        compile_ahead("tickets_board.html")  # where a salesperson's day begins
        await _asked_by_nobody(self._api, "/login")

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The router; too large a body does not get there, for its own answer would be plain text."""
        if scope["type"] == "http" and _declared_bytes(scope) > MAX_BODY:
            await problems.too_large(MAX_BODY)(scope, receive, send)
        else:
            await self._api(scope, receive, send)
            if scope["type"] == "http" and scope["method"] not in security.SAFE:
                self._wakeups.poke(OWED)  # whatever was changed may owe Meta something, or mend it

    def _stored(self) -> None:
        self._wakeups.poke(DELIVERIES)

    @asynccontextmanager
    async def _run(self, _app: FastAPI) -> AsyncIterator[None]:
        """Everything that lives as long as the process: pool, intake, wake-ups, loops."""
        stop = asyncio.Event()
        try:
            await self._db.open()
            await days.ensure_days(self._db)
            await self._intake.start()
        except Exception as error:
            log.exception("start_failed", exc_info=error)
            raise
        tasks = [
            asyncio.create_task(self._wakeups.send()),
            asyncio.create_task(self._wakeups.listen()),
            asyncio.create_task(run_loop("routes", self._refresh, stop=stop, idle_s=ROUTES_EVERY_S)),
        ]
        if self._workers:
            self._workers.start()
        yield
        await self._intake.stop()
        stop.set()
        if self._workers:
            await self._workers.stop()
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._graph.close()
        await self._db.close()

    async def _refresh(self) -> bool:
        await self._intake.refresh_routes()
        return False


async def _asked_by_nobody(app: FastAPI, path: str) -> None:
    """Answer a stranger's GET, and throw the answer away: the router puts its routes together, libraries load their parts."""
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {
        "http_version": "1.1",
        "scheme": "http",
        "server": ("localhost", 80),
        "client": ("localhost", 0),
    }
    scope |= {"root_path": "", "headers": [(b"host", b"localhost"), (b"accept-encoding", b"gzip")]}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: MutableMapping[str, Any]) -> None:
        return None

    await app(scope, receive, send)


def _declared_bytes(scope: Scope) -> int:
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(declared) if declared.isdigit() else 0


def build_app(settings: Settings, db: Database, sealer: Sealer, lifespan: object) -> FastAPI:
    """The router: JSON API, health, OpenAPI, and the site."""
    app = Api(
        title="WhaTrack",
        version=version("whatrack"),
        summary="Which ad brought this WhatsApp conversation, did it sell, and does Meta know?",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        max_body_size=MAX_BODY,
        lifespan=lifespan,  # type: ignore[arg-type] # FastAPI's own alias for this callable is private
    )
    app.state.db, app.state.settings, app.state.sealer = db, settings, sealer
    app.state.keys = keys_of(settings, sealer)
    app.state.passwords = Passwords(settings.password_memory_kib)
    problems.install(app)
    for router in (
        health.router,
        tickets.router,
        conversion_events.router,
        deliveries.router,
        insights.router,
        meta_ads.router,
        meta_ads.from_meta,
        meta_login.router,
        sync.router,
    ):
        app.include_router(router)
    site.install(app)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    return app
