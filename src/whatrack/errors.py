"""The kinds of failure a caller can act on; everything else is a bug and propagates.

WhatrackError
├── ConfigError   the start is refused: one line that names the setting or file, and the remedy
├── Unauthorized  nobody we know asks (401)
├── Forbidden     we know who asks, and their role does not allow it (403)
├── NotFound      no such row, or another organization's: never told apart (404)
└── Refused       the request cannot be carried out as it stands (409 conflict, 422 bad value)
"""


class WhatrackError(Exception):
    """Base of every failure whose text is meant for a person."""


class ConfigError(WhatrackError):
    """A setting, file or database that stops the start."""


class Unauthorized(WhatrackError):
    """The key or session is missing, unknown or revoked."""


class Forbidden(WhatrackError):
    """The caller's role does not allow this."""


class NotFound(WhatrackError):
    """No such thing here."""


class Refused(WhatrackError):
    """The caller's request conflicts with the state (409) or holds a bad value (422).

    code: a stable word other programs may test (`open_ticket_exists`, `stale`, `deal_value_required` …).
    field: the request's field at fault, when there is one. about: the id of the row in the way, when there is one.
    """

    def __init__(
        self, code: str, detail: str, *, status: int = 409, field: str | None = None, about: object = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = status
        self.field = field
        self.about = about


def bad_value(field: str, detail: str, *, code: str = "bad_value") -> Refused:
    """A 422 about one field of the request."""
    return Refused(code, detail, status=422, field=field)
