"""How a person becomes a profile: the state of a dialog, the exchange of its code, a pasted token, and the check later on.

Here is the network; nothing here writes a profile (profiles.py does). Callers hold no transaction meanwhile.
"""

import secrets
from datetime import UTC, datetime, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec

from whatrack import db as database
from whatrack.connections.keys import Held, Keys, digest
from whatrack.connections.profiles import Login
from whatrack.db import Connection
from whatrack.errors import Refused, bad_value
from whatrack.meta import oauth
from whatrack.meta.calls import Token
from whatrack.meta.errors import BadRequest, GraphError, MissingPermission, TokenDead, Transient
from whatrack.meta.graph import Graph
from whatrack.meta.oauth import App, TokenFacts

STATE_LIVES = timedelta(minutes=10)
RENEW_WITHIN = timedelta(days=10)
KINDS = ("USER", "SYSTEM_USER")
TOKEN_CHARS = 2000

OPEN: LiteralString = """
INSERT INTO oauth_states (organization_id, hash, bound_to, expires_at) VALUES (%s, %s, %s, %s)
"""
# Found and gone in one statement: two answers with one state cannot both pass.
TAKE: LiteralString = """
DELETE FROM oauth_states WHERE organization_id = %s AND hash = %s RETURNING bound_to, expires_at
"""
DROP_OLD: LiteralString = "DELETE FROM oauth_states WHERE expires_at < now() - interval '1 day'"


async def open_state(conn: Connection, organization_id: UUID, who: str) -> str:
    """A state for a dialog, good once and for ten minutes. who: the person and the browser, to be met again."""
    state = secrets.token_urlsafe(32)
    until = await database.now(conn) + STATE_LIVES
    await conn.execute(OPEN, [organization_id, digest(state), digest(who), until])
    return state


async def take_state(conn: Connection, organization_id: UUID, who: str, state: str) -> str | None:
    """Use a state up; why it is no good (commit all the same), or None when it is.

    state_unknown: never given out here, used before, or another organization's; state_foreign: somebody else's or another
    browser's; state_expired: too late.
    """
    row = await (await conn.execute(TAKE, [organization_id, digest(state)])).fetchone()
    if row is None:
        return "state_unknown"
    bound_to, expires_at = row
    if bytes(bound_to) != digest(who):
        return "state_foreign"
    return "state_expired" if expires_at <= await database.now(conn) else None


async def drop_old_states(conn: Connection) -> None:
    """Forget dialogs that nobody came back from (system scope)."""
    await conn.execute(DROP_OLD)


STATE_REFUSALS = {
    "state_unknown": "This login was used already, or did not begin here: connect again.",
    "state_foreign": "This login was begun by somebody else or in another browser: connect again.",
    "state_expired": "The login took longer than ten minutes: connect again.",
}


def state_refused(reason: str) -> Refused:
    """The refusal of a state."""
    return Refused(reason, STATE_REFUSALS[reason], status=422, field="state")


async def by_code(graph: Graph, keys: Keys, app: App, code: str, redirect_uri: str, now: datetime) -> Login:
    """The login behind a dialog's code; raises GraphError. The token is long-lived where Meta gives one."""
    granted = await oauth.redeem(graph, app, code, redirect_uri)
    value, expires_in = granted.access_token, granted.expires_in
    try:
        longer = await oauth.lengthen(graph, app, value)
        value, expires_in = longer.access_token, longer.expires_in
    except (Transient, BadRequest):
        pass  # the short one works for now, and the check exchanges it before it ends
    facts = await oauth.inspect_as(app, graph, value)
    return await _login(graph, keys, value, facts, now, expires_in, asked=app.scopes)


async def by_token(graph: Graph, keys: Keys, value: str, now: datetime) -> Login:
    """The login behind a pasted token of a person or system user, of our app or another; GraphError, or 422."""
    if not value.isascii() or not value.isprintable() or " " in value or not 20 <= len(value) <= TOKEN_CHARS:
        raise bad_value("access_token", "This is no access token.", code="token_malformed")
    token, facts = Token(value), await _as_ours(graph, keys, value)
    if facts is None:
        token = await proved(graph, keys, value)
        facts = await oauth.inspect(graph, value, token)
    if (dead := facts.dead()) is not None:
        raise dead
    if facts.kind not in KINDS or facts.user_id is None:
        raise bad_value(
            "access_token",
            "This token is an app's or a Page's: paste one of a person or system user.",
            code="token_kind",
        )
    expires_in = None
    app = keys.app
    if app and facts.app_id == app.id and _ends_soon(facts, now):
        longer = await oauth.lengthen(graph, app, value)
        value, expires_in = longer.access_token, longer.expires_in
        facts = await oauth.inspect_as(app, graph, value)
    proof = digest(token.secret) if token.secret else None
    return await _login(graph, keys, value, facts, now, expires_in, asked=(), proof=proof)


async def proved(graph: Graph, keys: Keys, value: str) -> Token:
    """A pasted token with the secret of the app that issued it: the one whose proof Meta takes. None of ours: without."""
    for secret in keys.secrets:
        token = Token(value, secret)
        try:
            await oauth.me(graph, token)
        except BadRequest:  # "Invalid appsecret_proof": another app's
            continue
        return token
    return Token(value)


