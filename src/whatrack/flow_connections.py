"""The part of the flow about what an organization connects: where a profile that comes or goes touches other packages.

a person connects ──► profile_connected ──► profile (and what waited for one)
Meta says that a person left ──► person_left · forget_person ──► every organization's profile of theirs
an operator changed the key ──► reseal ──► every secret at rest
"""

from uuid import UUID

from whatrack.connections import deletions, profiles, upkeep, whatsapp_numbers
from whatrack.connections.profiles import Login
from whatrack.conversions import sweeps
from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.enrichment import catalog
from whatrack.tenants import two_step


async def profile_connected(db: Database, organization_id: UUID, login: Login, actor: str) -> UUID:
    """A person connected their profile, or renewed it: its id. What waited for a token goes on."""
    async with db.tenant(organization_id) as conn:
        profile_id = await profiles.put(conn, organization_id, login, actor)
        await catalog.retry(conn, organization_id)
        await sweeps.profile_connected(conn, organization_id)
        return profile_id


async def person_left(db: Database, fb_user_id: str, app_id: str) -> int:
    """A person removed the app at Meta: none of their tokens is used again. Answers how many profiles that concerns."""
    async with db.system() as conn:
        return await profiles.revoke_person(conn, fb_user_id, app_id)


async def forget_person(db: Database, fb_user_id: str, app_id: str) -> str:
    """A person asked Meta to have their data deleted: their profiles go, and a code tells that it was done."""
    async with db.system() as conn:
        return await deletions.record(conn, await profiles.forget_person(conn, fb_user_id, app_id))


async def reseal(db: Database, sealer: Sealer) -> int:
    """Encrypt anew, with the first key, what another one sealed. Answers how many secrets that were."""
    async with db.system() as conn:
        tokens = await upkeep.reseal(conn, sealer) + await whatsapp_numbers.reseal(conn, sealer)
        return tokens + await two_step.reseal(conn, sealer)
