"""Who calls the API: an organization's key or the operator's."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from whatrack.db import Database
from whatrack.errors import Forbidden, Unauthorized
from whatrack.tenants import api_keys
from whatrack.tenants.access import Access, Operator

bearer = HTTPBearer(auto_error=False, description="An API key: `whatrack api-key create`.")


async def caller(
    request: Request, held: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Access | Operator:
    """Whoever holds the Bearer key; 401 without one."""
    if held is None:
        raise Unauthorized(
            "Send `Authorization: Bearer <api key>`; make a key with `whatrack api-key create`."
        )
    return await api_keys.authenticate(database(request), held.credentials)


async def member(who: Annotated[Access | Operator, Depends(caller)]) -> Access:
    """A caller inside an organization."""
    if isinstance(who, Operator):
        raise Forbidden("This is an organization's: use a key made with --org.")
    return who


async def operator(who: Annotated[Access | Operator, Depends(caller)]) -> Operator:
    """The operator of the installation."""
    if isinstance(who, Access):
        raise Forbidden("Raw deliveries belong to the installation: use a key made with --operator.")
    return who


def database(request: Request) -> Database:
    """The process's database."""
    db: Database = request.app.state.db
    return db


Member = Annotated[Access, Depends(member)]
TheOperator = Annotated[Operator, Depends(operator)]
Db = Annotated[Database, Depends(database)]
