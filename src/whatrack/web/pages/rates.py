"""What currencies were worth, day by day: entered one by one, or imported from a sheet."""

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.datastructures import UploadFile

from whatrack.connections import ad_accounts
from whatrack.connections.ad_accounts import Search
from whatrack.db import Connection
from whatrack.errors import Refused
from whatrack.roi import rates
from whatrack.roi.rates import Place
from whatrack.tenants import organizations
from whatrack.tenants.access import Access
from whatrack.units import FIRST_DAY, LAST_DAY
from whatrack.web.api.caller import Db
from whatrack.web.pages import i18n, render, roi_page, values
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _, ngettext
from whatrack.web.pages.places import CURRENCIES, currencies
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import Admin, Member
from whatrack.web.pages.words import said

router = APIRouter(prefix="/settings/rates")
HERE = "/settings/rates"
SHOWN = 100  # rates of a page
MOST_LINES = 5000
SHEET_BYTES = 500_000
DAYS = ("%Y-%m-%d", "%d/%m/%Y", "%d/%m/%y")


class Unreadable(Exception):
    """A sheet that cannot be read; the text says which line, and why."""


@router.get("")
async def show(request: Request, db: Db, who: Member) -> Response:
    """Every rate there is, a page of them, and the forms."""
    return await _show(request, db, who, Form(), 200)


@router.post("")
async def enter(request: Request, db: Db, who: Admin) -> Response:
    """One rate of one day."""
    form = await sent_form(request)
    async with db.tenant(who.organization_id) as conn:
        own = await organizations.by_id(conn, who.organization_id)
        currency = form.choice("currency", CURRENCIES)
        day = form.parsed("day", values.day)
        rate = form.parsed("rate", values.rate)
        if currency == own.base_currency:
            form.wrong("currency", _("A moeda da organização não precisa de cotação."))
        if form.ok and day and rate:
            carry = form.checked("carry")
            await rates.put(
                conn,
                who.organization_id,
                currency,
                own.base_currency,
                {day: rate},
                actor=who.actor,
                carry=carry,
            )
            return see(request, HERE, _("Cotação guardada."))
    return await _show(request, db, who, form, 422)


@router.post("/import")
async def import_sheet(request: Request, db: Db, who: Admin) -> Response:
    """Many rates from a CSV: a day, a currency and a rate in each line."""
    async with request.form() as sent:  # read before, when the visitor was looked up
        sheet = sent.get("sheet")
        text = _decoded(await sheet.read(SHEET_BYTES + 1)) if isinstance(sheet, UploadFile) else ""
        text = text or str(sent.get("lines", ""))
        carry = "carry" in sent
    form = Form(lines=text if len(text) < 20_000 else "")
    try:
        found = read_sheet(text)
    except Unreadable as error:
        form.wrong("lines", str(error))
        return await _show(request, db, who, form, 422)
    async with db.tenant(who.organization_id) as conn:
        own = await organizations.by_id(conn, who.organization_id)
        if own.base_currency in found:
            form.wrong("lines", _("A moeda da organização não precisa de cotação."))
        try:
            for currency, by_day in found.items():
                if form.ok:
                    await rates.put(
                        conn, who.organization_id, currency, own.base_currency, by_day,
                        actor=who.actor, source="imported", carry=carry,
                    )  # fmt: skip
        except Refused as error:
            form.wrong("lines", said(error))
    if not form.ok:
        return await _show(request, db, who, form, 422)
    count = sum(map(len, found.values()))
    return see(request, HERE, ngettext("%(num)s cotação importada.", "%(num)s cotações importadas.", count))


@router.post("/remove")
async def remove(request: Request, db: Db, who: Admin) -> Response:
    """Forget one rate, and its repetitions on the days after it. What cannot be read, or is not there, is said to be left."""
    form = await sent_form(request)
    currency, into = form.choice("currency", CURRENCIES), form.choice("into", CURRENCIES)
    day = _iso(form.text("day"))
    done = 0
    if form.ok and day:
        async with db.tenant(who.organization_id) as conn:
            done = await rates.remove(conn, who.organization_id, currency, into, [day], actor=who.actor)
    place = _place(form.values.get("after", ""))
    return see(request, _address(place) if place else HERE, _removed(done))


def _removed(done: int) -> str:
    if done < 2:
        return _("Cotação removida.") if done else _("Nada foi removido.")
    return ngettext(
        "Cotação removida, e a repetição dela em %(num)s dia seguinte.",
        "Cotação removida, e as repetições dela em %(num)s dias seguintes.",
        done - 1,
    )


def read_sheet(text: str) -> Mapping[str, dict[date, Decimal]]:
    """Currency → day → rate, from lines such as `24/11/2026;USD;5,4321`. A head is skipped; Unreadable names the line.

    Parted by ; or tab, or by a comma where none is in the figures; days as 2026-11-24 or 24/11/2026. A day may come twice with
    one rate, not with two.
    """
    found: dict[str, dict[date, Decimal]] = {}
    places: dict[tuple[str, date], int] = {}
    for place, day, currency, rate in _lines(text):
        known = found.setdefault(currency, {}).setdefault(day, rate)
        first = places.setdefault((currency, day), place)
        if known != rate:
            raise Unreadable(
                _(
                    "Linhas %(first)s e %(line)s: duas cotações diferentes de %(currency)s no dia %(day)s.",
                    first=first,
                    line=place,
                    currency=currency,
                    day=render.day(day),
                )
            )
    if not found:
        raise Unreadable(_("Não há nenhuma cotação nestas linhas."))
    return found


