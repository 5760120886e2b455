"""What tests of conversions need: tickets that came by a click, moves, and what is owed for them."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from tests.support import NOON, SEALER, Shop, ad, body, change, make_shop, message, process, rows
from whatrack import flow
from whatrack.connections.keys import Keys, digest
from whatrack.conversions import sweeps
from whatrack.conversions.dispatch import Dispatcher
from whatrack.db import Database
from whatrack.enrichment.ads import Enricher
from whatrack.meta.graph import Graph
from whatrack.meta.oauth import App
from whatrack.sandbox.graph import NEWEST
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.server import served
from whatrack.tickets.moves import Change, Record
from whatrack.tickets.stages import Stage, find_stage
from whatrack.units import new_id

_people = itertools.count(10_000_000)
ACTOR = "user:00000000-0000-0000-0000-000000000001"


async def tickets_of(
    db: Database, shop: Shop, *clids: str | None, ad_id: str = "120226305854810726"
) -> list[UUID]:
    """A ticket for each click id, in order; None for a person whose ad told none."""
    phones = [f"55119{next(_people):08d}" for _ in clids]
    said = [
        body(
            change(shop.number, message(phone, at=NOON + timedelta(seconds=place), referral=ad(ad_id, clid)))
        )
        for place, (phone, clid) in enumerate(zip(phones, clids, strict=True))
    ]
    await process(db, *said)
    found = await rows(
        db,
        """SELECT c.wa_id, t.id FROM tickets t JOIN contacts c ON c.organization_id = t.organization_id AND c.id = t.contact_id
           WHERE t.organization_id = %s AND c.wa_id = ANY(%s)""",
        shop.id,
        phones,
    )
    by_phone = {row["wa_id"]: row["id"] for row in found}
    return [by_phone[phone] for phone in phones]


async def move(
    db: Database,
    shop: Shop,
    ticket: UUID,
    to: str,
    *,
    value: str | None = None,
    won_at: datetime | None = None,
    hold_s: float = 0,
) -> Record:
    """Move a ticket as a person does."""

    def choose(stages: list[Stage]) -> Change:
        amount = Decimal(value) if value else Decimal("199.90") if to == "won" else None
        return Change(stage=find_stage(stages, to), deal_value=amount, won_at=won_at)

    async with db.tenant(shop.id) as conn:
        hold = timedelta(seconds=hold_s)
        return await flow.move_ticket(conn, shop.id, ticket, choose, actor=ACTOR, hold=hold)


async def undo(db: Database, shop: Shop, moved: Record) -> Record:
    async with db.tenant(shop.id) as conn:
        return await flow.undo_move(conn, shop.id, moved.id, moved.version, actor=ACTOR)


async def events(db: Database, ticket: UUID | None = None) -> list[dict[str, Any]]:
    """Every event, or a ticket's, oldest first."""
    query = "SELECT * FROM meta_conversion_events WHERE %s::uuid IS NULL OR ticket_id = %s ORDER BY created_at, event_name"
    return await rows(db, query, ticket, ticket)


async def status(db: Database, ticket: UUID) -> dict[str, str]:
    """Event name → status, of a ticket."""
    return {row["event_name"]: row["status"] for row in await events(db, ticket)}


async def put(db: Database, query: str, *values: Any) -> int:
    """Change rows past all rules but the database's own."""
    async with db.system() as conn:
        return (await conn.execute(query.encode(), values)).rowcount


