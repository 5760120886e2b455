"""Plays a sandbox's months into the product as its users would: Meta's signed webhooks, then each move and refund by the API.

A person's messages and what is done with them keep their order, everybody else's are mixed: what must wait for a move leaves in a
later round. Idempotent as the product is: a line or an act is played once.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import aiohttp

from whatrack.inbox import intake
from whatrack.sandbox.cases import Act, Case
from whatrack.sandbox.letters import Said, deliveries
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.sender import signature

TICKETS = "/api/v1/tickets"
AT_ONCE = 6
PAGE = 200
WITHIN_S = 120.0
STAGES = {"qualified": "qualified", "won": "won", "lost": "lost"}

Key = tuple[str, str, int]  # the person, the number, when the conversation opened
Progress = Callable[[str, int, int], None]  # what, done, of how many


class NotPlayed(Exception):
    """The product answered something else than it should."""


class Round:
    """What can be played together: all messages, then all acts."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self.acts: list[tuple[Case, Act]] = []


class Player:
    """Plays what is due, whenever it is called.

    key: an API key that may move tickets. salespeople: who has them, in turn, from the first move on; none: nobody.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        session: aiohttp.ClientSession,
        key: str,
        progress: Progress = lambda what, done, whole: None,
        salespeople: Sequence[UUID] = (),
    ) -> None:
        self._sandbox, self._session, self._progress = sandbox, session, progress
        self._headers = {"Authorization": f"Bearer {key}"}
        self._salespeople = salespeople
        self._played: set[tuple[int, int, str]] = set()  # case, moment, what
        self._tickets: dict[Key, str] = {}
        self._closed: set[int] = set()  # cases of which nothing more will come
        self.refused: list[str] = []

    def quiet(self) -> None:
        """Say no more how far it is."""
        self._progress = lambda what, done, whole: None

    def skip(self, cases: Iterable[Case]) -> None:
        """Leave these to whoever plays them."""
        self._closed |= {case.serial for case in cases}

    async def catch_up(self, *, strict: bool = True) -> int:
        """Play everything that has happened until now; how much that was.

        strict: a refusal raises NotPlayed; else it is kept in `refused`, for somebody may have moved the ticket by hand.
        """
        count = 0
        for each in rounds(self._due()):
            await self._send(each.said)
            await self._do(each.acts, strict=strict)
            count += len(each.said) + len(each.acts)
        self._sandbox.months.let_pass()
        return count

    def _due(self) -> list[tuple[Case, Said | Act]]:
        now = self._sandbox.clock()
        found: list[tuple[Case, Said | Act]] = []
        for case in self._sandbox.months.cases:
            if case.serial in self._closed:
                continue
            steps: list[Said | Act] = [*(Said(case, line) for line in case.lines), *case.acts]
            due = [
                each
                for each in steps
                if _at(each) <= now and (case.serial, _at(each), _what(each)) not in self._played
            ]
            self._played |= {(case.serial, _at(each), _what(each)) for each in due}
            if all(_at(each) <= now for each in steps):
                self._closed.add(case.serial)
            found += [(case, each) for each in due]
        return sorted(found, key=lambda each: (_at(each[1]), each[0].serial))

    async def _send(self, said: list[Said]) -> None:
        """Post the messages, signed, and wait until all are in their tickets."""
        secret = self._sandbox.cast.whatsapp_app.secret
        bodies = deliveries(self._sandbox.world, said)
        for place, (_, body) in enumerate(
            bodies, 1
        ):  # one after the other: a person's first words come first
            headers = {"X-Hub-Signature-256": signature(secret, body), "Content-Type": "application/json"}
            async with self._session.post(intake.PATH, data=body, headers=headers) as answer:
                answer.raise_for_status()
            self._progress("deliveries", place, len(bodies))
        if bodies:
            await self._drained()

    async def _drained(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            while True:
                async with self._session.get("/readyz") as answer:
                    if (await answer.json()).get("drain_lag_seconds") == 0:
                        return
                await asyncio.sleep(0.1)

    async def _do(self, acts: list[tuple[Case, Act]], *, strict: bool) -> None:
        """What the salesperson does: each ticket's acts in their order, several tickets at a time."""
        if not acts:
            return
        await self._learn_tickets({case.serial: case for case, _ in acts}.values())
        by_case: dict[int, list[tuple[Case, Act]]] = {}
        for case, act in acts:
            by_case.setdefault(case.serial, []).append((case, act))
        gate = asyncio.Semaphore(AT_ONCE)
        done = 0

        async def one_ticket(steps: list[tuple[Case, Act]]) -> None:
            nonlocal done
            async with gate:
                for case, act in steps:
                    await self._act(case, act, strict=strict)
                    done += 1
                    self._progress("moves", done, len(acts))

        await asyncio.gather(*(one_ticket(steps) for steps in by_case.values()))

    async def _act(self, case: Case, act: Act, *, strict: bool) -> None:
        refusal = await self._refusal(case, act)
        if refusal is not None:
            told = f"{act.what} {case.name}: {refusal}"
            if strict:
                raise NotPlayed(told)
            self.refused.append(told)

    async def _refusal(self, case: Case, act: Act) -> str | None:
        """Do it; None when it was taken."""
        ticket_id = self._tickets.get(key_of(case))
        if ticket_id is None:
            return f"the conversation of {_iso(case.opened_at)} has no ticket"
        if act.what == "refunded":
            return await self._call("POST", f"{TICKETS}/{ticket_id}/refunds", refund(act))
        return await self._call("PATCH", f"{TICKETS}/{ticket_id}", move(case, act) | self._owner(case))

    def _owner(self, case: Case) -> dict[str, str]:
        """Whose ticket it is: some stay nobody's, and the first named sells most."""
        turns = (*self._salespeople[:1], *self._salespeople, None)
        chosen = turns[case.serial % len(turns)]
        return {"owner": str(chosen)} if chosen else {}

    async def _call(self, method: str, path: str, body: dict[str, Any]) -> str | None:
        """None when it was taken, else what the product said."""
        async with self._session.request(method, path, json=body, headers=self._headers) as answer:
            return None if answer.status < 300 else f"{answer.status} {await answer.text()}"

    async def _learn_tickets(self, cases: Iterable[Case]) -> None:
        """Look up the tickets of these cases, once each."""
        unknown = [case for case in cases if key_of(case) not in self._tickets]
        if not unknown:
            return
        since = datetime.fromtimestamp(min(case.opened_at for case in unknown), UTC).isoformat()
        cursor: str | None = None
        while True:
            params = {"limit": str(PAGE), "since": since, **({"cursor": cursor} if cursor else {})}
            async with self._session.get(TICKETS, params=params, headers=self._headers) as answer:
                answer.raise_for_status()
                page = await answer.json()
            for ticket in page["data"]:
                opened_at = int(datetime.fromisoformat(ticket["opened_at"]).timestamp())
                person = same_person(ticket["contact"]["wa_id"] or "")
                self._tickets[person, ticket["phone_number_id"], opened_at] = ticket["id"]
            cursor = page["next"]
            if cursor is None:
                return


