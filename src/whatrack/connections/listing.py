"""Reading every profile's ad accounts from Meta: by a loop every few hours, and when a person asks.

What cannot be read stays as it was, with its age and the reason: Meta being away empties no page.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from whatrack.connections import ad_accounts, profiles
from whatrack.connections.ad_accounts import Listed
from whatrack.connections.keys import Held, Keys
from whatrack.connections.profiles import Profile
from whatrack.db import Database
from whatrack.errors import NotFound
from whatrack.meta.calls import Token
from whatrack.meta.errors import GraphError, Transient
from whatrack.meta.graph import Graph
from whatrack.meta.ids import act_account
from whatrack.units import NAME_LENGTH

FIELDS = "id,account_id,name,account_status,currency,timezone_name,business{id,name}"
AT_ONCE = (500, 100, 25)  # accounts a page: long calls cost less of the limits, and may be too much for Meta
TOO_MUCH = 1  # the code of "Please reduce the amount of data", and of trouble that passes
MOST_ACCOUNTS = 20_000
AGAIN_S = 300.0


class _Business(msgspec.Struct, frozen=True):
    name: str = ""


class _Account(msgspec.Struct, frozen=True):
    id: str
    name: str = ""
    account_status: int = 0
    currency: str = "XXX"
    timezone_name: str = "UTC"
    business: _Business | None = None


async def read(graph: Graph, keys: Keys, held: Held) -> list[Listed]:
    """Every account this token sees, each once; raises GraphError."""
    token, listed = keys.token(held), {}
    for each in await _whole(graph, token):
        account = act_account(each.id)
        if account is not None:
            name = each.name.replace("\0", "").strip()[:NAME_LENGTH] or account
            business = each.business.name or None if each.business else None
            listed[account] = Listed(
                account, name, each.account_status, each.currency, each.timezone_name, business
            )
    return list(listed.values())


async def _whole(graph: Graph, token: Token) -> list[_Account]:
    """The whole list, in pages as long as Meta bears."""
    *longer, shortest = AT_ONCE
    for limit in longer:
        try:
            return await _pages_of(graph, token, limit)
        except GraphError as error:
            if error.reason != "too_much_data" and error.code != TOO_MUCH:
                raise
    return await _pages_of(graph, token, shortest)


async def _pages_of(graph: Graph, token: Token, limit: int) -> list[_Account]:
    params = {"fields": FIELDS, "limit": limit}
    most = MOST_ACCOUNTS // limit
    return await graph.every("me/adaccounts", token, _Account, params=params, most=most)


async def list_profile(db: Database, graph: Graph, keys: Keys, held: Held) -> str | None:
    """Read one profile's accounts and store them; why not, or None when they are. What Meta says of the token is kept."""
    organization_id, profile_id = held.organization_id, UUID(held.owner_id)
    try:
        found = await read(graph, keys, held)
    except GraphError as error:
        again_s = max(AGAIN_S, error.retry_after_s) if isinstance(error, Transient) else AGAIN_S
        async with db.tenant(organization_id) as conn:
            await ad_accounts.not_listed(conn, organization_id, profile_id, error.reason, again_s)
            await profiles.report(conn, held, error)
        return error.reason
    async with db.tenant(organization_id) as conn:
        if await profiles.is_known(conn, organization_id, profile_id):  # it may be disconnected by now
            await ad_accounts.store(conn, organization_id, profile_id, found)
    return None


async def refresh(
    db: Database, graph: Graph, keys: Keys, wanted: Sequence[Profile], *, within_s: float
) -> None:
    """Read these profiles' accounts side by side, waiting so long at most; what takes longer is left to the loop."""
    held: dict[asyncio.Task[str | None], Held] = {}
    for profile in wanted:
        async with db.tenant(profile.organization_id) as conn:
            await ad_accounts.begin(conn, profile.organization_id, profile.id)
            try:
                token = await profiles.held(conn, profile.organization_id, profile.id)
            except NotFound:
                continue  # it was disconnected a moment ago
        held[asyncio.create_task(list_profile(db, graph, keys, token))] = token
    if not held:
        return
    done, late = await asyncio.wait(held, timeout=within_s)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for task in late:
        async with db.tenant(held[task].organization_id) as conn:
            profile_id = UUID(held[task].owner_id)
            await ad_accounts.not_listed(conn, held[task].organization_id, profile_id, "no_answer", AGAIN_S)
    for task in done:
        task.result()


def due(known: Sequence[Profile], now: datetime) -> list[Profile]:
    """The working profiles whose list is old or was never read, and that Meta may be asked about by now."""
    return [each for each in known if each.status == "ACTIVE" and each.list_after <= now]
