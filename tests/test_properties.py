"""Properties: whatever arrives, in whatever pieces, the rows equal those of a row-by-row reference (tests/reference.py).

The examples are the same in every run. To look for new ones: HYPOTHESIS_PROFILE=search pytest tests/test_properties.py.
"""

import asyncio
import itertools
import json
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import reference
from tests.support import Shop, make_shop, phone_number_id, process, rows
from whatrack import flow
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.contacts.messages import Months
from whatrack.db import Database
from whatrack.errors import Refused
from whatrack.inbox import replay, store
from whatrack.inbox.reading import Delivery, Reading, Route, read, storable
from whatrack.meta import webhook
from whatrack.meta.text import readable_text
from whatrack.meta.webhook import Undecodable
from whatrack.tickets import moves
from whatrack.tickets.stages import all_stages, find_stage
from whatrack.tickets.store import expire_due
from whatrack.units import parse_money, phone_key
from whatrack.workers import Drain

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
FIXED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=120,
    suppress_health_check=QUIET,
    print_blob=False,
)
settings.register_profile("fixed", FIXED)
settings.register_profile("search", FIXED, derandomize=False, max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
FEW = 40 if settings.get_current_profile_name() == "fixed" else 1000  # examples of what takes longest

Row = dict[str, Any]
Change = list[Row]  # messages of one number
Body = list[list[Change]]  # entries of changes
State = dict[str, Any]
Way = tuple[str | None, str | None]  # number, user id

DAYS = 2  # a ticket's life in these tests: four steps of the clock
STEP = timedelta(hours=12)
JUMPS = [
    0,
    0,
    0,
    1,
    1,
    2,
    4,
    4,
    5,
    5,
    5,
    9,
    -1,
    -3,
    -5,
    -9,
    -14,
]  # of the clock, from one message to the next
PEOPLE = (
    (("5511987654321", "551187654321"), "BR.1"),
    (("552133334444",), "BR.2"),
    (("16505551234",), "US.ENT.3"),
)
PHONES = [phone for phones, _ in PEOPLE for phone in phones]
BSUIDS = [bsuid for _, bsuid in PEOPLE]
LISTS = {
    "inbound": "messages",
    "group": "messages",
    "system": "messages",
    "echo": "message_echoes",
    "history": "history",
}

_slugs = itertools.count()


# A stream: what people and the business say, as tests/reference.py takes it.


@st.composite
def referrals(draw: st.DrawFn) -> Row:
    kind = draw(st.sampled_from(["ad", "ad", "ad", "post", "story", None]))
    source = draw(st.sampled_from(["120001", "120001", "120002", "120002", None, ""]))
    clid = draw(st.sampled_from(["clid-a", "clid-b", "clid-c", None, "", "absent"]))
    found: Row = {"headline": "Chat", "source_type": kind, "source_id": source, "ctwa_clid": clid}
    return {key: value for key, value in found.items() if value != "absent"}


@st.composite
def casts(draw: st.DrawFn, *, one_id: bool) -> list[Way]:
    """A few people, and how each is named in messages: by number, in either form, by user id, or by both.

    Now and then a number stands with somebody else's user id.
    """
    people = draw(st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=3, unique=True))
    found: list[Way] = [(each, None) for phones, _ in people for each in phones]
    found += [(None, bsuid) for _, bsuid in people]
    if not one_id:
        found += [(phones[0], bsuid) for phones, bsuid in people]
        found += [(people[0][0][0], people[-1][1])] if draw(st.booleans()) else []
    return found


@st.composite
def said(draw: st.DrawFn, cast: list[Way], *, one_id: bool) -> Row:
    """One message without its moment. number: 0 and 1 are one organization's, 2 another's, with the same people."""
    origin = draw(st.sampled_from(["inbound"] * 7 + ["echo", "echo", "history", "group", "system"]))
    phone, bsuid = draw(st.sampled_from(cast))
    message: Row = {
        "origin": origin,
        "number": draw(st.sampled_from([0, 0, 0, 0, 1, 2])),
        "phone": phone,
        "bsuid": bsuid,
    }
    message |= {"new_phone": None, "new_bsuid": None, "referral": None, "whole_contact": False, "name": None}
    if origin == "system" and not one_id:
        message["new_phone"] = draw(st.sampled_from([None, *PHONES]))
        message["new_bsuid"] = draw(st.sampled_from([None, *BSUIDS]))
    if origin in ("inbound", "group"):
        message["referral"] = draw(st.one_of(st.none(), referrals()))
        message["whole_contact"] = draw(st.booleans()) if phone and bsuid else False
    return message


