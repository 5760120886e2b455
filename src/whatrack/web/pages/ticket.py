"""One ticket: who, which ad and why, what it is worth, and everything that happened."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from whatrack import db as database
from whatrack import flow
from whatrack.attribution import pictures
from whatrack.board import tickets as board
from whatrack.board import timeline
from whatrack.db import Connection
from whatrack.errors import Refused
from whatrack.tenants import members
from whatrack.tenants.access import Access
from whatrack.tickets import people, refunds, stages
from whatrack.tickets.moves import Change
from whatrack.web.api.caller import Db
from whatrack.web.pages import event_words, i18n, values
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _, marked
from whatrack.web.pages.moves import own_address
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import Agent, Member
from whatrack.web.pages.words import said

router = APIRouter(prefix="/tickets/{ticket_id}")
STORY_LENGTH = 100
OFFER_UNDO_S = 8
# What was decided about each touch, as the story tells it.
DECISIONS = {
    "first_touch": marked("Primeiro toque deste ticket: fica com o crédito."),
    "new_ad": marked(
        "Último toque: este clique é mais novo, então o crédito e todos os seus dados passam para ele."
    ),
    "same_ad": marked("Mesmo anúncio de novo: vale o clique mais recente."),
    "late": marked("Este clique é mais antigo que o já creditado e só chegou depois: o crédito não muda."),
    "unrecognised": marked("A mensagem não diz anúncio nem post e não traz clique: não prova nada."),
}

Sent = Annotated[Form, Depends(sent_form)]


@router.get("")
async def show(request: Request, db: Db, who: Member, ticket_id: UUID, after: str = "") -> Response:
    """The ticket's page; after: where the story goes on."""
    async with db.tenant(who.organization_id) as conn:
        context = await _everything(conn, who, ticket_id, after)
    return page(request, "ticket.html", *(["_/story_more.html"] if after else []), **context)


async def _everything(conn: Connection, who: Access, ticket_id: UUID, after: str = "") -> dict[str, Any]:
    ticket = await board.one(conn, who.organization_id, ticket_id, phones=who.sees_phones)
    now = await database.now(conn)
    story = await timeline.story(
        conn, who.organization_id, ticket_id, cursor=after or None, limit=STORY_LENGTH, phones=who.sees_phones
    )
    undoable = await people.undoable(
        conn, who.organization_id, ticket_id, actor=who.actor, within_s=OFFER_UNDO_S
    )
    return {
        "ticket": ticket,
        "story": story,
        "stages": await stages.all_stages(conn, who.organization_id),
        "people": await members.everyone(conn, who.organization_id),
        "refunds": await refunds.of_ticket(conn, who.organization_id, ticket_id),
        "now": now,
        "decisions": DECISIONS,
        "event_words": event_words,
        "has_picture": await pictures.has(conn, who.organization_id, ticket["tracking"]["source_id"]),
        "may_move": who.role != "viewer",
        "undoable": undoable,
        "value_form": Form(None, deal_value=values.as_typed(ticket["deal_value"]), version=ticket["version"]),
        "refund_form": Form(None, refunded_at=now.astimezone(i18n.zone()).date().isoformat()),
        "owner_form": Form(),
        "back": f"/tickets/{ticket_id}",
    }


async def _again(request: Request, db: Db, who: Access, ticket_id: UUID, **forms: Form) -> Response:
    """The page once more, with a form that could not be taken."""
    async with db.tenant(who.organization_id) as conn:
        context = await _everything(conn, who, ticket_id)
    return page(request, "ticket.html", status=422, **{**context, **forms})


@router.post("/value")
async def set_value(request: Request, db: Db, who: Agent, ticket_id: UUID, form: Sent) -> Response:
    """Write down what the ticket is worth; nothing typed takes the value away."""
    version = form.whole("version", 1, 2**31 - 1)
    async with db.tenant(who.organization_id) as conn:
        ticket = await board.one(conn, who.organization_id, ticket_id, phones=False)
    read = values.money_in(ticket["currency"])
    value = form.parsed("deal_value", read) if form.values.get("deal_value", "").strip() else None
    if form.ok:
        try:
            async with db.tenant(who.organization_id) as conn:
                change = Change(deal_value=value, no_value=value is None, version=version)
                await flow.move_ticket(
                    conn, who.organization_id, ticket_id, lambda _all: change, actor=who.actor
                )
            return see(request, f"/tickets/{ticket_id}", _("Valor salvo."))
        except Refused as error:
            form.refuse(error, ("deal_value",))
    return await _again(request, db, who, ticket_id, value_form=form)


@router.post("/owner")
async def set_owner(request: Request, db: Db, who: Agent, ticket_id: UUID, form: Sent) -> Response:
    """Give the ticket to a member, or to nobody."""
    version = form.whole("version", 1, 2**31 - 1)
    chosen = form.parsed("owner", values.person) if form.values.get("owner") else None
    if form.ok:
        try:
            async with db.tenant(who.organization_id) as conn:
                await flow.assign_ticket(
                    conn, who.organization_id, ticket_id, chosen, actor=who.actor, version=version
                )
            back = own_address(form.values.get("back", f"/tickets/{ticket_id}"))
            return see(request, back, _("Responsável salvo."))
        except Refused as error:
            form.refuse(error, ("owner",))
    return await _again(request, db, who, ticket_id, owner_form=form)


@router.post("/refunds")
async def add_refund(request: Request, db: Db, who: Agent, ticket_id: UUID, form: Sent) -> Response:
    """Write down money given back."""
    version = form.whole("version", 1, 2**31 - 1)
    reason = form.text("reason", required=False, most=500)
    chosen = form.parsed("refunded_at", values.day)
    try:
        async with db.tenant(who.organization_id) as conn:
            ticket = await board.one(conn, who.organization_id, ticket_id, phones=False)
            amount = form.parsed("amount", values.money_in(ticket["currency"]))
            earliest, now = ticket["won_at"] or ticket["opened_at"], await database.now(conn)
            at = values.moment_of(chosen, earliest=earliest, now=now) if chosen else None
            if form.ok and amount:
                await refunds.give(
                    conn,
                    who.organization_id,
                    ticket_id,
                    amount=amount,
                    reason=reason,
                    at=at,
                    version=version,
                    actor=who.actor,
                )
                return see(request, f"/tickets/{ticket_id}", _("Reembolso registrado."))
    except Refused as error:
        if error.field == "version":
            form.general = said(error)
        else:
            form.wrong(error.field or "refunded_at", said(error))
    return await _again(request, db, who, ticket_id, refund_form=form)


@router.post("/refunds/{refund_id}/remove")
async def remove_refund(request: Request, db: Db, who: Agent, ticket_id: UUID, refund_id: UUID) -> Response:
    """Take back a refund that was entered by mistake."""
    async with db.tenant(who.organization_id) as conn:
        await refunds.take_back(conn, who.organization_id, ticket_id, refund_id, actor=who.actor)
    return see(request, f"/tickets/{ticket_id}", _("Reembolso removido."))
