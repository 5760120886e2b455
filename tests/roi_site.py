"""An organization whose ads earn: a sandbox's accounts fetched whole, and people who came by them, qualified and bought.

What it holds is known here: EARNED says for each ad how many wrote, how many were qualified, and what was sold for how much.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from tests.meta_site import connect_profile
from tests.site import Site, make_people
from tests.support import NOON, WABA, ad, body, change, message, phone_number_id, process, rows
from whatrack import flow
from whatrack.connections import ad_accounts
from whatrack.connections.ad_accounts import Wanted
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.db import Database
from whatrack.insights import progress
from whatrack.roi import costs, looks, secret_links, sharing, subscriptions
from whatrack.roi.costs import Cost
from whatrack.roi.subscriptions import Reader
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.state import AdAccount, AdObject
from whatrack.tenants.access import Access
from whatrack.tenants.organizations import Organization
from whatrack.tickets.moves import Change
from whatrack.tickets.stages import Stage, find_stage
from whatrack.units import new_id


@dataclass(frozen=True)
class Earned:
    """What an ad brought. place: of its account, then of the ad in it; None: people who came by themselves.

    people: one a day, the first yesterday. qualified: of them; sales: the values of those who bought, the first to come.
    """

    place: tuple[int, int] | None
    people: int
    qualified: int
    sales: tuple[str, ...]


EARNED = (
    Earned((0, 0), 12, 6, ("1890.00", "2450.50", "990.00", "3200.00", "1890.00", "4100.90")),
    Earned((0, 1), 8, 3, ("350.00",)),
    Earned((0, 2), 6, 1, ()),
    Earned((1, 0), 5, 2, ("780.00", "1200.00")),
    Earned(None, 4, 1, ("500.00",)),
)
SALES = [Decimal(value) for each in EARNED for value in each.sales]


async def make_earning_site(
    db: Database, base_url: str, sandbox: Sandbox, slug: str = "clinica-resultados"
) -> Site:
    """The organization; {link} of its places is a shared report. Its accounts' days are fetched by the service's loops."""
    organization = await flow.open_organization(
        db, Organization(id=new_id(), name="Clínica Sorriso do Vale", slug=slug)
    )
    number = phone_number_id()
    await flow.register_number(db, WhatsappNumber(organization.id, number, WABA, "+55 11 3555-0200"))
    site = Site(base_url, db, organization, number, await make_people(db, organization))
    accounts = await turn_on(site, sandbox)
    ads = {
        account.id: [
            each
            for each in sandbox.world.all(AdObject)
            if each.kind == "ad" and each.account_id == account.id
        ]
        for account in accounts
    }
    chosen = [
        None if each.place is None else ads[accounts[each.place[0]].id][each.place[1]] for each in EARNED
    ]
    await process(db, *_conversations(number, chosen))
    await _move_all(site)
    await _decide(site)
    site.places |= {"roi_account": f"act_{accounts[0].id}", "roi_ad": chosen[0].id if chosen[0] else ""}
    await fetched(site)
    return site


async def turn_on(site: Site, sandbox: Sandbox) -> list[AdAccount]:
    """Connect a profile that sees every account, and turn the two on that count in reais."""
    everyone = list(sandbox.world.all(AdAccount))
    await connect_profile(site, sandbox, sandbox.cast.thiago, days=52, accounts=everyone)
    owner = Access(site.organization.id, "owner", site.people["owner"].actor)
    async with site.db.tenant(site.organization.id) as conn:
        for each in everyone[:2]:
            account = await ad_accounts.one(conn, site.organization.id, each.id)
            await ad_accounts.configure(conn, owner, account, Wanted(True, None, None))
    return everyone[:2]


async def fetched(site: Site) -> None:
    """Wait until every account's days came whole, as the service's loops fetch them."""
    for _ in range(600):
        if await _is_whole(site):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the days never came whole")


async def _is_whole(site: Site) -> bool:
    async with site.db.tenant(site.organization.id) as conn:
        found = await progress.progress(conn, site.organization.id)
    active = [each for each in found.accounts if each.is_active]
    return len(active) == 2 and all(each.days and not each.due and not each.is_running for each in active)


def _conversations(number: str, chosen: list[AdObject | None]) -> Iterable[bytes]:
    for source, (each, came_by) in enumerate(zip(EARNED, chosen, strict=True)):
        for place in range(each.people):
            wa_id = f"551198{source:02d}{place:02d}777"
            at = NOON - timedelta(days=place + 1)
            referral = (
                ad(came_by.id, f"Aff-earned-{source}-{place}", headline=came_by.name) if came_by else None
            )
            person = [{"profile": {"name": _name(source, place)}, "wa_id": wa_id}]
            yield body(
                change(
                    number,
                    message(wa_id, at=at, text="Oi, quanto custa?", referral=referral),
                    contacts=person,
                )
            )


def _name(source: int, place: int) -> str:
    return f"Pessoa {source}-{place}"


async def _move_all(site: Site) -> None:
    found = await rows(
        site.db,
        """SELECT t.id, c.name FROM tickets t JOIN contacts c USING (organization_id)
           WHERE t.organization_id = %s AND c.id = t.contact_id""",
        site.organization.id,
    )
    ids = {row["name"]: row["id"] for row in found}
    agent = site.people["agent"]
    for source, each in enumerate(EARNED):
        for place in range(max(each.qualified, len(each.sales))):
            value = Decimal(each.sales[place]) if place < len(each.sales) else None
            name = "Ganho" if value else "Qualificado"
            at = NOON - timedelta(days=place, hours=1)

            def choose(
                stages: list[Stage], name: str = name, value: Decimal | None = value, at: object = at
            ) -> Change:
                return Change(find_stage(stages, name), value, won_at=at if value else None)  # type: ignore[arg-type] # a moment

            async with site.db.tenant(site.organization.id) as conn:
                await flow.move_ticket(
                    conn, site.organization.id, ids[_name(source, place)], choose, actor=agent.actor
                )


async def _decide(site: Site) -> None:
    """Costs, a target, and a link for a client."""
    organization, owner = (
        site.organization.id,
        Access(site.organization.id, "owner", site.people["owner"].actor),
    )
    async with site.db.tenant(organization) as conn:
        for cost in (
            Cost("meta_tax", costs.BRAZIL),
            Cost("fee", Decimal("0.0499"), Decimal("0.40"), label="Gateway"),
            Cost("product", Decimal("0.2")),
        ):
            site.places[f"cost_{cost.kind}"] = str(
                await costs.put(conn, organization, cost, actor=owner.actor)
            )
        await looks.set_target(conn, owner, Decimal(3))
        site.places["link"] = await sharing.create(conn, owner, "Resultados de novembro", "level=ad", 30)
        for place, role in (("stop", "admin"), ("stopped", "agent")):
            person, (token, token_hash) = site.people[role], secret_links.make(organization)
            reader = Reader(organization, person.id, person.email, None, NOON.date(), NOON, is_owed=True)
            await subscriptions.tell(conn, reader, token_hash)
            site.places[place] = subscriptions.STOP + token
        await subscriptions.subscribe(conn, organization, site.people["admin"].id)