@st.composite
def streams(draw: st.DrawFn, *, one_id: bool = False) -> list[Row]:
    """Messages in the order they arrive, some again; moments jump past the expiry, stand still and fall back.

    Few people say much, so that most messages meet a ticket; some streams end close to the clock's now.
    """
    saying = said(draw(casts(one_id=one_id)), one_id=one_id)
    messages: list[Row] = draw(
        st.one_of(st.lists(saying, min_size=1, max_size=6), st.lists(saying, min_size=9, max_size=22))
    )
    step = draw(st.sampled_from([12, 46]))
    for place, message in enumerate(messages):
        step = max(0, min(49, step + draw(st.sampled_from(JUMPS))))
        message |= {"wamid": f"wamid.{place}", "step": step}
    for again in draw(st.lists(st.sampled_from(messages), max_size=6)):
        messages.insert(draw(st.integers(0, len(messages))), again)
    return messages


@dataclass
class Shops:
    """Two organizations for one example: numbers 0 and 1 of the first, 2 of the second."""

    shops: list[Shop]
    numbers: list[str]
    base: datetime  # step 0 of the clock; no ticket's life ends within minutes of now
    now: datetime

    @property
    def ids(self) -> list[UUID]:
        return [shop.id for shop in self.shops]

    def rows(self, stream: list[Row]) -> list[Row]:
        """The stream with real organizations, numbers and moments."""
        return [
            {
                **message,
                "org": self.ids[message["number"] == 2],
                "number": self.numbers[message["number"]],
                "at": self.base + message["step"] * STEP,
            }
            for message in stream
        ]


async def open_shops(db: Database) -> Shops:
    """New organizations, so that an example needs no empty database."""
    numbers = [phone_number_id() for _ in range(3)]
    first, second = f"loja-{next(_slugs)}", f"loja-{next(_slugs)}"
    shops = [await make_shop(db, first, numbers[0]), await make_shop(db, second, numbers[2])]
    await flow.register_number(db, WhatsappNumber(shops[0].id, numbers[1], "1", "+55 11 3555-0101"))
    await rows(db, "UPDATE organizations SET ticket_expiration_days = %s RETURNING id", DAYS)
    (clock,) = await rows(db, "SELECT now()")
    now = clock["now"]
    return Shops(shops, numbers, now.replace(microsecond=0) - timedelta(days=25, minutes=30), now)


# The stream in pieces: webhook bodies as Meta may cut and merge them.


def cuts() -> st.SearchStrategy[list[str]]:
    """Where a stream is cut; taken round when the stream is longer."""
    where = ("new body", "new body", "new entry", "new change", "same change", "same change")
    return st.lists(st.sampled_from(where), min_size=1, max_size=30)


def bodies_of(stream: list[Row], where: list[str]) -> list[Body]:
    """The stream cut into bodies. Only a message alone in its change is named in contacts[], and may have an id there."""
    found: list[Body] = []
    for message, cut in zip(stream, itertools.cycle(where), strict=False):
        before = found[-1][-1][-1] if found else []
        joins = before and before[0]["number"] == message["number"]
        if cut == "new body" or not before:
            found.append([[[message]]])
        elif cut == "new entry":
            found[-1].append([[message]])
        elif cut == "same change" and joins and not any(each["whole_contact"] for each in [*before, message]):
            before.append(message)
        else:
            found[-1][-1].append([message])
    for change in (change for each in found for entry in each for change in entry):
        if len(change) == 1 and change[0]["origin"] in ("inbound", "group"):
            change[0] = {**change[0], "name": f"Pessoa {change[0]['wamid']}"}
    return found


def arrival(bodies: list[Body]) -> list[Row]:
    """The messages in the order the drain reads them: by body, by number, by change, by list."""
    order = list(dict.fromkeys(LISTS.values()))
    return [
        message
        for each in bodies
        for number in sorted({change[0]["number"] for entry in each for change in entry})
        for change in itertools.chain(*each)
        if change[0]["number"] == number
        for message in sorted(change, key=lambda message: order.index(LISTS[message["origin"]]))
    ]


def raw_body(entries: Body) -> bytes:
    whole = [
        {"id": "102290129340398", "changes": [raw_change(change) for change in entry]} for entry in entries
    ]
    return json.dumps({"object": "whatsapp_business_account", "entry": whole}).encode()


