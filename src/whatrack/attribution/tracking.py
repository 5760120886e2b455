"""What each ticket is credited to, and every touch, at rest. One writer of `ticket_tracking` and `meta_attribution_history`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import args_row

from whatrack.attribution.touch import Decision, Touch, Tracking
from whatrack.db import Connection
from whatrack.units import new_id

OF_TICKETS: LiteralString = """
SELECT k.organization_id, k.ticket_id, k.meta_ad_id, k.ctwa_clid, k.last_touch_at, k.first_touch_at
FROM unnest(%b::uuid[], %b::uuid[]) AS t (organization_id, ticket_id) JOIN ticket_tracking k USING (organization_id, ticket_id)
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
FROM unnest(%b::uuid[], %b::uuid[], %b::bool[], %b::bool[], %b::timestamptz[], %b::text[], %b::text[], %b::text[], %b::text[],
            %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[])
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
FROM unnest(%b::uuid[], %b::uuid[], %b::bool[], %b::bool[], %b::timestamptz[], %b::text[], %b::text[], %b::text[], %b::text[],
            %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[])
    AS n (organization_id, ticket_id, ad_changed, is_first, at, wamid, source_type, ad_id, source_id, ctwa_clid,
          placement, source_url, headline, ad_body, image_url, video_url, thumbnail_url, welcome_message)
WHERE k.organization_id = n.organization_id AND k.ticket_id = n.ticket_id
"""
# A first touch that is not the last one: an older click that came late.
FIRST_TOUCH: LiteralString = """
UPDATE ticket_tracking k SET first_touch_at = n.at, first_touch_wamid = n.wamid, first_source_type = n.source_type,
    first_source_id = n.source_id, first_ctwa_clid = n.ctwa_clid
FROM unnest(%b::uuid[], %b::uuid[], %b::timestamptz[], %b::text[], %b::text[], %b::text[], %b::text[])
    AS n (organization_id, ticket_id, at, wamid, source_type, source_id, ctwa_clid)
WHERE k.organization_id = n.organization_id AND k.ticket_id = n.ticket_id
"""
RECORD: LiteralString = """
INSERT INTO meta_attribution_history (organization_id, ticket_id, wamid, touched_at, decision, source_type, old_ad_id,
                                      new_ad_id, old_ctwa_clid, new_ctwa_clid, id, changed_at)
SELECT n.*, %b FROM unnest(%b::uuid[], %b::uuid[], %b::text[], %b::timestamptz[], %b::text[], %b::text[], %b::text[],
                           %b::text[], %b::text[], %b::text[], %b::uuid[]) AS n
"""
# The names as they are at this moment, onto the tickets that are credited to these very ads: an answer about an older ad finds
# none. Tickets that somebody is writing to are passed over and found next time.
CREDITED: LiteralString = """
WITH held AS (
    SELECT k.organization_id, k.ticket_id FROM ticket_tracking k
    WHERE k.organization_id = %(organization)s AND k.meta_ad_id = ANY(%(ads)s) AND k.meta_enrichment_status IN ('PENDING', 'FAILED')
    ORDER BY k.ticket_id FOR NO KEY UPDATE SKIP LOCKED
)
"""
NAME: LiteralString = f"""{CREDITED}
UPDATE ticket_tracking k SET meta_ad_name = n.name, meta_ad_set_id = n.ad_set_id, meta_ad_set_name = n.ad_set_name,
    meta_campaign_id = n.campaign_id, meta_campaign_name = n.campaign_name, meta_account_id = n.account_id,
    meta_enrichment_status = 'COMPLETED', meta_enrichment_error = n.remark, last_enrichment_at = now(), meta_ad_id_at_enrichment = n.ad_id
FROM held, unnest(%(ads)s::text[], %(name)s::text[], %(ad_set_id)s::text[], %(ad_set_name)s::text[], %(campaign_id)s::text[],
                  %(campaign_name)s::text[], %(account_id)s::text[], %(remark)s::text[])
    AS n (ad_id, name, ad_set_id, ad_set_name, campaign_id, campaign_name, account_id, remark)
WHERE k.organization_id = held.organization_id AND k.ticket_id = held.ticket_id AND k.meta_ad_id = n.ad_id
"""  # noqa: S608 - constants only
GIVE_UP: LiteralString = f"""{CREDITED}
UPDATE ticket_tracking k SET meta_enrichment_status = 'FAILED', meta_enrichment_error = n.reason, last_enrichment_at = now(),
    meta_ad_id_at_enrichment = n.ad_id
