"""Sends webhooks as Meta does: escaped JSON, signed, and again when the answer is not 200.

Sources: Meta, "Create a webhook endpoint" and "Webhooks overview", read 2026-11. Meta retries with growing pauses for 36 hours
or 7 days (its pages differ); here the pauses start at `pause_s` and double.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from whatrack.sandbox.state import App, Number, Waba, World

ANSWER_WITHIN_S = 10.0


@dataclass
class Sent:
    """What became of deliveries: each is accepted or given up; refusals and lost answers count each try."""

    accepted: int = 0
    given_up: int = 0
    tries: int = 0


@dataclass(frozen=True)
class Endpoint:
    """Where webhooks go, and the app secret they are signed with."""

    url: str
    secret: str


def as_meta_writes(value: dict[str, Any]) -> bytes:
    """JSON as Meta signs it: ASCII, with / @ % < escaped."""
    text = json.dumps(value, separators=(",", ":"))
    for char, escaped in (("/", "\\/"), ("@", "\\u0040"), ("%", "\\u0025"), ("<", "\\u003C")):
        text = text.replace(char, escaped)
    return text.encode()


def signature(secret: str, body: bytes) -> str:
    """The X-Hub-Signature-256 of a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed_request(secret: str, payload: dict[str, Any], *, padded: bool = False) -> str:
    """What the deauthorize and data-deletion callbacks get, as form field signed_request; padded: with base64's = signs."""
    whole = {"algorithm": "HMAC-SHA256", **payload}
    encoded = _base64url(json.dumps(whole, separators=(",", ":")).encode(), padded=padded)
    mark = hmac.new(secret.encode(), encoded.encode(), hashlib.sha256).digest()
    return f"{_base64url(mark, padded=padded)}.{encoded}"


def _base64url(data: bytes, *, padded: bool) -> str:
    text = base64.urlsafe_b64encode(data).decode()
    return text if padded else text.rstrip("=")


def endpoints_of(world: World, number_id: str) -> list[Endpoint]:
    """Where a number's webhooks go: to each app its WhatsApp account is subscribed to, if that has a callback."""
    waba = world.get(Waba, world.get(Number, number_id).waba_id)
    found = []
    for app_id, override in waba.subscribed.items():
        app = world.get(App, app_id)
        if url := override or app.callback_url:
            found.append(Endpoint(url, app.secret))
    return found


async def post(
    bodies: Sequence[bytes],
    endpoint: Endpoint,
    *,
    retries: int = 5,
    pause_s: float = 0.2,
    at_once: int = 1,
) -> Sent:
    """Post each body until it is answered 200. at_once: how many are under way together; with 1 they keep their order."""
    sent = Sent()
    gate = asyncio.Semaphore(at_once)
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def deliver(body: bytes) -> None:
            async with gate:
                for attempt in range(retries + 1):
                    if attempt:
                        await asyncio.sleep(pause_s * 2 ** (attempt - 1))
                    sent.tries += 1
                    if await _accepted(session, body, endpoint):
                        sent.accepted += 1
                        return
                sent.given_up += 1

        await asyncio.gather(*(deliver(body) for body in bodies))
    return sent


async def _accepted(session: aiohttp.ClientSession, body: bytes, endpoint: Endpoint) -> bool:
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "facebookexternalua",
        "X-Hub-Signature-256": signature(endpoint.secret, body),
    }
    try:
        async with session.post(endpoint.url, data=body, headers=headers) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def shakes_hands(url: str, verify_token: str, challenge: str) -> bool:
    """Whether a callback echoes the challenge, as Meta asks before it takes the address."""
    query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": verify_token}
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, params=query) as answer,
        ):
            return answer.status == 200 and await answer.text() == challenge
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False


async def post_signed_request(
    url: str, secret: str, person_id: str, now: float, *, padded: bool = False
) -> tuple[int, str]:
    """Tell a service that a person removed the app, or wants their data deleted; (status, body) of its answer.

    now: when that was, unix seconds; an earlier moment is a late or repeated call. padded: with the = that base64 ends with.
    """
    payload = {"user_id": person_id, "issued_at": int(now), "expires": int(now) + 3600}
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        form = {"signed_request": signed_request(secret, payload, padded=padded)}
        async with session.post(url, data=form) as answer:
            return answer.status, await answer.text()