def rounds(due: Iterable[tuple[Case, Said | Act]]) -> list[Round]:
    """What is due, in rounds: somebody's message after a move of theirs belongs to the next one."""
    found: list[Round] = []
    place: dict[
        tuple[str, str], tuple[int, bool]
    ] = {}  # person and number → round, and whether they were moved in it
    for case, each in due:
        person = (case.wa_id, case.number_id)
        at, moved = place.get(person, (0, False))
        if isinstance(each, Said) and moved:
            at, moved = at + 1, False
        while len(found) <= at:
            found.append(Round())
        if isinstance(each, Said):
            found[at].said.append(each)
        else:
            found[at].acts.append((case, each))
        place[person] = (at, moved or not isinstance(each, Said))
    return found


def move(case: Case, act: Act) -> dict[str, Any]:
    """The body that moves a ticket; a sale with its value."""
    found: dict[str, Any] = {"stage": STAGES[act.what], "happened_at": _iso(act.at)}
    if act.what == "won":
        found |= {"deal_value": money(act.minor), "currency": case.currency, "won_at": _iso(act.at)}
    if act.what == "lost":
        found["lost_reason"] = act.reason
    return found


def refund(act: Act) -> dict[str, Any]:
    """The body that gives money back."""
    return {"amount": money(act.minor), "reason": act.reason, "refunded_at": _iso(act.at)}


def money(minor: int) -> str:
    """Minor units as the API takes money; both currencies here have cents."""
    return str(Decimal(minor).scaleb(-2).quantize(Decimal("0.01")))


def key_of(case: Case) -> Key:
    """What a case and its ticket have in common."""
    return same_person(case.wa_id), case.number_id, case.opened_at


def same_person(wa_id: str) -> str:
    """A phone without the ninth digit that Brazilian mobiles are written with or without."""
    return wa_id[:4] + wa_id[5:] if wa_id.startswith("55") and len(wa_id) == 13 else wa_id


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _at(step: Said | Act) -> int:
    return step.line.at if isinstance(step, Said) else step.at


def _what(step: Said | Act) -> str:
    return step.line.text if isinstance(step, Said) else step.what
