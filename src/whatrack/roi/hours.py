"""A period of tickets as whole blocks of hours and what is left at its edges. Pure.

A block serves every zone, because it is cut by instants: it is used where it lies between two cuts (the ends of the period in
each zone, and where the costs of a sale change). What no block covers is read ticket by ticket.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec

from whatrack.columns import written
from whatrack.roi.facts import SIZES

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Piece(msgspec.Struct, frozen=True):
    """Blocks of one length, both included. bucket, cost: as periods.Buckets and costs.SaleCosts number them."""

    hours: int
    first: int
    last: int
    bucket: int
    cost: int

    @property
    def begins(self) -> datetime:
        """The first instant of it."""
        return EPOCH + self.first * self.hours * HOUR

    @property
    def ends(self) -> datetime:
        """The first instant after it."""
        return EPOCH + (self.last + 1) * self.hours * HOUR


def split(
    bounds: Sequence[datetime], starts: Sequence[datetime], level: int
) -> tuple[list[Piece], list[tuple[datetime, datetime]]]:
    """The period's blocks of a level, and the half-open rest, in order. bounds, starts: ascending."""
    cuts = sorted({*bounds, *(start for start in starts if bounds[0] < start < bounds[-1])})
    pieces: list[Piece] = []
    rest: list[tuple[datetime, datetime]] = []
    for begin, end in pairwise(cuts):
        place = bisect_right(bounds, begin), bisect_right(starts, begin)
        found = [
            Piece(*block, *place)
            for block in _whole(-((EPOCH - begin) // HOUR), (end - EPOCH) // HOUR, SIZES[level])
        ]
        pieces += found
        at = begin
        for piece in found:
            rest.append((at, piece.begins))
            at = piece.ends
        rest.append((at, end))
    return pieces, _joined(rest)


def _whole(begin: int, end: int, sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    """The aligned blocks that lie within these hours, the largest first: (size, first, last), in order of time."""
    if begin >= end or not sizes:
        return []
    size, *smaller = sizes
    first, last = -(-begin // size), end // size - 1
    if first > last:
        return _whole(begin, end, smaller)
    return [
        *_whole(begin, first * size, smaller),
        (size, first, last),
        *_whole((last + 1) * size, end, smaller),
    ]


def _joined(ranges: Sequence[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    joined: list[tuple[datetime, datetime]] = []
    for begin, end in ranges:
        if begin == end:
            continue
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def values(bounds: Sequence[datetime], starts: Sequence[datetime], level: int | None) -> dict[str, Any]:
    """What the statements of events.py want. level: which sums to read; None: every ticket by itself."""
    pieces, rest = ([], [(bounds[0], bounds[-1])]) if level is None else split(bounds, starts, level)
    return {
        "t_from": written(begin for begin, _ in rest),
        "t_to": written(end for _, end in rest),
        "s_level": level or 0,
        "s_hours": written(piece.hours for piece in pieces),
        "s_first": written(piece.first for piece in pieces),
        "s_last": written(piece.last for piece in pieces),
        "s_bucket": written(piece.bucket for piece in pieces),
        "s_cost": written(piece.cost for piece in pieces),
        "s_from": written(piece.begins for piece in pieces),
        "s_to": written(piece.ends for piece in pieces),
    }
