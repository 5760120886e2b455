"""A run's figures as Markdown: beside each target, plainly, whether it was met."""

from collections.abc import Iterable, Sequence

import msgspec

from benchmarks import intake as intakes
from benchmarks.accounts import AccountsResult
from benchmarks.bulk import COUNTS, IDLE_S, BulkResult
from benchmarks.conversions import ConversionsResult
from benchmarks.drain import DrainResult
from benchmarks.insights import InsightsResult
from benchmarks.intake import Intake, IntakeResult
from benchmarks.laps import Pace
from benchmarks.machine import Machine
from benchmarks.mixed import MESSAGES_PER_S, PER_S, MixedResult
from benchmarks.pages import CHANGED, WARMING, PagesResult
from benchmarks.roi import SEED, RoiResult

HEAD = """\
# Benchmarks

Written by `make bench`; do not edit. Everything runs on one machine in one go: our own figures move with the machine, the
ratios to peers much less. CPU is what `/proc` says the processes used, so it is steadier than the clock.
"""
INTAKE_NOTES = """\
- A `whatrack serve --no-workers` process answers 200 after the commit, on the embedded PostgreSQL with fsync and
  synchronous_commit on. pywa_async answers before it handles and stores nothing; Flask commits a row before each answer.
- All on 127.0.0.1, kept-alive connections, every body with a wamid of its own, signed; systems take turns round by round while
  the others idle. Flask runs under gunicorn with 2 processes of 16 threads, which keep connections; its sync workers close each
  one and were slower.
- The generator is Python (asyncio on uvloop, raw HTTP/1.1), in a process of its own, on the same cores.
"""
DRAIN_NOTES = """\
- One drainer (`workers.Drain`, batches of 1,000 deliveries) and all of PostgreSQL pinned to one core; row-level security on,
  people by user id and phone, search terms, tickets, tracking, history and whole messages written. 15 % of the messages are from
  new people, 15 % from 50 hot ones, 60 % carry a referral (1.3 kB, else 0.7 kB), 10 % are late.
- Warm: the median of the later half of the laps. Cold: the first lap after a restart of PostgreSQL, when every page is read
  anew and goes to its log whole on the first change.
- The ORM version does the same job on the same tables, from the same queue, under the same row-level security, an object a row,
  looked up by its key. It does less where a rule is rare: no merging of people, no echoes, groups or statuses. It is the sync
  form, which was faster than the async one; the target is judged by the faster of its two lines.
"""
MIXED_NOTES = """\
- Open loop: every request is due at a fixed moment, and its latency counts from then. The first 3 s are sent but not counted. It
  begins when the workers are done with what other parts left: with half a million tickets waiting for names and facts, lag was 1.7 s.
- Lag is PostgreSQL's own moment of the commit that holds message and ticket, less the generator's moment of the 200.
"""
PAGES_NOTES = f"""\
- CPU: of the service, without PostgreSQL's. Sizes are as a browser takes them, compressed.
- Warm: {WARMING} requests before, so templates are compiled, statements prepared and PostgreSQL's pages in memory. No page, row or
  count is kept from one request to the next: each is read and written anew, so one shop asked again and again is no easier than many.
- Asked again: what an open board asks every five seconds, answered 204 while nothing changed.
- Changing, changed: {CHANGED} tickets chosen anywhere in the shop get a message before each request, and come to the top.
- The shop was filled at once, which no shop is: before the first request the workers have expired and followed its tickets, and
  the tables were vacuumed, as autovacuum would.
"""
NOT_MEASURED = """\
## Not measured

Other disks (a slower fdatasync lengthens each commit; batches then grow), TLS and a network between the parts, several
service processes or machines, PostgreSQL 15 (only the embedded version), a real Meta, bursts, days of running (vacuum, bloat),
attachments. The generator shares the two cores with what it measures: with it elsewhere the intake would be faster.
"""


class Results(msgspec.Struct):
    """What a run measured; a part that was not asked for is None."""

    machine: Machine
    seconds: float = 0.0
    intake: IntakeResult | None = None
    drain: DrainResult | None = None
    mixed: MixedResult | None = None
    bulk: list[BulkResult] | None = None
    pages: PagesResult | None = None
    accounts: AccountsResult | None = None
    roi: RoiResult | None = None
    conversions: ConversionsResult | None = None
    insights: InsightsResult | None = None
    load_after: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Verdict(msgspec.Struct, frozen=True):
    """A target, what was measured, and whether that meets it."""

    target: str
    measured: str
    met: bool


