"""Facebook profiles of an organization, their tokens and how they are. One writer of `meta_connections`.

A profile is ACTIVE, EXPIRED (its token is dead: connect anew) or INVALID_SCOPES (it lives and may not read ads).
Only what Meta says of a token ends a profile; trouble of Meta's or of the network never does.
"""

from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from typing_extensions import override

from whatrack.connections.keys import Held
from whatrack.db import Connection
from whatrack.errors import NotFound
from whatrack.meta.errors import GraphError, MissingPermission, TokenDead
from whatrack.meta.oauth import READS_ADS
from whatrack.tenants import audit
from whatrack.tenants.access import Access
from whatrack.units import new_id

# When to ask Meta about a token again: in twelve hours, or when half of what is left to it is over.
UNTIL_CHECK: LiteralString = """
least(interval '12 hours', greatest(interval '1 minute', coalesce((%(token_expires_at)s::timestamptz - now()) / 2, interval '12 hours')))
"""
COLUMNS: LiteralString = """
c.organization_id, c.id, c.fb_user_id, c.fb_user_name, c.token_app_id, c.token_kind, c.token_expires_at,
c.data_access_expires_at, c.scopes, c.declined, c.status, c.status_reason, c.checked_at, c.failures, c.listed_at,
c.list_after, c.list_error, c.access_token IS NOT NULL AS has_token, c.created_at, c.updated_at,
(SELECT count(*) FROM meta_ad_account_access a WHERE a.organization_id = c.organization_id AND a.connection_id = c.id) AS accounts
"""
ALL: LiteralString = f"""
SELECT {COLUMNS} FROM meta_connections c WHERE c.organization_id = %s ORDER BY lower(c.fb_user_name), c.id
"""  # noqa: S608 - constants only
ONE: LiteralString = f"SELECT {COLUMNS} FROM meta_connections c WHERE c.organization_id = %s AND c.id = %s"  # noqa: S608 - constants only
# The same person again renews the profile: its id, and so all that hangs on it, stays.
PUT: LiteralString = f"""
INSERT INTO meta_connections AS c (organization_id, id, fb_user_id, fb_user_name, access_token, token_app_id, token_proof, token_kind,
    token_expires_at, data_access_expires_at, scopes, declined, status, status_reason, checked_at, check_after, list_after, created_by,
    connected_at)
VALUES (%(organization_id)s, %(id)s, %(fb_user_id)s, %(fb_user_name)s, %(sealed)s, %(token_app_id)s, %(token_proof)s, %(token_kind)s,
    %(token_expires_at)s, %(data_access_expires_at)s, %(scopes)s, %(declined)s, %(status)s, %(status_reason)s, now(),
    now() + {UNTIL_CHECK}, now(), %(actor)s, now())
ON CONFLICT (organization_id, fb_user_id) DO UPDATE SET fb_user_name = excluded.fb_user_name, access_token = excluded.access_token,
    token_app_id = excluded.token_app_id, token_proof = excluded.token_proof, token_kind = excluded.token_kind, token_expires_at = excluded.token_expires_at,
    data_access_expires_at = excluded.data_access_expires_at, scopes = excluded.scopes, declined = excluded.declined,
    status = excluded.status, status_reason = excluded.status_reason, checked_at = now(), check_after = excluded.check_after,
    list_after = now(), list_error = NULL, failures = 0, reminded_days = NULL, updated_at = now(), connected_at = now()
RETURNING c.id, c.created_at = now()
"""  # noqa: S608 - constants only
REMOVE: LiteralString = "DELETE FROM meta_connections WHERE organization_id = %s AND id = %s"
HELD: LiteralString = """
SELECT access_token, token_app_id, token_proof FROM meta_connections WHERE organization_id = %s AND id = %s AND access_token IS NOT NULL
"""
# A token that was replaced meanwhile is not the one that was judged.
JUDGE: LiteralString = """
UPDATE meta_connections SET status = %(status)s, status_reason = %(reason)s, updated_at = now(),
    check_after = least(check_after, now() + interval '1 hour')
WHERE organization_id = %(organization)s AND id = %(id)s AND access_token = %(sealed)s
  AND (status, status_reason) IS DISTINCT FROM (%(status)s, %(reason)s)
RETURNING fb_user_name
"""
CHECK_SOON: LiteralString = """
UPDATE meta_connections SET check_after = now() WHERE organization_id = %s AND id = %s AND checked_at < now() - interval '10 minutes'
"""
KNOWN: LiteralString = (
    "SELECT EXISTS (SELECT FROM meta_connections WHERE organization_id = %s AND id = %s FOR KEY SHARE)"
)
# Whoever connected again after Meta said so did it knowingly. Five minutes: our clock and Meta's are not one.
OF_PERSON: LiteralString = """
SELECT organization_id, id, fb_user_name FROM meta_connections WHERE fb_user_id = %(person)s AND token_app_id = %(app)s
  AND (%(said_at)s::float8 IS NULL OR connected_at <= to_timestamp(%(said_at)s) + interval '5 minutes')
ORDER BY organization_id
"""
REVOKE: LiteralString = """
UPDATE meta_connections SET access_token = NULL, status = 'EXPIRED', status_reason = %s, updated_at = now()
WHERE organization_id = %s AND id = %s
"""


