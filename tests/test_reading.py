"""A delivery's bytes as facts: which messages, whose, of when; what is counted, what is kept, what could not be read."""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from tests.support import NOON, PHONE, ad, body, change, make_shop, message, process, rows, tickets
from whatrack.db import Database
from whatrack.inbox.reading import Delivery, Incoming, Reading, Route, bounded, read, storable
from whatrack.meta.webhook import Undecodable

NUMBER = "106540352242922"
ORGANIZATION = UUID(int=1)
RECEIVED = NOON + timedelta(minutes=1)
EMOJI_AND_LONG_NUMBER = b'{"a": "\\ud83d\\ude00", "n": ' + b"9" * 5000 + b"}"


def reading_of(
    *bodies: bytes, route: str = NUMBER, zone: str = "America/Sao_Paulo", counts: bool = True
) -> Reading:
    """What is read in these deliveries for one organization."""
    target = Route(ORGANIZATION, ZoneInfo(zone), 7)
    found = Reading()
    deliveries = [
        Delivery(place, route, RECEIVED, each, RECEIVED.date(), counts=counts, partition=7)
        for place, each in enumerate(bodies)
    ]
    read(deliveries, {route: [target]}, found)
    return found


def only(*messages: dict[str, Any], **value: Any) -> Incoming:
    """The one message in a body."""
    found = reading_of(body(change(NUMBER, *messages, **value)))
    assert found.failures == []
    (incoming,) = found.messages
    return incoming


def test_c1_every_message_of_every_change_of_every_entry_is_read():
    """C1: elsewhere only entry[0].changes[0] was read, and batched webhooks lost messages."""
    batch = [
        [
            change(NUMBER, *(message(wamid=f"{entry}.{place}.{each}") for each in range(3)))
            for place in range(2)
        ]
        for entry in range(2)
    ]
    whole = json.dumps({"entry": [{"id": "1", "changes": changes} for changes in batch]}).encode()

    found = reading_of(whole, body(change(NUMBER, message(wamid="next body"))))

    expected = [f"{entry}.{place}.{each}" for entry in range(2) for place in range(2) for each in range(3)]
    assert [each.wamid for each in found.messages] == [*expected, "next body"]


def test_c2_a_bad_message_is_a_failure_and_its_neighbours_are_read():
    """C2: elsewhere a webhook was marked processed although its processing threw, so nobody could see the failure."""
    bad = message(None, wamid="bad")

    found = reading_of(body(change(NUMBER, message(wamid="before"), bad, message(wamid="after"))))

    assert [each.wamid for each in found.messages] == ["before", "after"]
    assert [(failure.reason, failure.delivery.id) for failure in found.failures] == [("no_sender", 0)]


async def test_c2_a_delivery_with_a_bad_part_is_listed_as_failed_and_can_be_processed_again(db: Database):
    shop = await make_shop(db)
    bad = {"id": "bad", "timestamp": "1", "type": "text", "from": ["?"]}

    await process(db, body(change(shop.number, message(referral=ad()), bad)))

    (exception,) = await rows(db, "SELECT state, reason, body FROM delivery_exceptions")
    assert (exception["state"], exception["reason"]) == ("failed", "no_sender")
    assert bytes(exception["body"]).count(b'"bad"') == 1
    (ticket,) = await tickets(db)
    assert ticket["meta_ad_id"] == ad()["source_id"]


def test_a_failure_says_where_and_never_what():
    secret = {"id": "s", "status": {"planted": PHONE}}

    (failure,) = reading_of(body(change(NUMBER, statuses=[secret]))).failures

    assert "$.status" in failure.detail
    assert PHONE not in failure.detail


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(b"not json", "not_a_webhook", id="not JSON"),
        pytest.param(b'{"entry": 5}', "not_a_webhook", id="no list of entries"),
        pytest.param(body(change(NUMBER, messages={"0": message()})), "bad_value", id="messages are no list"),
        pytest.param(
            body(change(NUMBER, history=["?"], field="history")), "bad_history", id="history is no object"
        ),
        pytest.param(
            body(change(NUMBER, statuses=[{"no": "status"}])), "bad_status", id="status without status"
        ),
        pytest.param(body(change(NUMBER, message(None))), "no_sender", id="nobody wrote"),
    ],
)
def test_what_cannot_be_read_is_a_failure_with_its_reason(raw: bytes, reason: str):
    found = reading_of(raw, body(change(NUMBER, message())))

    assert [failure.reason for failure in found.failures] == [reason]
    assert len(found.messages) == 1


