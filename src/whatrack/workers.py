"""Which loops run on which rows.

drain    delivery_queue, partitions 0-63   message_in: contacts, tickets, attribution
route    delivery_queue, partition -1      numbers the intake did not know; releases the quarantine
expire   tickets                           closes those whose time is over
follow   ticket_marks                      facts of the tickets that changed, for the report
keep     delivery partitions, exceptions   makes days ahead, drops old ones, warns before anything goes
         sessions, links, failures, states forgets those whose time is over
         number_hours                      forgets what is older than a month
         report_letters                    forgets those of more than a year ago
         tokens                            encrypts them anew after a change of keys
check    meta_connections, numbers         asks Meta how tokens are, and renews those in their last days
list     meta_connections                  reads the ad accounts that each profile sees
remind   meta_connections                  tells people by mail that a profile will stop working
send     meta_conversion_events            what Meta is owed, a few requests at a time
sweep    meta_conversion_events            ends what is too old, mends what was skipped, frees duplicates
ads      ticket_tracking, meta_ad_lookups  names of the ads that people came from; "names": anew each day
morning  report_subscriptions              owes yesterday's figures by mail at eight (only with SMTP_HOST)
         report_letters                    which day each of them was about
spend    insight_accounts, insight_days    what ads spent, account by account, six at a time
plan     meta_ad_accounts                  which accounts are fetched: turned on, off, or to be read again
mail     emails                            sends what is owed (only with SMTP_HOST)
watch    queue and exceptions              gauges for /metrics
pictures ad_pictures                       fetches those that are wanted from Meta's hosts
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

from psycopg import OperationalError, ProgrammingError, errors

from whatrack import db as database
from whatrack import flow, flow_connections
from whatrack.attribution import pictures
from whatrack.connections import listing, login, number_login, reminders, upkeep, whatsapp_numbers
from whatrack.connections.keys import Keys
from whatrack.contacts import activity
from whatrack.contacts.messages import Months
from whatrack.conversions import sweeps
from whatrack.conversions.dispatch import Dispatcher
from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.enrichment import catalog
from whatrack.enrichment.ads import Enricher
from whatrack.flow import BatchFailed
from whatrack.inbox import days, exceptions, store
from whatrack.insights import schedule
from whatrack.insights.sync import Syncer
from whatrack.meta.graph import Graph
from whatrack.meta.media import Media, NotFetched
from whatrack.meta.oauth import App
from whatrack.observe import DRAINED, EXCEPTIONS, MESSAGES, PARTITION_DAYS, QUEUE_LAG, QUEUE_ROWS, logger
from whatrack.roi import facts, morning, subscriptions
from whatrack.settings import Settings
from whatrack.tenants import links, post, sessions, throttle
from whatrack.tickets import store as tickets
from whatrack.tickets.store import Overtaken
from whatrack.work import Wakeups, run_loop

DELIVERIES = "deliveries"  # the wake-up the intake sends after a commit
ADS = "ads"  # messages were stored: perhaps an ad to be named
OWED = "owed"  # an ad was settled, or something mended: perhaps something to be sent
SPEND = "spend"  # an ad account was turned on, can be read again, or somebody wants its figures now
BATCH = (
    1000  # twice as many cost a tenth less each than 500; 2000 gained nothing and would hold up others longer
)
CONFLICT_RETRIES = 3
PROGRAM_LIMIT = "54"  # SQLSTATE class: a row too large for an index, JSON nested too deeply for the stack
SWEEP_LIMIT = 1000
SENDERS = 3  # a slow answer of Meta's holds up one of them
NAMERS = 2
FETCHERS = 6  # accounts at a time: a report is mostly waited for
PICTURES = 8
_OVERTAKEN = (errors.UniqueViolation, errors.ForeignKeyViolation)

Loop = tuple[str, Callable[[], Awaitable[bool]], float, asyncio.Event | None]

log = logger(__name__)


class Drain:
    """Drains batches; halves a failing one until the delivery at fault stands alone, and sets that aside.

    stored: called when messages were committed.
    """

    def __init__(self, db: Database, stored: Callable[[], None] = lambda: None) -> None:
        self._db = db
        self._stored = stored
        self._months = Months(db)
        self._limit = BATCH
        self._conflicts = 0

    async def step(self) -> bool:
        """Drain one batch; whether more may wait. Raises what no delivery is to blame for."""
        try:
            done = await flow.message_in(self._db, self._months, self._limit)
        except BatchFailed as failure:
            await self._answer(failure)
            return True
        self._conflicts = 0
        self._limit = min(BATCH, self._limit * 2)
        DRAINED.labels("done").inc(done.rows - done.failed)
        DRAINED.labels("failed").inc(done.failed)
        MESSAGES.inc(done.messages)
        if done.messages:
            self._stored()
        return done.more

    async def _answer(self, failure: BatchFailed) -> None:
        cause = failure.__cause__
        if not isinstance(cause, Exception) or _blames_no_delivery(cause):
            raise failure  # the loop backs off and tries again
        # A person changed a ticket meanwhile: the next try sees it. Fewer at once, or who moves many holds up all.
        if isinstance(cause, Overtaken):
            self._limit = max(1, len(failure.claimed.rows) // 2)
            return
        # Somebody wrote the same key meanwhile, or removed the stage where tickets started: the next try sees it.
        if isinstance(cause, _OVERTAKEN) and self._conflicts < CONFLICT_RETRIES:
            self._conflicts += 1
            return
        self._conflicts = 0
        if len(failure.claimed.rows) > 1:
            self._limit = max(1, len(failure.claimed.rows) // 2)
            return
        log.error("delivery_refused", delivery=failure.claimed.rows[0].id, exc_info=cause)
        await flow.set_aside(self._db, failure.claimed, cause)


def _blames_no_delivery(cause: Exception) -> bool:
    """Whether an error is the database's trouble, or the schema's. A value that passes a limit of PostgreSQL's is neither."""
    passes_a_limit = (getattr(cause, "sqlstate", None) or "").startswith(PROGRAM_LIMIT)
    return isinstance(cause, OperationalError | ProgrammingError) and not passes_a_limit


