"""The part of the flow about what an organization connects: where a profile that comes or goes touches other packages.

a person connects ──► profile_connected ──► profile (and what waited for one)
a person decides ──► account_update · own_dataset ──► account, dataset (and what waited for one)
Meta says that a person left ──► person_left · forget_person ──► every organization's profile of theirs
an operator changed the key ──► reseal ──► every secret at rest
"""

from uuid import UUID

from whatrack.connections import (
    ad_accounts,
    config,
    datasets,
    deletions,
    profiles,
    upkeep,
    whatsapp_numbers,
)
from whatrack.connections.ad_accounts import AdAccount
from whatrack.connections.config import Change
from whatrack.connections.keys import Keys
from whatrack.connections.profiles import Leaver, Login
from whatrack.connections.whatsapp_numbers import Connected
from whatrack.conversions import sweeps
from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.enrichment import catalog
from whatrack.meta.graph import Graph
from whatrack.tenants import two_step
from whatrack.tenants.access import Access


async def profile_connected(db: Database, organization_id: UUID, login: Login, actor: str) -> UUID:
    """A person connected their profile, or renewed it: its id. What waited for a token goes on."""
    async with db.tenant(organization_id) as conn:
        profile_id = await profiles.put(conn, organization_id, login, actor)
        await catalog.retry(conn, organization_id)
        await sweeps.profile_connected(conn, organization_id)
        return profile_id


async def account_update(
    db: Database, graph: Graph, keys: Keys, access: Access, account_id: str, asked: Change
) -> AdAccount:
    """A person turns an ad account on or off, or chooses its dataset. What waited for that may go on.

    NotFound, Refused account_stale, 422 pixel_…, 503 when a new id cannot be checked at Meta now.
    """
    access.require("admin")
    async with db.tenant(access.organization_id) as conn:
        account = await ad_accounts.one(conn, access.organization_id, account_id)
    if asked.version is not None and asked.version != account.version:
        raise ad_accounts.stale()
    wanted = await config.wanted(db, graph, keys, account, asked)
    async with db.tenant(access.organization_id) as conn:
        return await ad_accounts.configure(conn, access, account, wanted)


async def own_dataset(db: Database, graph: Graph, keys: Keys, access: Access, waba_id: str) -> Connected:
    """Meta makes (or gives) a WhatsApp account's dataset, or says why not: kept either way. NotFound for another's."""
    access.require("admin")
    dataset_id, reason = await datasets.ask_for_own(db, graph, keys, access.organization_id, waba_id)
    async with db.tenant(access.organization_id) as conn:
        await whatsapp_numbers.set_dataset(conn, access.organization_id, waba_id, dataset_id, reason)
        numbers = await whatsapp_numbers.connected(conn, access.organization_id)
    return next(each for each in numbers if each.waba_id == waba_id)


async def person_left(db: Database, who: Leaver) -> int:
    """A person removed the app at Meta: none of their tokens is used again. Answers how many profiles that concerns."""
    async with db.system() as conn:
        return await profiles.revoke_person(conn, who)


async def forget_person(db: Database, who: Leaver) -> str:
    """A person asked Meta to have their data deleted: their profiles go, and a code tells that it was done."""
    async with db.system() as conn:
        return await deletions.record(conn, await profiles.forget_person(conn, who))


async def reseal(db: Database, sealer: Sealer) -> int:
    """Encrypt anew, with the first key, what another one sealed. Answers how many secrets that were."""
    async with db.system() as conn:
        tokens = await upkeep.reseal(conn, sealer) + await whatsapp_numbers.reseal(conn, sealer)
        return tokens + await two_step.reseal(conn, sealer)