@pytest.mark.parametrize("field", ["messages", "account_update"])
def test_a_change_that_python_cannot_hold_is_a_failure_and_not_the_batchs_end(field: str):
    odd = b'{"entry":[{"id":"1","changes":[{"field":"%s","value":{"metadata":{"phone_number_id":"%s"},"x":%s}}]}]}'

    found = reading_of(
        odd % (field.encode(), NUMBER.encode(), EMOJI_AND_LONG_NUMBER), body(change(NUMBER, message()))
    )

    assert [failure.reason for failure in found.failures] == ["bad_change"]
    assert len(found.messages) == 1


ECHO = {"from": "551135550100", "to": PHONE, "id": "e", "timestamp": "1700000000", "type": "text"}
CHAT = {"id": PHONE, "messages": [{"from": PHONE, "id": "h", "timestamp": "1700000000", "type": "text"}]}
CHANGED = {"body": "changed", "wa_id": "12195555358", "type": "user_changed_number"}


@pytest.mark.parametrize(
    ("raw", "origin", "from_business", "wa_id"),
    [
        pytest.param(change(NUMBER, message()), "inbound", False, PHONE, id="inbound"),
        pytest.param(change(NUMBER, message(type="telepathy")), "inbound", False, PHONE, id="unknown type"),
        pytest.param(change(NUMBER, message(group_id="g")), "group", False, PHONE, id="group"),
        pytest.param(change(NUMBER, message(group_id="g", referral=ad())), "group", False, PHONE, id="group with referral"),
        pytest.param(change(NUMBER, message(group_id="")), "inbound", False, PHONE, id="empty group id"),
        pytest.param(change(NUMBER, message(type="system", system=CHANGED)), "system", False, PHONE, id="system"),
        pytest.param(change(NUMBER, message(type="system", system=CHANGED, referral=ad())), "inbound", False, PHONE, id="system with referral"),
        pytest.param(change(NUMBER, message_echoes=[ECHO], field="smb_message_echoes"), "echo", True, PHONE, id="echo"),
        pytest.param(change(NUMBER, message_echoes=[ECHO]), "echo", True, PHONE, id="echo in messages"),
        pytest.param(change(NUMBER, history=[{"threads": [CHAT]}], field="history"), "history", False, PHONE, id="history"),
        pytest.param(change(NUMBER, message(), field="history"), "history", False, PHONE, id="media of a history"),
    ],
)  # fmt: skip
def test_a_message_says_where_it_comes_from(
    raw: dict[str, Any], origin: str, from_business: bool, wa_id: str
):
    (incoming,) = reading_of(body(raw)).messages

    assert (incoming.origin, incoming.from_business, incoming.wa_id) == (origin, from_business, wa_id)


def test_a_history_is_told_apart_by_who_wrote():
    ours = {"from": "551135550100", "id": "h2", "timestamp": "1700000000", "type": "text"}
    old_form = {"from": "551187654321", "id": "h3", "timestamp": "1700000000", "type": "text"}
    chunk = {"threads": [{**CHAT, "messages": [*CHAT["messages"], ours, old_form]}]}

    found = reading_of(body(change(NUMBER, history=[chunk], field="history")))

    assert [each.from_business for each in found.messages] == [False, True, False]
    assert {each.wa_id for each in found.messages} == {PHONE}


