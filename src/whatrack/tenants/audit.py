"""Who did what in an organization, append-only but for names that must go. One writer of `audit_log`.

An entry is written in the transaction of what it tells, so that neither is ever there without the other.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, LiteralString, get_args
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from psycopg.types.json import Json

from whatrack.db import Connection
from whatrack.units import new_id

# Every word that `action` may hold; web/pages/deeds.py says each in a sentence.
Action = Literal[
    "sign_in", "code_refused", "password_changed", "password_reset", "reset_link_made", "two_step_on", "two_step_off", "recovery_codes_made",
    "organization_created", "organization_changed",
    "member_added", "member_joined", "member_role_changed", "member_removed", "invitation_sent", "invitation_withdrawn",
    "key_created", "key_revoked",
    "ticket_opened", "ticket_moved", "ticket_valued", "ticket_move_undone", "ticket_assigned", "refund_added", "refund_removed",
    "stage_added", "stage_changed", "stage_shifted", "stage_removed",
    "event_retried", "events_retried", "sale_rule_on", "sale_rule_off", "test_code_changed", "ad_retried",
    "profile_connected", "profile_renewed", "profile_removed", "profile_judged", "profile_forgotten",
    "cost_set", "cost_removed", "fx_rates_set", "fx_rates_removed",
    "account_on", "account_off", "account_changed", "number_connected", "number_judged",
    "report_shared", "report_unshared", "target_changed",
]  # fmt: skip
ACTIONS: frozenset[str] = frozenset(get_args(Action))

# now() by name: the column's default would not see a clock that a demo or a test has moved.
INSERT: LiteralString = """
INSERT INTO audit_log (organization_id, id, at, actor, action, target, detail) VALUES (%s, %s, now(), %s, %s, %s, %s)
"""
# What a person does for themselves is told to each of their organizations.
INSERT_EVERYWHERE: LiteralString = """
INSERT INTO audit_log (organization_id, id, at, actor, action, target, detail)
SELECT organization_id, gen_random_uuid(), now(), %(actor)s, %(action)s, %(actor)s, %(detail)s FROM memberships WHERE user_id = %(user)s
"""
UNNAME: LiteralString = (
    "UPDATE audit_log SET detail = (detail::jsonb - 'name')::json WHERE organization_id = %s AND target = %s"
)
# Newest first, from the index audit_log_at.
PAGE: LiteralString = """
SELECT a.id, a.at, a.actor, u.name AS actor_name, a.action, a.target, a.detail FROM audit_log a
LEFT JOIN users u ON a.actor = 'user:' || u.id
WHERE a.organization_id = %(organization)s AND (%(at)s::timestamptz IS NULL OR (a.at, a.id) < (%(at)s, %(id)s))
ORDER BY a.at DESC, a.id DESC LIMIT %(limit)s
"""


class Entry(msgspec.Struct, frozen=True):
    """One deed. actor_name: None for keys and the system, and for people who are gone."""

    id: UUID
    at: datetime
    actor: str
    actor_name: str | None
    action: str
    target: str
    detail: dict[str, Any]


async def record(
    conn: Connection,
    organization_id: UUID,
    actor: str,
    action: Action,
    target: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write one deed down. detail: names and numbers for a reader; never a secret, a phone or a message."""
    await conn.execute(INSERT, [organization_id, new_id(), actor, action, target, Json(dict(detail or {}))])


async def record_everywhere(
    conn: Connection, user_id: UUID, action: Action, detail: Mapping[str, Any] | None = None
) -> None:
    """Write down, in each organization of a person, what they did to their own account (system scope)."""
    values = {
        "user": user_id,
        "actor": f"user:{user_id}",
        "action": action,
        "detail": Json(dict(detail or {})),
    }
    await conn.execute(INSERT_EVERYWHERE, values)


async def unname(conn: Connection, organization_id: UUID, target: str) -> None:
    """Take the name of somebody who asked for it out of what was done with them; the deeds stay."""
    await conn.execute(UNNAME, [organization_id, target])


async def page(
    conn: Connection, organization_id: UUID, *, after: tuple[datetime, UUID] | None, limit: int
) -> list[Entry]:
    """Deeds, newest first. after: the last one of the page before."""
    at, entry_id = after or (None, None)
    values = {"organization": organization_id, "at": at, "id": entry_id, "limit": limit}
    async with conn.cursor(row_factory=class_row(Entry)) as cursor:
        return await (await cursor.execute(PAGE, values)).fetchall()
