"""The browser tests' rig: one Chromium and one service for all of them, and tabs that tell on every mistake.

A browser test is an async function with `pytestmark = BROWSER` that takes `site` (look, do not change: make another
with `make_site` to change things) and `visit` (a signed-in tab). It fails on any CSP violation, error in the console or
script, and answer of 404 or 500 and above that it did not announce with `visit.expect(status)`.
"""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import pytest_asyncio
import uvicorn
from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.async_api import Browser, BrowserContext, Page, Response, async_playwright

from tests import browser
from tests.meta_site import connect_meta
from tests.roi_site import make_earning_site
from tests.site import Site, make_second_home, make_site, open_doors, set_aside
from tests.support import APP_SECRET, SEALER, VERIFY_TOKEN
from whatrack.db import Database
from whatrack.inbox import days
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.server import served as served_sandbox
from whatrack.settings import Settings
from whatrack.web.app import Service

# One worker has the browser; all its tests share one event loop, as Playwright's objects live on the one they began on.
BROWSER = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.asyncio(loop_scope="session"),
]
WIDTHS = {1440: 900, 390: 844}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""
AXE_OPTIONS: dict[str, Any] = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
# What a theme can break.
OF_COLOR = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
# Classes of the page that no rule of its style sheets names; [[class, an element that has it]].
UNRULED = """
() => {
  const named = new Set();
  const read = (rules) => {
    for (const rule of rules) {
      for (const [name] of (rule.selectorText ?? "").matchAll(/\\.(?:\\\\.|[\\w-]|[^\\x00-\\x7f])+/g))
        named.add(name.slice(1).replace(/\\\\(.)/g, "$1"));
      if (rule.cssRules) read(rule.cssRules);
    }
  };
  for (const sheet of document.styleSheets) read(sheet.cssRules);
  const found = new Map();
  for (const element of document.querySelectorAll("[class]"))
    for (const name of element.classList) if (!named.has(name)) found.set(name, element.outerHTML.slice(0, 120));
  return [...found];
}
"""
SETTLED = """
async () => {
  await document.fonts.ready;
  await Promise.all(document.getAnimations().map((each) => each.finished.catch(() => null)));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}
"""
SIDEWAYS = """
() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return null;
  const beyond = [...document.body.querySelectorAll("*")]
    .filter((each) => each.getBoundingClientRect().right > root.clientWidth + 0.1)
    .slice(0, 5).map((each) => each.outerHTML.slice(0, 120));
  return [root.scrollWidth - root.clientWidth, ...beyond];
}
"""
# Bytes over the wire of everything the page loaded, itself included.
WEIGHT = """
() => performance.getEntries().filter((each) => each.encodedBodySize)
  .reduce((sum, each) => sum + each.encodedBodySize, 0)
"""


