"""What changes about owed events by itself or by a person's retry; sales told by phone; and any sequence of moves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conversions import (
    ACTOR,
    Desk,
    a_desk,
    connect,
    events,
    grant,
    move,
    put,
    status,
    tickets_of,
    undo,
)
from tests.support import NOON, Shop, ad, body, change, make_shop, message, process, rows, tickets
from whatrack.conversions import claim as claims
from whatrack.conversions import retry, rules, sweeps
from whatrack.conversions import settings as conversion_settings
from whatrack.conversions.settings import SaleRule
from whatrack.db import Database
from whatrack.errors import NotFound, Refused
from whatrack.tenants.access import Access
from whatrack.units import new_id


@pytest.fixture
async def desk(db: Database) -> AsyncIterator[Desk]:
    async with a_desk(db) as made:
        yield made


async def swept(db: Database) -> None:
    for part in (sweeps.expire, sweeps.free_duplicates, sweeps.mend):
        async with db.system() as conn:
            await part(conn)


async def test_a_skip_that_is_mended_is_sent(desk: Desk):
    (ticket,) = await desk.tickets()
    await put(desk.db, "UPDATE meta_ad_accounts SET is_active = false")
    await move(desk.db, desk.shop, ticket, "qualified")
    await desk.drained()
    await swept(desk.db)
    assert await status(desk.db, ticket) == {"LeadSubmitted": "SKIPPED_ACCOUNT_INACTIVE"}

    await put(desk.db, "UPDATE meta_ad_accounts SET is_active = true")
    await swept(desk.db)
    await desk.drained()
    assert await status(desk.db, ticket) == {"LeadSubmitted": "SENT"}


async def test_several_leads_of_one_click_are_mended_as_one(desk: Desk):
    first, second = await tickets_of(
        desk.db, desk.shop, "Aff-same", "Aff-same", ad_id=desk.sandbox.ads()[0].id
    )
    await desk.known()
    await put(desk.db, "UPDATE whatsapp_numbers SET dataset_id = NULL")
    for ticket in (first, second):
        await move(desk.db, desk.shop, ticket, "qualified")
        await desk.drained()
    assert {(await status(desk.db, each))["LeadSubmitted"] for each in (first, second)} == {
        "SKIPPED_NO_DATASET"
    }

    await put(desk.db, "UPDATE whatsapp_numbers SET dataset_id = %s", desk.waba_dataset)
    await swept(desk.db)

    found = sorted([(await status(desk.db, each))["LeadSubmitted"] for each in (first, second)])
    assert found == ["PENDING", "SKIPPED_NO_DATASET"]


async def test_what_cannot_be_mended_does_not_hold_up_what_can(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """An organization may skip more than one round looks at, and only the newest of them may be mended."""
    monkeypatch.setattr(sweeps, "LIMIT", 2)
    made = await desk.tickets(4)
    await put(desk.db, "UPDATE whatsapp_numbers SET dataset_id = NULL")
    for ticket in made:
        await move(desk.db, desk.shop, ticket, "qualified")
        await desk.drained()
    await put(desk.db, "UPDATE whatsapp_numbers SET dataset_id = %s", desk.waba_dataset)
    await put(
        desk.db,
        "UPDATE meta_conversion_events SET meta_ad_id = '120999', event_time = event_time - interval '1 hour' WHERE ticket_id = ANY(%s)",
        made[:3],
    )
    await put(
        desk.db,
        "INSERT INTO meta_ads (organization_id, meta_ad_id, meta_account_id, fetched_at) VALUES (%s, '120999', '777', now())",
        desk.shop.id,
    )
    await put(
        desk.db,
        """INSERT INTO meta_ad_accounts (organization_id, id, ad_account_id, ad_account_name, account_status, currency, timezone_name,
           is_active, seen_at) VALUES (%s, gen_random_uuid(), 'act_777', 'CA 02', 1, 'BRL', 'America/Sao_Paulo', false, now())""",
        desk.shop.id,
    )

    await swept(desk.db)
    await desk.drained()

    assert await status(desk.db, made[3]) == {"LeadSubmitted": "SENT"}
    assert {(await status(desk.db, each))["LeadSubmitted"] for each in made[:3]} == {"SKIPPED_NO_DATASET"}


async def test_what_waited_for_a_token_goes_once_a_new_profiles_accounts_are_listed(db: Database):
    async with a_desk(db, number_token=False) as desk:
        (ticket,) = await desk.tickets()
        await put(db, "UPDATE meta_connections SET status = 'EXPIRED', status_reason = 'token_expired'")
        await move(db, desk.shop, ticket, "qualified")
        await desk.drained()
        another = new_id()
        await connect(
            desk, another, desk.sandbox.token.value, "777", "Ana"
        )  # its accounts are not listed yet
        async with db.system() as conn:
            await sweeps.profile_connected(conn, desk.shop.id)
        await desk.drained()
        await swept(db)
        await desk.drained()
        (event,) = await events(db)
        assert (event["status"], event["hold_reason"]) == ("PENDING", "no_token")

        await grant(desk, another)
        await swept(db)
        await desk.drained()

        assert await status(db, ticket) == {"LeadSubmitted": "SENT"}


async def test_the_window_closing_on_a_dead_workers_event_ends_its_attempt(desk: Desk):
    (ticket,) = await desk.tickets()
    await move(desk.db, desk.shop, ticket, "qualified")
    async with desk.db.system() as conn:
        await claims.take(conn, timedelta(seconds=60))  # and the worker dies
    await put(
        desk.db,
        "UPDATE meta_conversion_events SET lease_until = now(), event_time = now() - interval '7 days'",
    )
    await swept(desk.db)

    assert await status(desk.db, ticket) == {"LeadSubmitted": "EXPIRED_WINDOW"}
    (attempt,) = await desk.attempts()
    assert (attempt["outcome"], attempt["ended_at"] is not None) == ("unknown", True)
    assert (await events(desk.db))[0]["was_unknown"]


@pytest.mark.parametrize("state", ["PENDING", "SKIPPED_NO_DATASET", "SKIPPED_ACCOUNT_INACTIVE"])
async def test_what_is_seven_days_old_expires(db: Database, state: str):
    shop = await make_shop(db)
    (ticket,) = await tickets_of(db, shop, "Aff-1")
    await move(db, shop, ticket, "qualified")
    await put(db, "UPDATE meta_conversion_events SET status = %s", state)
    await swept(db)
    assert (await status(db, ticket))["LeadSubmitted"] != "EXPIRED_WINDOW"

    await put(db, "UPDATE meta_conversion_events SET event_time = now() - interval '7 days'")
    await swept(db)

    assert await status(db, ticket) == {"LeadSubmitted": "EXPIRED_WINDOW"}


@pytest.mark.parametrize("ending", ["undone", "FAILED", "EXPIRED_WINDOW"])
async def test_a_duplicate_is_owed_when_the_other_ends_unsent(db: Database, ending: str):
    shop = await make_shop(db)
    first, second, third = await tickets_of(db, shop, *["Aff-same"] * 3)
    moved = await move(db, shop, first, "qualified")
    for ticket in (second, third):
        await move(db, shop, ticket, "qualified")
    await swept(db)
    assert (await status(db, second))["LeadSubmitted"] == "SKIPPED_DUPLICATE_LEAD"

    if ending == "undone":
        await undo(db, shop, moved)
    else:
        await put(db, "UPDATE meta_conversion_events SET status = %s WHERE ticket_id = %s", ending, first)
    await swept(db)

    found = [(await status(db, each))["LeadSubmitted"] for each in (second, third)]
    assert sorted(found) == ["PENDING", "SKIPPED_DUPLICATE_LEAD"]


async def test_a_duplicate_whose_own_move_was_undone_is_never_owed(db: Database):
    shop = await make_shop(db)
    first, second = await tickets_of(db, shop, "Aff-same", "Aff-same")
    moved = await move(db, shop, first, "qualified")
    await undo(db, shop, await move(db, shop, second, "qualified"))
    await undo(db, shop, moved)
    await swept(db)

    assert await status(db, second) == {"LeadSubmitted": "CANCELLED"}


def agent(shop: Shop) -> Access:
    return Access(shop.id, "admin", ACTOR)


async def test_broken_dataset_read_mended_retried_accepted_once(desk: Desk):
    (ticket,) = await desk.tickets()
    desk.sandbox.faults.inject("error", code=100, subcode=2804132, times=None, path="*/events")
    await move(desk.db, desk.shop, ticket, "won")
    await desk.drained()
    (event,) = await events(desk.db)
    assert (event["status"], event["error_code"]) == ("FAILED", "100/2804132")

    desk.sandbox.faults.clear()
    async with desk.db.tenant(desk.shop.id) as conn:
        await retry.one(conn, agent(desk.shop), event["id"])
    await desk.drained()

    assert await status(desk.db, ticket) == {"Purchase": "SENT"}
    assert len(desk.learned) == 1
    async with desk.db.tenant(desk.shop.id) as conn:
        with pytest.raises(Refused, match="accepted"):
            await retry.one(conn, agent(desk.shop), event["id"])


async def test_all_failed_or_those_of_one_cause_are_retried_and_old_ones_are_not(db: Database):
    shop = await make_shop(db)
    made = await tickets_of(db, shop, "Aff-1", "Aff-2", "Aff-3")
    for ticket in made:
        await move(db, shop, ticket, "qualified")
    await put(db, "UPDATE meta_conversion_events SET status = 'FAILED', attempts = 1, error_code = '100/33'")
    await put(
        db, "UPDATE meta_conversion_events SET error_code = '100/2804087' WHERE ticket_id = %s", made[0]
    )
    await put(
        db,
        "UPDATE meta_conversion_events SET event_time = now() - interval '8 days' WHERE ticket_id = %s",
        made[1],
    )

    async with db.tenant(shop.id) as conn:
        assert await retry.failed(conn, agent(shop), "100/33") == 1
        assert await retry.failed(conn, agent(shop)) == 1
        assert await retry.failed(conn, agent(shop)) == 0
    assert (await status(db, made[1]))["LeadSubmitted"] == "FAILED"
    deeds = await rows(db, "SELECT action FROM audit_log WHERE action LIKE 'events_%%'")
    assert len(deeds) == 2


async def test_a_retry_is_refused_with_its_reason(db: Database):
    shop, other = await make_shop(db), await make_shop(db, "outra")
    first, second = await tickets_of(db, shop, "Aff-same", "Aff-same")
    await move(db, shop, first, "qualified")
    (event,) = await events(db, first)
    await put(db, "UPDATE meta_conversion_events SET status = 'FAILED', attempts = 1")
    await move(db, shop, second, "qualified")
    async with db.tenant(shop.id) as conn:
        with pytest.raises(Refused) as refusal:
            await retry.one(conn, agent(shop), event["id"])
    assert refusal.value.code == "duplicate_lead"
    async with db.tenant(other.id) as conn:
        with pytest.raises(NotFound):
            await retry.one(conn, agent(other), event["id"])


async def test_of_two_failed_leads_of_a_click_one_is_retried_whichever_a_person_chooses(db: Database):
    shop = await make_shop(db)
    made = await tickets_of(db, shop, "Aff-same", "Aff-same")
    found = []
    for ticket in made:
        await move(db, shop, ticket, "qualified")
        await put(
            db, "UPDATE meta_conversion_events SET status = 'FAILED', attempts = 1, error_code = '100/33'"
        )
        found += await events(db, ticket)
    first, second = sorted(found, key=lambda each: each["id"])

    async with db.tenant(shop.id) as conn:
        await retry.one(conn, agent(shop), second["id"])
        with pytest.raises(Refused, match="twice"):
            await retry.one(conn, agent(shop), first["id"])
    await put(db, "UPDATE meta_conversion_events SET status = 'FAILED' WHERE status = 'PENDING'")
    async with db.tenant(shop.id) as conn:
        assert await retry.failed(conn, agent(shop)) == 1
    await put(db, "UPDATE meta_conversion_events SET status = 'FAILED' WHERE status = 'PENDING'")
    await put(
        db,
        "UPDATE meta_conversion_events SET event_time = now() - interval '8 days' WHERE id = %s",
        first["id"],
    )
    async with db.tenant(shop.id) as conn:  # the other is too old to be told by anybody
        assert await retry.failed(conn, agent(shop), "100/33") == 1
    assert {row["id"]: row["status"] for row in await events(db)}[second["id"]] == "PENDING"


# A sale that the business's phone tells.


def echo(at: Any, text: str, to: str = "5511900000001") -> dict[str, Any]:
    return {"from": "551135550100", "to": to, "id": f"wamid.echo.{text}.{at.timestamp()}", "timestamp": str(int(at.timestamp())),
            "type": "text", "text": {"body": text}}  # fmt: skip


def echoes(shop: Shop, *said: dict[str, Any]) -> bytes:
    return body(change(shop.number, field="smb_message_echoes", message_echoes=list(said)))


async def switch(db: Database, shop: Shop, phrase: str = "Venda confirmada", *, on: bool = True) -> None:
    async with db.tenant(shop.id) as conn:
        await conversion_settings.save_sale_rule(conn, agent(shop), SaleRule(phrase, on))


@pytest.mark.parametrize("together", [True, False])
async def test_a_sale_told_by_phone_wins_the_ticket_and_owes_the_purchase(db: Database, together: bool):
    shop = await make_shop(db)
    await switch(db, shop)
    said = [
        body(change(shop.number, message("5511900000001", at=NOON, referral=ad(clid="Aff-1")))),
        echoes(shop, echo(NOON + timedelta(minutes=1), "Venda confirmada R$ 1.234,50")),
        body(change(shop.number, message("5511900000001", at=NOON + timedelta(minutes=2), text="Obrigado!"))),
    ]
    for part in [said] if together else [[each] for each in said]:
        await process(db, *part)
    await process(db, said[1])  # Meta delivers at least once

    sold, after = await tickets(db)
    assert (sold["close_reason"], str(sold["deal_value"])) == ("WON", "1234.50")
    assert sold["won_at"] == NOON + timedelta(minutes=1)
    assert (after["status"], after["follow_up"]) == ("open", True)
    (event,) = await events(db)
    assert (event["event_name"], event["status"], event["event_time"]) == (
        "Purchase",
        "PENDING",
        NOON + timedelta(minutes=1),
    )
    (moved,) = await rows(db, "SELECT actor FROM ticket_stage_changes")
    assert moved["actor"] == "phone"


async def test_the_phrase_does_nothing_while_the_rule_is_off_or_a_customer_writes_it(db: Database):
    shop = await make_shop(db)
    await process(
        db,
        body(change(shop.number, message("5511900000001", at=NOON, referral=ad(clid="Aff-1")))),
        echoes(shop, echo(NOON + timedelta(minutes=1), "Venda confirmada R$ 10,00")),
    )
    await switch(db, shop)
    await process(
        db,
        body(
            change(
                shop.number,
                message("5511900000001", at=NOON + timedelta(minutes=2), text="Venda confirmada R$ 10,00"),
            )
        ),
    )
    assert [each["status"] for each in await tickets(db)] == ["open"]

    async with db.tenant(shop.id) as conn:  # tried on what was written before
        found = await conversion_settings.preview(conn, shop.id, "venda confirmada")
    assert ([str(each.value) for each in found.matches], found.count, found.read) == (["10.00"], 1, 1)


async def test_a_preview_counts_more_than_it_shows(db: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(conversion_settings, "SHOWN", 2)
    shop = await make_shop(db)
    said = [
        echo(NOON + timedelta(minutes=place), f"Venda confirmada R$ {place + 1},00") for place in range(3)
    ]
    await process(db, echoes(shop, *said, echo(NOON, "Bom dia")))

    async with db.tenant(shop.id) as conn:
        found = await conversion_settings.preview(conn, shop.id, "Venda confirmada")

    assert [str(each.value) for each in found.matches] == ["3.00", "2.00"]
    assert (found.count, found.read) == (3, 4)


# Any sequence of moves.

STEPS = st.lists(
    st.sampled_from(
        ["qualified", "Proposta", "won", "lost", "new", "undo", "send", "fail", "age", "sweep", "retry"]
    ),
    max_size=14,
)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_any_sequence_of_moves_leaves_one_row_per_event_in_a_state_that_exists(
    conninfo: str, steps: list[str]
):
    asyncio.run(_walk(conninfo, steps))


async def _walk(conninfo: str, steps: list[str]) -> None:
    db = Database(conninfo)
    await db.open()
    try:
        shop = await make_shop(db, f"loja-{UUID(int=hash(tuple(steps)) & (2**64 - 1))}"[:60])
        made = await tickets_of(db, shop, "Aff-same", "Aff-same")
        last: dict[UUID, Any] = {}
        for place, step in enumerate(steps):
            ticket = made[place % 2]
            with suppress(Refused, NotFound):
                await _step(db, shop, ticket, step, last)
            await _hold(db, made)
    finally:
        async with db.system() as conn:
            await conn.execute(b"DELETE FROM meta_conversion_events")
        await db.close()


async def _step(db: Database, shop: Shop, ticket: UUID, step: str, last: dict[UUID, Any]) -> None:
    lead = "AND event_name = 'LeadSubmitted'"
    match step:
        case "undo":
            if ticket in last:
                await undo(db, shop, last.pop(ticket))
        case "send":
            await put(
                db,
                f"UPDATE meta_conversion_events SET status = 'SENT', attempts = 1, sent_at = now() WHERE ticket_id = %s AND status = 'PENDING' {lead}",
                ticket,
            )
        case "fail":
            await put(
                db,
                "UPDATE meta_conversion_events SET status = 'FAILED', attempts = 1 WHERE ticket_id = %s AND status = 'PENDING'",
                ticket,
            )
        case "age":
            await put(
                db,
                "UPDATE meta_conversion_events SET event_time = now() - interval '8 days' WHERE ticket_id = %s AND status = 'PENDING'",
                ticket,
            )
        case "sweep":
            await swept(db)
        case "retry":
            async with db.tenant(shop.id) as conn:
                await retry.failed(conn, agent(shop))
        case _:
            last[ticket] = await move(db, shop, ticket, step)


async def _hold(db: Database, made: list[UUID]) -> None:
    found = [row for ticket in made for row in await events(db, ticket)]
    assert len({(row["ticket_id"], row["event_name"]) for row in found}) == len(found)
    assert {row["status"] for row in found} <= set(rules.STATUSES)
    for row in found:
        assert row["event_id"] == rules.event_id(row["event_name"], row["ticket_id"])
        assert (row["status"] == "SENT") == row["success"] == (row["sent_at"] is not None)
    leads = [
        row for row in found if row["event_name"] == "LeadSubmitted" and row["status"] in ("PENDING", "SENT")
    ]
    assert len(leads) <= 1  # one click, one lead
