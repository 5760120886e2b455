"""Connecting a profile, for the API and the pages alike: open a dialog, take its answer, or a pasted token."""

from urllib.parse import quote
from uuid import UUID

from fastapi import Request

from whatrack import db as database
from whatrack import flow_connections
from whatrack.connections import listing, login, profiles, upkeep
from whatrack.connections.keys import Keys
from whatrack.connections.profiles import Login, Profile
from whatrack.connections.refusals import answered
from whatrack.db import Database
from whatrack.errors import Refused
from whatrack.meta.graph import Graph
from whatrack.meta.oauth import App
from whatrack.settings import Settings
from whatrack.tenants.access import Access
from whatrack.web.cookies import session_token

CALLBACK = "/api/v1/meta-ads/callback"
LIST_WITHIN_S = 4.0


class Desk:
    """What connecting needs, of one request."""

    def __init__(self, request: Request, access: Access) -> None:
        state = request.app.state
        self.db: Database = state.db
        self.graph: Graph = state.graph
        self.keys: Keys = state.keys
        self.settings: Settings = state.settings
        self.access = access
        self._who = f"{access.actor} {session_token(request) or ''}"

    @property
    def redirect_uri(self) -> str:
        """Where Meta sends people back: the same bytes in the dialog and in the exchange."""
        return f"{self.settings.address}{CALLBACK}"

    def app(self) -> App:
        """The app to log in to; Refused `login_not_set` when a setting is missing."""
        if self.keys.app is None:
            missing = " and ".join(self.settings.missing_for_login())
            raise Refused("login_not_set", f"{missing} not set: no Facebook login is possible.", status=409)
        return self.keys.app

    async def dialog(self, *, again: bool) -> str:
        """The address of a new dialog. again: ask once more for what was declined."""
        self.access.require("admin")
        app = self.app()
        async with self.db.tenant(self.access.organization_id) as conn:
            state = await login.open_state(conn, self.access.organization_id, self._who)
        return app.dialog(self.redirect_uri, state, again=again)

    async def use_up(self, state: str) -> None:
        """Use a dialog's state up; Refused when it is not this person's, in this browser, in this organization, and new."""
        self.access.require("admin")
        async with self.db.tenant(self.access.organization_id) as conn:
            reason = await login.take_state(conn, self.access.organization_id, self._who, state)
        if reason:
            raise login.state_refused(reason)

    async def by_code(self, code: str, state: str) -> Profile:
        """Connect whoever the dialog's answer is about."""
        app = self.app()
        await self.use_up(state)
        async with self.db.tenant(self.access.organization_id) as conn:
            now = await database.now(conn)
        async with answered("code"):
            found = await login.by_code(self.graph, self.keys, app, code, self.redirect_uri, now)
        return await self._connected(found)

    async def by_token(self, token: str) -> Profile:
        """Connect whoever a pasted token belongs to."""
        self.access.require("admin")
        async with self.db.tenant(self.access.organization_id) as conn:
            now = await database.now(conn)
        async with answered("access_token"):
            found = await login.by_token(self.graph, self.keys, token.strip(), now)
        return await self._connected(found)

    async def check(self, profile_id: UUID) -> Profile:
        """Ask Meta now how a profile is, and read its accounts anew."""
        self.access.require("admin")
        organization = self.access.organization_id
        async with self.db.tenant(organization) as conn:
            known = await profiles.one(conn, organization, profile_id)
            held = await profiles.held(conn, organization, profile_id)
            now = await database.now(conn)
        found = await login.check(self.graph, self.keys, held, known.declined, now)
        async with self.db.tenant(organization) as conn:
            await upkeep.settle(conn, held, found)
            known = await profiles.one(conn, organization, profile_id)
        return await self._listed(known)

    async def refresh(self, *, only_due: bool) -> None:
        """Read the accounts of the working profiles; only_due: of those whose list is old."""
        async with self.db.tenant(self.access.organization_id) as conn:
            known = await profiles.everyone(conn, self.access.organization_id)
            now = await database.now(conn)
        working = [each for each in known if each.status == "ACTIVE"]
        wanted = listing.due(working, now) if only_due else working
        await listing.refresh(self.db, self.graph, self.keys, wanted, within_s=LIST_WITHIN_S)

    async def _connected(self, found: Login) -> Profile:
        organization = self.access.organization_id
        profile_id = await flow_connections.profile_connected(self.db, organization, found, self.access.actor)
        async with self.db.tenant(organization) as conn:
            known = await profiles.one(conn, organization, profile_id)
        return await self._listed(known)

    async def _listed(self, known: Profile) -> Profile:
        if known.status != "ACTIVE":
            return known
        await listing.refresh(self.db, self.graph, self.keys, [known], within_s=LIST_WITHIN_S)
        async with self.db.tenant(self.access.organization_id) as conn:
            return await profiles.one(conn, self.access.organization_id, known.id)


def deletion_address(settings: Settings, code: str) -> str:
    """Where anybody with the code sees that the deletion was done."""
    return f"{settings.address}/data-deletion/{quote(code, safe='')}"
