"""Numbers as pages write them are Babel's to the letter, however they are made."""

from decimal import Decimal

import pytest
from babel.numbers import format_currency, format_decimal, format_percent
from hypothesis import given
from hypothesis import strategies as st

from whatrack.web.pages import i18n
from whatrack.web.pages.places import CURRENCIES
from whatrack.web.pages.render import money, number, percent, times

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
