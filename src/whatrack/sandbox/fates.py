"""What becomes of people who write: whether they qualify, buy, are lost or ask their money back, and after how long.

Those who buy are spread evenly over the people of an ad, so that a week's sales are near the ad's rate and no week is luck.
"""

from whatrack.sandbox import chance
from whatrack.sandbox.cases import Act
from whatrack.sandbox.tempers import Temper

HOUR_S, DAY_S = 3600, 86_400
LOST_REASONS = ("Achou caro", "Sumiu", "Fechou com outra clínica", "Mora longe", "Só queria informação")
# Share of the buyers, and after how many seconds they buy. Some lie beyond the seven days that Meta credits a click for.
TIMES_TO_SALE = (
    (0.35, 8 * 60, 6 * HOUR_S),
    (0.35, 6 * HOUR_S, 3 * DAY_S),
    (0.18, 3 * DAY_S, 7 * DAY_S),
    (0.12, 7 * DAY_S + HOUR_S, 20 * DAY_S),
)
QUALIFIED_FIRST, LOST_SHARE, REFUNDED = 0.85, 0.4, 0.07
HURRY = 1800  # live traffic lives so much faster than people do


def is_one_of(rate: float, place: int, phase: float) -> bool:
    """Whether the person at this place is one of the share `rate`, spread evenly. phase: 0 to 1, where the spread begins."""
    return int((place + 1) * rate + phase) > int(place * rate + phase)


def acts_of(
    temper: Temper, opened_at: int, place: int, seed: int, *name: object, hurry: bool = False
) -> list[Act]:
    """What the salesperson does with the person at this place among the ad's, in the order of time."""
    if is_one_of(temper.win, place, chance.fraction(seed, "phase", name[0])):
        acts = _sold(temper, opened_at, seed, *name)
    elif chance.fraction(seed, "qualifies", *name) < temper.qualify:
        acts = _qualified(opened_at, seed, *name)
    elif chance.fraction(seed, "lost at once", *name) < LOST_SHARE:
        acts = [_lost(opened_at + chance.between(600, 3 * DAY_S, seed, "lost at", *name), seed, *name)]
    else:
        acts = []
    return [_hurried(act, opened_at) for act in acts if act.what != "refunded"] if hurry else acts


def _sold(temper: Temper, opened_at: int, seed: int, *name: object) -> list[Act]:
    won_at = opened_at + _time_to_sale(seed, *name)
    value = chance.between(*temper.value, seed, "value", *name) // 1000 * 1000 - 10
    found = [Act(won_at, "won", value)]
    if chance.fraction(seed, "qualified first", *name) < QUALIFIED_FIRST:
        share = 0.1 + 0.6 * chance.fraction(seed, "qualified when", *name)
        found.insert(0, Act(opened_at + int((won_at - opened_at) * share), "qualified"))
    if chance.fraction(seed, "refunded", *name) < REFUNDED:
        back = value if chance.fraction(seed, "all back", *name) < 0.4 else value * 3 // 10
        found.append(
            Act(
                won_at + chance.between(DAY_S, 25 * DAY_S, seed, "back when", *name),
                "refunded",
                back,
                "Desistiu",
            )
        )
    return found


def _time_to_sale(seed: int, *name: object) -> int:
    left = chance.fraction(seed, "time to sale", *name)
    for share, low, high in TIMES_TO_SALE:
        if left < share:
            return low + int((high - low) * left / share)
        left -= share
    return TIMES_TO_SALE[0][1]


def _qualified(opened_at: int, seed: int, *name: object) -> list[Act]:
    at = opened_at + chance.between(300, 2 * DAY_S, seed, "qualified at", *name)
    found = [Act(at, "qualified")]
    if chance.fraction(seed, "lost later", *name) < 0.5:
        found.append(_lost(at + chance.between(HOUR_S, 8 * DAY_S, seed, "lost later at", *name), seed, *name))
    return found


def _lost(at: int, seed: int, *name: object) -> Act:
    return Act(at, "lost", reason=chance.pick(LOST_REASONS, seed, "why lost", *name))


def _hurried(act: Act, opened_at: int) -> Act:
    """The act within minutes, for people who are watching."""
    return Act(opened_at + 4 + min(180, (act.at - opened_at) // HURRY), act.what, act.minor, act.reason)
