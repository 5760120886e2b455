"""A clinic's past played into the product by webhooks and the API: its tickets are then the sandbox's truth."""

from datetime import datetime
from typing import Any

import pytest

from tests.playing import Played, a_played_office
from tests.support import rows
from whatrack.db import Database
from whatrack.demo.player import key_of, money, rounds, same_person
from whatrack.sandbox.cases import Act, Case, Line
from whatrack.sandbox.letters import Said

TICKETS = """
SELECT t.id, c.wa_id, t.phone_number_id, t.opened_at, t.follow_up, s.role AS stage, t.close_reason, t.lost_reason, t.deal_value, t.currency,
       t.won_at, k.meta_source_type, k.meta_ad_id, k.ctwa_clid, k.last_touch_at,
       (SELECT min(m.happened_at) FROM ticket_stage_changes m JOIN stages q ON q.organization_id = m.organization_id AND q.id = m.to_stage_id
        WHERE m.organization_id = t.organization_id AND m.ticket_id = t.id AND q.role IN ('qualified', 'won')) AS qualified_at,
       (SELECT coalesce(array_agg((extract(epoch FROM r.refunded_at)::bigint, r.amount)::text ORDER BY r.refunded_at), '{}')
        FROM ticket_refunds r WHERE r.organization_id = t.organization_id AND r.ticket_id = t.id) AS refunds
FROM tickets t
JOIN contacts c ON c.organization_id = t.organization_id AND c.id = t.contact_id
JOIN stages s ON s.organization_id = t.organization_id AND s.id = t.stage_id
JOIN ticket_tracking k ON k.organization_id = t.organization_id AND k.ticket_id = t.id
"""


def seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def told(ticket: dict[str, Any]) -> dict[str, Any]:
    """A ticket in the words of a case."""
    is_won = ticket["close_reason"] == "WON"
    return {
        "is_lead": not ticket["follow_up"],
        "ad_id": ticket["meta_ad_id"],
        "ctwa_clid": ticket["ctwa_clid"],
        "touched_at": seconds(ticket["last_touch_at"]),
        "qualified_at": seconds(ticket["qualified_at"]),
        "won_at": seconds(ticket["won_at"]),
        "value": f"{ticket['deal_value']}" if is_won else None,
        "currency": ticket["currency"] if is_won else None,
        "lost_reason": ticket["lost_reason"],
        "refunds": ticket["refunds"],
    }


def true(case: Case, now: float) -> dict[str, Any]:
    """A case in the words of told()."""
    found = case.as_json(now)
    return {
        **{name: found[name] for name in ("is_lead", "ad_id", "ctwa_clid", "touched_at", "qualified_at", "won_at", "lost_reason")},
        "value": money(found["value"]) if found["value"] else None,
        "currency": found["currency"] if found["value"] else None,
        "refunds": [f"({each['at']},{money(each['amount'])})" for each in found["refunds"]],
    }  # fmt: skip


async def compare(played: Played) -> int:
    """Every ticket is the truth of its case, and there are no others; how many there are."""
    now = played.sandbox.clock()
    found = {
        (same_person(row["wa_id"]), row["phone_number_id"], seconds(row["opened_at"])): told(row)
        for row in await rows(played.db, TICKETS)
    }
    expected = {
        key_of(case): true(case, now) for case in played.sandbox.months.cases if case.opened_at <= now
    }
    assert found == expected
    return len(found)


async def clock(db: Database) -> float:
    (row,) = await rows(db, "SELECT extract(epoch FROM now())::float8 AS now")
    return float(row["now"])


async def test_a_played_past_makes_exactly_its_tickets(db: Database, conninfo: str):
    async with a_played_office(db, conninfo, await clock(db), days=50, share=0.25) as played:
        await played.player.catch_up()

        count = await compare(played)
        assert count > 200
        assert await played.player.catch_up() == 0
        owed = await rows(
            db,
            "SELECT DISTINCT status FROM meta_conversion_events WHERE event_time < now() - interval '7 days 1 hour'",
        )
        assert {row["status"] for row in owed} <= {"EXPIRED_WINDOW", "SKIPPED_NO_CTWA"}
        assert owed


async def test_people_who_come_while_it_runs_are_played_as_time_passes(db: Database, conninfo: str):
    now = await clock(db)
    async with a_played_office(db, conninfo, now - 900, days=2, share=0.1) as played:
        await played.player.catch_up()
        played.sandbox.months.come(25)
        for _ in range(3):
            await played.player.catch_up()
            played.sandbox.clock.advance(300)
        await played.player.catch_up()

        await compare(played)
        assert played.player.refused == []
        moves = await rows(
            db,
            "SELECT count(*) AS count FROM ticket_stage_changes WHERE happened_at > to_timestamp(%s)",
            now - 900,
        )
        assert moves[0]["count"] > 3


async def test_a_ticket_that_somebody_moved_by_hand_does_not_stop_the_traffic(db: Database, conninfo: str):
    now = await clock(db)
    async with a_played_office(db, conninfo, now - 900, days=1, share=0.1) as played:
        case = next(
            each for each in played.sandbox.months.come(40) if any(act.what == "won" for act in each.acts)
        )
        case.acts = [Act(case.opened_at + 1, "refunded", 100), *case.acts]  # not sold yet: refused
        played.sandbox.clock.advance(890)

        await played.player.catch_up(strict=False)

        assert len(played.player.refused) == 1
        (ticket,) = await rows(
            db,
            "SELECT close_reason FROM tickets WHERE close_reason = 'WON' AND opened_at = to_timestamp(%s) LIMIT 1",
            case.opened_at,
        )
        assert ticket["close_reason"] == "WON"


def test_what_somebody_says_after_a_move_waits_for_it():
    def case(person: str, *at: int, moved: tuple[int, ...] = ()) -> Case:
        lines = [Line(each, "Oi", person) for each in at]
        return Case(
            int(person), person, person, "number", "BRL", lines, [Act(each, "qualified") for each in moved]
        )

    one, thanks, other = case("1", 10, 20, moved=(15,)), case("1", 40), case("2", 30, moved=(35,))
    one.serial, thanks.serial = 1, 3
    steps: list[tuple[Case, Said | Act]] = [
        *((each, Said(each, line)) for each in (one, thanks, other) for line in each.lines),
        *((each, act) for each in (one, other) for act in each.acts),
    ]
    due = sorted(steps, key=lambda step: step[1].line.at if isinstance(step[1], Said) else step[1].at)

    first, second = rounds(due)

    assert [said.line.at for said in first.said] == [10, 30]
    assert [act.at for _, act in first.acts] == [15, 35]
    assert ([said.line.at for said in second.said], second.acts) == ([20, 40], [])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("5511987654321", "551187654321", True),
        ("5511987654321", "5511987654322", False),
        ("12125550142", "12125550142", True),
    ],
)
def test_a_phone_with_and_without_the_ninth_digit_is_one_person(one: str, other: str, same: bool):
    assert (same_person(one) == same_person(other)) is same
