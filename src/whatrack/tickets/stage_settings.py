"""Changing the stages: add, edit, reorder, remove. A stage with tickets never vanishes, and no ticket's status becomes a lie.

Whoever changes stages holds all of the organization's, in one order, so that two admins wait for each other and nothing
is lost. FOR NO KEY UPDATE, not FOR UPDATE: the foreign keys of tickets that are being written need not wait. People's
moves hold the stages' keys (stages.held), so the group they decided by is the group at their commit.
"""

import hashlib
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg import errors

from whatrack.db import Connection
from whatrack.errors import NotFound, Refused, bad_value
from whatrack.tenants import audit
from whatrack.tenants.access import Access
from whatrack.tickets.stages import INSERT, Stage, all_stages, reached
from whatrack.units import new_id

COLORS = ("slate", "blue", "teal", "green", "amber", "orange", "red", "pink", "violet")  # the table's CHECK
GROUPS = ("ACTIVE", "WON", "LOST")
GROUP_OF_ROLE = {"new": "ACTIVE", "qualified": "ACTIVE", "won": "WON", "lost": "LOST"}
MOST = 30  # columns that a board can still show

LOCK: LiteralString = "SELECT id FROM stages WHERE organization_id = %s ORDER BY id FOR NO KEY UPDATE"
# Waits for every move into the stage that is under way; the next one reads the stage anew.
LOCK_ONE: LiteralString = "SELECT id FROM stages WHERE organization_id = %s AND id = %s FOR UPDATE"
# From the index tickets_stage alone.
COUNTS: LiteralString = "SELECT stage_id, count(*) FROM tickets WHERE organization_id = %s GROUP BY stage_id"
COUNT: LiteralString = "SELECT count(*) FROM tickets WHERE organization_id = %s AND stage_id = %s"
MAKE_ROOM: LiteralString = """
UPDATE stages SET position = position + 1 WHERE organization_id = %s AND position >= %s
"""
TAKE_ROLE: LiteralString = (
    "UPDATE stages SET role = NULL WHERE organization_id = %s AND role = %s AND id <> %s"
)
UPDATE: LiteralString = """
UPDATE stages SET name = %(name)s, "group" = %(group)s, role = %(role)s, probability = %(probability)s, color = %(color)s,
    event_name = %(event_name)s
WHERE organization_id = %(organization)s AND id = %(id)s
"""
# One statement: the positions are unique when it ends.
SWAP: LiteralString = """
UPDATE stages s SET position = n.position FROM unnest(%s::uuid[], %s::int[]) AS n (id, position)
WHERE s.organization_id = %s AND s.id = n.id
"""
DELETE: LiteralString = "DELETE FROM stages WHERE organization_id = %s AND id = %s"
# All tickets of a stage to another of its group, each with its row of history. The group stays, so no status changes; a
# new version each tells whoever was about to change one. Locked in one order, as all set writes are.
MOVE_TICKETS: LiteralString = """
WITH held AS (
    SELECT id FROM tickets WHERE organization_id = %(organization)s AND stage_id = %(old)s ORDER BY id FOR NO KEY UPDATE
), moved AS (
    UPDATE tickets t SET stage_id = %(new)s, version = version + 1, updated_at = now()
    FROM held WHERE t.organization_id = %(organization)s AND t.id = held.id AND t.stage_id = %(old)s
    RETURNING t.id, t.version, t.deal_value, t.currency, t.lost_reason, t.won_at
)
INSERT INTO ticket_stage_changes (organization_id, id, ticket_id, from_stage_id, to_stage_id, from_stage, to_stage, deal_value,
                                  currency, lost_reason, happened_at, changed_at, actor, version, reached)
SELECT %(organization)s, gen_random_uuid(), id, %(old)s, %(new)s, %(old_name)s, %(new_name)s, deal_value,
       currency, lost_reason, coalesce(won_at, now()), now(), %(actor)s, version, %(reached)s FROM moved
RETURNING ticket_id
"""


