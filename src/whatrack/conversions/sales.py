"""A sale that the business's own phone tells: which messages of a batch say so. Off unless an organization switched it on."""

from decimal import Decimal

from whatrack.conversions import rules, settings
from whatrack.db import Connection
from whatrack.inbox.reading import Incoming

PHONE = "phone"  # who moved the ticket, in its history and the audit
CURRENCY = "BRL"  # that of the phrase's "R$"


async def cut(conn: Connection, incoming: list[Incoming]) -> list[tuple[list[Incoming], Decimal | None]]:
    """The messages in parts that each end with one that tells a sale, with its value; the last part perhaps without.

    A batch is decided part by part, because a sale closes its ticket: what is said after it belongs to another one.
    """
    told = {message.organization_id for message in incoming if message.origin == "echo"}
    phrases = await settings.phrases(conn, told) if told else {}
    parts: list[tuple[list[Incoming], Decimal | None]] = []
    start = 0
    for place, message in enumerate(incoming):
        phrase = phrases.get(message.organization_id) if message.origin == "echo" else None
        value = rules.sale_in(message.body, phrase) if phrase else None
        if value is not None:
            parts.append((incoming[start : place + 1], value))
            start = place + 1
    return [*parts, (incoming[start:], None)] if incoming[start:] else parts