class PictureFetcher:
    """Fetches the pictures that are due, a few at a time; no transaction is open meanwhile."""

    def __init__(self, db: Database, added_hosts: tuple[str, ...]) -> None:
        self._db = db
        self._added_hosts = added_hosts

    async def step(self) -> bool:
        """Fetch one handful; whether more may wait."""
        async with self._db.system() as conn:
            due = await pictures.claim(conn, PICTURES)
        if not due:
            return False
        async with Media(self._added_hosts) as media:
            await asyncio.gather(*(self._fetch(media, each) for each in due))
        return len(due) == PICTURES

    async def _fetch(self, media: Media, wanted: pictures.Wanted) -> None:
        try:
            found = pictures.Picture(*await media.picture(wanted.url))
        except NotFetched as error:
            async with self._db.tenant(wanted.organization_id) as conn:
                await pictures.give_up(conn, wanted, error.reason, for_good=error.for_good)
            return
        async with self._db.tenant(wanted.organization_id) as conn:
            await pictures.keep(conn, wanted, found)


def open_graph(settings: Settings) -> Graph:
    """The process's one client of the Graph API. Whoever opens it closes it."""
    return Graph(str(settings.meta_graph_url), settings.meta_api_version)


def keys_of(settings: Settings, sealer: Sealer) -> Keys:
    """What opens the tokens at rest, and the app that people log in to, where one is set."""
    app = None
    if settings.meta_app_id and settings.meta_app_secret:
        app = App(
            id=settings.meta_app_id,
            secret=settings.meta_app_secret.get_secret_value(),
            dialog_url=str(settings.meta_dialog_url).rstrip("/"),
            version=settings.meta_api_version,
            scopes=tuple(settings.meta_login_scopes.split(",")),
            config_id=settings.meta_login_config_id,
        )
    others = [secret.get_secret_value() for secret in settings.whatsapp_app_secrets]
    return Keys(sealer, app, others)


