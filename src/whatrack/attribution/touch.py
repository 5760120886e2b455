"""Last touch: what a referral says, and whether it replaces what the ticket is credited to. Pure.

A referral replaces all touch fields together, unless it is older than the stored touch. Deviations from a plain
overwrite, each for a reason: (1) a late, older referral never replaces a newer one, but may become the first touch;
(2) a post is not an ad: it carries no ad id and never the click id of an older ad; (3) "" and null click ids are
absent, a click id is otherwise kept byte for byte; (4) without a click id an ad touch still counts, because Meta
omits it for ads placed in WhatsApp Status.
Source: Meta, "Text messages webhook reference", field referral,
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/text (read 2026-11).
"""

from datetime import datetime
from uuid import UUID

import msgspec

from whatrack.meta.webhook import MAX_ID, Referral, present


class Touch(msgspec.Struct, frozen=True, gc=False):
    """One tap on an ad or post. source_type: ad · post · organic (a referral that is recognisably neither)."""

    at: datetime
    wamid: str
    source_type: str
    ad_id: str | None
    source_id: str | None
    ctwa_clid: str | None
    placement: str | None
    source_url: str | None
    headline: str | None
    ad_body: str | None
    image_url: str | None
    video_url: str | None
    thumbnail_url: str | None
    welcome_message: str | None


class Tracking(msgspec.Struct, gc=False):
    """What a ticket is credited to, as far as touches move it.

    touch: the new last touch, to be written; first: the new first touch, to be written. ad_changed: the ad differs
    from the stored one, so its names are forgotten and it must be looked up anew.
    """

    organization_id: UUID
    ticket_id: UUID
    ad_id: str | None = None
    ctwa_clid: str | None = None
    last_touch_at: datetime | None = None
    first_touch_at: datetime | None = None
    is_new: bool = False
    touch: Touch | None = None
    first: Touch | None = None
    ad_changed: bool = False


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What was decided about one touch: a row of meta_attribution_history.

    decision: first_touch · new_ad (the credit moved) · same_ad (the same ad again, perhaps another click) · late
    (older than the stored touch, so nothing moved) · unrecognised (a referral that is neither ad nor post).
    """

    organization_id: UUID
    ticket_id: UUID
    wamid: str
    touched_at: datetime
    decision: str
    source_type: str
    old_ad_id: str | None
    new_ad_id: str | None
    old_ctwa_clid: str | None
    new_ctwa_clid: str | None


def read_touch(referral: Referral | None, at: datetime, wamid: str) -> Touch | None:
    """The touch a message's referral proves; None for no referral, or one that names neither an ad, a post nor an id."""
    if referral is None:
        return None
    source_id = present(referral.source_id)
    clid = _click_id(referral)
    source_type = _source_type(referral.source_type, clid)
    if source_id is None and clid is None and source_type == "organic":
        return None
    return Touch(
        at=at,
        wamid=wamid,
        source_type=source_type,
        ad_id=source_id if source_type == "ad" and source_id and len(source_id) <= MAX_ID else None,
        source_id=source_id,
        ctwa_clid=clid,
        placement=present(referral.media_type),
        source_url=present(referral.source_url),
        headline=present(referral.headline),
        ad_body=present(referral.body),
        image_url=present(referral.image_url),
        video_url=present(referral.video_url),
        thumbnail_url=present(referral.thumbnail_url),
        welcome_message=present(referral.welcome_message.text) if referral.welcome_message else None,
    )


def _click_id(referral: Referral) -> str | None:
    """The click id byte for byte; null, "" and blanks are absent."""
    return str(referral.ctwa_clid) if present(referral.ctwa_clid) else None


def _source_type(said: str | None, clid: str | None) -> str:
    """Meta says "ad" or "post"; when it says neither, a click id proves an ad, and a bare source_id proves nothing."""
    kind = (present(said) or "").lower()
    if kind in ("ad", "post"):
        return kind
    return "ad" if clid else "organic"


def credit(tracking: Tracking, touch: Touch) -> Decision:
    """Credit a ticket with a touch when it is the newest, and say what was decided."""
    verdict = _verdict(tracking, touch)
    decision = Decision(
        organization_id=tracking.organization_id,
        ticket_id=tracking.ticket_id,
        wamid=touch.wamid,
        touched_at=touch.at,
        decision=verdict,
        source_type=touch.source_type,
        old_ad_id=tracking.ad_id,
        new_ad_id=touch.ad_id,
        old_ctwa_clid=tracking.ctwa_clid,
        new_ctwa_clid=touch.ctwa_clid,
    )
    if verdict == "unrecognised":
        return decision
    if tracking.first_touch_at is None or touch.at < tracking.first_touch_at:
        tracking.first, tracking.first_touch_at = touch, touch.at
    if verdict != "late":
        tracking.ad_changed |= tracking.ad_id != touch.ad_id
        tracking.touch, tracking.ad_id, tracking.ctwa_clid = touch, touch.ad_id, touch.ctwa_clid
        tracking.last_touch_at = touch.at
    return decision


def _verdict(tracking: Tracking, touch: Touch) -> str:
    if touch.source_type == "organic":
        return "unrecognised"
    if tracking.last_touch_at is None:
        return "first_touch"
    if touch.at < tracking.last_touch_at:
        return "late"
    return "same_ad" if tracking.ad_id == touch.ad_id and touch.ad_id else "new_ad"
