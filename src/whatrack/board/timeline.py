"""A ticket's story in order of time: what was said, which ad touched it and what was decided, who moved it, what Meta was told."""

from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from whatrack.board.query import read_cursor, write_cursor
from whatrack.db import Connection

# Each decision in the words of its rule.
RULES = {
    "first_touch": "The first ad or post of this ticket: it gets the credit.",
    "new_ad": "Last touch: a newer click replaces the earlier one, with all its fields.",
    "same_ad": "Last touch: the same ad again; the newest click id counts.",
    "late": "This click is older than the one already credited: it arrived late, and the credit stays where it is.",
    "unrecognised": "The referral says neither ad nor post and has no click id: it proves nothing.",
}
# Every part is read from its own index on (organization, ticket), then merged; id is unique within its kind.
STORY: LiteralString = """
SELECT * FROM (
    SELECT m.sent_at AS at, md5(m.wamid)::uuid AS id, 'message' AS kind, json_build_object(
        'wamid', m.wamid, 'origin', m.origin, 'from_business', m.from_business, 'type', m.type, 'body', m.body,
        'has_referral', m.has_referral) AS detail
    FROM messages m WHERE m.organization_id = %(organization)s AND m.ticket_id = %(ticket)s
    UNION ALL
    SELECT h.touched_at, h.id, 'touch', json_build_object(
        'decision', h.decision, 'source_type', h.source_type, 'wamid', h.wamid, 'decided_at', h.changed_at,
        'old_ad_id', h.old_ad_id, 'new_ad_id', h.new_ad_id, 'old_ctwa_clid', h.old_ctwa_clid, 'new_ctwa_clid', h.new_ctwa_clid)
    FROM meta_attribution_history h WHERE h.organization_id = %(organization)s AND h.ticket_id = %(ticket)s
    UNION ALL
    SELECT c.changed_at, c.id, 'stage_move', json_build_object(
        'from', c.from_stage, 'to', c.to_stage, 'deal_value', c.deal_value::text, 'currency', c.currency,
        'lost_reason', c.lost_reason, 'happened_at', c.happened_at, 'actor', c.actor, 'actor_name', u.name)
    FROM ticket_stage_changes c LEFT JOIN users u ON c.actor = 'user:' || u.id WHERE c.organization_id = %(organization)s AND c.ticket_id = %(ticket)s
    UNION ALL
    SELECT r.refunded_at, r.id, 'refund', json_build_object(
        'amount', r.amount::text, 'currency', r.currency, 'reason', r.reason, 'actor', r.actor, 'actor_name', u.name)
    FROM ticket_refunds r LEFT JOIN users u ON r.actor = 'user:' || u.id
    WHERE r.organization_id = %(organization)s AND r.ticket_id = %(ticket)s
    UNION ALL
    SELECT coalesce(e.sent_at, e.created_at + interval '1 microsecond'), e.id, 'conversion', json_build_object(
        'event_id', e.event_id, 'event_name', e.event_name, 'status', e.status, 'value', e.value::text, 'currency', e.currency,
        'event_time', e.event_time, 'sent_at', e.sent_at, 'closes_at', e.event_time + interval '168 hours', 'fbtrace_id', e.fbtrace_id,
        'error_code', e.error_code, 'hold_reason', e.hold_reason, 'was_unknown', e.was_unknown, 'row_id', e.id)
    FROM meta_conversion_events e WHERE e.organization_id = %(organization)s AND e.ticket_id = %(ticket)s
    UNION ALL
    SELECT t.closed_at, t.id, 'expired', json_build_object('last_message_at', t.last_message_at)
    FROM tickets t WHERE t.organization_id = %(organization)s AND t.id = %(ticket)s AND t.close_reason = 'EXPIRED'
) AS story
WHERE %(after_at)s::timestamptz IS NULL OR (at, id) > (%(after_at)s, %(after_id)s)
ORDER BY at, id LIMIT %(limit)s
"""

TIMES = (
    "decided_at",
    "happened_at",
    "last_message_at",
    "event_time",
    "sent_at",
    "closes_at",
)  # PostgreSQL writes them into the detail as text


class Story(msgspec.Struct, frozen=True):
    """A page of the timeline, oldest first, and where the next one begins."""

    data: list[dict[str, Any]]
    next: str | None


async def story(
    conn: Connection, organization_id: UUID, ticket_id: UUID, *, cursor: str | None, limit: int, phones: bool
) -> Story:
    """What happened in a ticket. The caller has checked that the ticket is the organization's.

    phones: whether the reader may see numbers in full. A wamid is base64 over the number it is about, so it goes too.
    """
    after: tuple[datetime | None, UUID | None] = read_cursor(cursor) if cursor else (None, None)
    parameters = {"organization": organization_id, "ticket": ticket_id, "limit": limit + 1}
    async with conn.cursor(row_factory=dict_row) as reader:
        await reader.execute(STORY, {**parameters, "after_at": after[0], "after_id": after[1]})
        rows = await reader.fetchall()
    kept = rows[:limit]
    data = [{"at": row["at"], "kind": row["kind"], **_explained(row["detail"], phones)} for row in kept]
    return Story(data, write_cursor(kept[-1]["at"], kept[-1]["id"]) if len(rows) > limit else None)


def _explained(detail: dict[str, Any], phones: bool) -> dict[str, Any]:
    """A detail with its rule in words, its times as times, and without what a viewer may not see."""
    rule = RULES.get(detail.get("decision", ""))
    times = {name: datetime.fromisoformat(detail[name]) for name in TIMES if detail.get(name)}
    hidden = {"wamid": None} if "wamid" in detail and not phones else {}
    return {**detail, **times, **({"rule": rule} if rule else {}), **hidden}
