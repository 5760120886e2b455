"""Meta's conversions beside ours, and the difference by its causes, adding up: ours − every cause = Meta's.

Meta counts an event on the day it happened, in the account's zone, for the ad of its click, if the click was at most seven days
before. Each of our qualified tickets and sales is either among those (a click whose message did not say the ad too: Meta knows
it), or has one cause why not; what Meta has and we no longer count (a sale taken back after it was sent) is a cause below zero.
What is left is not explained.
Source: Meta, "Conversions API for business messaging" and "Attribution", read 2026-11.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, LiteralString, get_args
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from whatrack.db import Connection
from whatrack.roi import report as reports
from whatrack.roi import scope as scopes
from whatrack.roi.ask import Ask, check
from whatrack.roi.events import FACTS, MARKED, SOLD
from whatrack.roi.scope import Scope
from whatrack.roi.sums import SCOPE

Cause = Literal[
    "organic",        # no ad brought it, or a post did
    "unconnected",    # of an ad that is not known, or of an account that is not connected
    "not_owed",       # nothing was to be told: won straight from the first stage, or no event on its stage
    "duplicate",      # the same click's lead was told for another ticket
    "no_click_id",    # the ad gave no click id, as those in WhatsApp Status do
    "outside_window", # older than the seven days in which Meta takes an event
    "refused",        # Meta refused it, or somebody cancelled it
    "waiting",        # on its way, held, or sent after Meta's numbers were read
    "other_window",   # sent, but more than seven days after the click, or counted on a day outside the period
    "corrected",      # below zero: Meta has it, and here it was taken back or dated otherwise later
    "unexplained",
]  # fmt: skip
CAUSES: tuple[Cause, ...] = get_args(Cause)
CREDIT: LiteralString = "interval '168 hours'"  # Meta's click window

# A ticket and what Meta was told of it. told_day: on which Meta counts it.
EVENT: LiteralString = f"""
    SELECT e.ticket_id, e.status, e.sent_at, e.event_time, e.value, e.currency, e.meta_ad_id, ac.ref AS told_ref,
        (e.event_time AT TIME ZONE ac.timezone_name)::date AS told_day, ac.id AS account_id,
        e.event_time - coalesce((SELECT max(h.touched_at) FROM meta_attribution_history h WHERE h.organization_id = e.organization_id
            AND h.ticket_id = e.ticket_id AND h.new_ctwa_clid = e.ctwa_clid), k.last_touch_at) > {CREDIT} AS is_late
    FROM meta_conversion_events e
    LEFT JOIN ticket_tracking k ON k.organization_id = e.organization_id AND k.ticket_id = e.ticket_id
    LEFT JOIN meta_ads a ON a.organization_id = e.organization_id AND a.meta_ad_id = e.meta_ad_id
    LEFT JOIN meta_ad_accounts ac ON ac.organization_id = a.organization_id AND ac.ad_account_id = 'act_' || a.meta_account_id
    WHERE e.organization_id = %(organization)s AND e.event_name = ANY(%(events)s)
"""  # noqa: S608 - constants only
COUNTED: LiteralString = "d.fetched_at >= e.sent_at"
# Each ticket's part of a cause: how many it takes from our count, and how much of its money. {{at}}: of the sale or qualification.
PARTS: LiteralString = f"""
WITH {SCOPE}, {MARKED}, mine AS (
    SELECT f.ticket_id, f.ad_ref, f.account_ref, f.{{at}} AS at, sum(f.w) AS count, sum(f.w * {{value}}) AS value
    FROM {FACTS} WHERE f.{{at}} >= %(lo)s AND f.{{at}} < %(hi)s GROUP BY 1, 2, 3, 4 HAVING sum(f.w) > 0
), placed AS (
    SELECT m.* FROM mine m LEFT JOIN acc ON acc.ref = m.account_ref
    WHERE CASE WHEN m.account_ref IS NULL THEN %(whole)s ELSE acc.in_scope END
    AND width_bucket(m.at, %(bounds)s::timestamptz[]) BETWEEN coalesce(acc.first_bucket, %(first_bucket)s) AND coalesce(acc.last_bucket, %(last_bucket)s)
), event AS ({EVENT} AND (e.event_time BETWEEN %(lo)s::timestamptz - interval '40 days' AND %(hi)s::timestamptz + interval '40 days'
    OR e.ticket_id IN (SELECT ticket_id FROM placed))),
