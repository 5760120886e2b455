"""Logging in: what the dialog hands out, what the token endpoints exchange, what debug_token tells.

Sources: Meta, "Manually build a login flow", "Long-lived access tokens", "Facebook Login for Business", read 2026-11.
Codes 36008 and 36009 are from memory of the live API.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from whatrack.sandbox import chance
from whatrack.sandbox.access import app_by_id, check_secret, find_token, scopes_of, trouble_of
from whatrack.sandbox.build import DAY_S, issue_token
from whatrack.sandbox.failures import GraphError, bad_parameter
from whatrack.sandbox.state import App, Code, Person, Token, Waba, World

CODE_LIVES_S = 600
SHORT_LIVES_S = 5400
LONG_LIVES_S = 60 * DAY_S
DEFAULT_SCOPES = ("public_profile",)


def scopes_asked(app: App, query: Mapping[str, str]) -> tuple[str, ...]:
    """The permissions a dialog asks for: a login configuration's, or `scope` split at commas and spaces."""
    if config_id := query.get("config_id"):
        if config_id not in app.configurations:
            raise bad_parameter("Invalid config_id")
        return app.configurations[config_id]
    return tuple(dict.fromkeys(query.get("scope", "").replace(",", " ").split())) or DEFAULT_SCOPES


def check_dialog(world: World, query: Mapping[str, str]) -> App:
    """The app that opens the dialog; refused without an app or a redirect URI one can be sent to."""
    app = app_by_id(world, query.get("client_id"))
    if not query.get("redirect_uri", "").startswith(("http://", "https://")):
        raise bad_parameter("The redirect_uri URL must be absolute")
    if query.get("response_type", "code") != "code":
        raise bad_parameter("The sandbox plays response_type=code only")
    scopes_asked(app, query)
    return app


def to_ask(world: World, app: App, person: Person, query: Mapping[str, str]) -> tuple[str, ...]:
    """What this person is asked: what they declined before only with auth_type=rerequest, as Meta does."""
    grants = world.grants.get((app.id, person.id), {})
    again = query.get("auth_type") == "rerequest" or "config_id" in query
    return tuple(
        scope for scope in scopes_asked(app, query) if again or grants.get(scope, "granted") != "declined"
    )


def accept(world: World, app: App, person: Person, query: Mapping[str, str], accepted: frozenset[str]) -> str:
    """The person says yes to some of what is asked; the address to send them to, with a code."""
    asked = to_ask(world, app, person, query)
    if "config_id" in query:  # Login for Business: all or nothing
        accepted = frozenset(asked)
    grants = world.grants.setdefault((app.id, person.id), {})
    for scope in asked:
        grants[scope] = "granted" if scope in accepted or scope == "public_profile" else "declined"
    granted = tuple(scope for scope, status in grants.items() if status == "granted")
    code = Code(
        value="AQ" + chance.letters(120, world.seed, "code", world.serial()),
        app_id=app.id,
        person_id=person.id,
        redirect_uri=query["redirect_uri"],
        scopes=granted,
        expires_at=world.clock() + CODE_LIVES_S,
    )
    world.codes[code.value] = code
    return _back(query, {"code": code.value})


def cancel(query: Mapping[str, str]) -> str:
    """The person says no to all of it; the address to send them to."""
    return _back(
        query,
        {
            "error": "access_denied",
            "error_code": "200",
            "error_description": "Permissions error",
            "error_reason": "user_denied",
        },
    )


def _back(query: Mapping[str, str], answer: dict[str, str]) -> str:
    state = {"state": query["state"]} if "state" in query else {}
    mark = "&" if "?" in query["redirect_uri"] else "?"
    return f"{query['redirect_uri']}{mark}{urlencode({**answer, **state})}"


def access_token(world: World, params: Mapping[str, str], *, tell_expiry: bool = True) -> dict[str, Any]:
    """GET /oauth/access_token: a code, a token to lengthen, or the app's own."""
    app = app_by_id(world, params.get("client_id"))
    check_secret(app, params.get("client_secret"))
    match params.get("grant_type", "authorization_code"):
        case "client_credentials":
            return {"access_token": f"{app.id}|{app.secret}", "token_type": "bearer"}
        case "fb_exchange_token":
            return _lengthen(world, app, params.get("fb_exchange_token", ""), tell_expiry=tell_expiry)
        case "authorization_code" if "code" in params:
            return _redeem(world, app, params)
        case _:
            raise bad_parameter("Missing grant_type or code.")


