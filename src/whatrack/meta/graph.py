"""The Graph API over HTTP: one session a process, tokens in headers, limits respected, every failure a kind to act on.

A call either gives the decoded answer or raises a `GraphError` (errors.py). Reads are tried again after trouble of Meta's or
of the network; writes never are, because a lost answer does not say whether they were carried out. When a usage header
says that a limit is nearly used up, later calls on it wait, or raise Throttled at once when that would take long.

Tokens travel in the Authorization header and stand in no address, log or error. Nothing here logs a URL.
Sources: Meta, "Secure requests" (appsecret_proof) <https://developers.facebook.com/docs/graph-api/guides/secure-requests>,
"Paginated results" <https://developers.facebook.com/docs/graph-api/results/>, "Batch requests", read 2026-11.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import msgspec

from whatrack.meta.calls import Answer, Page, Params, Part, PartAnswer, Token, form, read_body
from whatrack.meta.errors import (  # fmt: skip
    BadRequest,
    GraphError,
    NoAnswer,
    NotVisible,
    Throttled,
    Transient,
    Unreachable,
    classify,
    read_refusal,
)
from whatrack.meta.ids import bare_account
from whatrack.meta.usage import APP, Load, account_key, read_usage
from whatrack.observe import GRAPH_CALLS

MAX_IDS = MAX_BATCH = 50
MAX_PAGES = 500
TRIES = 3
BACKOFF_S = 0.4
CONNECTIONS = 20
CONNECT_S = 10.0

T = TypeVar("T")


@dataclass(frozen=True)
class _Call:
    method: str
    path: str
    token: Token | None
    params: Params
    account: str | None
    body: bytes | None = None

    @property
    def insights(self) -> bool:
        return "insights" in self.path

    @property
    def keys(self) -> tuple[str, str]:
        """The limits it counts towards: the app's, and the account's or (where none is known) this token's on the node."""
        app = self.token.app if self.token else ""
        on = self.account or f"{self.path.partition('/')[0]}#{hash(self.token)}"
        return f"{APP}:{app}", account_key(on, insights=self.insights)


