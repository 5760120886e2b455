"""What tests of pages need: read a page as a person does, send a form, sign in with a password."""

import html
import re
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support import PASSWORD


@dataclass(frozen=True)
class Page:
    """An answer, read to its end."""

    status: int
    text: str
    headers: Any
    path: str

    @property
    def words(self) -> str:
        """What can be read on it, on one line."""
        bare = re.sub(r"<(script|style|svg).*?</\1>|<[^>]+>", " ", self.text, flags=re.DOTALL)
        return " ".join(html.unescape(bare).split())

    @property
    def to(self) -> str:
        """Where it sends the browser."""
        return str(self.headers.get("location", ""))

    @property
    def errors(self) -> dict[str, str]:
        """Field → what is said beside it."""
        found = re.findall(r'id="([\w-]+)-error".*?<span>(.*?)</span>', self.text, re.DOTALL)
        return {name: html.unescape(text) for name, text in found}

    def value(self, name: str) -> str:
        """What a field holds."""
        found = re.search(rf'<input[^>]*\bname="{name}"[^>]*>', self.text)
        value = re.search(r'\bvalue="([^"]*)"', found[0]) if found else None
        return html.unescape(value[1]) if value else ""

    def link(self, start: str) -> str:
        """The first address on it that starts so."""
        found = re.search(re.escape(start) + r"[\w-]+", self.text)
        assert found, self.words
        return found[0]


async def get(browser: aiohttp.ClientSession, path: str, *, follow: bool = True, headers: Any = None) -> Page:
    async with browser.get(path, headers=headers, allow_redirects=follow) as answer:
        return Page(answer.status, await answer.text(), answer.headers, str(answer.url.relative()))


async def send(
    browser: aiohttp.ClientSession, path: str, *, follow: bool = False, headers: Any = None, **fields: Any
) -> Page:
    """Send a form; where it leads to is not looked at unless asked for."""
    async with browser.post(path, data=fields, headers=headers, allow_redirects=follow) as answer:
        return Page(answer.status, await answer.text(), answer.headers, str(answer.url.relative()))


async def log_in(browser: aiohttp.ClientSession, email: str, password: str = PASSWORD, **more: Any) -> Page:
    return await send(browser, "/login", email=email, password=password, **more)
