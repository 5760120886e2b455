"""What changes about owed events without a move: Meta's window closes, what was in the way is mended, a duplicate is free again.

Each function is one bounded round over all organizations (system scope) and answers how many rows it changed.
"""

from typing import LiteralString
from uuid import UUID

from whatrack.conversions import rules
from whatrack.conversions.claim import routes_of
from whatrack.db import Connection

LIMIT = 1000

# By meta_conversion_events_window. Under a lease it may be arriving right now.
EXPIRE: LiteralString = """
WITH over AS (
    SELECT organization_id, id, lease_id FROM meta_conversion_events
    WHERE status IN ('PENDING', 'SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE') AND event_time < now() - %(window)s
    AND (lease_until IS NULL OR lease_until <= now())
    ORDER BY event_time LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
), unended AS (
    UPDATE meta_conversion_attempts a SET outcome = 'unknown', ended_at = now() FROM over
    WHERE a.organization_id = over.organization_id AND a.event_row_id = over.id AND a.outcome IS NULL AND over.lease_id IS NOT NULL
)
UPDATE meta_conversion_events e SET status = 'EXPIRED_WINDOW', hold_reason = NULL, lease_id = NULL, lease_until = NULL,
    was_unknown = e.was_unknown OR over.lease_id IS NOT NULL, updated_at = now()
FROM over WHERE e.organization_id = over.organization_id AND e.id = over.id
"""
# The condition of meta_conversion_events_lacking, word for word.
LACKS: LiteralString = """
(e.status IN ('SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE') OR (e.status = 'PENDING' AND e.hold_reason = 'no_token'))
"""
LACKING: LiteralString = f"""
WITH RECURSIVE lacking AS (
    (SELECT e.organization_id FROM meta_conversion_events e WHERE {LACKS} ORDER BY 1 LIMIT 1)
    UNION ALL
    SELECT following.* FROM lacking l CROSS JOIN LATERAL (SELECT e.organization_id FROM meta_conversion_events e
        WHERE {LACKS} AND e.organization_id > l.organization_id ORDER BY 1 LIMIT 1) AS following
) SELECT organization_id FROM lacking
"""  # noqa: S608 - constants only
OF_LACKING: LiteralString = f"""
FROM meta_conversion_events e
JOIN tickets t ON t.organization_id = e.organization_id AND t.id = e.ticket_id
LEFT JOIN meta_ads a ON a.organization_id = e.organization_id AND a.meta_ad_id = e.meta_ad_id
WHERE e.organization_id = %(organization)s AND {LACKS} AND e.event_time >= now() - %(window)s AND e.ctwa_clid IS NOT NULL
"""
WAYS: LiteralString = f"SELECT DISTINCT a.meta_account_id, t.phone_number_id {OF_LACKING}"
# A lead whose click another ticket reports stays skipped.
GOES_THIS_WAY: LiteralString = f"""
SELECT e.id, e.event_name, e.ctwa_clid_hash {OF_LACKING}
AND a.meta_account_id IS NOT DISTINCT FROM %(account)s AND t.phone_number_id = %(number)s AND e.status = ANY(%(statuses)s)
AND (e.status = 'PENDING' OR e.event_name <> 'LeadSubmitted' OR NOT EXISTS (SELECT FROM meta_conversion_events o
    WHERE o.organization_id = e.organization_id AND o.ctwa_clid_hash = e.ctwa_clid_hash
    AND o.event_name = 'LeadSubmitted' AND o.status IN ('PENDING', 'SENT')))
ORDER BY e.event_time, e.id LIMIT %(limit)s FOR NO KEY UPDATE OF e SKIP LOCKED
"""  # noqa: S608 - constants only
MEND: LiteralString = """
UPDATE meta_conversion_events SET status = 'PENDING', next_attempt_at = now(), hold_reason = NULL, updated_at = now()
WHERE organization_id = %s AND id = ANY(%s)
"""
# The first of the tickets whose click nobody reports any more.
FREE: LiteralString = """
WITH free AS (
    SELECT DISTINCT ON (d.organization_id, d.ctwa_clid_hash) d.organization_id, d.id FROM meta_conversion_events d
    WHERE d.status = 'SKIPPED_DUPLICATE_LEAD' AND d.event_time >= now() - %(window)s
    AND NOT EXISTS (SELECT FROM meta_conversion_events o
        WHERE o.organization_id = d.organization_id AND o.ctwa_clid_hash = d.ctwa_clid_hash
        AND o.event_name = 'LeadSubmitted' AND o.status IN ('PENDING', 'SENT'))
    ORDER BY d.organization_id, d.ctwa_clid_hash, d.event_time LIMIT %(limit)s
)
UPDATE meta_conversion_events e SET status = 'PENDING', next_attempt_at = now(), updated_at = now()
FROM free WHERE e.organization_id = free.organization_id AND e.id = free.id AND e.status = 'SKIPPED_DUPLICATE_LEAD'
"""
WAITING: LiteralString = """
UPDATE meta_conversion_events SET next_attempt_at = now(), updated_at = now()
WHERE organization_id = %s AND status = 'PENDING' AND lease_id IS NULL AND next_attempt_at > now()
"""
FOR_AD: LiteralString = WAITING + " AND hold_reason = 'enrichment' AND meta_ad_id = ANY(%s)"
FOR_PROFILE: LiteralString = WAITING + " AND hold_reason IN ('token', 'permission', 'no_token', 'blocked')"


