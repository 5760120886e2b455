"""Money, phones and ids: values with a meaning of their own."""

import os
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatrack.errors import Refused
from whatrack.units import (
    from_minor,
    masked_phone,
    minor_digits,
    new_id,
    parse_currency,
    parse_money,
    phone_key,
    to_minor,
)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        pytest.param("199.90", "199.90", id="two places"),
        pytest.param("199.9", "199.90", id="one place"),
        pytest.param("199", "199.00", id="none"),
        pytest.param("0.01", "0.01", id="a cent"),
        pytest.param("0", "0.00", id="zero"),
        pytest.param("007", "7.00", id="leading zeros"),
        pytest.param("9999999999.99", "9999999999.99", id="the most a column holds"),
    ],
)
def test_a_plain_decimal_is_money(text: str, amount: str):
    assert str(parse_money(text, "deal_value")) == amount


@pytest.mark.parametrize(
    "text",
    ["1.234,56", "1,234.56", "199,90", "1.999", "10000000000", "-1", "+1", "1e3", " 1", "1 ", "1\n", "", ".5", "5.", "١٢", "R$ 5", "NaN", "Infinity"],
)  # fmt: skip
def test_what_could_mean_something_else_is_refused_and_never_guessed(text: str):
    with pytest.raises(Refused) as refusal:
        parse_money(text, "deal_value")

    assert (refusal.value.status, refusal.value.field) == (422, "deal_value")


@pytest.mark.parametrize("text", ["brl", "BR", "BRLL", "B1L", "R$", "", "BRL\n", "ÉÉÉ"])
def test_a_currency_is_three_capitals(text: str):
    assert parse_currency("BRL", "currency") == "BRL"
    with pytest.raises(Refused):
        parse_currency(text, "currency")


@pytest.mark.parametrize(
    ("phone", "key"),
    [
        pytest.param("5511987654321", "5511987654321", id="mobile"),
        pytest.param("551187654321", "5511987654321", id="mobile without its ninth digit"),
        pytest.param("551167654321", "5511967654321", id="lowest old mobile"),
        pytest.param("+55 (11) 8765-4321", "5511987654321", id="as people write it"),
        pytest.param("551153334444", "551153334444", id="highest landline"),
        pytest.param("551123334444", "551123334444", id="lowest landline"),
        pytest.param("551087654321", "551087654321", id="no such area"),
        pytest.param("16505551234", "16505551234", id="United States"),
        pytest.param("5491187654321", "5491187654321", id="Argentina"),
        pytest.param("351912345678", "351912345678", id="Portugal, twelve digits"),
        pytest.param("558001234567", "558001234567", id="0800"),
        pytest.param("5511", "5511", id="cut short"),
        pytest.param("", None, id="empty"),
        pytest.param("anonymous", None, id="no digit"),
    ],
)
def test_a_phone_has_one_key(phone: str, key: str | None):
    assert phone_key(phone) == key


@pytest.mark.parametrize(
    ("phone", "masked"),
    [
        pytest.param("5511987654321", "•••••••••4321", id="mobile"),
        pytest.param("4321", "4321", id="four digits"),
        pytest.param("", "", id="empty"),
    ],
)
def test_a_masked_phone_shows_its_last_four_digits(phone: str, masked: str):
    assert masked_phone(phone) == masked


def test_ids_are_of_version_7_unlike_and_sort_in_the_order_they_were_made():
    ids = [new_id() for _ in range(5000)]

    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)


def test_a_forked_process_makes_ids_of_its_own():
    new_id()  # so that there is randomness left over that both would draw from
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"".join(new_id().bytes for _ in range(100)))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)

    theirs = [UUID(bytes=told[place : place + 16]) for place in range(0, len(told), 16)]
    ours = [new_id() for _ in range(100)]
    assert len(theirs) == 100
    assert not {each.bytes[8:] for each in theirs} & {each.bytes[8:] for each in ours}


CURRENCIES = st.sampled_from(["BRL", "USD", "EUR", "JPY", "CLP", "KRW", "KWD", "TND", "CLF", "XXX"])
AMOUNTS = st.integers(-(10**15), 10**15)


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        pytest.param("53.39", "BRL", 5339, id="two digits"),
        pytest.param("53.3", "BRL", 5330, id="one digit"),
        pytest.param("53", "BRL", 5300, id="none"),
        pytest.param("5339", "JPY", 5339, id="no minor unit"),
        pytest.param("5339.00", "JPY", 5339, id="zeros that mean nothing"),
        pytest.param("1.234", "KWD", 1234, id="three digits"),
        pytest.param("0.005", "BRL", 1, id="half a cent"),
        pytest.param("0.0049", "BRL", 0, id="less than half"),
        pytest.param("-0.005", "BRL", -1, id="half a cent less"),
        pytest.param("-0.05", "BRL", -5, id="below zero"),
        pytest.param("0.5", "JPY", 1, id="half a yen"),
    ],
)
def test_an_amount_in_minor_units(text: str, currency: str, minor: int):
    assert to_minor(text, currency) == minor
    assert to_minor(Decimal(text), currency) == minor


@pytest.mark.parametrize("text", ["", "1,50", "1e3", " 1", "NaN", "Infinity", ".5", "5.", "+1", "1.2.3", "١"])
def test_what_is_no_plain_decimal_is_no_amount(text: str):
    with pytest.raises(ValueError, match="decimal"):
        to_minor(text, "BRL")


@pytest.mark.parametrize("amount", [Decimal("NaN"), Decimal("Infinity"), Decimal("sNaN")])
def test_what_is_no_number_is_no_amount(amount: Decimal):
    with pytest.raises(ValueError, match="decimal"):
        to_minor(amount, "BRL")


@given(AMOUNTS, CURRENCIES)
def test_minor_units_come_back_as_they_were(minor: int, currency: str):
    amount = from_minor(minor, currency)

    assert to_minor(amount, currency) == minor
    assert to_minor(f"{amount:f}", currency) == minor
    assert -amount.as_tuple().exponent == minor_digits(currency)  # type: ignore[operator] # a number's is an int


@given(st.lists(AMOUNTS, max_size=20), CURRENCIES)
def test_sums_are_the_same_in_both_units(amounts: list[int], currency: str):
    whole = sum((from_minor(each, currency) for each in amounts), Decimal(0))

    assert to_minor(whole, currency) == sum(amounts)


@given(st.decimals(-(10**12), 10**12, places=6), CURRENCIES)
def test_rounding_is_by_less_than_a_minor_unit_and_alike_from_text(amount: Decimal, currency: str):
    minor = to_minor(amount, currency)

    assert abs(from_minor(minor, currency) - amount) * 2 <= Decimal(1).scaleb(-minor_digits(currency))
    assert to_minor(f"{amount:f}", currency) == minor
