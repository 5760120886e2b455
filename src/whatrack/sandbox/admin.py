"""/_sandbox: the page and the JSON API by which a person or a test makes things happen.

Every action takes a form or a JSON object. A form is answered with the page, JSON with JSON.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from whatrack.errors import NotFound, Refused, bad_value
from whatrack.sandbox import drawings, sender, trouble
from whatrack.sandbox.build import add_account
from whatrack.sandbox.calls import read_body
from whatrack.sandbox.failures import GraphError
from whatrack.sandbox.faults import KINDS
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.pages import POLICY, STYLE, page
from whatrack.sandbox.state import AdAccount, Creative, Dataset, Number, Person, Waba
from whatrack.sandbox.traffic import Plan
from whatrack.sandbox.truth import BASES, LEVELS, Asked

HOME = "/_sandbox"
Values = dict[str, Any]
Action = Callable[[Sandbox, Values], Awaitable[Any]]


def routes(sandbox: Sandbox) -> list[Route]:
    """The page, what can be read, and what can be done."""

    async def home(request: Request) -> Response:
        return HTMLResponse(_home(sandbox, str(request.base_url).rstrip("/")), headers=POLICY)

    async def style(_request: Request) -> Response:
        return PlainTextResponse(STYLE, media_type="text/css")

    async def picture(request: Request) -> Response:
        creative_id = request.path_params["creative_id"]
        if not isinstance(sandbox.world.nodes.get(creative_id), Creative):
            return PlainTextResponse("There is no such picture.", 404)
        return Response(drawings.png(sandbox.seed, creative_id), media_type="image/png")

    async def clients(request: Request) -> Response:
        return JSONResponse(sandbox.clients(str(request.base_url).rstrip("/")))

    async def state(_request: Request) -> Response:
        return JSONResponse(_state(sandbox))

    async def truth(request: Request) -> Response:
        asked = _asked(sandbox, dict(request.query_params))
        return JSONResponse({**sandbox.truth(), "sums": [each.as_json() for each in sandbox.sums(asked)]})

    async def faults(_request: Request) -> Response:
        return JSONResponse({"data": [each.as_json() for each in sandbox.faults.waiting()]})

    async def clear(_request: Request) -> Response:
        sandbox.faults.clear()
        return JSONResponse({"success": True})

    reads = [("", home), ("/style.css", style), ("/clients", clients), ("/state", state), ("/truth", truth), ("/faults", faults)]  # fmt: skip
    return [
        *(Route(HOME + path, endpoint, methods=["GET"]) for path, endpoint in reads),
        Route(f"{HOME}/pictures/{{creative_id}}.png", picture, methods=["GET"]),
        Route(f"{HOME}/faults", clear, methods=["DELETE"]),
        *(Route(f"{HOME}/{name}", _endpoint(sandbox, action), methods=["POST"]) for name, action in ACTIONS.items()),
    ]  # fmt: skip


def _asked(sandbox: Sandbox, values: Values) -> Asked:
    """Which sums: level, since, until, basis, zone, by_day; of the ads, of the last thirty days by their sales, unless said."""
    today = sandbox.clock.today(sandbox.account.zone)
    if unknown := values.keys() - {"level", "since", "until", "basis", "zone", "by_day"}:
        raise bad_value(min(unknown), f"The truth has no {min(unknown)}.")
    for name, choices in (("level", LEVELS), ("basis", BASES)):
        if values.get(name, choices[0]) not in choices:
            raise bad_value(name, f"Choose of {', '.join(choices)}.")
    since = _day(values, "since", today - timedelta(days=29))
    until = _day(values, "until", today)
    known = {name: values[name] for name in ("level", "basis", "zone") if name in values}
    return Asked(since, until, **known, by_day=values.get("by_day") in ("1", "true"))


def _day(values: Values, name: str, otherwise: date) -> date:
    try:
        return date.fromisoformat(str(values.get(name, otherwise)))
    except ValueError:
        raise bad_value(name, f"Write {name} as YYYY-MM-DD.") from None


async def _history(sandbox: Sandbox, values: Values) -> Any:
    """Make the past: so many days of it, once."""
    if sandbox.months.since is not None:
        raise bad_value("days", "The past was made already: reset the sandbox first.")
    sandbox.months.play(int(values.get("days", 90)), share=float(values.get("share", 1)))
    return {"cases": len(sandbox.months.cases)}


def _endpoint(sandbox: Sandbox, action: Action) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        is_form = "form" in request.headers.get("content-type", "")
        try:
            sent = await read_body(request)
        except GraphError as error:
            raise bad_value("body", error.message) from None
        answer = await action(sandbox, {name: _value(each) for name, each in sent.items() if each != ""})
        return RedirectResponse(HOME, 303) if is_form else JSONResponse(answer)

    return endpoint


def _value(text: str) -> Any:
    """A JSON value where the text is one, except that long numbers are ids."""
    if text.isdigit() and len(text) > 9:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(values: Values, name: str) -> str:
    if name not in values:
        raise bad_value(name, f"Give {name}.")
    return str(values[name])


async def _inject(sandbox: Sandbox, values: Values) -> Any:
    if remove := values.pop("remove", None):
        return {"success": sandbox.faults.remove(str(remove))}
    times = values.pop("times", 1)
    if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
        times = None
    if isinstance(skip := values.get("skip", 0), bool) or not isinstance(skip, int) or skip < 0:
        raise bad_value("skip", "skip is a whole number: so many requests are let through first.")
    return sandbox.faults.inject(_text(values, "kind"), times=times, **{k: v for k, v in values.items() if k != "kind"}).as_json()  # fmt: skip


async def _break(sandbox: Sandbox, values: Values) -> Any:
    ended = trouble.break_login(sandbox.world, _text(values, "person_id"), _text(values, "how"))
    return {"tokens": ended}


async def _revoke(sandbox: Sandbox, values: Values) -> Any:
    status = str(values.get("status", "declined"))
    trouble.revoke_permission(sandbox.world, _text(values, "person_id"), _text(values, "permission"), status)
    return {"success": True}


async def _heal(sandbox: Sandbox, values: Values) -> Any:
    trouble.heal(sandbox.world, _text(values, "person_id"))
    return {"success": True}


async def _roles(sandbox: Sandbox, values: Values) -> Any:
    accounts = values.get("account_ids", [])
    listed = accounts if isinstance(accounts, list) else str(accounts).split(",")
    trouble.set_roles(sandbox.world, _text(values, "person_id"), [str(each) for each in listed])
    return {"success": True}


async def _status(sandbox: Sandbox, values: Values) -> Any:
    account = sandbox.world.nodes.get(_text(values, "account_id").removeprefix("act_"))
    if not isinstance(account, AdAccount):
        raise NotFound("There is no such ad account.")
    account.status = int(_text(values, "status"))
    return {"success": True}


async def _unlink(sandbox: Sandbox, values: Values) -> Any:
    trouble.unlink_dataset(sandbox.world, _text(values, "dataset_id"))
    return {"success": True}


async def _link(sandbox: Sandbox, values: Values) -> Any:
    trouble.link_dataset(sandbox.world, _text(values, "dataset_id"))
    return {"success": True}


async def _grow(sandbox: Sandbox, values: Values) -> Any:
    """So many more ad accounts for a person."""
    person = trouble.person_by_id(sandbox.world, _text(values, "person_id"))
    business = sandbox.cast.agency.id
    new = [
        add_account(sandbox.world, f"Conta {place + 1:04}", business, sandbox.cast.number.id)
        for place in range(int(values.get("accounts", 1)))
    ]
    person.account_ids += [account.id for account in new]
    return {"accounts": [f"act_{account.id}" for account in new]}


async def _revise(sandbox: Sandbox, values: Values) -> Any:
    account = values.get("object_id", f"act_{sandbox.account.id}")
    today = sandbox.clock.today(sandbox.account.zone)
    since = _day(values, "since", today - timedelta(days=7))
    until = _day(values, "until", today - timedelta(days=1))
    percent = values.get("percent")
    trouble.revise(sandbox.world, str(account), since, until, None if percent is None else int(percent))
    return {"success": True}


async def _traffic(sandbox: Sandbox, values: Values) -> Any:
    """Let people tap and write, and send what comes of it: to `url`, signed with `app_secret`, or to whoever subscribed."""
    ads = values.pop("ad_ids", None) or [ad.id for ad in sandbox.ads()]
    url, secret = values.pop("url", None), values.pop("app_secret", sandbox.cast.whatsapp_app.secret)
    at_once, retries = int(values.pop("at_once", 1)), int(values.pop("retries", 5))
    pause_s = float(values.pop("pause_s", 0.2))
    unknown = values.keys() - Plan.__dataclass_fields__.keys()
    if unknown:
        raise bad_value(min(unknown), f"Traffic has no {min(unknown)}.")
    listed = ads if isinstance(ads, list) else str(ads).split(",")
    try:
        story = sandbox.traffic.play(Plan(ad_ids=[str(each) for each in listed], **values))
    except (KeyError, TypeError) as error:
        raise bad_value("ad_ids", f"Traffic cannot be made of this: {error}.") from None
    sent = {"accepted": 0, "given_up": 0, "tries": 0, "nobody_subscribed": 0}
    for number_id in dict.fromkeys(each.number_id for each in story.deliveries):
        bodies = [each.body for each in story.deliveries if each.number_id == number_id]
        endpoints = (
            [sender.Endpoint(str(url), str(secret))] if url else sender.endpoints_of(sandbox.world, number_id)
        )
        sent["nobody_subscribed"] += 0 if endpoints else len(bodies)
        for endpoint in endpoints:
            done = await sender.post(bodies, endpoint, retries=retries, pause_s=pause_s, at_once=at_once)
            for name in ("accepted", "given_up", "tries"):
                sent[name] += getattr(done, name)
    return {
        **sent,
        "deliveries": len(story.deliveries),
        "contacts": [each.as_json() for each in story.contacts],
    }


async def _signed_request(sandbox: Sandbox, values: Values) -> Any:
    """Call a service's deauthorize or data-deletion callback, for a person of the ads app; forged, late or padded on demand."""
    person = trouble.person_by_id(sandbox.world, _text(values, "person_id"))
    secret = str(values.get("app_secret", sandbox.cast.ads_app.secret))
    now = sandbox.clock() - float(values.get("ago_s", 0))
    status, body = await sender.post_signed_request(
        _text(values, "url"), secret, person.id, now, padded=bool(values.get("padded", False))
    )
    return {"status": status, "body": body}


