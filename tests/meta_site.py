"""What the sample organization has at Meta, for the pictures: profiles in every state, accounts on and off."""

from datetime import timedelta
from uuid import UUID

from tests.site import Site
from tests.support import SEALER
from whatrack import db as database
from whatrack import flow_connections
from whatrack.connections import ad_accounts, profiles, whatsapp_numbers
from whatrack.connections.ad_accounts import Listed, Wanted
from whatrack.connections.profiles import Leaver, Login
from whatrack.sandbox.build import issue_token
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.state import AdAccount, Person
from whatrack.tenants.access import Access

ADS = ("ads_read", "ads_management", "business_management")
DATASET = "7712340000000009"


async def connect_meta(site: Site, sandbox: Sandbox) -> None:
    """{account}: an account that is on; {account_off}; {profile}: one that works; {deletion}: a code of the status page."""
    cast = sandbox.cast
    everyone = list(sandbox.world.all(AdAccount))
    thiago = await connect_profile(site, sandbox, cast.thiago, days=52, accounts=everyone[:3])
    await connect_profile(site, sandbox, cast.viviane, days=2, accounts=[everyone[0], everyone[3]])
    broken = await connect_profile(site, sandbox, cast.carla, days=30, accounts=[])
    organization = site.organization.id
    async with site.db.tenant(organization) as conn:
        held = await profiles.held(conn, organization, broken)
        await profiles.judge(conn, held, "EXPIRED", "password_changed")
        await whatsapp_numbers.set_dataset(conn, organization, "102290129340398", DATASET, None)
        owner = Access(organization, "owner", site.people["owner"].actor)
        for place, wanted in enumerate((Wanted(True, DATASET, "Sorriso Web + CRM"), Wanted(True, "331000000001", "Pixel Loja antiga"))):  # fmt: skip
            account = await ad_accounts.one(conn, organization, everyone[place].id)
            await ad_accounts.configure(conn, owner, account, wanted)
    site.places |= {
        "profile": str(thiago),
        "account": f"act_{everyone[0].id}",
        "account_off": f"act_{everyone[2].id}",
        "deletion": await flow_connections.forget_person(site.db, Leaver("1", "1")),
    }


async def connect_profile(
    site: Site, sandbox: Sandbox, person: Person, *, days: int, accounts: list[AdAccount]
) -> UUID:
    """A profile whose token lasts so many days, and that sees these accounts."""
    organization = site.organization.id
    token = issue_token(sandbox.world, sandbox.cast.ads_app, person, ADS, days * 86_400)
    async with site.db.tenant(organization) as conn:
        now = await database.now(conn)
    login = Login(
        fb_user_id=person.id,
        fb_user_name=person.name,
        sealed=SEALER.seal(token.value),
        token_app_id=sandbox.cast.ads_app.id,
        token_kind="USER",
        token_expires_at=now + timedelta(days=days, hours=1),
        data_access_expires_at=now + timedelta(days=88),
        scopes=list(ADS),
        declined=["business_management"] if days == 2 else [],
    )
    profile_id = await flow_connections.profile_connected(
        site.db, organization, login, site.people["owner"].actor
    )
    listed = [
        Listed(f"act_{each.id}", each.name, each.status, each.currency, each.zone, None) for each in accounts
    ]
    async with site.db.tenant(organization) as conn:
        await ad_accounts.store(conn, organization, profile_id, listed)
    return profile_id