judged AS (
    SELECT DISTINCT ON (p.ticket_id) p.ticket_id, p.at, p.count, p.value, CASE
        WHEN p.ad_ref IN (-1, -2) THEN 'organic'
        WHEN p.ad_ref = -3 AND e.meta_ad_id IS NULL AND e.status = 'SENT' AND NOT e.is_late THEN NULL
        WHEN p.account_ref IS NULL THEN 'unconnected'
        WHEN e.ticket_id IS NULL THEN 'not_owed'
        WHEN e.status = 'SKIPPED_DUPLICATE_LEAD' THEN 'duplicate'
        WHEN e.status = 'SKIPPED_NO_CTWA' THEN 'no_click_id'
        WHEN e.status = 'EXPIRED_WINDOW' THEN 'outside_window'
        WHEN e.status IN ('FAILED', 'CANCELLED') THEN 'refused'
        WHEN e.status <> 'SENT' THEN 'waiting'
        WHEN e.is_late OR e.told_day NOT BETWEEN %(since)s AND %(until)s THEN 'other_window'
        WHEN e.told_ref IS NULL THEN 'unconnected'
        WHEN {COUNTED} IS NOT TRUE THEN 'waiting'
        END AS cause, e.value AS told_value, e.currency AS told_currency
    FROM placed p LEFT JOIN event e ON e.ticket_id = p.ticket_id
    LEFT JOIN insight_days d ON d.organization_id = %(organization)s AND d.account_id = e.account_id AND d.day = e.told_day
    ORDER BY p.ticket_id, e.status <> 'SENT', e.event_time
), part AS (
    SELECT cause, ticket_id, at, count, value FROM judged WHERE cause IS NOT NULL
    UNION ALL
    SELECT 'corrected', ticket_id, at, 0, value - told_value * 100 FROM judged
    WHERE cause IS NULL AND told_currency = %(currency)s AND {{with_value}} AND value <> told_value * 100
    UNION ALL
    SELECT 'corrected', e.ticket_id, e.event_time, -1, -CASE WHEN {{with_value}} AND e.currency = %(currency)s THEN e.value * 100 ELSE 0 END FROM event e
    JOIN acc ON acc.ref = e.told_ref AND acc.in_scope
    JOIN insight_days d ON d.organization_id = %(organization)s AND d.account_id = e.account_id AND d.day = e.told_day
    WHERE e.status = 'SENT' AND NOT e.is_late AND e.told_day BETWEEN %(since)s AND %(until)s AND {COUNTED}
    AND NOT EXISTS (SELECT FROM placed p WHERE p.ticket_id = e.ticket_id)
)
"""  # noqa: S608 - constants only
CAUSED: LiteralString = f"{PARTS} SELECT cause, sum(count) AS count, sum(value) AS value FROM part GROUP BY 1"  # noqa: S608 - constants only
TICKETS: LiteralString = f"{PARTS} SELECT ticket_id, at, count, value FROM part WHERE cause = %(cause)s ORDER BY at DESC, ticket_id"  # noqa: S608 - constants only
OURS: LiteralString = f"{PARTS} SELECT ticket_id, at, count, value FROM placed ORDER BY at DESC, ticket_id"  # noqa: S608 - constants only
LEADS = ("LeadSubmitted", "QualifiedLead")  # both count as leads at Meta
PURCHASES = ("Purchase",)
NO_VALUE: LiteralString = "0"
TRUE: LiteralString = "true"
FALSE: LiteralString = "false"


class Part(msgspec.Struct, frozen=True):
    """A ticket behind a cause: what it takes from our count (0 where only its value was corrected) and of our money.

    at: of the sale or qualification, or of the event that Meta has and we do not.
    """

    ticket_id: UUID
    at: datetime
    count: int
    value: Decimal


class Line(msgspec.Struct, frozen=True):
    """What one cause takes from our count on the way to Meta's; value in the report's currency, zero for leads."""

    cause: Cause
    count: int
    value: Decimal


class Side(msgspec.Struct, frozen=True):
    """Ours beside Meta's: ours = Σ lines + meta, in count and value. lines: every cause, the unexplained last."""

    ours: int
    meta: int
    ours_value: Decimal
    meta_value: Decimal
    lines: list[Line]

    @property
    def unexplained(self) -> Decimal | None:
        """What is not explained, as a part of ours; None where we have none."""
        return Decimal(abs(self.lines[-1].count)) / self.ours if self.ours else None