def raw_change(messages: Change) -> Row:
    value: Row = {"metadata": {"phone_number_id": messages[0]["number"]}}
    for message in messages:
        raw = raw_message(message)
        if message["origin"] == "history":
            raw = {"threads": [present(id=message["phone"]) | {"messages": [raw]}]}
        value.setdefault(LISTS[message["origin"]], []).append(raw)
        if message["name"]:
            ids = present(wa_id=message["phone"], user_id=message["bsuid"])
            value["contacts"] = [{"profile": {"name": message["name"]}, **ids}]
    kinds = {LISTS[message["origin"]] for message in messages}
    field = {"message_echoes": "smb_message_echoes", "history": "history"}.get(min(kinds), "messages")
    return {"field": field if len(kinds) == 1 else "messages", "value": value}


def raw_message(message: Row) -> Row:
    """One message as Meta would write it."""
    found: Row = {"id": message["wamid"], "timestamp": str(int(message["at"].timestamp())), "type": "text"}
    phone, bsuid = message["phone"], message["bsuid"]
    if message["origin"] == "echo":
        found |= {"from": "551135550100", **present(to=phone, to_user_id=bsuid)}
    else:
        found |= present(**{"from": None if message["whole_contact"] else phone, "from_user_id": bsuid})
    if message["origin"] == "group":
        found["group_id"] = "group-1"
    if message["origin"] == "system":
        becomes = present(wa_id=message["new_phone"], user_id=message["new_bsuid"])
        found |= {"type": "system", "system": {"body": "changed", **becomes}}
    return found | present(referral=message["referral"])


def present(**values: Any) -> Row:
    return {key: value for key, value in values.items() if value}


# What is in the database, and what should be, in one comparable shape.

TICKETS = """
SELECT *, t.id, t.organization_id FROM tickets t JOIN ticket_tracking k ON k.organization_id = t.organization_id AND k.ticket_id = t.id
WHERE t.organization_id = ANY(%s)
"""
DECIDED = (
    "wamid",
    "touched_at",
    "decision",
    "source_type",
    "old_ad_id",
    "new_ad_id",
    "old_ctwa_clid",
    "new_ctwa_clid",
)
LAST = ("last_touch_at", "last_touch_wamid", "meta_source_type", "meta_ad_id", "source_id", "ctwa_clid")
FIRST = ("first_touch_at", "first_touch_wamid", "first_source_type", "first_source_id", "first_ctwa_clid")
LIFE = ("opened_at", "last_message_at", "active_at", "closed_at")


async def state(db: Database, shops: Shops) -> State:
    """People, messages and tickets of the example's organizations."""
    contacts = {row["id"]: row for row in await rows_of(db, shops, "contacts")}
    ids: dict[UUID, list[str]] = {}
    for row in await rows_of(db, shops, "contact_identities"):
        ids.setdefault(row["contact_id"], []).append(row["key"])
    people = [row for row in contacts.values() if row["merged_into"] is None]
    assert {row["id"] for row in people} == ids.keys(), "exactly those who were not merged have identities"

    def who(contact_id: UUID) -> list[str]:
        while (survivor := contacts[contact_id]["merged_into"]) is not None:
            contact_id = survivor
        return sorted(ids[contact_id])

    messages = await rows_of(db, shops, "messages")
    touches = await rows_of(db, shops, "meta_attribution_history")
    found: State = {
        "people": [[who(row["id"]), *picked(row, "name", "wa_id", "user_id")] for row in people],
        "messages": [
            [*picked(row, "wamid", "origin", "phone_number_id"), who(row["contact_id"])] for row in messages
        ],
        "tickets": [
            {
                "number": row["phone_number_id"],
                "person": who(row["contact_id"]),
                "status": picked(row, "status", "close_reason", "follow_up"),
                "life": picked(row, *LIFE),
                "last_touch": picked(row, *LAST),
                "first_touch": picked(row, *FIRST),
                "enrichment": row["meta_enrichment_status"],
                "messages": sorted(each["wamid"] for each in messages if each["ticket_id"] == row["id"]),
                "history": sorted(
                    picked(each, *DECIDED) for each in touches if each["ticket_id"] == row["id"]
                ),
            }
            for row in await rows(db, TICKETS, shops.ids)
        ],
    }
    return in_order(found)


def in_order(found: State) -> State:
    tickets = sorted(found.pop("tickets"), key=lambda ticket: (ticket["number"], ticket["messages"]))
    return {"tickets": tickets} | {name: sorted(each, key=repr) for name, each in found.items()}


async def rows_of(db: Database, shops: Shops, table: str) -> list[Row]:
    return await rows(db, f"SELECT * FROM {table} WHERE organization_id = ANY(%s)", shops.ids)


def picked(row: Row, *names: str) -> list[Any]:
    return [row[name] for name in names]


def expected(bodies: list[Body], shops: Shops, *, swept: bool = False) -> State:
    """The reference's answer in the shape of `state`."""
    return expected_of(arrival(bodies), shops, swept=swept)


