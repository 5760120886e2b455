"""A ticket's life: opened, joined, expired, merged, by messages; moved, valued, won, lost and reopened, by people."""

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from psycopg import errors

from tests.support import NOON, PHONE, ad, arrive, body, change, make_shop, message, process, rows, tickets
from whatrack import flow
from whatrack.db import Database
from whatrack.errors import Refused
from whatrack.tickets.lifecycle import Rules, Ticket, Tickets, expires_at
from whatrack.tickets.moves import Change, Record, apply, new_record
from whatrack.tickets.stages import Stage, all_stages, find_stage
from whatrack.units import new_id
from whatrack.workers import Drain

ORGANIZATION, ANA, BIA = UUID(int=1), UUID(int=2), UUID(int=3)
DAY = timedelta(days=1)
LIFE = 30
RULES = Rules(LIFE, "BRL", UUID(int=9))
NUMBER, OTHER_NUMBER = "101", "102"


def day(number: float) -> datetime:
    """A moment so many days after the first; the clock stands at day 100."""
    return NOON - 100 * DAY + number * DAY


NOW = day(100)


class Desk:
    """Tickets as a batch has them, spoken to by day."""

    def __init__(self) -> None:
        self.tickets = Tickets((), new_id)

    def says(self, at: float, *, number: str = NUMBER, who: UUID = ANA, touched: bool = False) -> Ticket:
        """An inbound message: the ticket it belongs to."""
        ticket = self.tickets.place(who, number, day(at), NOW, LIFE)
        if ticket is None:
            ticket = self.tickets.open_new(ORGANIZATION, who, number, day(at), RULES, touched=touched)
        self.tickets.began(ticket, day(at), LIFE)
        return ticket

    def answers(self, at: float) -> Ticket | None:
        """An echo of the business."""
        return self.tickets.place(ANA, NUMBER, day(at), NOW, LIFE)

    def wins(self, ticket: Ticket, at: float) -> None:
        self.tickets.close(ticket, "WON", day(at))

    def merge(self, touches: dict[UUID, datetime] | None = None, at: float = 50) -> None:
        """Bia turns out to be Ana."""
        self.tickets.give(BIA, ANA, lambda ticket: (touches or {}).get(ticket.id), day(at))


def life(ticket: Ticket) -> tuple[str, str | None, float | None]:
    """Status, reason and the day it closed."""
    closed = (ticket.closed_at - day(0)) / DAY if ticket.closed_at else None
    return ticket.status, ticket.close_reason, closed


def test_a_first_message_opens_a_ticket_and_the_next_joins_it():
    desk = Desk()

    first, second = desk.says(0), desk.says(1)

    assert first is second
    assert (first.opened_at, first.last_message_at, first.active_at) == (day(0), day(1), day(1))
    assert (first.stage_id, first.currency, first.follow_up) == (RULES.first_stage_id, "BRL", False)


def test_each_number_and_each_person_has_a_ticket_of_its_own():
    desk = Desk()

    assert len({desk.says(0).id, desk.says(0, number=OTHER_NUMBER).id, desk.says(0, who=BIA).id}) == 3


@pytest.mark.parametrize(
    ("at", "joins"),
    [
        pytest.param(29.9, True, id="in its life"),
        pytest.param(30.0, True, id="at its very end"),
        pytest.param(30.1, False, id="after it"),
        pytest.param(-5.0, True, id="before it opened"),
    ],
)
def test_a_message_joins_the_open_ticket_until_it_expires(at: float, joins: bool):
    desk = Desk()
    opened = desk.says(0)

    assert (desk.says(at) is opened) is joins
    assert life(opened) == (("open", None, None) if joins else ("closed", "EXPIRED", 30.0))


def test_an_older_message_does_not_turn_back_the_tickets_clock():
    desk = Desk()
    opened = desk.says(10)

    desk.says(5)

    assert (opened.last_message_at, opened.active_at) == (day(10), day(10))


def test_a_first_message_that_comes_late_is_when_the_ticket_began():
    desk = Desk()
    opened = desk.says(10)

    desk.says(9)
    desk.says(9.5)

    assert (opened.opened_at, opened.changed) == (day(9), True)


