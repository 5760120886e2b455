"""People who are there before a measurement begins: contacts, identities, search terms, tickets, tracking.

Written by a few set-based statements in the all-tenants scope, as rows the product itself would have left when nothing
waits any more: ads without a profile to name them, and facts that the report has followed.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString

import psycopg

from benchmarks.bodies import FIRST_NAMES, LAST_NAMES, Shop, user_id
from benchmarks.database import connect
from whatrack.contacts.identity import Contact, phone_identity, search_terms, words
from whatrack.roi import facts

CHUNK = 25_000
PARALLEL = 2
FOLLOWED_AT_ONCE = {"marks": 5_000, "tickets": 50_000}

# ids as the product makes them: version 7, so they lie in the index in the order of their making.
PEOPLE: LiteralString = """
CREATE TEMP TABLE people AS
SELECT o.id AS organization_id, s.id AS stage_id, r.phone_number_id, n,
       (lpad(to_hex(1700000000000 + n * 1000), 12, '0') || '70008' || left(md5('contact' || n), 15))::uuid AS contact_id,
       (lpad(to_hex(1700000000000 + n * 1000 + 500), 12, '0') || '70008' || left(md5('ticket' || n), 15))::uuid AS ticket_id,
       (900000000 + n)::text AS line,
       now() - interval '1 day' - (n %% 3000) * interval '15 minutes' AS active_at
FROM unnest(%(numbers)s::text[], %(firsts)s::bigint[], %(lasts)s::bigint[]) AS shop (phone_number_id, first, last)
JOIN number_routes r USING (phone_number_id)
JOIN organizations o ON o.id = r.organization_id
JOIN stages s ON s.organization_id = o.id AND s.role = 'new'
CROSS JOIN LATERAL generate_series(shop.first, shop.last) AS n
"""
CONTACTS: LiteralString = """
INSERT INTO contacts (organization_id, id, name, wa_id, user_id, created_at)
SELECT organization_id, contact_id,
       (%(first_names)s::text[])[n %% 20 + 1] || ' ' || (%(last_names)s::text[])[n / 20 %% 20 + 1], '5511' || line, 'BR.' || lpad(n::text, 15, '0'), active_at
FROM people ORDER BY n
"""
IDENTITIES: LiteralString = """
INSERT INTO contact_identities (organization_id, key, contact_id)
SELECT organization_id, key, contact_id
FROM people, LATERAL (VALUES ('phone:5511' || line), ('bsuid:BR.' || lpad(n::text, 15, '0'))) AS k (key) ORDER BY 1, 2
"""
# What identity.search_terms gives a mobile; _check compares.
TERMS: LiteralString = """
INSERT INTO contact_terms (organization_id, term, contact_id)
SELECT organization_id, term, contact_id
FROM people, LATERAL (VALUES ((%(first_words)s::text[])[n %% 20 + 1]), ((%(last_words)s::text[])[n / 20 %% 20 + 1]),
    ('5511' || line), ('11' || line), (line), (right(line, 8))) AS t (term)
ORDER BY organization_id, term COLLATE "C", contact_id
"""
TICKETS: LiteralString = """
INSERT INTO tickets (organization_id, id, contact_id, phone_number_id, stage_id, status, close_reason, currency, source, follow_up,
                     opened_at, last_message_at, active_at, closed_at, created_at, updated_at)
SELECT organization_id, ticket_id, contact_id, phone_number_id, stage_id,
       CASE WHEN n %% 7 = 0 THEN 'closed' ELSE 'open' END, CASE WHEN n %% 7 = 0 THEN 'LOST' END, 'BRL', 'message', false,
       active_at - interval '2 days', active_at, active_at, CASE WHEN n %% 7 = 0 THEN active_at + interval '1 hour' END,
       active_at, active_at
FROM people ORDER BY n
"""
TRACKING: LiteralString = """
INSERT INTO ticket_tracking (organization_id, ticket_id, meta_source_type, meta_ad_id, meta_placement, meta_enrichment_status,
                             meta_enrichment_error, meta_ad_id_at_enrichment, last_enrichment_at, source_id, ctwa_clid, source_url, headline, ad_body, last_touch_at, last_touch_wamid, first_touch_at,
                             first_touch_wamid, first_source_type, first_source_id, first_ctwa_clid)
