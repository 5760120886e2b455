"""How a report is looked at: each member's columns, the organization's target. One writer of both tables."""

from collections.abc import Sequence
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

import msgspec

from whatrack.db import Connection
from whatrack.tenants import audit
from whatrack.tenants.access import Access

COLUMNS: LiteralString = "SELECT columns FROM report_columns WHERE organization_id = %s AND user_id = %s"
PUT_COLUMNS: LiteralString = """
INSERT INTO report_columns (organization_id, user_id, columns) VALUES (%s, %s, %s)
ON CONFLICT (organization_id, user_id) DO UPDATE SET columns = excluded.columns, updated_at = now()
"""
SETTINGS: LiteralString = """
SELECT target_roas, tax_answered_at IS NOT NULL FROM report_settings WHERE organization_id = %s
"""
PUT_TARGET: LiteralString = """
INSERT INTO report_settings (organization_id, target_roas) VALUES (%s, %s)
ON CONFLICT (organization_id) DO UPDATE SET target_roas = excluded.target_roas
"""
PUT_ANSWERED: LiteralString = """
INSERT INTO report_settings (organization_id, tax_answered_at) VALUES (%s, now())
ON CONFLICT (organization_id) DO UPDATE SET tax_answered_at = coalesce(report_settings.tax_answered_at, now())
"""


class Looks(msgspec.Struct, frozen=True):
    """What an organization decided. target_roas: gross revenue for each unit spent; None: only break-even counts."""

    target_roas: Decimal | None = None
    tax_answered: bool = False


async def columns(conn: Connection, organization_id: UUID, user_id: UUID) -> list[str]:
    """The columns that a member chose, in their order; empty when none were."""
    row = await (await conn.execute(COLUMNS, [organization_id, user_id])).fetchone()
    return row[0] if row else []


async def remember(conn: Connection, organization_id: UUID, user_id: UUID, chosen: Sequence[str]) -> None:
    """Keep a member's columns. The caller has checked that there are such columns, and at least one."""
    await conn.execute(PUT_COLUMNS, [organization_id, user_id, list(chosen)])


async def settings(conn: Connection, organization_id: UUID) -> Looks:
    """The organization's target, and whether the question about tax was answered."""
    row = await (await conn.execute(SETTINGS, [organization_id])).fetchone()
    return Looks(*row) if row else Looks()


async def set_target(conn: Connection, access: Access, target: Decimal | None) -> None:
    """Aim at this ROAS; None: at none."""
    access.require("admin")
    await conn.execute(PUT_TARGET, [access.organization_id, target])
    detail = {"target": None if target is None else str(target)}
    await audit.record(
        conn, access.organization_id, access.actor, "target_changed", "report:target", detail
    )


async def tax_answered(conn: Connection, access: Access) -> None:
    """The first visit's question about tax need not be asked again. Idempotent."""
    access.require("admin")
    await conn.execute(PUT_ANSWERED, [access.organization_id])
