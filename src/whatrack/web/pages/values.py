"""Numbers and dates as people type them, in the language they read; never guessed."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

from babel.dates import format_date
from babel.numbers import NumberFormatError, format_decimal, get_currency_symbol, parse_decimal

from whatrack.errors import Refused, bad_value
from whatrack.units import DAY_OUT_OF_BOUNDS, FIRST_DAY, LAST_DAY, parse_day
from whatrack.web.pages import i18n
from whatrack.web.pages.i18n import _

_PHONE = re.compile(r"\+?[0-9 ().-]{1,40}", re.ASCII)
_AMOUNT = re.compile(r"[0-9]([0-9.,]*[0-9])?", re.ASCII)
MOST = Decimal("9999999999.99")


def money_in(currency: str) -> Callable[[str], Decimal]:
    """Reads amounts of one currency; its own sign or code may stand before them, another's is refused."""
    signs = {currency, *(get_currency_symbol(currency, locale=name) for name in i18n.LANGUAGES)}

    def read(text: str) -> Decimal:
        plain = text.strip()
        sign = max((each for each in signs if plain.startswith(each)), key=len, default="")
        return _amount(plain.removeprefix(sign).strip())

    return read


def _amount(plain: str) -> Decimal:
    """An amount with at most two places, as the reader's language writes it: 1.234,56 or 1,234.56.

    Refused when it could mean two things, or is not above zero.
    """
    example = format_decimal(Decimal("1234.56"), locale=i18n.language.get())
    try:
        amount = Decimal(parse_decimal(plain, locale=i18n.language.get(), strict=True))
    except (NumberFormatError, ValueError):
        amount = None
    if amount is None or not _AMOUNT.fullmatch(plain):  # Babel also reads 1e5 and other scripts' digits
        raise _unreadable(_("Escreva o valor como %(example)s.", example=example))
    if amount > MOST:
        raise _unreadable(_("Este valor é grande demais: o máximo é %(most)s.", most=as_typed(MOST)))
    if amount != round(amount, 2):
        raise _unreadable(_("Use no máximo dois dígitos de centavos, como %(example)s.", example=example))
    if amount <= 0:
        raise _unreadable(_("O valor precisa ser maior que zero."))
    return amount.quantize(Decimal("0.01"))


def share(text: str) -> Decimal:
    """A percentage as people type it, 12,15 or 12,15 %, as a fraction: at least 0, below 100, at most four places."""
    plain = text.strip().removesuffix("%").strip()
    try:
        found = Decimal(parse_decimal(plain, locale=i18n.language.get(), strict=True))
    except (NumberFormatError, ValueError):
        found = None
    if found is None or not _AMOUNT.fullmatch(plain):
        example = format_decimal(Decimal("12.15"), locale=i18n.language.get())
        raise _unreadable(_("Escreva a porcentagem como %(example)s.", example=example))
    if found >= 100 or found != round(found, 4):
        raise _unreadable(_("Use uma porcentagem de 0 a menos de 100, com até quatro casas."))
    return found / 100


def rate(text: str) -> Decimal:
    """How much of one currency another is worth: 5,4321, above zero, at most eight places."""
    try:
        found = Decimal(parse_decimal(text.strip(), locale=i18n.language.get(), strict=True))
    except (NumberFormatError, ValueError):
        found = None
    if found is None or not _AMOUNT.fullmatch(text.strip()):
        example = format_decimal(Decimal("5.4321"), format="0.0000", locale=i18n.language.get())
        raise _unreadable(_("Escreva a cotação como %(example)s.", example=example))
    if not 0 < found < 10**8 or found != round(found, 8):
        raise _unreadable(_("Use uma cotação acima de zero, com até oito casas."))
    return found


def as_typed(amount: Decimal | None) -> str:
    """An amount as the reader would type it into a form."""
    return "" if amount is None else format_decimal(amount, format="#,##0.00", locale=i18n.language.get())


def as_share(fraction: Decimal) -> str:
    """A fraction as the reader would type its percentage: 12,15."""
    return str(format_decimal((fraction * 100).normalize(), format="0.####", locale=i18n.language.get()))


def phone(text: str) -> str:
    """A phone number with its country code; a Brazilian one may leave the 55 out."""
    digits = "".join(char for char in text if char.isdecimal() and char.isascii())
    if not _PHONE.fullmatch(text.strip()) or len(digits) not in range(10, 16):
        raise _unreadable(
            _(
                "Escreva o telefone com DDD, como 11 98765-4321, ou com o código do país, como +351 912 345 678."
            )
        )
    return digits if text.strip().startswith("+") or len(digits) > 11 else f"55{digits}"


def person(text: str) -> UUID:
    """The id of somebody chosen from a list."""
    try:
        return UUID(text)
    except ValueError:
        raise _unreadable(_("Escolha uma das opções.")) from None


def day(text: str) -> date:
    """A date from a date field, within the bounds of every day here."""
    try:
        return parse_day(text, "")
    except Refused as error:
        is_far = error.code == DAY_OUT_OF_BOUNDS
        raise _unreadable(out_of_bounds() if is_far else _("Escolha uma data.")) from None


def out_of_bounds() -> str:
    """Which days there are, for who wrote another."""
    first, last = (format_date(each, locale=i18n.language.get()) for each in (FIRST_DAY, LAST_DAY))
    return _("A data precisa estar entre %(first)s e %(last)s.", first=first, last=last)


def moment_of(chosen: date, *, earliest: datetime, now: datetime) -> datetime:
    """A moment on a chosen day of the organization's zone: now for today, else noon, never before `earliest`.

    Refused for a day in the future or wholly before `earliest`.
    """
    zone = i18n.zone()
    if chosen > now.astimezone(zone).date():
        raise _unreadable(_("A data não pode estar no futuro."))
    if chosen < earliest.astimezone(zone).date():
        raise _unreadable(
            _(
                "A data não pode ser anterior a %(day)s.",
                day=format_date(earliest.astimezone(zone), locale=i18n.language.get()),
            )
        )
    if chosen == now.astimezone(zone).date():
        return now
    return max(datetime.combine(chosen, time(12), zone).astimezone(UTC), earliest)


def start_of(chosen: date) -> datetime:
    """Midnight of a day in the organization's zone, UTC."""
    return datetime.combine(chosen, time(), i18n.zone()).astimezone(UTC)


def _unreadable(message: str) -> Refused:
    return bad_value("", message, code="typed")
