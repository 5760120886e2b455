"""Every number of the report: the quantities that add up, and the formulas over them. Pure; nothing is ever averaged.

Money is Decimal, in units of the report's currency, whole cents per fact, so that sums agree to the cent. What costs make of it
(DERIVED) has more places, adds up unrounded, and is rounded where it is shown. A ratio without denominator is None, shown as "—".
Fractions are fractions: 0.12 is 12 %.
"""

from collections.abc import Iterable
from decimal import Decimal
from functools import reduce
from typing import Any

import msgspec

Number = Decimal | int


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted. None: does not apply or is not known (a row without an ad has no spend), and adds nothing.

    spend: net of tax, as Meta tells it; gross_spend: with Meta's tax. conversations: tickets whose first message carried
    an ad's referral, with_clid of them with a click id; meta_conversations: as Meta counts them. leads: tickets, without
    follow-ups and merged ones; sales: won tickets; sales_without_value among them. refunds: on their own day, or all of the
    cohort's when counted by click. attributed_*: the part that an ad brought (equal to the whole on an ad's row).
    product_cost, fees: from the cost settings. reach: people, never added.
    """

    spend: Decimal | None = None
    gross_spend: Decimal | None = None
    impressions: int | None = None
    reach: int | None = None
    clicks: int | None = None
    link_clicks: int | None = None
    meta_conversations: int | None = None
    meta_leads: int | None = None
    meta_purchases: int | None = None
    meta_purchase_value: Decimal | None = None
    conversations: int = 0
    with_clid: int = 0
    leads: int = 0
    qualified: int = 0
    sales: int = 0
    sales_without_value: int = 0
    revenue: Decimal = Decimal(0)
    refunds: Decimal = Decimal(0)
    product_cost: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    attributed_leads: int = 0
    attributed_qualified: int = 0
    attributed_sales: int = 0
    attributed_revenue: Decimal = Decimal(0)

    def __add__(self, other: "Amounts") -> "Amounts":
        both = zip(FIELDS, msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        summed: dict[str, Any] = {name: _plus(one, two) for name, one, two in both}
        return Amounts(**summed | {"reach": None})

    # -- money ---------------------------------------------------------------------------------------------------------

    @property
    def net_revenue(self) -> Decimal:
        """Faturamento líquido: F − D."""
        return self.revenue - self.refunds

    @property
    def profit(self) -> Decimal:
        """Lucro: F − D − CP − T − gross S."""
        return self.net_revenue - self.product_cost - self.fees - (self.gross_spend or 0)

    @property
    def roas(self) -> Decimal | None:
        """F ÷ S, on net spend. On totals: the attributed F; `blended_roas` has the rest in it."""
        return ratio(self.attributed_revenue, self.spend)

    @property
    def blended_roas(self) -> Decimal | None:
        """Geral, MER: all F ÷ S."""
        return ratio(self.revenue, self.spend)

    @property
    def net_roas(self) -> Decimal | None:
        """Líquido: (F − D) ÷ S."""
        return ratio(self.net_revenue, self.spend)

    @property
    def gross_roas(self) -> Decimal | None:
        """Com imposto: F ÷ gross S."""
        return ratio(self.attributed_revenue, self.gross_spend)

    @property
    def roi(self) -> Decimal | None:
        """Lucro ÷ gross S."""
        return ratio(self.profit, self.gross_spend)

    @property
    def roi_on_costs(self) -> Decimal | None:
        """Sobre todo o custo: lucro ÷ (gross S + CP + T). None without spend, as ROI."""
        if not self.gross_spend:
            return None
        return ratio(self.profit, self.gross_spend + self.product_cost + self.fees)

    @property
    def margin(self) -> Decimal | None:
        """Lucro ÷ (F − D)."""
        return ratio(self.profit, self.net_revenue)

    @property
    def ticket_average(self) -> Decimal | None:
        """Ticket médio: F ÷ V, without the sales that have no value."""
        return ratio(self.revenue, self.sales - self.sales_without_value)

    @property
    def attributed_ticket(self) -> Decimal | None:
        """The average ticket of what ads brought; those without a value are taken to be among it."""
        return ratio(self.attributed_revenue, max(self.attributed_sales - self.sales_without_value, 0))

    # -- what one of them costs ----------------------------------------------------------------------------------------

    @property
    def cpa(self) -> Decimal | None:
        """Custo por venda: S ÷ V."""
        return ratio(self.spend, self.sales)

    @property
    def cpl(self) -> Decimal | None:
        """Custo por lead: S ÷ L."""
        return ratio(self.spend, self.leads)

    @property
    def cost_per_qualified(self) -> Decimal | None:
        """S ÷ Q."""
        return ratio(self.spend, self.qualified)

    @property
    def cost_per_conversation(self) -> Decimal | None:
        """S ÷ K, by our count."""
        return ratio(self.spend, self.conversations)

    @property
    def cost_per_meta_conversation(self) -> Decimal | None:
        """S ÷ MC, by Meta's count."""
        return ratio(self.spend, self.meta_conversations)

    @property
    def cpm(self) -> Decimal | None:
        """S ÷ I × 1000."""
        return ratio(None if self.spend is None else self.spend * 1000, self.impressions)

    @property
    def cpc(self) -> Decimal | None:
        """CPC (link): S ÷ LC."""
        return ratio(self.spend, self.link_clicks)

    @property
    def cpc_all(self) -> Decimal | None:
        """CPC (todos): S ÷ C."""
        return ratio(self.spend, self.clicks)

    @property
    def attributed_cpl(self) -> Decimal | None:
        """S ÷ the leads that ads brought."""
        return ratio(self.spend, self.attributed_leads)

    @property
    def attributed_cost_per_qualified(self) -> Decimal | None:
        """S ÷ the qualified that ads brought."""
        return ratio(self.spend, self.attributed_qualified)

    @property
    def attributed_cpa(self) -> Decimal | None:
        """S ÷ the sales that ads brought."""
        return ratio(self.spend, self.attributed_sales)

    # -- shares --------------------------------------------------------------------------------------------------------

    @property
    def ctr(self) -> Decimal | None:
        """CTR (link): LC ÷ I."""
        return ratio(self.link_clicks, self.impressions)

    @property
    def ctr_all(self) -> Decimal | None:
        """CTR (todos): C ÷ I."""
        return ratio(self.clicks, self.impressions)

    @property
    def frequency(self) -> Decimal | None:
        """I ÷ R, only where reach is known: one ad, one day."""
        return ratio(self.impressions, self.reach)

    @property
    def conversation_rate(self) -> Decimal | None:
        """Taxa de conversa: K ÷ LC."""
        return ratio(self.conversations, self.link_clicks)

    @property
    def qualification_rate(self) -> Decimal | None:
        """Q ÷ L."""
        return ratio(self.qualified, self.leads)

    @property
    def conversion_rate(self) -> Decimal | None:
        """Taxa de conversão: V ÷ L."""
        return ratio(self.sales, self.leads)

    @property
    def close_rate(self) -> Decimal | None:
        """Of the qualified: V ÷ Q."""
        return ratio(self.sales, self.qualified)

    @property
    def is_small(self) -> bool:
        """Amostra pequena: fewer than 5 sales or 30 leads, so nothing should be coloured."""
        return self.sales < 5 or self.leads < 30


