"""Contacts and their identities at rest. One writer of `contacts`, `contact_identities` and `contact_terms`."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from psycopg import errors
from psycopg.rows import args_row

from whatrack import db as database
from whatrack.contacts.identity import Contact, People, phone_identity, search_terms
from whatrack.db import Connection
from whatrack.errors import Refused, bad_value
from whatrack.units import new_id

IdentityKey = tuple[UUID, str]  # organization, key

FIND: LiteralString = """
SELECT i.organization_id, i.key, i.contact_id
FROM unnest(%b::uuid[], %b::text[]) AS wanted (organization_id, key) JOIN contact_identities i USING (organization_id, key)
"""
BY_ID: LiteralString = """
SELECT c.organization_id, c.id, c.name, c.wa_id, c.user_id, c.merged_into
FROM unnest(%b::uuid[], %b::uuid[]) AS wanted (organization_id, id) JOIN contacts c USING (organization_id, id)
"""
INSERT: LiteralString = """
INSERT INTO contacts (organization_id, id, name, wa_id, user_id, merged_into, created_at)
SELECT *, %(now)s FROM unnest(%(organization)b::uuid[], %(id)b::uuid[], %(name)b::text[], %(wa_id)b::text[], %(user_id)b::text[],
                              %(merged_into)b::uuid[])
"""
UPDATE: LiteralString = """
UPDATE contacts c SET name = n.name, wa_id = n.wa_id, user_id = n.user_id, merged_into = n.merged_into
FROM unnest(%b::uuid[], %b::uuid[], %b::text[], %b::text[], %b::text[], %b::uuid[])
    AS n (organization_id, id, name, wa_id, user_id, merged_into)
WHERE c.organization_id = n.organization_id AND c.id = n.id
"""
PUT_IDENTITIES: LiteralString = """
INSERT INTO contact_identities (organization_id, key, contact_id)
SELECT * FROM unnest(%b::uuid[], %b::text[], %b::uuid[]) AS n (organization_id, key, contact_id) ORDER BY 1, 2
"""
MOVE_IDENTITY: LiteralString = (
    "UPDATE contact_identities SET contact_id = %s WHERE organization_id = %s AND key = %s"
)
MOVE_IDENTITIES: LiteralString = """
UPDATE contact_identities SET contact_id = %s WHERE organization_id = %s AND contact_id = %s
"""
FORGET_TERMS: LiteralString = """
DELETE FROM contact_terms t USING unnest(%b::uuid[], %b::uuid[]) AS n (organization_id, id)
WHERE t.organization_id = n.organization_id AND t.contact_id = n.id
"""
PUT_TERMS: LiteralString = """
INSERT INTO contact_terms (organization_id, term, contact_id)
SELECT * FROM unnest(%b::uuid[], %b::text[], %b::uuid[]) ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING
"""


async def identities(conn: Connection, keys: Collection[IdentityKey]) -> dict[IdentityKey, UUID]:
    """Which contact each identity key leads to; unknown keys are absent."""
    cursor = conn.cursor(binary=True)
    await cursor.execute(FIND, [[key[0] for key in keys], [key[1] for key in keys]])
    return {
        (organization_id, key): contact_id for organization_id, key, contact_id in await cursor.fetchall()
    }


async def by_id(conn: Connection, contacts: Iterable[tuple[UUID, UUID]]) -> list[Contact]:
    """The contacts, by (organization, id), in no order."""
    wanted = list(contacts)
    async with conn.cursor(binary=True, row_factory=args_row(Contact)) as cursor:
        await cursor.execute(BY_ID, [[each[0] for each in wanted], [each[1] for each in wanted]])
        return await cursor.fetchall()


async def find_or_create(conn: Connection, organization_id: UUID, *, wa_id: str, name: str | None) -> Contact:
    """The contact with this phone, made when unknown. A known one keeps its name."""
    digits = "".join(char for char in wa_id if char.isdigit())
    key = phone_identity(digits)
    if key is None:
        raise bad_value("contact.wa_id", "Write the phone with its country code, such as 5511987654321.")
    for _ in range(2):  # a message from the same person may come in between
        found = await identities(conn, [(organization_id, key)])
        if found:
            return (await by_id(conn, [(organization_id, found[organization_id, key])]))[0]
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
        await conn.execute(UPDATE, list(columns.values()))
        await conn.execute(FORGET_TERMS, [columns["organization"], columns["id"]])
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
        await conn.execute(
            PUT_IDENTITIES, [[key[0] for key in new], [key[1] for key in new], list(new.values())]
        )


async def _write_terms(conn: Connection, contacts: list[Contact]) -> None:
    rows = [
        (contact.organization_id, term, contact.id) for contact in contacts for term in search_terms(contact)
    ]
    if rows:
        organizations, terms, ids = zip(*rows, strict=True)
        await conn.execute(PUT_TERMS, [list(organizations), list(terms), list(ids)])


def _columns(contacts: list[Contact]) -> dict[str, list[object]]:
    return {
        "organization": [contact.organization_id for contact in contacts],
        "id": [contact.id for contact in contacts],
        "name": [contact.name for contact in contacts],
        "wa_id": [contact.wa_id for contact in contacts],
        "user_id": [contact.user_id for contact in contacts],
        "merged_into": [contact.merged_into for contact in contacts],
    }
