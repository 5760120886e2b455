"""The time zones and currencies that a form offers."""

from functools import cache
from zoneinfo import available_timezones

from babel.numbers import get_currency_name

from whatrack.web.pages import i18n

BRAZIL = (
    "America/Sao_Paulo", "America/Manaus", "America/Cuiaba", "America/Campo_Grande", "America/Porto_Velho",
    "America/Boa_Vista", "America/Rio_Branco", "America/Belem", "America/Fortaleza", "America/Recife",
    "America/Maceio", "America/Bahia", "America/Araguaina", "America/Noronha",
)  # fmt: skip
CONTINENTS = ("Africa/", "America/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Indian/", "Pacific/")
CURRENCIES = (
    "BRL", "USD", "EUR", "ARS", "AUD", "BOB", "CAD", "CHF", "CLP", "COP", "CRC", "DOP", "GBP", "GTQ", "HNL", "INR", "JPY",
    "MXN", "NIO", "PAB", "PEN", "PYG", "UYU", "VES", "ZAR",
)  # fmt: skip


@cache
def zones() -> tuple[tuple[str, str], ...]:
    """Every zone by its IANA name, Brazil's first."""
    rest = sorted(
        name for name in available_timezones() if name.startswith(CONTINENTS) and name not in BRAZIL
    )
    return tuple((name, name.replace("_", " ")) for name in (*BRAZIL, *rest, "UTC"))


def zone_names(current: str = "") -> set[str]:
    """What a form may send: any zone on offer, or the one that is set already."""
    return {name for name, _ in zones()} | {current}


def currencies(current: str = "BRL") -> list[tuple[str, str]]:
    """The currencies on offer with their names, and the one that is set already."""
    codes = CURRENCIES if current in CURRENCIES else (current, *CURRENCIES)
    return [(code, f"{code} · {get_currency_name(code, locale=i18n.language.get())}") for code in codes]
