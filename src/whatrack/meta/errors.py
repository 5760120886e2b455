"""What a refusal of the Graph API means: one table from (code, subcode) to a kind a caller can act on. Pure.

Decided by code and subcode, never by HTTP status (throttles and dead tokens both come as 400) and never by text.
Each error names a `reason`, a stable word that pages translate; `message` is Meta's own text with what looks like a
token taken out, for a person to read, not for a program.

Sources: Meta, "Handle errors" <https://developers.facebook.com/docs/graph-api/guides/error-handling>, "Error reference",
"Insights error codes" and "Rate limiting" (Marketing API), read 2026-11.
"""

import re
from typing import Any

import msgspec

MOST_TEXT = 500
# Anything as long as a token, or that starts as one: Meta repeats a malformed token in its refusal.
_TOKENISH = re.compile(r"EAA[0-9A-Za-z]{8,}|[0-9A-Za-z_|-]{40,}")
# Permissions as Meta names them in the text of a refusal: shown, never decided by.
_PERMISSION = re.compile(
    r"\b(ads_read|ads_management|business_management|pages_[a-z_]+|whatsapp_business_[a-z_]+)\b"
)

TOKEN_REASONS = {
    458: "app_removed",
    459: "checkpoint",
    460: "password_changed",
    463: "token_expired",
    464: "unconfirmed",
    467: "logged_out",
    492: "role_lost",
}
THROTTLES_OF_APP = frozenset({4, 32, 341})
THROTTLES_OF_ACCOUNT = frozenset({17, 613, 130429, 131056, *range(80000, 80015)})
# How long a limit lasts when no header says so, in seconds (Marketing API "Rate limiting": decay and block times).
BLOCK_S = {4: 300, 17: 300, 32: 300, 341: 300, 613: 60, 130429: 10, 131056: 10}
BLOCK_OTHERWISE_S = 300
TRANSIENT = frozenset({-1, 1, 2, 2601})
# Of insights: too many rows, too slow, too large an answer; smaller requests go through.
TOO_MUCH = frozenset({1487534, 1504018, 1504045, 2490547})
BAD_BREAKDOWN = (2, 1504041)
PERMISSIONS = frozenset({3, 10, 131005, *range(200, 300), 3191001})
NOT_VISIBLE = frozenset({(100, 33), (803, None)})
OF_LOGIN = {36007: "code_expired", 36008: "redirect_uri_differs", 36009: "code_used"}


class Refusal(msgspec.Struct, frozen=True):
    """The `error` of an answer, as Meta sent it. status: of HTTP, kept and not decided by."""

    code: int = 0
    subcode: int | None = None
    message: str = ""
    kind: str = ""
    is_transient: bool = False
    title: str | None = None
    advice: str | None = None
    trace: str | None = None
    status: int = 0


class GraphError(Exception):
    """A call that did not do what it was for. Its text holds codes only: nothing that Meta or a person wrote."""

    def __init__(self, reason: str, refusal: Refusal | None = None) -> None:
        self.reason = reason
        self.refusal = refusal or Refusal()
        super().__init__(self._facts())

    def _facts(self) -> str:
        if not self.refusal.code:
            return self.reason
        subcode = f"/{self.refusal.subcode}" if self.refusal.subcode is not None else ""
        trace = f", fbtrace_id {self.refusal.trace}" if self.refusal.trace else ""
        return f"{self.reason} ({self.refusal.code}{subcode}{trace})"

    @property
    def code(self) -> int:
        """Meta's code; 0 when there was no readable answer."""
        return self.refusal.code

    @property
    def subcode(self) -> int | None:
        """Meta's subcode, if any."""
        return self.refusal.subcode

    @property
    def trace(self) -> str | None:
        """Meta's fbtrace_id, for its support."""
        return self.refusal.trace

    @property
    def message(self) -> str:
        """What Meta says, for a person: its advice where it gives one. No token in it."""
        return self.refusal.advice or self.refusal.message


class Transient(GraphError):
    """It may work later, as it is. retry_after_s: not before that."""

    retry_after_s: float = 1.0


class Unreachable(Transient):
    """Nothing was sent: no connection."""


class NoAnswer(Transient):
    """It was sent, and no answer that can be read came: done or not done, nobody knows."""