def markdown(results: Results) -> str:
    """The whole page."""
    parts = [HEAD, _targets(results), _machine(results)]
    if results.intake:
        parts.append(_intake(results.intake))
    if results.drain:
        parts.append(_drain(results.drain))
    if results.mixed:
        parts.append(_mixed(results.mixed))
    if results.bulk:
        parts.append(_bulk(results.bulk))
    if results.pages:
        parts.append(_pages(results.pages))
    if results.accounts:
        parts.append(_accounts(results.accounts))
    if results.roi:
        parts.append(_roi(results.roi))
    if results.conversions:
        parts.append(_conversions(results.conversions))
    if results.insights:
        parts.append(_insights(results.insights))
    return "\n".join([*parts, NOT_MEASURED])


def verdicts(results: Results) -> list[Verdict]:
    """Every target that this run says something about."""
    found: list[Verdict] = []
    if results.intake:
        found += _intake_verdicts(results.intake)
    if results.drain:
        found += _drain_verdicts(results.drain)
    if results.mixed:
        found += _mixed_verdicts(results.mixed)
    if results.bulk:
        most = max(max(each.pss) for each in results.bulk)
        found.append(Verdict("the same after bodies of 4 MB under 150 MB", f"{most:.0f} MB PSS", most < 150))
    if results.pages:
        found += _pages_verdicts(results.pages)
    if results.accounts:
        found += _accounts_verdicts(results.accounts)
    if results.roi:
        found += _roi_verdicts(results.roi)
    if results.conversions:
        found += _conversions_verdicts(results.conversions)
    if results.insights:
        found += _insights_verdicts(results.insights)
    return found


def _intake_verdicts(result: IntakeResult) -> list[Verdict]:
    ours, pywa, flask = (result.systems[name] for name in (intakes.OURS, intakes.PYWA, intakes.FLASK))
    over_pywa, over_flask = ours.per_s / pywa.per_s, ours.per_s / flask.per_s
    return [
        Verdict("intake at least 3 × pywa_async", f"{over_pywa:.1f} ×", over_pywa >= 3),
        Verdict("intake at least 8 × Flask, a row a request", f"{over_flask:.1f} ×", over_flask >= 8),
        Verdict("intake p99 under 50 ms at 64 connections", f"{ours.p99_ms:.0f} ms", ours.p99_ms < 50),
        Verdict(
            "every acknowledged delivery stored",
            f"{result.stored:,} of {result.acknowledged:,}",
            result.stored >= result.acknowledged,
        ),
    ]


def _conversions_verdicts(result: ConversionsResult) -> list[Verdict]:
    pace = result.drained_s * 100_000 / result.drained
    return [
        Verdict(
            "an event at least 25 × cheaper than Meta's SDK", f"{result.ratio:.0f} ×", result.ratio >= 25
        ),
        Verdict("100,000 owed events in under 2 minutes", f"{pace:.0f} s", pace < 120),
        Verdict(
            "each of them accepted once",
            f"{result.accepted:,} of {result.drained:,}",
            result.accepted == result.drained,
        ),
        Verdict(
            "an API move accepted by Meta within 5 s at p95",
            f"{result.move_p95_s:.2f} s",
            result.move_p95_s < 5,
        ),
    ]


def _conversions(result: ConversionsResult) -> str:
    rows = [
        f"| {name} | {peer.median_us:.2f} [{peer.least_us:.2f}-{peer.most_us:.2f}] |"
        for name, peer in (
            ("WhaTrack", result.ours),
            ("facebook-business, EventRequest of 1,000", result.sdk),
        )
    ]
    return "\n".join(
        [
            "## Conversions\n",
            "|  | CPU µs an event, formed and sent 1,000 at a time |",
            "| --- | --- |",
            *rows,
            "",
            f"- {result.drained:,} owed events drained in {result.drained_s:.1f} s by two senders: claimed, sent, settled, an attempt kept of each.",
            f"- {result.moves} moves one after the other, from the move to the committed acceptance: p50 {result.move_p50_s:.2f} s, "
            f"p95 {result.move_p95_s:.2f} s. The sandbox answers at once; a real Meta does not.",
            "- The SDK cannot name the WhatsApp account, so its requests are refused after they were read: forming and sending is all it does.\n",
        ]
    )


