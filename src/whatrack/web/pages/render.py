"""Pages from templates: whole for a browser, in named parts for htmx; numbers, money, dates by Babel."""

import hashlib
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from math import floor, inf
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

from babel.dates import TIMEDELTA_UNITS, format_date, format_datetime, format_timedelta, get_timezone_name
from babel.numbers import format_compact_currency, format_currency, format_decimal, get_currency_precision
from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.meta import find_referenced_templates
from markupsafe import Markup

from whatrack.web import cookies
from whatrack.web.pages import i18n, own_forms
from whatrack.web.pages.own_forms import OwnForms

WEB = Path(__file__).parents[1]
UNKNOWN = "—"
BRAZILIAN = str.maketrans(",.", ".,")
NEARLY = 0.85  # from 51 minutes on, an hour
ADDRESS = "/?&=%#:+,;@!$'()*[]~-._"  # what an address may hold as it is
THEMES = {"light", "dark"}
THEME_COOKIE, NOTICE_COOKIE = "theme", "notice"
VARY = {"Vary": "HX-Request, Accept-Language, Cookie", "Cache-Control": "no-store"}


class Shape(NamedTuple):
    """How money of a currency looks in a language: what stands around its digits, and how many are after the point."""

    before: str
    after: str
    minus_before: str
    minus_after: str
    places: int


@cache
def _shape(currency: str, language: str) -> Shape:
    """Read off what Babel writes: asking it for each of a table's thousand figures would take longer than the query."""
    parts = [
        _around(format_currency(sample, currency, locale=language)) for sample in (Decimal(1), Decimal(-1))
    ]
    return Shape(*parts[0], *parts[1], get_currency_precision(currency))


def _around(text: str) -> tuple[str, str]:
    digits = [place for place, char in enumerate(text) if char.isdigit()]
    return text[: digits[0]], text[digits[-1] + 1 :]


def _digits(value: Decimal | int, places: int, language: str) -> str:
    """1.234,56 without its sign; a half is rounded to even, as Babel does."""
    text = f"{abs(value):,.{places}f}" if places else f"{abs(value):,.0f}"
    return text if language == "en" else text.translate(BRAZILIAN)


def _signed(value: Decimal | int, places: int) -> str:
    """1.234,56, with its sign."""
    digits = _digits(value, places, i18n.language.get())
    return f"-{digits}" if value < 0 else digits


def money(value: Decimal | None, currency: str = "BRL") -> str:
    """R$ 1.234,56; a dash for what is not known."""
    if value is None:
        return UNKNOWN
    language = i18n.language.get()
    shape = _shape(currency, language)
    digits = _digits(value, shape.places, language)
    if value < 0:
        return f"{shape.minus_before}{digits}{shape.minus_after}"
    return f"{shape.before}{digits}{shape.after}"


def short_money(value: Decimal | None, currency: str = "BRL") -> str:
    """R$ 1,2 mi: for places where the exact figure stands elsewhere."""
    if value is None:
        return UNKNOWN
    return format_compact_currency(value, currency, locale=i18n.language.get(), fraction_digits=1)


def number(value: int | Decimal | None) -> str:
    """1.234."""
    if value is None:
        return UNKNOWN
    if isinstance(value, int):
        return _signed(value, 0)
    return str(format_decimal(value, locale=i18n.language.get()))


def exact(value: Decimal | None) -> str:
    """5,4321: with every place it has, four at least."""
    return UNKNOWN if value is None else str(format_decimal(value, format="#,##0.0000####", locale=i18n.language.get()))  # fmt: skip


def times(value: Decimal | None) -> str:
    """2,88x."""
    return UNKNOWN if value is None else f"{_signed(value, 2)}x"


def percent(value: Decimal | None, places: int = 1) -> str:
    """12,3%."""
    return UNKNOWN if value is None else f"{_signed(value * 100, places)}%"


def moment(value: datetime | None, style: str = "short") -> str:
    """22/11/2026 11:05, in the organization's zone."""
    if value is None:
        return UNKNOWN
    return format_datetime(value, style, tzinfo=i18n.zone(), locale=i18n.language.get())


def day(value: date | datetime | None, style: str = "medium") -> str:
    """22 de nov. de 2026; the day of a moment is that of the organization's zone."""
    if value is None:
        return UNKNOWN
    local = value.astimezone(i18n.zone()) if isinstance(value, datetime) else value
    return format_date(local, style, locale=i18n.language.get())


def ago(value: datetime | None, now: datetime) -> str:
    """há 4 minutos."""
    if value is None:
        return UNKNOWN
    seconds = floor((value - now).total_seconds())  # a moment ago is past, however short
    unit, count = _rounded(abs(seconds))
    return _distance(unit, count if seconds >= 0 else -count, i18n.language.get())


def age(value: datetime, now: datetime) -> tuple[str, int]:
    """What ago() says of a moment in the past, without words. Seconds are all one, or they would change as one looks."""
    unit, count = _rounded(abs(floor((value - now).total_seconds())))
    return unit, 0 if unit == "second" else count


def _rounded(seconds: int) -> tuple[str, int]:
    """A distance in the largest unit that is nearly full, as Babel rounds it: hundreds of moments make few distances."""
    for unit, length in TIMEDELTA_UNITS[:-1]:
        if seconds / length >= NEARLY:
            return unit, round(seconds / length)
    return "second", seconds


