"""Statements that find tickets in two steps: which ones (narrow rows, cut to the page), then all that is shown of them.

`shown` is the second step: a SELECT from `found`, which holds the ids.
"""

from typing import LiteralString

from whatrack.board.query import Conditions

# Newest activity first without sorting them all: each stage's newest come from tickets_stage in order, then are merged.
NEWEST: LiteralString = """
SELECT t.id, t.stage_id, t.active_at FROM stages s
CROSS JOIN LATERAL (SELECT * FROM tickets t WHERE t.organization_id = s.organization_id AND t.stage_id = s.id AND {}
                    ORDER BY t.active_at DESC, t.id DESC LIMIT %(limit)s) AS t
WHERE s.organization_id = %(organization)s
"""
# What an ad, a campaign, an owner or a search finds is few: found first, sorted then.
MATCHING: LiteralString = """
SELECT t.id, t.stage_id, t.active_at, t.currency, t.deal_value FROM {} WHERE t.organization_id = %(organization)s AND {}
"""
TICKETS: LiteralString = "tickets t"
# Of the people searched for: open and closed tickets each have an index by contact.
THEIR_TICKETS: LiteralString = """
(SELECT t.* FROM people p JOIN tickets t ON t.organization_id = %(organization)s AND t.contact_id = p.contact_id AND t.status = 'open'
 UNION ALL
 SELECT t.* FROM people p JOIN tickets t ON t.organization_id = %(organization)s AND t.contact_id = p.contact_id AND t.status = 'closed') AS t
"""
WITH_TRACKING: LiteralString = (
    " JOIN ticket_tracking k ON k.organization_id = t.organization_id AND k.ticket_id = t.id"
)
PEOPLE: LiteralString = "people AS MATERIALIZED ({}), "
NOTHING: LiteralString = ""
PAGE: LiteralString = "WITH {} found AS MATERIALIZED (SELECT id FROM ({}) AS t ORDER BY t.active_at DESC, t.id DESC LIMIT %(limit)s) {}"
BY_STAGE: LiteralString = """
WITH {} found AS MATERIALIZED (
    SELECT id FROM (SELECT id, stage_id, row_number() OVER (PARTITION BY stage_id ORDER BY active_at DESC, id DESC) AS place FROM ({}) AS t) AS t
    LEFT JOIN unnest(%(longer)s::uuid[], %(lengths)s::int[]) AS asked (longer, length) ON longer = t.stage_id
    WHERE place <= coalesce(length, %(least)s)) {}
"""
COUNTED: LiteralString = "WITH {} found AS ({}) {}"


def page(wanted: Conditions, shown: LiteralString) -> LiteralString:
    """The newest that match, as many as the query's limit."""
    return PAGE.format(_people(wanted), _newest(wanted), shown)


def by_stage(wanted: Conditions, shown: LiteralString) -> LiteralString:
    """The newest of each stage: `least` of them, or as many of a stage in `longer` as `lengths` says beside it."""
    return BY_STAGE.format(_people(wanted), _newest(wanted), shown)


def few(wanted: Conditions, shown: LiteralString) -> LiteralString:
    """All that match, up to the query's limit: for conditions that find few."""
    return PAGE.format(_people(wanted), _matching(wanted), shown)


def counted(wanted: Conditions, shown: LiteralString) -> LiteralString:
    """All that match, however many; `found` holds their stage, currency and value too."""
    return COUNTED.format(_people(wanted), _matching(wanted), shown)


def _people(wanted: Conditions) -> LiteralString:
    return PEOPLE.format(wanted.people) if wanted.people else NOTHING


def _newest(wanted: Conditions) -> LiteralString:
    """The tickets that meet every condition: by the walk over the newest, or all of the few that match."""
    if wanted.joined or wanted.people:
        return _matching(wanted)
    return NEWEST.format(" AND ".join(wanted.own or ["true"]))


def _matching(wanted: Conditions) -> LiteralString:
    source = THEIR_TICKETS if wanted.people else TICKETS
    joins = WITH_TRACKING if wanted.joined else NOTHING
    return MATCHING.format(source + joins, " AND ".join([*wanted.own, *wanted.joined] or ["true"]))
