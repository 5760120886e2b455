"""What currencies were worth, day by day: entered one by one, or imported from a sheet."""

import csv
import io
from collections.abc import Mapping
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
from whatrack.tenants import organizations
from whatrack.tenants.access import Access
from whatrack.units import FIRST_DAY, LAST_DAY
from whatrack.web.api.caller import Db
from whatrack.web.pages import i18n, roi_page, values
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _, ngettext
from whatrack.web.pages.places import CURRENCIES, currencies
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import Admin, Member
from whatrack.web.pages.words import said

router = APIRouter(prefix="/settings/rates")
HERE = "/settings/rates"
SHOWN_DAYS = 120
MOST_LINES = 5000
SHEET_BYTES = 500_000
DAYS = ("%Y-%m-%d", "%d/%m/%Y", "%d/%m/%y")


class Unreadable(Exception):
    """A sheet that cannot be read; the text says which line, and why."""


@router.get("")
async def show(request: Request, db: Db, who: Member) -> Response:
    """The rates of the last months, and the forms."""
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
        text = _text(await sheet.read(SHEET_BYTES + 1)) if isinstance(sheet, UploadFile) else ""
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
    """Forget one rate."""
    form = await sent_form(request)
    currency, into = form.choice("currency", CURRENCIES), form.choice("into", CURRENCIES)
    day = form.parsed("day", values.day)
    if form.ok and day:
        async with db.tenant(who.organization_id) as conn:
            await rates.remove(conn, who.organization_id, currency, into, [day], actor=who.actor)
    return see(request, HERE, _("Cotação removida.") if form.ok else "")


def read_sheet(text: str) -> Mapping[str, dict[date, Decimal]]:
    """Currency → day → rate, from lines such as `24/11/2026;USD;5,4321`. A head is skipped; Unreadable names the line.

    Parted by ; or tab, or by a comma where none is in the figures; days as 2026-11-24 or 24/11/2026.
    """
    lines = [line for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    if not lines:
        raise Unreadable(_("Escolha um arquivo, ou cole as linhas."))
    if len(lines) > MOST_LINES:
        raise Unreadable(_("São no máximo %(most)s linhas de uma vez.", most=MOST_LINES))
    part = next((each for each in ";\t" if each in lines[-1]), ",")
    found: dict[str, dict[date, Decimal]] = {}
    for place, cells in enumerate(csv.reader(io.StringIO("\n".join(lines)), delimiter=part), 1):
        plain = [cell.strip() for cell in cells]
        day = _day(plain[0]) if plain else None
        if day is None and place == 1:
            continue  # the head
        if day is None or len(plain) != 3 or plain[1].upper() not in CURRENCIES:
            raise Unreadable(
                _("Linha %(line)s: escreva dia; moeda; cotação, como 24/11/2026;USD;5,4321.", line=place)
            )
        if not FIRST_DAY <= day <= LAST_DAY:
            raise Unreadable(_("Linha %(line)s: %(why)s", line=place, why=values.out_of_bounds()))
        found.setdefault(plain[1].upper(), {})[day] = _rate(plain[2], place)
    if not found:
        raise Unreadable(_("Não há nenhuma cotação nestas linhas."))
    return found


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


def _text(sheet: bytes) -> str:
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
    async with db.tenant(who.organization_id) as conn:
        context = await _known(conn, who)
    return page(request, "rates.html", status=status, form=form, **context)


async def _known(conn: Connection, who: Access) -> dict[str, Any]:
    own = await organizations.by_id(conn, who.organization_id)
    accounts = await ad_accounts.page(conn, who.organization_id, Search(limit=1000))
    _now, today = await roi_page.today(conn)
    since = today - timedelta(days=SHOWN_DAYS)
    found = await rates.listed(conn, who.organization_id, since, today)
    foreign = sorted({each.currency for each in accounts} - {own.base_currency})
    return {
        "rates": found[:200],
        "pairs": [
            Pair(
                code,
                next(
                    (
                        each
                        for each in found
                        if each.currency == code and each.into_currency == own.base_currency
                    ),
                    None,
                ),
            )
            for code in foreign
        ],
        "base": own.base_currency,
        "currencies": [(code, name) for code, name in currencies("USD") if code != own.base_currency],
        "today": today,
        "may_change": who.role in ("owner", "admin"),
        "example": "24/11/2026;USD;5,4321" if i18n.language.get() == "pt_BR" else "2026-11-24;USD;5.4321",
    }
