"""A sandbox with hundreds of ad accounts, quick enough that whoever reads it is what is measured, not the sandbox.

It holds one account of 500 ads. Each answer about it is the sandbox's own, made once for each question, kept as text, and given
for every other account with the ids renamed. Paging, reports, refusals and usage headers are the sandbox's.
"""

import json
import re
import socket
import threading
from dataclasses import replace
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from typing import Any

import msgspec
import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from whatrack.sandbox.calls import read_call
from whatrack.sandbox.figures import NOTHING, figures_of
from whatrack.sandbox.graph import Answer, Call
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.state import AD, AD_SET, CAMPAIGN, AdAccount, AdObject

ADS, DAYS = 500, 28
MARK = "70707707"  # stands in every id of the one account; another account has its number there
ZONE, CURRENCY = "America/Sao_Paulo", "BRL"
_ACCOUNT = re.compile(r"act_2(\d{8})000000")
_RUN = re.compile(r"(6\d{15})(\d{8})")


class AdsMeta(msgspec.Struct, frozen=True):
    """Where it is and whose token it takes. rows and spend: what the days of one account hold, spend in minor units."""

    url: str
    token: str
    since: str
    until: str
    rows: int
    spend: int


def account_number(place: int) -> str:
    """The digits of an account, by its place."""
    return f"2{place:08d}000000"


class _Endpoint:
    """Answers every call, and counts them."""

    def __init__(self, sandbox: Sandbox, accounts: int) -> None:
        self._sandbox = sandbox
        self._accounts = accounts
        self._known: dict[tuple[Any, ...], tuple[int, dict[str, str], bytes]] = {}
        self.calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        call = await read_call(request)
        self.calls += 1
        number, inner = self._inner(call)
        status, headers, body = self._answer(inner)
        if call.path == ("me", "adaccounts"):
            body = self._list(body)
        text = body.replace(MARK.encode(), number.encode()).replace(b"@TOKEN@", (call.token or "").encode())
        own = {name: value.replace(MARK, number) for name, value in headers.items()}
        await Response(text, status, own, "application/json; charset=UTF-8")(scope, receive, send)

    def _inner(self, call: Call) -> tuple[str, Call]:
        """(the account's number, the same question about the one account)."""
        first = call.path[0] if call.path else ""
        if found := _ACCOUNT.fullmatch(first):
            return found[1], replace(call, path=(f"act_{account_number(int(MARK))}", *call.path[1:]))
        if found := _RUN.fullmatch(first):
            return found[2], replace(call, path=(found[1], *call.path[1:]))
        return MARK, call

    def _answer(self, call: Call) -> tuple[int, dict[str, str], bytes]:
        asked = {
            name: each
            for name, each in call.params.items()
            if name not in ("access_token", "appsecret_proof")
        }
        key = (call.method, call.path, tuple(sorted(asked.items())))
        if key not in self._known:
            found: Answer = self._sandbox.graph.answer(call)
            text = json.dumps(found.body, ensure_ascii=False, separators=(",", ":"))
            text = text.replace(call.token or "@TOKEN@", "@TOKEN@")
            if (isinstance(found.body, dict) and "report_run_id" in found.body) or _is_run(call):
                text = re.sub(r"\b6\d{15}\b", lambda run: run[0] + MARK, text)
            self._known[key] = found.status, found.headers, text.encode()
        return self._known[key]

    def _list(self, body: bytes) -> bytes:
        page = json.loads(body)
        whole = json.dumps(page["data"][0])
        page["data"] = [json.loads(whole.replace(MARK, f"{place:08d}")) for place in range(self._accounts)]
        return json.dumps(page).encode()


def _is_run(call: Call) -> bool:
    return bool(call.path and re.fullmatch(r"6\d{15}", call.path[0]))


def _sandbox() -> Sandbox:
    """One account: 10 campaigns of 5 ad sets of 10 ads."""
    sandbox = Sandbox(seed=1)
    world, now = sandbox.world, sandbox.clock()
    account = world.add(
        AdAccount(account_number(int(MARK)), "Conta", CURRENCY, ZONE, sandbox.cast.clinic.id, now)
    )
    first = sandbox.clock.today(ZONE) - timedelta(days=90)

    def add(kind: str, place: int, parent: str, details: dict[str, Any]) -> str:
        prefix = {CAMPAIGN: "1200", AD_SET: "1201", AD: "1202"}[kind]
        node = AdObject(
            kind, f"{prefix}{MARK}{place:06d}", f"{kind} {place} · mensagens", account.id, parent, "ACTIVE", now, now, first, None, details
        )  # fmt: skip
        return world.add(node).id

    about = {"objective": "OUTCOME_ENGAGEMENT", "buying_type": "AUCTION", "special_ad_categories": []}
    creative = sandbox.ads()[0].details
    campaign = ad_set = ""
    for place in range(ADS):
        if place % 50 == 0:
            campaign = add(CAMPAIGN, place, account.id, about)
        if place % 10 == 0:
            ad_set = add(AD_SET, place, campaign, {"daily_budget": "1000", "targeting": {}})
        add(AD, place, ad_set, dict(creative))
    sandbox.cast.thiago.account_ids = [account.id]
    return sandbox


def _serve(pipe: Pipe, accounts: int) -> None:
    """Until the pipe says None, tell the number of calls so far whenever it says something."""
    sandbox = _sandbox()
    account, today = sandbox.account, sandbox.clock.today(ZONE)
    figures = [
        figures_of(sandbox.world, ad, today - timedelta(days=back))
        for ad in sandbox.world.below(account.id, AD)
        for back in range(1, DAYS)  # today's grow while one looks
    ]
    endpoint = _Endpoint(sandbox, accounts)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(endpoint, lifespan="off", log_config=None, access_log=False, server_header=False)
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    pipe.send(
        AdsMeta(
            url,
            sandbox.token.value,
            str(today - timedelta(days=DAYS - 1)),
            str(today),
            sum(each != NOTHING for each in figures),
            sum(each.spend for each in figures),
        )
    )
    while pipe.recv() is not None:
        pipe.send(endpoint.calls)
    server.should_exit = True


class Served:
    """The sandbox in a process of its own, for as long as the block."""

    def __init__(self, accounts: int) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, accounts))

    def __enter__(self) -> "Served":
        self._process.start()
        self.meta: AdsMeta = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._process.join(10)

    def calls(self) -> int:
        """How many calls there were so far."""
        self._pipe.send("calls")
        found: int = self._pipe.recv()
        return found