def expected_of(stream: list[Row], shops: Shops, *, swept: bool = False) -> State:
    """The same of messages and moves in the order they come."""
    world = reference.world(stream, days=DAYS, now=shops.now, swept=swept)
    organic = {"at": None, "wamid": None, "kind": "organic", "ad": None, "source": None, "clid": None}

    def who(message: Row) -> list[str]:
        key = reference.ids_of(message)[0]
        (ids,) = (
            each["ids"] for each in world["people"] if each["org"] == message["org"] and key in each["ids"]
        )
        return sorted(ids)

    found: State = {
        "people": [
            [sorted(each["ids"]), *picked(each, "name", "phone", "bsuid")] for each in world["people"]
        ],
        "messages": [
            [*picked(each, "wamid", "origin", "number"), who(each)] for each in world["messages"].values()
        ],
        "tickets": [
            {
                "number": each["number"],
                "person": sorted(each["person"]["ids"]),
                "status": picked(each, "status", "reason", "follow_up"),
                "life": picked(each, "opened", "last", "active", "closed"),
                "last_touch": picked(
                    each["last_touch"] or organic, "at", "wamid", "kind", "ad", "source", "clid"
                ),
                "first_touch": picked(
                    each["first_touch"] or dict.fromkeys(organic), "at", "wamid", "kind", "source", "clid"
                ),
                "enrichment": "PENDING"
                if each["last_touch"] and each["last_touch"]["ad"]
                else "NOT_APPLICABLE",
                "messages": sorted(each["messages"]),
                "history": sorted(list(row) for row in each["history"]),
            }
            for each in world["tickets"]
        ],
    }
    return in_order(found)


async def arrive(db: Database, bodies: list[bytes], *, known: dict[str, int] | None = None) -> list[int]:
    """Store bodies as the intake does; answers their ids. known: the partitions of the numbers it knows, else none."""
    known = known or {}
    routes = []
    for each in bodies:
        numbers = {
            change["value"]["metadata"]["phone_number_id"]
            for entry in json.loads(each)["entry"]
            for change in entry["changes"]
        }
        routes.append(",".join(f"{known.get(number, -1)} {number}" for number in numbers))
    async with db.installation() as conn:
        await store.append(conn, bodies, routes)
        found = await (await conn.execute("SELECT last_value FROM delivery_ids")).fetchone()
    last: int = found[0] if found else 0
    return list(range(last - len(bodies) + 1, last + 1))


async def drain(db: Database, months: Months, limit: int, *, sweeps: bool = False) -> None:
    """Route and drain in batches of `limit` until nothing waits."""
    while (routed := await flow.route_in(db, limit)).rows:
        assert routed.failed == 0
    while (drained := await flow.message_in(db, months, limit)).rows:
        assert drained.failed == 0
        if sweeps:
            async with db.system() as conn:
                await expire_due(conn, 1000)


LIMITS = st.sampled_from([1, 3, 7, 500])


def partitions(shops: Shops) -> dict[str, int]:
    """The queue partition of each number, as an intake that knows them all has it."""
    return {
        number: shops.shops[place == 2].organization.partition for place, number in enumerate(shops.numbers)
    }


@given(stream=streams(), where=cuts(), limit=LIMITS, known=st.booleans())
async def test_any_split_and_merge_of_a_stream_equals_the_row_by_row_reference(
    db: Database, stream: list[Row], where: list[str], limit: int, known: bool
):
    shops = await open_shops(db)
    bodies = bodies_of(shops.rows(stream), where)

    await arrive(db, [raw_body(each) for each in bodies], known=partitions(shops) if known else None)
    await drain(db, Months(db), limit)

    assert await state(db, shops) == expected(bodies, shops)


# People move tickets between the messages.


@st.composite
def moved_streams(draw: st.DrawFn) -> list[list[Row]]:
    """A stream in parts, each but the last ended by a move of a ticket that some message before it belongs to."""
    stream = draw(streams())
    parts: list[list[Row]] = []
    for cut in sorted(draw(st.sets(st.integers(1, len(stream)), min_size=1, max_size=5))):
        spoken = stream[:cut]
        step = spoken[-1]["step"] + draw(st.sampled_from([0, 0, 1, 2, 4, -2]))
        kind = draw(st.sampled_from(["WON", "LOST", "WON", "LOST", "reopened"]))
        of = draw(st.sampled_from(spoken))
        move = {"origin": kind, "of": of["wamid"], "number": of["number"], "step": max(0, min(49, step))}
        parts.append([*stream[sum(len(part) - 1 for part in parts) : cut], move])
    return [*parts, stream[sum(len(part) - 1 for part in parts) :]]


