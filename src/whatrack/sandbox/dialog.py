"""The login dialog: pick a person, decide on each permission, or cancel.

Source: Meta, "Manually build a login flow", read 2026-11.
"""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from whatrack.sandbox import oauth
from whatrack.sandbox.calls import read_body
from whatrack.sandbox.failures import GraphError
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.pages import POLICY, page
from whatrack.sandbox.state import Person


def routes(sandbox: Sandbox) -> list[Route]:
    """GET shows the dialog, POST answers it; with a version in the path or without."""

    async def show(request: Request) -> Response:
        return _show(sandbox, dict(request.query_params))

    async def answer(request: Request) -> Response:
        return _answer(sandbox, dict(request.query_params), await read_body(request))

    return [
        Route(path, endpoint, methods=[method])
        for path in ("/dialog/oauth", "/{version}/dialog/oauth")
        for method, endpoint in (("GET", show), ("POST", answer))
    ]


def _show(sandbox: Sandbox, query: Mapping[str, str]) -> Response:
    try:
        app = oauth.check_dialog(sandbox.world, query)
    except GraphError as error:
        return HTMLResponse(page("refused.html", message=error.message), 400, POLICY)
    person = sandbox.world.nodes.get(query.get("person", ""))
    if not isinstance(person, Person):
        people = [each for each in sandbox.world.all(Person) if not each.is_system]
        return HTMLResponse(page("people.html", app=app, people=people, query=query), headers=POLICY)
    asked = oauth.to_ask(sandbox.world, app, person, query)
    return HTMLResponse(
        page("permissions.html", app=app, person=person, asked=asked, fixed="config_id" in query),
        headers=POLICY,
    )


def _answer(sandbox: Sandbox, query: Mapping[str, str], choices: Mapping[str, str]) -> Response:
    """The choices: `answer` is continue or cancel, `allow_<permission>` is sent for each one accepted."""
    try:
        app = oauth.check_dialog(sandbox.world, query)
    except GraphError as error:
        return HTMLResponse(page("refused.html", message=error.message), 400, POLICY)
    person = sandbox.world.nodes.get(query.get("person") or choices.get("person", ""))
    if choices.get("answer") == "cancel":
        return RedirectResponse(oauth.cancel(query), 302)
    if not isinstance(person, Person):
        return HTMLResponse(page("refused.html", message="Nobody was picked."), 400, POLICY)
    accepted = frozenset(name.removeprefix("allow_") for name in choices if name.startswith("allow_"))
    return RedirectResponse(oauth.accept(sandbox.world, app, person, query, accepted), 302)
