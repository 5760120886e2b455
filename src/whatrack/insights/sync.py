"""Fetching what is due, account by account: lease in one transaction, read from Meta outside any, write whole days in another.

Any number of processes share the accounts. A process that dies leaves a lease that runs out; the days it wrote are whole, the
others still due. Zero rows are a day of zero only after a whole answer; an error is an error, with its reason, on the account and
on every day that is due.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from psycopg import Error
from psycopg_pool import PoolTimeout

from whatrack.connections import tokens
from whatrack.connections.keys import Held, Keys
from whatrack.db import Connection, Database
from whatrack.enrichment import catalog
from whatrack.enrichment.catalog import CatalogAd
from whatrack.insights import days, facts, schedule
from whatrack.insights.days import Range
from whatrack.insights.facts import Account, DayState, Fact, FetchedDay
from whatrack.insights.fetch import LOOKS_S, SYNC_ROWS, Answer, NobodySees, ReportWaits, Source, TooMuch
from whatrack.insights.schedule import Claim, LeaseLost, Miss
from whatrack.meta import insights
from whatrack.meta.errors import (
    GraphError,
    MissingPermission,
    NoAnswer,
    NotVisible,
    Throttled,
    TokenDead,
    Transient,
)
from whatrack.meta.graph import Graph
from whatrack.meta.insights import Row
from whatrack.observe import INSIGHT_DAYS, logger
from whatrack.units import to_minor

LEASE = timedelta(minutes=3)
MOST_ROWS = 20_000  # in one report and one transaction
WRITERS = 2  # answers taken apart and written at a time: more would only cost memory
REPORT_LASTS = timedelta(hours=1)
ZONE_AGAIN = timedelta(hours=6)  # the list of accounts is read anew by then
Scope = Callable[[], AbstractAsyncContextManager[Connection]]

log = logger(__name__)


class ZoneUnknown(Exception):
    """The account's time zone is none that this machine knows."""


class CurrencyDiffers(Exception):
    """The answer's money is in another currency than the account is known to have."""


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
        keeping = asyncio.create_task(self._keep(mine))
        try:
            zone = _zone(mine.account)
            await _Visit(self._db, mine, zone, self._depth, self._source, self._writers).run()
        except LeaseLost:
            log.warning("insights_lease_lost", account=str(mine.account.id))
        except ZoneUnknown:
            async with self._db.tenant(mine.account.organization_id) as conn:
                await schedule.missed(
                    conn, mine, Miss("refused", f"time zone {mine.account.zone}", ZONE_AGAIN)
                )
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
        return True

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

    async def _keep(self, mine: Claim) -> None:
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

    @property
    def _now(self) -> datetime:
        """The database's clock at the claim, and what has passed since: never ahead of it."""
        return self._mine.at + timedelta(seconds=time.monotonic() - self._began)

    async def run(self) -> None:
        """Fetch what is due, the newest first, until all came or something is in the way."""
        async with self._db.tenant(self._account.organization_id) as conn:
            known = await self._open(conn)
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
            except TooMuch as error:
                if len(part) == 1:
                    return self._miss(error)
                parts[:0] = part.halves()
                continue
            except (GraphError, NobodySees, ReportWaits, CurrencyDiffers) as error:
                return self._miss(error)
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
        """Take over a range that came whole; how many rows its largest day has."""
        read = await asyncio.to_thread(_understood, part, answer.rows, self._account)
        fetched = [
            msgspec.structs.replace(each, due_at=days.next_due(each.day, self._zone, at))
            for each in read.days
        ]
        async with self._db.tenant(self._account.organization_id) as conn:
            await schedule.hold(conn, self._mine)
            await catalog.seen(conn, self._account.organization_id, read.ads)
            changed = await facts.replace_days(conn, self._account, fetched, at, answer.connection_id)
        INSIGHT_DAYS.labels("changed").inc(len(changed))
        INSIGHT_DAYS.labels("unchanged").inc(len(fetched) - len(changed))
        return max(len(each.facts) for each in fetched)

    async def _settle(self, conn: Connection, miss: Miss | None) -> None:
        if miss is None:
            today = days.local_day(self._mine.at, self._zone)
            await schedule.done(conn, self._mine, days.start_of(today + days.ONE_DAY, self._zone))
            return
        await schedule.missed(conn, self._mine, miss)
        await facts.missed(conn, self._account, miss.reason)
        INSIGHT_DAYS.labels(miss.reason).inc()

    def _miss(self, error: Exception) -> Miss:
        reason = reason_of(error)
        message = error.message[:500] or None if isinstance(error, GraphError) else None
        pause = schedule.pause_after(reason, self._mine.attempts)
        if isinstance(error, Transient):
            pause = max(pause, timedelta(seconds=error.retry_after_s))
        if isinstance(error, Throttled):
            pause = timedelta(seconds=error.retry_after_s)
        return Miss(reason, message, pause, error.report if isinstance(error, ReportWaits) else None)