class Wanted(msgspec.Struct, frozen=True):
    """A stage as an admin wants it. group: ACTIVE, WON or LOST; role: new, qualified, won, lost or none.

    event_name: one of Meta's, or none; Purchase only in the group WON, nothing where tickets begin.
    """

    name: str
    group: str
    role: str | None
    probability: int
    color: str
    event_name: str | None = None

    @classmethod
    def of(cls, stage: Stage) -> "Wanted":
        """A stage as it is."""
        return cls(stage.name, stage.group, stage.role, stage.probability, stage.color, stage.event_name)

    @property
    def mark(self) -> str:
        """Tells this state of a stage from every other: a form carries it, so that no admin undoes another's change."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


async def ticket_counts(conn: Connection, organization_id: UUID) -> dict[UUID, int]:
    """Stage id → how many tickets are there, open and closed; stages without any are left out."""
    return dict(await (await conn.execute(COUNTS, [organization_id])).fetchall())


async def ticket_count(conn: Connection, organization_id: UUID, stage_id: UUID) -> int:
    """How many tickets a stage holds, open and closed."""
    row = await (await conn.execute(COUNT, [organization_id, stage_id])).fetchone()
    return int(row[0]) if row else 0


async def one(conn: Connection, organization_id: UUID, stage_id: UUID) -> Stage:
    """One stage; NotFound for an unknown one and for another organization's alike."""
    return _of(await all_stages(conn, organization_id), stage_id)


async def add(conn: Connection, who: Access, wanted: Wanted) -> UUID:
    """A new stage, at the end of its group. A role it asks for is taken from the stage that had it."""
    stages = await _held(conn, who)
    if len(stages) >= MOST:
        raise Refused("too_many_stages", f"A board has at most {MOST} stages: remove one first.")
    _check(wanted, None, stages)
    # Groups may be mixed on a board: a new stage goes behind the last of its own, and else to the end.
    own = [stage.position for stage in stages if stage.group == wanted.group]
    position = max(own or [stage.position for stage in stages]) + 1
    stage_id = new_id()
    await conn.execute(MAKE_ROOM, [who.organization_id, position])
    taken_from = await _take_role(conn, who, wanted.role, stage_id, stages)
    values = [who.organization_id, stage_id, wanted.name, wanted.group, wanted.role, position]
    await _named(conn, INSERT, [*values, wanted.probability, wanted.color, wanted.event_name])
    told = {**msgspec.structs.asdict(wanted), **taken_from}
    await audit.record(conn, who.organization_id, who.actor, "stage_added", f"stage:{stage_id}", told)
    return stage_id


async def edit(conn: Connection, who: Access, stage_id: UUID, wanted: Wanted, seen: str) -> None:
    """Change everything about a stage but its place. seen: the mark of the stage that the admin saw. Idempotent."""
    stages = await _held(conn, who)
    stage = _of(stages, stage_id)
    before, after = (msgspec.structs.asdict(each) for each in (Wanted.of(stage), wanted))
    changed = [name for name in after if after[name] != before[name]]
    if not changed:
        return
    if Wanted.of(stage).mark != seen:
        raise Refused("stage_stale", "Somebody changed this stage meanwhile: look at it, then save again.")
    _check(wanted, stage, stages)
    if wanted.group != stage.group:
        await _check_empty(conn, who, stage)
    taken_from = await _take_role(conn, who, wanted.role, stage_id, stages)
    await _named(conn, UPDATE, {**after, "organization": who.organization_id, "id": stage_id})
    told = {
        "name": stage.name,
        "before": {name: before[name] for name in changed},
        "after": {name: after[name] for name in changed},
        **taken_from,
    }
    await audit.record(conn, who.organization_id, who.actor, "stage_changed", f"stage:{stage_id}", told)


async def shift(conn: Connection, who: Access, stage_id: UUID, by: int) -> None:
    """One place to the left (-1) or right (1) on the board; at the edge nothing happens."""
    stages = await _held(conn, who)
    stage = _of(stages, stage_id)
    place = stages.index(stage)
    if not 0 <= place + by < len(stages):
        return
    other = stages[place + by]
    swapped = [[stage.id, other.id], [other.position, stage.position]]
    await conn.execute(SWAP, [*swapped, who.organization_id])
    told = {"name": stage.name, "from": place + 1, "to": place + by + 1}
    await audit.record(conn, who.organization_id, who.actor, "stage_shifted", f"stage:{stage_id}", told)


async def remove(
    conn: Connection, who: Access, stage_id: UUID, to: UUID | None
) -> tuple[list[UUID], Stage | None]:
    """Remove a stage; its tickets, if any, go to `to`, another stage of its group. Answers which went, and where.

    flow.remove_stage calls this, and owes what the tickets owe where they went.
    """
    stages = await _held(conn, who)
    stage = _of(stages, stage_id)
    refused = why_it_stays(stage, stages)
    if refused:
        raise refused
    target = next((each for each in heirs(stage, stages) if each.id == to), None)
    moved = await _move_tickets(conn, who, stage, target) if target else []
    try:
        await conn.execute(DELETE, [who.organization_id, stage_id])
    except errors.ForeignKeyViolation:
        raise bad_value(
            "to", "The stage holds tickets: choose where they go.", code="stage_has_tickets"
        ) from None
    told = {"name": stage.name, "tickets": len(moved), "to": target.name if moved and target else ""}
    await audit.record(conn, who.organization_id, who.actor, "stage_removed", f"stage:{stage_id}", told)
    return moved, target


