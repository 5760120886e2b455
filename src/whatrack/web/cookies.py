"""The cookies of the site: none is readable by scripts, none goes to other sites, all stay on https where there is https."""

from fastapi import Request
from fastapi.responses import Response

from whatrack.settings import Settings
from whatrack.tenants.sessions import LIFETIME

YEAR_S = 365 * 24 * 3600


def session_cookie(settings: Settings) -> str:
    """With https the name that browsers bind to this very host; they refuse it without."""
    return "__Host-whatrack" if settings.is_https else "whatrack"


def session_token(request: Request) -> str | None:
    """The session's token that this browser holds, good or not."""
    return request.cookies.get(session_cookie(request.app.state.settings)) or None


def put(request: Request, response: Response, name: str, value: str, *, seconds: int) -> None:
    """Give the browser a cookie to keep for so long."""
    settings: Settings = request.app.state.settings
    response.set_cookie(name, value, max_age=seconds, secure=settings.is_https, httponly=True, samesite="lax")


def drop(request: Request, response: Response, name: str) -> None:
    """Take a cookie back."""
    settings: Settings = request.app.state.settings
    response.delete_cookie(name, secure=settings.is_https, httponly=True, samesite="lax")


def keep_session(request: Request, response: Response, token: str) -> None:
    """Put a session's token into the browser."""
    name = session_cookie(request.app.state.settings)
    put(request, response, name, token, seconds=int(LIFETIME.total_seconds()))
