"""What an address asks of the report and is not there: said in a line, and nothing shown where nothing else was asked for."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from fastapi import Request

from whatrack.db import Connection
from whatrack.roi import unknown
from whatrack.roi.ask import STATUSES, Ask
from whatrack.web.pages import roi_page
from whatrack.web.pages.i18n import _, marked
from whatrack.web.pages.roi_filters import Filters

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
    """text: what is not there. href: the same without it. is_all: of a filter nothing else is left, so that no row can be."""

    text: str
    href: str
    is_all: bool


async def of(
    conn: Connection, organization_id: UUID, request: Request, filters: Filters, ask: Ask, path: str
) -> Unknown | None:
    """What of the address is not there; None where all is."""
    found = await unknown.find(conn, organization_id, ask, profiles=filters.profile)
    statuses = tuple(each for each in filters.status if each not in STATUSES)
    odd = filters.unread(request.query_params.multi_items())
    if not (found or statuses or odd):
        return None
    gone = {(each.field, each.value) for each in found} | {("status", each) for each in statuses}
    left = {
        "account": tuple(each for each in filters.account if ("account", each) not in gone),
        "profile": tuple(each for each in filters.profile if ("profile", each) not in gone),
        "status": tuple(each for each in filters.status if each in STATUSES),
        "within": tuple(
            f"{each.kind}:{each.id}" for each in filters.parents if (each.kind, each.id) not in gone
        ),
    }
    asked = {name: getattr(filters, name) for name in left if name != "status"}
    sentences = [_said(name, [value for field, value in gone if field == name]) for name in NAMES]
    sentences += [_unread(name, value, ask) for name, value in odd]
    return Unknown(
        text=" ".join(each for each in sentences if each),
        href=filters.to(path, **left),
        is_all=any(asked[name] and not left[name] for name in asked),
    )


def _unread(name: str, value: str, ask: Ask) -> str:
    """What was not understood, and what is shown instead."""
    what = f"{name}={value}"
    if name in ("since", "until"):
        days = roi_page.span(ask.since, ask.until)
        return _("O endereço diz %(what)s, o que não é uma data: mostramos %(days)s.", what=what, days=days)
    if name == "within":
        return _("O endereço diz %(what)s, o que não é uma linha: mostramos sem este filtro.", what=what)
    return _("O endereço diz %(what)s, o que não existe: vale o de costume.", what=what)


def _said(name: str, values: Sequence[str]) -> str:
    if not values:
        return ""
    few = ", ".join(sorted(values)[:SHOWN]) + (" …" if len(values) > SHOWN else "")
    return _("Não existe aqui: %(kind)s %(values)s.", kind=_(NAMES[name]), values=few)