FROM held, unnest(%(ads)s::text[], %(reason)s::text[]) AS n (ad_id, reason)
WHERE k.organization_id = held.organization_id AND k.ticket_id = held.ticket_id AND k.meta_ad_id = n.ad_id
AND (k.meta_enrichment_status = 'PENDING' OR k.meta_enrichment_error IS DISTINCT FROM n.reason)
"""  # noqa: S608 - constants only

NO_TOUCH = (None,) * 14


async def of_tickets(conn: Connection, tickets: Collection[tuple[UUID, UUID]]) -> dict[UUID, Tracking]:
    """Ticket id → what it is credited to, for tickets by (organization, id)."""
    async with conn.cursor(binary=True, row_factory=args_row(Tracking)) as cursor:
        await cursor.execute(OF_TICKETS, [[each[0] for each in tickets], [each[1] for each in tickets]])
        return {tracking.ticket_id: tracking for tracking in await cursor.fetchall()}


async def write(conn: Connection, trackings: Collection[Tracking]) -> None:
    """Write new trackings and moved touches."""
    new = [tracking for tracking in trackings if tracking.is_new]
    touched = [tracking for tracking in trackings if tracking.touch and not tracking.is_new]
    for statement, rows in ((INSERT, new), (TOUCH, touched)):
        if rows:
            columns = zip(*[_touch_row(tracking) for tracking in rows], strict=True)
            await conn.execute(statement, [list(column) for column in columns])
    late = [(each, each.first) for each in trackings if each.first and each.first is not each.touch]
    if late:
        columns = zip(*[_first_row(tracking, touch) for tracking, touch in late], strict=True)
        await conn.execute(FIRST_TOUCH, [list(column) for column in columns])


async def record(conn: Connection, decisions: Collection[Decision], now: datetime) -> None:
    """Write what was decided about each touch."""
    if decisions:
        columns = zip(*[(*_decision_row(decision), new_id()) for decision in decisions], strict=True)
        await conn.execute(RECORD, [now, *(list(column) for column in columns)])


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
    """Write names, ids and account onto the tickets that wait for these ads; how many. Earlier names stay."""
    if not ads:
        return 0
    columns = {
        name: [getattr(ad, name) for ad in ads] for name in NamedAd.__struct_fields__ if name != "ad_id"
    }
    values = {"organization": organization_id, "ads": [ad.ad_id for ad in ads]}
    return (await conn.execute(NAME, {**values, **columns})).rowcount


async def give_up_ads(conn: Connection, organization_id: UUID, reasons: Mapping[str, str]) -> int:
    """Say on the tickets that wait for these ads why they stay without names; how many. ad id → reason."""
    if not reasons:
        return 0
    values = {"organization": organization_id, "ads": list(reasons), "reason": list(reasons.values())}
    return (await conn.execute(GIVE_UP, values)).rowcount


def _touch_row(tracking: Tracking) -> tuple[object, ...]:
    touch = tracking.touch
    whose = (tracking.organization_id, tracking.ticket_id, tracking.ad_changed, tracking.first is touch)
    if touch is None:
        return (*whose, *NO_TOUCH)
    return (
        *whose,
        touch.at,
        touch.wamid,
        touch.source_type,
        touch.ad_id,
        touch.source_id,
        touch.ctwa_clid,
        touch.placement,
        touch.source_url,
        touch.headline,
        touch.ad_body,
        touch.image_url,
        touch.video_url,
        touch.thumbnail_url,
        touch.welcome_message,
    )


def _first_row(tracking: Tracking, touch: Touch) -> tuple[object, ...]:
    whose = (tracking.organization_id, tracking.ticket_id)
    return (*whose, touch.at, touch.wamid, touch.source_type, touch.source_id, touch.ctwa_clid)


def _decision_row(decision: Decision) -> tuple[object, ...]:
    return (
        decision.organization_id,
        decision.ticket_id,
        decision.wamid,
        decision.touched_at,
        decision.decision,
        decision.source_type,
        decision.old_ad_id,
        decision.new_ad_id,
        decision.old_ctwa_clid,
        decision.new_ctwa_clid,
    )
