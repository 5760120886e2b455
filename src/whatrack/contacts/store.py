"""Contacts and their identities at rest. One writer of `contacts`, `contact_identities` and `contact_terms`."""

from collections.abc import Collection
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from psycopg import errors

from whatrack import db as database
from whatrack.columns import texts, uuids
from whatrack.contacts.identity import Contact, IdentityKey, People, phone_identity, search_terms
from whatrack.db import Connection
from whatrack.errors import Refused, bad_value
from whatrack.units import new_id

# The keys from the primary key's index alone.
FIND: LiteralString = """
SELECT c.organization_id, c.id, c.name, c.wa_id, c.user_id, c.merged_into, found.keys
FROM (SELECT organization_id, i.contact_id, array_agg(key) AS keys
      FROM unnest(%b, %b) AS wanted (organization_id, key) JOIN contact_identities i USING (organization_id, key)
      GROUP BY organization_id, i.contact_id) AS found
JOIN contacts c ON c.organization_id = found.organization_id AND c.id = found.contact_id
"""
INSERT: LiteralString = """
INSERT INTO contacts (organization_id, id, name, wa_id, user_id, merged_into, created_at)
SELECT *, %(now)s FROM unnest(%(organization)b, %(id)b, %(name)b, %(wa_id)b, %(user_id)b, %(merged_into)b)
"""
UPDATE: LiteralString = """
UPDATE contacts c SET name = n.name, wa_id = n.wa_id, user_id = n.user_id, merged_into = n.merged_into
FROM unnest(%(organization)b, %(id)b, %(name)b, %(wa_id)b, %(user_id)b, %(merged_into)b)
    AS n (organization_id, id, name, wa_id, user_id, merged_into)
WHERE c.organization_id = n.organization_id AND c.id = n.id
"""
PUT_IDENTITIES: LiteralString = """
INSERT INTO contact_identities (organization_id, key, contact_id)
SELECT * FROM unnest(%b, %b, %b) AS n (organization_id, key, contact_id) ORDER BY 1, 2
"""
MOVE_IDENTITY: LiteralString = (
    "UPDATE contact_identities SET contact_id = %s WHERE organization_id = %s AND key = %s"
)
MOVE_IDENTITIES: LiteralString = """
UPDATE contact_identities SET contact_id = %s WHERE organization_id = %s AND contact_id = %s
"""
FORGET_TERMS: LiteralString = """
DELETE FROM contact_terms t USING unnest(%(organization)b, %(id)b) AS n (organization_id, id)
WHERE t.organization_id = n.organization_id AND t.contact_id = n.id
"""
PUT_TERMS: LiteralString = """
INSERT INTO contact_terms (organization_id, term, contact_id)
SELECT * FROM unnest(%b, %b, %b) ORDER BY 1, 2, 3
"""


async def find(
    conn: Connection, keys: Collection[IdentityKey]
) -> tuple[list[Contact], dict[IdentityKey, UUID]]:
    """The contacts that these identity keys lead to, and which key leads to whom; an unknown key is absent."""
    cursor = conn.cursor(binary=True)
    await cursor.execute(FIND, [uuids(key[0] for key in keys), texts(key[1] for key in keys)])
    contacts: list[Contact] = []
    identities: dict[IdentityKey, UUID] = {}
    for organization_id, contact_id, *said, found in await cursor.fetchall():
        contacts.append(Contact(organization_id, contact_id, *said))
        for key in found:
            identities[organization_id, key] = contact_id
    return contacts, identities


async def find_or_create(conn: Connection, organization_id: UUID, *, wa_id: str, name: str | None) -> Contact:
    """The contact with this phone, made when unknown. A known one keeps its name."""
    digits = "".join(char for char in wa_id if char.isdigit())
    key = phone_identity(digits)
    if key is None:
        raise bad_value("contact.wa_id", "Write the phone with its country code, such as 5511987654321.")
    for _ in range(2):  # a message from the same person may come in between
        known, _ = await find(conn, [(organization_id, key)])
        if known:
            return known[0]
        contact = Contact(organization_id, new_id(), name, digits, None, is_new=True)
        people = People([contact], {}, new_id)
        people.learn(contact, [key])
        try:
            async with conn.transaction():
                await write(conn, people, await database.now(conn))
        except errors.UniqueViolation:
            continue
        return contact
    raise Refused("try_again", "This contact is being written right now: try again.")


async def write(conn: Connection, people: People, now: datetime) -> None:
    """Write what a batch learned of people: new contacts, changed ones, identities, search terms."""
    new = [contact for contact in people.contacts.values() if contact.is_new]
    changed = [contact for contact in people.contacts.values() if contact.changed and not contact.is_new]
    if new:
        await conn.execute(INSERT, {**_columns(new), "now": now})
    if changed:
        columns = _columns(changed)
        await conn.execute(UPDATE, columns)
        await conn.execute(FORGET_TERMS, columns)
    await _write_identities(conn, people)
    await _write_terms(conn, [contact for contact in [*new, *changed] if contact.merged_into is None])


async def _write_identities(conn: Connection, people: People) -> None:
    """Moves are rare and go one by one; a new key that somebody else took meanwhile fails, and the batch is decided anew."""
    for (
        merge
    ) in people.merges:  # also the keys that the batch did not load; in order, as a survivor may lose later
        await conn.execute(MOVE_IDENTITIES, [merge.survivor_id, merge.organization_id, merge.loser_id])
    for (organization_id, key), contact_id in people.moved_identities().items():
        await conn.execute(MOVE_IDENTITY, [contact_id, organization_id, key])
    new = people.new_identities()
    if new:
        whose = uuids(new.values())
        await conn.execute(
            PUT_IDENTITIES, [uuids(key[0] for key in new), texts(key[1] for key in new), whose]
        )


async def _write_terms(conn: Connection, contacts: list[Contact]) -> None:
    rows = [
        (contact.organization_id, term, contact.id) for contact in contacts for term in search_terms(contact)
    ]
    if rows:
        organizations, terms, ids = zip(*rows, strict=True)
        await conn.execute(PUT_TERMS, [uuids(organizations), texts(terms), uuids(ids)])


def _columns(contacts: list[Contact]) -> dict[str, bytes]:
    return {
        "organization": uuids(contact.organization_id for contact in contacts),
        "id": uuids(contact.id for contact in contacts),
        "name": texts(contact.name for contact in contacts),
        "wa_id": texts(contact.wa_id for contact in contacts),
        "user_id": texts(contact.user_id for contact in contacts),
        "merged_into": uuids(contact.merged_into for contact in contacts),
    }