class Workers:
    """Every background loop of one process."""

    def __init__(
        self, db: Database, wakeups: Wakeups, settings: Settings, sealer: Sealer, graph: Graph
    ) -> None:
        self._db = db
        self._graph = graph
        self._keys = keys_of(settings, sealer)
        self._sealer = sealer
        self._wakeups = wakeups
        self._settings = settings
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; needs a running event loop."""
        wake = self._wakeups.event(DELIVERIES)
        loops: list[Loop] = [
            ("drain", Drain(self._db, lambda: self._wakeups.poke(ADS)).step, 1.0, wake),
            *self._of_conversions(),
            *self._of_insights(),
            ("route", self._route, 2.0, None),
            ("expire", self._expire, 30.0, None),
            ("follow", self._follow, 1.0, None),
            ("keep", self._keep, 3600.0, None),
            ("watch", self._watch, 5.0, None),
            ("pictures", PictureFetcher(self._db, self._settings.media_hosts).step, 3.0, None),
            ("check", self._check, 5.0, None),
            ("list", self._list, 5.0, None),
        ]
        if self._settings.smtp_host:
            loops.append(("mail", self._mail, 2.0, None))
            loops.append(("remind", self._remind, 600.0, None))
            loops.append(("morning", self._morning, 30.0, None))
        self._tasks = [
            asyncio.create_task(run_loop(name, step, stop=self._stop, idle_s=idle_s, wake=event))
            for name, step, idle_s, event in loops
        ]

    def _of_conversions(self) -> list[Loop]:
        """Naming ads and telling Meta; polling each second is quick enough for both."""
        enricher = Enricher(self._db.system, self._graph, self._keys, sweeps.ads_found)
        owed = self._wakeups.event(OWED)
        senders: list[Loop] = [
            (f"send-{place}", Dispatcher(self._db.system, self._graph, self._keys).step, 1.0, owed)
            for place in range(SENDERS)
        ]
        namers: list[Loop] = [
            (f"ads-{place}", enricher.step, 1.0, self._wakeups.event(ADS)) for place in range(NAMERS)
        ]
        return [
            *senders,
            *namers,
            ("sweep", self._sweep, 10.0, None),
            ("names", enricher.refresh, 600.0, None),
        ]

    def _of_insights(self) -> list[Loop]:
        """Fetching what ads spent."""
        syncer = Syncer(
            self._db, self._db.system, self._graph, self._keys, depth=self._settings.insights_days
        )
        wake = self._wakeups.event(SPEND)
        fetchers: list[Loop] = [(f"spend-{place}", syncer.step, 5.0, wake) for place in range(FETCHERS)]
        return [*fetchers, ("plan", self._plan, 5.0, None)]

    async def _plan(self) -> bool:
        async with self._db.system() as conn:
            found = await schedule.follow_accounts(conn)
        if found:
            self._wakeups.poke(SPEND)
        return False

    async def _sweep(self) -> bool:
        done = 0
        for part in (sweeps.expire, sweeps.free_duplicates, sweeps.mend):
            async with self._db.system() as conn:
                done += await part(conn)
        async with self._db.system() as conn:
            if await catalog.retry_with_new_accounts(conn):
                self._wakeups.poke(ADS)
        if done:
            self._wakeups.poke(OWED)
        return done >= sweeps.LIMIT

    async def stop(self) -> None:
        """Let each loop finish its step, then end."""
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _route(self) -> bool:
        done = await flow.route_in(self._db, BATCH)
        DRAINED.labels("failed").inc(done.failed)
        if done.rows:
            self._wakeups.poke(DELIVERIES)
        return done.more

    async def _expire(self) -> bool:
        async with self._db.system() as conn:
            return await tickets.expire_due(conn, SWEEP_LIMIT) == SWEEP_LIMIT

    async def _follow(self) -> bool:
        began = time.monotonic()
        async with self._db.system() as conn:
            more = await facts.follow(conn)
        if more:  # readers see what is marked as well: this can wait, tickets cannot
            await asyncio.sleep(time.monotonic() - began)
        return more

    async def _keep(self) -> bool:
        PARTITION_DAYS.set(await days.ensure_days(self._db))
        await exceptions.prune(self._db, self._settings.exception_days, self._settings.exception_bytes)
        await days.drop_days(self._db, self._settings.delivery_days)
        async with self._db.installation() as conn:
            await sessions.drop_expired(conn)
            await links.drop_expired(conn)
            await throttle.drop_old(conn)
        async with self._db.system() as conn:
            await activity.drop_old(conn)
            await login.drop_old_states(conn)
            await subscriptions.drop_old(conn)
        await flow_connections.reseal(self._db, self._sealer)
        return False

    async def _check(self) -> bool:
        async with self._db.system() as conn:
            due = await upkeep.claim_check(conn)
            held = None if due else await whatsapp_numbers.claim_check(conn)
            now = await database.now(conn)
        if due:
            found = await login.check(self._graph, self._keys, due.held, due.declined, now)
            async with self._db.tenant(due.held.organization_id) as conn:
                await upkeep.settle(conn, due.held, found)
        if held:
            told = await number_login.check(self._graph, self._keys, held)
            async with self._db.tenant(held.organization_id) as conn:
                if told:
                    await whatsapp_numbers.judge(conn, held, *told)
        return bool(due or held)

    async def _list(self) -> bool:
        async with self._db.system() as conn:
            due = await upkeep.claim_list(conn)
        if due:
            await listing.list_profile(self._db, self._graph, self._keys, due.held)
        return due is not None

    async def _remind(self) -> bool:
        async with self._db.system() as conn:
            for ending in await upkeep.endings(conn):
                await reminders.queue(conn, self._sealer, ending, self._settings.address)
        return False

    async def _morning(self) -> bool:
        async with self._db.system() as conn:
            return await morning.send_due(conn, self._sealer, self._settings.address)

    async def _mail(self) -> bool:
        return await post.send_next(self._db, self._sealer, self._settings)

    async def _watch(self) -> bool:
        async with self._db.installation() as conn:
            counts = await store.counts(conn)
            QUEUE_LAG.set(await store.lag_seconds(conn))
        QUEUE_ROWS.set(counts.pending)
        EXCEPTIONS.labels("failed").set(counts.failed)
        EXCEPTIONS.labels("quarantined").set(counts.quarantined)
        return False


async def run_until_signal(workers: Workers, wakeups: Wakeups) -> None:
    """Run the loops until SIGINT or SIGTERM; each finishes its step."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    tasks = [asyncio.create_task(wakeups.send()), asyncio.create_task(wakeups.listen())]
    workers.start()
    await stopped.wait()
    await workers.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
