"""The pure part of conversions: ids, windows, pauses, phrases, and requests as Meta documents them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatrack.conversions import rules
from whatrack.meta import capi
from whatrack.meta.capi import Answer, CustomData, Event, UserData, verdict
from whatrack.meta.errors import NoAnswer, Refusal, Throttled, Unreachable, classify

TICKET = UUID("01a20bca-bc83-7227-ba96-87e1a30ee64e")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LEAD = Event("LeadSubmitted", 1795500000, f"lead-{TICKET}", UserData("102290129340398", "ARAkLkA8rmlFeiCk"))
SALE = Event(
    "Purchase",
    1795500000,
    f"purchase-{TICKET}",
    UserData("102290129340398", "Aff-n8ZTxyz"),
    CustomData("BRL", Decimal("199.90")),
)


def test_a_lead_as_meta_documents_it():
    assert capi.body([LEAD]) == (
        b'{"data":[{"event_name":"LeadSubmitted","event_time":1795500000,"event_id":"lead-01a20bca-bc83-7227-ba96-87e1a30ee64e",'
        b'"user_data":{"whatsapp_business_account_id":"102290129340398","ctwa_clid":"ARAkLkA8rmlFeiCk"},'
        b'"action_source":"business_messaging","messaging_channel":"whatsapp"}],"partner_agent":"whatrack"}'
    )


def test_a_sale_as_meta_documents_it():
    assert capi.body([SALE], "TEST12345") == (
        b'{"data":[{"event_name":"Purchase","event_time":1795500000,"event_id":"purchase-01a20bca-bc83-7227-ba96-87e1a30ee64e",'
        b'"user_data":{"whatsapp_business_account_id":"102290129340398","ctwa_clid":"Aff-n8ZTxyz"},'
        b'"custom_data":{"currency":"BRL","value":199.90},'
        b'"action_source":"business_messaging","messaging_channel":"whatsapp"}],"partner_agent":"whatrack","test_event_code":"TEST12345"}'
    )


@pytest.mark.parametrize("code", ["", None])
def test_a_blank_test_code_is_not_sent_at_all(code: str | None):
    assert b"test_event_code" not in capi.body([LEAD], code)


def test_what_is_kept_is_what_was_sent_with_the_click_shortened():
    kept, sent = (msgspec.json.decode(each) for each in (capi.kept(SALE).encode(), capi.body([SALE])))

    assert kept["data"][0]["user_data"].pop("ctwa_clid") == "Aff-n8ZTxyz"
    long = msgspec.structs.replace(LEAD, user_data=UserData("1", "A" * 400))
    assert msgspec.json.decode(capi.kept(long))["data"][0]["user_data"]["ctwa_clid"] == "A" * 12 + "…"
    del sent["data"][0]["user_data"]["ctwa_clid"]
    assert kept == sent


@given(st.decimals(min_value="0.01", max_value="9999999999.99", places=2))
def test_a_value_keeps_its_digits(value: Decimal):
    event = msgspec.structs.replace(SALE, custom_data=CustomData("BRL", value))

    assert f'"value":{value}'.encode() in capi.body([event])


def test_event_ids_follow_from_ticket_and_name():
    assert rules.event_id("LeadSubmitted", TICKET) == f"lead-{TICKET}"
    assert rules.event_id("Purchase", TICKET) == f"purchase-{TICKET}"
    assert rules.event_id("InitiateCheckout", TICKET) == f"initiate_checkout-{TICKET}"
    ids = {rules.event_id(name, TICKET) for name in rules.EVENT_NAMES}
    assert len(ids) == len(rules.EVENT_NAMES) == 14
    assert max(map(len, ids)) <= 80


@pytest.mark.parametrize(
    ("age", "closed"),
    [
        (timedelta(0), False),
        (timedelta(days=6, hours=23, minutes=58), False),
        (timedelta(days=6, hours=23, minutes=59, seconds=1), True),  # the margin: it would arrive too late
        (timedelta(days=7), True),
        (timedelta(days=40), True),
    ],
)
def test_metas_window_closes_after_seven_days_less_a_minute(age: timedelta, closed: bool):
    assert rules.window_closed(NOW - age, NOW) is closed


def test_a_summer_time_change_does_not_move_the_window():
    before = datetime(2026, 10, 20, 12, tzinfo=UTC)

    assert rules.closes_at(before) - before == timedelta(hours=168)


def test_pauses_grow_to_half_an_hour_and_halves_end_at_one():
    pauses = [rules.pause_after(trouble) for trouble in range(1, 12)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (timedelta(seconds=2), timedelta(minutes=30))
    steps, size = 0, 1000
    while size > 1:
        size, steps = rules.next_limit(size), steps + 1
    assert steps == 10


WAY = {"event_time": NOW, "not_before": NOW, "now": NOW}


@pytest.mark.parametrize(
    ("missing", "enriching", "wanted"),
    [
        ((), False, rules.Send()),
        (("pixel_not_linked",), False, rules.Send()),
        ((), True, rules.Hold("enrichment", NOW + timedelta(minutes=10))),
        (("account_inactive",), False, rules.Skip("SKIPPED_ACCOUNT_INACTIVE")),
        (("no_dataset", "no_token"), False, rules.Skip("SKIPPED_NO_DATASET")),
        (("number_unknown",), False, rules.Skip("SKIPPED_NO_DATASET")),
        (("no_token",), False, rules.Hold("no_token", NOW + rules.SLOW_PAUSE)),
    ],
)
def test_which_way(missing: tuple[str, ...], enriching: bool, wanted: object):
    assert rules.way(missing, enriching=enriching, **WAY) == wanted


@pytest.mark.parametrize(("minutes", "wanted"), [(9.9, rules.Hold), (10, rules.Send)])
def test_an_ad_that_is_looked_up_holds_for_ten_minutes(minutes: float, wanted: type):
    begun = NOW - timedelta(minutes=minutes)

    found = rules.way((), enriching=True, event_time=begun, not_before=begun, now=NOW)

    assert isinstance(found, wanted)


def test_what_an_answer_proves():
    assert verdict(Answer(3), 3).outcome == "accepted"
    assert verdict(Answer(0), 3).outcome == "not_counted"
    assert verdict(Answer(2), 3).outcome == "unknown"
    assert verdict(NoAnswer("no_answer"), 3).outcome == "unknown"
    assert verdict(Unreachable("unreachable"), 3).outcome == "transient"
    assert verdict(Throttled("app", 60.0), 3) == capi.Verdict("throttled", 60.0)


@pytest.mark.parametrize(
    ("code", "subcode", "of_many", "of_one"),
    [
        (100, 2804087, "halve", "refused"), (100, 2804066, "halve", "refused"), (100, 2804003, "halve", "refused"),
        (100, None, "halve", "refused"), (100, 2804132, "refused", "refused"), (100, 2804131, "refused", "refused"),
        (100, 33, "refused", "refused"), (506, None, "halve", "refused"), (368, None, "blocked", "blocked"),
        (1, None, "transient", "transient"), (2, None, "transient", "transient"), (3, None, "permission", "permission"),
        (4, None, "throttled", "throttled"), (17, 2446079, "throttled", "throttled"), (32, None, "throttled", "throttled"),
        (341, None, "throttled", "throttled"), (613, 1487742, "throttled", "throttled"), (613, 5044001, "throttled", "throttled"),
        (613, 1996, "throttled", "throttled"), (80000, 2446079, "throttled", "throttled"), (80014, None, "throttled", "throttled"),
        (10, None, "permission", "permission"), (200, None, "permission", "permission"), (294, None, "permission", "permission"),
        (2601, 1815107, "transient", "transient"), (1609005, None, "halve", "refused"), (4, 1504022, "throttled", "throttled"),
        (299, None, "permission", "permission"), (102, None, "token", "token"), (190, None, "token", "token"),
        *((190, subcode, "token", "token") for subcode in (458, 459, 460, 463, 464, 467, 492)),
    ],
)  # fmt: skip
def test_what_each_refusal_means(code: int, subcode: int | None, of_many: str, of_one: str):
    error = classify(Refusal(code=code, subcode=subcode))

    assert (verdict(error, 5).outcome, verdict(error, 1).outcome) == (of_many, of_one)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Venda confirmada R$ 199,90", "199.90"), ("venda   CONFIRMADA r$199,9", "199.90"), ("Venda confirmada: R$ 1.234,56", "1234.56"),
        ("Oi! Venda confirmada R$ 200", "200.00"), ("Venda confirmada R$ 1.000.000", "1000000.00"), ("Venda confirmada R$ 199,90.", "199.90"),
        ("Venda confirmada R$ 50,00 e venda confirmada R$ 50,00", "50.00"), ("Venda confirmada - R$ 1200,00 obrigado", "1200.00"),
        ("Venda confirmada R$ 199.90", None), ("Venda confirmada 199,90", None), ("Venda confirmada", None), ("R$ 199,90", None),
        ("Venda confirmada R$ 0,00", None), ("Venda confirmada R$ 10,00. Venda confirmada R$ 20,00", None), ("", None), (None, None),
        ("Revenda confirmada R$ 10,00", None), ("Venda não confirmada R$ 10,00", None), ("Venda confirmada R$ 1,234.56", None),
        ("Venda confirmada R$ 12345678901", None), ("Venda confirmada R$ -5,00", None),
    ],
)  # fmt: skip
def test_a_sale_is_read_only_where_it_can_mean_one_thing(text: str | None, value: str | None):
    assert rules.sale_in(text, "Venda confirmada") == (Decimal(value) if value else None)


@given(st.text(max_size=60), st.text(max_size=20))
def test_no_text_and_no_phrase_breaks_the_reading(text: str, phrase: str):
    found = rules.sale_in(text, phrase)

    assert found is None or found > 0