@pytest.mark.parametrize(
    ("sent", "person", "ids"),
    [
        pytest.param(message("1", user_id="US.1"), {}, ("1", "US.1"), id="both in the message"),
        pytest.param(message(None, user_id="US.1"), {"user_id": "US.1", "wa_id": "1"}, ("1", "US.1"), id="number in contacts"),
        pytest.param(message("1"), {"user_id": "US.1", "wa_id": "1"}, ("1", "US.1"), id="user id in contacts"),
        pytest.param(message("551187654321"), {"user_id": "BR.1", "wa_id": "5511987654321"}, ("551187654321", "BR.1"), id="ninth digit apart"),
        pytest.param(message("1"), {"user_id": "US.9", "wa_id": "2"}, ("1", None), id="somebody else in contacts"),
        pytest.param(message(None), {"user_id": "US.1", "wa_id": ""}, (None, "US.1"), id="only in contacts"),
        pytest.param(message(""), {"wa_id": "1"}, ("1", None), id="empty sender"),
    ],
)  # fmt: skip
def test_a_person_is_known_from_message_and_contacts_together(
    sent: dict[str, Any], person: dict[str, str], ids: tuple[str | None, str | None]
):
    incoming = only(sent, contacts=[{"profile": {"name": "Ana"}, **person}])

    assert (incoming.wa_id, incoming.user_id) == ids


def test_a_name_is_taken_from_the_senders_own_contact():
    people = [{"profile": {"name": name}, "wa_id": wa_id} for name, wa_id in (("Ana", "1"), ("Bia", "2"))]

    found = reading_of(body(change(NUMBER, message("2"), message("1"), message("3"), contacts=people)))

    assert [each.name for each in found.messages] == ["Bia", "Ana", None]


def test_an_unreadable_contact_costs_a_name_and_never_the_message():
    assert only(message(), contacts=["?", {"profile": 5, "wa_id": PHONE}]).name is None


@pytest.mark.parametrize(
    ("system", "becomes"),
    [
        pytest.param({"wa_id": "2", "type": "user_changed_number"}, ("2", None), id="number"),
        pytest.param({"new_wa_id": "2"}, ("2", None), id="number, older form"),
        pytest.param({"user_id": "US.2", "type": "user_changed_user_id"}, (None, "US.2"), id="user id"),
        pytest.param({"wa_id": "", "user_id": None}, (None, None), id="empty"),
        pytest.param("?", (None, None), id="unreadable"),
    ],
)
def test_a_system_message_says_what_a_person_becomes(system: Any, becomes: tuple[str | None, str | None]):
    incoming = only(message("1", type="system", system=system))

    assert (incoming.new_wa_id, incoming.new_user_id) == becomes


@pytest.mark.parametrize(
    ("timestamp", "sent_at"),
    [
        pytest.param("1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), id="text"),
        pytest.param(1700000000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), id="number"),
        pytest.param("1230768000", datetime(2009, 1, 1, tzinfo=UTC), id="WhatsApp's first day"),
        pytest.param("1230767999", None, id="before WhatsApp"),
        pytest.param(
            int((RECEIVED + timedelta(days=1)).timestamp()), RECEIVED + timedelta(days=1), id="a day ahead"
        ),
        pytest.param(
            int((RECEIVED + timedelta(days=1, seconds=1)).timestamp()), None, id="more than a day ahead"
        ),
        pytest.param("1700000000000", None, id="milliseconds"),
        pytest.param("9" * 400, None, id="huge"),
        pytest.param(-1, None, id="negative"),
        pytest.param("soon", None, id="words"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="null"),
    ],
)
def test_an_absurd_timestamp_gives_way_to_the_arrival(timestamp: Any, sent_at: datetime | None):
    incoming = only({**message(), "timestamp": timestamp})

    assert (incoming.sent_at, incoming.time_is_ours) == (sent_at or RECEIVED, sent_at is None)


def test_a_message_without_id_is_known_by_its_content():
    without = {key: value for key, value in message().items() if key != "id"}

    first, again, other = (only(each).wamid for each in (without, without, {**without, "type": "image"}))

    assert first == again != other
    assert first.startswith("sha256:")


@pytest.mark.parametrize(
    "referral", [ad(), {**ad(), "headline": {"odd": 1}}], ids=["whole", "with an odd field"]
)
def test_a_referral_survives_an_odd_field(referral: dict[str, Any]):
    found = only(message(referral=referral)).referral

    assert found is not None
    assert (found.source_id, found.ctwa_clid) == (referral["source_id"], referral["ctwa_clid"])


def test_a_messages_text_and_raw_form_are_kept_with_what_postgresql_cannot_hold_replaced():
    raw = body(change(NUMBER, {**message(text="a?b"), "x": "TAIL"})).replace(
        b"a?b", rb"a\u0000b \ud83d\ude00 \ud800"
    )

    (incoming,) = reading_of(raw).messages

    assert incoming.body == "a\ufffdb 😀 \ufffd"
    assert json.loads(incoming.raw)["x"] == "TAIL"


