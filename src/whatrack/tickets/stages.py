"""The stages a ticket moves through. One writer of `stages`."""

from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.errors import bad_value
from whatrack.units import new_id

# name, group, role, probability in percent, colour, the event that entering it owes Meta
DEFAULTS = (
    ("Novo", "ACTIVE", "new", 10, "blue", None),
    ("Qualificado", "ACTIVE", "qualified", 30, "teal", "LeadSubmitted"),
    ("Proposta", "ACTIVE", None, 60, "violet", None),
    ("Ganho", "WON", "won", 100, "green", "Purchase"),
    ("Perdido", "LOST", "lost", 0, "red", None),
)

INSERT: LiteralString = """
INSERT INTO stages (organization_id, id, name, "group", role, position, probability, color, event_name)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
ALL: LiteralString = """
SELECT id, name, "group", role, position, probability, color, event_name FROM stages WHERE organization_id = %s ORDER BY position
"""
# Who moves a ticket holds the keys: a stage's group does not change, and no stage goes, before the move is committed.
HELD: LiteralString = f"{ALL} FOR KEY SHARE"


class Stage(msgspec.Struct, frozen=True):
    """One column of the board. group: ACTIVE, WON or LOST; role: new, qualified, won, lost or none.

    event_name: what Meta is told when a ticket enters it, if anything.
    """

    id: UUID
    name: str
    group: str
    role: str | None
    position: int
    probability: int
    color: str
    event_name: str | None = None


def reached(stage: Stage) -> str | None:
    """What entering the stage counts as in reports, as it is now: won, qualified, or nothing."""
    return "won" if stage.group == "WON" else "qualified" if stage.role == "qualified" else None


async def create_defaults(conn: Connection, organization_id: UUID) -> None:
    """Give a new organization its five stages."""
    for position, (name, group, role, probability, color, event) in enumerate(DEFAULTS):
        values = [organization_id, new_id(), name, group, role, position, probability, color, event]
        await conn.execute(INSERT, values)


async def all_stages(conn: Connection, organization_id: UUID) -> list[Stage]:
    """The organization's stages, in the board's order."""
    async with conn.cursor(row_factory=class_row(Stage)) as cursor:
        return await (await cursor.execute(ALL, [organization_id])).fetchall()


async def held(conn: Connection, organization_id: UUID) -> list[Stage]:
    """The stages, whose group and existence will not change before this transaction ends."""
    async with conn.cursor(row_factory=class_row(Stage)) as cursor:
        return await (await cursor.execute(HELD, [organization_id])).fetchall()


def find_stage(stages: list[Stage], said: str) -> Stage:
    """The stage a person or program means by its id, role or name (any case); 422 when there is none."""
    wanted = said.strip().casefold()
    for names in (
        {str(stage.id): stage for stage in stages},
        {stage.role: stage for stage in stages},
        {stage.name.casefold(): stage for stage in stages},
    ):
        if wanted in names:
            return names[wanted]
    raise bad_value(
        "stage",
        f"There is no such stage: use one of {', '.join(stage.name for stage in stages)}.",
        code="no_such_stage",
    )
