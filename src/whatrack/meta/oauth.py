"""Facebook Login: the dialog's address, a code for a token, a longer-lived one, and what Meta says of a token.

Sources: Meta, "Manually build a login flow"
<https://developers.facebook.com/documentation/facebook-login/guides/advanced/manual-flow>, "Long-lived access tokens",
"Facebook Login for Business", read 2026-11. Meta documents GET alone for these calls, so a secret stands in their query:
nothing logs an address here.
"""

from dataclasses import dataclass, field
from urllib.parse import urlencode

import msgspec
from typing_extensions import override

from whatrack.meta.calls import Token
from whatrack.meta.errors import BadRequest, Refusal, TokenDead, classify
from whatrack.meta.graph import Graph

TOKEN_PATH = "oauth/access_token"  # noqa: S105 # a path
NEVER = 0
READS_ADS = ("ads_read", "ads_management")  # either lets one list accounts and read ads


@dataclass(frozen=True)
class App:
    """The app that people log in to. config_id: of Facebook Login for Business, asked for instead of scopes."""

    id: str
    secret: str = field(repr=False)
    dialog_url: str
    version: str
    scopes: tuple[str, ...]
    config_id: str | None = None

    @property
    def own_token(self) -> Token:
        """The app's own token."""
        return Token(f"{self.id}|{self.secret}", self.secret, self.id)

    def dialog(self, redirect_uri: str, state: str, *, again: bool) -> str:
        """The address of the login dialog. again: ask once more for what was declined."""
        asked = {"config_id": self.config_id} if self.config_id else {"scope": ",".join(self.scopes)}
        query = {
            "client_id": self.id,
            "redirect_uri": redirect_uri,
            "state": state,
            "response_type": "code",
            **asked,
            **({"auth_type": "rerequest"} if again else {}),
        }
        return f"{self.dialog_url}/{self.version}/dialog/oauth?{urlencode(query)}"


class Granted(msgspec.Struct, frozen=True):
    """A token as the token endpoint gives it. expires_in: seconds; Meta may leave it out."""

    access_token: str
    expires_in: int | None = None

    @override
    def __repr__(self) -> str:
        return "Granted(…)"


class _Trouble(msgspec.Struct, frozen=True):
    code: int = 190
    subcode: int | None = None
    message: str = ""


class _Granular(msgspec.Struct, frozen=True):
    scope: str
    target_ids: list[str] | None = None


class TokenFacts(msgspec.Struct, frozen=True):
    """What debug_token says. expires_at and data_access_expires_at: unix seconds, 0 for never; None: it does not say.

    kind: USER, SYSTEM_USER, PAGE or APP. granular: permissions bound to objects; no target_ids means all of them.
    """

    is_valid: bool
    app_id: str = ""
    kind: str = msgspec.field(default="", name="type")
    user_id: str | None = None
    expires_at: int | None = None
    data_access_expires_at: int = NEVER
    scopes: list[str] = []
    granular: list[_Granular] = msgspec.field(default=[], name="granular_scopes")
    error: _Trouble | None = None

    def dead(self) -> TokenDead | None:
        """Why the token no longer works; None when it does."""
        if self.is_valid:
            return None
        trouble = self.error or _Trouble()
        found = classify(Refusal(trouble.code, trouble.subcode))
        return found if isinstance(found, TokenDead) else TokenDead("token_invalid")

    def targets(self, scope: str) -> list[str] | None:
        """The objects this permission is bound to; None when it is for all, or not given."""
        return next((each.target_ids for each in self.granular if each.scope == scope), None)


class _Debugged(msgspec.Struct, frozen=True):
    data: TokenFacts


class _Permission(msgspec.Struct, frozen=True):
    permission: str
    status: str


class Person(msgspec.Struct, frozen=True):
    """Whose token it is. id: scoped to the app."""

    id: str
    name: str = ""


async def redeem(graph: Graph, app: App, code: str, redirect_uri: str) -> Granted:
    """The token of a code. Asked once: a code works once, even when its answer is lost."""
    params = {"client_id": app.id, "redirect_uri": redirect_uri, "client_secret": app.secret, "code": code}
    return await graph.get(TOKEN_PATH, None, Granted, params=params, tries=1)


async def lengthen(graph: Graph, app: App, token: str) -> Granted:
    """A long-lived token (some 60 days) for a good one of this app."""
    params = {
        "grant_type": "fb_exchange_token",
        "client_id": app.id,
        "client_secret": app.secret,
        "fb_exchange_token": token,
    }
    return await graph.get(TOKEN_PATH, None, Granted, params=params)


async def inspect(graph: Graph, token: str, asker: Token) -> TokenFacts:
    """What Meta says of a token, asked by itself where its app is not ours; TokenDead is then about the token."""
    found = await graph.get("debug_token", asker, _Debugged, params={"input_token": token})
    return found.data


async def inspect_as(app: App, graph: Graph, token: str) -> TokenFacts:
    """What Meta says of a token, asked by our app. BadRequest app_unknown: it is the app's own token that is refused."""
    try:
        return await inspect(graph, token, app.own_token)
    except (
        TokenDead
    ) as error:  # META_APP_SECRET is not the app's (any more): nothing is said of the person's token
        raise BadRequest("app_unknown", error.refusal) from None


async def me(graph: Graph, token: Token) -> Person:
    """Whose token it is."""
    return await graph.get("me", token, Person, params={"fields": "id,name"})


async def permissions(graph: Graph, token: Token) -> dict[str, str]:
    """Permission → granted, declined or expired. A system user's token has no such list: {} then."""
    found = await graph.every("me/permissions", token, _Permission, params={"limit": 200}, most=5)
    return {each.permission: each.status for each in found}