def test_statuses_are_counted_by_the_day_in_the_organizations_zone():
    last_second = int(datetime(2026, 3, 1, 2, 59, 59, tzinfo=UTC).timestamp())  # 23:59:59 in São Paulo
    statuses = [
        {"status": name, "timestamp": str(last_second + late)}
        for name, late in (("sent", 0), ("sent", 0), ("sent", 1), ("read", 0))
    ]

    found = reading_of(body(change(NUMBER, statuses=statuses)))

    assert found.statuses == {
        (ORGANIZATION, NUMBER, date(2026, 2, 28), "sent"): 2,
        (ORGANIZATION, NUMBER, date(2026, 3, 1), "sent"): 1,
        (ORGANIZATION, NUMBER, date(2026, 2, 28), "read"): 1,
    }


def test_a_replay_counts_no_status():
    assert not reading_of(body(change(NUMBER, statuses=[{"status": "sent"}])), counts=False).statuses


@pytest.mark.parametrize(
    ("raw", "route"),
    [
        pytest.param(change(NUMBER, field="automatic_events", automatic_events=[{"event_name": "Purchase"}]), NUMBER, id="automatic_events"),
        pytest.param({"field": "account_update", "value": {"event": "DISABLED_UPDATE"}}, "waba:102290129340398", id="account_update"),
        pytest.param({"value": {"event": "PARTNER_ADDED"}}, "waba:102290129340398", id="without a field"),
        pytest.param({"field": "account_update"}, "waba:102290129340398", id="without a value"),
        pytest.param(change(NUMBER, errors=[{"code": 1}]), NUMBER, id="errors"),
        pytest.param(change(NUMBER), NUMBER, id="nothing known"),
    ],
)  # fmt: skip
def test_changes_that_are_no_messages_are_kept_whole_once(raw: dict[str, Any], route: str):
    first, again = reading_of(body(raw), body(raw), route=route).kept

    assert first.digest == again.digest
    assert json.loads(first.value) == raw.get("value")


def test_only_the_changes_of_a_deliverys_route_and_partition_are_read():
    two_numbers = body(change(NUMBER, message(wamid="ours")), change("999", message(wamid="theirs")))
    elsewhere = Delivery(1, NUMBER, RECEIVED, two_numbers, RECEIVED.date(), partition=8)
    found = reading_of(two_numbers)

    read([elsewhere], {NUMBER: [Route(ORGANIZATION, ZoneInfo("UTC"), 7)]}, found)

    assert [each.wamid for each in found.messages] == ["ours"]


def test_an_id_too_long_for_an_index_is_kept_by_its_hash():
    assert bounded("x" * 200) == "x" * 200
    assert bounded("x" * 201) == "sha256:" + hashlib.sha256(b"x" * 201).hexdigest()


@pytest.mark.parametrize(
    ("raw", "stored"),
    [
        pytest.param(b'{"a": "\\u00e9"}', '{"a": "\\u00e9"}', id="escapes stay"),
        pytest.param('{"a": "é😀"}'.encode(), '{"a": "é😀"}', id="letters stay"),
        pytest.param(b'{"a": "\\ud83d\\ude00"}', '{"a": "\\ud83d\\ude00"}', id="a pair of surrogates stays"),
        pytest.param(b'{"a": "\\ud83d"}', '{"a":"\ufffd"}', id="half a pair"),
        pytest.param(b'{"a": "\\u0000"}', '{"a":"\ufffd"}', id="NUL"),
        pytest.param(b'{"a": "\xff"}', '{"a":"\ufffd"}', id="invalid UTF-8"),
        pytest.param(b'{"\\udfff": 1}', '{"\ufffd":1}', id="in a key"),
    ],
)
def test_json_is_stored_as_it_came_unless_postgresql_could_not_read_it(raw: bytes, stored: str):
    assert storable(raw) == stored


def test_json_that_python_cannot_hold_is_undecodable():
    with pytest.raises(Undecodable):
        storable(EMOJI_AND_LONG_NUMBER)