def _lines(text: str) -> Iterator[tuple[int, date, str, Decimal]]:
    """(number of the line, day, currency, rate) of each line but a head and empty ones."""
    every = enumerate(text.lstrip("\ufeff").splitlines(), 1)
    lines = [(place, line) for place, line in every if line.strip()]
    if not lines:
        raise Unreadable(_("Escolha um arquivo, ou cole as linhas."))
    if len(lines) > MOST_LINES:
        raise Unreadable(_("São no máximo %(most)s linhas de uma vez.", most=MOST_LINES))
    part = next((each for each in ";\t" if each in lines[-1][1]), ",")
    reader = csv.reader(io.StringIO("\n".join(line for _place, line in lines)), delimiter=part)
    for cells in reader:
        place = lines[reader.line_num - 1][0]
        plain = [cell.strip() for cell in cells]
        day = _day(plain[0]) if plain else None
        if day is None and reader.line_num == 1:
            continue  # the head
        if day is None or len(plain) != 3 or plain[1].upper() not in CURRENCIES:
            raise Unreadable(
                _("Linha %(line)s: escreva dia; moeda; cotação, como 24/11/2026;USD;5,4321.", line=place)
            )
        if not FIRST_DAY <= day <= LAST_DAY:
            raise Unreadable(_("Linha %(line)s: %(why)s", line=place, why=values.out_of_bounds()))
        yield place, day, plain[1].upper(), _rate(plain[2], place)


def _rate(text: str, place: int) -> Decimal:
    """A rate with a comma or a dot, whichever stands alone; with both it could mean two things."""
    plain = text.replace(",", ".") if text.count(",") == 1 and "." not in text else text
    try:
        found = Decimal(plain) if plain.replace(".", "", 1).isdigit() and plain.isascii() else None
    except ArithmeticError:
        found = None
    if found is None or not 0 < found < 10**8 or found != round(found, 8):
        raise Unreadable(
            _("Linha %(line)s: a cotação “%(typed)s” não pode ser lida.", line=place, typed=text[:20])
        )
    return found


def _day(text: str) -> date | None:
    for form in DAYS:
        try:
            return datetime.strptime(text, form).date()  # noqa: DTZ007 - a day has no zone
        except ValueError:
            continue
    return None


def _decoded(sheet: bytes) -> str:
    """A sheet's text: UTF-8, or as Excel in Brazil saves it."""
    if len(sheet) > SHEET_BYTES:
        return ""
    try:
        return sheet.decode("utf-8-sig")
    except UnicodeDecodeError:
        return sheet.decode("cp1252", "replace")


class Pair(msgspec.Struct, frozen=True):
    """A currency that accounts have: its last rate, if any."""

    currency: str
    last: rates.Rate | None


async def _show(request: Request, db: Db, who: Access, form: Form, status: int) -> Response:
    after = _place(request.query_params.get("after", ""))
    async with db.tenant(who.organization_id) as conn:
        context = await _known(conn, who, after)
    return page(request, "rates.html", status=status, form=form, **context)


async def _known(conn: Connection, who: Access, after: Place | None) -> dict[str, Any]:
    own = await organizations.by_id(conn, who.organization_id)
    accounts = await ad_accounts.page(conn, who.organization_id, Search(limit=1000))
    _now, today = await roi_page.today(conn)
    found = await rates.listed(conn, who.organization_id, after, limit=SHOWN + 1)
    foreign = sorted({each.currency for each in accounts} - {own.base_currency})
    last = await rates.last(conn, who.organization_id, foreign, own.base_currency, today)
    return {
        "rates": [(each, _odd(each.day, today)) for each in found[:SHOWN]],
        "after": _text(after) if after else "",
        "older": _address(_place_of(found[SHOWN - 1])) if len(found) > SHOWN else "",
        "pairs": [Pair(code, last.get(code)) for code in foreign],
        "base": own.base_currency,
        "currencies": [(code, name) for code, name in currencies("USD") if code != own.base_currency],
        "today": today,
        "may_change": who.role in ("owner", "admin"),
        "example": "24/11/2026;USD;5,4321" if i18n.language.get() == "pt_BR" else "2026-11-24;USD;5.4321",
    }


def _odd(day: date, today: date) -> str:
    """What is odd about a day: likely mistyped; '' for any other. A rate may be carried some days ahead."""
    if day > today + timedelta(days=rates.CARRY_DAYS):
        return _("no futuro: confira o dia")
    return _("dia fora dos limites: remova") if day < FIRST_DAY else ""


def _place_of(rate: rates.Rate) -> Place:
    return Place(rate.day, rate.currency, rate.into_currency)


def _text(place: Place) -> str:
    return f"{place.day}.{place.currency}.{place.into_currency}"


def _address(place: Place) -> str:
    return f"{HERE}?after={_text(place)}"


def _place(text: str) -> Place | None:
    """Where a page begins, as an address says; None for what no page ever said."""
    day, currency, into = [*text.split("."), "", ""][:3]
    found = _iso(day)
    return Place(found, currency, into) if found and currency in CURRENCIES and into in CURRENCIES else None


def _iso(text: str) -> date | None:
    """A day as a page wrote it: also one that could not be entered today."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
