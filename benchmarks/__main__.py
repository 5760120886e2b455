"""`python -m benchmarks [intake] [drain] [mixed] [memory] [pages] [accounts] [conversions] [insights] [roi] [--quick]`: measure, print; a whole run writes docs/benchmarks.md."""

import argparse
import asyncio
import os
import signal
import sys
import time

from benchmarks import (
    accounts,
    bulk,
    conversions,
    drain,
    insights,
    intake,
    machine,
    mixed,
    pages,
    report,
    roi,
)
from benchmarks.bodies import Shop
from benchmarks.database import Cluster, cluster, open_shops
from benchmarks.drain import Size
from benchmarks.population import populate
from benchmarks.report import Results
from benchmarks.servers import ROOT
from whatrack.db import Database

PAGE = ROOT / "docs" / "benchmarks.md"
PARTS = (
    "intake",
    "drain",
    "mixed",
    "memory",
    "pages",
    "accounts",
    "conversions",
    "insights",
    "roi",
)  # memory is read at the end of the mixed load, and after bodies as large as there are
FULL = Size(people=1_000_000, messages=120_000, laps=24, rows=2_000)
QUICK = Size(people=50_000, messages=6_000, laps=6, rows=400)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)}; all without")
    parser.add_argument(
        "--quick", action="store_true", help="a rough look: fewer people, messages and seconds"
    )
    arguments = parser.parse_args()
    wanted = set(arguments.parts or PARTS)
    if not wanted <= set(PARTS):
        parser.error(f"there is no {', '.join(wanted - set(PARTS))}: use {', '.join(PARTS)}")
    if not sys.platform.startswith("linux"):
        parser.error("CPU and memory are read from /proc: run it on Linux")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    began = time.monotonic()
    with cluster() as running:
        results = _measure(running, wanted, quick=arguments.quick)
    results.seconds = time.monotonic() - began
    results.load_after = os.getloadavg()
    page = report.markdown(results)
    print(page)
    if wanted == set(PARTS) and not arguments.quick:
        PAGE.write_text(page, encoding="utf-8")
        print(f"Written to {PAGE.relative_to(ROOT)}.")


def _measure(running: Cluster, wanted: set[str], *, quick: bool) -> Results:
    size = QUICK if quick else FULL
    results = Results(machine.describe(running))
    shop = asyncio.run(_shop(running, size.people))
    if "intake" in wanted:
        _say("intake")
        rounds, seconds = (2, 1.0) if quick else (5, 3.0)
        results.intake = intake.measure(running, shop, rounds=rounds, seconds=seconds)
    if wanted & {"drain", "mixed", "memory"}:
        _say(f"writing {size.people:,} people")
        populate(running.conninfo, [shop])
        running.restart()
    if "drain" in wanted:
        _say("drain")
        results.drain = drain.measure(running, shop, size)
    if wanted & {"mixed", "memory"}:
        _say("mixed load")
        results.mixed = mixed.measure(running, shop, 5 if quick else 25)
        _say("large bodies")
        results.bulk = bulk.measure(running, shop)
    if "pages" in wanted:
        _say("pages")
        results.pages = pages.measure(running, quick=quick)
    if "accounts" in wanted:
        _say("accounts")
        results.accounts = accounts.measure(running, quick=quick)
    if "conversions" in wanted:
        _say("conversions")
        results.conversions = conversions.measure(running, quick=quick)
    if "insights" in wanted:
        _say("insights")
        results.insights = insights.measure(running, quick=quick)
    if "roi" in wanted:
        _say("the report")
        results.roi = roi.measure(running, quick=quick)
    return results


async def _shop(running: Cluster, people: int) -> Shop:
    db = Database(running.conninfo)
    await db.open()
    try:
        return (await open_shops(db, 1, people=people, first_person=0, first_number=1))[0]
    finally:
        await db.close()


def _say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
