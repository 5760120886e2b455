"""A clinic's past, played into the product: the report says what the sandbox knows to be true, to the cent.

As the report's rows, as the API tells them, and as the CSV holds them.
"""

import asyncio
import csv
import io
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.playing import Played, a_played_office
from tests.support import rows
from tests.test_history import clock
from whatrack.db import Database
from whatrack.roi import rates
from whatrack.roi.ask import Ask
from whatrack.roi.export import as_csv
from whatrack.roi.metrics import Amounts
from whatrack.roi.reconcile import Cause, Reconciliation, reconcile
from whatrack.roi.report import Report, report
from whatrack.sandbox.clock import day_of
from whatrack.sandbox.state import AdAccount, AdObject
from whatrack.sandbox.truth import BASES, HOME, LEVELS, Asked, Sum

RATE = {"BRL": 1, "USD": 5}  # whole, so that cents stay cents
COUNTS = (
    "impressions",
    "clicks",
    "link_clicks",
    "meta_conversations",
    "meta_leads",
    "meta_purchases",
    "leads",
    "qualified",
    "sales",
)
MONEY = ("spend", "meta_purchase_value", "revenue", "refunds")
Told = dict[str, dict[str, Any]]


async def fetched(played: Played, *, again: bool = False) -> None:
    """Wait until every due day came whole. again: ask for the last days anew first."""
    path = "/api/v1/meta-ads/sync"
    if again:
        await rows(played.db, "UPDATE insight_accounts SET asked_at = NULL RETURNING 1")
        async with played.session.post(path, json={"days": 28}, headers=played.headers) as answer:
            assert answer.status == 202, await answer.text()

    async def is_whole() -> bool:
        async with played.session.get(path, headers=played.headers) as answer:
            found = await answer.json()
        everyone = [
            each["whole_at"] and not each["due"] and not each["missing"] for each in found["accounts"]
        ]
        return len(everyone) == 3 and all(everyone) and not found["running"]

    await until(is_whole)


