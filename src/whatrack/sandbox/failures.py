"""What the Graph API says when it refuses, in its own envelope.

Sources: Meta, "Handle errors" (Graph API guide) and "Error reference" (Marketing API), read 2026-11. Clients decide by code
and subcode; the texts are close to Meta's and promise nothing.
"""

from typing import Any

UPDATE_HINT = "Please read the Graph API documentation at https://developers.facebook.com/docs/graph-api"

# code → (subcode, text) of each limit; the subcode is what commonly comes with it.
THROTTLES: dict[int, tuple[int | None, str]] = {
    4: (None, "(#4) Application request limit reached"),
    17: (2446079, "(#17) User request limit reached"),
    32: (None, "(#32) Page request limit reached"),
    341: (None, "(#341) Application limit reached"),
    613: (1487742, "(#613) Calls to this api have exceeded the rate limit."),
    80000: (
        2446079,
        "(#80000) There have been too many calls from this ad-account. Wait a bit and try again.",
    ),
    80001: (None, "(#80001) There have been too many calls to this Page account. Wait a bit and try again."),
    80002: (None, "(#80002) There have been too many calls to this Instagram account."),
    80003: (2446079, "(#80003) There have been too many calls to this ad-account for custom audiences."),
    80004: (2446079, "(#80004) There have been too many calls to this ad-account. Wait a bit and try again."),
    80014: (None, "(#80014) There have been too many calls for the batch uploads to this catalog account."),
}

TOKEN_TROUBLE: dict[int, str] = {
    458: "The user has not authorized application {app}.",
    459: "The user is enrolled in a blocking, logged-in checkpoint.",
    460: "The session has been invalidated because the user changed their password or Facebook has changed the session for security reasons.",
    463: "Session has expired.",
    464: "Sessions for the user are not allowed because the user is not a confirmed user.",
    467: "The session is invalid because the user logged out.",
    492: "The session is invalid: the user has no role on the Page.",
}


class GraphError(Exception):
    """A refusal; `status` is the HTTP status, which clients should not decide by."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        subcode: int | None = None,
        kind: str = "OAuthException",
        status: int = 400,
        transient: bool = False,
        title: str | None = None,
        advice: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.subcode, self.message, self.kind = code, subcode, message, kind
        self.status, self.transient, self.title, self.advice = status, transient, title, advice

    def envelope(self, trace: str) -> dict[str, Any]:
        """The body of the answer."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind, "code": self.code}
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        error["is_transient"] = self.transient
        if self.title is not None:
            error["error_user_title"] = self.title
        if self.advice is not None:
            error["error_user_msg"] = self.advice
        return {"error": {**error, "fbtrace_id": trace}}


def missing_object(object_id: str, method: str = "GET") -> GraphError:
    """100/33: gone, not visible to this token, or not able to do this; Meta does not tell which."""
    return GraphError(
        100,
        f"Unsupported {method.lower()} request. Object with ID '{object_id}' does not exist, cannot be loaded due to"
        f" missing permissions, or does not support this operation. {UPDATE_HINT}",
        subcode=33,
        kind="GraphMethodException",
    )


def unknown_field(name: str, node_type: str) -> GraphError:
    """A field that this kind of node never has."""
    return GraphError(100, f"(#100) Tried accessing nonexisting field ({name}) on node type ({node_type})")


def bad_parameter(message: str, **more: Any) -> GraphError:
    """A parameter of the request is wrong."""
    return GraphError(100, f"(#100) {message}", **more)


def unknown_path(path: str) -> GraphError:
    """No such thing."""
    return GraphError(2500, f"Unknown path components: {path}")


def token_refused(subcode: int | None, detail: str) -> GraphError:
    """190: the token is no good. Without a subcode: it never was one."""
    text = detail if subcode is None else f"Error validating access token: {detail}"
    return GraphError(190, text, subcode=subcode)


def permission_missing(*wanted: str, code: int = 200) -> GraphError:
    """200 (or 10): none of these permissions has been granted."""
    return GraphError(code, f"(#{code}) Requires {' or '.join(wanted)} permission to manage the object.")


def throttled(code: int, subcode: int | None = None, *, status: int = 400) -> GraphError:
    """One of the limits. Meta says is_transient:false on most of them, and they pass all the same."""
    usual, text = THROTTLES[code]
    return GraphError(code, text, subcode=subcode or usual, status=status, transient=code == 4)
