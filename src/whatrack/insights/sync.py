"""Fetching what is due, account by account: lease in one transaction, read from Meta outside any, write complete days in another.

Any number of processes share the accounts. A process that dies leaves a lease that runs out; the days it wrote are complete,
the others still due. Zero rows are a day of zero only after a complete answer; an error is an error, with its reason, on the account and
on every day that is due.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from psycopg import DataError, Error, IntegrityError
from psycopg.errors import ProgramLimitExceeded
from psycopg_pool import PoolTimeout

from whatrack.connections import tokens
from whatrack.connections.keys import Held, Keys
from whatrack.db import Connection, Database
from whatrack.enrichment import catalog
from whatrack.insights import days, facts, reasons, schedule
from whatrack.insights.answers import Understood, Unplaced, understood
from whatrack.insights.days import Range
from whatrack.insights.facts import Account, DayState, SpoiltDay
from whatrack.insights.fetch import LOOKS_S, SYNC_ROWS, Answer, NobodySees, ReportWaits, Source, TooMuch
from whatrack.insights.schedule import Claim, LeaseLost, Miss
from whatrack.meta.errors import GraphError
from whatrack.meta.graph import Graph
from whatrack.observe import INSIGHT_DAYS, logger

LEASE = timedelta(minutes=3)
MOST_ROWS = 20_000  # in one report and one transaction
WRITERS = 2  # answers taken apart and written at a time: more would only cost memory
REPORT_LASTS = timedelta(hours=1)
ZONE_AGAIN = timedelta(hours=6)  # the list of accounts is read anew by then
Scope = Callable[[], AbstractAsyncContextManager[Connection]]

log = logger(__name__)


class ZoneUnknown(Exception):
    """The account's time zone is none that this machine knows."""


