"""The pictures of ads and posts, to members of the organization that was sent them."""

from fastapi import APIRouter
from fastapi.responses import Response

from whatrack.attribution import pictures
from whatrack.errors import NotFound
from whatrack.web.api.caller import Db
from whatrack.web.pages.visitor import Member

router = APIRouter()
A_DAY = "private, max-age=86400"


@router.get("/tickets/pictures/{source_id}")
async def show(db: Db, who: Member, source_id: str) -> Response:
    """One picture; 404 for another organization's and for one that was never had."""
    async with db.tenant(who.organization_id) as conn:
        found = await pictures.one(conn, who.organization_id, source_id[:64])
    if found is None:
        raise NotFound("There is no such picture.")
    return Response(found.content, media_type=found.media_type, headers={"Cache-Control": A_DAY})
