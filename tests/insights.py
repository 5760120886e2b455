"""What tests of insights need: ad accounts that are on, fetching until nothing is due, and what the sandbox knows to be true."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from tests.conversions import Desk, a_desk, connect, put
from tests.support import rows
from whatrack.db import Database
from whatrack.insights import schedule
from whatrack.insights.sync import Syncer
from whatrack.sandbox.build import ADS_SCOPES, issue_token
from whatrack.sandbox.figures import NOTHING, figures_of
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.state import AdAccount, Person
from whatrack.units import new_id

LOOKS_S = (0.01, 0.01, 0.01)
DEPTH = 30
Key = tuple[date, str]
Figures = tuple[int, int, int, int, int, int, int, int]


@dataclass
class Ledger:
    """An organization whose ad accounts are fetched from a sandbox."""

    desk: Desk

    @property
    def db(self) -> Database:
        return self.desk.db

    @property
    def sandbox(self) -> Sandbox:
        return self.desk.sandbox

    @property
    def account(self) -> UUID:
        """Our id of the account that two people share."""
        return self.desk.profile

    def syncer(self, **more: Any) -> Syncer:
        desk = self.desk
        settings: dict[str, Any] = {"depth": DEPTH, "looks_s": LOOKS_S, **more}
        return Syncer(desk.db, desk.db.system, desk.graph, desk.keys, **settings)

    async def plan(self) -> int:
        async with self.db.system() as conn:
            return await schedule.follow_accounts(conn)

    async def fetched(self, most: int = 20, **more: Any) -> int:
        """Plan, then fetch until no account is due; how many steps it took."""
        await self.plan()
        syncer = self.syncer(**more)
        for step in range(most):
            if not await syncer.step():
                return step
        raise AssertionError("there is always an account to fetch")

    async def due(self) -> None:
        """Let every day be due and every pause be over."""
        await put(self.db, "UPDATE insight_days SET due_at = now() WHERE due_at IS NOT NULL")
        await put(self.db, "UPDATE insight_accounts SET next_at = now() WHERE next_at IS NOT NULL")

    async def days(self, account: UUID | None = None) -> list[dict[str, Any]]:
        query = "SELECT * FROM insight_days WHERE account_id = %s ORDER BY day"
        return await rows(self.db, query, account or self.account)

    async def state(self, account: UUID | None = None) -> dict[str, Any]:
        (row,) = await rows(
            self.db, "SELECT * FROM insight_accounts WHERE account_id = %s", account or self.account
        )
        return row

    async def facts(self, account: UUID | None = None) -> dict[Key, Figures]:
        """(day, ad) → spend, impressions, clicks, link clicks, conversations, leads, purchases, their value; as they are kept."""
        found = await rows(
            self.db,
            """SELECT f.*, m.meta_ad_id FROM meta_ad_insights_daily f
               JOIN meta_ad_accounts a ON a.organization_id = f.organization_id AND a.ref = f.account_ref
               JOIN meta_ads m ON m.organization_id = f.organization_id AND m.ref = f.ad_ref WHERE a.id = %s""",
            account or self.account,
        )
        return {
            (row["day"], row["meta_ad_id"]): (
                row["spend"], row["impressions"], row["clicks"], row["link_clicks"], row["conversations"], row["meta_leads"],
                row["meta_purchases"], row["meta_purchase_value"],
            )
            for row in found
        }  # fmt: skip

    def truth(
        self, account: AdAccount | None = None, depth: int = DEPTH, *, but_today: bool = False
    ) -> dict[Key, Figures]:
        """The same, as the sandbox knows it; today's figures grow while one looks."""
        account = account or self.sandbox.account
        today = self.sandbox.clock.today(account.zone)
        found: dict[Key, Figures] = {}
        for back in range(1 if but_today else 0, depth + 1):
            day = today - timedelta(days=back)
            for ad in self.sandbox.world.below(account.id, "ad"):
                each = figures_of(self.sandbox.world, ad, day)
                if each != NOTHING:
                    found[day, ad.id] = (
                        each.spend, each.impressions, each.clicks, each.link_clicks, each.conversations, each.leads,
                        each.purchases, each.purchase_value,
                    )  # fmt: skip
        return found

    async def is_true(
        self, account: AdAccount | None = None, ours: UUID | None = None, *, depth: int = DEPTH
    ) -> bool:
        """Whether every day before today is kept as the sandbox knows it, and nothing else is."""
        account = account or self.sandbox.account
        today = self.sandbox.clock.today(account.zone)
        kept = {key: value for key, value in (await self.facts(ours)).items() if key[0] != today}
        return kept == self.truth(account, depth, but_today=True)

    async def add(self, account: AdAccount, *people: Person, active: bool = True) -> UUID:
        """One more of the sandbox's accounts, seen by profiles of these people; our id."""
        made = new_id()
        await put(
            self.db,
            """INSERT INTO meta_ad_accounts (organization_id, id, ad_account_id, ad_account_name, account_status, currency,
               timezone_name, is_active, seen_at) VALUES (%s, %s, %s, %s, 1, %s, %s, %s, now())""",
            self.desk.shop.id, made, f"act_{account.id}", account.name, account.currency, account.zone, active,
        )  # fmt: skip
        for person in people:
            await self.see(made, await self.profile_of(person))
        return made

    async def profile_of(self, person: Person) -> UUID:
        """The profile of this person, connected when it is not yet."""
        known = await rows(self.db, "SELECT id FROM meta_connections WHERE fb_user_id = %s", person.id)
        if known:
            return UUID(str(known[0]["id"]))
        token = issue_token(self.sandbox.world, self.sandbox.cast.ads_app, person, ADS_SCOPES, 86_400)
        made = new_id()
        await connect(self.desk, made, token.value, person.id, person.name)
        return made

    async def see(self, account: UUID, profile: UUID) -> None:
        await put(
            self.db,
            "INSERT INTO meta_ad_account_access (organization_id, account_id, connection_id) VALUES (%s, %s, %s)",
            self.desk.shop.id, account, profile,
        )  # fmt: skip

    def calls(self) -> int:
        """How many calls Meta has had."""
        return sum(self.sandbox.graph._calls.values())


@asynccontextmanager
async def a_ledger(db: Database) -> AsyncIterator[Ledger]:
    async with a_desk(db, number_token=False) as desk:
        yield Ledger(desk)
