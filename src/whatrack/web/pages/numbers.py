"""The organization's WhatsApp numbers: whether they are alive, and what to paste into Meta's panel."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack import db as database
from whatrack.connections import whatsapp_numbers
from whatrack.contacts import activity
from whatrack.inbox import intake, store
from whatrack.settings import Settings
from whatrack.web.api.caller import Db
from whatrack.web.pages import meta_words
from whatrack.web.pages.render import page
from whatrack.web.pages.visitor import Member, SignedIn

router = APIRouter()
QUIET_DAYS = activity.KEEP.days


@router.get("/settings/numbers")
async def show(request: Request, db: Db, who: Member, visitor: SignedIn) -> Response:
    """The numbers, and for admins how Meta is told to write to us."""
    settings: Settings = request.app.state.settings
    async with db.tenant(who.organization_id) as conn:
        numbers = await whatsapp_numbers.all_live(conn, who.organization_id)
        connected = await whatsapp_numbers.connected(conn, who.organization_id)
        alive = await activity.of_organization(conn, who.organization_id)
        now = await database.now(conn)
    async with db.installation() as conn:
        routes = [route for each in numbers for route in (each.phone_number_id, f"waba:{each.waba_id}")]
        quarantined = await store.quarantined(conn, routes)
        everywhere = (await store.counts(conn)).quarantined if visitor.user.is_operator else 0
    may_connect = who.role in ("admin", "owner")
    return page(
        request,
        "numbers.html",
        numbers=numbers,
        connected=connected,
        reason=meta_words.reason,
        alive=alive,
        quarantined=quarantined,
        everywhere=everywhere,
        quiet_days=QUIET_DAYS,
        now=now,
        may_connect=may_connect,
        webhook_url=f"{str(settings.base_url).rstrip('/')}{intake.PATH}",
        reachable=settings.base_url.scheme == "https",
        verify_token=settings.webhook_secrets()[1] if may_connect else "",
    )