SELECT organization_id, ticket_id, 'ad', ad, 'image', 'FAILED', 'no_profile', ad, active_at - interval '2 days', ad, clid, 'https://fb.me/3cr4Wqqkv', 'Fale com a Clínica Sorriso',
       'Clareamento a laser', active_at - interval '2 days', 'wamid.old' || n, active_at - interval '2 days', 'wamid.old' || n,
       'ad', ad, clid
FROM people, LATERAL (SELECT '1202263058548' || lpad((n %% 400)::text, 5, '0') AS ad, 'Aff-' || repeat(md5(n::text), 4) AS clid) AS t
WHERE n %% 5 < 3 ORDER BY n
"""
ORGANIC: LiteralString = """
INSERT INTO ticket_tracking (organization_id, ticket_id, meta_source_type, meta_enrichment_status)
SELECT organization_id, ticket_id, 'organic', 'NOT_APPLICABLE' FROM people WHERE n %% 5 >= 3 ORDER BY n
"""
PERSON: LiteralString = """
SELECT c.organization_id, c.id, c.name, c.wa_id, c.user_id,
       (SELECT array_agg(key) FROM contact_identities i WHERE i.organization_id = c.organization_id AND i.contact_id = c.id),
       (SELECT array_agg(term) FROM contact_terms t WHERE t.organization_id = c.organization_id AND t.contact_id = c.id)
FROM contacts c JOIN contact_identities k ON k.organization_id = c.organization_id AND k.contact_id = c.id WHERE k.key = %s
"""
STATEMENTS = (CONTACTS, IDENTITIES, TERMS, TICKETS, TRACKING, ORGANIC)
# Otherwise autovacuum would do it in the middle of a measurement.
TIDIED: LiteralString = "VACUUM (ANALYZE) contacts, contact_identities, contact_terms, tickets, ticket_tracking, ticket_marks, roi_tickets, roi_ticket_sums"
WORDS = {
    "first_names": list(FIRST_NAMES),
    "last_names": list(LAST_NAMES),
    "first_words": [words(name)[0] for name in FIRST_NAMES],
    "last_words": [words(name)[0] for name in LAST_NAMES],
}


def populate(conninfo: str, shops: Sequence[Shop]) -> None:
    """Write every shop's people, follow what the report reads of them, then VACUUM and ANALYZE."""
    pieces = list(_pieces(shops))
    with ThreadPoolExecutor(PARALLEL) as pool:
        for written in [pool.submit(_write, conninfo, pieces[place::PARALLEL]) for place in range(PARALLEL)]:
            written.result()
    with connect(conninfo) as conn:
        while conn.execute(facts.FOLLOW, FOLLOWED_AT_ONCE).fetchone() != (0, 0):
            pass
        conn.execute(TIDIED)
        _check(conn, shops[0].first_person)


def _check(conn: psycopg.Connection, person: int) -> None:
    """RuntimeError when the drain would have left this person otherwise than we did."""
    row = conn.execute(PERSON, [f"bsuid:{user_id(person)}"]).fetchone()
    if row is None:
        raise RuntimeError("nobody was written")
    organization_id, contact_id, name, phone, user, keys, terms = row
    contact = Contact(organization_id, contact_id, name, phone, user)
    expected = {f"bsuid:{user}", phone_identity(phone)}
    if set(keys) != expected or set(terms) != search_terms(contact):
        raise RuntimeError(f"written {keys} {terms}, the product writes {expected} {search_terms(contact)}")


def _pieces(shops: Sequence[Shop]) -> Iterator[list[tuple[str, int, int]]]:
    """(number, first person, last person) in lists of about CHUNK people."""
    piece: list[tuple[str, int, int]] = []
    held = 0
    for shop in shops:
        end = shop.first_person + shop.people
        for first in range(shop.first_person, end, CHUNK):
            last = min(first + CHUNK, end) - 1
            piece.append((shop.number, first, last))
            held += last - first + 1
            if held >= CHUNK:
                yield piece
                piece, held = [], 0
    if piece:
        yield piece


def _write(conninfo: str, pieces: list[list[tuple[str, int, int]]]) -> None:
    with connect(conninfo) as conn:
        for piece in pieces:
            numbers, firsts, lasts = (list(column) for column in zip(*piece, strict=True))
            with conn.transaction():
                conn.execute(PEOPLE, {"numbers": numbers, "firsts": firsts, "lasts": lasts})
                for statement in STATEMENTS:
                    conn.execute(statement, WORDS)
                conn.execute("DROP TABLE people")