class Throttled(Transient):
    """A limit was hit, or would be: nothing was done. scope: "app" or "account"."""

    def __init__(
        self, scope: str, retry_after_s: float, reason: str = "throttled", refusal: Refusal | None = None
    ) -> None:
        super().__init__(reason, refusal)
        self.scope = scope
        self.retry_after_s = retry_after_s


class TokenDead(GraphError):
    """The token will not work again; the person has to connect anew. reason: one of TOKEN_REASONS, or token_invalid."""


class MissingPermission(GraphError):
    """The token lives, and may not do this. permissions: those Meta names, possibly none.

    reason: no_advanced_access (10: the app may not, or the person has no role on it), permission_missing (200-299),
    or no_capability (3).
    """

    @property
    def permissions(self) -> tuple[str, ...]:
        """The permissions that Meta's text names, each once."""
        return tuple(dict.fromkeys(_PERMISSION.findall(self.refusal.message)))


class NotVisible(GraphError):
    """Gone, never there, or not shown to this token: Meta does not tell which."""


class BadRequest(GraphError):
    """Refused as it stands; the same request will be refused again.

    reason: too_much_data (ask for less), bad_breakdown, blocked (for policy: stop, and tell somebody), app_unknown,
    code_expired, code_used, redirect_uri_differs, or bad_request.
    """


class VersionGone(GraphError):
    """This version of the API has ended: META_API_VERSION must go up."""


def read_refusal(body: Any, status: int = 0) -> Refusal | None:
    """The refusal in a decoded body; None when there is none."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return None
    return Refusal(
        code=_whole(error.get("code")) or 0,
        subcode=_whole(error.get("error_subcode", error.get("subcode"))),
        message=without_tokens(error.get("message")),
        kind=str(error.get("type", ""))[:80],
        is_transient=error.get("is_transient") is True,
        title=without_tokens(error.get("error_user_title")) or None,
        advice=without_tokens(error.get("error_user_msg")) or None,
        trace=str(error["fbtrace_id"])[:80] if error.get("fbtrace_id") else None,
        status=status,
    )


def classify(refusal: Refusal, wait_s: float = 0.0) -> GraphError:
    """The kind of error that this refusal is. wait_s: how long the usage headers ask to wait, 0 when they do not."""
    code, pair = refusal.code, (refusal.code, refusal.subcode)
    if code in THROTTLES_OF_APP or code in THROTTLES_OF_ACCOUNT:
        scope = "app" if code in THROTTLES_OF_APP else "account"
        return Throttled(scope, max(wait_s, BLOCK_S.get(code, BLOCK_OTHERWISE_S)), refusal=refusal)
    if code in (102, 190):
        return TokenDead(TOKEN_REASONS.get(refusal.subcode or 0, "token_invalid"), refusal)
    if pair in NOT_VISIBLE or code == 803:
        return NotVisible("not_visible", refusal)
    if code in PERMISSIONS or refusal.subcode == 3191001:
        return MissingPermission(
            {3: "no_capability", 10: "no_advanced_access"}.get(code, "permission_missing"), refusal
        )
    if code == 2635:
        return VersionGone("version_gone", refusal)
    return _other(refusal, pair)


def _other(refusal: Refusal, pair: tuple[int, int | None]) -> GraphError:
    """What is left when it is no limit, no token, no permission: wrong for good, or wrong today."""
    if refusal.subcode in TOO_MUCH:
        return BadRequest("too_much_data", refusal)
    if pair == BAD_BREAKDOWN:
        return BadRequest("bad_breakdown", refusal)
    if refusal.code in TRANSIENT or (refusal.is_transient and refusal.code != 100):
        return Transient("meta_trouble", refusal)
    if refusal.code == 100 and refusal.subcode in OF_LOGIN:
        return BadRequest(OF_LOGIN[refusal.subcode], refusal)
    reason = {101: "app_unknown", 368: "blocked"}.get(refusal.code, "bad_request")
    return BadRequest(reason, refusal)


def without_tokens(text: object) -> str:
    """A text of Meta's, short, with whatever may be a token taken out."""
    return _TOKENISH.sub("…", text)[:MOST_TEXT] if isinstance(text, str) else ""


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d{1,12}", value) else None
