"""The report's columns: what each is called, how it is written, its formula in words, and where its figures come from."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from whatrack.roi.metrics import DERIVED
from whatrack.web.pages.i18n import _, marked

Kind = Literal["money", "count", "ratio", "percent", "number"]
Good = Literal["up", "down", "neither"]
Source = Literal["meta", "ours", "both", "settings"]

SOURCES = {
    "meta": marked("Meta, API de anúncios"),
    "ours": marked("WhaTrack, tickets"),
    "both": marked("Meta e WhaTrack"),
    "settings": marked("calculado com os seus custos"),
}


class Column(msgspec.Struct, frozen=True):
    """A figure. over: its terms, by name; the first divided by the second where it is a ratio.

    good: which way it should go. tickets: what the tickets behind it are called, where it is one of ours.
    """

    name: str
    label: str
    kind: Kind
    formula: str
    source: Source
    over: tuple[str, ...] = ()
    good: Good = "neither"
    tickets: str = ""

    @property
    def title(self) -> str:
        """What it is called."""
        return _(self.label)

    @property
    def meaning(self) -> str:
        """Its formula in words."""
        return _(self.formula)

    @property
    def rounding(self) -> str:
        """What to expect of its sums, where it is not of whole cents; else ''."""
        if self.name not in DERIVED:
            return ""
        return _("Arredondado só no fim: as linhas somadas podem diferir do total em alguns centavos.")

    @property
    def from_where(self) -> str:
        """Where its figures come from."""
        return _(SOURCES[self.source])


def _all() -> tuple[Column, ...]:
    spend = "spend"
    ours: Source = "ours"
    both: Source = "both"
    return (
        Column("spend", marked("Investimento"), "money", marked("o que a Meta cobrou pela mídia, sem imposto"), "meta"),
        Column("gross_spend", marked("Investimento com imposto"), "money", marked("investimento ÷ (1 − imposto)"), "settings", (spend,)),
        Column("meta_conversations", marked("Conversas (Meta)"), "count", marked("conversas iniciadas, como a Meta conta"), "meta", good="up"),
        Column("cost_per_meta_conversation", marked("Custo por conversa (Meta)"), "money", marked("investimento ÷ conversas (Meta)"), "meta", (spend, "meta_conversations"), "down"),
        Column("conversations", marked("Conversas (WhaTrack)"), "count", marked("tickets cuja primeira mensagem trouxe o anúncio; quem volta por um anúncio depois conta de novo"), ours, good="up", tickets="conversations"),
        Column("cost_per_conversation", marked("Custo por conversa"), "money", marked("investimento ÷ conversas (WhaTrack)"), both, (spend, "conversations"), "down"),
        Column("leads", marked("Leads"), "count", marked("tickets criados, no total também os que não vieram de anúncio; retornos em até 7 dias não contam"), ours, good="up", tickets="leads"),
        Column("cpl", marked("CPL"), "money", marked("investimento ÷ leads"), both, (spend, "leads"), "down"),
        Column("qualified", marked("Qualificados"), "count", marked("leads que chegaram a qualificado, uma vez cada"), ours, good="up", tickets="qualified"),
        Column("cost_per_qualified", marked("Custo por qualificado"), "money", marked("investimento ÷ qualificados"), both, (spend, "qualified"), "down"),
        Column("qualification_rate", marked("Taxa de qualificação"), "percent", marked("qualificados ÷ leads"), ours, ("qualified", "leads"), "up"),
        Column("sales", marked("Vendas"), "count", marked("tickets ganhos"), ours, good="up", tickets="sales"),
        Column("conversion_rate", marked("Taxa de conversão"), "percent", marked("vendas ÷ leads"), ours, ("sales", "leads"), "up"),
        Column("close_rate", marked("Fechamento"), "percent", marked("vendas ÷ qualificados"), ours, ("sales", "qualified"), "up"),
        Column("sales_without_value", marked("Vendas sem valor"), "count", marked("tickets ganhos sem valor: contam como venda, não no faturamento"), ours, good="down"),
        Column("attributed_revenue", marked("Faturamento de anúncios"), "money", marked("a parte do faturamento que um anúncio trouxe"), ours, good="up"),
        Column("cpa", marked("CPA"), "money", marked("investimento ÷ vendas"), both, (spend, "sales"), "down"),
        Column("revenue", marked("Faturamento"), "money", marked("soma do valor das vendas"), ours, good="up", tickets="revenue"),
        Column("refunds", marked("Reembolsos"), "money", marked("soma do que foi devolvido, no dia do reembolso; no dia da venda, se o filtro pede; no dia do clique, no relatório por data do clique"), ours, good="down", tickets="refunds"),
        Column("net_revenue", marked("Faturamento líquido"), "money", marked("faturamento − reembolsos"), ours, ("revenue", "refunds"), "up"),
        Column("product_cost", marked("Custo do produto"), "money", marked("o que você definiu em Custos"), "settings", good="down"),
        Column("fees", marked("Taxas"), "money", marked("gateway e comissão, como definidas em Custos"), "settings", good="down"),
        Column("profit", marked("Lucro"), "money", marked("faturamento − reembolsos − produto − taxas − investimento com imposto"), both, ("revenue", "refunds", "product_cost", "fees", "gross_spend"), "up"),
        Column("roas", marked("ROAS"), "ratio", marked("faturamento de anúncios ÷ investimento"), both, ("attributed_revenue", spend), "up"),
        Column("blended_roas", marked("ROAS geral"), "ratio", marked("todo o faturamento, também o sem anúncio ÷ investimento"), both, ("revenue", spend), "up"),
        Column("net_roas", marked("ROAS líquido"), "ratio", marked("faturamento líquido ÷ investimento"), both, ("net_revenue", spend), "up"),
        Column("gross_roas", marked("ROAS com imposto"), "ratio", marked("faturamento de anúncios ÷ investimento com imposto"), both, ("attributed_revenue", "gross_spend"), "up"),
        Column("roi", marked("ROI"), "percent", marked("lucro ÷ investimento com imposto"), both, ("profit", "gross_spend"), "up"),
        Column("roi_on_costs", marked("ROI sobre todo o custo"), "percent", marked("lucro ÷ (investimento com imposto + produto + taxas)"), both, ("profit", "gross_spend", "product_cost", "fees"), "up"),
        Column("margin", marked("Margem"), "percent", marked("lucro ÷ faturamento líquido"), both, ("profit", "net_revenue"), "up"),
        Column("ticket_average", marked("Ticket médio"), "money", marked("faturamento ÷ vendas com valor"), ours, ("revenue", "sales", "sales_without_value"), "up"),
        Column("impressions", marked("Impressões"), "count", marked("vezes em que o anúncio foi mostrado"), "meta"),
        Column("reach", marked("Alcance"), "count", marked("pessoas que viram; não se soma entre dias nem anúncios"), "meta"),
        Column("frequency", marked("Frequência"), "number", marked("impressões ÷ alcance"), "meta", ("impressions", "reach")),
        Column("clicks", marked("Cliques (todos)"), "count", marked("todos os cliques no anúncio"), "meta", good="up"),
        Column("link_clicks", marked("Cliques no link"), "count", marked("cliques que levam ao WhatsApp"), "meta", good="up"),
        Column("cpm", marked("CPM"), "money", marked("investimento ÷ impressões × 1.000"), "meta", (spend, "impressions"), "down"),
        Column("cpc", marked("CPC (link)"), "money", marked("investimento ÷ cliques no link"), "meta", (spend, "link_clicks"), "down"),
        Column("cpc_all", marked("CPC (todos)"), "money", marked("investimento ÷ todos os cliques"), "meta", (spend, "clicks"), "down"),
        Column("ctr_all", marked("CTR (todos)"), "percent", marked("todos os cliques ÷ impressões"), "meta", ("clicks", "impressions"), "up"),
        Column("ctr", marked("CTR (link)"), "percent", marked("cliques no link ÷ impressões"), "meta", ("link_clicks", "impressions"), "up"),
        Column("conversation_rate", marked("Taxa de conversa"), "percent", marked("conversas (WhaTrack) ÷ cliques no link"), both, ("conversations", "link_clicks"), "up"),
    )  # fmt: skip


COLUMNS = {column.name: column for column in _all()}
PRESETS = {
    "messages": (
        marked("Mensagens"),
        ("spend", "meta_conversations", "cost_per_meta_conversation", "conversations", "cost_per_conversation", "conversation_rate", "leads", "cpl", "qualified", "qualification_rate", "sales", "revenue", "roas"),
    ),
    "sales": (
        marked("Vendas"),
        ("spend", "leads", "cpl", "qualified", "sales", "cpa", "conversion_rate", "revenue", "ticket_average", "profit", "roas", "roi", "margin"),
    ),
    "media": (
        marked("Mídia"),
        ("spend", "impressions", "reach", "frequency", "cpm", "clicks", "link_clicks", "ctr", "cpc", "meta_conversations", "cost_per_meta_conversation", "revenue", "roas"),
    ),
}  # fmt: skip
USUAL = ("spend", "leads", "cpl", "qualified", "sales", "cpa", "revenue", "profit", "roas", "roi")
CARDS = ("spend", "revenue", "profit", "roas", "sales", "cpa", "leads", "cpl")
PHONE = ("spend", "profit", "roas")  # beside the name, where the screen is narrow


def known(names: Iterable[str]) -> list[Column]:
    """The columns of these names, once each; names of nobody's are left out."""
    return [COLUMNS[name] for name in dict.fromkeys(names) if name in COLUMNS]


def preset_of(columns: Sequence[Column]) -> str:
    """Which preset these columns are, or ''."""
    names = tuple(column.name for column in columns)
    return next((key for key, (_label, chosen) in PRESETS.items() if chosen == names), "")