def _drain_verdicts(result: DrainResult) -> list[Verdict]:
    ours, peer = next(iter(result.ours.values())), max(each.per_s for each in result.peer.values())
    return [
        Verdict("drain at least 7,000 messages/s on one core", f"{ours.per_s:,.0f}/s", ours.per_s >= 7000),
        Verdict(
            "drain at least 25 × a row-by-row ORM", f"{ours.per_s / peer:.1f} ×", ours.per_s / peer >= 25
        ),
        Verdict("nothing left or set aside", f"{result.left}", result.left == 0),
    ]


def _mixed_verdicts(result: MixedResult) -> list[Verdict]:
    kept_up = result.not_200 == 0 and result.missing == 0 and result.behind_s < 2
    said = (
        f"{result.not_200} not 200, {result.missing} missing, done {result.behind_s:.1f} s after the last 200"
    )
    return [
        Verdict(f"{PER_S:,} webhooks/s kept up with", said, kept_up),
        Verdict("lag from 200 to ticket under 1 s at p99", f"{result.lag_p99_s:.2f} s", result.lag_p99_s < 1),
        Verdict("memory of `whatrack serve` under 150 MB", f"{result.pss:.0f} MB PSS", result.pss < 150),
    ]


def _pages_verdicts(result: PagesResult) -> list[Verdict]:
    targets = {
        "board": "board page",
        "board, tickets changing": "board page, tickets changing,",
        "list": "list page",
    }
    times = {name: result.pages[name].p95_ms for name in targets}
    return [
        Verdict(f"{targets[name]} under 100 ms at p95", f"{p95_ms:.0f} ms", p95_ms < 100)
        for name, p95_ms in times.items()
    ]


def _roi_verdicts(result: RoiResult) -> list[Verdict]:
    return [
        Verdict(f"report: {name}, under {_most_ms(name)} ms at p95", f"{each.p95_ms:.0f} ms", each.p95_ms < _most_ms(name))
        for name, each in result.pages.items()
    ]  # fmt: skip


def _targets(results: Results) -> str:
    rows = [(each.target, each.measured, "met" if each.met else "**not met**") for each in verdicts(results)]
    return "## Targets\n\n" + _table(("target", "measured", ""), rows)


def _machine(results: Results) -> str:
    machine = results.machine
    loads = [" ".join(f"{each:.1f}" for each in load) for load in (machine.load, results.load_after)]
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    postgres = ", ".join(f"{name} {value}" for name, value in machine.postgres.items())
    return f"""\
## The run

{machine.date}, commit {machine.commit}, {results.seconds / 60:.1f} minutes. To repeat it: `make bench`.

- {machine.cpu}, {machine.cores} cores, {machine.memory_gb:.0f} GB, Linux {machine.kernel}; load average {loads[0]} before,
  {loads[1]} after; fdatasync of 8 kB: {machine.fdatasync_us:.0f} µs.
- Python {machine.python}; {packages}.
- PostgreSQL: {postgres}.
"""


def _intake(result: IntakeResult) -> str:
    head = ("", "requests/s", "p50 ms", "p99 ms", "CPU µs a request", "of it PostgreSQL", "generator's")
    systems = [(name, *_intake_row(each)) for name, each in result.systems.items()]
    counts = [(f"{count} connections", *_intake_row(each)) for count, each in result.connections.items()]
    return f"""\
## Intake: durable webhooks a second, one process

{result.rounds} interleaved rounds of {result.seconds:.0f} s, {intakes.CONNECTIONS} connections, bodies of {result.body_bytes / 1000:.1f} kB; medians [least-most].

{_table(head, systems)}
{_table(("WhaTrack at", *head[1:]), counts)}
{INTAKE_NOTES}- Refused or failed: {", ".join(f"{name} {each.refused}" for name, each in result.systems.items())}. pywa handled {result.handled:,} messages.
"""