@pytest.mark.parametrize(
    ("at", "began"),
    [
        pytest.param(10, 10, id="a life before"),
        pytest.param(9.9, 40, id="more than a life before"),
    ],
)
def test_a_message_from_another_time_does_not_date_the_ticket(at: float, began: float):
    desk = Desk()
    opened = desk.says(40)

    assert desk.says(at) is opened
    assert opened.opened_at == day(began)


@pytest.mark.parametrize(
    ("at", "of_the_sale", "began"), [(19.9, True, 25), (20, True, 25), (20.1, False, 20.1)]
)
def test_a_ticket_does_not_begin_before_the_one_before_it_was_over(
    at: float, of_the_sale: bool, began: float
):
    desk = Desk()
    won = desk.says(0)
    desk.wins(won, 20)
    opened = desk.says(25)

    assert desk.says(at) is (won if of_the_sale else opened)
    assert (won.opened_at, opened.opened_at) == (day(0), day(began))


def test_an_echo_does_not_date_a_ticket():
    desk = Desk()
    opened = desk.says(10)

    assert desk.answers(9) is opened
    assert opened.opened_at == day(10)


async def test_a_lead_is_dated_by_its_first_message_however_late_that_comes(db: Database):
    shop = await make_shop(db)
    for at, wamid in ((NOON, "wamid.second"), (NOON - timedelta(hours=13), "wamid.first")):
        await arrive(db, body(change(shop.number, message(PHONE, wamid=wamid, at=at, referral=ad("1202")))))
        await process(db)

    (found,) = await tickets(db)
    assert found["opened_at"] == NOON - timedelta(hours=13)
    assert found["first_touch_at"] == found["opened_at"], "the report's conversations go by both"
    assert (await rows(db, "SELECT opened_at FROM ticket_facts"))[0]["opened_at"] == found["opened_at"]


async def test_the_click_that_a_sale_came_of_is_credited_to_it_however_late_it_comes(db: Database):
    shop = await make_shop(db)
    await process(db, body(change(shop.number, message(wamid="wamid.second", at=NOON))))
    (sold,) = await tickets(db)
    async with db.tenant(shop.id) as conn:
        win = Change(stage=find_stage(await all_stages(conn, shop.id), "won"), deal_value=PRICE)
        await flow.move_ticket(conn, shop.id, sold["id"], lambda _: win, actor="api_key:test")
    (before,) = await tickets(db)

    first = message(wamid="wamid.first", at=NOON - timedelta(hours=1), referral=ad("1202", "Aff-late"))
    await process(db, body(change(shop.number, first)))

    (found,) = await tickets(db)
    assert (found["meta_ad_id"], found["ctwa_clid"]) == ("1202", "Aff-late")
    assert found["opened_at"] == found["last_touch_at"] == NOON - timedelta(hours=1)
    kept = ("id", "status", "close_reason", "closed_at", "won_at", "deal_value", "version")
    assert [found[name] for name in kept] == [before[name] for name in kept]


def test_an_echo_opens_nothing_and_keeps_an_open_ticket_alive():
    desk = Desk()

    assert desk.answers(0) is None
    opened = desk.says(1)

    assert desk.answers(20) is opened
    assert expires_at(opened, LIFE) == day(50)


def test_an_echo_after_the_end_expires_the_ticket_and_belongs_to_none():
    desk = Desk()
    opened = desk.says(0)

    assert desk.answers(31) is None
    assert life(opened) == ("closed", "EXPIRED", 30.0)


def test_a_late_message_joins_the_expired_ticket_and_lengthens_its_life():
    desk = Desk()
    expired, following = desk.says(0), desk.says(40)

    assert desk.says(25) is expired
    assert life(expired) == ("closed", "EXPIRED", 55.0)
    assert life(following) == ("open", None, None)


@pytest.mark.parametrize(
    ("at", "place"),
    [
        pytest.param(-1, 0, id="before all: the first"),
        pytest.param(10, 0, id="in the first's life"),
        pytest.param(30, 0, id="at the first's end"),
        pytest.param(35, 1, id="between: the one that came next"),
        pytest.param(50, 1, id="in the second's life"),
        pytest.param(75, 2, id="between the second and the open one"),
        pytest.param(90, 2, id="in the open one's life"),
    ],
)
def test_a_late_message_belongs_to_the_ticket_in_whose_life_it_falls(at: float, place: int):
    desk = Desk()
    lives = [desk.says(0), desk.says(40), desk.says(80)]

    assert desk.says(at) is lives[place]


