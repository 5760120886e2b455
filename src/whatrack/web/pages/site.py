"""The site on the router: its pages, its static files, the language of each request."""

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from whatrack.connections import ad_accounts
from whatrack.errors import ConfigError
from whatrack.web.api.caller import Db
from whatrack.web.pages import (
    account,
    audit,
    conversions,
    costs,
    data_deletion,
    deliveries,
    events,
    failures,
    i18n,
    invite,
    keys,
    language,
    login,
    members,
    meta_account,
    meta_ads,
    moves,
    number_new,
    numbers,
    organization,
    pictures,
    rates,
    recover,
    roi,
    roi_behind,
    roi_days,
    roi_files,
    roi_mail,
    roi_mail_stop,
    roi_parts,
    roi_reconcile,
    second_step,
    setup,
    shared,
    stages,
    ticket,
    tickets,
)
from whatrack.web.pages.render import WEB, see
from whatrack.web.pages.visitor import MaybeVisitor

PAGES = (
    pictures,
    roi,
    roi_behind,
    roi_days,
    roi_reconcile,
    roi_files,
    roi_parts,
    roi_mail,
    roi_mail_stop,
    shared,
    costs,
    rates,
    tickets,
    moves,
    ticket,
    events,
    conversions,
    stages,
    numbers,
    deliveries,
    login,
    recover,
    setup,
    invite,
    language,
    account,
    second_step,
    organization,
    members,
    keys,
    audit,
    meta_ads,
    meta_account,
    number_new,
    data_deletion,
)
FOR_EVER = "public, max-age=31536000, immutable"


class _Static(StaticFiles):
    """Files whose address holds their content's digest may be kept for ever."""

    @override
    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, with how long a browser may keep it."""
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = (
            FOR_EVER if b"v=" in scope["query_string"] else "public, max-age=3600"
        )
        return answer


class _Language:
    """ASGI middleware: the request's language, for every word that is written while it is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            i18n.language.set(i18n.of_request(Request(scope)))
        await self._app(scope, receive, send)


class _Head:
    """ASGI middleware: HEAD of a page is answered as GET would be, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return

        async def headed(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, headed)


def install(app: FastAPI) -> None:
    """Put every page on the router. ConfigError when the assets were never built."""
    if not (WEB / "static" / "dist" / "css" / "app.css").exists():
        raise ConfigError("The site's assets are not built: run `make setup`, or install the wheel.")
    app.add_middleware(_Language)
    app.add_middleware(_Head)
    app.mount("/static", _Static(directory=WEB / "static"), name="static")
    app.add_api_route("/", _home, include_in_schema=False)
    for module in PAGES:
        app.include_router(module.router, include_in_schema=False)
    failures.install(app)


async def _home(request: Request, db: Db, who: MaybeVisitor) -> Response:
    """Where work begins: at the report once an ad account is on, for who attends to people at the tickets."""
    if who is None:
        return see(request, "/login")
    if who.home:
        async with db.tenant(who.home.id) as conn:
            _known, active = await ad_accounts.counts(conn, who.home.id)
        return see(request, "/roi" if active and who.home.role != "agent" else "/tickets")
    return see(request, "/deliveries" if who.user.is_operator else "/account")
