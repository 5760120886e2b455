"""/api/v1/conversion-events: what Meta is owed and was told, with each attempt, and trying again."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from whatrack.board import events as board
from whatrack.conversions import retry
from whatrack.web.api.caller import Db, Member
from whatrack.web.api.fields import Limit, Moment, NoNul
from whatrack.web.problems import OF_CHANGE, OF_EVERY, OF_ONE

router = APIRouter(prefix="/api/v1/conversion-events", tags=["conversions"], responses=OF_EVERY)
Status = Literal[
    "PENDING", "SENT", "FAILED", "CANCELLED", "EXPIRED_WINDOW", "SKIPPED_NO_CTWA", "SKIPPED_DUPLICATE_LEAD", "SKIPPED_NO_DATASET",
    "SKIPPED_ACCOUNT_INACTIVE",
]  # fmt: skip


class Filters(BaseModel):
    """The list's filters; an unknown one is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")
    status: Status | None = None
    event_name: NoNul | None = None
    ticket_id: UUID | None = None
    dataset_id: NoNul | None = None
    error_code: NoNul | None = Field(None, description='Meta\'s code and subcode, such as "100/2804087"')
    since: Moment | None = Field(None, description="happened at or after")
    until: Moment | None = Field(None, description="happened before")
    cursor: NoNul | None = None
    limit: Limit = 50


class Attempt(BaseModel):
    """One sending. connection_id: whose token; null for the WhatsApp number's own. outcome null: still under way."""

    id: UUID
    number: int
    started_at: datetime
    ended_at: datetime | None
    duration_ms: int | None
    outcome: str | None
    http_status: int | None
    error_code: str | None
    error_message: str | None
    fbtrace_id: str | None
    dataset_id: str
    connection_id: UUID | None
    request_size: int
    request: Any
    response: Any


class Event(BaseModel):
    """What is owed for one ticket. event_time: when it happened; sent_at: when Meta accepted it, else null.

    closes_at: when Meta stops taking it. hold_reason: what a PENDING one waits for. was_unknown: an attempt's outcome is not
    known, so Meta may have it twice.
    """

    id: UUID
    ticket_id: UUID
    event_name: str
    event_id: str
    status: str
    success: bool
    ctwa_clid: str | None
    meta_ad_id: str | None
    value: Decimal | None
    currency: str
    event_time: datetime
    closes_at: datetime
    sent_at: datetime | None
    fbtrace_id: str | None
    error_code: str | None
    error_message: str | None
    hold_reason: str | None
    next_attempt_at: datetime
    attempts: int
    was_unknown: bool
    dataset_id: str | None
    created_at: datetime
    updated_at: datetime


class WholeEvent(Event):
    """An event with every attempt, the first one first. Requests and answers hold no token."""

    tries: list[Attempt]


class EventPage(BaseModel):
    """A page, the newest first."""

    data: list[Event]
    next: str | None


@router.get("", response_model=EventPage)
async def list_events(db: Db, who: Member, filters: Annotated[Filters, Query()]) -> board.Page:
    """Conversion events, the newest first."""
    query = board.Query(
        status=(filters.status,) if filters.status else (),
        event_name=filters.event_name,
        dataset=filters.dataset_id,
        cause=filters.error_code,
        ticket=filters.ticket_id,
        since=filters.since,
        until=filters.until,
        cursor=filters.cursor,
        limit=filters.limit,
    )
    async with db.tenant(who.organization_id) as conn:
        return await board.page(conn, who.organization_id, query)


@router.get("/{event_id}", response_model=WholeEvent, responses=OF_ONE)
async def read_event(db: Db, who: Member, event_id: UUID) -> dict[str, Any]:
    """One event with its attempts."""
    async with db.tenant(who.organization_id) as conn:
        return await board.one(conn, who.organization_id, event_id)


@router.post("/{event_id}/retry", response_model=WholeEvent, responses={**OF_ONE, **OF_CHANGE})
async def retry_event(db: Db, who: Member, event_id: UUID) -> dict[str, Any]:
    """Send a failed event again, or a waiting one now. 409 `already_sent`, `window_closed`, `not_retryable` …"""
    who.require("agent")
    async with db.tenant(who.organization_id) as conn:
        await retry.one(conn, who, event_id)
        return await board.one(conn, who.organization_id, event_id)
