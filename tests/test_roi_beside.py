"""What stands beside the table agrees with an independent calculation: the funnel, how long sales take, who sold what."""

import math
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from tests.roi_world import SINCE, UNTIL, Truth, make_world
from tests.test_roi_report import NOW, follow
from whatrack.db import Database
from whatrack.roi.ask import Ask, Basis, Within
from whatrack.roi.report import (
    ENOUGH_SALES,
    IMMATURE_DAYS,
    BehindKind,
    cohort,
    funnel,
    report,
    salespeople,
    tickets_behind,
    times,
)
from whatrack.roi.series import CURVE
from whatrack.tenants import users
from whatrack.units import new_id

PERIODS = [(date(2026, 10, 1), date(2026, 10, 30)), (date(2026, 10, 14), date(2026, 10, 14)), (SINCE, UNTIL)]
STEPS = ("conversations", "with_clid", "leads", "qualified", "sales")


@pytest.mark.parametrize("basis", ["sale", "click"])
async def test_each_step_of_the_funnel_is_what_ads_brought_and_opens_as_many_tickets(
    db: Database, basis: Basis
):
    world = await make_world(db, seed=31)
    await follow(db)
    truth = await Truth.of(db, world.shop.id)
    for since, until in PERIODS:
        ask = Ask(level="campaign", since=since, until=until, basis=basis)
        async with db.tenant(world.shop.id) as conn:
            steps = await funnel(conn, world.shop.id, ask, NOW)
            opened = {
                name: {
                    kind: await tickets_behind(conn, world.shop.id, ask, name, (kind, ""), NOW)
                    for kind in ("total", "organic", "post")
                }
                for name in STEPS
            }
        told = truth.told("account", since, until, basis, truth.home)
        brought = [numbers for (kind, _), numbers in told.items() if kind not in ("organic", "post")]
        spent = truth.spent("account", since, until).values()

        assert steps.link_clicks == sum(each["link_clicks"] for each in spent)
        assert steps.meta_conversations == sum(each["meta_conversations"] for each in spent)
        beyond = [numbers for (kind, _), numbers in told.items() if kind in ("unidentified", "unconnected")]
        assert steps.beyond_meta == sum(each["conversations"] for each in beyond)
        for name in STEPS:
            counted = getattr(steps, name)
            assert counted == sum(each[name] for each in brought), (since, name)
            behind = {each.ticket_id for each in opened[name]["total"]}
            behind -= {each.ticket_id for kind in ("organic", "post") for each in opened[name][kind]}
            assert counted == len(behind), (since, name)


