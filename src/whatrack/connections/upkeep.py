"""Which profiles are due for a check or a new list of accounts, and what comes of it. Beside profiles.py, writes `meta_connections`.

Rows are the queue: a claim moves the row's next time on, so that a crash costs minutes and two processes never do the same.
"""

from typing import LiteralString
from uuid import UUID

import msgspec

from whatrack.connections.keys import Held
from whatrack.connections.login import Checked
from whatrack.connections.profiles import UNTIL_CHECK
from whatrack.crypto import Sealer
from whatrack.db import Connection
from whatrack.tenants import audit

REMIND_DAYS = (1, 3, 10)
RESEAL_AT_ONCE = 500

# Index meta_connections_check.
CLAIM_CHECK: LiteralString = """
UPDATE meta_connections SET check_after = now() + interval '10 minutes'
WHERE (organization_id, id) = (SELECT organization_id, id FROM meta_connections
    WHERE check_after <= now() AND access_token IS NOT NULL ORDER BY check_after LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING organization_id, id, access_token, token_app_id, token_proof, declined
"""
SETTLE: LiteralString = f"""
UPDATE meta_connections AS c SET status = %(status)s, status_reason = %(reason)s,
    scopes = CASE WHEN %(is_dead)s THEN c.scopes ELSE %(scopes)s END,
    declined = CASE WHEN %(is_dead)s THEN c.declined ELSE %(declined)s END,
    token_expires_at = CASE WHEN %(is_dead)s THEN c.token_expires_at ELSE %(token_expires_at)s END,
    data_access_expires_at = CASE WHEN %(is_dead)s THEN c.data_access_expires_at ELSE %(data_access_expires_at)s END,
    access_token = coalesce(%(renewed)s, c.access_token), failures = 0, checked_at = now(), updated_at = now(),
    reminded_days = CASE WHEN %(renewed)s::bytea IS NULL THEN c.reminded_days END,
    list_after = CASE WHEN %(status)s = 'ACTIVE' AND c.status <> 'ACTIVE' THEN now() ELSE c.list_after END,
    check_after = now() + CASE WHEN %(status)s = 'ACTIVE' THEN {UNTIL_CHECK} ELSE interval '1 hour' END
FROM meta_connections AS before
WHERE c.organization_id = %(organization)s AND c.id = %(id)s AND c.access_token = %(sealed)s
  AND before.organization_id = c.organization_id AND before.id = c.id
RETURNING c.fb_user_name, (before.status, before.status_reason) IS DISTINCT FROM (c.status, c.status_reason)
"""  # noqa: S608 - constants only
PUT_OFF: LiteralString = """
UPDATE meta_connections SET failures = failures + 1, check_after = now() + interval '1 minute' * least(60, 2 ^ least(failures, 6))
WHERE organization_id = %s AND id = %s AND access_token = %s
"""
# Index meta_connections_list.
CLAIM_LIST: LiteralString = """
UPDATE meta_connections SET list_after = now() + interval '5 minutes'
WHERE (organization_id, id) = (SELECT organization_id, id FROM meta_connections
    WHERE list_after <= now() AND status = 'ACTIVE' ORDER BY list_after LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING organization_id, id, access_token, token_app_id, token_proof
"""
# A profile whose end is nearer than the last reminder told: 10 days, 3 days, 1 day.
REMIND: LiteralString = """
UPDATE meta_connections AS c SET reminded_days = due.days
FROM (SELECT organization_id, id, (SELECT min(d) FROM unnest(%(days)s::int[]) d
          WHERE least(token_expires_at, data_access_expires_at) <= now() + interval '1 day' * d) AS days
      FROM meta_connections WHERE status = 'ACTIVE') AS due
WHERE c.organization_id = due.organization_id AND c.id = due.id AND due.days IS NOT NULL
  AND (c.reminded_days IS NULL OR due.days < c.reminded_days)
RETURNING c.organization_id, c.id, c.fb_user_name, due.days
"""
SEALED: LiteralString = """
SELECT organization_id, id, access_token FROM meta_connections WHERE access_token IS NOT NULL AND (organization_id, id) > (%s, %s)
ORDER BY organization_id, id LIMIT %s
"""
RESEAL: LiteralString = "UPDATE meta_connections SET access_token = %s WHERE organization_id = %s AND id = %s AND access_token = %s"


HURRY: LiteralString = """
UPDATE meta_connections SET check_after = least(check_after, now())
WHERE organization_id = %s AND access_token IS NOT NULL AND checked_at < now() - interval '5 seconds'
"""


class Due(msgspec.Struct, frozen=True):
    """A profile whose turn has come."""

    held: Held
    declined: list[str] = []

    @property
    def profile_id(self) -> UUID:
        """The profile's id."""
        return UUID(self.held.owner_id)


class Ending(msgspec.Struct, frozen=True):
    """A profile that will stop working. days: which of REMIND_DAYS has come."""

    organization_id: UUID
    profile_id: UUID
    name: str
    days: int


async def claim_check(conn: Connection) -> Due | None:
    """The profile that has waited longest for a check (system scope); None when none is due."""
    row = await (await conn.execute(CLAIM_CHECK)).fetchone()
    return _due(row[:5], row[5]) if row else None


async def hurry(conn: Connection, organization_id: UUID) -> None:
    """Let every profile of an organization be checked now, for a demonstration: nobody waits twelve hours there."""
    await conn.execute(HURRY, [organization_id])


async def claim_list(conn: Connection) -> Due | None:
    """The profile whose accounts are due to be read (system scope); None when none is."""
    row = await (await conn.execute(CLAIM_LIST)).fetchone()
    return _due(row) if row else None


def _due(row: tuple[UUID, UUID, bytes, str, bytes | None], declined: list[str] | None = None) -> Due:
    organization_id, profile_id, sealed, app_id, proof = row
    return Due(Held("profile", organization_id, str(profile_id), sealed, app_id, proof), declined or [])


async def settle(conn: Connection, held: Held, checked: Checked) -> None:
    """Write down what a check found of this very token; without an answer only when to ask again."""
    key = [held.organization_id, UUID(held.owner_id), held.sealed]
    if checked.trouble:
        await conn.execute(PUT_OFF, key)
        return
    values = {
        **msgspec.structs.asdict(checked),
        "organization": key[0],
        "id": key[1],
        "sealed": key[2],
        "is_dead": checked.status == "EXPIRED",
    }
    row = await (await conn.execute(SETTLE, values)).fetchone()
    if row is None:
        return  # reconnected or removed meanwhile
    name, changed = row
    if changed:
        detail = {"name": name, "status": checked.status, "reason": checked.reason or ""}
        target = f"profile:{held.owner_id}"
        await audit.record(conn, held.organization_id, "system", "profile_judged", target, detail)


async def endings(conn: Connection) -> list[Ending]:
    """Profiles about to stop working whose people were not told of it yet (system scope); told from the commit on."""
    found = await (await conn.execute(REMIND, {"days": list(REMIND_DAYS)})).fetchall()
    return [Ending(*row) for row in found]


async def reseal(conn: Connection, sealer: Sealer) -> int:
    """Encrypt every token anew that the first key did not seal (system scope); how many that were."""
    done, last = 0, (UUID(int=0), UUID(int=0))
    while rows := await (await conn.execute(SEALED, [*last, RESEAL_AT_ONCE])).fetchall():
        for organization_id, profile_id, sealed in rows:
            if (newer := sealer.reseal(bytes(sealed))) is not None:
                await conn.execute(RESEAL, [newer, organization_id, profile_id, sealed])
                done += 1
        last = rows[-1][:2]
    return done