async def inspect(graph: Graph, keys: Keys, token: Token) -> TokenFacts:
    """What Meta says of a token of any app: asked as our app, and as the token itself when it is not ours.

    BadRequest app_unknown when Meta does not take our app's secret: TokenDead is always about the token asked about.
    """
    facts = await _as_ours(graph, keys, token.value)
    return facts or await oauth.inspect(graph, token.value, token)


async def _as_ours(graph: Graph, keys: Keys, value: str) -> TokenFacts | None:
    """What Meta tells our app of a token; None when it is another app's."""
    if keys.app is None:
        return None
    try:
        return await oauth.inspect_as(keys.app, graph, value)
    except (BadRequest, MissingPermission) as error:
        if error.reason == "app_unknown":
            raise
        return None


def _ends_soon(facts: TokenFacts, now: datetime) -> bool:
    ends = moment(facts.expires_at)
    return ends is not None and ends - now < RENEW_WITHIN


async def _login(
    graph: Graph,
    keys: Keys,
    value: str,
    facts: TokenFacts,
    now: datetime,
    expires_in: int | None,
    *,
    asked: tuple[str, ...],
    proof: bytes | None = None,
) -> Login:
    if (dead := facts.dead()) is not None:
        raise dead
    token = keys.of_app(value, facts.app_id, proof)
    person = await oauth.me(graph, token)
    scopes, declined = await _permissions(graph, token, facts, asked)
    ends_at = moment(facts.expires_at)
    if facts.expires_at is None and expires_in:
        ends_at = now + timedelta(seconds=expires_in)
    return Login(
        fb_user_id=person.id,
        fb_user_name=person.name.strip()[:200] or person.id,
        sealed=keys.seal(value),
        token_app_id=facts.app_id,
        token_proof=proof,
        token_kind=facts.kind,
        token_expires_at=ends_at,
        data_access_expires_at=moment(facts.data_access_expires_at),
        scopes=scopes,
        declined=declined,
    )


async def _permissions(
    graph: Graph, token: Token, facts: TokenFacts, asked: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """(granted, declined). A system user has no list of its own: its token's counts."""
    try:
        told = await oauth.permissions(graph, token)
    except (BadRequest, MissingPermission):
        told = {}
    granted = [name for name, status in told.items() if status == "granted"] if told else list(facts.scopes)
    refused = {name for name, status in told.items() if status != "granted"}
    return sorted(granted), sorted(refused | {name for name in asked if name not in granted})


class Checked(msgspec.Struct, frozen=True):
    """How a profile is, as Meta says. trouble: Meta did not say, and why; then nothing else counts.

    renewed: a longer-lived token, encrypted, where it was time for one.
    """

    status: str = "ACTIVE"
    reason: str | None = None
    scopes: list[str] = []
    declined: list[str] = []
    token_expires_at: datetime | None = None
    data_access_expires_at: datetime | None = None
    renewed: bytes | None = None
    trouble: str | None = None


async def check(graph: Graph, keys: Keys, held: Held, declined: list[str], now: datetime) -> Checked:
    """Ask Meta how a profile's token is, and exchange it in its last ten days. Never raises GraphError."""
    try:
        token = keys.token(held)
        value = token.value
        facts = await inspect(graph, keys, token)
        renewed, facts = await _renewed(graph, keys, value, facts, now)
        login = await _login(
            graph, keys, renewed or value, facts, now, None, asked=tuple(declined), proof=held.proof
        )
    except TokenDead as error:
        return Checked(status="EXPIRED", reason=error.reason)
    except GraphError as error:
        return Checked(trouble=error.reason)
    status, reason = login.status
    return Checked(
        status=status,
        reason=reason,
        scopes=login.scopes,
        declined=login.declined,
        token_expires_at=login.token_expires_at,
        data_access_expires_at=login.data_access_expires_at,
        renewed=keys.seal(renewed) if renewed else None,
    )


async def _renewed(
    graph: Graph, keys: Keys, value: str, facts: TokenFacts, now: datetime
) -> tuple[str | None, TokenFacts]:
    """A longer-lived token and what Meta says of it, when it is time and Meta gives one; else (None, the same facts)."""
    app = keys.app
    is_ours = app is not None and facts.app_id == app.id and facts.kind == "USER" and facts.is_valid
    if not is_ours or app is None or not _ends_soon(facts, now):
        return None, facts
    try:
        longer = (await oauth.lengthen(graph, app, value)).access_token
        newer = await oauth.inspect_as(app, graph, longer)
    except (Transient, BadRequest):
        return None, facts  # the next check tries again; meanwhile this one still works
    is_better = newer.is_valid and (not newer.expires_at or newer.expires_at > (facts.expires_at or 0))
    return (longer, newer) if is_better else (None, facts)


def moment(seconds: int | None) -> datetime | None:
    """Unix seconds as a moment; None for 0, which means never, and for what is not known."""
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