@contextmanager
def serving(conninfo: str, **more: str) -> Iterator[str]:
    """The whole service in a thread of its own, loops included; its base URL. More: settings by their names."""
    listener = socket.create_server(("127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    known = {"WHATSAPP_APP_SECRET": APP_SECRET, "WHATSAPP_VERIFY_TOKEN": VERIFY_TOKEN}
    settings = Settings.model_validate({**known, "WHATRACK_BASE_URL": base_url, **more})
    app = Service(settings, Database(conninfo), SEALER, with_workers=True)
    config = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, loop="asyncio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the service did not start: the suite's log says why")
        threading.Event().wait(0.02)
    yield base_url
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """The Meta of the browser tests. Break no login of Thiago's or Viviane's: they are the sample organization's."""
    return Sandbox()


@pytest.fixture(scope="session")
def served_meta(sandbox: Sandbox) -> Iterator[str]:
    """The base URL of that Meta."""
    with served_sandbox(sandbox) as meta:
        yield meta


@pytest.fixture(scope="session")
def served(site_conninfo: str, sandbox: Sandbox, served_meta: str) -> Iterator[str]:
    """The base URL of the service that the browser tests look at, beside a Meta of its own."""
    app = sandbox.cast.ads_app
    named = {"META_APP_ID": app.id, "META_APP_SECRET": app.secret}
    with serving(site_conninfo, META_GRAPH_URL=served_meta, META_DIALOG_URL=served_meta, **named) as base_url:
        yield base_url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(served: str, site_conninfo: str, sandbox: Sandbox) -> AsyncIterator[Site]:
    """The sample organization, for all browser tests: look, do not change."""
    db = Database(site_conninfo)
    await db.open()
    await days.ensure_days(db)
    made = await make_site(db, served)
    await make_second_home(made)
    await set_aside(made)
    await open_doors(made)
    await connect_meta(made, sandbox)
    yield made
    await db.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def earning(site: Site, sandbox: Sandbox) -> Site:
    """Another organization at the same service, whose ads earn: look, do not change."""
    return await make_earning_site(site.db, site.base_url, sandbox)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The one browser. Without any: a failure in CI, a skip that says so elsewhere."""
    try:
        found = await asyncio.to_thread(browser.find)
    except browser.NoBrowser as error:
        if browser.IN_CI:
            pytest.fail(str(error))
        pytest.skip(f"BROWSER TESTS SKIPPED. {error}")
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=found.path,
            env={**os.environ, **found.environ},
            args=["--disable-background-networking", "--no-first-run"],
            chromium_sandbox=False,
        )
        yield launched
        await launched.close()


class Visit:
    """Opens tabs in which nothing may go wrong unannounced."""

    def __init__(self, chromium: Browser, site: Site) -> None:
        self._chromium = chromium
        self._site = site
        self._contexts: list[BrowserContext] = []
        self._expected: set[int] = set()
        self.wrong: list[str] = []

    async def __call__(
        self,
        who: str = "owner",
        *,
        theme: str = "light",
        width: int = 1440,
        js: bool = True,
        language: str = "pt-BR",
        touch: bool = False,
        site: Site | None = None,
    ) -> Page:
        """A tab of someone signed in: a role, `operator`, `stranger`, or `nobody`. Addresses are relative to the site."""
        context = await self._chromium.new_context(
            base_url=self._site.base_url,
            locale=language,
            timezone_id="America/Sao_Paulo",
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
            viewport={"width": width, "height": WIDTHS.get(width, 900)},
            java_script_enabled=js,
            has_touch=touch,
            permissions=["clipboard-read", "clipboard-write"],
        )
        self._contexts.append(context)
        context.set_default_timeout(10_000)
        if who != "nobody":
            cookie: Any = await (site or self._site).cookie(who)
            await context.add_cookies([cookie])
        if js:
            await context.add_init_script(TELL_VIOLATIONS)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        page.on("console", lambda said: self._console(said.type, said.text))
        page.on("response", self._answered)
        return page

    def expect(self, *statuses: int) -> None:
        """Announce answers that would be mistakes elsewhere: a 404, a 500."""
        self._expected.update(statuses)

    def _console(self, kind: str, text: str) -> None:
        # What did not load is told by its status; a refused form (422) is none.
        if kind == "error" and not text.startswith("Failed to load resource"):
            self.wrong.append(f"console: {text}")

    def _answered(self, response: Response) -> None:
        if (response.status == 404 or response.status >= 500) and response.status not in self._expected:
            self.wrong.append(f"{response.status}: {response.url}")

    async def close(self) -> None:
        """Close every tab."""
        for context in self._contexts:
            await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(chromium: Browser, site: Site) -> AsyncIterator[Visit]:
    """Opens tabs; at the end nothing may have gone wrong in them."""
    opened = Visit(chromium, site)
    yield opened
    await opened.close()
    assert opened.wrong == []


async def looks_right(page: Page, *, colors_only: bool = False) -> None:
    """Axe finds nothing, nothing scrolls sideways, every class has a rule. colors_only: all else was found right before."""
    await page.evaluate(SETTLED)
    wide, unruled = await page.evaluate(SIDEWAYS), await page.evaluate(UNRULED)
    assert not wide, f"wider than the screen: {wide}"
    assert not unruled, f"classes without a rule in app.css: {unruled}"
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate(AXE_SCRIPT)
    options = AXE_OPTIONS | (OF_COLOR if colors_only else {})
    results = AxeResults(await page.evaluate("(options) => axe.run(options)", options))
    assert results.violations_count == 0, results.generate_report()


async def weight(page: Page) -> int:
    """Bytes over the wire, compressed, of the page and all that it loaded."""
    return int(await page.evaluate(WEIGHT))
