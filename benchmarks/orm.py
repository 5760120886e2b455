"""Peer of the drain: the same job row by row with SQLAlchemy's ORM, on tables of its own beside ours.

Sync, because that was faster than its async form. It writes the same rows, but has less to do than the drain: no
organizations, no row-level security, no merging of people, no queue; its bodies come from memory.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, LiteralString

from psycopg import connect, sql
from sqlalchemy import DateTime, Engine, ForeignKey, Index, Text, create_engine, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from benchmarks.bodies import Source
from benchmarks.laps import Lap, Watch
from benchmarks.processes import CORE, pin, unpin
from whatrack.contacts.identity import words

EXPIRES = timedelta(days=30)


class Base(DeclarativeBase):
    """The peer's tables."""

    type_annotation_map: ClassVar = {datetime: DateTime(timezone=True)}


class Contact(Base):
    """A person."""

    __tablename__ = "peer_contacts"
    id: Mapped[int] = mapped_column(primary_key=True)
    wa_id: Mapped[str] = mapped_column(Text)
    user_id: Mapped[str | None] = mapped_column(Text)
    name: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]


class Identity(Base):
    """What a person is known by."""

    __tablename__ = "peer_identities"
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    contact_id: Mapped[int] = mapped_column(ForeignKey("peer_contacts.id"), index=True)


class Term(Base):
    """What a person is searched by."""

    __tablename__ = "peer_terms"
    term: Mapped[str] = mapped_column(Text, primary_key=True)
    contact_id: Mapped[int] = mapped_column(ForeignKey("peer_contacts.id"), primary_key=True, index=True)


