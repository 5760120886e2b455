"""Sending what is owed: what arrives at Meta, what each answer means, and whose token is used."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from tests.conversions import Desk, a_desk, connect, events, grant, move, put, status, undo
from tests.support import rows
from whatrack.db import Database
from whatrack.sandbox.build import ADS_SCOPES, issue_token
from whatrack.sandbox.state import Dataset
from whatrack.sandbox.trouble import break_login, heal, revoke_permission
from whatrack.units import new_id

EVENTS: dict[str, Any] = {"path": "*/events"}


@pytest.fixture
async def desk(db: Database) -> AsyncIterator[Desk]:
    async with a_desk(db) as made:
        yield made


async def owed(desk: Desk, count: int = 1, to: str = "qualified") -> list[Any]:
    tickets = await desk.tickets(count)
    for ticket in tickets:
        await move(desk.db, desk.shop, ticket, to)
    return tickets


async def statuses(desk: Desk) -> list[str]:
    return [row["status"] for row in await events(desk.db)]


async def test_a_lead_and_a_sale_arrive_exactly_as_documented_and_are_proved(desk: Desk):
    (ticket,) = await owed(desk)
    await move(desk.db, desk.shop, ticket, "won", value="1234.50")
    await desk.drained()

    lead, purchase = await events(desk.db)
    told = {each["event_name"]: each for each in desk.learned}
    assert told["Purchase"] == {
        "event_name": "Purchase",
        "event_time": int(purchase["event_time"].timestamp()),
        "event_id": f"purchase-{ticket}",
        "action_source": "business_messaging",
        "messaging_channel": "whatsapp",
        "user_data": {
            "whatsapp_business_account_id": desk.sandbox.cast.waba.id,
            "ctwa_clid": purchase["ctwa_clid"],
        },
        "custom_data": {"currency": "BRL", "value": 1234.5},
    }
    assert "custom_data" not in told["LeadSubmitted"]
    truth = desk.sandbox.truth()["events"]
    assert {each["partner_agent"] for each in truth} == {"whatrack"}
    assert {each["test_event_code"] for each in truth} == {None}
    for row in (lead, purchase):
        assert (row["status"], row["success"], row["attempts"]) == ("SENT", True, 1)
        assert row["sent_at"] > row["event_time"]
        assert row["fbtrace_id"].startswith("A")
    attempts = await desk.attempts()
    assert [each["outcome"] for each in attempts] == ["accepted", "accepted"]
    assert {each["dataset_id"] for each in attempts} == {desk.waba_dataset}
    assert attempts[0]["response"] == {"events_received": 2, "messages": [], "fbtrace_id": lead["fbtrace_id"]}


async def test_what_is_kept_of_a_request_holds_no_token_no_phone_and_no_whole_click_id(desk: Desk):
    await owed(desk)
    desk.sandbox.faults.inject("error", code=190, subcode=463, **EVENTS)
    await desk.drained()

    text = json.dumps(await desk.attempts(), default=str)

    for secret in (
        desk.sandbox.token.value,
        desk.sandbox.number_token.value,
        (await events(desk.db))[0]["ctwa_clid"],
        "55119",
    ):
        assert secret not in text


async def test_a_test_code_is_sent_only_where_one_is_set(desk: Desk):
    await put(
        desk.db, "INSERT INTO dataset_test_codes VALUES (%s, %s, 'TEST123')", desk.shop.id, desk.waba_dataset
    )
    await owed(desk)
    await desk.drained()

    assert desk.sandbox.truth()["events"][0]["test_event_code"] == "TEST123"


async def test_many_events_are_one_request(desk: Desk):
    await owed(desk, 12)
    await desk.drained()

    assert len({each["lease_id"] for each in await desk.attempts()}) == 1
    assert len(desk.learned) == 12


async def test_the_accounts_own_dataset_goes_before_the_whatsapp_accounts(db: Database):
    async with a_desk(db) as desk:
        loose = next(each.id for each in desk.sandbox.world.all(Dataset) if not each.checks_clicks)
        await put(db, "UPDATE meta_ad_accounts SET pixel_id = %s, pixel_confirmed = true", loose)
        await owed(desk)
        await desk.drained()

        (attempt,) = await desk.attempts()
        assert (attempt["dataset_id"], attempt["connection_id"], attempt["outcome"]) == (
            loose,
            desk.profile,
            "accepted",
        )


async def test_an_account_that_is_off_skips_and_is_mended(desk: Desk):
    await put(desk.db, "UPDATE meta_ad_accounts SET is_active = false")
    await owed(desk)
    await desk.drained()
    assert await statuses(desk) == ["SKIPPED_ACCOUNT_INACTIVE"]
    assert desk.learned == []


async def test_without_any_dataset_it_skips(desk: Desk):
    await put(desk.db, "UPDATE whatsapp_numbers SET dataset_id = NULL")
    await owed(desk)
    await desk.drained()

    assert await statuses(desk) == ["SKIPPED_NO_DATASET"]


async def test_while_the_ad_is_looked_up_the_event_waits_ten_minutes_at_most(desk: Desk):
    await owed(desk)
    await put(desk.db, "DELETE FROM meta_ads")
    await desk.due()
    await desk.drained()
    (row,) = await events(desk.db)
    assert (row["hold_reason"], row["next_attempt_at"]) == (
        "enrichment",
        row["not_before"] + timedelta(minutes=10),
    )

    await put(
        desk.db,
        "UPDATE meta_conversion_events SET not_before = now() - interval '10 minutes', next_attempt_at = now()",
    )
    await desk.drained()

    assert await statuses(desk) == ["SENT"]  # to the WhatsApp account's own dataset


async def test_an_ad_that_nobody_can_show_does_not_hold_the_event(desk: Desk):
    await owed(desk)
    await put(desk.db, "DELETE FROM meta_ads")
    await put(
        desk.db,
        "INSERT INTO meta_ad_lookups SELECT organization_id, meta_ad_id, 'no_access', 1, now(), now() FROM meta_conversion_events",
    )
    await desk.drained()

    assert await statuses(desk) == ["SENT"]


async def test_an_event_that_left_the_window_while_it_waited_is_not_sent(desk: Desk):
    await owed(desk)
    await put(desk.db, "UPDATE meta_conversion_events SET event_time = now() - interval '7 days'")
    await desk.drained()

    assert (await statuses(desk), desk.learned) == (["EXPIRED_WINDOW"], [])


async def test_one_bad_event_fails_alone(desk: Desk):
    tickets = await owed(desk, 9)
    await put(
        desk.db, "UPDATE meta_conversion_events SET ctwa_clid = 'made-up' WHERE ticket_id = %s", tickets[4]
    )

    await desk.drained()

    found = {row["ticket_id"]: row for row in await events(desk.db)}
    bad = found.pop(tickets[4])
    assert (bad["status"], bad["error_code"]) == ("FAILED", "100/2804087")
    assert {row["status"] for row in found.values()} == {"SENT"}
    assert len(desk.learned) == 8
    outcomes = {each["outcome"] for each in await desk.attempts()}
    assert outcomes == {"refused_with_others", "refused", "accepted"}


# Every refusal of an event or its dataset (meta-contract §2.3): permanent, kept with its code.
REFUSALS = [2804016, 2804019, 2804043, 2804050, 2804063, 2804064, 2804065, 2804066, 2804072, 2804073, 2804075, 2804079, 2804087,
            2804116, 2804131, 2804132, 2804133]  # fmt: skip


async def test_a_permanent_refusal_fails_with_metas_code(desk: Desk):
    for subcode in REFUSALS:
        await put(desk.db, "DELETE FROM meta_conversion_events")
        await put(desk.db, "UPDATE tickets SET stage_id = (SELECT id FROM stages WHERE role = 'new')")
        await owed(desk)
        desk.sandbox.faults.inject("error", code=100, subcode=subcode, message="Invalid parameter", **EVENTS)
        await desk.drained()

        (row,) = await events(desk.db)
        assert (row["status"], row["error_code"], row["hold_reason"]) == ("FAILED", f"100/{subcode}", None)
        assert row["fbtrace_id"]
        assert row["error_message"] == "Invalid parameter"
        assert [each["outcome"] for each in await desk.attempts()] == ["refused"]


async def test_too_old_for_meta_is_the_windows_end(desk: Desk):
    await owed(desk)
    desk.sandbox.faults.inject("error", code=100, subcode=2804003, **EVENTS)
    await desk.drained()

    assert await statuses(desk) == ["EXPIRED_WINDOW"]


async def test_what_is_wrong_with_the_dataset_is_asked_once_for_all_its_events(desk: Desk):
    await owed(desk, 6)
    desk.sandbox.faults.inject("error", code=100, subcode=2804132, times=None, **EVENTS)
    await desk.drained()

    assert await statuses(desk) == ["FAILED"] * 6
    assert len({each["lease_id"] for each in await desk.attempts()}) == 1


async def test_a_throttled_event_waits_as_told(desk: Desk):
    for code in (4, 17, 32, 341, 613, 80000, 80004, 80014):
        await put(desk.db, "DELETE FROM meta_conversion_events")
        await put(desk.db, "UPDATE tickets SET stage_id = (SELECT id FROM stages WHERE role = 'new')")
        await owed(desk)
        desk.sandbox.faults.inject("throttle", code=code, minutes=7, **EVENTS)
        await desk.drained()

        (row,) = await events(desk.db)
        assert (row["status"], row["hold_reason"], row["trouble"]) == ("PENDING", "throttled", 0)
        assert row["next_attempt_at"] > row["updated_at"] + timedelta(seconds=50)

        desk.graph._resume_at.clear()  # as if the minutes had passed
        await desk.due()
        await desk.drained()
        assert await statuses(desk) == ["SENT"]


@pytest.mark.parametrize(("code", "status_"), [(1, 400), (2, 503), (2, 400)])
async def test_trouble_of_metas_is_tried_again_with_growing_pauses(desk: Desk, code: int, status_: int):
    await owed(desk)
    desk.sandbox.faults.inject("error", code=code, transient=True, status=status_, times=3, **EVENTS)
    pauses = []
    for _ in range(3):
        await desk.drained()
        (row,) = await events(desk.db)
        assert (row["status"], row["hold_reason"], row["was_unknown"]) == ("PENDING", "transient", False)
        pauses.append((row["next_attempt_at"] - row["updated_at"]).total_seconds())
        await desk.due()
    await desk.drained()

    assert await statuses(desk) == ["SENT"]
    assert pauses[0] == pytest.approx(2, rel=0.15)
    assert pauses[1] == pytest.approx(5, rel=0.15)
    assert pauses[2] == pytest.approx(15, rel=0.15)


@pytest.mark.parametrize("kind", ["server_error", "drop_answer", "slow"])
async def test_an_unknown_outcome_stays_owed_and_goes_again_with_the_same_id_marked(desk: Desk, kind: str):
    await owed(desk)
    more: dict[str, Any] = {"seconds": 3.0} if kind == "slow" else {}
    desk.sandbox.faults.inject(kind, **more, **EVENTS)
    await desk.drained()
    (row,) = await events(desk.db)
    assert (row["status"], row["hold_reason"], row["was_unknown"]) == ("PENDING", "unknown", True)
    assert [each["outcome"] for each in await desk.attempts()] == ["unknown"]

    await desk.due()
    await desk.drained()

    (row,) = await events(desk.db)
    assert (row["status"], row["was_unknown"], row["attempts"]) == ("SENT", True, 2)
    assert len({each["event_id"] for each in desk.learned}) == 1


async def test_nothing_was_sent_when_there_is_no_connection(desk: Desk):
    await owed(desk)
    desk.graph.base_url = "http://127.0.0.1:9"
    await desk.drained()

    (row,) = await events(desk.db)
    assert (row["status"], row["hold_reason"], row["was_unknown"]) == ("PENDING", "transient", False)


@pytest.mark.parametrize(("received", "reason", "unknown"), [(0, "uncounted", False), (2, "unknown", True)])
async def test_200_is_no_proof(desk: Desk, received: int, reason: str, unknown: bool):
    await owed(desk, 3)
    desk.sandbox.faults.inject("events_received", count=received)
    await desk.drained()

    for row in await events(desk.db):
        assert (row["status"], row["hold_reason"], row["was_unknown"]) == ("PENDING", reason, unknown)
    await desk.due()
    await desk.drained()
    assert await statuses(desk) == ["SENT"] * 3


@pytest.mark.parametrize(
    "how", ["expired", "password_changed", "logged_out", "checkpoint", "unconfirmed", "app_removed"]
)
async def test_a_dead_token_gives_way_to_another_that_may(db: Database, how: str):
    async with a_desk(db, number_token=False) as desk:
        viviane = desk.sandbox.cast.viviane
        other = issue_token(desk.sandbox.world, desk.sandbox.cast.ads_app, viviane, ADS_SCOPES, None)
        second = new_id()
        await connect(desk, second, other.value, viviane.id, "Viviane")
        await grant(desk, second)
        await owed(desk)
        break_login(desk.sandbox.world, desk.sandbox.cast.thiago.id, how)

        await desk.drained()

        assert [(each["outcome"], each["connection_id"]) for each in await desk.attempts()] == [
            ("token", desk.profile),
            ("accepted", second),
        ]
        (first,) = await rows(
            db, "SELECT status, status_reason FROM meta_connections WHERE id = %s", desk.profile
        )
        assert first["status"] == "EXPIRED"
        assert await statuses(desk) == ["SENT"]


async def test_when_every_token_is_dead_the_event_waits_says_so_and_goes_after_reconnecting(db: Database):
    async with a_desk(db, number_token=False) as desk:
        await owed(desk, 2)
        break_login(desk.sandbox.world, desk.sandbox.cast.thiago.id, "expired")
        await desk.drained()
        assert {(row["status"], row["hold_reason"]) for row in await events(db)} == {("PENDING", "token")}
        await desk.due()
        await desk.drained()
        assert {row["hold_reason"] for row in await events(db)} == {"no_token"}

        heal(desk.sandbox.world, desk.sandbox.cast.thiago.id)
        await put(db, "UPDATE meta_connections SET status = 'ACTIVE', status_reason = NULL")
        await desk.due()
        await desk.drained()

        assert await statuses(desk) == ["SENT", "SENT"]


async def test_a_missing_permission_waits_and_says_so(db: Database):
    async with a_desk(db, number_token=False) as desk:
        for scope in ("ads_read", "ads_management", "whatsapp_business_manage_events"):
            revoke_permission(desk.sandbox.world, desk.sandbox.cast.thiago.id, scope)
        await owed(desk)
        await desk.drained()

        (row,) = await events(db)
        assert (row["status"], row["hold_reason"], row["error_code"]) == ("PENDING", "permission", "200")


@pytest.mark.parametrize("code", [10, 200, 294, 3])
async def test_every_permission_code_waits(desk: Desk, code: int):
    await owed(desk)
    desk.sandbox.faults.inject("error", code=code, times=None, **EVENTS)
    await desk.drained()

    assert {(row["status"], row["hold_reason"]) for row in await events(desk.db)} == {
        ("PENDING", "permission")
    }


async def test_a_dataset_that_no_token_can_see_fails(desk: Desk):
    await put(desk.db, "UPDATE whatsapp_numbers SET dataset_id = '7999999999999999'")
    await owed(desk)
    await desk.drained()

    (row,) = await events(desk.db)
    assert (row["status"], row["error_code"]) == ("FAILED", "100/33")
    assert [each["outcome"] for each in await desk.attempts()] == [
        "refused",
        "refused",
    ]  # number, then profile


async def test_blocked_for_policy_stops_for_an_hour(desk: Desk):
    await owed(desk)
    desk.sandbox.faults.inject("error", code=368, **EVENTS)
    await desk.drained()

    (row,) = await events(desk.db)
    assert row["hold_reason"] == "blocked"
    assert row["next_attempt_at"] - row["updated_at"] > timedelta(minutes=50)


@pytest.mark.parametrize(
    "meanwhile", ["FAILED", "EXPIRED_WINDOW", "SKIPPED_NO_DATASET", "SKIPPED_ACCOUNT_INACTIVE"]
)
async def test_a_late_proof_wins_whoever_holds_the_lease(desk: Desk, meanwhile: str):
    await owed(desk)
    dispatcher = desk.dispatcher
    inner = dispatcher._send

    async def slow(claim: Any) -> Any:
        answer = await inner(claim)
        await put(
            desk.db, "UPDATE meta_conversion_events SET lease_id = gen_random_uuid(), status = 'PENDING'"
        )
        await put(
            desk.db,
            "UPDATE meta_conversion_events SET status = %s, lease_id = NULL, lease_until = NULL",
            meanwhile,
        )
        return answer

    dispatcher._send = slow  # type: ignore[method-assign]
    await dispatcher.step()

    assert await statuses(desk) == ["SENT"]


async def test_two_workers_send_each_event_once(desk: Desk):
    await owed(desk, 30)
    await put(desk.db, "UPDATE meta_conversion_events SET batch_limit = 2")
    workers = [desk.dispatcher for _ in range(4)]
    await asyncio.gather(*(_until_done(each) for each in workers))

    assert await statuses(desk) == ["SENT"] * 30
    assert len(desk.learned) == 30


async def _until_done(dispatcher: Any) -> None:
    while await dispatcher.step():
        pass


async def test_a_dead_workers_events_go_again_and_its_attempt_is_unknown(desk: Desk):
    await owed(desk)
    dispatcher = desk.dispatcher

    async def dies(claim: Any) -> Any:
        raise RuntimeError("killed")

    dispatcher._send = dies  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await dispatcher.step()
    assert await desk.drained() == 0  # under a lease: nobody else takes it

    await put(desk.db, "UPDATE meta_conversion_events SET lease_until = now(), next_attempt_at = now()")
    await desk.drained()

    assert [each["outcome"] for each in await desk.attempts()] == ["unknown", "accepted"]
    (row,) = await events(desk.db)
    assert (row["status"], row["was_unknown"]) == ("SENT", True)


async def test_a_dataset_that_is_not_linked_to_this_whatsapp_gives_way_to_its_own(db: Database):
    async with a_desk(db, pixel="7000000000000001") as desk:
        await owed(desk)
        await desk.drained()

        assert {each["dataset_id"] for each in await desk.attempts()} == {desk.waba_dataset}


async def test_undo_wins_over_a_dispatch_that_has_not_begun(desk: Desk):
    (ticket,) = await desk.tickets()
    moved = await move(desk.db, desk.shop, ticket, "qualified", hold_s=8)
    await desk.drained()
    await undo(desk.db, desk.shop, moved)
    await desk.due()
    await desk.drained()

    assert (await status(desk.db, ticket), desk.learned) == ({"LeadSubmitted": "CANCELLED"}, [])
