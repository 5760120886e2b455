"""Every page of tests/pages.py, looked at by a real browser: both themes, a laptop and a phone."""

import itertools
import os
from pathlib import Path

import pytest
from playwright.async_api import Page as Tab

from tests.pages import PAGES, Page
from tests.rig import BROWSER, THEMES, WIDTHS, Visit, looks_right, weight
from tests.site import Site

pytestmark = BROWSER
PICTURES = os.environ.get("WHATRACK_PICTURES")  # a folder: `make pictures`
FIRST_PAINT = 100_000  # bytes, compressed


async def take_picture(tab: Tab, path: Path, width: int) -> None:
    """The whole page, on a screen as high as it is: what sticks to an edge stays at that edge."""
    height = await tab.evaluate("() => document.documentElement.scrollHeight")
    await tab.set_viewport_size({"width": width, "height": max(height, WIDTHS[width])})
    await tab.screenshot(path=path)
    await tab.set_viewport_size({"width": width, "height": WIDTHS[width]})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_a_page_looks_right(site: Site, earning: Site, visit: Visit, page: Page):
    """In both themes, wide and narrow: one load, because both are a matter of style alone."""
    visit.expect(page.status)
    looked_at = earning if page.earns else site
    tab = await visit(page.who, site=looked_at)
    answer = await tab.goto(page.path.format(**looked_at.places))
    assert answer is not None
    assert await weight(tab) < FIRST_PAINT
    if page.steps:
        await page.steps(tab)
    else:
        assert answer.status == page.status

    wrong = []
    for theme, width in itertools.product(THEMES, WIDTHS):
        await tab.emulate_media(color_scheme=theme)
        await tab.set_viewport_size({"width": width, "height": WIDTHS[width]})
        if PICTURES:
            await take_picture(tab, Path(PICTURES) / f"{page.name}-{width}-{theme}.png", width)
        try:
            await looks_right(tab, colors_only=theme == "dark")
        except AssertionError as error:
            wrong.append(f"{theme}, {width} px: {error}")
    assert not wrong, "\n".join(wrong)