class Syncer:
    """Fetches one account a step; several steps may run at once. scope: opens a transaction over all organizations.

    depth: how many days back to go when an account is turned on.
    """

    def __init__(
        self,
        db: Database,
        scope: Scope,
        graph: Graph,
        keys: Keys,
        *,
        depth: int,
        lease: timedelta = LEASE,
        looks_s: Sequence[float] = LOOKS_S,
        sync_rows: int = SYNC_ROWS,
    ) -> None:
        self._db = db
        self._scope = scope
        self._graph = graph
        self._keys = keys
        self._depth = depth
        self._lease = lease
        self._looks_s = looks_s
        self._sync_rows = sync_rows
        self._writers = asyncio.Semaphore(WRITERS)

    async def step(self) -> bool:
        """Fetch everything that is due of the account that waits longest; whether there was one."""
        async with self._scope() as conn:
            mine = await schedule.claim(conn, self._lease)
        if mine is None:
            return False
        renewing = asyncio.create_task(self._renew(mine))
        try:
            zone = _zone(mine.account)
            await _Visit(self._db, mine, zone, self._depth, self._source, self._writers).run()
        except LeaseLost:
            log.warning("insights_lease_lost", account=str(mine.account.id))
        except ZoneUnknown:
            await self._give_up(mine, Miss("refused", f"time zone {mine.account.zone}", ZONE_AGAIN))
        except (
            Exception
        ):  # whatever an answer of Meta's may do: the account says so and gives way to the others
            log.exception("insights_step_failed", account=str(mine.account.id))
            await self._give_up(mine, Miss("internal", None, schedule.pause_after("internal", mine.attempts)))
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing
        return True

    async def _give_up(self, mine: Claim, miss: Miss) -> None:
        """Give the account back with a reason, if it is still ours; what the database does not take is raised, and the lease runs out."""
        with suppress(LeaseLost):
            async with self._db.tenant(mine.account.organization_id) as conn:
                await schedule.missed(conn, mine, miss)
                await facts.missed(conn, mine.account, miss.reason)
        INSIGHT_DAYS.labels(miss.reason).inc()

    def _source(self, mine: Claim, holders: Sequence[Held], known: Sequence[str]) -> Source:
        parked = mine.report if mine.report and mine.at - mine.report.ordered_at < REPORT_LASTS else None
        return Source(
            self._db,
            self._graph,
            self._keys,
            mine.account,
            holders,
            known,
            parked=parked,
            looks_s=self._looks_s,
            sync_rows=self._sync_rows,
        )

    async def _renew(self, mine: Claim) -> None:
        """Renew the lease for as long as the account is being fetched."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            try:
                async with self._db.tenant(mine.account.organization_id) as conn:
                    await schedule.hold(conn, mine)
            except LeaseLost:
                return  # whoever writes next finds out
            except (Error, PoolTimeout) as error:  # the next try may be in time
                log.warning("insights_lease_not_renewed", exc_info=error)


Sources = Callable[[Claim, Sequence[Held], Sequence[str]], Source]


class _Visit:
    """One account under a lease, from its due days to what became of them."""

    def __init__(
        self,
        db: Database,
        mine: Claim,
        zone: ZoneInfo,
        depth: int,
        source: Sources,
        writers: asyncio.Semaphore,
    ) -> None:
        self._db = db
        self._mine = mine
        self._account = mine.account
        self._zone = zone
        self._depth = depth
        self._make_source = source
        self._writers = writers
        self._began = time.monotonic()
        self._states: dict[date, DayState] = {}

    @property
    def _now(self) -> datetime:
        """The database's clock at the claim, and what has passed since: never ahead of it."""
        return self._mine.at + timedelta(seconds=time.monotonic() - self._began)

    async def run(self) -> None:
        """Fetch what is due, the newest first, until all came or something is in the way."""
        async with self._db.tenant(self._account.organization_id) as conn:
            known = await self._open(conn)
            self._states = {each.day: each for each in known}
            holders = await tokens.token_for_account(
                conn, self._account.organization_id, self._account.number
            )
            ads = await catalog.of_account(conn, self._account.organization_id, self._account.number)
        due = [each.day for each in known if each.due_at and each.due_at <= self._mine.at]
        source = self._make_source(self._mine, holders, ads)
        miss = await self._fetch(source, due, _size(known))
        async with self._db.tenant(self._account.organization_id) as conn:
            await self._settle(conn, miss)

    async def _open(self, conn: Connection) -> list[DayState]:
        """The account's days, with those that began since."""
        await schedule.hold(conn, self._mine)
        known = await facts.states(conn, self._account)
        today = days.local_day(self._mine.at, self._zone)
        new = days.to_open({each.day for each in known}, today, self._depth)
        if not new:
            return known
        await facts.open_days(conn, self._account, new, [days.start_of(day, self._zone) for day in new])
        return await facts.states(conn, self._account)

    async def _fetch(self, source: Source, due: Collection[date], size: int | None) -> Miss | None:
        """Read and write range after range. None when all came."""
        asked_too_much = self._mine.reason in schedule.OF_SIZE
        widest = days.most_days_after(self._mine.attempts if asked_too_much else 0)
        waiting = self._waiting()
        due = set(due).difference(*(each.days for each in waiting))
        parts = days.ranges(due, size, most_rows=MOST_ROWS, most_days=widest)
        while parts or waiting:
            part = (parts or waiting).pop(0)
            at = self._now
            try:
                answer = await source.read(part, None if size is None else size * len(part), at)
                async with self._writers:
                    rows = await self._write(part, answer, at)
            except (TooMuch, Unplaced) as error:
                if len(part) > 1:
                    parts[:0] = part.halves()
                elif isinstance(error, TooMuch):
                    return reasons.miss_of(error, self._mine.attempts)
                else:
                    await self._set_aside(SpoiltDay(part.since, error.reason, error.message), at)
                continue
            except (GraphError, NobodySees, ReportWaits) as error:
                return reasons.miss_of(error, self._mine.attempts)
            if size is None or rows > size:
                size = max(rows, 1)
                left = [day for each in parts for day in each.days]
                parts = days.ranges(left, size, most_rows=MOST_ROWS, most_days=widest)
        return None

    def _waiting(self) -> list[Range]:
        """The days of a report that waits, exactly as they were ordered, or halved after too long. They come last."""
        parked = self._mine.report
        if parked is None:
            return []
        whole = Range(parked.since, parked.until)
        too_long = self._mine.at - parked.ordered_at >= REPORT_LASTS
        return [*whole.halves()] if too_long and len(whole) > 1 else [whole]

    async def _write(self, part: Range, answer: Answer, at: datetime) -> int:
        """Take over the days of a range whose rows can be read; how many rows its largest day has. Raises Unplaced."""
        read = await asyncio.to_thread(understood, part, answer.rows, self._account)
        try:
            await self._store(read, answer, at)
        except (DataError, IntegrityError, ProgramLimitExceeded) as error:
            log.exception("insights_not_taken", account=str(self._account.id), since=str(part.since))
            raise Unplaced("internal", None) from error
        return read.most_rows

    async def _store(self, read: Understood, answer: Answer, at: datetime) -> None:
        fetched = [
            msgspec.structs.replace(each, due_at=days.next_due(each.day, self._zone, at))
            for each in read.days
        ]
        async with self._db.tenant(self._account.organization_id) as conn:
            await schedule.hold(conn, self._mine)
            await catalog.seen(conn, self._account.organization_id, read.ads)
            changed = await facts.replace_days(conn, self._account, fetched, at, answer.connection_id)
            await self._spoilt(conn, read.spoilt, at)
        INSIGHT_DAYS.labels("changed").inc(len(changed))
        INSIGHT_DAYS.labels("unchanged").inc(len(fetched) - len(changed))

    async def _set_aside(self, day: SpoiltDay, at: datetime) -> None:
        async with self._db.tenant(self._account.organization_id) as conn:
            await schedule.hold(conn, self._mine)
            await self._spoilt(conn, [day], at)

    async def _spoilt(self, conn: Connection, spoilt: Sequence[SpoiltDay], at: datetime) -> None:
        """Days that could not be taken over wait, longer each time that the reason is the same; the others go on."""
        for each in spoilt:
            state = self._states.get(each.day)
            tries = state.attempts if state and state.reason == each.reason else 0
            pause = schedule.pause_after(each.reason, tries)
            await facts.set_aside(conn, self._account, each, at + pause, tries + 1)
            INSIGHT_DAYS.labels(each.reason).inc()

    async def _settle(self, conn: Connection, miss: Miss | None) -> None:
        if miss is None:
            today = days.local_day(self._mine.at, self._zone)
            await schedule.done(conn, self._mine, days.start_of(today + days.ONE_DAY, self._zone))
            return
        account = self._account
        miss = reasons.of_sights(miss, await tokens.sights(conn, account.organization_id, account.number))
        await schedule.missed(conn, self._mine, miss)
        await facts.missed(conn, self._account, miss.reason)
        INSIGHT_DAYS.labels(miss.reason).inc()


def _zone(account: Account) -> ZoneInfo:
    try:
        return ZoneInfo(account.zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ZoneUnknown from None


def _size(known: Sequence[DayState]) -> int | None:
    """How many rows a day of this account may have, from the last week that was fetched."""
    return days.rows_a_day([each.rows for each in known if each.fetched_at][-7:])