@pytest.mark.parametrize("account", [None, "act_1"])
async def test_half_of_the_sales_and_three_quarters_took_no_longer_than_told(
    db: Database, account: str | None
):
    world = await make_world(db, seed=32)
    await follow(db)
    truth = await Truth.of(db, world.shop.id)
    for since, until in PERIODS:
        within = (Within("account", account),) if account else ()
        async with db.tenant(world.shop.id) as conn:
            told = await times(
                conn, world.shop.id, Ask(level="ad", since=since, until=until, within=within), NOW
            )
        hours = sorted(took(truth, since, until, account))

        assert told.sales == len(hours)
        if hours:
            assert float(told.median_hours or 0) == pytest.approx(hours[-(-len(hours) // 2) - 1])
            assert float(told.p75_hours or 0) == pytest.approx(hours[-(-len(hours) * 3 // 4) - 1])
        shares = [(day, sum(each <= day * 24 for each in hours)) for day in CURVE]
        assert [(day, round(share * told.sales)) for day, share in told.curve] == (shares if hours else [])


async def test_clicks_are_immature_for_as_long_as_three_of_four_sales_took(db: Database):
    world = await make_world(db, seed=32)
    await follow(db)
    truth = await Truth.of(db, world.shop.id)
    today = NOW.astimezone(ZoneInfo(truth.home)).date()
    hours = sorted(took(truth, today - timedelta(days=90), today, None))
    assert len(hours) >= ENOUGH_SALES
    days = math.ceil(hours[-(-len(hours) * 3 // 4) - 1] / 24)
    assert days != IMMATURE_DAYS
    young = today - timedelta(days=days - 1)

    for until, expected in ((today, young), (young, young), (young - timedelta(days=1), None)):
        ask = Ask(level="account", since=today - timedelta(days=89), until=until, basis="click")
        async with db.tenant(world.shop.id) as conn:
            told = await report(conn, world.shop.id, ask, NOW)
        assert told.immature_since == expected
        assert ("immature" in told.notes) == (expected is not None)


@pytest.mark.parametrize("followed", [True, False], ids=["followed", "all marked"])
@pytest.mark.parametrize("account", [None, "act_1"])
async def test_a_cohort_counts_only_clicks_as_old_as_each_point_of_its_curve(
    db: Database, account: str | None, followed: bool
):
    world = await make_world(db, seed=34)
    if followed:
        await follow(db)
    truth = await Truth.of(db, world.shop.id)
    within = (Within("account", account),) if account else ()
    ask = Ask(level="ad", since=SINCE, until=UNTIL, within=within, basis="click")
    async with db.tenant(world.shop.id) as conn:
        told = await cohort(conn, world.shop.id, ask, NOW)

    leads = clicked(truth, account)
    expected = []
    for days in CURVE:
        old = [took for at, took in leads if at <= NOW - timedelta(days=days)]
        expected.append((days, len(old), sum(took is not None and took <= days * 24 for took in old)))
    assert [(each.days, each.leads, each.sales) for each in told.curve] == expected
    assert told.leads == len(leads) > 10
    assert (
        expected[0][1] > expected[8][1] > 0 == expected[-1][1]
    )  # clicks too young for a point are not in it
    assert told.sales == sum(took is not None for _at, took in leads)


def clicked(truth: Truth, account: str | None) -> list[tuple[datetime, float | None]]:
    """When each lead of an ad last clicked, and the hours until it bought."""
    zone = ZoneInfo("America/Sao_Paulo")
    found = []
    for ticket in truth.rows["tickets"]:
        tracking = truth.tracking[ticket["id"]]
        at = tracking["last_touch_at"]
        if tracking["meta_source_type"] != "ad" or ticket["close_reason"] == "MERGED" or ticket["follow_up"]:
            continue
        if not SINCE <= at.astimezone(zone).date() <= UNTIL:
            continue
        if account is None or truth.place(ticket, "account") == ("account", account):
            won = ticket["won_at"] if ticket["close_reason"] == "WON" else None
            found.append((at, (won - at).total_seconds() / 3600 if won else None))
    return found


def took(truth: Truth, since: date, until: date, account: str | None) -> list[float]:
    """Hours from the last touch to the sale of what ads brought, of one account or of all."""
    zone = ZoneInfo("America/Sao_Paulo")
    return [
        (ticket["won_at"] - truth.tracking[ticket["id"]]["last_touch_at"]).total_seconds() / 3600
        for ticket in truth.rows["tickets"]
        if ticket["close_reason"] == "WON"
        and since <= ticket["won_at"].astimezone(zone).date() <= until
        and truth.tracking[ticket["id"]]["meta_source_type"] == "ad"
        and (account is None or truth.place(ticket, "account") == ("account", account))
    ]


@pytest.mark.parametrize("followed", [True, False], ids=["followed", "all marked"])
async def test_each_salesperson_is_told_what_they_sold_and_gave_back(db: Database, followed: bool):
    world = await make_world(db, seed=33)
    async with db.installation() as conn:
        people: list[UUID | None] = [
            (await users.create(conn, email=f"{new_id()}@x.example", name=name, password_hash=None)).id
            for name in ("Júlia", "Rafael")
        ]
    async with db.tenant(world.shop.id) as conn:
        tickets = await (await conn.execute("SELECT id FROM tickets ORDER BY id")).fetchall()
        for place, (ticket,) in enumerate(tickets):
            await conn.execute(
                "UPDATE tickets SET owner_id = %s WHERE id = %s", [(*people, None)[place % 3], ticket]
            )
    if followed:
        await follow(db)
    truth = await Truth.of(db, world.shop.id)
    for since, until in PERIODS:
        async with db.tenant(world.shop.id) as conn:
            told = await salespeople(conn, world.shop.id, Ask(level="ad", since=since, until=until), NOW)

        expected = sold(truth, since, until)
        assert {each.user_id: (each.sales, each.revenue, each.refunds) for each in told} == expected
        assert {each.name for each in told} <= {"Júlia", "Rafael", None}
        whole = truth.told("account", since, until, "sale", truth.home).values()
        assert sum(each.revenue for each in told) == sum(each["revenue"] for each in whole)

        ask = Ask(level="ad", since=since, until=until)
        for person in told:
            row: tuple[BehindKind, str] = ("person", str(person.user_id or ""))
            async with db.tenant(world.shop.id) as conn:
                opened = [await tickets_behind(conn, world.shop.id, ask, name, row, NOW)
                          for name in ("sales", "revenue", "refunds")]  # fmt: skip
            assert [sum(each.part for each in part) for part in opened] == [
                person.sales, person.revenue, person.refunds,
            ]  # fmt: skip


def sold(truth: Truth, since: date, until: date) -> dict[Any, tuple[int, Decimal, Decimal]]:
    """(sales, revenue, refunds) of each owner, in the organization's days."""
    zone = ZoneInfo(truth.home)
    sums: dict[Any, list[Any]] = defaultdict(lambda: [0, Decimal(0), Decimal(0)])
    tickets = {ticket["id"]: ticket for ticket in truth.rows["tickets"]}
    for ticket in tickets.values():
        if ticket["close_reason"] != "WON":
            continue
        day = ticket["won_at"].astimezone(zone).date()
        if since <= day <= until:
            into = sums[ticket["owner_id"]]
            into[0] += 1
            into[1] += truth.money(ticket["deal_value"], ticket["currency"], day) or 0
    for refund in truth.rows["ticket_refunds"]:
        day = refund["refunded_at"].astimezone(zone).date()
        if since <= day <= until:
            owner = tickets[refund["ticket_id"]]["owner_id"]
            sums[owner][2] += truth.money(refund["amount"], refund["currency"], day) or 0
    return {owner: (count, revenue, refunds) for owner, (count, revenue, refunds) in sums.items()}