async def move(db: Database, row: Row) -> None:
    """Close the ticket of a message, or open it again, as somebody who tells it afterwards; refused or not."""
    query = "SELECT m.ticket_id, t.status FROM messages m JOIN tickets t ON t.id = m.ticket_id WHERE (m.organization_id, m.wamid) = (%s, %s)"
    found = await rows(db, query, row["org"], row["of"])
    if not found or (found[0]["status"] == "open") == (row["origin"] == "reopened"):
        return
    async with db.tenant(row["org"]) as conn:
        role = {"WON": "won", "LOST": "lost", "reopened": "qualified"}[row["origin"]]
        stage = find_stage(await all_stages(conn, row["org"]), role)
        value = Decimal(10) if role == "won" else None
        change = moves.Change(stage=stage, deal_value=value, happened_at=row["at"])
        with suppress(Refused):
            await flow.move_ticket(
                conn, row["org"], found[0]["ticket_id"], lambda _: change, actor="api_key:test"
            )


@given(parts=moved_streams(), where=cuts(), limit=LIMITS)
async def test_a_stream_with_moves_in_it_equals_the_row_by_row_reference(
    db: Database, parts: list[list[Row]], where: list[str], limit: int
):
    """Before each move all is drained: a person moves what they see."""
    shops = await open_shops(db)
    months = Months(db)
    whole: list[Row] = []

    for part in parts:
        said = shops.rows(part)
        told = said[-1:] if said and "of" in said[-1] else []
        bodies = bodies_of(said[: len(said) - len(told)], where)
        await arrive(db, [raw_body(each) for each in bodies], known=partitions(shops))
        await drain(db, months, limit)
        for each in told:
            await move(db, each)
        whole += [*arrival(bodies), *told]

    assert await state(db, shops) == expected_of(whole, shops)


@st.composite
def talks(draw: st.DrawFn) -> tuple[list[Row], list[Row]]:
    """What one person writes within a ticket's life, and within the life of the next one: inbound, each at its own minute."""
    life = DAYS * 24 * 60

    def written(first: int, last: int) -> list[Row]:
        minutes = draw(st.lists(st.integers(first, last), min_size=1, max_size=5, unique=True))
        return [{"minute": each, "referral": draw(st.none() | referrals())} for each in sorted(minutes)]

    return written(0, life - 1), written(life + 1, 2 * life - 1)


@settings(max_examples=FEW)
@given(
    talk=talks(),
    reason=st.sampled_from(["WON", "LOST"]),
    order=st.randoms(use_true_random=False),
    where=cuts(),
    limit=LIMITS,
)
async def test_what_comes_only_after_its_ticket_was_closed_changes_no_ticket(
    db: Database,
    talk: tuple[list[Row], list[Row]],
    reason: str,
    order: random.Random,
    where: list[str],
    limit: int,
):
    """Some of a talk arrives late, behind the sale that ended it and among what follows: the tickets are the same.

    Left out: the decisions, which tell the order of arrival.
    """
    shops = await open_shops(db)
    months = Months(db)
    base = {
        "origin": "inbound", "number": shops.numbers[0], "org": shops.ids[0], "phone": PHONES[0], "bsuid": None,
        "new_phone": None, "new_bsuid": None, "whole_contact": False, "name": None,
    }  # fmt: skip
    for each in itertools.chain(*talk):
        at = shops.base + each["minute"] * timedelta(minutes=1)
        each |= {**base, "wamid": f"wamid.{each['minute']}", "at": at}
    before, after = talk
    late = order.sample(before, order.randint(0, len(before) - 1))
    in_time = [each for each in before if each not in late]
    closed = {
        "origin": reason,
        "of": in_time[0]["wamid"],
        "org": shops.ids[0],
        "at": shops.base + DAYS * 2 * STEP,
    }
    rest = list(after)
    for each in late:
        rest.insert(order.randint(0, len(rest)), each)

    for part in (in_time, rest):
        await arrive(db, [raw_body(each) for each in bodies_of(part, where)], known=partitions(shops))
        await drain(db, months, limit)
        if part is in_time:
            await move(db, closed)

    found, wanted = await state(db, shops), expected_of([*before, closed, *after], shops)
    for ticket in found["tickets"] + wanted["tickets"]:
        del ticket["history"]
    assert found["tickets"] == wanted["tickets"]


