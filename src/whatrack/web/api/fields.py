"""What the API's parameters and bodies have in common: texts without NUL, days and moments within bounds, phones."""

from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from whatrack.errors import Refused
from whatrack.units import check_day, parse_day

PHONE_DIGITS = range(7, 16)  # country code included; E.164 has at most 15


def _day(given: object) -> date:
    try:
        return parse_day(given if isinstance(given, str) else "", "day")
    except Refused as error:
        raise ValueError(error.detail) from None


def _utc(moment: datetime) -> datetime:
    try:
        found = moment.astimezone(UTC)
        check_day(found.date(), "moment")
    except OverflowError:
        raise ValueError("this moment lies outside the years 1 to 9999 in UTC") from None
    except Refused as error:
        raise ValueError(error.detail) from None
    return found


def _phone(text: str) -> str:
    if sum(char.isdigit() for char in text) not in PHONE_DIGITS:
        raise ValueError("write the phone with its country code, such as 5511987654321")
    return text


NoNul = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=500)]
Limit = Annotated[int, Field(ge=1, le=200)]
Day = Annotated[date, BeforeValidator(_day)]
Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
Phone = Annotated[str, Field(max_length=40, pattern=r"^\+?[0-9 ().-]+$"), AfterValidator(_phone)]
