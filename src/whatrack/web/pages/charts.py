"""Charts drawn by the server, as numbers for an SVG that stretches: no script to draw them, no style attribute.

The plot is a box of 1000 × 100; its labels are HTML beside it, so that text stays readable on a phone. A day without a
figure leaves a gap in its line; the figures of a single day are lines from side to side.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import msgspec
from babel.numbers import format_compact_decimal

from whatrack.web.pages import i18n
from whatrack.web.pages.render import day

STEPS = (Decimal(1), Decimal("1.2"), Decimal("1.6"), Decimal(2), Decimal("2.4"), Decimal("3.2"), Decimal(4), Decimal(6), Decimal(8), Decimal(10))  # fmt: skip
WIDTH, HEIGHT = 1000, 100
STROKE = 4  # how far a lone day reaches to each side
MOST_LABELS = 6
DAYS = {"pt_BR": "dd/MM", "en": "MM/dd"}  # language → a day without its year, in the order of its other dates


class Point(msgspec.Struct, frozen=True):
    """One day on the chart. x: 0 to 1000. soft: its figures may still change."""

    day: date
    x: float
    spend: Decimal | None
    revenue: Decimal | None
    soft: bool


class Chart(msgspec.Struct, frozen=True):
    """Spend and revenue by day. Lines are lists of pieces, each the points of a polyline.

    area: revenue's surface. soft_from: where the days begin that may still change, None when none may.
    """

    points: list[Point]
    spend: list[str]
    revenue: list[str]
    area: list[str]
    ticks: list[str]
    labels: list[str]
    soft_from: float | None


def spend_and_revenue(
    days: Sequence[tuple[date, Decimal | None, Decimal | None]], soft_since: date | None = None
) -> Chart:
    """The chart of (day, spend, revenue) in order. soft_since: from this day on figures may still change."""
    highest = max((value for _, *both in days for value in both if value is not None), default=Decimal(0))
    top = ceiling(highest)
    places = _places(len(days))
    points = [
        Point(each, x, spent, earned, bool(soft_since and each >= soft_since))
        for x, (each, spent, earned) in zip(places, days, strict=True)
    ]
    revenue = _pieces([(each.x, each.revenue) for each in points], top)
    soft = [each.x for each in points if each.soft]
    half = WIDTH / max(len(days) - 1, 1) / 2
    return Chart(
        points=points,
        spend=[_line(piece) for piece in _pieces([(each.x, each.spend) for each in points], top)],
        revenue=[_line(piece) for piece in revenue],
        area=[f"{piece[0][0]},{HEIGHT} {_line(piece)} {piece[-1][0]},{HEIGHT}" for piece in revenue],
        ticks=[_short(top * part / 4) for part in (4, 3, 2, 1, 0)],
        labels=[day(points[place].day, DAYS[i18n.language.get()]) for place in _spread(len(points))],
        soft_from=max(round(soft[0] - half, 2), 0.0) if soft else None,
    )


def sparkline(values: Sequence[Decimal | int | None]) -> list[str]:
    """A card's small line, in a box of 100 × 24; empty when there is nothing to see in it."""
    known = [Decimal(value) for value in values if value is not None]
    if len(known) < 2 or not any(known):
        return []
    low, high = min([*known, Decimal(0)]), max(known)
    span = high - low or Decimal(1)
    last = len(values) - 1
    placed = [
        (round(100 * place / last, 1), None if value is None else 23 - 22 * (Decimal(value) - low) / span)
        for place, value in enumerate(values)
    ]
    pieces: list[list[tuple[float, Decimal]]] = [[]]
    for x, y in placed:
        if y is None:
            pieces.append([])
        else:
            pieces[-1].append((x, y))
    return [" ".join(f"{x},{y:.1f}" for x, y in piece) for piece in pieces if len(piece) > 1]


def ceiling(highest: Decimal) -> Decimal:
    """The top of the axis: the first round number that is not below the highest value; 1 when all is zero."""
    if highest <= 0:
        return Decimal(1)
    power = Decimal(10) ** highest.adjusted()
    return next(step * power for step in STEPS if step * power >= highest)


def _places(count: int) -> list[float]:
    """Where each of so many days stands, 0 to WIDTH: a single one in the middle."""
    if count == 1:
        return [WIDTH / 2]
    return [round(WIDTH * place / (count - 1), 2) for place in range(count)]


def _pieces(line: Sequence[tuple[float, Decimal | None]], top: Decimal) -> list[list[tuple[float, Decimal]]]:
    """The line without its unknown days: a lone day becomes a short stroke, so that it is seen."""
    pieces: list[list[tuple[float, Decimal]]] = [[]]
    for x, value in line:
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((x, HEIGHT - HEIGHT * value / top))
    reach = STROKE if len(line) > 1 else WIDTH / 2
    return [piece if len(piece) > 1 else _stroke(*piece[0], reach) for piece in pieces if piece]


def _stroke(x: float, y: Decimal, reach: float) -> list[tuple[float, Decimal]]:
    return [(max(x - reach, 0.0), y), (min(x + reach, float(WIDTH)), y)]


def _line(piece: Sequence[tuple[float, Decimal]]) -> str:
    return " ".join(f"{x},{y:.2f}" for x, y in piece)


def _short(value: Decimal) -> str:
    return str(format_compact_decimal(value, locale=i18n.language.get(), fraction_digits=1))


def _spread(count: int) -> list[int]:
    """Which days are named under the axis: the first, the last, and some evenly between."""
    if count <= MOST_LABELS:
        return list(range(count))
    return [round(place * (count - 1) / (MOST_LABELS - 1)) for place in range(MOST_LABELS)]
