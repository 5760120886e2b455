"""Tickets: the board, the list, one ticket with its story."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.board import tickets as board
from whatrack.web.api.caller import Db
from whatrack.web.pages.render import page
from whatrack.web.pages.visitor import Member

router = APIRouter()


@router.get("/tickets")
async def list_tickets(request: Request, db: Db, who: Member) -> Response:
    """The tickets, newest activity first."""
    async with db.tenant(who.organization_id) as conn:
        found = await board.page(conn, who.organization_id, board.Query(), phones=who.sees_phones)
    return page(request, "tickets.html", tickets=found.data)
