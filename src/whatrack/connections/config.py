"""Turning an ad account on or off and choosing its dataset: what is asked, checked at Meta, then decided in one transaction."""

import msgspec

from whatrack.connections import ad_accounts, datasets, tokens
from whatrack.connections.ad_accounts import AdAccount, Wanted
from whatrack.connections.keys import Keys
from whatrack.connections.refusals import answered
from whatrack.db import Database
from whatrack.meta.graph import Graph
from whatrack.tenants.access import Access


class Change(msgspec.Struct, frozen=True):
    """What a person asks for. pixel_id: None for the WhatsApp account's own dataset; keep_pixel: as it is.

    confirmed: they know that the dataset is not linked to their WhatsApp. version: of the account they decided on.
    """

    is_active: bool
    pixel_id: str | None = None
    keep_pixel: bool = False
    confirmed: bool = False
    version: int | None = None


async def change(
    db: Database, graph: Graph, keys: Keys, access: Access, account_id: str, asked: Change
) -> AdAccount:
    """Carry it out. NotFound, Refused account_stale, 422 pixel_…, 503 when a new id cannot be checked at Meta now."""
    access.require("admin")
    async with db.tenant(access.organization_id) as conn:
        account = await ad_accounts.one(conn, access.organization_id, account_id)
    if asked.version is not None and asked.version != account.version:
        raise ad_accounts.stale()
    wanted = await _wanted(db, graph, keys, account, asked)
    async with db.tenant(access.organization_id) as conn:
        return await ad_accounts.configure(conn, access, account, wanted)


async def _wanted(db: Database, graph: Graph, keys: Keys, account: AdAccount, asked: Change) -> Wanted:
    if asked.keep_pixel or (asked.pixel_id is not None and asked.pixel_id == account.pixel_id):
        confirmed = account.pixel_confirmed or (asked.confirmed and account.pixel_id is not None)
        return Wanted(asked.is_active, account.pixel_id, account.pixel_name, confirmed)
    if asked.pixel_id is None:
        return Wanted(asked.is_active)
    async with db.tenant(account.organization_id) as conn:
        facts = await tokens.facts(conn, account.organization_id)
    with answered("pixel_id"):
        found = await datasets.recognised(db, graph, keys, account, facts, asked.pixel_id)
    return Wanted(asked.is_active, found.id, found.name or None, asked.confirmed and not found.is_linked)