class Graph:
    """A client of one Graph API. Close it at the end of the process.

    patience_s: how long a call may wait for a limit before it raises Throttled instead.
    """

    def __init__(
        self, base_url: str, version: str, *, timeout_s: float = 30.0, patience_s: float = 5.0
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.version = version
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        self._patience_s = patience_s
        self._opened: aiohttp.ClientSession | None = None
        self._resume_at: dict[str, float] = {}  # limit → when calls are welcome again, by the loop's clock

    async def close(self) -> None:
        """Give the connections back. Idempotent."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def get(
        self,
        path: str,
        token: Token | None,
        shape: type[T],
        *,
        params: Params | None = None,
        account: str | None = None,
        tries: int = TRIES,
    ) -> T:
        """Read a node or edge; path: "me/permissions". account: whose limits count, where the path does not say."""
        answer = await self.call("GET", path, token, params=params, account=account, tries=tries)
        return answer.read(shape)

    async def post(
        self,
        path: str,
        token: Token | None,
        shape: type[T],
        *,
        params: Params | None = None,
        account: str | None = None,
        tries: int = 1,
    ) -> T:
        """Write, as a form; tried once unless the caller knows that twice does no harm."""
        answer = await self.call("POST", path, token, params=params, account=account, tries=tries)
        return answer.read(shape)

    async def delete(self, path: str, token: Token, *, params: Params | None = None) -> None:
        """Delete."""
        await self.call("DELETE", path, token, params=params)

    async def call(
        self,
        method: str,
        path: str,
        token: Token | None,
        *,
        params: Params | None = None,
        body: bytes | None = None,
        account: str | None = None,
        tries: int = 1,
    ) -> Answer:
        """One call; raises GraphError. A limit that is used up is waited for up to patience_s, then Throttled.

        body: a JSON object that is posted as it stands, instead of a form; params then go into the address.
        """
        on = bare_account(account or path.partition("/")[0]) if account or path.startswith("act_") else None
        call = _Call(method, path, token, params or {}, on, body)
        for attempt in range(1, tries + 1):
            await self._await_turn(call)
            try:
                return await self._once(call)
            except Throttled:
                raise
            except Transient:
                if attempt == tries:
                    raise
                await asyncio.sleep(BACKOFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311
        raise ValueError("tries must be at least 1")

    async def pages(
        self,
        path: str,
        token: Token,
        shape: type[T],
        *,
        params: Params | None = None,
        account: str | None = None,
        most: int = MAX_PAGES,
    ) -> AsyncIterator[list[T]]:
        """The entries of a list, page by page, empty pages too; it ends when Meta gives no `next`, and only then.

        BadRequest too_many_pages beyond `most`, foreign_next when the next page lies elsewhere, page_again when pages repeat.
        """
        asked, seen = dict(params or {}), set[str]()
        page_shape = Page[shape]  # type: ignore[valid-type] # a type made at run time
        for _ in range(most):
            page = await self.get(path, token, page_shape, params=asked, account=account)
            yield page.data
            if not page.paging or not page.paging.next:
                return
            asked = {**asked, **self._following(page.paging.next)}
            digest = urlencode(sorted((name, str(value)) for name, value in asked.items()))
            if digest in seen:
                raise BadRequest("page_again")
            seen.add(digest)
        raise BadRequest("too_many_pages")

    async def every(
        self,
        path: str,
        token: Token,
        shape: type[T],
        *,
        params: Params | None = None,
        account: str | None = None,
        most: int = MAX_PAGES,
    ) -> list[T]:
        """The entries of all pages of a list."""
        pages = self.pages(path, token, shape, params=params, account=account, most=most)
        return [entry async for page in pages for entry in page]

    async def by_ids(
        self,
        ids: Sequence[str],
        token: Token,
        shape: type[T],
        *,
        fields: str,
        account: str | None = None,
    ) -> dict[str, T]:
        """Nodes by id, 50 a call; an id that is absent from the answer is not visible to this token.

        One such id makes Meta refuse the whole call, or leaves it out: reports differ, so refused calls are halved.
        """
        found: dict[str, T] = {}
        waiting = [list(ids[start : start + MAX_IDS]) for start in range(0, len(ids), MAX_IDS)]
        while waiting:
            some = waiting.pop()
            params = {"ids": ",".join(some), "fields": fields}
            try:
                found |= await self.get("", token, dict[str, shape], params=params, account=account)  # type: ignore[valid-type] # made at run time
            except NotVisible:
                if len(some) > 1:
                    waiting += [some[: len(some) // 2], some[len(some) // 2 :]]
        return found

    async def batch(
        self, parts: Sequence[Part], token: Token, *, account: str | None = None
    ) -> list[Answer | GraphError]:
        """Many calls in few requests, 50 each; for each part, in order, its answer or what became of it.

        A part that Meta leaves unanswered (null) is NoAnswer. Each part counts towards the limits as a call of its own.
        """
        found: list[Answer | GraphError] = []
        for start in range(0, len(parts), MAX_BATCH):
            some = parts[start : start + MAX_BATCH]
            params = {"batch": [self._written(part) for part in some], "include_headers": True}
            answers = await self.post("", token, list[PartAnswer | None], params=params, account=account)
            if len(answers) != len(some):
                raise NoAnswer("unreadable")
            found += [self._part(part, token, each) for part, each in zip(some, answers, strict=True)]
        return found

    def _written(self, part: Part) -> dict[str, str]:
        body = urlencode(form(part.params))
        where = f"{self.version}/{part.path}"
        if part.method == "POST":
            return {"method": "POST", "relative_url": where, "body": body}
        return {"method": part.method, "relative_url": f"{where}?{body}" if body else where}

    def _part(self, part: Part, token: Token, answer: PartAnswer | None) -> Answer | GraphError:
        if answer is None:
            return NoAnswer("part_unanswered")
        account = bare_account(part.path.partition("/")[0]) if part.path.startswith("act_") else None
        headers = {each["name"].lower(): each["value"] for each in answer.headers if each.get("name")}
        try:
            call = _Call(part.method, part.path, token, part.params, account)
            return self._judged(call, answer.code, headers, answer.body.encode())
        except GraphError as error:
            return error

    def _following(self, link: str) -> dict[str, str]:
        """What the next page's address asks for beyond the caller's own parameters; never the token it repeats."""
        parts, own = urlsplit(link), urlsplit(self.base_url)
        if (parts.scheme, parts.netloc) != (own.scheme, own.netloc):
            raise BadRequest("foreign_next")
        return {
            name: value
            for name, value in parse_qsl(parts.query)
            if name not in ("access_token", "appsecret_proof")
        }

    async def _await_turn(self, call: _Call) -> None:
        now = asyncio.get_running_loop().time()
        waits = {key: self._resume_at[key] - now for key in call.keys if self._resume_at.get(key, 0.0) > now}
        if not waits:
            return
        key, wait_s = max(waits.items(), key=lambda each: each[1])
        if wait_s > self._patience_s:
            raise Throttled("app" if key.startswith(APP) else "account", wait_s, "limit_nearly_used")
        await asyncio.sleep(wait_s)

    async def _once(self, call: _Call) -> Answer:
        proof = {"appsecret_proof": call.token.proof} if call.token and call.token.proof else {}
        fields = form({**call.params, **proof})
        url = f"{self.base_url}/{self.version}/{call.path}"
        headers = {"Authorization": f"Bearer {call.token.value}"} if call.token else {}
        where: dict[str, Any] = {"data": fields} if call.method == "POST" else {"params": fields}
        if call.body is not None:
            where = {"data": call.body, "params": fields}
            headers["Content-Type"] = "application/json"
        try:
            async with self._session().request(
                call.method, url, headers=headers, allow_redirects=False, **where
            ) as response:
                body = await read_body(response)
                return self._judged(call, response.status, response.headers, body)
        except aiohttp.ClientConnectorError:
            raise self._counted(Unreachable("unreachable")) from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError):  # their texts hold the URL
            raise self._counted(NoAnswer("no_answer")) from None

    def _judged(self, call: _Call, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer, or the error that it is; and what the headers say about limits, kept for later calls."""
        loads = read_usage(headers, call.account, insights=call.insights)
        self._remember(call, loads)
        try:
            decoded = msgspec.json.decode(body) if status != 200 or b'"error"' in body else None
        except (msgspec.DecodeError, RecursionError):
            decoded = None
        refusal = read_refusal(decoded, status)
        if refusal is not None:
            error = classify(refusal, max((load.wait_s for load in loads), default=0.0))
            if isinstance(error, Throttled):
                self._rest(call.keys[0 if error.scope == "app" else 1], error.retry_after_s)
            raise self._counted(error)
        if status != 200:
            raise self._counted(NoAnswer("meta_trouble"))
        GRAPH_CALLS.labels("ok").inc()
        return Answer(status, body, headers.get("x-fb-trace-id"))

    def _remember(self, call: _Call, loads: Sequence[Load]) -> None:
        for load in loads:
            key = call.keys[0] if load.key == APP else load.key
            self._rest(key, load.pause_s or load.gap_s)

    def _rest(self, key: str, seconds: float) -> None:
        if seconds > 0:
            until = asyncio.get_running_loop().time() + seconds
            self._resume_at[key] = max(self._resume_at.get(key, 0.0), until)

    def _counted(self, error: GraphError) -> GraphError:
        GRAPH_CALLS.labels(type(error).__name__).inc()
        return error

    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                headers={"User-Agent": "WhaTrack", "Accept": "application/json"},
            )
        return self._opened
