"""Who did what in the organization, newest first, fifty at a time."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.errors import NotFound
from whatrack.tenants import audit
from whatrack.web.api.caller import Db
from whatrack.web.pages.deeds import place, sentence
from whatrack.web.pages.render import page
from whatrack.web.pages.visitor import Admin

router = APIRouter(prefix="/settings/audit")

AT_ONCE = 50


@router.get("")
async def audit_page(request: Request, db: Db, who: Admin, after: str = "") -> Response:
    """A page of deeds. after: the last one of the page before."""
    async with db.tenant(who.organization_id) as conn:
        found = await audit.page(conn, who.organization_id, after=_cursor(after), limit=AT_ONCE + 1)
    entries = [(entry, sentence(entry), place(entry)) for entry in found[:AT_ONCE]]
    last = found[AT_ONCE - 1] if len(found) > AT_ONCE else None
    older = f"{last.at.isoformat()}~{last.id}" if last else None
    return page(request, "audit.html", entries=entries, older=older, is_first=not after)


def _cursor(text: str) -> tuple[datetime, UUID] | None:
    if not text:
        return None
    moment, _, entry_id = text.partition("~")
    try:
        return datetime.fromisoformat(moment), UUID(entry_id)
    except ValueError:
        raise NotFound("There is no such page.") from None
