"""What an address asks of the report and is not there: said in a line, and nothing shown where nothing else was asked for."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec
from fastapi import Request

from whatrack.db import Connection
from whatrack.errors import Refused
from whatrack.roi import unknown
from whatrack.roi.ask import STATUSES, Ask
from whatrack.units import DAY_OUT_OF_BOUNDS, parse_day
from whatrack.web.pages import roi_page, values
from whatrack.web.pages.i18n import _, marked
from whatrack.web.pages.roi_filters import MOST_DAYS, Filters

NAMES = {
    "account": marked("conta"),
    "profile": marked("perfil"),
    "campaign": marked("campanha"),
    "adset": marked("conjunto"),
    "ad": marked("anúncio"),
    "status": marked("situação"),
}
SHOWN = 5  # of many the first


class Unknown(msgspec.Struct, frozen=True):
    """text: what is not there. shown: what is shown instead, where something else is. href: the same without it; act: to go there.

    is_all: of a filter nothing else is left, so that no row can be. is_other: what is shown is not what was asked for.
    """

    text: str
    shown: str
    href: str
    act: str
    is_all: bool
    is_other: bool


async def of(
    conn: Connection, organization_id: UUID, request: Request, filters: Filters, ask: Ask, path: str
) -> Unknown | None:
    """What of the address is not there; None where all is."""
    found = await unknown.find(conn, organization_id, ask, profiles=filters.profile)
    statuses = tuple(each for each in filters.status if each not in STATUSES)
    gone = {(each.field, each.value) for each in found} | {("status", each) for each in statuses}
    left = {
        "account": tuple(each for each in filters.account if ("account", each) not in gone),
        "profile": tuple(each for each in filters.profile if ("profile", each) not in gone),
        "status": tuple(each for each in filters.status if each in STATUSES),
        "within": tuple(
            f"{each.kind}:{each.id}" for each in filters.parents if (each.kind, each.id) not in gone
        ),
    }
    other = misread(request, filters, ask)
    if not (gone or other):
        return None
    asked = {name: getattr(filters, name) for name in left if name != "status"}
    reasons = [_said(name, [value for field, value in gone if field == name]) for name in NAMES]
    return Unknown(
        text=" ".join([*filter(None, reasons), *other]),
        shown=" ".join(dict.fromkeys(other.values())),
        href=filters.to(path, **left, **_cut(filters, ask)),
        act=_("Tirar do filtro") if gone else _act(other, ask),
        is_all=any(asked[name] and not left[name] for name in asked),
        is_other=bool(other),
    )


def misread(request: Request, filters: Filters, ask: Ask) -> dict[str, str]:
    """What the address says and cannot be asked, each with what is shown instead."""
    found = [_unread(name, value, ask) for name, value in filters.unread(request.query_params.multi_items())]
    if filters.too_long(ask.until):
        long = _("O endereço pede mais de %(most)s dias, o máximo de um relatório.", most=MOST_DAYS)
        found.append((long, _days(ask)))
    return dict(found)


def of_days(request: Request, filters: Filters, ask: Ask, path: str, **kept: str) -> Unknown | None:
    """The same of a page behind the report, whose rows are as they are: what cannot be asked alone. kept: beside the filters."""
    other = misread(request, filters, ask)
    if not other:
        return None
    return Unknown(
        text=" ".join(other),
        shown=" ".join(dict.fromkeys(other.values())),
        href=filters.to(path, **kept, **_cut(filters, ask)),
        act=_act(other, ask),
        is_all=False,
        is_other=True,
    )


def _cut(filters: Filters, ask: Ask) -> dict[str, str]:
    """The days that are shown of a period that is too long, for its address."""
    return {"since": str(ask.since), "until": str(ask.until)} if filters.too_long(ask.until) else {}


def _act(other: Mapping[str, str], ask: Ask) -> str:
    """What to do about what was not understood: days are no filter."""
    return _("Usar este período") if {*other.values()} == {_days(ask)} else _("Tirar do filtro")


def _unread(name: str, value: str, ask: Ask) -> tuple[str, str]:
    """What was not understood, and what is shown instead."""
    what = f"{name}={value}"
    if name in ("since", "until"):
        return _no_day(what, value.strip()), _days(ask)
    if name == "within":
        return _("O endereço diz %(what)s, o que não é uma linha.", what=what), _(
            "Mostramos sem este filtro."
        )
    return _("O endereço diz %(what)s, o que não existe.", what=what), _("Vale o de costume.")


def _no_day(what: str, typed: str) -> str:
    try:
        parse_day(typed, "")
    except Refused as error:
        if error.code == DAY_OUT_OF_BOUNDS:
            return _("O endereço diz %(what)s.", what=what) + " " + values.out_of_bounds()
    return _("O endereço diz %(what)s, o que não é uma data como 2026-11-24.", what=what)


def _days(ask: Ask) -> str:
    return _("Mostramos %(days)s.", days=roi_page.span(ask.since, ask.until))


def _said(name: str, missing: Sequence[str]) -> str:
    if not missing:
        return ""
    few = ", ".join(sorted(missing)[:SHOWN]) + (" …" if len(missing) > SHOWN else "")
    return _("Não existe aqui: %(kind)s %(values)s.", kind=_(NAMES[name]), values=few)