class Ticket(Base):
    """A conversation."""

    __tablename__ = "peer_tickets"
    __table_args__ = (
        Index("peer_one_open", "contact_id", unique=True, postgresql_where=text("status = 'open'")),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    contact_id: Mapped[int] = mapped_column(ForeignKey("peer_contacts.id"))
    status: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[datetime]
    last_message_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class Tracking(Base):
    """Which ad a ticket is credited to."""

    __tablename__ = "peer_tracking"
    ticket_id: Mapped[int] = mapped_column(ForeignKey("peer_tickets.id"), primary_key=True)
    ad_id: Mapped[str | None] = mapped_column(Text)
    ctwa_clid: Mapped[str | None] = mapped_column(Text)
    headline: Mapped[str | None] = mapped_column(Text)
    ad_body: Mapped[str | None] = mapped_column(Text)
    source_url: Mapped[str | None] = mapped_column(Text)
    image_url: Mapped[str | None] = mapped_column(Text)
    last_touch_at: Mapped[datetime | None]


class History(Base):
    """Every touch."""

    __tablename__ = "peer_history"
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = mapped_column(ForeignKey("peer_tickets.id"), index=True)
    old_ad_id: Mapped[str | None] = mapped_column(Text)
    new_ad_id: Mapped[str | None] = mapped_column(Text)
    touched_at: Mapped[datetime]


class Message(Base):
    """What was written."""

    __tablename__ = "peer_messages"
    id: Mapped[int] = mapped_column(primary_key=True)
    wamid: Mapped[str] = mapped_column(Text, unique=True)
    ticket_id: Mapped[int] = mapped_column(ForeignKey("peer_tickets.id"), index=True)
    sent_at: Mapped[datetime]
    body: Mapped[str | None] = mapped_column(Text)
    raw: Mapped[str] = mapped_column(Text)


# As many people as the drain finds, with a ticket and tracking each.
PEOPLE: LiteralString = """
INSERT INTO peer_contacts (id, wa_id, user_id, name, created_at)
SELECT n + 1, '5511' || (900000000 + n), 'BR.' || lpad(n::text, 15, '0'), 'Ana Almeida', now() FROM generate_series(0, {people} - 1) AS n;
INSERT INTO peer_identities (key, contact_id)
SELECT key, id FROM peer_contacts, LATERAL (VALUES ('phone:' || wa_id), ('bsuid:' || user_id)) AS k (key);
INSERT INTO peer_tickets (id, contact_id, status, opened_at, last_message_at)
SELECT id, id, 'open', now() - interval '9 days', now() - interval '7 days' FROM peer_contacts;
INSERT INTO peer_tracking (ticket_id, ad_id, ctwa_clid, headline, last_touch_at)
SELECT id, '120226305854800001', 'Aff-' || repeat(md5(id::text), 4), 'Fale com a Clínica Sorriso', now() - interval '9 days'
FROM peer_contacts;
SELECT setval('peer_contacts_id_seq', {people}), setval('peer_tickets_id_seq', {people});
ANALYZE peer_contacts, peer_identities, peer_tickets, peer_tracking
"""


def populate(conninfo: str, people: int) -> None:
    """Make the peer's tables and fill them."""
    engine = _engine(conninfo)
    Base.metadata.create_all(engine)
    engine.dispose()
    with connect(conninfo) as conn:
        conn.execute(sql.SQL(PEOPLE).format(people=people))


def run(
    conninfo: str, server_pid: int, source: Source, messages: int, per_commit: int, laps: int
) -> list[Lap]:
    """Handle a stream on one core; in a process of its own."""
    bodies = list(source.open().bodies(messages))
    pin(os.getpid(), {CORE})
    pin(server_pid, {CORE})
    engine = _engine(conninfo)
    size = messages // laps
    try:
        watch = Watch(server_pid)
        for start in range(0, messages, size):
            for first in range(start, start + size, per_commit):
                with Session(engine) as session, session.begin():
                    for body in bodies[first : min(first + per_commit, start + size)]:
                        take(session, body)
            watch.lap(size)
        return watch.laps
    finally:
        unpin(server_pid)
        engine.dispose()


def take(session: Session, body: bytes) -> None:
    """Handle one delivery, row by row."""
    for entry in json.loads(body)["entry"]:
        for change in entry["changes"]:
            value = change["value"]
            names = {person["wa_id"]: person for person in value.get("contacts", ())}
            for message in value.get("messages", ()):
                _message(session, message, names.get(message["from"], {}))


def _message(session: Session, message: dict[str, Any], person: dict[str, Any]) -> None:
    if session.scalar(select(Message.id).where(Message.wamid == message["id"])):
        return
    at = datetime.fromtimestamp(int(message["timestamp"]), UTC)
    contact = _contact(session, message, person, at)
    ticket = _ticket(session, contact, at)
    if "referral" in message:
        _credit(session, ticket, message["referral"], at)
    raw = json.dumps(message)
    session.add(
        Message(
            wamid=message["id"],
            ticket_id=ticket.id,
            sent_at=at,
            body=message.get("text", {}).get("body"),
            raw=raw,
        )
    )


def _contact(session: Session, message: dict[str, Any], person: dict[str, Any], at: datetime) -> Contact:
    phone, user, name = message["from"], message["from_user_id"], person.get("profile", {}).get("name")
    keys = [f"bsuid:{user}", f"phone:{phone}"]
    query = select(Contact).join(Identity, Identity.contact_id == Contact.id).where(Identity.key.in_(keys))
    contact = session.scalar(query.limit(1))
    if contact is None:
        contact = Contact(wa_id=phone, user_id=user, name=name, created_at=at)
        session.add(contact)
        session.flush()
        session.add_all(Identity(key=key, contact_id=contact.id) for key in keys)
        terms = {*words(name or ""), phone, phone[2:], phone[4:], phone[-8:]}
        session.add_all(Term(term=term, contact_id=contact.id) for term in terms)
    elif name and name != contact.name:
        contact.name = name
    return contact


def _ticket(session: Session, contact: Contact, at: datetime) -> Ticket:
    ticket = session.scalar(select(Ticket).where(Ticket.contact_id == contact.id, Ticket.status == "open"))
    if ticket and at > ticket.last_message_at + EXPIRES:
        ticket.status, ticket.closed_at = "closed", ticket.last_message_at + EXPIRES
        session.flush()
        ticket = None
    if ticket is None:
        ticket = Ticket(contact_id=contact.id, status="open", opened_at=at, last_message_at=at)
        session.add(ticket)
        session.flush()
        session.add(Tracking(ticket_id=ticket.id))
        session.flush()
    elif at > ticket.last_message_at:
        ticket.last_message_at = at
    return ticket


def _credit(session: Session, ticket: Ticket, referral: dict[str, Any], at: datetime) -> None:
    tracking = session.get_one(Tracking, ticket.id)
    ad_id = referral.get("source_id")
    session.add(History(ticket_id=ticket.id, old_ad_id=tracking.ad_id, new_ad_id=ad_id, touched_at=at))
    if tracking.last_touch_at is None or at >= tracking.last_touch_at:
        tracking.ad_id, tracking.ctwa_clid, tracking.last_touch_at = ad_id, referral.get("ctwa_clid"), at
        tracking.headline, tracking.ad_body = referral.get("headline"), referral.get("body")
        tracking.source_url, tracking.image_url = referral.get("source_url"), referral.get("image_url")


def _engine(conninfo: str) -> Engine:
    """One kept connection; statements are prepared by the driver."""
    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(conninfo),
        poolclass=StaticPool,
        pool_reset_on_return=None,
    )
