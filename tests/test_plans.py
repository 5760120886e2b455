"""How PostgreSQL goes about statements on a table it knows nothing of: filled lately, as by an upgrade, and never analyzed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, cast

import pytest

from tests.support import make_shop
from whatrack.attribution import tracking
from whatrack.attribution.tracking import NamedAd
from whatrack.db import Connection, Database
from whatrack.insights import rollups

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


OTHERS = """
INSERT INTO meta_ads (organization_id, meta_ad_id, name, effective_status, meta_ad_set_id, meta_campaign_id, meta_account_id, fetched_at)
SELECT %s, format('%%s-%%s', account, n), 'Ad', 'ACTIVE', n::text, n::text, account::text, now()
FROM generate_series(1, %s) AS account, generate_series(1, 200) AS n
"""
SPENT = """
INSERT INTO meta_ad_insights_daily SELECT m.organization_id, 1, day, m.ref, 1, 1, 1, 1, 1, 1, 1, 1, 1
FROM meta_ads m, unnest(%s::date[]) AS day WHERE m.organization_id = %s AND m.meta_account_id = '1'
"""
READ = """
SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables
WHERE relname IN ('meta_ads', 'meta_ad_insights_daily', 'insight_ad_blocks')
"""


async def test_the_first_reading_of_a_large_organization_looks_up_its_own_days_and_ads(db: Database):
    """Joined as a small organization's, each of 100,000 ads was looked for in each block: it took minutes."""
    known, new = await make_shop(db), await make_shop(db, "nova")
    days = [date(2026, 10, 30) + timedelta(days=place) for place in range(8)]
    async with db.autocommit() as conn:
        await conn.execute("ALTER TABLE meta_ads SET (autovacuum_enabled = off)")
    async with db.tenant(known.id) as conn:
        await conn.execute(OTHERS.encode(), [known.id, 10])
    async with db.autocommit() as conn:
        await conn.execute("ANALYZE meta_ads")
    async with db.tenant(new.id) as conn:
        await conn.execute(OTHERS.encode(), [new.id, 20])
        await conn.execute(SPENT.encode(), [days, new.id])
    async with db.tenant(new.id) as conn:
        await rollups.replace_days(conn, new.id, 1, days)
        read = await (await conn.execute(READ.encode())).fetchone()
        told = await (await conn.execute("SELECT sum(spend) FROM insight_blocks WHERE size = 1")).fetchone()
    async with db.autocommit() as conn:
        await conn.execute("ALTER TABLE meta_ads RESET (autovacuum_enabled)")

    assert told == (3 * 8 * 200,)
    assert read is not None
    assert read[0] < 100 * 8 * 200, "more was read than an account's days, blocks and ads"
