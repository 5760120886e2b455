"""What an organization decides about conversions beside its stages: the phrase that confirms a sale, and test codes."""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

import msgspec

from whatrack.conversions import rules
from whatrack.db import Connection
from whatrack.errors import bad_value
from whatrack.tenants import audit
from whatrack.tenants.access import Access

DEFAULT_PHRASE = "Venda confirmada"
PREVIEWED = 5000  # past messages that a preview reads
SHOWN = 50  # of those that the phrase would have taken

ONE: LiteralString = "SELECT sale_phrase, sale_phrase_on FROM conversion_settings WHERE organization_id = %s"
PHRASES: LiteralString = """
SELECT organization_id, sale_phrase FROM conversion_settings WHERE organization_id = ANY(%s) AND sale_phrase_on
"""
PUT: LiteralString = """
INSERT INTO conversion_settings (organization_id, sale_phrase, sale_phrase_on, updated_at) VALUES (%s, %s, %s, now())
ON CONFLICT (organization_id) DO UPDATE SET sale_phrase = excluded.sale_phrase, sale_phrase_on = excluded.sale_phrase_on,
    updated_at = now()
"""
# The business's newest messages of the last 60 days, from the months' primary keys.
ECHOES: LiteralString = """
SELECT m.sent_at, m.body, m.ticket_id, c.name FROM messages m
JOIN contacts c ON c.organization_id = m.organization_id AND c.id = m.contact_id
WHERE m.organization_id = %s AND m.origin = 'echo' AND m.sent_at > now() - interval '60 days' AND m.body IS NOT NULL
ORDER BY m.sent_at DESC LIMIT %s
"""
CODES: LiteralString = (
    "SELECT dataset_id, test_event_code FROM dataset_test_codes WHERE organization_id = %s ORDER BY 1"
)
PUT_CODE: LiteralString = """
INSERT INTO dataset_test_codes (organization_id, dataset_id, test_event_code) VALUES (%s, %s, %s)
ON CONFLICT (organization_id, dataset_id) DO UPDATE SET test_event_code = excluded.test_event_code
"""
DROP_CODE: LiteralString = "DELETE FROM dataset_test_codes WHERE organization_id = %s AND dataset_id = %s"


class SaleRule(msgspec.Struct, frozen=True):
    """The phrase, and whether it moves tickets."""

    phrase: str = DEFAULT_PHRASE
    is_on: bool = False


class Match(msgspec.Struct, frozen=True):
    """A past message that would have won its ticket."""

    sent_at: datetime
    body: str
    ticket_id: UUID | None
    contact: str | None
    value: Decimal


class Preview(msgspec.Struct, frozen=True):
    """What a phrase would have done. matches: the newest of `count`; read: how many messages were looked at."""

    phrase: str
    matches: list[Match]
    count: int
    read: int


async def sale_rule(conn: Connection, organization_id: UUID) -> SaleRule:
    """The organization's rule; off, with the usual phrase, where none was saved."""
    row = await (await conn.execute(ONE, [organization_id])).fetchone()
    return SaleRule(*row) if row else SaleRule()


async def phrases(conn: Connection, organizations: Collection[UUID]) -> dict[UUID, str]:
    """Organization → phrase, of those whose rule is on."""
    return dict(await (await conn.execute(PHRASES, [list(organizations)])).fetchall())


async def save_sale_rule(conn: Connection, who: Access, rule: SaleRule) -> None:
    """Save the phrase, and switch the rule on or off."""
    who.require("admin")
    if not rule.phrase or len(rule.phrase) not in range(3, 81):
        raise bad_value("phrase", "A phrase has 3 to 80 characters.", code="phrase_length")
    before = await sale_rule(conn, who.organization_id)
    if before == rule:
        return
    await conn.execute(PUT, [who.organization_id, rule.phrase, rule.is_on])
    told = {"phrase": rule.phrase, "on": rule.is_on}
    action: audit.Action = "sale_rule_on" if rule.is_on else "sale_rule_off"
    await audit.record(conn, who.organization_id, who.actor, action, "organization", told)


async def preview(conn: Connection, organization_id: UUID, phrase: str) -> Preview:
    """Which past messages the phrase would have taken for sales."""
    rows = await (await conn.execute(ECHOES, [organization_id, PREVIEWED])).fetchall()
    found = [
        Match(sent_at, body, ticket_id, contact, value)
        for sent_at, body, ticket_id, contact in rows
        if (value := rules.sale_in(body, phrase)) is not None
    ]
    return Preview(phrase, found[:SHOWN], len(found), len(rows))


async def test_codes(conn: Connection, organization_id: UUID) -> dict[str, str]:
    """Dataset → the code of Meta's Test Events, where one is set."""
    return dict(await (await conn.execute(CODES, [organization_id])).fetchall())


async def set_test_code(conn: Connection, who: Access, dataset_id: str, code: str) -> None:
    """Set a dataset's test code, or take it away with ''."""
    who.require("admin")
    if code:
        await conn.execute(PUT_CODE, [who.organization_id, dataset_id, code])
    else:
        await conn.execute(DROP_CODE, [who.organization_id, dataset_id])
    told = {"dataset": dataset_id, "code": code}
    await audit.record(
        conn, who.organization_id, who.actor, "test_code_changed", f"dataset:{dataset_id}", told
    )
