"""Who asks, and whether they may: tokens, proofs, permissions, and what a person can see.

Sources: Meta, "Access tokens", "Secure requests" (appsecret_proof) and "Handle errors", read 2026-11.
"""

import hashlib
import hmac
from dataclasses import dataclass

from whatrack.sandbox.failures import (
    TOKEN_TROUBLE,
    GraphError,
    missing_object,
    permission_missing,
    token_refused,
)
from whatrack.sandbox.state import (
    AdAccount,
    AdObject,
    App,
    Business,
    Creative,
    Dataset,
    Node,
    Number,
    Person,
    ReportRun,
    Token,
    Waba,
    World,
)

ADS = ("ads_read", "ads_management")


@dataclass(frozen=True)
class Caller:
    """Whose token came with the request. person: None for an app's own token."""

    app: App
    token: Token
    person: Person | None
    scopes: frozenset[str]

    def need(self, *one_of: str) -> None:
        """Refuse a caller who has none of these permissions."""
        if not self.scopes.intersection(one_of):
            raise permission_missing(*one_of)

    def need_all(self, *all_of: str) -> None:
        """Refuse a caller who lacks one of these permissions."""
        for each in all_of:
            self.need(each)


def app_by_id(world: World, app_id: str | None) -> App:
    """The app; 101 when there is none."""
    node = world.nodes.get(app_id or "")
    if not isinstance(node, App):
        text = "Error validating application. Cannot get application info due to a system error."
        raise GraphError(101, text)
    return node


def check_secret(app: App, secret: str | None) -> None:
    """Refuse a wrong client_secret."""
    if not hmac.compare_digest(app.secret.encode(), (secret or "").encode()):
        raise GraphError(1, "Error validating client secret.")


def proof(secret: str, token: str) -> str:
    """appsecret_proof: hex HMAC-SHA256 of the token with the app's secret."""
    return hmac.new(secret.encode(), token.encode(), hashlib.sha256).hexdigest()


def find_token(world: World, value: str) -> Token:
    """A token that was issued, or an app's `id|secret`; refused when it is neither."""
    app_id, bar, secret = value.partition("|")
    app = world.nodes.get(app_id)
    if bar and isinstance(app, App) and hmac.compare_digest(app.secret.encode(), secret.encode()):
        return Token(value, app.id, None, "APP", (), 0, 0, 0)
    token = world.tokens.get(value)
    if token is None:
        raise token_refused(None, "Invalid OAuth access token - Cannot parse access token")
    return token


def trouble_of(world: World, token: Token) -> GraphError | None:
    """Why this token is no longer good, if so."""
    app = world.get(App, token.app_id)
    now = world.clock()
    if token.trouble is not None:
        detail = TOKEN_TROUBLE.get(token.trouble, "The session is invalid.").format(app=app.id)
        return token_refused(token.trouble, detail)
    if 0 < token.expires_at <= now or 0 < token.data_access_expires_at <= now:
        return token_refused(463, TOKEN_TROUBLE[463])
    return None


def scopes_of(world: World, token: Token) -> tuple[str, ...]:
    """The token's permissions that the person has not taken back since."""
    if token.person_id is None:
        return token.scopes
    grants = world.grants.get((token.app_id, token.person_id), {})
    return tuple(scope for scope in token.scopes if grants.get(scope) == "granted")


def identify(world: World, value: str | None, given_proof: str | None) -> Caller:
    """Who asks; refused without a good token, or with a wrong proof."""
    if not value:
        raise GraphError(104, "An access token is required to request this resource.")
    token = find_token(world, value)
    if trouble := trouble_of(world, token):
        raise trouble
    app = world.get(App, token.app_id)
    _check_proof(app, token, given_proof)
    person = world.get(Person, token.person_id) if token.person_id else None
    return Caller(app, token, person, frozenset(scopes_of(world, token)))


def _check_proof(app: App, token: Token, given: str | None) -> None:
    if given is None:
        if app.require_proof:
            text = "API calls from the server require an appsecret_proof argument"
            raise GraphError(100, text, kind="GraphMethodException")
        return
    if not hmac.compare_digest(proof(app.secret, token.value).encode(), given.encode()):
        text = "Invalid appsecret_proof provided in the API argument"
        raise GraphError(100, text, kind="GraphMethodException")


def account_of(node: Node) -> str | None:
    """The ad account a node belongs to."""
    match node:
        case AdAccount():
            return node.id
        case AdObject() | Creative() | ReportRun():
            return node.account_id
        case _:
            return None


def can_see(world: World, caller: Caller, node: Node) -> bool:
    """Whether the token's owner has a role on what the node belongs to."""
    person = caller.person
    if isinstance(node, App):
        return node.id == caller.app.id
    if person is None:
        return False
    account = account_of(node)
    if account is not None:
        return account in person.account_ids
    match node:
        case Person():
            return node.id == person.id
        case Business():
            return node.id in person.business_ids
        case Dataset():
            return node.business_id in person.business_ids or any(
                each in person.account_ids for each in node.account_ids
            )
        case Waba():
            return node.business_id in person.business_ids
        case Number():
            return world.get(Waba, node.waba_id).business_id in person.business_ids
        case _:
            return False


def visible(world: World, caller: Caller, node_id: str, method: str = "GET") -> Node:
    """The node with this id as a path names it (me, act_…, digits); 100/33 when it is not to be seen."""
    if node_id == "me" and caller.person:
        return caller.person
    if node_id == "app":
        return caller.app
    node = world.nodes.get(node_id.removeprefix("act_"))
    named_right = node_id.startswith("act_") == isinstance(node, AdAccount)
    if node is None or not named_right or not can_see(world, caller, node):
        raise missing_object(node_id, method)
    need_for(caller, node)
    return node


def need_for(caller: Caller, node: Node) -> None:
    """Refuse a caller whose permissions do not cover this kind of node."""
    match node:
        case AdAccount() | AdObject() | Creative() | ReportRun():
            caller.need(*ADS)
        case Business():
            caller.need("business_management", "whatsapp_business_management")
        case Waba() | Number():
            caller.need("whatsapp_business_management", "whatsapp_business_messaging")
        case Dataset():
            caller.need(*ADS, "whatsapp_business_manage_events")
        case App() | Person():
            pass
