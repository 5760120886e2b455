"""Sending what is owed: claim in one transaction, send outside any, settle in another; any number of processes share the work.

A worker that dies leaves a lease that runs out; its events are sent again with the same event_id and marked, because Meta may
have them already. A token that may not send there gives way to the next that might, within the same claim.
"""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import msgspec

from whatrack.connections import tokens
from whatrack.connections.keys import Keys
from whatrack.conversions import claim as claims
from whatrack.conversions import settle as settling
from whatrack.conversions.claim import Claim
from whatrack.conversions.settle import Proof
from whatrack.db import Connection
from whatrack.meta import capi
from whatrack.meta.capi import Verdict
from whatrack.meta.errors import GraphError, MissingPermission, NotVisible, TokenDead
from whatrack.meta.graph import Graph
from whatrack.observe import CONVERSIONS, logger

LEASE = timedelta(seconds=90)  # more than the client's longest call
MOST_KEPT = 4000  # characters of an answer
Scope = Callable[[], AbstractAsyncContextManager[Connection]]

log = logger(__name__)


class Dispatcher:
    """Sends one request a step. scope: opens a transaction over all organizations."""

    def __init__(self, scope: Scope, graph: Graph, keys: Keys, *, lease: timedelta = LEASE) -> None:
        self._scope = scope
        self._graph = graph
        self._keys = keys
        self._lease = lease

    async def step(self) -> bool:
        """Send what goes together with the oldest due event; whether more may be due."""
        async with self._scope() as conn:
            taken = await claims.take(conn, self._lease)
        claim = taken.claim
        while claim is not None:
            answer, proof = await self._send(claim)
            verdict = capi.verdict(answer, len(claim.events))
            async with self._scope() as conn:
                claim = await self._settle(conn, claim, answer, verdict, proof)
        return taken.more

    async def _send(self, claim: Claim) -> tuple[capi.Answer | GraphError, Proof]:
        body = capi.body(claim.for_meta, claim.test_event_code)
        began = time.monotonic()
        try:
            token = self._keys.token(claim.holders[0])
            found = await self._graph.call("POST", f"{claim.dataset_id}/events", token, body=body)
            answer = found.read(capi.Answer)
        except GraphError as error:
            return error, _refused(error, _ms(began))
        trace = answer.fbtrace_id or found.trace
        kept = found.body.decode(errors="replace") if len(found.body) <= MOST_KEPT else None
        return answer, Proof(found.status, None, None, trace, kept, _ms(began))

    async def _settle(
        self,
        conn: Connection,
        claim: Claim,
        answer: capi.Answer | GraphError,
        verdict: Verdict,
        proof: Proof,
    ) -> Claim | None:
        """Write down what became of it; the claim again when the next token shall try."""
        outcome = "refused_with_others" if verdict.outcome == "halve" else verdict.outcome
        await settling.end_attempts(conn, claim, outcome, proof)
        CONVERSIONS.labels(outcome).inc(len(claim.events))
        if isinstance(answer, TokenDead | MissingPermission | NotVisible):
            await tokens.report(conn, claim.holders[0], answer)  # so that the owner's page says so
            following = _with_next_token(claim, verdict.outcome)
            if following.holders:
                following = await claims.begin(conn, following, self._lease)
                return following if following.events else None
            verdict = Verdict(_last_word(following.refusals))
        await settling.settle(conn, claim, verdict, proof)
        return None


def _with_next_token(claim: Claim, outcome: str) -> Claim:
    events = [msgspec.structs.replace(event, attempts=event.attempts + 1) for event in claim.events]
    refusals = [*claim.refusals, outcome]
    return msgspec.structs.replace(claim, holders=claim.holders[1:], events=events, refusals=refusals)


def _last_word(refusals: list[str]) -> str:
    """What it means that nobody may send: a dead token or missing permission can be mended, and might have been the right one."""
    for outcome in ("token", "permission"):
        if outcome in refusals:
            return outcome
    return "refused"


def _refused(error: GraphError, ms: int) -> Proof:
    refusal = error.refusal
    code = None
    if refusal.code:
        code = f"{refusal.code}/{refusal.subcode}" if refusal.subcode is not None else str(refusal.code)
    shown = {"error": msgspec.structs.asdict(refusal)} if refusal.code else {"no_answer": error.reason}
    return Proof(
        refusal.status or None,
        code or error.reason,
        error.message or None,
        error.trace,
        msgspec.json.encode(shown).decode(),
        ms,
    )


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