async def until(comes: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what the service's loops bring about."""
    async with asyncio.timeout(60):
        for _ in range(10_000):
            if await comes():
                return
            await asyncio.sleep(0.1)


async def settled(played: Played) -> None:
    """Wait until Meta heard what it is owed, and every ad was looked up."""
    waiting = """SELECT (SELECT count(*) FROM meta_conversion_events WHERE status = 'PENDING')
                      + (SELECT count(*) FROM ticket_tracking WHERE meta_enrichment_status = 'PENDING') AS count"""

    async def is_settled() -> bool:
        return bool((await rows(played.db, waiting))[0]["count"] == 0)

    await until(is_settled)


async def enter_rates(played: Played, days: Iterable[date]) -> None:
    organization_id = await organization(played)
    worth = dict.fromkeys(days, Decimal(RATE["USD"]))
    async with played.db.tenant(organization_id) as conn:
        await rates.put(conn, organization_id, "USD", "BRL", worth, actor="system")


async def organization(played: Played) -> Any:
    return (await rows(played.db, "SELECT id FROM organizations"))[0]["id"]


async def asked(played: Played, since: date, until: date, level: str, basis: str) -> Report:
    organization_id = await organization(played)
    ask = Ask(level=level, since=since, until=until, basis=basis, limit=1000, spent_only=False)  # type: ignore[arg-type] # of LEVELS, BASES
    async with played.db.tenant(organization_id) as conn:
        return await report(conn, organization_id, ask, datetime.fromtimestamp(played.sandbox.clock(), UTC))


def said(amounts: Amounts, *, own: bool) -> dict[str, Any]:
    """A row of the report, in cents."""
    found: dict[str, Any] = {name: getattr(amounts, name) or 0 for name in COUNTS}
    money = {name: int((getattr(amounts, name) or 0) * 100) for name in MONEY}
    assert own or amounts.spend is None
    return {**found, **money}


def true(sums: Iterable[Sum]) -> dict[str, Any]:
    """Rows of the truth together, in cents of the report's currency."""
    found: dict[str, Any] = dict.fromkeys((*COUNTS, *MONEY), 0)
    for row in sums:
        rate = RATE.get(row.currency or "BRL", 1)
        for name in COUNTS:
            found[name] += getattr(row, name)
        for name in ("spend", "meta_purchase_value"):
            found[name] += getattr(row, name) * rate
        for name in ("revenue", "refunds"):
            found[name] += sum(RATE[currency] * minor for currency, minor in getattr(row, name).items())
    return found


def truth(
    played: Played, since: date, until: date, level: str, basis: str, *, everywhere: bool = False
) -> Told:
    """By kind and id as the report names them; what accounts nobody sees led to is one row, without figures."""
    seen = set(played.sandbox.cast.thiago.account_ids)
    found: dict[str, list[Sum]] = {}
    for row in played.sandbox.sums(Asked(since, until, level, basis, everywhere=everywhere)):
        node = played.sandbox.world.nodes.get(row.id)
        account = (
            node.id
            if isinstance(node, AdAccount)
            else node.account_id
            if isinstance(node, AdObject)
            else None
        )
        if account is None:
            key = row.kind
        elif account in seen:
            key = f"act_{row.id}" if level == "account" else row.id
        else:
            key, row = "unconnected", without_figures(row)
        found.setdefault(key, []).append(row)
    return {key: told for key, each in found.items() if any((told := true(each)).values())}


def without_figures(row: Sum) -> Sum:
    return Sum(
        row.kind,
        row.id,
        leads=row.leads,
        qualified=row.qualified,
        sales=row.sales,
        revenue=row.revenue,
        refunds=row.refunds,
    )


def told(found: Report) -> Told:
    rows = {row.id: said(row.amounts, own=True) for row in found.rows}
    rows |= {row.kind: said(row.amounts, own=False) for row in found.special}
    return {key: row for key, row in rows.items() if any(row.values())}


def summed(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in rows:
        found = {name: found.get(name, 0) + row[name] for name in row}
    return found


def in_cents(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the API or of a file, whose numbers are text or missing, in cents."""
    counts = {name: int(row[name] or 0) for name in COUNTS}
    return counts | {name: int(Decimal(str(row[name] or 0)) * 100) for name in MONEY}


def with_something(rows: Told) -> Told:
    return {key: row for key, row in rows.items() if any(row.values())}


async def by_api(
    played: Played, since: date, until: date, level: str, basis: str
) -> tuple[Told, dict[str, Any]]:
    """(rows, totals) as GET /api/v1/meta-ads/insights tells them."""
    params = {"level": level, "since": str(since), "until": str(until), "basis": basis, "limit": "1000"}
    async with played.session.get(
        "/api/v1/meta-ads/insights", params=params, headers=played.headers
    ) as answer:
        assert answer.status == 200, await answer.text()
        found = await answer.json()
    rows = {row["id"]: in_cents(row) for row in found["rows"]}
    rows |= {row["kind"]: in_cents(row) for row in found["special"]}
    return with_something(rows), in_cents(found["totals"])


def by_file(found: Report) -> tuple[Told, dict[str, Any]]:
    """(rows, totals) as the CSV for Excel in Brazil holds them."""
    text = as_csv(found, "pt").decode("utf-8-sig")
    lines = [
        {name: cell.replace(",", ".") if name in (*COUNTS, *MONEY) else cell for name, cell in line.items()}
        for line in csv.DictReader(io.StringIO(text, newline=""), delimiter=";")
    ]
    rows = {line["id"].strip() or line["kind"]: in_cents(line) for line in lines}  # ids keep a tab, for Excel
    totals = rows.pop("total")
    return with_something(rows), totals


def apart(one: Told, other: Told) -> Told:
    """Where two answers differ: row, quantity, both numbers. What is not there is nought."""
    found: Told = {}
    for key in {**one, **other}:
        left, right = one.get(key, {}), other.get(key, {})
        differing = {
            name: (left.get(name, 0), right.get(name, 0))
            for name in {**left, **right}
            if left.get(name, 0) != right.get(name, 0)
        }
        if differing:
            found[key] = differing
    return found


async def reconciled(played: Played, since: date, until: date) -> Reconciliation:
    organization_id = await organization(played)
    ask = Ask(level="account", since=since, until=until)
    async with played.db.tenant(organization_id) as conn:
        return await reconcile(
            conn, organization_id, ask, datetime.fromtimestamp(played.sandbox.clock(), UTC)
        )


def check_reconciled(found: Reconciliation, expected: Told) -> dict[str, set[Cause]]:
    """Both sides are the truth's, the lines add up, and at most one per cent is not explained; the causes there are."""
    causes = {}
    for name, side, ours, meta in (
        ("leads", found.leads, "qualified", "meta_leads"),
        ("purchases", found.purchases, "sales", "meta_purchases"),
    ):
        assert side.ours == sum(row[ours] for row in expected.values())
        assert side.meta == sum(row[meta] for row in expected.values())
        assert side.ours == side.meta + sum(line.count for line in side.lines)
        assert side.ours_value == side.meta_value + sum((line.value for line in side.lines), Decimal(0))
        assert (side.unexplained or 0) <= Decimal("0.01"), (name, side)
        causes[name] = {line.cause for line in side.lines if line.count}
    return causes


async def test_the_report_of_a_played_past_is_the_truth(db: Database, conninfo: str):
    now = await clock(db)
    today = day_of(now, HOME)
    async with a_played_office(db, conninfo, now, days=45, share=0.4) as played:
        await played.player.catch_up()
        await settled(played)
        await enter_rates(played, (today - timedelta(days=back) for back in range(-2, 60)))
        await fetched(played)
        await fetched(played, again=True)  # Meta has heard of sales since

        for since, until in (
            (today - timedelta(days=29), today),
            (today - timedelta(days=7), today - timedelta(days=1)),
            (today, today),
        ):
            for basis in BASES:
                for level in LEVELS:
                    found = await asked(played, since, until, level, basis)
                    assert apart(told(found), truth(played, since, until, level, basis)) == {}, (
                        since,
                        basis,
                        level,
                    )
                    totals = summed(truth(played, since, until, level, basis, everywhere=True).values())
                    for rows_told, total in (
                        await by_api(played, since, until, level, basis),
                        by_file(found),
                    ):
                        assert apart(rows_told, truth(played, since, until, level, basis)) == {}
                        assert apart({"total": total}, {"total": totals}) == {}
                    assert apart({"total": said(found.totals.amounts, own=True)}, {"total": totals}) == {}, (
                        since,
                        basis,
                        level,
                    )

        week = (today - timedelta(days=29), today)
        causes = check_reconciled(await reconciled(played, *week), truth(played, *week, "account", "sale"))
        assert causes["purchases"] >= {"organic", "no_click_id", "outside_window"}
