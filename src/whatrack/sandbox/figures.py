"""What an ad delivered on a day: made up from the seed, plus the taps and sales that happened here, plus later revisions.

Ads whose months were played delivered what sandbox/delivery.py fixed. Days are the ad account's. Today's figures grow with the hour; money is in the currency's minor units.
"""

from dataclasses import astuple, dataclass, replace
from datetime import date
from decimal import Decimal

from whatrack.sandbox import chance
from whatrack.sandbox.clock import day_of, share_of_day_gone
from whatrack.sandbox.state import AdAccount, AdObject, Delivered, Revision, World

MINOR_DIGITS = {"JPY": 0, "KRW": 0, "CLP": 0}
CLICK_COST = 137  # minor units that a tap in the sandbox adds
SETTLES_IN_DAYS = 28
CLICK_IMPRESSIONS = 40


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts, and money in minor units."""

    impressions: int = 0
    clicks: int = 0
    link_clicks: int = 0
    conversations: int = 0
    replies: int = 0
    spend: int = 0
    leads: int = 0
    purchases: int = 0
    purchase_value: int = 0

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    def scaled(self, share: float) -> "Figures":
        """A share of the figures, rounded down."""
        return Figures(*(int(each * share) for each in astuple(self)))

    def split(self, weights: list[int]) -> list["Figures"]:
        """The figures in parts as large as the weights, which add up to the whole."""
        whole, before, parts = sum(weights), 0, []
        for weight in weights:
            upto = before + weight
            parts.append(Figures(*(each * upto // whole - each * before // whole for each in astuple(self))))
            before = upto
        return parts


NOTHING = Figures()


def major(minor: int, currency: str) -> str:
    """Money as insights write it: "53.39", or "5339" where the currency has no cents."""
    places = MINOR_DIGITS.get(currency, 2)
    return f"{Decimal(minor).scaleb(-places):.{places}f}"


def minor(value: object, currency: str) -> int:
    """Money in major units, as events write it, in minor ones."""
    return round(Decimal(str(value)).scaleb(MINOR_DIGITS.get(currency, 2)))


def figures_of(world: World, ad: AdObject, day: date) -> Figures:
    """What insights say of this ad on this day; NOTHING where it did not deliver."""
    account = world.get(AdAccount, ad.account_id)
    found = _delivered(world, ad, account, day)
    if taps := world.clicks_of_day.get((ad.id, day), 0):
        cost = world.click_costs.get(ad.id, CLICK_COST)
        found += Figures(taps * CLICK_IMPRESSIONS, taps, taps, taps, taps, taps * cost)
    found += _converted(world, ad, account, day)
    for revision in world.revisions:
        if revision.since <= day <= revision.until and _concerns(world, revision, ad):
            if revision.percent is None:
                return NOTHING
            found = found.scaled(1 + revision.percent / 100)
    return found


def _delivered(world: World, ad: AdObject, account: AdAccount, day: date) -> Figures:
    now = world.clock()
    today = day_of(now, account.zone)
    since, until = world.played.get(ad.id, (date.max, date.min))
    if since <= day <= until:
        return settled(world.delivered.get((ad.id, day)), (today - day).days)
    if not ad.first_day <= day <= min(ad.last_day or today, today):
        return NOTHING
    luck = chance.bits(world.seed, "delivery", ad.id, day.isoformat())
    luck, idle = divmod(luck, 16)
    if idle == 0:  # a day without delivery now and then: such rows are absent, never zero
        return NOTHING
    luck, extra = divmod(luck, 3001)
    luck, click_rate = divmod(luck, 20)
    luck, talk_rate = divmod(luck, 30)
    luck, price = divmod(luck, 1400)
    impressions = 400 + extra
    clicks = impressions * (8 + click_rate) // 1000
    links = clicks * 7 // 10
    conversations = links * (30 + talk_rate) // 100
    whole = Figures(
        impressions,
        clicks,
        links,
        conversations,
        conversations * 8 // 10,
        impressions * (600 + price) // 1000,
    )
    return whole.scaled(share_of_day_gone(now, account.zone)) if day == today else whole


def settled(delivered: Delivered | None, age: int) -> Figures:
    """What Meta reports of a played day so many days later: it restates the spend until it is final."""
    if delivered is None:
        return NOTHING
    lacking = delivered.drift * max(0, SETTLES_IN_DAYS - age)
    return Figures(
        delivered.impressions,
        delivered.clicks,
        delivered.link_clicks,
        delivered.conversations,
        delivered.conversations * 8 // 10,
        delivered.spend - delivered.spend * lacking // (1000 * SETTLES_IN_DAYS),
    )


def _converted(world: World, ad: AdObject, account: AdAccount, day: date) -> Figures:
    leads = purchases = value = 0
    for learned in world.learned_of_day.get((ad.id, day), ()):
        custom = learned.event.get("custom_data") or {}
        if learned.event["event_name"] == "Purchase":
            purchases += 1
            if str(custom["currency"]).upper() == account.currency:
                value += minor(custom["value"], account.currency)
        elif learned.event["event_name"] in ("LeadSubmitted", "QualifiedLead"):
            leads += 1
    return replace(NOTHING, leads=leads, purchases=purchases, purchase_value=value)


def _concerns(world: World, revision: Revision, ad: AdObject) -> bool:
    ad_set = world.get(AdObject, ad.parent_id)
    return revision.object_id in (ad.id, ad_set.id, ad_set.parent_id, ad.account_id)