@settings(max_examples=FEW)
@given(stream=streams(one_id=True), where=cuts(), limit=st.sampled_from([1, 3]))
async def test_when_the_sweep_runs_makes_no_difference_once_it_has_run(
    db: Database, stream: list[Row], where: list[str], limit: int
):
    shops = await open_shops(db)
    bodies = bodies_of(shops.rows(stream), where)

    await arrive(db, [raw_body(each) for each in bodies])
    await drain(db, Months(db), limit, sweeps=True)

    found, wanted = await state(db, shops), expected(bodies, shops, swept=True)
    for ticket in found["tickets"] + wanted["tickets"]:
        # follow_up asks how long ago the person's last ticket closed, and so whether it had closed by then.
        ticket["status"].pop()
    assert found == wanted


@settings(max_examples=FEW)
@given(stream=streams(), where=cuts(), other=cuts(), order=st.randoms(use_true_random=False), limit=LIMITS)
async def test_a_replay_of_everything_and_the_same_in_other_pieces_and_order_change_nothing(
    db: Database, stream: list[Row], where: list[str], other: list[str], order: random.Random, limit: int
):
    shops = await open_shops(db)
    months = Months(db)
    messages = shops.rows(stream)
    ids = await arrive(db, [raw_body(each) for each in bodies_of(messages, where)])
    await drain(db, months, limit)
    before = await everything(db, shops)

    async with db.installation() as conn:
        assert await replay.replay_ids(conn, ids) == len(ids)
    await drain(db, months, limit)
    after_replay = await everything(db, shops)
    order.shuffle(messages)
    await arrive(db, [raw_body(each) for each in bodies_of(messages, other)], known=partitions(shops))
    await drain(db, months, 500)

    assert after_replay == before
    assert await everything(db, shops) == before


@settings(max_examples=FEW)
@given(stream=streams(), where=cuts(), order=st.randoms(use_true_random=False), limit=st.sampled_from([1, 3]))
async def test_the_same_deliveries_arriving_while_two_workers_drain_change_nothing(
    db: Database, stream: list[Row], where: list[str], order: random.Random, limit: int
):
    shops = await open_shops(db)
    bodies = bodies_of(shops.rows(stream), where)
    known = partitions(shops)
    done = asyncio.Event()

    async def arrives() -> None:
        """Each body, and after each some of those that came before it, once more."""
        for place, each in enumerate(bodies):
            again = order.sample(bodies[: place + 1], order.randint(0, min(3, place + 1)))
            await arrive(db, [raw_body(each), *(raw_body(body) for body in again)], known=known)
        done.set()

    async def works() -> None:
        drain = Drain(db)
        while True:
            finished = done.is_set()
            drain._limit = limit
            if not await drain.step() and finished and not await pending(db):
                return

    await asyncio.gather(arrives(), works(), works())

    assert await state(db, shops) == expected(bodies, shops)


async def pending(db: Database) -> int:
    async with db.installation() as conn:
        return (await store.counts(conn)).pending


async def everything(db: Database, shops: Shops) -> dict[str, list[str]]:
    """Every row of the example's organizations, whole."""
    tables = (
        "contacts",
        "contact_identities",
        "contact_terms",
        "messages",
        "number_day_counters",
        "webhook_events",
    )
    more = ("tickets", "ticket_stage_changes", "ticket_tracking", "meta_attribution_history")
    query = "SELECT t::text AS row FROM {} AS t WHERE organization_id = ANY(%s) ORDER BY 1"
    return {
        table: [row["row"] for row in await rows(db, query.format(table), shops.ids)]
        for table in (*tables, *more)
    }


# Values.


@given(cents=st.integers(0, 10**12 - 1))
def test_every_amount_a_column_holds_is_money_in_each_of_its_plain_forms(cents: int):
    amount = Decimal(cents) / 100
    forms = {f"{amount:.2f}", str(amount), f"{amount.normalize():f}"}

    assert {parse_money(form, "deal_value") for form in forms} == {amount}


@given(text=st.one_of(st.text(max_size=20), st.text("0123456789.,-+eE ٣\n", max_size=14)))
def test_text_is_money_as_it_stands_or_refused(text: str):
    try:
        amount = parse_money(text, "deal_value")
    except Refused:
        return
    assert set(text) <= set("0123456789.")
    assert amount == Decimal(text)
    assert 0 <= amount < 10**10
    assert amount.as_tuple().exponent == -2


AREAS = st.integers(11, 99).map(str).filter(lambda area: "0" not in area)
TAILS = st.integers(0, 9_999_999).map("{:07}".format)


@given(area=AREAS, first=st.sampled_from("6789"), tail=TAILS)
def test_a_brazilian_mobile_has_one_key_with_and_without_its_ninth_digit(area: str, first: str, tail: str):
    assert (
        phone_key(f"55{area}{first}{tail}")
        == phone_key(f"+55 ({area}) 9{first}{tail}")
        == f"55{area}9{first}{tail}"
    )


