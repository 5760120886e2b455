"""Numbers and distances as pages write them are Babel's to the letter, however they are made."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from babel.dates import format_timedelta
from babel.numbers import format_currency, format_decimal, format_percent
from hypothesis import given
from hypothesis import strategies as st

from whatrack.web.pages import i18n
from whatrack.web.pages.places import CURRENCIES
from whatrack.web.pages.render import ago, compile_ahead, money, number, percent, templates, times

AMOUNTS = st.decimals(min_value=-(10**13), max_value=10**13, places=3)


@pytest.mark.parametrize("language", i18n.LANGUAGES)
@given(amount=AMOUNTS, currency=st.sampled_from(CURRENCIES), whole=st.integers(-(10**12), 10**12))
def test_figures_are_written_as_babel_writes_them(language: str, amount: Decimal, currency: str, whole: int):
    before = i18n.language.set(language)
    try:
        assert money(amount, currency) == format_currency(amount, currency, locale=language)
        assert number(whole) == format_decimal(whole, locale=language)
        assert times(amount) == format_decimal(amount, format="#,##0.00", locale=language) + "x"
        assert percent(amount) == format_percent(amount, format="#,##0.0%", locale=language)
    finally:
        i18n.language.reset(before)


# Around where a larger unit begins: 51 seconds are a minute, 51 minutes an hour, 310 days a year.
EDGES = [
    round(share * unit) for unit in (60, 3600, 86400, 604800, 2592000, 31536000) for share in (0.85, 1, 1.5)
]
DISTANCES = st.one_of(
    st.integers(-(10**8), 10**8), st.sampled_from(EDGES).flatmap(lambda at: st.integers(at - 2, at + 2))
)


@pytest.mark.parametrize("language", i18n.LANGUAGES)
@given(seconds=DISTANCES, past=st.booleans())
def test_distances_are_written_as_babel_writes_them(language: str, seconds: int, past: bool):
    before = i18n.language.set(language)
    distance = timedelta(seconds=-seconds if past else seconds)
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    try:
        assert ago(now + distance, now) == format_timedelta(distance, add_direction=True, locale=language)
    finally:
        i18n.language.reset(before)


def test_what_is_compiled_ahead_is_all_that_a_template_refers_to():
    templates.cache.clear()  # type: ignore[union-attr] # there is one
    compile_ahead("tickets_board.html")
    known = {name for _loader, name in templates.cache}  # type: ignore[union-attr]
    assert known >= {
        "tickets_board.html",
        "base.html",
        "_/nav.html",
        "_/filters.html",
        "_/cards.html",
        "_/mover.html",
    }