FIELDS = Amounts.__struct_fields__
RATIOS = (
    "net_revenue", "profit", "roas", "blended_roas", "net_roas", "gross_roas", "roi", "roi_on_costs", "margin", "ticket_average", "cpa", "cpl",
    "cost_per_qualified", "cost_per_conversation", "cost_per_meta_conversation", "cpm", "cpc", "cpc_all", "ctr", "ctr_all",
    "frequency", "conversation_rate", "qualification_rate", "conversion_rate", "close_rate", "attributed_cpl",
    "attributed_cost_per_qualified", "attributed_cpa",
)  # fmt: skip
# Of rows, what ads brought is all there is.
SORTS = tuple(name for name in (*FIELDS, *RATIOS) if not name.startswith("attributed_"))
# What Meta tells, and tax makes of it; the rest is our own count.
OF_META = (
    "spend", "gross_spend", "impressions", "clicks", "link_clicks", "meta_conversations", "meta_leads", "meta_purchases",
    "meta_purchase_value",
)  # fmt: skip
MONEY = frozenset(
    {
        "spend", "gross_spend", "meta_purchase_value", "revenue", "refunds", "product_cost", "fees", "attributed_revenue",
        "net_revenue", "profit", "ticket_average", "cpa", "cpl", "cost_per_qualified", "cost_per_conversation",
        "cost_per_meta_conversation", "cpm", "cpc", "cpc_all", "attributed_cpl", "attributed_cost_per_qualified", "attributed_cpa",
    }
)  # fmt: skip
# Money made of shares of other money, so not of whole cents.
DERIVED = ("gross_spend", "product_cost", "fees", "profit")
# Money that is the same in parts and in whole; the rest of it is money for each of something.
SUMMED = frozenset(
    {*DERIVED, "spend", "meta_purchase_value", "revenue", "refunds", "attributed_revenue", "net_revenue"}
)
# What adds up over rows and has tickets in it.
ADDED = (
    *(name for name in FIELDS if name not in OF_META and name != "reach"), "net_revenue", "profit",
)  # fmt: skip
NOTHING = Amounts()
SURE = 1.645  # of the normal distribution, 95 % lie below