@given(area=AREAS, first=st.sampled_from("2345"), tail=TAILS)
def test_a_brazilian_landline_is_left_alone(area: str, first: str, tail: str):
    assert phone_key(f"55{area}{first}{tail}") == f"55{area}{first}{tail}"


@given(digits=st.from_regex(r"\A[1-9][0-9]{6,14}\Z").filter(lambda digits: not digits.startswith("55")))
def test_other_countries_are_left_alone(digits: str):
    assert phone_key(digits) == digits


@given(phone=st.text(max_size=30))
def test_a_phone_key_is_digits_and_its_own_key(phone: str):
    key = phone_key(phone)

    if key is None:
        assert not set(phone) & set("0123456789")
    else:
        assert set(key) <= set("0123456789")
        assert phone_key(key) == key


MOMENTS = st.integers(1_230_768_000, 1_790_000_000)  # from WhatsApp's first day on
ZONES = [
    "America/Sao_Paulo",
    "America/Noronha",
    "America/New_York",
    "Asia/Kolkata",
    "Pacific/Auckland",
    "UTC",
]


@settings(max_examples=20)
@given(moments=st.lists(MOMENTS, min_size=1, max_size=50), zone=st.sampled_from(ZONES))
async def test_a_status_counts_on_its_day_in_the_organizations_zone(
    db: Database, moments: list[int], zone: str
):
    """PostgreSQL judges which day a moment falls on."""
    statuses = [{"status": "sent", "timestamp": str(moment)} for moment in moments]
    found = read_one(
        json.dumps(envelope({"metadata": {"phone_number_id": "1"}, "statuses": statuses})).encode(), zone
    )

    query = "SELECT (to_timestamp(m) AT TIME ZONE %s)::date AS day, count(*) FROM unnest(%s::bigint[]) AS m GROUP BY 1"
    counted = {day: count for (_, _, day, _), count in found.statuses.items()}
    assert counted == {row["day"]: row["count"] for row in await rows(db, query, zone, moments)}


# Whatever stands in a body.

