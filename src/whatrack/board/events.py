"""Conversion events as a person or program reads them: a page of the list, the counts, one with its attempts, the coverage."""

from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from whatrack.board.query import read_cursor, write_cursor
from whatrack.connections import profiles, tokens
from whatrack.connections.route import Route
from whatrack.conversions import rules
from whatrack.db import Connection
from whatrack.errors import NotFound

# What a person distinguishes: each with the statuses behind it.
GROUPS: dict[str, tuple[str, ...]] = {
    "waiting": ("PENDING",),
    "sent": ("SENT",),
    "failed": ("FAILED", "EXPIRED_WINDOW"),
    "skipped": (
        "SKIPPED_NO_CTWA",
        "SKIPPED_DUPLICATE_LEAD",
        "SKIPPED_NO_DATASET",
        "SKIPPED_ACCOUNT_INACTIVE",
        "CANCELLED",
    ),
}

COLUMNS: LiteralString = """
e.id, e.ticket_id, e.event_name, e.event_id, e.status, e.success, e.ctwa_clid, e.meta_ad_id, e.value, e.currency, e.event_time,
e.not_before, e.next_attempt_at, e.hold_reason, e.attempts, e.was_unknown, e.lease_until > now() AS sending, e.error_code,
e.error_message, e.fbtrace_id, e.dataset_id, e.sent_at, e.created_at, e.updated_at, t.deal_value, t.currency AS deal_currency,
c.name AS contact_name
"""
JOINS: LiteralString = """
FROM meta_conversion_events e
JOIN tickets t ON t.organization_id = e.organization_id AND t.id = e.ticket_id
JOIN contacts c ON c.organization_id = t.organization_id AND c.id = t.contact_id
"""
# By meta_conversion_events_list, or _status where the status narrows it down.
PAGE: LiteralString = (
    "SELECT " + COLUMNS + JOINS + "WHERE e.organization_id = %(organization)s AND {} "
    "ORDER BY e.event_time DESC, e.id DESC LIMIT %(limit)s"
)
ONE: LiteralString = "SELECT " + COLUMNS + JOINS + "WHERE e.organization_id = %s AND e.id = %s"
OF_TICKETS: LiteralString = (
    "SELECT "
    + COLUMNS
    + JOINS
    + "WHERE e.organization_id = %s AND e.ticket_id = ANY(%s) ORDER BY e.created_at, e.event_name"
)
CONDITIONS: dict[str, LiteralString] = {
    "status": "e.status = ANY(%(status)s)",
    "event_name": "e.event_name = %(event_name)s",
    "dataset": "e.dataset_id = %(dataset)s",
    "cause": "e.error_code = %(cause)s",
    "ticket": "e.ticket_id = %(ticket)s",
    "since": "e.event_time >= %(since)s",
    "until": "e.event_time < %(until)s",
    "cursor": "(e.event_time, e.id) < (%(cursor_at)s, %(cursor_id)s)",
}
ATTEMPTS: LiteralString = """
SELECT a.id, a.number, a.started_at, a.ended_at, a.duration_ms, a.outcome, a.http_status, a.error_code, a.error_message,
       a.fbtrace_id, a.dataset_id, a.connection_id, p.fb_user_name AS profile_name, a.request_size, a.request, a.response
FROM meta_conversion_attempts a
LEFT JOIN meta_connections p ON p.organization_id = a.organization_id AND p.id = a.connection_id
WHERE a.organization_id = %s AND a.event_row_id = %s ORDER BY a.number LIMIT 200
"""
WHENCE: LiteralString = """
SELECT a.meta_account_id, t.phone_number_id FROM meta_conversion_events e
JOIN tickets t ON t.organization_id = e.organization_id AND t.id = e.ticket_id
LEFT JOIN meta_ads a ON a.organization_id = e.organization_id AND a.meta_ad_id = e.meta_ad_id
WHERE e.organization_id = %s AND e.id = %s
"""
COUNTS: LiteralString = """
SELECT status, count(*) FROM meta_conversion_events
WHERE organization_id = %(organization)s AND event_time >= %(since)s GROUP BY status
"""
CAUSES: LiteralString = """
SELECT error_code, count(*) AS count FROM meta_conversion_events
WHERE organization_id = %s AND status = 'FAILED' AND event_time > now() - %s GROUP BY 1 ORDER BY 2 DESC LIMIT 20
"""
DATASETS: LiteralString = """
SELECT DISTINCT dataset_id FROM meta_conversion_events WHERE organization_id = %s AND dataset_id IS NOT NULL ORDER BY 1 LIMIT 50
"""


class Query(msgspec.Struct, frozen=True):
    """Which events, the newest first. status: any of these; since, until: of event_time, UTC, half open."""

    status: tuple[str, ...] = ()
    event_name: str | None = None
    dataset: str | None = None
    cause: str | None = None
    ticket: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    cursor: str | None = None
    limit: int = 50