class Profile(msgspec.Struct, frozen=True):
    """A connected profile. token_expires_at None: never. listed_at: when its accounts were last read whole."""

    organization_id: UUID
    id: UUID
    fb_user_id: str
    fb_user_name: str
    token_app_id: str
    token_kind: str
    token_expires_at: datetime | None
    data_access_expires_at: datetime | None
    scopes: list[str]
    declined: list[str]
    status: str
    status_reason: str | None
    checked_at: datetime
    failures: int
    listed_at: datetime | None
    list_after: datetime
    list_error: str | None
    has_token: bool
    created_at: datetime
    updated_at: datetime
    accounts: int

    @property
    def ends_at(self) -> datetime | None:
        """When calls will fail unless somebody reconnects: the token's end, or that of the access to data."""
        return min(filter(None, (self.token_expires_at, self.data_access_expires_at)), default=None)

    def days_left(self, now: datetime) -> int | None:
        """Whole days until then, never below 0; None: never."""
        return None if self.ends_at is None else max(0, (self.ends_at - now).days)


class Login(msgspec.Struct, frozen=True):
    """What Meta said of a token, about to become a profile. sealed: the token, encrypted."""

    fb_user_id: str
    fb_user_name: str
    sealed: bytes
    token_app_id: str
    token_kind: str
    token_expires_at: datetime | None
    data_access_expires_at: datetime | None
    scopes: list[str]
    declined: list[str]
    token_proof: bytes | None = None

    @property
    def status(self) -> tuple[str, str | None]:
        """Its state and reason: a token that may not read ads is of no use yet."""
        return status_of(self.scopes)

    @override
    def __repr__(self) -> str:
        return f"Login(fb_user_id={self.fb_user_id!r}, …)"


def status_of(scopes: list[str]) -> tuple[str, str | None]:
    """The state of a living token with these permissions."""
    if any(each in scopes for each in READS_ADS):
        return "ACTIVE", None
    return "INVALID_SCOPES", "ads_read_missing"


async def everyone(conn: Connection, organization_id: UUID) -> list[Profile]:
    """The organization's profiles, by name."""
    async with conn.cursor(row_factory=class_row(Profile)) as cursor:
        return await (await cursor.execute(ALL, [organization_id])).fetchall()


async def one(conn: Connection, organization_id: UUID, profile_id: UUID) -> Profile:
    """A profile; NotFound without it."""
    async with conn.cursor(row_factory=class_row(Profile)) as cursor:
        found = await (await cursor.execute(ONE, [organization_id, profile_id])).fetchone()
    if found is None:
        raise NotFound("There is no such profile.")
    return found


async def put(conn: Connection, organization_id: UUID, login: Login, actor: str) -> UUID:
    """Connect a profile, or renew the one of this person; its id."""
    status, reason = login.status
    values = {
        **msgspec.structs.asdict(login),
        "organization_id": organization_id,
        "id": new_id(),
        "status": status,
        "status_reason": reason,
        "actor": actor,
    }
    row = await (await conn.execute(PUT, values)).fetchone()
    if row is None:
        raise RuntimeError("an upsert gave no row")
    profile_id, is_new = row
    action: audit.Action = "profile_connected" if is_new else "profile_renewed"
    await audit.record(
        conn, organization_id, actor, action, f"profile:{profile_id}", {"name": login.fb_user_name}
    )
    return UUID(str(profile_id))