class Reconciliation(msgspec.Struct, frozen=True):
    """leads: our qualified tickets beside the leads Meta tells; purchases: our sales beside its purchases."""

    ask: Ask
    currency: str
    leads: Side
    purchases: Side


async def reconcile(conn: Connection, organization_id: UUID, ask: Ask, now: datetime) -> Reconciliation:
    """Why Meta says another number. Ours by the date of the sale, each row in its account's zone, as Meta counts too."""
    wanted = _wanted(ask)
    about = await scopes.load(conn, organization_id, check(wanted))
    answer = await reports.report(conn, organization_id, wanted, now)
    rows = [*answer.rows, *answer.special]
    told = answer.totals.amounts
    leads = await _lines(conn, about, wanted, LEADS)
    purchases = await _lines(conn, about, wanted, PURCHASES)
    zero = Decimal(0)
    return Reconciliation(
        wanted,
        about.currency,
        _side(sum(row.amounts.qualified for row in rows), told.meta_leads or 0, zero, zero, leads),
        _side(
            sum(row.amounts.sales for row in rows),
            told.meta_purchases or 0,
            sum((row.amounts.revenue for row in rows), zero),
            told.meta_purchase_value or zero,
            purchases,
        ),
    )


async def tickets(
    conn: Connection, organization_id: UUID, ask: Ask, events: tuple[str, ...], cause: Cause | None
) -> list[Part]:
    """The tickets behind a cause, newest first: their counts and values sum to its line. events: LEADS or PURCHASES.

    cause: None for all of ours, which sum to the side's ours and ours_value.
    """
    wanted = _wanted(ask)
    about = await scopes.load(conn, organization_id, check(wanted))
    rows = await _read(conn, about, wanted, events, TICKETS if cause else OURS, cause or "")
    return [
        Part(row["ticket_id"], row["at"], int(row["count"]), Decimal(row["value"] or 0) / 100) for row in rows
    ]


def _wanted(ask: Ask) -> Ask:
    """The same period of the same accounts: all that a reconciliation is narrowed by."""
    return Ask(
        level="account", since=ask.since, until=ask.until, accounts=ask.accounts, profiles=ask.profiles,
        within=tuple(parent for parent in ask.within if parent.kind == "account"), limit=1000, spent_only=False,
    )  # fmt: skip


async def _lines(
    conn: Connection, about: Scope, ask: Ask, events: tuple[str, ...]
) -> dict[str, tuple[int, Decimal]]:
    """cause → count and value, of all but the unexplained."""
    rows = await _read(conn, about, ask, events, CAUSED)
    return {row["cause"]: (int(row["count"] or 0), Decimal(row["value"] or 0) / 100) for row in rows}


async def _read(
    conn: Connection, about: Scope, ask: Ask, events: tuple[str, ...], of: LiteralString, cause: str = ""
) -> list[dict[str, Any]]:
    is_sale = events == PURCHASES
    statement = of.format(
        at="won_at" if is_sale else "qualified_at",
        value=SOLD if is_sale else NO_VALUE,
        with_value=TRUE if is_sale else FALSE,
    )
    values: dict[str, Any] = {"events": list(events), "since": ask.since, "until": ask.until, "cause": cause}
    async with conn.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(statement, scopes.values(about, ask) | values)).fetchall()


def _side(
    ours: int, meta: int, ours_value: Decimal, meta_value: Decimal, causes: dict[str, tuple[int, Decimal]]
) -> Side:
    """The lines so that they add up; what is left is the last one. Pure."""
    lines = [Line(cause, *causes.get(cause, (0, Decimal(0)))) for cause in CAUSES[:-1]]
    count = ours - meta - sum(line.count for line in lines)
    value = ours_value - meta_value - sum((line.value for line in lines), Decimal(0))
    return Side(ours, meta, ours_value, meta_value, [*lines, Line("unexplained", count, value)])
