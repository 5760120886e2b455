"""Moving a ticket: one endpoint for drag, menu, ticket page and dialog; and taking a move back."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from whatrack import db as database
from whatrack import flow
from whatrack.board import tickets as board
from whatrack.db import Connection
from whatrack.errors import Refused
from whatrack.tenants.access import Access
from whatrack.tickets import stages
from whatrack.tickets.moves import Change
from whatrack.tickets.stages import Stage, find_stage
from whatrack.web.addresses import own_path
from whatrack.web.api.caller import Db
from whatrack.web.pages import i18n, values
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import by_htmx, page, see
from whatrack.web.pages.tickets import board_of, filters_of_address, loaded
from whatrack.web.pages.visitor import Agent, SignedIn
from whatrack.web.state import TheSettings

router = APIRouter()
LONG_AGO = timedelta(days=7)  # Meta takes no event older than this

Sent = Annotated[Form, Depends(sent_form)]


class Wanted(msgspec.Struct, frozen=True):
    """A move that is being asked for: what the ticket is now, and where it shall go."""

    ticket: dict[str, Any]
    stage: Stage
    now: datetime

    @property
    def asks(self) -> str:
        """Which question comes first: WON needs a value, LOST a reason; an ACTIVE stage none."""
        return "" if self.stage.group == "ACTIVE" else self.stage.group


@router.get("/tickets/{ticket_id}/move")
async def ask(request: Request, db: Db, who: Agent, ticket_id: UUID, stage: str, back: str = "") -> Response:
    """The question that a move to this stage comes with, as a page: the dialog without JavaScript."""
    async with db.tenant(who.organization_id) as conn:
        wanted = await _wanted(conn, who, ticket_id, stage)
    if not wanted.asks:
        return see(request, f"/tickets/{ticket_id}")
    return _question(request, wanted, _first_form(wanted, back), status=200)


@router.post("/tickets/{ticket_id}/stage")
async def move(
    request: Request,
    db: Db,
    who: Agent,
    visitor: SignedIn,
    settings: TheSettings,
    ticket_id: UUID,
    form: Sent,
) -> Response:
    """Move the ticket; first ask for what the stage needs to know. What it owes Meta waits until it cannot be undone."""
    back = own_address(form.values.get("back", ""))
    form.values = {"version": "", **form.values, "back": back}
    async with db.tenant(who.organization_id) as conn:
        wanted = await _wanted(conn, who, ticket_id, form.values.get("stage", ""))
        if wanted.asks and "answered" not in form.values:
            start = _first_form(wanted, back)
            if by_htmx(request):
                return _question(request, wanted, start, status=200)
            asked = urlencode({"stage": wanted.stage.id, "back": back})
            return see(request, f"/tickets/{ticket_id}/move?{asked}")
        change = _change(form, wanted)
    if not form.ok:
        return _question(request, wanted, form, status=422)
    try:
        async with db.tenant(who.organization_id) as conn:
            hold = timedelta(seconds=settings.undo_seconds)
            moved = await flow.move_ticket(
                conn, who.organization_id, ticket_id, lambda _all: change, actor=who.actor, hold=hold
            )
    except Refused as error:
        return await _refused(request, db, who, visitor, wanted, form, error, back)
    said = _("%(name)s foi para %(stage)s.", name=_name(wanted.ticket), stage=wanted.stage.name)
    undo = {"action": f"/tickets/{ticket_id}/undo", "version": moved.version, "back": back}
    return await shown(request, db, who, visitor, back, said, undo=undo, focus=ticket_id)


@router.post("/tickets/{ticket_id}/undo")
async def undo(
    request: Request, db: Db, who: Agent, visitor: SignedIn, ticket_id: UUID, form: Sent
) -> Response:
    """Take one's own last move back."""
    back = own_address(form.values.get("back", ""))
    version = form.whole("version", 1, 2**31 - 1)
    tone = "ok"
    try:
        async with db.tenant(who.organization_id) as conn:
            await flow.undo_move(conn, who.organization_id, ticket_id, version, actor=who.actor)
        said = _("Movimento desfeito.")
    except Refused as error:
        form.refuse(error)
        said, tone = form.general or form.errors.get("version", ""), "error"
    return await shown(request, db, who, visitor, back, said, tone=tone, focus=ticket_id)


