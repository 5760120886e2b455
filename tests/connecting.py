"""The whole service beside a sandbox, and a person who connects profiles through its dialog, over HTTP."""

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import uvicorn

from tests.support import APP_SECRET, SEALER, VERIFY_TOKEN, Shop, make_shop
from tests.test_pages_tickets import visiting
from whatrack.connections.keys import Keys
from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.server import served
from whatrack.sandbox.state import Person
from whatrack.settings import Settings
from whatrack.web.app import Service
from whatrack.workers import keys_of

API = "/api/v1/meta-ads"
ADS = ("ads_read", "ads_management", "business_management")


def settings_with(sandbox: Sandbox, meta_url: str, base_url: str, **more: Any) -> Settings:
    """Settings that point at a sandbox. More: of other names, or None to leave one out."""
    app = sandbox.cast.ads_app
    known = {
        "WHATSAPP_APP_SECRET": f"{APP_SECRET},{sandbox.cast.whatsapp_app.secret}",
        "WHATSAPP_VERIFY_TOKEN": VERIFY_TOKEN,
        "WHATRACK_BASE_URL": base_url,
        "META_APP_ID": app.id,
        "META_APP_SECRET": app.secret,
        "META_GRAPH_URL": meta_url,
        "META_DIALOG_URL": meta_url,
        **more,
    }
    return Settings.model_validate({name: value for name, value in known.items() if value is not None})


@contextmanager
def a_service(
    conninfo: str, sandbox: Sandbox, meta_url: str, *, sealer: Sealer = SEALER, **more: Any
) -> Iterator[str]:
    """The service in a thread, pointed at the sandbox; without loops, so that tests decide when things happen."""
    listener = socket.create_server(("127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = settings_with(sandbox, meta_url, base_url, **more)
    app = Service(settings, Database(conninfo), sealer, with_workers=False)
    server = uvicorn.Server(
        uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, loop="asyncio")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the service did not start: the suite's log says why")
        threading.Event().wait(0.01)
    yield base_url
    server.should_exit = True
    thread.join(20)


@contextmanager
def a_meta_and_service(conninfo: str, **more: Any) -> Iterator[tuple[Sandbox, str, str]]:
    """(sandbox, its address, the service's): both for a whole file of tests, which begin with a fresh world each."""
    sandbox = Sandbox()
    with served(sandbox) as meta_url, a_service(conninfo, sandbox, meta_url, **more) as base_url:
        yield sandbox, meta_url, base_url


@dataclass
class Office:
    """An organization, the sandbox, and a signed-in admin's browser."""

    db: Database
    shop: Shop
    sandbox: Sandbox
    base_url: str
    meta_url: str
    browser: aiohttp.ClientSession

    @property
    def keys(self) -> Keys:
        return keys_of(settings_with(self.sandbox, self.meta_url, self.base_url), SEALER)

    async def call(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """(status, JSON) of the API."""
        async with self.browser.request(method, f"{API}{path}", **more) as answer:
            body = await answer.read()
            return answer.status, await answer.json() if body else None

    async def get(self, path: str, **params: str) -> Any:
        """The JSON of an answer that must be 200."""
        status, found = await self.call("GET", path, params=params)
        assert status == 200, found
        return found

    async def page(self, path: str) -> tuple[int, str]:
        async with self.browser.get(path, allow_redirects=False) as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, **fields: Any) -> tuple[int, str, str]:
        """(status, text, where to) of a form."""
        data = {name: str(value) for name, value in fields.items()}
        async with self.browser.post(path, data=data, allow_redirects=False) as answer:
            return answer.status, await answer.text(), answer.headers.get("location", "")

    async def dialog(self, *, again: bool = False) -> str:
        """The dialog's address, from the button."""
        path = f"{API}/connect" + ("?again=true" if again else "")
        async with self.browser.get(path, allow_redirects=False) as answer:
            assert answer.status == 302, await answer.text()
            return answer.headers["location"]

    async def answer_dialog(self, address: str, person: Person, *allow: str, cancel: bool = False) -> str:
        """Where the dialog sends the browser back to."""
        choices = {"person": person.id, "answer": "cancel" if cancel else "continue"}
        choices |= {f"allow_{name}": "on" for name in allow}
        async with (
            aiohttp.ClientSession() as facebook,
            facebook.post(address, data=choices, allow_redirects=False) as answer,
        ):
            assert answer.status == 302, await answer.text()
            return answer.headers["location"]

    async def come_back(self, address: str) -> str:
        """Where the callback sends the browser on to."""
        parts = urlsplit(address)
        async with self.browser.get(f"{parts.path}?{parts.query}", allow_redirects=False) as answer:
            assert answer.status == 303, await answer.text()
            return answer.headers["location"]

    async def connect(self, person: Person, *allow: str, again: bool = False) -> str:
        """The whole way, from the button to the settings page."""
        back = await self.answer_dialog(await self.dialog(again=again), person, *(allow or ADS))
        return await self.come_back(back)

    async def connections(self) -> dict[str, dict[str, Any]]:
        """The profiles, by name."""
        return {each["fb_user_name"]: each for each in (await self.get("/connections"))["data"]}

    async def account(self) -> dict[str, Any]:
        """The account that two people share."""
        found: dict[str, Any] = await self.get(f"/ad-accounts/act_{self.sandbox.account.id}")
        return found

    async def configure(self, **wanted: Any) -> tuple[int, Any]:
        return await self.call("PUT", f"/ad-accounts/act_{self.sandbox.account.id}/config", json=wanted)


@asynccontextmanager
async def an_office(
    db: Database, sandbox: Sandbox, meta_url: str, base_url: str, *, role: str = "admin"
) -> AsyncIterator[Office]:
    """An organization in a fresh world, and a browser in which somebody with this role is signed in."""
    sandbox.reset()
    shop = await make_shop(db, "clinica", number=sandbox.cast.number.id, waba=sandbox.cast.waba.id)
    async with visiting(db, base_url, shop, role) as browser:
        yield Office(db, shop, sandbox, base_url, meta_url, browser)


@asynccontextmanager
async def colleague(office: Office, role: str = "admin", shop: Shop | None = None) -> AsyncIterator[Office]:
    """Somebody else at the same service, of this organization or another."""
    async with visiting(office.db, office.base_url, shop or office.shop, role) as browser:
        yield Office(
            office.db, shop or office.shop, office.sandbox, office.base_url, office.meta_url, browser
        )


def state_of(address: str) -> str:
    return parse_qs(urlsplit(address).query)["state"][0]
