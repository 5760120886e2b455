"""/api/v1/tickets: list, open by hand, read, move, and the story of one."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from whatrack import flow
from whatrack.board import events, timeline
from whatrack.board import tickets as board
from whatrack.board.query import Query as TicketQuery
from whatrack.db import Connection
from whatrack.tickets import refunds
from whatrack.tickets.moves import Change
from whatrack.tickets.stages import Stage, all_stages, find_stage
from whatrack.units import parse_currency, parse_money
from whatrack.web.api.caller import Db, Member
from whatrack.web.api.fields import Limit, Moment, NoNul, Phone
from whatrack.web.problems import OF_CHANGE, OF_EVERY, OF_ONE

router = APIRouter(prefix="/api/v1/tickets", tags=["tickets"], responses=OF_EVERY)


class Filters(BaseModel):
    """The list's filters; an unknown one is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")
    status: Literal["open", "closed"] | None = None
    stage: NoNul | None = Field(None, description="id, role or name, any case")
    campaign: NoNul | None = Field(None, description="campaign id or exact name")
    ad: NoNul | None = Field(None, description="ad id")
    source: Literal["ad", "post", "organic"] | None = None
    owner: UUID | None = Field(None, description="id of the person it is assigned to")
    since: Moment | None = Field(None, description="opened at or after")
    until: Moment | None = Field(None, description="opened before")
    text: NoNul | None = Field(
        None, description="words of the contact's name or digits of the phone, each a prefix"
    )
    cursor: NoNul | None = None
    limit: Limit = 50


class TicketStage(BaseModel):
    """Where the ticket stands."""

    id: UUID
    name: str
    group: str
    role: str | None


class TicketContact(BaseModel):
    """Who writes. wa_id is masked for viewers."""

    wa_id: str | None
    user_id: str | None
    name: str | None


class TicketTracking(BaseModel):
    """What the ticket is credited to (last touch), and a copy of the first touch."""

    meta_source_type: str
    meta_ad_id: str | None
    meta_ad_set_id: str | None
    meta_campaign_id: str | None
    meta_account_id: str | None
    meta_ad_name: str | None
    meta_ad_set_name: str | None
    meta_campaign_name: str | None
    meta_placement: str | None
    meta_enrichment_status: str
    meta_enrichment_error: str | None
    last_enrichment_at: datetime | None
    meta_ad_id_at_enrichment: str | None
    source_id: str | None
    ctwa_clid: str | None
    source_url: str | None
    headline: str | None
    ad_body: str | None
    image_url: str | None
    video_url: str | None
    thumbnail_url: str | None
    welcome_message: str | None
    last_touch_at: datetime | None
    first_touch_at: datetime | None
    first_source_type: str | None
    first_source_id: str | None
    first_ctwa_clid: str | None


class TicketOwner(BaseModel):
    """Who in the organization takes care of it."""

    id: UUID
    name: str | None


class TicketEvent(BaseModel):
    """What Meta is owed for the ticket; the whole of it is at /api/v1/conversion-events/{id}."""

    id: UUID
    event_name: str
    event_id: str
    status: str
    value: Decimal | None
    currency: str
    event_time: datetime
    sent_at: datetime | None
    fbtrace_id: str | None
    error_code: str | None


class Ticket(BaseModel):
    """One conversation with a person on one number. Money: decimal strings; times: RFC 3339, UTC."""

    id: UUID
    status: str
    close_reason: str | None
    lost_reason: str | None
    stage: TicketStage
    deal_value: Decimal | None
    currency: str
    phone_number_id: str
    source: str
    follow_up: bool
    owner: TicketOwner | None
    contact: TicketContact
    tracking: TicketTracking
    conversion_events: list[TicketEvent]
    opened_at: datetime
    last_message_at: datetime | None
    closed_at: datetime | None
    won_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


class TicketPage(BaseModel):
    """A page, newest activity first. next: the following page's cursor."""

    data: list[Ticket]
    next: str | None


class TimelinePage(BaseModel):
    """A page of the story, oldest first. kind: message, touch (with its rule), stage_move, refund, conversion or expired."""

    data: list[dict[str, Any]]
    next: str | None


class NewContact(BaseModel):
    """The person a ticket is opened for."""

    model_config = ConfigDict(extra="forbid")
    wa_id: Phone
    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")] | None = None


class Move(BaseModel):
    """What to change; what is left out stays. version: the ticket's as last read, to be told of others' changes."""

    model_config = ConfigDict(extra="forbid")
    stage: NoNul | None = Field(None, description="id, role or name, any case")
    deal_value: str | None = Field(
        None, description='a plain decimal, such as "199.90"; null takes the value away'
    )
    currency: str | None = None
    won_at: Moment | None = None
    lost_reason: NoNul | None = None
    happened_at: Moment | None = Field(
        None,
        description="when the move was made, if it is told afterwards; a sale's won_at when that is left out",
    )
    version: int | None = None

    def change(self, stages: list[Stage]) -> Change:
        """The change this asks for; 422 for values that cannot be read."""
        return Change(
            stage=None if self.stage is None else find_stage(stages, self.stage),
            deal_value=None if self.deal_value is None else parse_money(self.deal_value, "deal_value"),
            no_value="deal_value" in self.model_fields_set and self.deal_value is None,
            currency=None if self.currency is None else parse_currency(self.currency, "currency"),
            won_at=self.won_at,
            lost_reason=self.lost_reason,
            happened_at=self.happened_at,
            version=self.version,
        )


class Edit(Move):
    """A move, and whose ticket it is. owner: left out, nothing changes; null, nobody's."""

    owner: UUID | None = Field(
        None, description="id of a member to give the ticket to; null takes it from whoever has it"
    )