def heirs(stage: Stage, stages: list[Stage]) -> list[Stage]:
    """The stages that may take over this one's tickets: those of its group, so that no status changes."""
    return [each for each in stages if each.group == stage.group and each.id != stage.id]


def why_it_stays(stage: Stage, stages: list[Stage]) -> Refused | None:
    """Why a stage cannot be removed whatever happens to its tickets; None when it can."""
    if stage.role == "new":
        return Refused("first_stage_stays", "Tickets start in this stage: give that role to another first.")
    if not heirs(stage, stages):
        return Refused("last_of_group", f"This is the last stage of the group {stage.group}.")
    return None


def _check(wanted: Wanted, stage: Stage | None, stages: list[Stage]) -> None:
    """What a stage may be. stage: as it is now, None for a new one."""
    _check_event(wanted)
    if wanted.role and GROUP_OF_ROLE[wanted.role] != wanted.group:
        raise bad_value(
            "role",
            f"The role {wanted.role} belongs to the group {GROUP_OF_ROLE[wanted.role]}.",
            code="role_of_group",
        )
    if stage and stage.role == "new" and wanted.role != "new":
        raise bad_value(
            "role", "Tickets start in this stage: give that role to another first.", code="first_stage_stays"
        )
    if stage and wanted.group != stage.group and not heirs(stage, stages):
        raise bad_value("group", f"This is the last stage of the group {stage.group}.", code="last_of_group")


def _check_event(wanted: Wanted) -> None:
    """A Purchase needs a value, which only a won ticket surely has; where tickets begin nobody has decided anything."""
    if wanted.event_name == "Purchase" and wanted.group != "WON":
        raise bad_value("event_name", "Purchase belongs to the group WON.", code="purchase_is_won")
    if wanted.event_name and wanted.role == "new":
        raise bad_value(
            "event_name",
            "Tickets start in this stage by themselves: it owes no event.",
            code="entry_owes_nothing",
        )


async def _check_empty(conn: Connection, who: Access, stage: Stage) -> None:
    await conn.execute(LOCK_ONE, [who.organization_id, stage.id])
    held = await ticket_count(conn, who.organization_id, stage.id)
    if held:
        raise bad_value(
            "group",
            f"The stage holds {held} tickets, whose status would become a lie: move them first.",
            code="group_of_tickets",
        )


async def _held(conn: Connection, who: Access) -> list[Stage]:
    """The stages in the board's order, held until the transaction ends."""
    await conn.execute(LOCK, [who.organization_id])
    return await all_stages(conn, who.organization_id)


def _of(stages: list[Stage], stage_id: UUID) -> Stage:
    for stage in stages:
        if stage.id == stage_id:
            return stage
    raise NotFound("There is no such stage.")


async def _take_role(
    conn: Connection, who: Access, role: str | None, stage_id: UUID, stages: list[Stage]
) -> dict[str, str]:
    """Free a role for a stage; answers from whom it was taken, for the audit."""
    holder = next((each for each in stages if role and each.role == role and each.id != stage_id), None)
    if holder is None:
        return {}
    await conn.execute(TAKE_ROLE, [who.organization_id, role, stage_id])
    return {"role_taken_from": holder.name}


async def _named(conn: Connection, statement: LiteralString, values: Any) -> None:
    """Write a stage; 422 when another has its name, in any case."""
    try:
        await conn.execute(statement, values)
    except errors.UniqueViolation as error:
        if error.diag.constraint_name != "stages_name":
            raise
        raise bad_value("name", "Another stage has this name.", code="stage_name_taken") from None


async def _move_tickets(conn: Connection, who: Access, old: Stage, new: Stage) -> list[UUID]:
    values = {"organization": who.organization_id, "old": old.id, "new": new.id, "actor": who.actor}
    names = {"old_name": old.name, "new_name": new.name, "reached": reached(new)}
    moved = await (await conn.execute(MOVE_TICKETS, {**values, **names})).fetchall()
    return [row[0] for row in moved]