ODD_TEXT = st.text(st.characters(codec=None) | st.sampled_from("\x00\ud800\udfffé😀"), max_size=8)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    ODD_TEXT,
    st.sampled_from(["ad", "1700000000", "5511987654321"]),
)
KEYS = st.one_of(
    ODD_TEXT, st.sampled_from(["id", "text", "body", "wa_id", "messages", "threads", "profile", "type"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def usually(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what Meta sends there, sometimes anything."""
    return st.one_of(strategy, strategy, strategy, JSON)


def an_object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with some of these fields, each usually of its kind."""
    return st.fixed_dictionaries(
        {}, optional={name.strip("_"): usually(kind) for name, kind in fields.items()}
    )


IDS = st.sampled_from(["1", "16505551234", "BR.1", "", 7]) | ODD_TEXT
TYPES = st.sampled_from(["text", "image", "interactive", "system", "reaction", "order", "?"]) | ODD_TEXT
REFERRAL = an_object(
    source_type=st.sampled_from(["ad", "post"]), source_id=IDS, ctwa_clid=ODD_TEXT, headline=ODD_TEXT
)
MESSAGE = an_object(
    id=IDS, from_=IDS, from_user_id=IDS, to=IDS, timestamp=st.sampled_from(["1700000000", 1700000000, "soon"]), type=TYPES,
    text=an_object(body=ODD_TEXT), image=an_object(caption=ODD_TEXT), interactive=an_object(list_reply=an_object(title=ODD_TEXT)),
    system=an_object(wa_id=IDS, user_id=IDS), referral=REFERRAL, group_id=IDS,
)  # fmt: skip
VALUE = an_object(
    metadata=an_object(phone_number_id=st.sampled_from(["1", 1, "2"])),
    contacts=st.lists(an_object(profile=an_object(name=ODD_TEXT), wa_id=IDS, user_id=IDS), max_size=2),
    messages=st.lists(MESSAGE, max_size=3), message_echoes=st.lists(MESSAGE, max_size=2),
    statuses=st.lists(an_object(status=ODD_TEXT, timestamp=st.just("1700000000")), max_size=2),
    history=st.lists(an_object(threads=st.lists(an_object(id=IDS, messages=st.lists(MESSAGE, max_size=2)), max_size=2)), max_size=2),
)  # fmt: skip
CHANGES = an_object(
    field=st.sampled_from(["messages", "history", "smb_message_echoes", "automatic_events"]), value=VALUE
)
BODIES = an_object(entry=st.lists(an_object(id=IDS, changes=st.lists(CHANGES, max_size=3)), max_size=3))


@st.composite
def raw_bodies(draw: st.DrawFn) -> bytes:
    """A body as JSON, escaped or not; sometimes with a byte changed, or not JSON at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60))
    text = json.dumps(draw(BODIES), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(text) - 1))
        text = text[:place] + draw(st.binary(max_size=3)) + text[place + draw(st.integers(0, 3)) :]
    return text


def envelope(value: Any) -> Row:
    return {"entry": [{"id": "5", "changes": [{"field": "messages", "value": value}]}]}


def read_one(body: bytes, zone: str = "UTC") -> Reading:
    """What one organization with number 1 reads in a body, whichever of its two routes the body takes."""
    found = Reading()
    now = datetime(2026, 11, 23, tzinfo=UTC)
    targets = {route: [Route(UUID(int=1), ZoneInfo(zone), 0)] for route in ("1", "waba:1")}
    read([Delivery(1, route, now, body, now.date()) for route in targets], targets, found)
    return found


@settings(max_examples=200)
@given(body=raw_bodies())
def test_any_bytes_are_read_or_said_to_be_unreadable(body: bytes):
    found = read_one(body)

    for message in found.messages:
        assert message.wa_id or message.user_id
        json.loads(message.raw)
    for kept in found.kept:
        json.loads(kept.value)


@settings(max_examples=200)
@given(body=raw_bodies())
def test_routes_are_ids_of_ours_and_the_quick_way_gives_the_same(body: bytes):
    try:
        found, unreadable = webhook.routes(body), ""
    except Undecodable as error:
        found, unreadable = set(), "as a webhook" if error.is_json else "as JSON"
    assert all(route.removeprefix("waba:").isdigit() or route == "" for route in found)
    assert webhook.quick_routes(body) in ((None,) if unreadable else (None, found))
    assert unreadable != "as JSON" or not is_json(body)


def is_json(body: bytes) -> bool:
    try:
        json.loads(body.decode("utf-8", "replace"))
    except ValueError:
        return False
    return True


SHAPES = (webhook.Envelope, webhook.Value, webhook.Message, webhook.Referral, dict[str, Any], list[str])


@settings(max_examples=200)
@given(
    kind=st.sampled_from(SHAPES),
    raw=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()),
)
def test_arbitrary_bytes_decode_or_are_undecodable(kind: type[Any], raw: bytes):
    with suppress(Undecodable):
        webhook.decode(kind, raw)


@settings(max_examples=200)
@given(kind=TYPES, raw=MESSAGE.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60))
def test_readable_text_is_text_or_nothing_and_never_an_error(kind: str, raw: bytes):
    text = readable_text(kind, raw)

    assert text is None or "\x00" not in text.encode().decode()  # nor a lone surrogate: that has no UTF-8


@settings(max_examples=20)
@given(values=st.lists(JSON, min_size=1, max_size=25), ascii_only=st.booleans())
async def test_postgresql_takes_what_is_stored_and_reads_every_string_in_it(
    db: Database, values: list[Any], ascii_only: bool
):
    raw = [
        json.dumps({"": value}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") for value in values
    ]
    texts = [storable(webhook.clean(each) if b"NaN" in each or b"Infinity" in each else each) for each in raw]
    places = [(text, path, leaf) for text in texts for path, leaf in leaves(json.loads(text))]

    query = """SELECT t::json #>> ARRAY(SELECT json_array_elements_text(p::json)) AS leaf
               FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS u (t, p, place) ORDER BY place"""
    found = await rows(
        db, query, [text for text, _, _ in places], [json.dumps(path) for _, path, _ in places]
    )

    assert [row["leaf"] for row in found] == [leaf for _, _, leaf in places]


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every string in a JSON value, and where it stands."""
    match value:
        case str():
            yield path, value
        case list():
            for place, item in enumerate(value):
                yield from leaves(item, (*path, str(place)))
        case dict():
            for key, item in value.items():
                yield from leaves(item, (*path, key))


@settings(max_examples=40)
@given(bodies=st.lists(raw_bodies(), min_size=1, max_size=8))
async def test_no_body_is_refused_by_the_database(db: Database, bodies: list[bytes]):
    """Whatever cannot be read is set aside for what it is; the rest is stored."""
    shops = await open_shops(db)
    number = shops.numbers[0].encode()
    ours = [
        each.replace(b'"phone_number_id": "1"', b'"phone_number_id": "' + number + b'"') for each in bodies
    ]

    await process(db, *ours)

    assert await rows(db, "SELECT detail FROM delivery_exceptions WHERE reason = 'refused_by_database'") == []