class Page(msgspec.Struct, frozen=True):
    """One page, and where the next one begins."""

    data: list[dict[str, Any]]
    next: str | None


class Coverage(msgspec.Struct, frozen=True):
    """Of what was owed since a moment: how much could be told, and how much Meta took."""

    eligible: int
    with_click: int
    sent: int
    accepted: int


class Ahead(msgspec.Struct, frozen=True):
    """The way an event would go now. owner: whose token, None for the number's own or where there is none."""

    route: Route
    owner: str | None


class Cause(msgspec.Struct, frozen=True):
    """Why events failed that may still be retried, and how many."""

    error_code: str
    count: int


async def page(conn: Connection, organization_id: UUID, query: Query) -> Page:
    """The events that match, the newest first; 422 for a cursor that no list gave."""
    values: dict[str, Any] = {"organization": organization_id, "limit": query.limit + 1}
    asked = {name: value for name in CONDITIONS if (value := getattr(query, name)) not in (None, ())}
    values |= {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()}
    if query.cursor:
        values["cursor_at"], values["cursor_id"] = read_cursor(query.cursor)
    wanted = " AND ".join([CONDITIONS[name] for name in asked] or ["true"])
    rows = await _rows(conn, PAGE.format(wanted), values)
    kept = rows[: query.limit]
    following = write_cursor(kept[-1]["event_time"], kept[-1]["id"]) if len(rows) > query.limit else None
    return Page([shown(row) for row in kept], following)


async def one(conn: Connection, organization_id: UUID, event_id: UUID) -> dict[str, Any]:
    """An event with its attempts; NotFound for an unknown one and another organization's alike."""
    rows = await _rows(conn, ONE, [organization_id, event_id])
    if not rows:
        raise NotFound("There is no such conversion event.")
    return {**shown(rows[0]), "tries": await _rows(conn, ATTEMPTS, [organization_id, event_id])}


async def ahead(conn: Connection, organization_id: UUID, event_id: UUID) -> Ahead:
    """The way an event of the organization would go if it were sent now, as accounts, numbers and tokens are."""
    row = await (await conn.execute(WHENCE, [organization_id, event_id])).fetchone()
    if row is None:
        raise NotFound("There is no such conversion event.")
    route = await tokens.dataset_route(conn, organization_id, row[0], row[1])
    names = {str(each.id): each.fb_user_name for each in await profiles.everyone(conn, organization_id)}
    return Ahead(route, names.get(route.tokens[0].owner_id) if route.tokens else None)


async def of_tickets(
    conn: Connection, organization_id: UUID, tickets: list[UUID]
) -> dict[UUID, list[dict[str, Any]]]:
    """Ticket → what it owes, in the order it came; tickets that owe nothing are left out."""
    found: dict[UUID, list[dict[str, Any]]] = {}
    for row in await _rows(conn, OF_TICKETS, [organization_id, tickets]):
        found.setdefault(row["ticket_id"], []).append(shown(row))
    return found


async def counts(conn: Connection, organization_id: UUID, since: datetime) -> dict[str, int]:
    """Status → how many since then."""
    values = {"organization": organization_id, "since": since}
    return dict(await (await conn.execute(COUNTS, values)).fetchall())


def coverage(counted: dict[str, int]) -> Coverage:
    """The strip above the list. What was undone, or another ticket's click, was never to be told."""
    eligible = sum(
        count for name, count in counted.items() if name not in ("CANCELLED", "SKIPPED_DUPLICATE_LEAD")
    )
    with_click = eligible - counted.get("SKIPPED_NO_CTWA", 0)
    accepted = counted.get("SENT", 0)
    return Coverage(eligible, with_click, accepted + counted.get("FAILED", 0), accepted)


async def causes(conn: Connection, organization_id: UUID) -> list[Cause]:
    """Why events failed that Meta would still take, the commonest first."""
    found = await (await conn.execute(CAUSES, [organization_id, rules.WINDOW])).fetchall()
    return [Cause(code or "", count) for code, count in found]


async def datasets(conn: Connection, organization_id: UUID) -> list[str]:
    """The datasets that events went to."""
    return [row[0] for row in await (await conn.execute(DATASETS, [organization_id])).fetchall()]


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row with what follows from it. value_changed: the ticket's value is another one since."""
    group = next((name for name, statuses in GROUPS.items() if row["status"] in statuses), "waiting")
    changed = row["value"] is not None and (row["value"], row["currency"]) != (
        row["deal_value"],
        row["deal_currency"],
    )
    return {
        **row,
        "group": group,
        "closes_at": rules.closes_at(row["event_time"]),
        "value_changed": changed and row["status"] == "SENT" and row["event_name"] == rules.PURCHASE,
        "may_retry": row["status"] in ("FAILED", "PENDING") and not row["sending"],
    }


async def _rows(conn: Connection, statement: LiteralString, values: Any) -> list[dict[str, Any]]:
    async with conn.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(statement, values)).fetchall()
