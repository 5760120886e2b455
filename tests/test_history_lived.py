"""A month that is lived day by day, the database's clock moved with it: Meta hears of what happens when it happens.

So what Meta reports of leads and purchases is a month's, and differs from ours for every reason there is.
"""

from datetime import timedelta

from tests.playing import Played, an_office_beside
from tests.simulated_clock import SimulatedClock
from tests.support import rows
from tests.test_history import clock, compare
from tests.test_history_report import (
    apart,
    asked,
    check_reconciled,
    enter_rates,
    fetched,
    reconciled,
    settled,
    told,
    truth,
)
from whatrack.db import Database
from whatrack.inbox import days
from whatrack.sandbox.clock import Clock, day_of
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.truth import HOME

DAY_S = 86_400
MONTH = 30


async def live(played: Played, simulated: SimulatedClock, now: float) -> None:
    """From the beginning of the month to now, a day at a time; each day Meta is told what it is owed."""
    for left in range(MONTH - 1, -1, -1):
        await simulated.move(-left * DAY_S)
        played.sandbox.clock.ahead_s = -left * DAY_S
        await days.ensure_days(played.db)
        await played.player.catch_up()
        await settled(played)


async def test_a_lived_month_is_reported_as_it_was_with_what_meta_heard(db: Database, conninfo: str):
    now = await clock(db)
    today = day_of(now, HOME)
    sandbox = Sandbox(1, Clock(lambda: now))
    sandbox.months.play(MONTH, share=0.5)
    async with SimulatedClock(conninfo) as simulated:
        await simulated.move(-MONTH * DAY_S)
        sandbox.clock.ahead_s = -MONTH * DAY_S
        moved = await simulated.open()
        await days.ensure_days(moved)
        async with an_office_beside(sandbox, moved, simulated.conninfo) as played:
            await live(played, simulated, now)
            await enter_rates(played, (today - timedelta(days=back) for back in range(-2, 60)))
            await fetched(played, again=True)

            await compare(played)
            statuses = {
                row["status"]
                for row in await rows(moved, "SELECT DISTINCT status FROM meta_conversion_events")
            }
            assert statuses == {"SENT", "FAILED", "SKIPPED_NO_CTWA"}
            since = today - timedelta(days=29)
            told_on = await rows(moved, "SELECT DISTINCT at::date FROM audit_log WHERE action = 'ticket_moved'")  # fmt: skip
            assert len(told_on) > 20  # each on the day that was lived then
            expected = truth(played, since, today, "ad", "sale")
            assert sum(row["meta_purchases"] for row in expected.values()) > 10
            found = await asked(played, since, today, "ad", "sale")
            assert apart(told(found), expected) == {}
            causes = check_reconciled(await reconciled(played, since, today), expected)
            assert causes["purchases"] >= {"organic", "no_click_id", "other_window"}
            assert causes["leads"] >= {"organic", "no_click_id", "refused"}
        await moved.close()