class NewRefund(BaseModel):
    """Money given back on a won ticket, in the currency of the sale. version as in a move."""

    model_config = ConfigDict(extra="forbid")
    amount: str = Field(description='a plain decimal, such as "199.90"')
    reason: NoNul = ""
    refunded_at: Moment | None = Field(None, description="now when left out; not before the sale")
    version: int | None = None


class Refund(BaseModel):
    """One repayment."""

    id: UUID
    amount: Decimal
    currency: str
    reason: str
    refunded_at: datetime
    created_at: datetime


class RefundPage(BaseModel):
    """The ticket's refunds, oldest first."""

    data: list[Refund]
    next: str | None = None


class NewTicket(Move):
    """A ticket opened by hand; on the organization's only number when none is named."""

    contact: NewContact
    phone_number_id: NoNul | None = None


async def _whole(conn: Connection, who: Member, ticket_id: UUID) -> dict[str, Any]:
    ticket = await board.one(conn, who.organization_id, ticket_id, phones=who.sees_phones)
    return (await _with_events(conn, who, [ticket]))[0]


async def _with_events(conn: Connection, who: Member, tickets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    owed = await events.of_tickets(conn, who.organization_id, [ticket["id"] for ticket in tickets])
    return [{**ticket, "conversion_events": owed.get(ticket["id"], [])} for ticket in tickets]


@router.get("", response_model=TicketPage)
async def list_tickets(db: Db, who: Member, filters: Annotated[Filters, Query()]) -> board.Page:
    """Tickets, newest activity first."""
    async with db.tenant(who.organization_id) as conn:
        stage = (
            find_stage(await all_stages(conn, who.organization_id), filters.stage).id
            if filters.stage is not None
            else None
        )
        query = TicketQuery(**{**filters.model_dump(), "stage": stage})
        found = await board.page(conn, who.organization_id, query, phones=who.sees_phones)
        return board.Page(await _with_events(conn, who, found.data), found.next)


@router.post("", response_model=Ticket, status_code=201, responses=OF_CHANGE)
async def open_ticket(db: Db, who: Member, new: NewTicket) -> dict[str, Any]:
    """Open a ticket by hand; 409 `open_ticket_exists` when the contact has one on this number."""
    who.require("agent")
    async with db.tenant(who.organization_id) as conn:
        ticket_id = await flow.open_ticket(
            conn,
            who.organization_id,
            new.phone_number_id,
            wa_id=new.contact.wa_id,
            name=new.contact.name,
            actor=who.actor,
        )
        await flow.move_ticket(conn, who.organization_id, ticket_id, new.change, actor=who.actor)
        return await _whole(conn, who, ticket_id)


@router.get("/{ticket_id}", response_model=Ticket, responses=OF_ONE)
async def read_ticket(db: Db, who: Member, ticket_id: UUID) -> dict[str, Any]:
    """One ticket."""
    async with db.tenant(who.organization_id) as conn:
        return await _whole(conn, who, ticket_id)


@router.patch("/{ticket_id}", response_model=Ticket, responses={**OF_ONE, **OF_CHANGE})
async def move_ticket(db: Db, who: Member, ticket_id: UUID, move: Edit) -> dict[str, Any]:
    """Move a ticket, value it, win or lose it, give it to somebody. 409 `stale` when `version` is no longer the ticket's."""
    who.require("agent")
    async with db.tenant(who.organization_id) as conn:
        await flow.move_ticket(conn, who.organization_id, ticket_id, move.change, actor=who.actor)
        if "owner" in move.model_fields_set:
            await flow.assign_ticket(conn, who.organization_id, ticket_id, move.owner, actor=who.actor)
        return await _whole(conn, who, ticket_id)


@router.get("/{ticket_id}/refunds", response_model=RefundPage, responses=OF_ONE)
async def list_refunds(db: Db, who: Member, ticket_id: UUID) -> dict[str, Any]:
    """What was given back."""
    async with db.tenant(who.organization_id) as conn:
        await board.one(conn, who.organization_id, ticket_id, phones=False)
        found = await refunds.of_ticket(conn, who.organization_id, ticket_id)
    return {"data": [msgspec.structs.asdict(each) for each in found], "next": None}


@router.post(
    "/{ticket_id}/refunds", response_model=Refund, status_code=201, responses={**OF_ONE, **OF_CHANGE}
)
async def add_refund(db: Db, who: Member, ticket_id: UUID, new: NewRefund) -> dict[str, Any]:
    """Write down money given back. 409 `not_won`, `stale`; 422 when it is more than was paid, or dated before the sale."""
    who.require("agent")
    async with db.tenant(who.organization_id) as conn:
        refund_id = await refunds.give(
            conn,
            who.organization_id,
            ticket_id,
            amount=parse_money(new.amount, "amount"),
            reason=new.reason,
            at=new.refunded_at,
            version=new.version,
            actor=who.actor,
        )
        found = await refunds.of_ticket(conn, who.organization_id, ticket_id)
    return msgspec.structs.asdict(next(each for each in found if each.id == refund_id))


@router.get("/{ticket_id}/timeline", response_model=TimelinePage, responses=OF_ONE)
async def read_timeline(
    db: Db,
    who: Member,
    ticket_id: UUID,
    cursor: NoNul | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
) -> timeline.Story:
    """What was said, which ad touched the ticket and by which rule it was credited or not, and who moved it."""
    async with db.tenant(who.organization_id) as conn:
        await board.one(conn, who.organization_id, ticket_id, phones=False)
        return await timeline.story(
            conn, who.organization_id, ticket_id, cursor=cursor, limit=limit, phones=who.sees_phones
        )
