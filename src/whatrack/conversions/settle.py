"""What became of a request, written to its events and attempts: only the holder of the lease does, but a proof always counts."""

from datetime import timedelta
from typing import LiteralString
from uuid import UUID

import msgspec

from whatrack.conversions import rules
from whatrack.conversions.claim import Claim
from whatrack.db import Connection
from whatrack.meta.capi import Verdict

END_ATTEMPTS: LiteralString = """
UPDATE meta_conversion_attempts SET ended_at = now(), outcome = %(outcome)s, duration_ms = %(ms)s, http_status = %(http_status)s,
    error_code = %(error_code)s, error_message = %(error_message)s, fbtrace_id = %(fbtrace_id)s, response = %(response)s::json
WHERE organization_id = %(organization)s AND lease_id = %(lease)s AND event_row_id = ANY(%(ids)s) AND number = ANY(%(numbers)s)
"""
# Whoever holds the lease by now. A failed lead whose click another ticket has reported meanwhile keeps its state: that click is told.
ACCEPTED: LiteralString = """
UPDATE meta_conversion_events e SET status = 'SENT', sent_at = now(), fbtrace_id = %(fbtrace_id)s, error_code = NULL,
    error_message = NULL, hold_reason = NULL, lease_id = NULL, lease_until = NULL, trouble = 0, updated_at = now()
WHERE organization_id = %(organization)s AND id = ANY(%(ids)s)
AND (status = 'PENDING' OR (status IN ('FAILED', 'EXPIRED_WINDOW', 'SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE') AND NOT (event_name = 'LeadSubmitted' AND EXISTS (
    SELECT FROM meta_conversion_events o WHERE o.organization_id = e.organization_id AND o.ctwa_clid_hash = e.ctwa_clid_hash
    AND o.event_name = 'LeadSubmitted' AND o.status IN ('PENDING', 'SENT')))))
"""
MINE: LiteralString = """
WHERE organization_id = %(organization)s AND id = ANY(%(ids)s) AND lease_id = %(lease)s AND status = 'PENDING'
"""
ENDED: LiteralString = f"""
UPDATE meta_conversion_events SET status = %(status)s, error_code = %(error_code)s, error_message = %(error_message)s,
    fbtrace_id = %(fbtrace_id)s, hold_reason = NULL, lease_id = NULL, lease_until = NULL, trouble = 0, updated_at = now() {MINE}
"""  # noqa: S608 - constants only
HALVED: LiteralString = f"""
UPDATE meta_conversion_events SET batch_limit = %(limit)s, next_attempt_at = now(), hold_reason = 'halved', lease_id = NULL,
    lease_until = NULL, updated_at = now() {MINE}
"""  # noqa: S608 - constants only
# The pause grows with each attempt that came to nothing; it counts for these events alone.
AGAIN: LiteralString = f"""
UPDATE meta_conversion_events SET hold_reason = %(reason)s, error_code = %(error_code)s, error_message = %(error_message)s,
    fbtrace_id = %(fbtrace_id)s, trouble = trouble + %(trouble)s, was_unknown = was_unknown OR %(reason)s = 'unknown',
    next_attempt_at = now() + coalesce(%(wait)s, (%(pauses)s::interval[])[least(trouble + 1, cardinality(%(pauses)s::interval[]))])
                      * (0.9 + random() * 0.2),
    lease_id = NULL, lease_until = NULL, updated_at = now() {MINE}
"""  # noqa: S608 - constants only

TOO_OLD = "100/2804003"
# What an event waits for after each outcome that is not the end, and for how long; None: the growing pause.
WAITS: dict[str, tuple[str, timedelta | None]] = {
    "transient": ("transient", None),
    "unknown": ("unknown", None),
    "not_counted": ("uncounted", None),
    "token": ("token", rules.SLOW_PAUSE),
    "permission": ("permission", rules.SLOW_PAUSE),
    "blocked": ("blocked", rules.BLOCKED_PAUSE),
}


class Proof(msgspec.Struct, frozen=True):
    """What Meta answered, as it is kept. error_code: '100/2804087'; response: JSON."""

    http_status: int | None
    error_code: str | None
    error_message: str | None
    fbtrace_id: str | None
    response: str | None
    ms: int


async def end_attempts(conn: Connection, claim: Claim, outcome: str, proof: Proof) -> None:
    """Write the answer to the attempts that were made with the token in use."""
    values = {**_about(claim), **msgspec.structs.asdict(proof), "outcome": outcome}
    await conn.execute(END_ATTEMPTS, {**values, "numbers": [event.attempts + 1 for event in claim.events]})


async def settle(conn: Connection, claim: Claim, verdict: Verdict, proof: Proof) -> None:
    """Write what an answer means for the events of its request."""
    values = {**_about(claim), **msgspec.structs.asdict(proof)}
    match verdict.outcome:
        case "accepted":
            await conn.execute(ACCEPTED, values)
        case "refused":
            status = "EXPIRED_WINDOW" if proof.error_code == TOO_OLD else "FAILED"
            await conn.execute(ENDED, {**values, "status": status})
        case "halve":
            await conn.execute(HALVED, {**values, "limit": rules.next_limit(len(claim.events))})
        case "throttled":
            wait = timedelta(seconds=verdict.wait_s)
            await _again(conn, values, "throttled", wait, trouble=0)
        case outcome:
            reason, pause = WAITS[outcome]
            await _again(conn, values, reason, pause, trouble=1)


async def _again(
    conn: Connection, values: dict[str, object], reason: str, wait: timedelta | None, *, trouble: int
) -> None:
    more = {"reason": reason, "wait": wait, "trouble": trouble, "pauses": list(rules.PAUSES)}
    await conn.execute(AGAIN, {**values, **more})


def _about(claim: Claim) -> dict[str, object]:
    ids: list[UUID] = claim.ids
    return {"organization": claim.organization_id, "lease": claim.lease_id, "ids": ids}
