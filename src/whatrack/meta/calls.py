"""What a call of the Graph API is made of, and how its answer is read: tokens, parameters, pages, parts of a batch."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import aiohttp
import msgspec

from whatrack.meta.errors import NoAnswer
from whatrack.meta.webhook import clean

MAX_BYTES = 64 * 2**20

T = TypeVar("T")
Params = Mapping[str, object]


@dataclass(frozen=True)
class Token:
    """An access token as calls carry it. secret: of the app that issued it; None when that app is not ours.

    app: that app's id, by which its limits are counted.
    """

    value: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    app: str = ""

    @property
    def proof(self) -> str | None:
        """appsecret_proof: hex HMAC-SHA256 of the token with the secret of its app."""
        if self.secret is None:
            return None
        return hmac.new(self.secret.encode(), self.value.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Answer:
    """An answer without an error in it. trace: Meta's fbtrace_id, when it gave one."""

    status: int
    body: bytes = field(repr=False)
    trace: str | None = None

    def read(self, shape: type[T]) -> T:
        """The body as this type; numbers in text are numbers. NoAnswer when it is something else.

        What is no JSON for a lone surrogate or NaN is read with U+FFFD or null there, so that one odd name stops nobody.
        """
        try:
            return msgspec.json.decode(self.body, type=shape, strict=False)
        except (msgspec.ValidationError, RecursionError):  # the error's text would quote the answer
            raise NoAnswer("unreadable") from None
        except msgspec.DecodeError:
            pass
        try:
            return msgspec.json.decode(clean(self.body), type=shape, strict=False)
        except (ValueError, RecursionError):
            raise NoAnswer("unreadable") from None


@dataclass(frozen=True)
class Part:
    """One call of a batch. path: without version and slash, such as "123/insights"."""

    path: str
    params: Params = field(default_factory=dict)
    method: str = "GET"


class Paging(msgspec.Struct, frozen=True):
    """Whether there is a next page, and where."""

    next: str | None = None


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list."""

    data: list[T] = []
    paging: Paging | None = None


class PartAnswer(msgspec.Struct, frozen=True):
    """The answer to one part of a batch. body: JSON, as text."""

    code: int
    body: str = ""
    headers: list[dict[str, str]] = []


async def read_body(response: aiohttp.ClientResponse) -> bytes:
    """The whole body, if it is no larger than any answer of Meta's should be."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        body += chunk
        if len(body) > MAX_BYTES:
            raise NoAnswer("too_large")
    return bytes(body)


def form(params: Params) -> dict[str, str]:
    """Parameters as Meta reads them: text as it is, lists and objects as JSON; None is left out."""
    return {name: _text(value) for name, value in params.items() if value is not None}


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
