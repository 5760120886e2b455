"""How PostgreSQL goes about statements on a table it knows nothing of: filled lately, as by an upgrade, and never analyzed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tests.support import make_shop
from whatrack.attribution import tracking
from whatrack.attribution.tracking import NamedAd
from whatrack.db import Connection, Database

AD = "120226305854810726"
FILL = """
INSERT INTO ticket_tracking (organization_id, ticket_id, meta_source_type, meta_ad_id, meta_enrichment_status, meta_enrichment_error)
SELECT %s, gen_random_uuid(), 'ad', %s, status, CASE status WHEN 'FAILED' THEN 'no_access' END
FROM generate_series(1, %s), unnest(ARRAY['PENDING', 'FAILED']) AS status
"""

Plan = dict[str, Any]


@dataclass
class Explaining:
    """Stands where a connection does: has each statement explained, with its values, and runs none."""

    conn: Connection
    plans: list[Plan] = field(default_factory=list)
    rowcount = 0

    async def execute(self, statement: str, values: dict[str, Any]) -> "Explaining":
        found = await (
            await self.conn.execute(f"EXPLAIN (FORMAT JSON) {statement}".encode(), values)
        ).fetchone()
        assert found is not None
        self.plans.append(found[0][0]["Plan"])
        return self


@pytest.mark.parametrize("tickets", [1_000, 25_000])
@pytest.mark.parametrize("named", [True, False])
async def test_a_ticket_that_is_named_or_given_up_is_found_by_its_key_not_among_all_of_its_ad(
    db: Database, tickets: int, named: bool
):
    """Found by its ad for each of the tickets that are held, as it was once, 50,000 took a minute: rows × rows."""
    shop = await make_shop(db)
    async with db.autocommit() as conn:
        await conn.execute("ALTER TABLE ticket_tracking SET (autovacuum_enabled = off)")
    async with db.system() as conn:
        await conn.execute(FILL.encode(), [shop.id, AD, tickets])

    async with db.system() as conn:
        explaining = Explaining(conn)
        asked = cast("Connection", explaining)
        if named:
            await tracking.name_ads(asked, shop.id, [NamedAd(AD, "Ad", "1", "Set", "2", "Campaign", "3")])
        else:
            await tracking.give_up_ads(asked, shop.id, {AD: "no_profile"})
    async with db.autocommit() as conn:
        await conn.execute("ALTER TABLE ticket_tracking RESET (autovacuum_enabled)")

    assert len(explaining.plans) == len(tracking.NAMES if named else tracking.GIVE_UPS)
    for plan in explaining.plans:
        (written,) = (node for node in nodes(plan) if node.get("Alias") == plan["Alias"] and node is not plan)
        assert written["Node Type"] == "Index Scan"
        assert "ticket_id = held.ticket_id" in written["Index Cond"], written


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)