def _intake_row(each: Intake) -> tuple[str, ...]:
    return (
        f"{each.per_s:,.0f} [{each.least_per_s:,.0f}-{each.most_per_s:,.0f}]",
        f"{each.p50_ms:.1f}",
        f"{each.p99_ms:.1f}",
        f"{each.server_us + each.postgres_us:.0f}",
        f"{each.postgres_us:.0f}",
        f"{each.generator_us:.0f}",
    )


def _drain(result: DrainResult) -> str:
    head = ("", "messages/s, warm", "cold", "a CPU second", "client µs", "PostgreSQL µs")
    rows = [(name, *_pace_row(each)) for name, each in (*result.ours.items(), *result.peer.items())]
    pure = result.pure
    first = next(iter(result.ours.values()))
    share = pure.decide_us / (first.client_us + first.postgres_us)
    return f"""\
## Drain: from queued deliveries to attributed tickets, one core

{result.size.messages:,} messages in {result.size.laps} laps for each line ({result.size.rows:,} for the ORM); medians [least-most].

{_table(head, rows)}
{DRAIN_NOTES}- Without a database: reading a message takes {pure.read_us:.0f} µs and the pure decision {pure.decide_us:.0f} µs, {share:.0%} of the whole.
"""


def _pace_row(each: Pace) -> tuple[str, ...]:
    return (
        f"{each.per_s:,.0f} [{each.least_per_s:,.0f}-{each.most_per_s:,.0f}]",
        f"{each.cold_per_s:,.0f}",
        f"{each.per_cpu_s:,.0f}",
        f"{each.client_us:,.0f}",
        f"{each.postgres_us:,.0f}",
    )


