"""How a report is looked at: each member's columns, the organization's target. One writer of both tables."""

from collections.abc import Sequence
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

from whatrack.db import Connection
from whatrack.tenants import audit
from whatrack.tenants.access import Access

COLUMNS: LiteralString = "SELECT columns FROM report_columns WHERE organization_id = %s AND user_id = %s"
PUT_COLUMNS: LiteralString = """
INSERT INTO report_columns (organization_id, user_id, columns) VALUES (%s, %s, %s)
ON CONFLICT (organization_id, user_id) DO UPDATE SET columns = excluded.columns, updated_at = now()
"""
TARGET: LiteralString = "SELECT target_roas FROM report_targets WHERE organization_id = %s"
PUT_TARGET: LiteralString = """
INSERT INTO report_targets (organization_id, target_roas) VALUES (%s, %s)
ON CONFLICT (organization_id) DO UPDATE SET target_roas = excluded.target_roas
"""
DROP_TARGET: LiteralString = "DELETE FROM report_targets WHERE organization_id = %s"


async def columns(conn: Connection, organization_id: UUID, user_id: UUID) -> list[str]:
    """The columns that a member chose, in their order; empty when none were."""
    row = await (await conn.execute(COLUMNS, [organization_id, user_id])).fetchone()
    return row[0] if row else []


async def remember(conn: Connection, organization_id: UUID, user_id: UUID, chosen: Sequence[str]) -> None:
    """Keep a member's columns. The caller has checked that there are such columns, and at least one."""
    await conn.execute(PUT_COLUMNS, [organization_id, user_id, list(chosen)])


async def target(conn: Connection, organization_id: UUID) -> Decimal | None:
    """The ROAS that is aimed at: revenue for each unit of net spend; None: only break-even counts."""
    row = await (await conn.execute(TARGET, [organization_id])).fetchone()
    return row[0] if row else None


async def set_target(conn: Connection, access: Access, wanted: Decimal | None) -> None:
    """Aim at this ROAS; None: at none."""
    access.require("admin")
    if wanted is None:
        await conn.execute(DROP_TARGET, [access.organization_id])
    else:
        await conn.execute(PUT_TARGET, [access.organization_id, wanted])
    detail = {"target": None if wanted is None else str(wanted)}
    await audit.record(conn, access.organization_id, access.actor, "target_changed", "report:target", detail)