async def shown(
    request: Request,
    db: Db,
    who: Access,
    visitor: SignedIn,
    back: str,
    said: str,
    *,
    undo: dict[str, Any] | None = None,
    tone: str = "ok",
    focus: UUID | None = None,
) -> Response:
    """Where the person was, with what happened said: the board's parts for htmx, the page itself otherwise."""
    if not by_htmx(request) or back.startswith(("/tickets/", "/tickets?view=list")):
        return see(request, back, said)
    async with db.tenant(who.organization_id) as conn:
        filters = filters_of_address(back)
        context = await board_of(conn, filters, who, visitor.user.id, loaded(request))
    events = msgspec.json.encode(
        {"wt:dialog-close": "", "wt:focus": f"[popovertarget='move-{focus}']"}
    ).decode()
    context |= {"text": said, "undo": undo, "tone": tone, "back": back}
    headers = {"HX-Trigger": events, "HX-Retarget": "#board", "HX-Reswap": "outerMorph"}
    return page(
        request, "tickets_board.html", "_/board.html", "_/toast_part.html", headers=headers, **context
    )


async def _refused(
    request: Request,
    db: Db,
    who: Access,
    visitor: SignedIn,
    wanted: Wanted,
    form: Form,
    error: Refused,
    back: str,
) -> Response:
    """What a rule refused: beside its field when the question is open, else said where the person was."""
    if wanted.asks and error.field in ("deal_value", "lost_reason"):
        form.refuse(error)
        return _question(request, wanted, form, status=422)
    form.refuse(error)
    said = form.general or next(iter(form.errors.values()))
    return await shown(request, db, who, visitor, back, said, tone="error", focus=wanted.ticket["id"])


async def _wanted(conn: Connection, who: Access, ticket_id: UUID, stage: str) -> Wanted:
    ticket = await board.one(conn, who.organization_id, ticket_id, phones=who.sees_phones)
    found = find_stage(await stages.all_stages(conn, who.organization_id), stage)
    return Wanted(ticket, found, await database.now(conn))


def _first_form(wanted: Wanted, back: str) -> Form:
    """The question as it opens: the value so far, today."""
    today = wanted.now.astimezone(i18n.zone()).date()
    return Form(
        None,
        deal_value=values.as_typed(wanted.ticket["deal_value"]),
        won_at=today.isoformat(),
        lost_reason=wanted.ticket["lost_reason"] or "",
        version=wanted.ticket["version"],
        back=own_address(back),
    )


def _change(form: Form, wanted: Wanted) -> Change:
    """The change that the form asks for; what cannot be read is said in the form."""
    version = form.whole("version", 1, 2**31 - 1)
    if wanted.asks == "LOST":
        return Change(stage=wanted.stage, lost_reason=form.text("lost_reason", most=500), version=version)
    if wanted.asks != "WON":
        return Change(stage=wanted.stage, version=version)
    value = form.parsed("deal_value", values.money_in(wanted.ticket["currency"]))
    chosen = form.parsed("won_at", values.day)
    won_at = None
    if chosen:
        won_at = form.parsed(
            "won_at",
            lambda _text: values.moment_of(chosen, earliest=wanted.ticket["opened_at"], now=wanted.now),
        )
    if won_at and wanted.now - won_at > LONG_AGO and not form.checked("confirmed"):
        form.wrong(
            "confirmed",
            _(
                "Esta venda tem mais de 7 dias: entra nos relatórios, mas a Meta já não aceita recebê-la. Confirme para salvar."
            ),
        )
    return Change(stage=wanted.stage, deal_value=value, won_at=won_at, version=version)


def _question(request: Request, wanted: Wanted, form: Form, *, status: int) -> Response:
    context = {
        "ticket": wanted.ticket,
        "stage": wanted.stage,
        "form": form,
        "person": _name(wanted.ticket),
        "in_dialog": by_htmx(request),
    }
    headers = {"HX-Retarget": "#dialog", "HX-Reswap": "innerHTML", "HX-Trigger": '{"wt:dialog":""}'}
    return page(request, "ticket_move.html", "_/move_form.html", status=status, headers=headers, **context)


def _name(ticket: dict[str, Any]) -> str:
    return str(ticket["contact"]["name"] or _("Este contato"))


def own_address(text: str) -> str:
    """A page of the tickets to go back to; anything else becomes the board."""
    return own_path(text, "/tickets") if text.startswith("/tickets") else "/tickets"