def _bulk(results: list[BulkResult]) -> str:
    rows = [
        (each.kind, f"{each.messages:,}", *(f"{pss:.0f}" for pss in each.pss), f"{each.peak:.0f}")
        for each in results
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    after = " | ".join(f"after {count}" for count in COUNTS)
    return f"""\
## Memory of the service after bodies of 4 MB, the largest it takes

MB of PSS with its workers, {IDLE_S:.0f} s after each was drained; the last column is the most it ever held at once (RSS).

| each body | messages | at start | {after} | most |
| --- | --- | --- |{" --- |" * len(COUNTS)} --- |
{table}
"""


def _mixed(result: MixedResult) -> str:
    rows = [
        ("webhooks sent, not answered 200", f"{result.sent:,}, {result.not_200}"),
        ("answer p50 / p99", f"{result.p50_ms:.1f} / {result.p99_ms:.1f} ms"),
        (
            "lag from 200 to ticket, p50 / p99 / most",
            f"{result.lag_p50_s:.2f} / {result.lag_p99_s:.2f} / {result.lag_most_s:.2f} s",
        ),
        ("queue empty after the last 200", f"{result.behind_s:.2f} s"),
        ("acknowledged but missing; set aside", f"{result.missing}; {result.set_aside}"),
        ("cores used: service, PostgreSQL", f"{result.server_share:.2f}, {result.postgres_share:.2f}"),
        (
            "memory of the service: at start, after (PSS), after (USS)",
            f"{result.pss_at_start:.0f}, {result.pss:.0f}, {result.uss:.0f} MB",
        ),
    ]
    statuses = PER_S - MESSAGES_PER_S
    return f"""\
## Mixed load: {statuses:,} statuses and {MESSAGES_PER_S:,} messages a second, one process with its workers, all cores

{result.seconds:.0f} s, each webhook a request of its own.

{_table(("", ""), rows)}
{MIXED_NOTES}"""


def _pages(result: PagesResult) -> str:
    rows = [
        (
            name,
            *(f"{value:.0f}" for value in (each.p50_ms, each.p95_ms, each.most_ms, each.cpu_ms or 0)),
            f"{each.bytes / 1000:.1f}",
        )
        for name, each in result.pages.items()
    ]
    first = ", ".join(f"{each:.0f}" for each in sorted(result.first))
    return f"""\
## Pages with {result.tickets:,} tickets

{result.requests} requests each, one at a time over one connection, from request to the last byte; the service's workers run beside.

{_table(("page", "p50 ms", "p95 ms", "most ms", "CPU ms", "kB, gzip"), rows)}
{PAGES_NOTES}- The board, asked of {len(result.first)} new processes, each its first request of all: {first} ms.
"""


def _accounts_verdicts(result: AccountsResult) -> list[Verdict]:
    most_s = max(each.most_ms for each in result.cold.values()) / 1000
    target = f"{result.accounts:,} ad accounts listed under 2 s cold"
    return [Verdict(target, f"{most_s:.2f} s at most", most_s < 2)]


def _accounts(result: AccountsResult) -> str:
    rows = [
        (f"{name}, {kind}", f"{each.p50_ms:.0f}", f"{each.p95_ms:.0f}", f"{each.most_ms:.0f}", f"{each.bytes / 1000:.1f}")
        for kind, pages in (("cold", result.cold), ("warm", result.warm))
        for name, each in pages.items()
    ]  # fmt: skip
    return f"""\
## A person with {result.accounts:,} ad accounts

Cold: nothing of the list is known, and the request reads it from the sandbox ({result.calls:.0f} calls), stores it and answers. Warm: from what is stored.

{_table(("request", "p50 ms", "p95 ms", "most ms", "kB, gzip"), rows)}
"""


def _roi(result: RoiResult) -> str:
    rows = [
        (name, f"{each.first_ms:,.0f}", f"{each.p50_ms:.0f}", f"{each.p95_ms:.0f}", f"{_most_ms(name)}", f"{each.cpu_ms:.0f}", f"{each.rows} of {each.count:,}")
        for name, each in result.pages.items()
    ]  # fmt: skip
    tables = [(name, f"{rows:,}", f"{size / 1_000_000:,.0f}") for name, (rows, size) in result.tables.items()]
    size = result.size
    return f"""\
## The report with {size.accounts} accounts and {size.tickets:,} tickets

Server time of one transaction, one at a time; no answer is kept, so each is made anew. First: right after PostgreSQL was started, its memory empty;
then {size.rounds} rounds. CPU is PostgreSQL's. Four accounts of 300 spend in another currency, six keep another zone; the tax changes in mid-year.
Every number is a hash of the seed {SEED}, account, ad and day; generator and pages: benchmarks/roi.py. Filling took {result.fill_s:,.0f} s.

{_table(("page", "first ms", "p50 ms", "p95 ms", "target", "CPU ms", "rows"), rows)}
{_table(("table", "rows", "MB"), tables)}
"""


def _most_ms(page: str) -> int:
    return 500 if page.endswith("365 days") else 150


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _insights_verdicts(result: InsightsResult) -> list[Verdict]:
    return [
        Verdict(
            "spend fetched at least 5 × as fast as tap-facebook", f"{result.faster:.0f} ×", result.faster >= 5
        ),
        Verdict("and with fewer calls", f"1 for its {result.fewer_calls:.0f}", result.fewer_calls > 1),
    ]


def _insights(result: InsightsResult) -> str:
    ours, tap = result.ours, result.tap
    whole = [each * ours.accounts for each in (tap.wall_s, tap.client_s, tap.calls)]
    rows = [
        ["WhaTrack, into PostgreSQL", f"{ours.accounts}", f"{ours.wall_s:,.0f} s", f"{ours.client_s:,.0f} s + {ours.postgres_s:,.0f} s PostgreSQL", f"{ours.calls:,}"],
        ["tap-facebook 1.26, to a file", f"{ours.accounts}, from {tap.runs} measured", f"{whole[0]:,.0f} s", f"{whole[1]:,.0f} s", f"{whole[2]:,.0f}"],
    ]  # fmt: skip
    table = _table(["", "accounts", "time", "CPU", "calls of Meta"], rows)
    notes = f"""\
- {ours.accounts} accounts × 28 days × 500 ads ({ours.rows:,} rows), first reading, six accounts at a time in one process; every row and cent is
  compared with what the sandbox knows. Reading the same again, nothing restated: {ours.again_s:,.0f} s. Our process grew to {ours.memory_mb:,.0f} MB.
- The tap takes one account a run: {tap.runs} runs one after the other, {tap.wall_s:.1f} s each, the same fields; its time for {ours.accounts} is that of one × {ours.accounts}.
  Two of its runs side by side would halve its clock and not its CPU. It writes records to a file; no database is filled from them.
- The sandbox is a process of its own on the same cores; its answers are made once and kept, so that it is not what is measured.
- CPU: {result.less_cpu:.1f} × less than the tap's, PostgreSQL's included.
"""
    return f"## What ads spent\n\n{table}\n\n{notes}"