def test_where_lives_overlap_a_late_message_belongs_to_the_newer_one():
    desk = Desk()
    first, second = desk.says(0), desk.says(40)
    desk.says(80)
    desk.says(29)  # lengthens the first life to day 59, into the second
    assert life(first)[2] == 59.0

    assert desk.says(50) is second
    assert desk.says(35) is first


def test_a_late_message_brings_a_swept_ticket_back_when_it_should_not_have_ended_yet():
    desk = Desk()
    swept = desk.says(65)
    desk.tickets.close(swept, "EXPIRED", day(95))

    assert desk.says(80) is swept
    assert life(swept) == ("open", None, None)
    assert desk.says(99) is swept


def test_a_late_message_brings_nothing_back_beside_an_open_ticket():
    desk = Desk()
    swept = desk.says(65)
    desk.tickets.close(swept, "EXPIRED", day(95))
    following = desk.says(96)

    assert desk.says(80) is swept
    assert life(swept) == ("closed", "EXPIRED", 110.0)
    assert desk.says(97) is following


@pytest.mark.parametrize("reason", ["WON", "LOST"])
@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize(
    ("at", "joins", "began"),
    [
        pytest.param(45, True, 40, id="in its life"),
        pytest.param(50, True, 40, id="at its very end"),
        pytest.param(39, True, 39, id="the first of it"),
        pytest.param(10, True, 10, id="a life before"),
        pytest.param(9.9, False, 40, id="more than a life before: another talk"),
    ],
)
def test_a_late_message_of_a_sale_or_loss_belongs_to_it_and_moves_its_end_nowhere(
    reason: str, follows: bool, at: float, joins: bool, began: float
):
    desk = Desk()
    over = desk.says(40)
    desk.tickets.close(over, reason, day(50))
    following = desk.says(70) if follows else None

    late = desk.says(at)

    assert (late is over) is joins
    assert joins or not late.follow_up, "nothing had closed before it"
    assert life(over) == ("closed", reason, 50.0)
    assert (over.opened_at, over.last_message_at) == (day(began), day(max(at, 40)))
    assert following is None or life(following) == ("open", None, None)


def test_the_answer_to_a_message_after_a_sale_belongs_to_none():
    desk = Desk()
    won = desk.says(0)
    desk.wins(won, 1)

    assert desk.answers(1) is won
    assert desk.answers(2) is None


def test_a_message_after_a_sale_opens_another_ticket():
    desk = Desk()
    won = desk.says(0)
    desk.wins(won, 1)

    assert desk.says(2) is not won
    assert life(won) == ("closed", "WON", 1.0)


@pytest.mark.parametrize(
    ("at", "touched", "follow_up"),
    [
        pytest.param(11, False, True, id="thanks, a day later"),
        pytest.param(16.99, False, True, id="under seven days"),
        pytest.param(17, False, False, id="seven days"),
        pytest.param(11, True, False, id="through an ad"),
    ],
)
def test_a_follow_up_comes_soon_after_a_close_and_of_itself(at: float, touched: bool, follow_up: bool):
    desk = Desk()
    desk.wins(desk.says(0), 10)

    assert desk.says(at, touched=touched).follow_up is follow_up


def test_a_follow_up_may_come_on_another_number():
    desk = Desk()
    desk.wins(desk.says(0), 10)

    assert desk.says(11, number=OTHER_NUMBER).follow_up is True


def test_a_merged_ticket_is_no_close_that_a_follow_up_follows():
    desk = Desk()
    desk.says(45), desk.says(45, who=BIA)
    desk.merge(at=46)

    assert desk.says(47, number=OTHER_NUMBER).follow_up is False


