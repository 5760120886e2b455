"""Peer of the drain: the same job row by row with SQLAlchemy's ORM, on the same tables, from the same queue.

It takes deliveries from the queue, finds or makes person and ticket, credits the touch, and keeps the message: an object a row,
looked up by its key, as one writes it with an ORM. Row-level security, indexes and triggers are those of the product. It does
less than the drain where a rule is rare: it merges no people, and knows no echoes, groups or statuses. Sync, because that
was faster than its async form.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import connect
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.declarative import DeferredReflection
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import StaticPool

from benchmarks.laps import Lap, Watch
from benchmarks.processes import CORE, pin, unpin
from whatrack.contacts.identity import words
from whatrack.db import ALL_TENANTS
from whatrack.units import new_id

SCOPE = text("SELECT set_config('whatrack.org', :scope, true), set_config('jit', 'off', true)")


class Base(DeferredReflection, DeclarativeBase):
    """A row of one of the product's tables; its columns are read from the database."""

    __abstract__ = True

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Queued(Base):
    """A delivery that waits."""

    __tablename__ = "delivery_queue"


class Delivery(Base):
    """A webhook's bytes."""

    __tablename__ = "webhook_deliveries"


class NumberRoute(Base):
    """Whose number it is."""

    __tablename__ = "number_routes"


class Organization(Base):
    """An organization."""

    __tablename__ = "organizations"


class Stage(Base):
    """Where its tickets begin, and go."""

    __tablename__ = "stages"


class Contact(Base):
    """A person."""

    __tablename__ = "contacts"


class Identity(Base):
    """What a person is known by."""

    __tablename__ = "contact_identities"


class Term(Base):
    """What a person is searched by."""

    __tablename__ = "contact_terms"


class Ticket(Base):
    """A conversation."""

    __tablename__ = "tickets"


class Tracking(Base):
    """Which ad a ticket is credited to."""

    __tablename__ = "ticket_tracking"


class Touch(Base):
    """Every touch."""

    __tablename__ = "meta_attribution_history"


class Picture(Base):
    """The ad's picture, to be fetched."""

    __tablename__ = "ad_pictures"


class Hour(Base):
    """What a number brought in an hour."""

    __tablename__ = "number_hours"


class Message(Base):
    """What was written."""

    __tablename__ = "messages"


def run(conninfo: str, server_pid: int, messages: int, per_commit: int, laps: int) -> list[Lap]:
    """Handle what waits, on one core; in a process of its own."""
    pin(os.getpid(), {CORE})
    pin(server_pid, {CORE})
    engine = _engine(conninfo)
    Base.prepare(engine)
    size = messages // laps
    try:
        watch = Watch(server_pid)
        for _ in range(laps):
            for first in range(0, size, per_commit):
                with Session(engine) as session, session.begin():
                    session.execute(SCOPE, {"scope": str(ALL_TENANTS)})
                    _take(session, min(per_commit, size - first))
            watch.lap(size)
        return watch.laps
    finally:
        unpin(server_pid)
        engine.dispose()


def _take(session: Session, limit: int) -> None:
    """Handle some deliveries, row by row, and let them go."""
    waiting = session.query(Queued).order_by(text("partition, id, route")).limit(limit)
    taken: list[Any] = waiting.with_for_update(skip_locked=True).all()
    if len(taken) < limit:
        raise RuntimeError(f"{len(taken)} deliveries waited, not {limit}")
    for queued in taken:
        delivery: Any = session.get_one(Delivery, (queued.day, queued.id))
        route: Any = session.get_one(NumberRoute, queued.route)
        for entry in json.loads(delivery.body)["entry"]:
            for change in entry["changes"]:
                value = change["value"]
                names = {person["wa_id"]: person for person in value.get("contacts", ())}
                for message in value.get("messages", ()):
                    _message(session, route, message, names.get(message["from"], {}), delivery.received_at)
        session.delete(queued)


def _message(
    session: Session, route: Any, message: dict[str, Any], person: dict[str, Any], received_at: datetime
) -> None:
    organization: Any = session.get_one(Organization, route.organization_id)
    at = datetime.fromtimestamp(int(message["timestamp"]), UTC)
    if session.get(Message, (organization.id, message["id"], at)):
        return
    contact = _contact(session, organization.id, message, person, received_at)
    ticket = _ticket(session, organization, route.phone_number_id, contact, at)
    if "referral" in message:
        _credit(session, ticket, message, at)
    _count(session, route, at, received_at)
    session.add(
        Message(
            organization_id=organization.id,
            wamid=message["id"],
            sent_at=at,
            time_is_ours=False,
            phone_number_id=route.phone_number_id,
            contact_id=contact.id,
            ticket_id=ticket.id,
            origin="inbound",
            from_business=False,
            type=message["type"],
            body=message.get("text", {}).get("body"),
            has_referral="referral" in message,
            raw=message,
        )
    )


def _contact(
    session: Session, organization: UUID, message: dict[str, Any], person: dict[str, Any], now: datetime
) -> Any:
    phone, user, name = message["from"], message["from_user_id"], person.get("profile", {}).get("name")
    keys = [f"bsuid:{user}", f"phone:{phone}"]
    found: list[Any] = [session.get(Identity, (organization, key)) for key in keys]
    known = next((each for each in found if each), None)
    if known:
        contact: Any = session.get_one(Contact, (organization, known.contact_id))
        if name and name != contact.name:
            contact.name = name
        return contact
    contact = Contact(
        organization_id=organization, id=new_id(), wa_id=phone, user_id=user, name=name, created_at=now
    )
    session.add(contact)
    session.add_all(Identity(organization_id=organization, key=key, contact_id=contact.id) for key in keys)
    terms = {*words(name or ""), phone, phone[2:], phone[4:], phone[-8:]}
    session.add_all(Term(organization_id=organization, term=term, contact_id=contact.id) for term in terms)
    return contact


