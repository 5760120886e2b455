"""Why an account could not be fetched, in the words that the tables know, and how long it is left alone for that. Pure."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from whatrack.connections.tokens import Sight
from whatrack.insights import schedule
from whatrack.insights.fetch import NobodySees, ReportWaits, TooMuch
from whatrack.insights.schedule import Miss
from whatrack.meta.errors import (
    GraphError,
    MissingPermission,
    NotVisible,
    Throttled,
    TokenDead,
    Transient,
)


def miss_of(error: Exception, attempts: int) -> Miss:
    """What is to be kept of a failure. attempts: tries in a row that failed before it."""
    reason = reason_of(error)
    message = error.message[:500] or None if isinstance(error, GraphError) else None
    pause = schedule.pause_after(reason, attempts)
    if isinstance(error, Transient):
        pause = max(pause, timedelta(seconds=error.retry_after_s))
    if isinstance(error, Throttled):
        pause = timedelta(seconds=error.retry_after_s)
    return Miss(reason, message, pause, error.report if isinstance(error, ReportWaits) else None)


def of_sights(miss: Miss, sights: Sequence[Sight]) -> Miss:
    """The same, where no token worked: nobody sees the account, or who does has a token that is dead or lacks a permission.

    The message then names whom to connect again; where nobody is known to be, a dead token has none.
    """
    if miss.reason not in ("no_profile", "token_dead"):
        return miss
    for status, reason in (("EXPIRED", "token_dead"), ("INVALID_SCOPES", "permission_missing")):
        names = ", ".join(each.name for each in sights if each.status == status)
        if names:
            return msgspec.structs.replace(miss, reason=reason, message=names[:500])
    return msgspec.structs.replace(miss, message=None)


def reason_of(error: Exception) -> str:
    """Why a range could not be fetched, in the words that the tables know."""
    match error:
        case Throttled():
            return "throttled"
        case Transient():
            return "transient"
        case TokenDead():
            return "token_dead"
        case NotVisible():
            return "no_access"
        case MissingPermission():
            return "permission_missing"
        case NobodySees():
            return "no_profile"
        case ReportWaits():
            return "report_waits"
        case TooMuch(reason=reason):
            return reason
        case _:
            return "refused"
