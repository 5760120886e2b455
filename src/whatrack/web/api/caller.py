"""Who calls the API: an organization's key, the operator's, or a person signed in to the site."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from whatrack.db import Database
from whatrack.errors import Forbidden, Unauthorized
from whatrack.tenants import api_keys, login
from whatrack.tenants.access import Access, Operator
from whatrack.web.cookies import session_token

bearer = HTTPBearer(auto_error=False, description="An API key: `whatrack api-key create`.")


@dataclass(frozen=True)
class Caller:
    """Who calls. A key is one of the two; a person may be both, or neither."""

    access: Access | None
    operator: Operator | None


async def caller(
    request: Request, held: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Caller:
    """Whoever holds the Bearer key, else whoever is signed in to the site; 401 without either."""
    if held is not None:
        key = await api_keys.authenticate(database(request), held.credentials)
        return Caller(None, key) if isinstance(key, Operator) else Caller(key, None)
    token = session_token(request)
    person = await login.visitor(database(request), token) if token else None
    if person is None:
        raise Unauthorized(
            "Send `Authorization: Bearer <api key>`; make a key with `whatrack api-key create`."
        )
    return Caller(person.access, Operator(person.user.actor) if person.user.is_operator else None)


async def member(who: Annotated[Caller, Depends(caller)]) -> Access:
    """A caller inside an organization."""
    if who.access is None:
        raise Forbidden("This is an organization's: use a key made with --org.")
    return who.access


async def operator(who: Annotated[Caller, Depends(caller)]) -> Operator:
    """The operator of the installation."""
    if who.operator is None:
        raise Forbidden("Raw deliveries belong to the installation: use a key made with --operator.")
    return who.operator


def database(request: Request) -> Database:
    """The process's database."""
    db: Database = request.app.state.db
    return db


async def _database(request: Request) -> Database:  # async, or FastAPI would fetch it from a thread
    return database(request)


Member = Annotated[Access, Depends(member)]
TheOperator = Annotated[Operator, Depends(operator)]
Db = Annotated[Database, Depends(_database)]