async def _clock(sandbox: Sandbox, values: Values) -> Any:
    sandbox.clock.advance(float(_text(values, "advance_s")))
    return {"now": sandbox.clock()}


async def _app(sandbox: Sandbox, values: Values) -> Any:
    """Whether the apps demand appsecret_proof."""
    for app in (sandbox.cast.ads_app, sandbox.cast.whatsapp_app):
        app.require_proof = bool(values.get("require_proof", False))
    return {"require_proof": sandbox.cast.ads_app.require_proof}


async def _events(sandbox: Sandbox, values: Values) -> Any:
    """How strict the events edge is."""
    rules = sandbox.world.rules
    for name, value in values.items():
        if name not in rules.__dataclass_fields__ or not isinstance(value, bool):
            raise bad_value(name, f"Give true or false for any of {', '.join(rules.__dataclass_fields__)}.")
        setattr(rules, name, value)
    return asdict(rules)


async def _reset(sandbox: Sandbox, _values: Values) -> Any:
    sandbox.reset()
    return {"success": True}


ACTIONS: dict[str, Action] = {
    "faults": _inject,
    "people/break": _break,
    "people/revoke": _revoke,
    "people/heal": _heal,
    "people/roles": _roles,
    "accounts/status": _status,
    "accounts/grow": _grow,
    "datasets/unlink": _unlink,
    "datasets/link": _link,
    "insights/revise": _revise,
    "history": _history,
    "traffic": _traffic,
    "signed-request": _signed_request,
    "clock": _clock,
    "app": _app,
    "events": _events,
    "reset": _reset,
}