def _ticket(session: Session, organization: Any, number: str, contact: Any, at: datetime) -> Any:
    theirs = session.query(Ticket).filter_by(
        organization_id=organization.id, contact_id=contact.id, phone_number_id=number, status="open"
    )
    ticket: Any = theirs.one_or_none()
    life = timedelta(days=organization.ticket_expiration_days)
    if ticket and at > ticket.active_at + life:
        ticket.status, ticket.close_reason, ticket.closed_at = "closed", "EXPIRED", ticket.active_at + life
        ticket.version += 1
        session.flush()
        ticket = None
    if ticket is None:
        return _opened(session, organization, number, contact, at)
    if ticket.last_message_at is None or at > ticket.last_message_at:
        ticket.last_message_at = ticket.active_at = ticket.updated_at = at
    return ticket


def _opened(session: Session, organization: Any, number: str, contact: Any, at: datetime) -> Any:
    stage = session.query(Stage).filter_by(organization_id=organization.id, role="new").one()
    ticket: Any = Ticket(
        organization_id=organization.id,
        id=new_id(),
        contact_id=contact.id,
        phone_number_id=number,
        stage_id=stage.id,
        status="open",
        currency=organization.base_currency,
        source="message",
        follow_up=False,
        opened_at=at,
        last_message_at=at,
        active_at=at,
        created_at=at,
        updated_at=at,
        version=1,
    )
    tracking = Tracking(
        organization_id=organization.id,
        ticket_id=ticket.id,
        meta_source_type="organic",
        meta_enrichment_status="NOT_APPLICABLE",
    )
    session.add_all([ticket, tracking])
    return ticket


def _credit(session: Session, ticket: Any, message: dict[str, Any], at: datetime) -> None:
    said = message["referral"]
    tracking: Any = session.get_one(Tracking, (ticket.organization_id, ticket.id))
    ad = said["source_id"]
    late = tracking.last_touch_at is not None and at < tracking.last_touch_at
    decision = "late" if late else "first_touch" if tracking.last_touch_at is None else "new_ad"
    if decision == "new_ad" and ad == tracking.meta_ad_id:
        decision = "same_ad"
    session.add(
        Touch(
            organization_id=ticket.organization_id,
            id=new_id(),
            ticket_id=ticket.id,
            wamid=message["id"],
            touched_at=at,
            changed_at=at,
            decision=decision,
            source_type="ad",
            old_ad_id=tracking.meta_ad_id,
            new_ad_id=ad,
            old_ctwa_clid=tracking.ctwa_clid,
            new_ctwa_clid=said.get("ctwa_clid"),
        )
    )
    if session.get(Picture, (ticket.organization_id, ad)) is None:
        session.add(
            Picture(
                organization_id=ticket.organization_id,
                source_id=ad,
                url=said["image_url"],
                state="wanted",
                next_attempt_at=at,
            )
        )
    if not late:
        _touched(tracking, message["id"], said, at, is_first=decision == "first_touch")


def _touched(tracking: Any, wamid: str, said: dict[str, Any], at: datetime, *, is_first: bool) -> None:
    if said["source_id"] != tracking.meta_ad_id:
        tracking.meta_enrichment_status, tracking.meta_enrichment_error = "PENDING", None
        tracking.meta_ad_name = tracking.meta_ad_set_name = tracking.meta_campaign_name = None
    tracking.meta_source_type, tracking.meta_ad_id, tracking.source_id = (
        "ad",
        said["source_id"],
        said["source_id"],
    )
    tracking.ctwa_clid, tracking.meta_placement = said.get("ctwa_clid"), said.get("media_type")
    tracking.headline, tracking.ad_body = said.get("headline"), said.get("body")
    tracking.source_url, tracking.image_url = said.get("source_url"), said.get("image_url")
    tracking.thumbnail_url, tracking.welcome_message = (
        said.get("thumbnail_url"),
        said["welcome_message"]["text"],
    )
    tracking.last_touch_at, tracking.last_touch_wamid = at, wamid
    if is_first:
        tracking.first_touch_at, tracking.first_touch_wamid = at, wamid
        tracking.first_source_type, tracking.first_source_id = "ad", said["source_id"]
        tracking.first_ctwa_clid = said.get("ctwa_clid")


def _count(session: Session, route: Any, at: datetime, received_at: datetime) -> None:
    hour = at.replace(minute=0, second=0, microsecond=0)
    key = (route.organization_id, route.phone_number_id, hour)
    counted: Any = session.get(Hour, key)
    if counted is None:
        names = ("organization_id", "phone_number_id", "hour")
        counted = Hour(**dict(zip(names, key, strict=True)), messages=0)
        session.add(counted)
    counted.messages += 1
    counted.last_delivery_at = received_at


def _engine(conninfo: str) -> Engine:
    """One kept connection; statements are prepared by the driver."""
    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(conninfo),
        poolclass=StaticPool,
        pool_reset_on_return=None,
    )