@dataclass
class Desk:
    """An organization that is connected to a sandbox: its clinic's number, the account that two people share, and a token each."""

    db: Database
    shop: Shop
    sandbox: Sandbox
    graph: Graph
    keys: Keys
    profile: UUID

    @property
    def dispatcher(self) -> Dispatcher:
        return Dispatcher(self.db.system, self.graph, self.keys, lease=timedelta(seconds=5))

    @property
    def waba_dataset(self) -> str:
        return str(self.sandbox.cast.waba.dataset_id)

    @property
    def enricher(self) -> Enricher:
        return Enricher(self.db.system, self.graph, self.keys, sweeps.ads_found)

    async def enriched(self, most: int = 60) -> int:
        """Look ads up until none waits; how many steps it took."""
        enricher = self.enricher
        for step in range(most):
            if not await enricher.step():
                return step
        raise AssertionError("there is always an ad to look up")

    def clicks(self, count: int = 1) -> list[str]:
        """Click ids that the sandbox issued, just now."""
        now = self.sandbox.clock()
        ad_id = self.sandbox.ads()[0].id
        taps = [self.sandbox.traffic.tap(ad_id, f"5511977{place:06d}", now - 60) for place in range(count)]
        return [str(tap.clid) for tap in taps]

    async def tickets(self, count: int = 1) -> list[UUID]:
        """Tickets that came by real clicks; their ad is in the catalog."""
        found = await tickets_of(self.db, self.shop, *self.clicks(count), ad_id=self.sandbox.ads()[0].id)
        await self.known()
        return found

    async def known(self, account_id: str | None = None) -> None:
        """The ad as enrichment would have found it."""
        await put(
            self.db,
            """INSERT INTO meta_ads (organization_id, meta_ad_id, name, meta_account_id, fetched_at) VALUES (%s, %s, 'Anúncio', %s, now())
               ON CONFLICT DO NOTHING""",
            self.shop.id,
            self.sandbox.ads()[0].id,
            account_id or self.sandbox.account.id,
        )

    async def drained(self, most: int = 60) -> int:
        """Send until nothing is due; how many steps it took."""
        dispatcher = self.dispatcher
        for step in range(most):
            if not await dispatcher.step():
                return step
        raise AssertionError("there is always more to send")

    async def due(self) -> None:
        """Let all pauses be over."""
        await put(
            self.db, "UPDATE meta_conversion_events SET next_attempt_at = now() WHERE status = 'PENDING'"
        )

    @property
    def learned(self) -> list[dict[str, Any]]:
        """What Meta was told."""
        return [dict(each["event"]) for each in self.sandbox.truth()["events"]]

    async def attempts(self) -> list[dict[str, Any]]:
        return await rows(self.db, "SELECT * FROM meta_conversion_attempts ORDER BY started_at, number")


@asynccontextmanager
async def a_desk(
    db: Database, *, pixel: str | None = None, slug: str = "loja", number_token: bool = True
) -> AsyncIterator[Desk]:
    sandbox = Sandbox(seed=1)
    cast = sandbox.cast
    shop = await make_shop(db, slug, number=cast.number.id, waba=cast.waba.id)
    app = App(cast.ads_app.id, cast.ads_app.secret, "http://dialog.test", NEWEST, ())
    keys = Keys(SEALER, app, (cast.whatsapp_app.secret,))
    with served(sandbox) as base_url:
        graph = Graph(base_url, NEWEST, timeout_s=1.5, patience_s=0.2)
        desk = Desk(db, shop, sandbox, graph, keys, new_id())
        await connect(desk, desk.profile, sandbox.token.value, cast.thiago.id, "Thiago")
        await put(
            db,
            """INSERT INTO meta_ad_accounts (organization_id, id, ad_account_id, ad_account_name, account_status, currency,
               timezone_name, connection_id, pixel_id, is_active, seen_at) VALUES (%s, %s, %s, 'CA 01', 1, 'BRL', 'America/Sao_Paulo', %s, %s, true, now())""",
            shop.id, desk.profile, f"act_{sandbox.account.id}", desk.profile, pixel,
        )  # fmt: skip
        await grant(desk, desk.profile)
        await put(db, "UPDATE whatsapp_numbers SET dataset_id = %s", cast.waba.dataset_id)
        if number_token:
            await put(
                db,
                "UPDATE whatsapp_numbers SET token = %s, token_app_id = %s, token_proof = %s",
                SEALER.seal(sandbox.number_token.value), cast.whatsapp_app.id, digest(cast.whatsapp_app.secret),
            )  # fmt: skip
        yield desk
        await graph.close()


async def connect(desk: Desk, profile: UUID, token: str, person: str, name: str) -> None:
    """A profile as the login makes it."""
    await put(
        desk.db,
        """INSERT INTO meta_connections (organization_id, id, fb_user_id, fb_user_name, access_token, token_app_id, checked_at,
           check_after, list_after, created_by) VALUES (%s, %s, %s, %s, %s, %s, now(), now() + interval '1 day', now() + interval '1 day', 'test')""",
        desk.shop.id, profile, person, name, SEALER.seal(token), desk.sandbox.cast.ads_app.id,
    )  # fmt: skip


async def grant(desk: Desk, profile: UUID) -> None:
    """The profile sees the account."""
    await put(
        desk.db,
        "INSERT INTO meta_ad_account_access (organization_id, account_id, connection_id) VALUES (%s, %s, %s)",
        desk.shop.id, desk.profile, profile,
    )  # fmt: skip