def _state(sandbox: Sandbox) -> dict[str, Any]:
    """Who and what there is."""
    world = sandbox.world
    return {
        "now": sandbox.clock(),
        "people": [
            {
                "id": each.id,
                "name": each.name,
                "ad_accounts": [f"act_{account}" for account in each.account_ids],
                "businesses": each.business_ids,
                "is_system": each.is_system,
                "permissions": {app: grants for (app, person), grants in world.grants.items() if person == each.id},
            }
            for each in world.all(Person)
        ],
        "ad_accounts": [
            {
                "id": f"act_{each.id}",
                "name": each.name,
                "currency": each.currency,
                "timezone_name": each.zone,
                "account_status": each.status,
            }
            for each in world.all(AdAccount)
        ],
        "datasets": [{"id": each.id, "name": each.name, "waba_id": each.waba_id} for each in world.all(Dataset)],
        "wabas": [
            {"id": each.id, "name": each.name, "dataset_id": each.dataset_id, "subscribed_apps": list(each.subscribed)}
            for each in world.all(Waba)
        ],
        "numbers": [
            {"id": each.id, "waba_id": each.waba_id, "display_phone_number": each.display} for each in world.all(Number)
        ],
    }  # fmt: skip


def _home(sandbox: Sandbox, base_url: str) -> str:
    people = [each for each in sandbox.world.all(Person) if not each.is_system]
    tokens = {
        each.id: sum(1 for token in sandbox.world.tokens.values() if token.person_id == each.id and token.trouble is None)
        for each in people
    }  # fmt: skip
    owners = {each.dataset_id: each for each in sandbox.world.all(Waba) if each.dataset_id}
    return page(
        "home.html",
        clients=sandbox.clients(base_url),
        people=people,
        tokens=tokens,
        accounts=list(sandbox.world.all(AdAccount))[:20],
        datasets=[each for each in sandbox.world.all(Dataset) if each.id in owners],
        owners=owners,
        kinds=KINDS,
        faults=sandbox.faults.waiting(),
        breaks=trouble.BREAKS,
        learned=sandbox.truth()["events"][-20:][::-1],
        contacts=sandbox.traffic.contacts[-20:][::-1],
    )


def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 # registered for these alone
    return JSONResponse({"error": error.detail, "field": error.field}, error.status)


def _not_found(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404)


def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 # registered for these alone
    return JSONResponse({"error": error.detail}, error.status_code)


HANDLERS: Any = {Refused: _refused, NotFound: _not_found, HTTPException: _http}
