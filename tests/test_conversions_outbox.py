"""What a move owes Meta: in the move's own transaction, once, and only through the states that exist."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from itertools import product
from uuid import UUID

import pytest
from psycopg import errors

from tests.conversions import ACTOR, events, move, put, status, tickets_of, undo
from tests.support import NOON, make_shop, rows
from whatrack import flow
from whatrack.conversions import rules
from whatrack.db import Database
from whatrack.errors import Refused
from whatrack.tenants.access import Access
from whatrack.tickets.moves import Change
from whatrack.tickets.stage_settings import Wanted, edit
from whatrack.tickets.stages import all_stages, find_stage

ADMIN = "admin"


async def test_qualifying_owes_a_lead_and_winning_a_purchase_with_value_and_currency(db: Database):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, "Aff-1")

    await move(db, shop, ticket, "qualified")
    await move(db, shop, ticket, "won", value="1234.50", won_at=NOON + timedelta(minutes=5))

    lead, purchase = sorted(await events(db, ticket), key=lambda row: row["event_name"])
    assert (lead["event_name"], lead["status"], lead["event_id"]) == (
        "LeadSubmitted",
        "PENDING",
        f"lead-{ticket}",
    )
    assert (lead["value"], lead["ctwa_clid"], lead["sent_at"], lead["success"]) == (
        None,
        "Aff-1",
        None,
        False,
    )
    assert (purchase["event_id"], purchase["value"], purchase["currency"]) == (
        f"purchase-{ticket}",
        Decimal("1234.50"),
        "BRL",
    )
    assert purchase["event_time"] == NOON + timedelta(minutes=5)  # when it happened
    assert purchase["waba_id"] == "102290129340398"


async def test_straight_to_won_owes_the_purchase_alone(db: Database):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, "Aff-1")

    await move(db, shop, ticket, "won")

    assert await status(db, ticket) == {"Purchase": "PENDING"}


async def test_the_same_move_again_and_a_second_win_owe_nothing_more(db: Database):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, "Aff-1")
    for stage in ("qualified", "qualified", "Proposta", "qualified"):
        await move(db, shop, ticket, stage)
    first = await events(db, ticket)

    await put(db, "UPDATE meta_conversion_events SET attempts = 1")
    for stage in ("won", "lost", "won"):
        await move(db, shop, ticket, stage, value="10.00" if stage == "won" else None)

    found = await events(db, ticket)
    assert [row["event_name"] for row in found] == ["LeadSubmitted", "Purchase"]
    assert found[0]["event_time"] == first[0]["event_time"]


async def test_a_move_that_is_rolled_back_owes_nothing(db: Database):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, "Aff-1")

    async with db.tenant(shop.id) as conn:
        await flow.move_ticket(
            conn, shop.id, ticket, lambda stages: Change(stage=find_stage(stages, "qualified")), actor=ACTOR
        )
        await conn.rollback()

    assert await events(db) == []


async def test_without_a_click_id_the_event_is_skipped_for_good(db: Database):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, None)

    moved = await move(db, shop, ticket, "qualified")
    assert await status(db, ticket) == {"LeadSubmitted": "SKIPPED_NO_CTWA"}
    await undo(db, shop, moved)
    await put(db, "UPDATE ticket_tracking SET ctwa_clid = 'Aff-late'")
    await move(db, shop, ticket, "qualified")

    assert await status(db, ticket) == {"LeadSubmitted": "SKIPPED_NO_CTWA"}


@pytest.mark.parametrize(
    ("ago", "wanted"), [(timedelta(days=7), "EXPIRED_WINDOW"), (timedelta(days=6, hours=23), "PENDING")]
)
async def test_a_sale_older_than_metas_window_is_not_owed(db: Database, ago: timedelta, wanted: str):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, "Aff-1")
    await put(db, "UPDATE tickets SET opened_at = opened_at - interval '20 days'")
    now = (await rows(db, "SELECT now()"))[0]["now"]

    await move(db, shop, ticket, "won", won_at=now - ago)

    assert await status(db, ticket) == {"Purchase": wanted}


async def test_the_click_of_the_move_is_kept_and_a_later_one_changes_nothing(db: Database):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, "Aff-1")
    await move(db, shop, ticket, "qualified")

    await put(db, "UPDATE ticket_tracking SET ctwa_clid = 'Aff-2', meta_ad_id = '2'")

    (event,) = await events(db)
    assert event["ctwa_clid"] == "Aff-1"


async def test_undo_cancels_and_moving_again_owes_the_same_row_anew(db: Database):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, "Aff-1")
    moved = await move(db, shop, ticket, "qualified", hold_s=8)
    (before,) = await events(db)
    assert (before["hold_reason"], before["not_before"] - before["created_at"]) == (
        "undo",
        timedelta(seconds=8),
    )

    await undo(db, shop, moved)
    assert await status(db, ticket) == {"LeadSubmitted": "CANCELLED"}
    await move(db, shop, ticket, "qualified")

    (after,) = await events(db)
    assert (after["id"], after["status"], after["event_id"]) == (before["id"], "PENDING", before["event_id"])
    assert after["event_time"] > before["event_time"]


async def test_undo_after_an_attempt_leaves_the_event_as_it_is(db: Database):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, "Aff-1")
    moved = await move(db, shop, ticket, "qualified")
    await put(db, "UPDATE meta_conversion_events SET attempts = 1")

    await undo(db, shop, moved)

    assert await status(db, ticket) == {"LeadSubmitted": "PENDING"}


async def test_undoing_a_win_leaves_the_lead_that_was_owed_before(db: Database):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, "Aff-1")
    await move(db, shop, ticket, "qualified")

    await undo(db, shop, await move(db, shop, ticket, "won"))

    assert await status(db, ticket) == {"LeadSubmitted": "PENDING", "Purchase": "CANCELLED"}


async def test_a_sale_taken_back_before_meta_heard_of_it_is_not_told(db: Database):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, "Aff-1")
    await move(db, shop, ticket, "won")

    taken_back = await move(db, shop, ticket, "Proposta")
    assert await status(db, ticket) == {"Purchase": "CANCELLED"}
    await undo(db, shop, taken_back)

    assert await status(db, ticket) == {"Purchase": "PENDING"}


async def test_a_value_corrected_before_it_is_sent_is_what_is_sent(db: Database):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, "Aff-1")
    await move(db, shop, ticket, "won", value="100.00")

    async def correct(value: str) -> Decimal:
        async with db.tenant(shop.id) as conn:
            await flow.move_ticket(
                conn, shop.id, ticket, lambda _: Change(deal_value=Decimal(value)), actor=ACTOR
            )
        return Decimal((await events(db))[0]["value"])

    assert await correct("150.00") == Decimal("150.00")
    await put(db, "UPDATE meta_conversion_events SET status = 'SENT', attempts = 1, sent_at = now()")
    assert await correct("200.00") == Decimal("150.00")


async def test_one_lead_per_click_and_the_second_is_reconsidered_by_the_first(db: Database):
    shop = await make_shop(db)
    first, second = await tickets_of(db, shop, "Aff-same", "Aff-same")
    await move(db, shop, first, "qualified")

    await move(db, shop, second, "qualified")
    await move(db, shop, second, "won")

    assert await status(db, second) == {"LeadSubmitted": "SKIPPED_DUPLICATE_LEAD", "Purchase": "PENDING"}


async def test_another_organization_may_report_the_same_click(db: Database):
    for slug in ("nossa", "deles"):
        shop = await make_shop(db, slug)
        (ticket,) = await tickets_of(db, shop, "Aff-same")
        await move(db, shop, ticket, "qualified")
        assert await status(db, ticket) == {"LeadSubmitted": "PENDING"}


async def test_a_race_of_two_tickets_for_one_click_leaves_one_lead(db: Database):
    shop = await make_shop(db)
    for round_ in range(5):
        tickets = await tickets_of(db, shop, *[f"Aff-{round_}"] * 4)
        await asyncio.gather(*(move(db, shop, ticket, "qualified") for ticket in tickets))
        found = [(await status(db, ticket))["LeadSubmitted"] for ticket in tickets]
        assert sorted(found) == ["PENDING", *["SKIPPED_DUPLICATE_LEAD"] * 3]


async def test_a_race_of_two_moves_of_one_ticket_owes_each_event_once(db: Database):
    shop = await make_shop(db)
    for round_ in range(5):
        (ticket,) = await tickets_of(db, shop, f"Aff-{round_}")
        stages = ("qualified", "qualified", "won", "won", "Proposta")
        done = await asyncio.gather(
            *(move(db, shop, ticket, stage) for stage in stages), return_exceptions=True
        )
        assert not [each for each in done if isinstance(each, Exception) and not isinstance(each, Refused)]
        names = [row["event_name"] for row in await events(db, ticket)]
        assert len(names) == len(set(names))


async def test_a_removed_stages_tickets_owe_what_their_new_stage_owes(db: Database):
    shop = await make_shop(db)
    first, second, expired, qualified = await tickets_of(db, shop, "Aff-1", "Aff-2", "Aff-3", "Aff-4")
    for ticket in (first, second, expired):
        await move(db, shop, ticket, "Proposta")
    await move(db, shop, qualified, "qualified")
    await put(
        db,
        "UPDATE tickets SET status = 'closed', close_reason = 'EXPIRED', closed_at = now() WHERE id = %s",
        expired,
    )

    async with db.tenant(shop.id) as conn:
        stages = await all_stages(conn, shop.id)
        old, new = find_stage(stages, "Proposta"), find_stage(stages, "qualified")
        assert await flow.remove_stage(conn, Access(shop.id, ADMIN, ACTOR), old.id, new.id) == 3

    owed = {row["ticket_id"]: row["status"] for row in await events(db)}
    assert owed == {first: "PENDING", second: "PENDING", qualified: "PENDING"}


async def change_event(db: Database, shop_id: UUID, stage: str, event: str | None) -> None:
    async with db.tenant(shop_id) as conn:
        found = find_stage(await all_stages(conn, shop_id), stage)
        before = Wanted.of(found)
        wanted = Wanted(found.name, found.group, found.role, found.probability, found.color, event)
        await edit(conn, Access(shop_id, ADMIN, ACTOR), found.id, wanted, before.mark)


async def test_a_stages_event_is_chosen_and_the_first_of_two_stages_wins(db: Database):
    shop = await make_shop(db)
    await change_event(db, shop.id, "Proposta", "LeadSubmitted")
    await change_event(db, shop.id, "lost", "OrderCanceled")
    (ticket,) = await tickets_of(db, shop, "Aff-1")

    await move(db, shop, ticket, "Proposta")
    first = (await events(db))[0]
    await move(db, shop, ticket, "qualified")
    await move(db, shop, ticket, "lost")

    assert await status(db, ticket) == {"LeadSubmitted": "PENDING", "OrderCanceled": "PENDING"}
    assert (await events(db, ticket))[0]["event_time"] == first["event_time"]
    assert (await events(db, ticket))[1]["event_id"] == f"order_canceled-{ticket}"


@pytest.mark.parametrize(
    ("stage", "event", "code"),
    [("qualified", "Purchase", "purchase_is_won"), ("new", "ViewContent", "entry_owes_nothing")],
)
async def test_an_event_that_its_stage_cannot_carry_is_refused(
    db: Database, stage: str, event: str, code: str
):
    shop = await make_shop(db)

    with pytest.raises(Refused) as refusal:
        await change_event(db, shop.id, stage, event)

    assert (refusal.value.code, refusal.value.field) == (code, "event_name")


LEGAL = {
    ("PENDING", "SENT"), ("PENDING", "FAILED"), ("PENDING", "EXPIRED_WINDOW"), ("PENDING", "CANCELLED"),
    ("PENDING", "SKIPPED_NO_DATASET"), ("PENDING", "SKIPPED_ACCOUNT_INACTIVE"),
    ("SKIPPED_NO_DATASET", "PENDING"), ("SKIPPED_NO_DATASET", "EXPIRED_WINDOW"), ("SKIPPED_NO_DATASET", "CANCELLED"),
    ("SKIPPED_ACCOUNT_INACTIVE", "PENDING"), ("SKIPPED_ACCOUNT_INACTIVE", "EXPIRED_WINDOW"), ("SKIPPED_ACCOUNT_INACTIVE", "CANCELLED"),
    ("SKIPPED_DUPLICATE_LEAD", "PENDING"), ("SKIPPED_DUPLICATE_LEAD", "CANCELLED"),
    ("FAILED", "PENDING"), ("FAILED", "SENT"), ("EXPIRED_WINDOW", "SENT"),
    ("SKIPPED_NO_DATASET", "SENT"), ("SKIPPED_ACCOUNT_INACTIVE", "SENT"),
    ("CANCELLED", "PENDING"), ("CANCELLED", "EXPIRED_WINDOW"), ("CANCELLED", "SKIPPED_NO_CTWA"),
    ("CANCELLED", "SKIPPED_DUPLICATE_LEAD"),
}  # fmt: skip
# How each state is come by.
WAYS: dict[str, list[str]] = {
    "PENDING": [],
    "SENT": ["SENT"],
    "FAILED": ["FAILED"],
    "EXPIRED_WINDOW": ["EXPIRED_WINDOW"],
    "CANCELLED": ["CANCELLED"],
    "SKIPPED_NO_DATASET": ["SKIPPED_NO_DATASET"],
    "SKIPPED_ACCOUNT_INACTIVE": ["SKIPPED_ACCOUNT_INACTIVE"],
    "SKIPPED_NO_CTWA": ["CANCELLED", "SKIPPED_NO_CTWA"],
    "SKIPPED_DUPLICATE_LEAD": ["CANCELLED", "SKIPPED_DUPLICATE_LEAD"],
}
GO = """UPDATE meta_conversion_events SET status = %s, attempts = CASE %s WHEN 'SENT' THEN 1 ELSE attempts END,
        sent_at = CASE %s WHEN 'SENT' THEN now() END WHERE ticket_id = %s"""


async def go(db: Database, ticket: UUID, to: str) -> None:
    await put(db, GO, to, to, to, ticket)


async def test_the_database_allows_exactly_these_transitions(db: Database):
    shop = await make_shop(db)
    pairs = [(old, new) for old, new in product(rules.STATUSES, repeat=2) if old != new]
    (ticket,) = await tickets_of(db, shop, "Aff-1")
    found = set()
    for old, new in pairs:
        await put(db, "DELETE FROM meta_conversion_events")
        await put(db, "UPDATE tickets SET stage_id = (SELECT id FROM stages WHERE role = 'new')")
        await move(db, shop, ticket, "qualified")
        for step in WAYS[old]:
            await go(db, ticket, step)
        with suppress(errors.CheckViolation):
            await go(db, ticket, new)
            found.add((old, new))

    assert found == LEGAL


async def test_what_was_attempted_is_not_cancelled_and_what_was_sent_is_not_changed(db: Database):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, "Aff-1")
    await move(db, shop, ticket, "won")

    with pytest.raises(errors.CheckViolation):
        await put(
            db, "UPDATE meta_conversion_events SET status = 'SENT', sent_at = now()"
        )  # without an attempt
    await put(db, "UPDATE meta_conversion_events SET attempts = 1")
    with pytest.raises(errors.CheckViolation):
        await put(db, "UPDATE meta_conversion_events SET status = 'CANCELLED'")
    await put(db, "UPDATE meta_conversion_events SET status = 'SENT', sent_at = now()")
    with pytest.raises(errors.CheckViolation):
        await put(db, "UPDATE meta_conversion_events SET value = 1")
    with pytest.raises(errors.CheckViolation):
        await put(db, "UPDATE meta_conversion_events SET event_id = 'other'")
