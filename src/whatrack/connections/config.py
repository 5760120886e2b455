"""What a person asks for an ad account, checked at Meta before it is decided (flow_connections.account_update)."""

import msgspec

from whatrack.connections import datasets, tokens
from whatrack.connections.ad_accounts import AdAccount, Wanted
from whatrack.connections.keys import Keys
from whatrack.connections.refusals import answered
from whatrack.db import Database
from whatrack.meta.graph import Graph


class Change(msgspec.Struct, frozen=True):
    """What a person asks for. pixel_id: None for the WhatsApp account's own dataset; keep_pixel: as it is.

    confirmed: they know that the dataset is not linked to their WhatsApp. version: of the account they decided on.
    """

    is_active: bool
    pixel_id: str | None = None
    keep_pixel: bool = False
    confirmed: bool = False
    version: int | None = None


async def wanted(db: Database, graph: Graph, keys: Keys, account: AdAccount, asked: Change) -> Wanted:
    """The decision that this asks for, a new id checked at Meta; 422 pixel_…, 503 when Meta does not answer."""
    if asked.keep_pixel or (asked.pixel_id is not None and asked.pixel_id == account.pixel_id):
        confirmed = account.pixel_confirmed or (asked.confirmed and account.pixel_id is not None)
        return Wanted(asked.is_active, account.pixel_id, account.pixel_name, confirmed)
    if asked.pixel_id is None:
        return Wanted(asked.is_active)
    async with db.tenant(account.organization_id) as conn:
        facts = await tokens.facts(conn, account.organization_id)
    async with answered("pixel_id"):
        found = await datasets.recognised(db, graph, keys, account, facts, asked.pixel_id)
    return Wanted(asked.is_active, found.id, found.name or None, asked.confirmed and not found.is_linked)