async def test_an_ad_click_makes_a_lead_of_a_follow_up(db: Database):
    shop = await make_shop(db)
    await process(db, body(change(shop.number, message(at=NOON))))
    (sold,) = await tickets(db)
    async with db.tenant(shop.id) as conn:
        stage = find_stage(await all_stages(conn, shop.id), "won")
        win = Change(stage=stage, deal_value=PRICE, happened_at=NOON + timedelta(minutes=1))
        await flow.move_ticket(conn, shop.id, sold["id"], lambda _: win, actor="api_key:test")

    await process(db, body(change(shop.number, message(at=NOON + timedelta(hours=1)))))
    thanks = (await tickets(db))[1]
    await process(db, body(change(shop.number, message(at=NOON + timedelta(hours=2), referral=ad()))))
    click = (await tickets(db))[1]

    assert thanks["id"] == click["id"] != sold["id"]
    assert (thanks["follow_up"], click["follow_up"]) == (True, False)


# Two contacts turn out to be one person.


@pytest.mark.parametrize(
    ("ana_touched", "bia_touched", "goes_on"),
    [
        pytest.param(None, None, "bia", id="neither: the one opened later"),
        pytest.param(10, None, "ana", id="an ad beats none, however much later that one opened"),
        pytest.param(None, 20, "bia", id="the other way round"),
        pytest.param(30, 20, "ana", id="both: the later touch"),
        pytest.param(20, 30, "bia", id="both, the other way round"),
    ],
)
def test_of_two_open_tickets_one_goes_on(ana_touched: float | None, bia_touched: float | None, goes_on: str):
    desk = Desk()
    theirs = {"ana": desk.says(10), "bia": desk.says(20, who=BIA)}
    touched = {"ana": ana_touched, "bia": bia_touched}

    desk.merge({theirs[name].id: day(at) for name, at in touched.items() if at is not None})

    survivor = theirs.pop(goes_on)
    (closed,) = theirs.values()
    assert life(survivor) == ("open", None, None)
    assert life(closed) == ("closed", "MERGED", 50.0)
    assert {survivor.contact_id, closed.contact_id} == {ANA}
    assert desk.says(40) is survivor


def test_a_merge_brings_all_tickets_and_closes_none_without_a_rival():
    desk = Desk()
    expired, elsewhere, ours = (
        desk.says(0, who=BIA),
        desk.says(40, who=BIA, number=OTHER_NUMBER),
        desk.says(45),
    )
    desk.tickets.close(expired, "EXPIRED", day(30))

    desk.merge()

    assert {ticket.contact_id for ticket in (expired, elsewhere, ours)} == {ANA}
    assert desk.says(41, number=OTHER_NUMBER) is elsewhere
    assert desk.says(20) is expired
    assert desk.says(46) is ours


async def test_a_click_survives_the_discovery_that_two_contacts_are_one(db: Database):
    shop = await make_shop(db)
    hours = [NOON + timedelta(hours=place) for place in range(3)]

    await process(db, body(change(shop.number, message(PHONE, at=hours[0], referral=ad("1", "clid")))))
    await process(db, body(change(shop.number, message(None, user_id="BR.1", at=hours[1]))))
    await process(db, body(change(shop.number, message(PHONE, user_id="BR.1", at=hours[2]))))

    (still_open,) = (ticket for ticket in await tickets(db) if ticket["status"] == "open")
    assert (still_open["meta_ad_id"], still_open["ctwa_clid"]) == ("1", "clid")
    assert still_open["last_message_at"] == hours[2]


# Two at once.


async def test_r1_a_contact_has_one_open_ticket_per_number_whoever_writes_it(db: Database):
    """R1: elsewhere nothing in the database stopped two first messages from opening two deals."""
    shop = await make_shop(db)
    await process(db, body(change(shop.number, message())))

    columns = "organization_id, contact_id, phone_number_id, stage_id, status, currency, source, follow_up, opened_at, active_at"
    again = f"INSERT INTO tickets (id, created_at, updated_at, {columns}) SELECT gen_random_uuid(), now(), now(), {columns} FROM tickets"

    with pytest.raises(errors.UniqueViolation) as refusal:
        async with db.tenant(shop.id) as conn:
            await conn.execute(again.encode())

    assert refusal.value.diag.constraint_name == "tickets_one_open"


