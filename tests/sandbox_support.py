"""A sandbox whose clock stands still, asked without HTTP."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from whatrack.sandbox.clock import Clock
from whatrack.sandbox.graph import NEWEST, Answer, Call, split_path
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.state import Token
from whatrack.sandbox.traffic import Plan

NOW = datetime(2026, 11, 24, 15, 0, tzinfo=UTC).timestamp()
BASE = "http://sandbox.test"


def still_sandbox(seed: int = 1) -> Sandbox:
    return Sandbox(seed, Clock(lambda: NOW))


@dataclass
class Asker:
    """Asks the Graph API as one token's owner."""

    sandbox: Sandbox
    token: str

    def answer(self, path: str, method: str = "GET", **params: Any) -> Answer:
        version, parts = split_path(path)
        texts = {name: str(value) for name, value in params.items()}
        token = texts.get("access_token") or self.token
        call = Call(method, version or NEWEST, parts, texts, token, BASE)
        return self.sandbox.graph.answer(call)

    def get(self, path: str, **params: Any) -> Any:
        """The body of an answer that must be 200."""
        found = self.answer(path, **params)
        assert found.status == 200, found.body
        return found.body

    def post(self, path: str, **params: Any) -> Any:
        found = self.answer(path, "POST", **params)
        assert found.status == 200, found.body
        return found.body

    def refused(self, path: str, method: str = "GET", **params: Any) -> tuple[int, int | None]:
        """(code, subcode) of an answer that must be an error."""
        found = self.answer(path, method, **params)
        assert "error" in found.body, found.body
        return found.body["error"]["code"], found.body["error"].get("error_subcode")

    def pages(self, path: str, **params: Any) -> list[list[dict[str, Any]]]:
        """Every page of a list, read until `next` is absent."""
        found: list[list[dict[str, Any]]] = []
        while True:
            page = self.get(path, **params)
            found.append(page["data"])
            if "next" not in page.get("paging", {}):
                return found
            params["after"] = page["paging"]["cursors"]["after"]

    def every(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """Every entry of a list."""
        return [entry for page in self.pages(path, **params) for entry in page]


def ads_client(sandbox: Sandbox, token: Token | None = None) -> Asker:
    return Asker(sandbox, (token or sandbox.token).value)


def number_client(sandbox: Sandbox) -> Asker:
    return Asker(sandbox, sandbox.number_token.value)


def hex_hmac(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def click_id(sandbox: Sandbox, *, days_ago: float = 0.1) -> str:
    """A click id the sandbox issued, for the clinic's number."""
    click = sandbox.traffic.tap(sandbox.ads()[0].id, "5511988880000", NOW - days_ago * 86_400)
    assert click.clid is not None
    return click.clid


def calm(sandbox: Sandbox, **more: Any) -> Plan:
    """Traffic in which everybody comes from an ad and nothing goes astray."""
    usual: dict[str, Any] = {
        "organic": 0,
        "in_status": 0,
        "post": 0,
        "again": 0,
        "duplicates": 0,
        "shuffle": False,
        "chatter": 0,
    }
    return Plan(ad_ids=[ad.id for ad in sandbox.ads()], **{**usual, **more})