def value(amounts: Amounts, name: str) -> Number | None:
    """A quantity or ratio by its name: one of FIELDS or RATIOS."""
    found: Number | None = getattr(amounts, name)
    return found


def ratio(numerator: Number | None, denominator: Number | None) -> Decimal | None:
    """A quotient; None when either is missing or there is nothing to divide by."""
    if numerator is None or not denominator:
        return None
    return Decimal(numerator) / Decimal(denominator)


def total(parts: Iterable[Amounts]) -> Amounts:
    """The sum; ratios of it are ratios of totals."""
    return reduce(Amounts.__add__, parts, NOTHING)


def break_even(costs: Decimal, tax: Decimal) -> Decimal | None:
    """The ROAS at which nothing is earned or lost: 1 ÷ [(1 − costs) × (1 − tax)].

    costs: what product and fees take of each real sold; tax: what Meta's invoice has on top, of the invoice. None when
    nothing is left of a sale.
    """
    kept = (1 - costs) * (1 - tax)
    return 1 / kept if kept > 0 else None


def most_sales(sales: int) -> Decimal:
    """How many sales may have been to expect where so many came: the upper end, 95 % sure, of a Poisson mean; 0 → 3, 1 → 4.7.

    Source: Wilson and Hilferty's cube root of chi-square (1931), which is within 1 % of the exact bound.
    """
    n = sales + 1
    root = 1 - 1 / (9 * n) + SURE / (3 * n**0.5)
    return Decimal(n * root**3).quantize(Decimal("0.01"))


def is_clear_loss(amounts: Amounts, average: Decimal | None, break_even: Decimal | None) -> bool:
    """Whether a row lost money beyond what chance may excuse.

    Enough sales and leads: ROAS below break-even. A small sample: also with the most sales that were to expect, each at the
    average ticket or its own if that is dearer, ROAS would have stayed below it. average: of all that ads brought; without
    any ticket known, nothing is clear. break_even: None where a sale leaves nothing.
    """
    if not amounts.spend or (break_even is not None and (amounts.roas or 0) >= break_even):
        return False
    if break_even is None or not amounts.is_small:
        return True
    ticket = max((each for each in (average, amounts.ticket_average) if each is not None), default=None)
    return ticket is not None and most_sales(amounts.sales) * ticket < break_even * amounts.spend


def change(now: Number | None, before: Number | None) -> Decimal | None:
    """How much more than before, as a fraction of it; None without a before."""
    if now is None or before is None:
        return None
    return ratio(Decimal(now) - Decimal(before), abs(Decimal(before)))


def _plus(one: Number | None, two: Number | None) -> Number | None:
    if one is None or two is None:
        return two if one is None else one
    return one + two
