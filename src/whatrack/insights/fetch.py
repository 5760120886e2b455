"""Reading an account's days from Meta: at once or as a report, with whichever token works, asking for less where it is too much.

No database transaction is open meanwhile. What comes back is complete, or it does not come back.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

import msgspec

from whatrack.connections import tokens
from whatrack.connections.keys import Held, Keys
from whatrack.db import Database
from whatrack.insights.days import Range
from whatrack.insights.facts import Account
from whatrack.insights.schedule import ParkedReport
from whatrack.meta import insights
from whatrack.meta.calls import Token
from whatrack.meta.errors import BadRequest, GraphError, MissingPermission, NotVisible, TokenDead
from whatrack.meta.graph import Graph
from whatrack.meta.insights import Ask

SYNC_ROWS = 4000  # more are ordered as a report
# Seconds between two looks at a report; then it is left until the account's turn comes again.
LOOKS_S = (0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 5.0, 5.0, 5.0, 5.0)


class TooMuch(Exception):
    """It has to be asked for in smaller parts. reason: too_much_data, or report_failed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ReportWaits(Exception):
    """Meta is still making the report."""

    def __init__(self, report: ParkedReport) -> None:
        super().__init__("report_waits")
        self.report = report


class NobodySees(Exception):
    """No working profile sees the account; whether any does, whose token is dead, the caller looks up."""


class Answer(msgspec.Struct, frozen=True):
    """Every row of a range, as Meta gave it, and whose token read it."""

    rows: list[msgspec.Raw]
    connection_id: UUID


class Source:
    """One account as its profiles see it. A token that turns out not to work is not tried again here.

    known: ads to divide by, where a single day is too much. parked: a report ordered earlier, asked about first.
    sync_rows: when more are expected, a report is ordered.
    """

    def __init__(
        self,
        db: Database,
        graph: Graph,
        keys: Keys,
        account: Account,
        holders: Sequence[Held],
        known: Sequence[str],
        *,
        parked: ParkedReport | None = None,
        looks_s: Sequence[float] = LOOKS_S,
        sync_rows: int = SYNC_ROWS,
    ) -> None:
        self._db = db
        self._graph = graph
        self._keys = keys
        self._account = account
        self._holders = list(holders)
        self._known = known
        self._parked = parked
        self._looks_s = looks_s
        self._sync_rows = sync_rows
        self._refusal: GraphError | None = None

    async def read(self, part: Range, expected: int | None, at: datetime) -> Answer:
        """Every row of these days. expected: how many there may be; at: now.

        Raises GraphError of the last token tried, NobodySees, ReportWaits, and TooMuch when it can be divided by days.
        """
        ask = Ask(self._account.number, part.since, part.until)
        while self._holders:
            held = self._holders[0]
            try:
                call = partial(self._with, held, ask, expected, at)
                rows = await tokens.with_any(self._db, self._keys, [held], call)
            except (TokenDead, MissingPermission, NotVisible) as error:
                self._refusal = error
                self._holders.pop(0)
                continue
            return Answer(rows, UUID(held.owner_id))
        raise self._refusal or NobodySees

    async def _with(
        self, held: Held, ask: Ask, expected: int | None, at: datetime, token: Token
    ) -> list[msgspec.Raw]:
        try:
            parked = self._parked
            if parked and (parked.since, parked.until) == (ask.since, ask.until):
                self._parked = None  # if it comes to nothing, it is ordered anew
                if parked.connection_id == UUID(held.owner_id):
                    return await self._awaited(token, parked)
            if expected is not None and expected > self._sync_rows:
                return await self._reported(token, held, ask, at)
            return await insights.read(self._graph, token, ask)
        except (BadRequest, TooMuch) as error:
            if error.reason not in ("too_much_data", "report_failed"):
                raise
            if ask.since != ask.until:
                raise TooMuch(error.reason) from None
            return await self._by_ads(token, ask, error.reason)

    async def _reported(self, token: Token, held: Held, ask: Ask, at: datetime) -> list[msgspec.Raw]:
        report_id = await insights.order(self._graph, token, ask)
        parked = ParkedReport(report_id, ask.since, ask.until, UUID(held.owner_id), at)
        return await self._awaited(token, parked)

    async def _awaited(self, token: Token, report: ParkedReport) -> list[msgspec.Raw]:
        for pause in self._looks_s:
            found = await insights.look(self._graph, token, self._account.number, report.id)
            if found.is_ready:
                return await insights.result(self._graph, token, self._account.number, report.id)
            if found.has_failed:
                raise TooMuch("report_failed")
            await asyncio.sleep(pause)
        raise ReportWaits(report)

    async def _by_ads(self, token: Token, ask: Ask, reason: str) -> list[msgspec.Raw]:
        """A single day, in parts that have every ad in exactly one of them."""
        parts = ask.narrower(self._known)
        if parts is None:
            raise TooMuch(reason)
        rows: list[msgspec.Raw] = []
        for part in parts:
            try:
                rows += await insights.read(self._graph, token, part)
            except BadRequest as error:
                if error.reason != "too_much_data":
                    raise
                rows += await self._by_ads(token, part, error.reason)
        return rows
