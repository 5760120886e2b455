"""What each ticket is credited to, and every touch, at rest. One writer of `ticket_tracking` and `meta_attribution_history`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec

from whatrack.attribution.touch import Decision, Touch, Tracking
from whatrack.columns import flags, moments, texts, uuids
from whatrack.db import Connection
from whatrack.tickets.lifecycle import Ticket
from whatrack.units import new_id

AT_ONCE = 2000  # tickets that one transaction names: some 40 ms

OF_TICKETS: LiteralString = """
SELECT k.organization_id, k.ticket_id, k.meta_ad_id, k.ctwa_clid, k.last_touch_at, k.first_touch_at
FROM unnest(%b, %b) AS t (organization_id, id)
JOIN ticket_tracking k ON k.organization_id = t.organization_id AND k.ticket_id = t.id
"""
# A new ticket's tracking comes with its touch, when it has one.
INSERT: LiteralString = """
INSERT INTO ticket_tracking (
    organization_id, ticket_id, meta_source_type, meta_enrichment_status, meta_ad_id, source_id, ctwa_clid, meta_placement,
    source_url, headline, ad_body, image_url, video_url, thumbnail_url, welcome_message, last_touch_at, last_touch_wamid,
    first_touch_at, first_touch_wamid, first_source_type, first_source_id, first_ctwa_clid)
SELECT n.organization_id, n.ticket_id, coalesce(n.source_type, 'organic'),
    CASE WHEN n.ad_id IS NULL THEN 'NOT_APPLICABLE' ELSE 'PENDING' END, n.ad_id, n.source_id, n.ctwa_clid, n.placement,
    n.source_url, n.headline, n.ad_body, n.image_url, n.video_url, n.thumbnail_url, n.welcome_message, n.at, n.wamid,
    n.at, n.wamid, n.source_type, n.source_id, n.ctwa_clid
FROM unnest(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)
    AS n (organization_id, ticket_id, ad_changed, is_first, at, wamid, source_type, ad_id, source_id, ctwa_clid,
          placement, source_url, headline, ad_body, image_url, video_url, thumbnail_url, welcome_message)
"""
# All touch fields together, or none. The names belong to an ad: they go when the ad does.
TOUCH: LiteralString = """
UPDATE ticket_tracking k SET
    meta_source_type = n.source_type, meta_ad_id = n.ad_id, source_id = n.source_id, ctwa_clid = n.ctwa_clid,
    meta_placement = n.placement, source_url = n.source_url, headline = n.headline, ad_body = n.ad_body,
    image_url = n.image_url, video_url = n.video_url, thumbnail_url = n.thumbnail_url, welcome_message = n.welcome_message,
    last_touch_at = n.at, last_touch_wamid = n.wamid,
    first_touch_at = CASE WHEN n.is_first THEN n.at ELSE k.first_touch_at END,
    first_touch_wamid = CASE WHEN n.is_first THEN n.wamid ELSE k.first_touch_wamid END,
    first_source_type = CASE WHEN n.is_first THEN n.source_type ELSE k.first_source_type END,
    first_source_id = CASE WHEN n.is_first THEN n.source_id ELSE k.first_source_id END,
    first_ctwa_clid = CASE WHEN n.is_first THEN n.ctwa_clid ELSE k.first_ctwa_clid END,
    meta_ad_set_id = CASE WHEN n.ad_changed THEN NULL ELSE k.meta_ad_set_id END,
    meta_campaign_id = CASE WHEN n.ad_changed THEN NULL ELSE k.meta_campaign_id END,
    meta_account_id = CASE WHEN n.ad_changed THEN NULL ELSE k.meta_account_id END,
    meta_ad_name = CASE WHEN n.ad_changed THEN NULL ELSE k.meta_ad_name END,
    meta_ad_set_name = CASE WHEN n.ad_changed THEN NULL ELSE k.meta_ad_set_name END,
    meta_campaign_name = CASE WHEN n.ad_changed THEN NULL ELSE k.meta_campaign_name END,
    meta_enrichment_error = CASE WHEN n.ad_changed THEN NULL ELSE k.meta_enrichment_error END,
    meta_enrichment_status = CASE WHEN NOT n.ad_changed THEN k.meta_enrichment_status
                                  WHEN n.ad_id IS NULL THEN 'NOT_APPLICABLE' ELSE 'PENDING' END
FROM unnest(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)
    AS n (organization_id, ticket_id, ad_changed, is_first, at, wamid, source_type, ad_id, source_id, ctwa_clid,
          placement, source_url, headline, ad_body, image_url, video_url, thumbnail_url, welcome_message)