async def test_r1_a_first_message_and_a_ticket_opened_by_hand_at_once_are_one(db: Database):
    """R1: elsewhere the conflict was caught inside a transaction that it had already aborted."""
    shop = await make_shop(db)
    await arrive(db, body(change(shop.number, message())))
    await flow.route_in(db, 10)
    drain = Drain(db)
    blocked = "SELECT pid FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"

    async with db.tenant(shop.id) as conn:
        by_hand = await flow.open_ticket(
            conn, shop.id, shop.number, wa_id=PHONE, name="Ana", actor="api_key:test"
        )
        drained = asyncio.create_task(drain.step())
        while not await rows(db, blocked):  # the drain waits to learn whether the person is there
            await asyncio.sleep(0.01)
            assert not drained.done()
    assert await drained, "the batch failed on the conflict and is to be tried again"
    await drain.step()

    (ticket,) = await tickets(db)
    assert (ticket["id"], ticket["last_message_at"]) == (by_hand, NOON)
    (stored,) = await rows(db, "SELECT ticket_id FROM messages")
    assert stored["ticket_id"] == by_hand


# People's moves.

NEW = Stage(UUID(int=11), "Novo", "ACTIVE", "new", 0, 10, "blue")
QUALIFIED = Stage(UUID(int=12), "Qualificado", "ACTIVE", "qualified", 1, 30, "teal")
WON = Stage(UUID(int=13), "Ganho", "WON", "won", 3, 100, "green")
LOST = Stage(UUID(int=14), "Perdido", "LOST", "lost", 4, 0, "red")
STAGES = {stage.id: stage for stage in (NEW, QUALIFIED, WON, LOST)}
PRICE = Decimal("199.90")


def record(**fields: Any) -> Record:
    """An open ticket in Novo, since day 90."""
    ticket = new_record(ORGANIZATION, ANA, NUMBER, NEW.id, "BRL", day(90))
    return msgspec.structs.replace(ticket, **fields)


def won() -> Record:
    return moved(record(), stage=WON, deal_value=PRICE)


def lost() -> Record:
    return moved(record(), stage=LOST, lost_reason="preço")


def expired() -> Record:
    return record(status="closed", close_reason="EXPIRED", closed_at=day(95), version=2)


def moved(ticket: Record, *, now: datetime = NOW, **change: Any) -> Record:
    return apply(ticket, Change(**change), STAGES[ticket.stage_id], now)


def test_a_move_between_active_stages_changes_the_stage_alone():
    before = record()

    assert moved(before, stage=QUALIFIED) == msgspec.structs.replace(before, stage_id=QUALIFIED.id, version=2)


def test_winning_closes_the_ticket_with_its_value():
    after = won()

    assert (after.status, after.close_reason, after.deal_value) == ("closed", "WON", PRICE)
    assert after.won_at == after.closed_at == NOW
    assert (after.stage_id, after.version) == (WON.id, 2)


def test_winning_takes_a_value_that_was_there_before():
    assert moved(record(deal_value=PRICE), stage=WON).deal_value == PRICE


def test_losing_closes_the_ticket_with_its_reason_and_without_a_sale():
    after = moved(won(), stage=LOST, lost_reason="desistiu")

    assert (after.status, after.close_reason, after.lost_reason) == ("closed", "LOST", "desistiu")
    assert (after.won_at, after.closed_at) == (None, NOW)


def test_winning_a_lost_ticket_forgets_why_it_was_lost():
    after = moved(lost(), stage=WON, deal_value=PRICE)

    assert (after.close_reason, after.lost_reason, after.won_at) == ("WON", None, NOW)


@pytest.mark.parametrize("closed", [won(), lost(), expired()], ids=["won", "lost", "expired"])
def test_an_active_stage_opens_a_closed_ticket_again_with_a_new_life(closed: Record):
    after = moved(closed, stage=QUALIFIED, now=NOW + DAY)

    assert (after.status, after.close_reason, after.lost_reason) == ("open", None, None)
    assert (after.closed_at, after.won_at) == (None, None)
    assert after.active_at == NOW + DAY


def test_an_expired_ticket_can_be_won():
    after = moved(expired(), stage=WON, deal_value=PRICE, won_at=day(94))

    assert (after.close_reason, after.won_at, after.closed_at) == ("WON", day(94), NOW)


def test_a_value_alone_leaves_an_expired_ticket_expired():
    after = moved(expired(), deal_value=PRICE)

    assert (after.status, after.close_reason, after.closed_at, after.deal_value) == (
        "closed",
        "EXPIRED",
        day(95),
        PRICE,
    )


