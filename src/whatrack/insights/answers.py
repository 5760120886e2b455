"""What a range's answer says: every day of it as it is to be kept, and those that cannot be, with the row that is why. Pure.

A row that cannot be read in what counts spoils its own day and no other; where not even its day can be read, the range has to be
asked for in smaller parts, down to the day that it is of.
"""

import hashlib
from collections.abc import Sequence
from datetime import date

import msgspec

from whatrack.enrichment.catalog import CatalogAd
from whatrack.insights.days import Range
from whatrack.insights.facts import Account, Fact, FetchedDay, SpoiltDay
from whatrack.meta import insights
from whatrack.meta.insights import Row, UnreadableRow
from whatrack.units import to_minor

MOST_MINOR = 10**15  # of an ad's money on a day: no sum of days and ads leaves what a bigint holds


class Unplaced(Exception):
    """Something of the range cannot be taken over, and nobody can tell of which day. reason, message: as of a SpoiltDay."""

    def __init__(self, reason: str, message: str | None) -> None:
        super().__init__(reason)
        self.reason, self.message = reason, message


class Understood(msgspec.Struct, frozen=True):
    """An answer, read: each day of its range is in days or in spoilt; ads: every ad that its days name."""

    days: list[FetchedDay]
    spoilt: list[SpoiltDay]
    ads: list[CatalogAd]
    most_rows: int


class _Line(msgspec.Struct, frozen=True, gc=False):
    row: Row
    fact: Fact
    raw: bytes


def understood(part: Range, raws: Sequence[msgspec.Raw], account: Account) -> Understood:
    """Rows by day; a day without rows is a day of zero. Raises Unplaced. Runs in a thread: large answers take a while."""
    of_day: dict[date, dict[str, _Line]] = {day: {} for day in part.days}
    spoilt: dict[date, SpoiltDay] = {}
    newest: dict[str, Row] = {}
    for raw in raws:
        try:
            line = _line(raw, account.currency)
        except UnreadableRow as error:
            if error.day is None or error.day not in of_day:
                raise Unplaced("row_unreadable", error.message) from None
            spoilt.setdefault(error.day, SpoiltDay(error.day, "row_unreadable", error.message))
            continue
        row = line.row
        if row.date_start not in of_day:
            message = row.unreadable("date_start", row.date_start.isoformat()).message
            raise Unplaced("row_unreadable", message)
        if row.account_currency != account.currency:
            message = row.unreadable("account_currency", row.account_currency).message
            spoilt.setdefault(row.date_start, SpoiltDay(row.date_start, "currency_differs", message))
            continue
        of_day[row.date_start][row.ad_id] = line
        named = newest.get(row.ad_id)
        if named is None or named.date_start < row.date_start:
            newest[row.ad_id] = row
    return Understood(
        [_day(day, lines) for day, lines in of_day.items() if day not in spoilt],
        [spoilt[day] for day in sorted(spoilt)],
        [_as_catalogued(row, account) for _, row in sorted(newest.items())],
        max(len(lines) for lines in of_day.values()),
    )


def _day(day: date, lines: dict[str, _Line]) -> FetchedDay:
    ordered = [lines[ad_id] for ad_id in sorted(lines)]
    answer = b"[" + b",".join(line.raw for line in ordered) + b"]"
    return FetchedDay(
        day,
        None,
        [line.fact for line in ordered],
        answer.decode("utf-8", "replace"),
        hashlib.sha256(answer).digest(),
    )


def _line(raw: msgspec.Raw, currency: str) -> _Line:
    row = insights.parse(raw)
    value = insights.first_of(row.action_values, insights.PURCHASES)
    fact = Fact(
        row.ad_id,
        _money(row, "spend", row.spend, currency),
        row.impressions,
        row.reach,
        row.clicks,
        row.inline_link_clicks,
        row.count(insights.CONVERSATIONS),
        row.count(insights.LEADS),
        row.count(insights.PURCHASES),
        _money(row, "action_values", value, currency),
    )
    return _Line(row, fact, bytes(raw))


def _money(row: Row, field: str, text: str, currency: str) -> int:
    try:
        minor = to_minor(text, currency)
    except ValueError:
        minor = -1
    if not 0 <= minor <= MOST_MINOR:
        raise row.unreadable(field, text)
    return minor


def _as_catalogued(row: Row, account: Account) -> CatalogAd:
    return CatalogAd(
        id=row.ad_id,
        name=row.ad_name,
        status=None,
        ad_set_id=row.adset_id,
        ad_set_name=row.adset_name,
        campaign_id=row.campaign_id,
        campaign_name=row.campaign_name,
        account_id=account.number,
    )