async def expire(conn: Connection) -> int:
    """End what Meta would refuse as too old."""
    values = {"window": rules.WINDOW - rules.WINDOW_MARGIN, "limit": LIMIT}
    return (await conn.execute(EXPIRE, values)).rowcount


async def free_duplicates(conn: Connection) -> int:
    """Owe the lead of a click whose other ticket ended without being told."""
    values = {"window": rules.WINDOW - rules.WINDOW_MARGIN, "limit": LIMIT}
    return (await conn.execute(FREE, values)).rowcount


async def mend(conn: Connection) -> int:
    """Owe again what only lacked a dataset or a token, or whose account was off: each way is looked at, open ones are mended."""
    values: dict[str, object] = {"window": rules.WINDOW - rules.WINDOW_MARGIN, "limit": LIMIT}
    organizations = await (await conn.execute(LACKING)).fetchall()
    return sum([await _mend(conn, {**values, "organization": row[0]}, row[0]) for row in organizations])


async def _mend(conn: Connection, values: dict[str, object], organization_id: UUID) -> int:
    ways = await (await conn.execute(WAYS, values)).fetchall()
    routes = await routes_of(conn, organization_id, ways)
    mended = []
    for (account, number), route in routes.items():
        statuses = rules.mended_by(route.missing)
        if statuses:
            about = {"account": account, "number": number, "statuses": list(statuses)}
            found = await (await conn.execute(GOES_THIS_WAY, {**values, **about})).fetchall()
            mended += found
    # Of several leads of one click the first goes.
    leads = {bytes(clid): event_id for event_id, name, clid in reversed(mended) if name == rules.LEAD}
    ids = [event_id for event_id, name, _ in mended if name != rules.LEAD] + [*leads.values()]
    if not ids:
        return 0
    return (await conn.execute(MEND, [organization_id, ids])).rowcount


async def ads_found(conn: Connection, organization_id: UUID, ads: list[str]) -> int:
    """These ads are known now, or will not be: what waited for them waits no longer."""
    return (await conn.execute(FOR_AD, [organization_id, ads])).rowcount


async def profile_connected(conn: Connection, organization_id: UUID) -> int:
    """Somebody may send again: what waited for a token is due at once."""
    return (await conn.execute(FOR_PROFILE, [organization_id])).rowcount