WHERE k.organization_id = n.organization_id AND k.ticket_id = n.ticket_id
"""
# A first touch that is not the last one: an older click that came late.
FIRST_TOUCH: LiteralString = """
UPDATE ticket_tracking k SET first_touch_at = n.at, first_touch_wamid = n.wamid, first_source_type = n.source_type,
    first_source_id = n.source_id, first_ctwa_clid = n.ctwa_clid
FROM unnest(%b, %b, %b, %b, %b, %b, %b)
    AS n (organization_id, ticket_id, at, wamid, source_type, source_id, ctwa_clid)
WHERE k.organization_id = n.organization_id AND k.ticket_id = n.ticket_id
"""
RECORD: LiteralString = """
INSERT INTO meta_attribution_history (organization_id, ticket_id, wamid, touched_at, decision, source_type, old_ad_id,
                                      new_ad_id, old_ctwa_clid, new_ctwa_clid, id, changed_at)
SELECT n.*, %s FROM unnest(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b) AS n
"""
# Which tickets are without a name: those that wait, and those that were given up. Each is a place of its own in the index
# ticket_tracking_unnamed, so a statement for each: with "or", every ticket that the ad ever brought was read.
PENDING: LiteralString = "k.meta_enrichment_status = 'PENDING'"
FAILED: LiteralString = "k.meta_enrichment_status = 'FAILED'"
# The names as they are at this moment, onto the tickets that are credited to these very ads: an answer about an older ad finds
# none. Tickets that somebody is writing to are passed over and found next time; without an order, because who passes over
# never waits. So many at once: the drain waits for these rows, and one ad may have brought hundreds of thousands. The ad's names
# are joined to the ticket that is held: joined to the row that is written, PostgreSQL may look for that by its ad.
NAME: LiteralString = """
WITH held AS (
    SELECT k.organization_id, k.ticket_id, k.meta_ad_id FROM ticket_tracking k
    WHERE k.organization_id = %(organization)s AND k.meta_ad_id = ANY(%(ads)s) AND {which}
    LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE ticket_tracking k SET meta_ad_name = n.name, meta_ad_set_id = n.ad_set_id, meta_ad_set_name = n.ad_set_name,
    meta_campaign_id = n.campaign_id, meta_campaign_name = n.campaign_name, meta_account_id = n.account_id,
    meta_enrichment_status = 'COMPLETED', meta_enrichment_error = n.remark, last_enrichment_at = now(), meta_ad_id_at_enrichment = n.ad_id
FROM held, unnest(%(ads)s::text[], %(name)s::text[], %(ad_set_id)s::text[], %(ad_set_name)s::text[], %(campaign_id)s::text[],
                  %(campaign_name)s::text[], %(account_id)s::text[], %(remark)s::text[])
    AS n (ad_id, name, ad_set_id, ad_set_name, campaign_id, campaign_name, account_id, remark)
WHERE k.organization_id = held.organization_id AND k.ticket_id = held.ticket_id AND held.meta_ad_id = n.ad_id
"""
GIVE_UP: LiteralString = """
WITH held AS (
    SELECT k.organization_id, k.ticket_id, n.reason, n.ad_id
    FROM unnest(%(ads)s::text[], %(reason)s::text[]) AS n (ad_id, reason)
    JOIN ticket_tracking k ON k.organization_id = %(organization)s AND k.meta_ad_id = n.ad_id
    WHERE {which}
    LIMIT %(limit)s FOR NO KEY UPDATE OF k SKIP LOCKED
)
UPDATE ticket_tracking k SET meta_enrichment_status = 'FAILED', meta_enrichment_error = held.reason, last_enrichment_at = now(),
    meta_ad_id_at_enrichment = held.ad_id
FROM held WHERE k.organization_id = held.organization_id AND k.ticket_id = held.ticket_id
"""


NAMES: tuple[LiteralString, ...] = tuple(NAME.format(which=which) for which in (PENDING, FAILED))
# Given up for another reason before: on either side of this one.
OTHERWISE: tuple[LiteralString, ...] = (
    f"{FAILED} AND k.meta_enrichment_error < n.reason",
    f"{FAILED} AND k.meta_enrichment_error > n.reason",
)
GIVE_UPS: tuple[LiteralString, ...] = tuple(GIVE_UP.format(which=which) for which in (PENDING, *OTHERWISE))


async def of_tickets(conn: Connection, tickets: Collection[Ticket]) -> dict[UUID, Tracking]:
    """Ticket id → what it is credited to."""
    if not tickets:
        return {}
    cursor = conn.cursor(binary=True)
    whose = [uuids(each.organization_id for each in tickets), uuids(each.id for each in tickets)]
    await cursor.execute(OF_TICKETS, whose)
    return {row[1]: Tracking(*row) for row in await cursor.fetchall()}


async def write(conn: Connection, trackings: Collection[Tracking]) -> None:
    """Write new trackings and moved touches."""
    new = [tracking for tracking in trackings if tracking.is_new]
    touched = [tracking for tracking in trackings if tracking.touch and not tracking.is_new]
    for statement, rows in ((INSERT, new), (TOUCH, touched)):
        if rows:
            await conn.execute(statement, _touch_columns(rows))
    late = [(each, each.first) for each in trackings if each.first and each.first is not each.touch]
    if late:
        await conn.execute(FIRST_TOUCH, _first_columns(late))


async def record(conn: Connection, decisions: Collection[Decision], now: datetime) -> None:
    """Write what was decided about each touch."""
    if decisions:
        await conn.execute(RECORD, [now, *_decision_columns(decisions)])


class NamedAd(msgspec.Struct, frozen=True):
    """What a ticket keeps of an ad. account_id: bare digits; remark: deleted, for an ad that is gone but still told."""

    ad_id: str
    name: str | None
    ad_set_id: str | None
    ad_set_name: str | None
    campaign_id: str | None
    campaign_name: str | None
    account_id: str
    remark: str | None = None


async def name_ads(conn: Connection, organization_id: UUID, ads: Sequence[NamedAd]) -> int:
    """Write names, ids and account onto up to AT_ONCE tickets that wait for these ads; how many. Earlier names stay."""
    if not ads:
        return 0
    columns = {
        name: [getattr(ad, name) for ad in ads] for name in NamedAd.__struct_fields__ if name != "ad_id"
    }
    values = {"organization": organization_id, "ads": [ad.ad_id for ad in ads], **columns}
    return await _piece(conn, NAMES, values)


async def give_up_ads(conn: Connection, organization_id: UUID, reasons: Mapping[str, str]) -> int:
    """Say on up to AT_ONCE tickets that wait for these ads why they stay without names; how many. ad id → reason."""
    if not reasons:
        return 0
    values = {"organization": organization_id, "ads": list(reasons), "reason": list(reasons.values())}
    return await _piece(conn, GIVE_UPS, values)


async def _piece(conn: Connection, statements: Sequence[LiteralString], values: Mapping[str, object]) -> int:
    """Run them one after the other until AT_ONCE tickets are written; how many were."""
    written = 0
    for statement in statements:
        if written < AT_ONCE:
            written += (await conn.execute(statement, {**values, "limit": AT_ONCE - written})).rowcount
    return written


def _touch_columns(trackings: list[Tracking]) -> list[bytes]:
    touches = [tracking.touch for tracking in trackings]
    return [
        uuids(each.organization_id for each in trackings),
        uuids(each.ticket_id for each in trackings),
        flags(each.ad_changed for each in trackings),
        flags(each.first is each.touch for each in trackings),
        moments(each.at if each else None for each in touches),
        texts(each.wamid if each else None for each in touches),
        texts(each.source_type if each else None for each in touches),
        texts(each.ad_id if each else None for each in touches),
        texts(each.source_id if each else None for each in touches),
        texts(each.ctwa_clid if each else None for each in touches),
        texts(each.placement if each else None for each in touches),
        texts(each.source_url if each else None for each in touches),
        texts(each.headline if each else None for each in touches),
        texts(each.ad_body if each else None for each in touches),
        texts(each.image_url if each else None for each in touches),
        texts(each.video_url if each else None for each in touches),
        texts(each.thumbnail_url if each else None for each in touches),
        texts(each.welcome_message if each else None for each in touches),
    ]


def _first_columns(late: list[tuple[Tracking, Touch]]) -> list[bytes]:
    return [
        uuids(each.organization_id for each, _ in late),
        uuids(each.ticket_id for each, _ in late),
        moments(first.at for _, first in late),
        texts(first.wamid for _, first in late),
        texts(first.source_type for _, first in late),
        texts(first.source_id for _, first in late),
        texts(first.ctwa_clid for _, first in late),
    ]


def _decision_columns(decisions: Collection[Decision]) -> list[bytes]:
    return [
        uuids(each.organization_id for each in decisions),
        uuids(each.ticket_id for each in decisions),
        texts(each.wamid for each in decisions),
        moments(each.touched_at for each in decisions),
        texts(each.decision for each in decisions),
        texts(each.source_type for each in decisions),
        texts(each.old_ad_id for each in decisions),
        texts(each.new_ad_id for each in decisions),
        texts(each.old_ctwa_clid for each in decisions),
        texts(each.new_ctwa_clid for each in decisions),
        uuids(new_id() for _ in decisions),
    ]
