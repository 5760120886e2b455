"""The browser tests' rig can fail: each mistake that it looks for is made once, on a page that is right without it."""

import pytest

from tests import browser
from tests.rig import BROWSER, Visit, looks_right, weight

pytestmark = BROWSER

# Each is something that a page could do wrong, as a script that does it.
MISTAKES = {
    "inline style": ("document.body.setAttribute('style', 'color: red')", "console: CSP: style-src-attr"),
    "script from elsewhere": (
        "document.head.append(Object.assign(document.createElement('script'), {src: 'https://example.com/x.js'}))",
        "console: CSP: script-src-elem",
    ),
    "error in the console": ("console.error('told')", "console: told"),
    "uncaught exception": ("setTimeout(() => { throw new Error('thrown') })", "script: thrown"),
    "missing file": ("fetch('/static/nothing.css')", "404: "),
}
UGLY = {
    "sideways": ("document.body.append('x'.repeat(999))", "wider"),
    "class without a rule": ("document.querySelector('h1').classList.add('made-up-class')", "made-up-class"),
    "button without a name": ("document.querySelector('main').append(document.createElement('button'))", "button-name"),
}  # fmt: skip


@pytest.mark.parametrize(("script", "told"), MISTAKES.values(), ids=MISTAKES)
async def test_a_mistake_of_a_page_is_noticed(visit: Visit, script: str, told: str):
    page = await visit()
    await page.goto("/tickets")
    assert visit.wrong == []

    await page.evaluate(f"() => {{ {script} }}")
    await page.wait_for_timeout(300)

    noticed, visit.wrong = visit.wrong, []
    assert [each for each in noticed if each.startswith(told)], noticed


@pytest.mark.parametrize(("script", "told"), UGLY.values(), ids=UGLY)
async def test_a_page_that_does_not_look_right_is_noticed(visit: Visit, script: str, told: str):
    page = await visit()
    await page.goto("/tickets")
    await looks_right(page)

    await page.evaluate(f"() => {{ {script} }}")

    with pytest.raises(AssertionError, match=told):
        await looks_right(page)


async def test_all_that_a_page_loads_is_weighed(visit: Visit):
    page = await visit()
    await page.goto("/tickets")
    light = await weight(page)

    await page.evaluate("() => fetch('/api/openapi.json').then((answer) => answer.text())")

    assert 10_000 < light < await weight(page)


async def test_without_a_browser_the_search_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("WHATRACK_BROWSER", raising=False)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", "/nowhere")
    monkeypatch.setattr(browser, "APPLICATIONS", ())
    monkeypatch.setattr(browser, "IN_CI", False)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")

    with pytest.raises(browser.NoBrowser, match="WHATRACK_BROWSER"):
        browser.find()


async def test_a_browser_that_is_named_is_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WHATRACK_BROWSER", "/opt/chrome")

    assert browser.find() == browser.Found("/opt/chrome", {})
