"""Errors as RFC 9457 problem+json: a stable code, what happened, what to do, and the field at fault."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg import OperationalError
from psycopg_pool import PoolTimeout
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from whatrack.errors import Forbidden, NotFound, Refused, Unauthorized, WhatrackError
from whatrack.observe import logger

TITLES = {400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found", 405: "Method not allowed", 409: "Conflict",
          413: "Too large", 422: "Invalid value", 429: "Too many requests", 500: "Internal error", 503: "Unavailable"}  # fmt: skip

log = logger(__name__)


class FieldError(BaseModel):
    """One field at fault: a dotted path in the body, or a parameter's name."""

    field: str
    detail: str


class Problem(BaseModel):
    """An error (RFC 9457). code is stable; detail is for people and may change."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[FieldError] | None = None


def _described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": TITLES[status], "content": {"application/problem+json": {"schema": schema}}}
        for status in statuses
    }


# How the API's description names them: of every operation, of one thing, of a change.
OF_EVERY, OF_ONE, OF_CHANGE = _described(401, 403, 422, 503), _described(404), _described(409)
TOO_SOON, UNSIGNED = _described(429), _described(400)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """One problem+json answer. errors: the fields at fault, where there are any."""
    always = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "60"}, 503: {"retry-after": "5"}}.get(
        status, {}
    )
    content = {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "code": code,
        "detail": detail,
        **({"errors": errors} if errors else {}),
    }
    return JSONResponse(content, status, {**always, **(headers or {})}, media_type="application/problem+json")


def too_large(limit: int) -> JSONResponse:
    """413 for a body that is not read to its end; what of it is under way goes nowhere."""
    return problem(413, "too_large", f"A body has at most {limit} bytes.", headers={"connection": "close"})


def install(app: FastAPI) -> None:
    """Answer every failure of this app as problem+json."""
    app.add_exception_handler(WhatrackError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OperationalError, _database_away)
    app.add_exception_handler(PoolTimeout, _database_away)
    app.add_exception_handler(Exception, _bug)


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    match error:
        case Refused():
            at = [{"field": error.field, "detail": error.detail}] if error.field else None
            return problem(error.status, error.code, error.detail, errors=at)
        case Unauthorized():
            return problem(401, "unauthorized", str(error))
        case Forbidden():
            return problem(403, "forbidden", str(error))
        case NotFound():
            return problem(404, "not_found", str(error))
    return problem(500, "internal", str(error))


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """422, naming each field; never repeating the value, which may be personal."""
    if not isinstance(error, RequestValidationError):
        raise error
    errors = [
        {"field": _field(each), "detail": each["msg"].removeprefix("Value error, ")}
        for each in error.errors()
    ]
    return problem(
        422, "bad_value", "; ".join(f"{each['field']}: {each['detail']}" for each in errors), errors=errors
    )


def _field(error: dict[str, Any]) -> str:
    """Which field a validation error is about: its path without "body" or "query" before it."""
    where, *path = error["loc"]
    if error["type"] == "json_invalid" or not path:  # not JSON at all: its path is a place in the text
        return str(where)
    return ".".join(str(part) for part in path)


async def _http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    words = {404: "There is nothing at this address.", 405: "This address does not take this method."}
    said = words.get(error.status_code, str(error.detail))
    return problem(error.status_code, "http", said, headers=error.headers)


async def _database_away(_request: Request, error: Exception) -> JSONResponse:
    log.warning("database_away", exc_info=error)
    return problem(
        503, "database_away", "The database does not answer right now: try again in a few seconds."
    )


async def _bug(_request: Request, error: Exception) -> JSONResponse:
    log.error("request_failed", exc_info=error)
    return problem(500, "internal", "This is our fault. The error is in the service's log.")