@lru_cache(4096)
def _distance(unit: str, count: int, locale: str) -> str:
    length = timedelta(seconds=dict(TIMEDELTA_UNITS)[unit])
    return format_timedelta(
        count * length,
        granularity=unit,  # type: ignore[arg-type] # it is one of Babel's own
        threshold=inf,
        add_direction=True,
        locale=locale,
    )


def phone(digits: str | None) -> str:
    """+55 11 98765-4321 for Brazil; other countries' digits, and masked ones, as they are."""
    if digits is None:
        return UNKNOWN
    if digits.startswith("55") and digits.isdigit() and len(digits) in (12, 13):
        return f"+55 {digits[2:4]} {digits[4:-4]}-{digits[-4:]}"
    return f"+{digits}" if digits.isdigit() else digits


@cache
def icon(name: str, label: str = "") -> Markup:
    """An icon of frontend/icons.txt; with a label when it stands alone."""
    said = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    return Markup('<svg class="icon" {}><use href="{}#{}"/></svg>').format(
        said, asset("dist/icons.svg"), name
    )


@cache
def asset(path: str) -> str:
    """The address of a static file, which changes with its content: browsers may keep it for ever."""
    digest = hashlib.sha256((WEB / "static" / path).read_bytes()).hexdigest()[:12]
    return f"/static/{path}?v={digest}"


def address_of(request: Request, path: str, **changed: object) -> str:
    """Another page's address that keeps this one's parameters, some changed; None takes one away."""
    kept = {name: value for name, value in request.query_params.items() if name not in changed and value}
    kept |= {name: str(value) for name, value in changed.items() if value is not None}
    return f"{path}?{urlencode(kept)}" if kept else path


def with_seen(address: str, digest: str) -> str:
    """A page's own address with what was seen of it, so that the answer may be "unchanged"."""
    path, _, parameters = address.partition("?")
    kept = [(name, value) for name, value in parse_qsl(parameters) if name != "seen"]
    return f"{path}?{urlencode([*kept, ('seen', digest)])}"


def query(request: Request, **changed: object) -> str:
    """The page's own address with some of its parameters changed; None takes one away."""
    return address_of(request, request.url.path, **changed)


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(WEB / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n", OwnForms],
    )
    made.install_gettext_callables(i18n.gettext_callable, i18n.ngettext_callable, newstyle=True)  # type: ignore[attr-defined] # added by the extension
    made.filters.update(
        money=money,
        short_money=short_money,
        number=number,
        percent=percent,
        exact=exact,
        times=times,
        moment=moment,
        day=day,
        ago=ago,
        phone=phone,
        decimal=Decimal,
    )
    made.globals.update(
        icon=icon,
        asset=asset,
        query=query,
        address_of=address_of,
        with_seen=with_seen,
        typed_example=lambda: format_decimal(Decimal("1234.56"), locale=i18n.language.get()),
        languages=i18n.LANGUAGES,
        language=i18n.language.get,
        organization_of_page=own_forms.field,
        zone_name=lambda: get_timezone_name(i18n.zone(), locale=i18n.language.get()),
    )
    return made


templates = _environment()


def compile_ahead(name: str) -> None:
    """Compile a template and all that it refers to, so that its first reader need not wait for it."""
    wanted, known = [name], set[str]()
    while wanted:
        each = wanted.pop()
        known.add(each)
        source = templates.loader.get_source(templates, each)[0]  # type: ignore[union-attr] # it has one
        named = find_referenced_templates(templates.parse(source))
        wanted += [other for other in named if other and other not in known]
        templates.get_template(each)


def by_htmx(request: Request) -> bool:
    """Whether htmx asks for parts; restoring its history or following a boosted link takes the whole page."""
    headers = request.headers
    return (
        headers.get("hx-request") == "true"
        and "hx-boosted" not in headers
        and "hx-history-restore-request" not in headers
    )


def page(
    request: Request,
    name: str,
    *parts: str,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **context: Any,
) -> HTMLResponse:
    """The template for a browser; for htmx the parts instead, the first swapped in, the rest as <hx-partial>s.

    Every template knows request, visitor, theme and notice (what the page before wanted said).
    """
    visitor = getattr(request.state, "visitor", None)
    theme = visitor.user.theme if visitor else request.cookies.get(THEME_COOKIE)
    notice = unquote(request.cookies.get(NOTICE_COOKIE, ""))
    chosen = parts if parts and by_htmx(request) else (name,)
    known = {
        "request": request,
        "visitor": visitor,
        "theme": theme if theme in THEMES else None,
        "notice": notice,
        **context,
    }
    answer = HTMLResponse("".join(templates.get_template(each).render(known) for each in chosen), status)
    answer.headers.update({**VARY, **(headers or {})})
    if notice:
        cookies.drop(request, answer, NOTICE_COOKIE)
    return answer


def see(request: Request, address: str, notice: str = "") -> Response:
    """Send the browser to another page after a form: 303, or htmx's own way. notice: said at the top of that page."""
    if by_htmx(request):
        answer = Response(status_code=204, headers={"HX-Redirect": quote(address, safe=ADDRESS), **VARY})
    else:
        answer = RedirectResponse(address, 303, VARY)
    if notice:
        cookies.put(request, answer, NOTICE_COOKIE, quote(notice), seconds=30)
    return answer
