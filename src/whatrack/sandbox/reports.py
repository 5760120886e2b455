"""Insights read at once, and as a report that is ordered, asked about and fetched.

Source: Meta, "Insights API · Asynchronous jobs", read 2026-11: a report is ready only at "Job Completed" and 100 per cent.
Here it is done when it is first asked about, unless a fault lets it run for longer.
"""

from collections.abc import Mapping
from typing import Any

from whatrack.sandbox import chance
from whatrack.sandbox.failures import GraphError
from whatrack.sandbox.insights import MAX_SYNC_ROWS, report
from whatrack.sandbox.insights import summary as summary
from whatrack.sandbox.state import AdAccount, AdObject, ReportRun, World

ENDINGS = ("Job Completed", "Job Failed", "Job Skipped")


def read(
    world: World,
    node: AdAccount | AdObject,
    params: Mapping[str, str],
    *,
    max_rows: int | None = None,
) -> list[dict[str, Any]]:
    """Rows at once; too many of them are refused."""
    return report(world, node, params, max_rows=MAX_SYNC_ROWS if max_rows is None else max_rows)


def order(
    world: World, node: AdAccount | AdObject, params: Mapping[str, str], ending: str, polls: int
) -> dict[str, str]:
    """POST /{node}/insights: the number of a report that will be made."""
    kept = {name: value for name, value in params.items() if name not in ("access_token", "limit")}
    run = ReportRun(
        id=chance.digits(16, world.seed, "report", world.serial(), prefix="6"),
        account_id=node.account_id if isinstance(node, AdObject) else node.id,
        created_at=world.clock(),
        ending=ending,
        polls_left=polls,
        rows=report(world, node, kept, max_rows=None),
    )
    world.add(run)
    return {"report_run_id": run.id}


def poll(run: ReportRun) -> None:
    """Somebody asks how far it is."""
    run.polls_left = max(0, run.polls_left - 1)


def result(run: ReportRun) -> list[dict[str, Any]]:
    """The rows of a report that is done; 2601/1815107 before."""
    if run.polls_left or run.ending != "Job Completed":
        raise GraphError(
            2601,
            "(#2601) The report is not ready yet.",
            subcode=1815107,
            transient=True,
            title="Report Not Ready",
        )
    return run.rows
