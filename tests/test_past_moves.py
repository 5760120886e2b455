"""What is told afterwards: moves and refunds that carry the time when they happened, through the API."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest

from tests.support import PHONE, ad, body, change, make_shop, message, process, rows
from tests.test_api_tickets import TICKETS, api_of, iso
from whatrack.db import Database

DAY = timedelta(days=1)
CLICK = "AfPast" + "x" * 40


@pytest.fixture
async def web(service: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(service) as session:
        yield session


@pytest.fixture
async def ticket(db: Database) -> dict[str, Any]:
    """A ticket that an ad led to thirty-five days ago, and which by now has expired."""
    shop = await make_shop(db)
    (clock,) = await rows(db, "SELECT date_trunc('second', now()) AS now")
    opened_at = clock["now"] - 35 * DAY
    await process(
        db, body(change(shop.number, message(PHONE, at=opened_at, referral=ad("1202", ctwa_clid=CLICK))))
    )
    (found,) = await rows(db, "SELECT id FROM tickets")
    return {"id": str(found["id"]), "shop": shop, "opened_at": opened_at, "now": clock["now"]}


async def moves(db: Database) -> list[tuple[str, datetime]]:
    found = await rows(db, "SELECT to_stage, happened_at FROM ticket_stage_changes ORDER BY changed_at")
    return [(row["to_stage"], row["happened_at"]) for row in found]


async def test_a_move_told_afterwards_happened_then(web: aiohttp.ClientSession, db: Database, ticket: Any):
    api = await api_of(web, db, ticket["shop"])
    qualified_at, won_at = ticket["opened_at"] + 2 * DAY, ticket["opened_at"] + 5 * DAY

    qualified = await api.patch(ticket["id"], stage="qualificado", happened_at=iso(qualified_at))
    won = await api.patch(ticket["id"], stage="ganho", deal_value="900", happened_at=iso(won_at))

    assert (qualified.status, won.status) == (200, 200)
    assert await moves(db) == [("Qualificado", qualified_at), ("Ganho", won_at)]
    assert [datetime.fromisoformat(won.json[name]) for name in ("won_at", "closed_at")] == [won_at, won_at]


async def test_what_is_owed_for_a_past_move_is_as_old_as_the_move(
    web: aiohttp.ClientSession, db: Database, ticket: Any
):
    api = await api_of(web, db, ticket["shop"])
    await api.patch(ticket["id"], stage="qualificado", happened_at=iso(ticket["now"] - 8 * DAY))
    await api.patch(ticket["id"], stage="ganho", deal_value="900", happened_at=iso(ticket["now"] - 6 * DAY))

    owed = await rows(db, "SELECT event_name, status, event_time FROM meta_conversion_events")

    lead, sale = sorted(owed, key=lambda row: str(row["event_name"]))
    assert (lead["status"], lead["event_time"]) == ("EXPIRED_WINDOW", ticket["now"] - 8 * DAY)
    # The service's senders look at once, and there is no dataset here.
    assert sale["status"] in ("PENDING", "SKIPPED_NO_DATASET")
    assert sale["event_time"] == ticket["now"] - 6 * DAY


async def test_a_past_move_gives_a_ticket_no_longer_life_than_it_would_have_had(
    web: aiohttp.ClientSession, db: Database, ticket: Any
):
    api = await api_of(web, db, ticket["shop"])
    at = ticket["opened_at"] + DAY

    await api.patch(ticket["id"], stage="perdido", happened_at=iso(at))
    await api.patch(ticket["id"], stage="proposta", happened_at=iso(at + DAY))

    (found,) = await rows(db, "SELECT status, active_at FROM tickets")
    assert (found["status"], found["active_at"]) == ("open", at + DAY)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"stage": "qualificado", "happened_at": "later"}, "happened_at"),
        ({"stage": "qualificado", "happened_at": "before"}, "happened_at"),
        ({"deal_value": "10", "happened_at": "then"}, "happened_at"),
        ({"stage": "ganho", "deal_value": "10", "happened_at": "then", "won_at": "now"}, "won_at"),
    ],
)
async def test_a_past_move_lies_in_the_tickets_life_and_a_sale_not_after_its_move(
    web: aiohttp.ClientSession, db: Database, ticket: Any, change: dict[str, str], field: str
):
    api = await api_of(web, db, ticket["shop"])
    times = {
        "later": ticket["now"] + DAY,
        "before": ticket["opened_at"] - timedelta(seconds=1),
        "then": ticket["opened_at"] + DAY,
        "now": ticket["now"],
    }
    sent = {name: iso(times[value]) if value in times else value for name, value in change.items()}

    answer = await api.patch(ticket["id"], **sent)

    assert (answer.status, [each["field"] for each in answer.json["errors"]]) == (422, [field])
    assert await moves(db) == []


async def test_a_refund_is_written_down_and_listed(web: aiohttp.ClientSession, db: Database, ticket: Any):
    api = await api_of(web, db, ticket["shop"])
    path, won_at = f"{TICKETS}/{ticket['id']}/refunds", ticket["opened_at"] + DAY
    unsold = await api("POST", path, json={"amount": "10"})
    await api.patch(ticket["id"], stage="ganho", deal_value="900", happened_at=iso(won_at))

    given = await api(
        "POST", path, json={"amount": "100.50", "reason": "desistiu", "refunded_at": iso(won_at + DAY)}
    )
    refused = [
        await api("POST", path, json=asked)
        for asked in (
            {"amount": "800"},
            {"amount": "1", "refunded_at": iso(won_at - DAY)},
            {"amount": "1", "refunded_at": iso(ticket["now"] + DAY)},
            {"amount": "0"},
            {"amount": "1", "version": 1},
            {"amount": "1", "colour": "red"},
        )
    ]
    listed = (await api.get(path)).json["data"]

    assert (unsold.status, unsold.code) == (409, "not_won")
    assert given.status == 201
    assert (given.json["amount"], given.json["currency"]) == ("100.50", "BRL")
    assert datetime.fromisoformat(given.json["refunded_at"]) == won_at + DAY
    assert [answer.status for answer in refused] == [422, 422, 422, 422, 409, 422]
    assert listed == [given.json]


async def test_refunds_are_for_those_who_may_and_for_the_organizations_own_tickets(
    web: aiohttp.ClientSession, db: Database, ticket: Any
):
    path = f"{TICKETS}/{ticket['id']}/refunds"
    viewer = await api_of(web, db, ticket["shop"], "viewer")
    stranger = await api_of(web, db, await make_shop(db, "outra"), "owner")

    answers = [
        await viewer("POST", path, json={"amount": "1"}),
        await stranger("POST", path, json={"amount": "1"}),
        await stranger.get(path),
    ]

    assert [answer.status for answer in answers] == [403, 404, 404]