def _redeem(world: World, app: App, params: Mapping[str, str]) -> dict[str, Any]:
    code = world.codes.get(params["code"])
    if code is None or code.app_id != app.id:
        raise GraphError(100, "Invalid verification code format.", subcode=36009)
    if code.used:
        raise GraphError(100, "This authorization code has been used.", subcode=36009)
    if code.expires_at <= world.clock():
        raise GraphError(100, "This authorization code has expired.", subcode=36007)
    if params.get("redirect_uri", "") != code.redirect_uri:
        text = "Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request"
        raise GraphError(100, text, subcode=36008)
    code.used = True
    token = issue_token(world, app, world.get(Person, code.person_id), code.scopes, SHORT_LIVES_S)
    return {"access_token": token.value, "token_type": "bearer", "expires_in": SHORT_LIVES_S}


def _lengthen(world: World, app: App, value: str, *, tell_expiry: bool) -> dict[str, Any]:
    old = find_token(world, value)
    if trouble := trouble_of(world, old):
        raise trouble
    if old.app_id != app.id or old.person_id is None:
        raise bad_parameter("The access token does not belong to application " + app.id)
    lifetime = None if old.expires_at == 0 else LONG_LIVES_S
    person = world.get(Person, old.person_id)
    token = issue_token(world, app, person, scopes_of(world, old), lifetime, kind=old.kind)
    answer: dict[str, Any] = {"access_token": token.value, "token_type": "bearer"}
    if tell_expiry and lifetime is not None:
        answer["expires_in"] = lifetime
    return answer


def debug_token(world: World, params: Mapping[str, str], asker: str | None) -> dict[str, Any]:
    """GET /debug_token: about `input_token`, asked with the app's own token or one of its people's."""
    if not asker:
        raise GraphError(104, "An access token is required to request this resource.")
    asked_by = find_token(world, asker)
    if trouble := trouble_of(world, asked_by):
        raise trouble
    try:
        token = find_token(world, params.get("input_token", ""))
    except GraphError:
        error = {"code": 190, "message": "Invalid OAuth access token."}
        return {"data": {"error": error, "is_valid": False, "scopes": []}}
    if token.app_id != asked_by.app_id:
        raise bad_parameter("The App_id in the input_token did not match the Viewing App")
    app = world.get(App, token.app_id)
    about: dict[str, Any] = {"app_id": app.id, "type": token.kind, "application": app.name}
    if token.person_id is not None:
        scopes = scopes_of(world, token)
        about |= {
            "data_access_expires_at": int(token.data_access_expires_at),
            "expires_at": int(token.expires_at),
            "issued_at": int(token.issued_at),
            "scopes": list(scopes),
            "granular_scopes": [_granular(world, token, scope) for scope in scopes],
            "user_id": token.person_id,
        }
    trouble = trouble_of(world, token)
    if trouble is not None:
        about["error"] = {"code": 190, "message": trouble.message, "subcode": trouble.subcode}
    return {"data": {**about, "is_valid": trouble is None}}


def _granular(world: World, token: Token, scope: str) -> dict[str, Any]:
    """whatsapp_business_manage_events names Business Presence ids, which are no WABA ids."""
    if not scope.startswith("whatsapp_") or token.person_id is None:
        return {"scope": scope}
    person = world.get(Person, token.person_id)
    wabas = [waba.id for waba in world.all(Waba) if waba.business_id in person.business_ids]
    if scope == "whatsapp_business_manage_events":
        return {
            "scope": scope,
            "target_ids": [chance.digits(15, world.seed, "presence", each) for each in wabas],
        }
    return {"scope": scope, "target_ids": wabas}


def revoke(world: World, app: App, person: Person, permission: str | None) -> None:
    """One permission is taken back, or (None) the app is removed: its tokens then answer 190/458."""
    grants = world.grants.get((app.id, person.id), {})
    if permission is not None:
        if permission not in grants:
            raise bad_parameter(f"The permission {permission} was never granted")
        grants[permission] = "declined"
        return
    grants.clear()
    break_tokens(world, person, 458, app)


def break_tokens(world: World, person: Person, subcode: int, app: App | None = None) -> int:
    """Make the person's tokens (of one app) answer 190 with this subcode; how many were good."""
    found = [
        token
        for token in world.tokens.values()
        if token.person_id == person.id and token.trouble is None and (app is None or token.app_id == app.id)
    ]
    for token in found:
        token.trouble = subcode
    return len(found)