@pytest.mark.parametrize(
    ("before", "change", "changed"),
    [
        pytest.param(won(), {"deal_value": Decimal("250.00")}, {"deal_value": Decimal("250.00")}, id="value"),
        pytest.param(won(), {"won_at": day(95)}, {"won_at": day(95)}, id="day of the sale"),
        pytest.param(won(), {"currency": "USD"}, {"currency": "USD"}, id="currency"),
        pytest.param(
            won(),
            {"stage": WON, "won_at": day(95)},
            {"won_at": day(95)},
            id="day of the sale, naming the stage",
        ),
        pytest.param(lost(), {"lost_reason": "prazo"}, {"lost_reason": "prazo"}, id="reason"),
    ],
)
def test_a_closed_ticket_can_be_corrected_without_closing_anew(
    before: Record, change: dict[str, Any], changed: dict[str, Any]
):
    after = moved(before, now=NOW + DAY, **change)

    assert after == msgspec.structs.replace(before, version=before.version + 1, **changed)


@pytest.mark.parametrize(
    ("before", "change"),
    [
        pytest.param(record(), {}, id="nothing asked"),
        pytest.param(record(), {"stage": NEW}, id="same stage"),
        pytest.param(record(), {"version": 1}, id="the version alone"),
        pytest.param(record(deal_value=PRICE), {"deal_value": Decimal("199.9")}, id="same value"),
        pytest.param(won(), {"stage": WON, "deal_value": PRICE}, id="won again"),
        pytest.param(lost(), {"stage": LOST}, id="lost again"),
        pytest.param(expired(), {"currency": "BRL"}, id="same currency"),
    ],
)
def test_a_change_that_changes_nothing_gives_the_same_ticket(before: Record, change: dict[str, Any]):
    assert moved(before, now=NOW + DAY, **change) is before


@pytest.mark.parametrize(
    ("before", "change", "code", "field"),
    [
        pytest.param(record(), {"stage": WON}, "deal_value_required", "deal_value", id="won without value"),
        pytest.param(record(), {"deal_value": Decimal(0)}, "bad_value", "deal_value", id="value zero"),
        pytest.param(record(), {"stage": WON, "deal_value": Decimal(-1)}, "bad_value", "deal_value", id="value below zero"),
        pytest.param(record(), {"stage": WON, "deal_value": PRICE, "won_at": NOW + DAY / 24}, "bad_value", "won_at", id="won in the future"),
        pytest.param(record(), {"stage": WON, "deal_value": PRICE, "won_at": day(89.9)}, "bad_value", "won_at", id="won before its ticket"),
        pytest.param(won(), {"won_at": NOW + DAY}, "bad_value", "won_at", id="corrected into the future"),
        pytest.param(record(), {"stage": QUALIFIED, "won_at": day(95)}, "bad_value", "won_at", id="won_at with an active stage"),
        pytest.param(record(), {"won_at": day(95)}, "bad_value", "won_at", id="won_at without a win"),
        pytest.param(record(), {"lost_reason": "preço"}, "bad_value", "lost_reason", id="reason without a loss"),
        pytest.param(won(), {"stage": WON, "lost_reason": "preço"}, "bad_value", "lost_reason", id="reason with a win"),
        pytest.param(record(), {"stage": QUALIFIED, "version": 2}, "stale", "version", id="newer version than there is"),
        pytest.param(won(), {"version": 1}, "stale", "version", id="older version"),
    ],
)  # fmt: skip
def test_a_move_that_cannot_be_is_refused_and_names_the_field(
    before: Record, change: dict[str, Any], code: str, field: str
):
    with pytest.raises(Refused) as refusal:
        moved(before, **change)

    assert (refusal.value.code, refusal.value.field) == (code, field)
    assert refusal.value.status == (409 if code == "stale" else 422)


def test_a_stale_change_is_refused_before_anything_else():
    with pytest.raises(Refused, match="load it again"):
        moved(record(version=5), stage=WON, version=4)


@pytest.mark.parametrize("won_at", [day(90), NOW], ids=["as the ticket opened", "now"])
def test_the_bounds_of_a_sale_are_part_of_it(won_at: datetime):
    assert moved(record(), stage=WON, deal_value=PRICE, won_at=won_at).won_at == won_at
