"""Values with a meaning of their own: money as decimal strings and in minor units, bounded days and names, phone numbers as people write them."""

import os
import re
import time
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from struct import Struct
from uuid import UUID

from whatrack.errors import bad_value

_DECIMAL = re.compile(r"\d{1,10}(\.\d{1,2})?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
# Days that anything here is asked about: each has a beginning in every zone, a period before it, and days after it.
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(9998, 12, 31)
DAY_OUT_OF_BOUNDS = "day_out_of_bounds"
# Of what Meta's accounts, campaigns, ad sets and ads are called, in characters: indexes have it, and no row of one may pass 2,700 bytes.
NAME_LENGTH = 500
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_NOISE_BYTES = 4096
_NOISE = Struct(f"!{_NOISE_BYTES // 8}Q").unpack
_drawn: list[int] = []
os.register_at_fork(after_in_child=_drawn.clear)  # or parent and child would make the same ids
_AMOUNT = re.compile(r"-?\d{1,18}(\.\d{1,12})?", re.ASCII)
# ISO 4217 (list one, 2026): what is not named here has two digits after the mark.
_MINOR_DIGITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF"), 0),
    **dict.fromkeys(("UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
_NOT_DIGIT = re.compile(r"\D+", re.ASCII)


def parse_money(text: str, field: str) -> Decimal:
    """A plain decimal such as "199.90": a dot, at most two places, no sign, no thousands mark. Never guessed.

    "1.234,56" and "1,234.56" are refused, because a guess between them would be wrong by a factor of a thousand.
    """
    if not _DECIMAL.fullmatch(text):
        raise bad_value(field, f'Write {field} as a plain decimal with a dot, such as "199.90".')
    return Decimal(text).quantize(Decimal("0.01"))


def parse_currency(text: str, field: str) -> str:
    """An ISO 4217 code in capitals, such as "BRL"."""
    if not _CURRENCY.fullmatch(text):
        raise bad_value(field, f'Write {field} as a three-letter ISO 4217 code, such as "BRL".')
    return text


def parse_day(text: str, field: str) -> date:
    """A day as ISO 8601 writes it, "2026-11-24", within the bounds. Never guessed: "24/11/2026" and "20261124" are refused."""
    try:
        found = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:  # 30 February
        found = None
    if found is None:
        raise bad_value(field, "Write a day as YYYY-MM-DD, such as 2026-11-24.", code="day_unreadable")
    return check_day(found, field)


def check_day(day: date, field: str) -> date:
    """The same day; Refused (422) naming the bounds where it lies outside of FIRST_DAY to LAST_DAY."""
    if not FIRST_DAY <= day <= LAST_DAY:
        raise bad_value(field, f"Days go from {FIRST_DAY} to {LAST_DAY}.", code=DAY_OUT_OF_BOUNDS)
    return day


def minor_digits(currency: str) -> int:
    """How many digits a currency has after the mark, by ISO 4217: 2 for BRL, 0 for JPY, 3 for KWD."""
    return _MINOR_DIGITS.get(currency, 2)


def to_minor(amount: Decimal | str, currency: str) -> int:
    """An amount in major units ("53.39") as whole minor units (5339); ties go away from zero. ValueError for any other text.

    What a source writes in finer steps than the currency has is rounded here, once, and nowhere else.
    """
    digits = minor_digits(currency)
    if isinstance(amount, str):
        if not _AMOUNT.fullmatch(amount):
            raise ValueError("not a plain decimal")
        whole, _, rest = amount.partition(".")
        if len(rest) <= digits:  # nothing to round: the digits are the number
            return int(whole + rest.ljust(digits, "0"))
        amount = Decimal(amount)
    try:
        return int(amount.scaleb(digits).to_integral_value(ROUND_HALF_UP))
    except (InvalidOperation, OverflowError, ValueError):  # NaN, infinities
        raise ValueError("not a plain decimal") from None


def from_minor(amount: int, currency: str) -> Decimal:
    """Whole minor units as an amount in major units, with all the digits of the currency: 5339 → 53.39; JPY: 5339."""
    return Decimal(amount).scaleb(-minor_digits(currency))


@lru_cache(maxsize=4096)  # asked several times for each message
def phone_key(phone: str) -> str | None:
    """The digits that stand for one line; a Brazilian mobile with and without its ninth digit gives the same key.

    None when there is no digit. WhatsApp keeps old Brazilian mobiles without the 9 that Anatel put in front of
    them (2012-2016), so 55 · area · 8 digits starting 6-9 is the same phone as 55 · area · 9 · the same 8 digits.
    Landlines start 2-5 and stay as they are; so do other countries.
    """
    digits = _NOT_DIGIT.sub("", phone)
    if len(digits) == 12 and digits.startswith("55") and digits[4] in "6789" and "0" not in digits[2:4]:
        return f"{digits[:4]}9{digits[4:]}"
    return digits or None


def masked_phone(phone: str) -> str:
    """The phone with only its last four digits, for people who may not see it whole."""
    return "•" * max(len(phone) - 4, 0) + phone[-4:]


def new_id() -> UUID:
    """A new row's id: a UUID of version 7 (RFC 9562 §6.2, method 3), so that new rows lie together in the index.

    Ids that one process makes sort in the order they were made: a quarter of a microsecond apart is apart enough.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    noise = _noise() & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (rest << 12) // 1_000_000 << 64 | 0x2 << 62 | noise)


def _noise() -> int:
    """Eight bytes of the operating system's randomness, which is asked for 4 kB at a time."""
    try:
        return _drawn.pop()
    except IndexError:
        fresh = _NOISE(os.urandom(_NOISE_BYTES))
        _drawn.extend(fresh[1:])
        number: int = fresh[0]
        return number
