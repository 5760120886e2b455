"""The report agrees to the cent with an independent calculation over the raw rows, at every level, by both dates."""

from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.roi_world import CENT, SINCE, UNTIL, Truth, make_world
from whatrack.db import Database
from whatrack.roi import facts
from whatrack.roi.answers import Report
from whatrack.roi.ask import Ask
from whatrack.roi.report import report

NOW = datetime(2026, 11, 11, 15, tzinfo=UTC)
OURS = (
    "leads",
    "conversations",
    "with_clid",
    "qualified",
    "sales",
    "revenue",
    "refunds",
    "product_cost",
    "fees",
)
THEIRS = ("spend", "gross_spend", "impressions", "link_clicks", "meta_conversations")
PERIODS = [
    (date(2026, 10, 1), date(2026, 10, 30)),
    (date(2026, 10, 14), date(2026, 10, 14)),
    (SINCE, UNTIL),
    (date(2026, 9, 7), date(2026, 9, 13)),
]


async def follow(db: Database) -> None:
    more = True
    while more:
        async with db.system() as conn:
            more = await facts.follow(conn)


def found(answer: Report) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (row.kind, row.id): {name: getattr(row.amounts, name) for name in (*OURS, *THEIRS)}
        for row in (*answer.rows, *answer.special)
    }


def rounded(number: Any) -> Decimal:
    return Decimal(number or 0).quantize(CENT)


def assert_same(mine: dict[str, Any], truth: dict[str, Any], where: object) -> None:
    for name in (*OURS, *THEIRS):
        assert rounded(mine[name]) == rounded(truth.get(name)), (where, name)


@pytest.mark.parametrize("followed", [True, False], ids=["followed", "all marked"])
async def test_every_row_and_total_is_that_of_the_independent_calculation(db: Database, followed: bool):
    world = await make_world(db)
    if followed:
        await follow(db)
    truth = await Truth.of(db, world.shop.id)

    for level in ("account", "campaign", "adset", "ad"):
        for basis in ("sale", "click"):
            for since, until in PERIODS:
                ask = Ask(level=level, since=since, until=until, basis=basis, spent_only=False, limit=1000)
                async with db.tenant(world.shop.id) as conn:
                    answer = await report(conn, world.shop.id, ask, NOW)

                expected: dict[Any, Any] = defaultdict(dict)
                for sums in (truth.spent(level, since, until), truth.told(level, since, until, basis)):
                    for place, numbers in sums.items():
                        expected[place] |= numbers
                rows = found(answer)
                for place in {*expected, *rows}:
                    assert_same(
                        rows.get(place, defaultdict(int)), expected[place], (level, basis, since, place)
                    )
                home = truth.told(level, since, until, basis, truth.home)
                whole = {name: sum(numbers[name] for numbers in home.values()) for name in OURS}
                whole |= {
                    name: sum(n[name] for n in truth.spent(level, since, until).values()) for name in THEIRS
                }
                totals = {name: getattr(answer.totals.amounts, name) for name in (*OURS, *THEIRS)}
                assert_same(totals, whole, (level, basis, since, "total"))
                assert "zones_differ" in answer.notes