def _zone(account: Account) -> ZoneInfo:
    try:
        return ZoneInfo(account.zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ZoneUnknown from None


def reason_of(error: Exception) -> str:
    """Why a range could not be fetched, in the words that the tables know."""
    match error:
        case Throttled():
            return "throttled"
        case Transient():
            return "transient"
        case TokenDead():
            return "token_dead"
        case NotVisible():
            return "no_access"
        case MissingPermission():
            return "permission_missing"
        case NobodySees():
            return "no_profile"
        case ReportWaits():
            return "report_waits"
        case CurrencyDiffers():
            return "currency_differs"
        case TooMuch(reason=reason):
            return reason
        case _:
            return "refused"


class Understood(msgspec.Struct, frozen=True):
    """An answer, read: every day of its range, and every ad it names."""

    days: list[FetchedDay]
    ads: list[CatalogAd]


def _understood(part: Range, raws: Sequence[msgspec.Raw], account: Account) -> Understood:
    """Rows by day; a day without rows is a day of zero. Runs in a thread: large answers take a while."""
    of_day: dict[date, dict[str, tuple[Row, bytes]]] = {day: {} for day in part.days}
    newest: dict[str, Row] = {}
    for raw in raws:
        row = insights.parse(raw)
        if row.date_start not in of_day:
            raise NoAnswer("unreadable")
        if row.account_currency != account.currency:
            raise CurrencyDiffers
        of_day[row.date_start][row.ad_id] = (row, bytes(raw))
        named = newest.get(row.ad_id)
        if named is None or named.date_start < row.date_start:
            newest[row.ad_id] = row
    found = [_day(day, rows, account.currency) for day, rows in of_day.items()]
    return Understood(found, [_as_catalogued(row, account) for _, row in sorted(newest.items())])


def _day(day: date, rows: dict[str, tuple[Row, bytes]], currency: str) -> FetchedDay:
    ordered = [rows[ad_id] for ad_id in sorted(rows)]
    answer = b"[" + b",".join(raw for _, raw in ordered) + b"]"
    return FetchedDay(
        day,
        None,
        [_fact(row, currency) for row, _ in ordered],
        answer.decode(),
        hashlib.sha256(answer).digest(),
    )


def _fact(row: Row, currency: str) -> Fact:
    try:
        spend = to_minor(row.spend, currency)
        value = to_minor(insights.first_of(row.action_values, insights.PURCHASES), currency)
    except ValueError:
        raise NoAnswer("unreadable") from None
    return Fact(
        row.ad_id,
        spend,
        row.impressions,
        row.reach,
        row.clicks,
        row.inline_link_clicks,
        row.count(insights.CONVERSATIONS),
        row.count(insights.LEADS),
        row.count(insights.PURCHASES),
        value,
    )


def _as_catalogued(row: Row, account: Account) -> CatalogAd:
    return CatalogAd(
        id=row.ad_id,
        name=row.ad_name,
        status=None,
        ad_set_id=row.adset_id,
        ad_set_name=row.adset_name,
        campaign_id=row.campaign_id,
        campaign_name=row.campaign_name,
        account_id=account.number,
    )


def _size(known: Sequence[DayState]) -> int | None:
    """How many rows a day of this account may have, from the last week that was fetched."""
    return days.rows_a_day([each.rows for each in known if each.fetched_at][-7:])