async def remove(conn: Connection, access: Access, profile_id: UUID) -> None:
    """Disconnect a profile. Its accounts keep their settings, and others that see them take over."""
    access.require("admin")
    found = await one(conn, access.organization_id, profile_id)
    await conn.execute(REMOVE, [access.organization_id, profile_id])
    target, detail = f"profile:{profile_id}", {"name": found.fb_user_name}
    await audit.record(conn, access.organization_id, access.actor, "profile_removed", target, detail)


async def is_known(conn: Connection, organization_id: UUID, profile_id: UUID) -> bool:
    """Whether the profile is there, and stays until this transaction ends."""
    row = await (await conn.execute(KNOWN, [organization_id, profile_id])).fetchone()
    return bool(row and row[0])


async def held(conn: Connection, organization_id: UUID, profile_id: UUID) -> Held:
    """The profile's token, sealed; NotFound without profile or token."""
    row = await (await conn.execute(HELD, [organization_id, profile_id])).fetchone()
    if row is None:
        raise NotFound("There is no such profile, or its token is gone.")
    return Held("profile", organization_id, str(profile_id), *row)


async def judge(conn: Connection, token: Held, status: str, reason: str | None) -> bool:
    """Write down what Meta said of this very token; whether that changed anything. The audit names the system."""
    values = {
        "organization": token.organization_id,
        "id": UUID(token.owner_id),
        "sealed": token.sealed,
        "status": status,
        "reason": reason,
    }
    row = await (await conn.execute(JUDGE, values)).fetchone()
    if row is None:
        return False
    detail = {"name": row[0], "status": status, "reason": reason or ""}
    await audit.record(
        conn, token.organization_id, "system", "profile_judged", f"profile:{token.owner_id}", detail
    )
    return True


async def report(conn: Connection, token: Held, error: GraphError) -> bool:
    """What a call's error says of the profile whose token made it; whether its state changed. For every caller of Graph.

    A dead token ends the profile. A missing permission may concern one account alone, so it only brings the check forward.
    """
    if token.kind != "profile":
        return False
    if isinstance(error, TokenDead):
        return await judge(conn, token, "EXPIRED", error.reason)
    if isinstance(error, MissingPermission):
        await conn.execute(CHECK_SOON, [token.organization_id, UUID(token.owner_id)])
    return False


class Leaver(msgspec.Struct, frozen=True):
    """A person of whom Meta says that they left an app. said_at: unix seconds, so that a late word undoes no newer login."""

    person: str
    app: str
    said_at: int | None = None


async def _of_person(conn: Connection, who: Leaver) -> list[tuple[UUID, UUID, str]]:
    return await (await conn.execute(OF_PERSON, msgspec.structs.asdict(who))).fetchall()


async def revoke_person(conn: Connection, who: Leaver) -> int:
    """The person removed the app (system scope): their tokens go, their profiles stay to be reconnected. How many."""
    found = await _of_person(conn, who)
    for organization_id, profile_id, name in found:
        await conn.execute(REVOKE, ["app_removed", organization_id, profile_id])
        detail = {"name": name, "status": "EXPIRED", "reason": "app_removed"}
        target = f"profile:{profile_id}"
        await audit.record(conn, organization_id, "system", "profile_judged", target, detail)
    return len(found)


async def forget_person(conn: Connection, who: Leaver) -> int:
    """The person asked Meta to have their data deleted (system scope): their profiles and names go. How many those were."""
    found = await _of_person(conn, who)
    for organization_id, profile_id, _name in found:
        await conn.execute(REMOVE, [organization_id, profile_id])
        await audit.unname(conn, organization_id, f"profile:{profile_id}")
        await audit.record(conn, organization_id, "system", "profile_forgotten", f"profile:{profile_id}")
    return len(found)
