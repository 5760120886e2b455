"""What ads delivered in the months that were played: figures that follow from who tapped, day by day.

Link clicks are never fewer than those who wrote, for many tap and do not write; "conversations started" is modelled, and only
near them. Today is as far as the people who wrote today make it.
"""

from datetime import date
from typing import TypeAlias

from whatrack.sandbox import chance
from whatrack.sandbox.clock import day_of, share_of_day_gone
from whatrack.sandbox.state import AdAccount, AdObject, Delivered, World
from whatrack.sandbox.tempers import Temper

Taps: TypeAlias = dict[tuple[str, date], list[int]]  # by ad and day of its account: the moments
QUIET = 0.6  # the least that an ad delivers on a day, as a share of its usual day


def deliver(
    world: World, account: AdAccount, ad: AdObject, temper: Temper, share: float, days: list[date], taps: Taps
) -> None:
    """Fix what the ad delivered on these days; on those on which it did not run, nothing. Later taps cost what these did."""
    now = world.clock()
    world.played[ad.id] = (days[0], days[-1])
    world.click_costs[ad.id] = temper.cost
    today = day_of(now, account.zone)
    for day in days:
        wrote = len(taps.get((ad.id, day), ()))
        if not wrote and not is_running(world, ad, day):
            continue
        usual = temper.per_day * share * QUIET
        if day == today:
            usual *= share_of_day_gone(now, account.zone)
        found = _delivered(world.seed, max(float(wrote), usual), wrote, temper.cost, (ad.id, day.isoformat()))
        if found.impressions:
            world.delivered[ad.id, day] = found


def _delivered(seed: int, people: float, wrote: int, cost: int, name: tuple[str, str]) -> Delivered:
    luck = chance.bits(seed, "played", *name)
    luck, price = divmod(luck, 31)
    luck, reach = divmod(luck, 26)
    luck, rate = divmod(luck, 12)
    luck, model = divmod(luck, 29)
    luck, more = divmod(luck, 3)
    _, drift = divmod(luck, 40)
    links = max(wrote, round(people * 100 / (40 + reach)))  # so many of those who tap write
    clicks = links * 10 // 7
    return Delivered(
        impressions=clicks * 1000 // (9 + rate),
        clicks=clicks,
        link_clicks=links,
        conversations=min(links, wrote * (90 + model) // 100 + (more == 0)),
        spend=int(people * cost * (85 + price) / 100),
        drift=drift,
    )


def is_running(world: World, ad: AdObject, day: date) -> bool:
    """Whether the ad delivers on this day: within its life, one day in so many not."""
    if not ad.first_day <= day <= (ad.last_day or day):
        return False
    return chance.bits(world.seed, "pause", ad.id, day.isoformat()) % 16 != 0
