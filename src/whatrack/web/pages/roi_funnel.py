"""The steps from click to sale as the page shows them, and why a step may be more than the one before it. Pure."""

from decimal import Decimal

import msgspec

from whatrack.roi import metrics
from whatrack.roi.ask import Basis
from whatrack.roi.report import Funnel
from whatrack.web.pages.i18n import _, marked
from whatrack.web.pages.render import number, percent
from whatrack.web.pages.roi_columns import COLUMNS
from whatrack.web.pages.roi_filters import Filters

# What each step is called, where its name is not its column's.
LABELS = {
    "conversations": marked("Com o anúncio na mensagem"),
    "with_clid": marked("Com o identificador do clique"),
}
STEPS = ("link_clicks", "meta_conversations", "conversations", "with_clid", "qualified", "sales")
OF_META = ("link_clicks", "meta_conversations")
CLID = marked("das conversas com o anúncio na mensagem, as que a Meta pode ligar ao clique")
# Step → why it may be more than the one before: by date of sale, each step is of its own day.
MORE = {
    "meta_conversations": marked("mais que cliques: a Meta credita também quem só viu o anúncio ou clicou antes do período"),
    "conversations": marked("mais que na Meta: ela estima este número, e ainda o corrige por dias"),
    "qualified": marked("mais que o passo anterior: também os de conversas anteriores ao período ou sem o identificador"),
    "sales": marked("mais que qualificados: também as de qualificados antes do período, ou ganhas sem passar por qualificado"),
}  # fmt: skip
MORE_BY_CLICK = {
    **MORE,
    "meta_conversations": marked("mais que cliques: a Meta credita também quem só viu o anúncio"),
    "qualified": marked("mais que o passo anterior: também os de conversas sem o identificador"),
    "sales": marked("mais que qualificados: também as ganhas sem passar por qualificado"),
}
BEYOND_META = marked(
    "mais que na Meta: aqui entram também anúncios de contas não conectadas ou não identificados"
)


class Step(msgspec.Struct, frozen=True):
    """A step of the funnel. width: of 100. meaning, source, terms: for who points at it; more: why it exceeds the one before."""

    key: str
    label: str
    text: str
    rate: str
    width: Decimal
    href: str
    meaning: str
    source: str
    terms: str
    more: str


def steps(found: Funnel, filters: Filters, basis: Basis, *, opens: bool) -> list[Step]:
    """The steps in order, each with its share of the one before. opens: whether the reader may look at the tickets."""
    counts: dict[str, int] = {name: getattr(found, name) for name in STEPS}
    most = max(counts.values()) or 1
    before: list[int | None] = [None, *counts.values()]
    return [
        _step(name, count, earlier, Decimal(100) * count / most, found, basis, _href(name, count, filters) if opens else "")
        for (name, count), earlier in zip(counts.items(), before, strict=False)
    ]  # fmt: skip


def _step(
    name: str, count: int, earlier: int | None, width: Decimal, found: Funnel, basis: Basis, href: str
) -> Step:
    column = COLUMNS.get(name)
    rate = percent(metrics.ratio(count, earlier)) if earlier else ""
    more = _more(name, found, basis) if earlier is not None and count > earlier else ""
    share = _("%(count)s de %(before)s: %(rate)s", count=number(count), before=number(earlier), rate=rate) if earlier and rate else ""  # fmt: skip
    return Step(
        key=name,
        label=_(LABELS[name]) if name in LABELS else COLUMNS[name].title,
        text=number(count),
        rate=rate,
        width=round(width, 2),
        href=href,
        meaning=column.meaning if column else _(CLID),
        source=(column or COLUMNS["conversations"]).from_where,
        terms=" · ".join(each for each in (share, more) if each),
        more=more,
    )


def _more(name: str, found: Funnel, basis: Basis) -> str:
    if name == "conversations" and found.conversations - found.beyond_meta <= found.meta_conversations:
        return _(BEYOND_META)
    return _((MORE_BY_CLICK if basis == "click" else MORE)[name]) if name in MORE else ""


def _href(name: str, count: int, filters: Filters) -> str:
    return filters.to("/roi/tickets", metric=name, row="ads:") if count and name not in OF_META else ""
