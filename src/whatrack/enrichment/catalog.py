"""The catalog of ads and what could not be looked up, at rest. One writer of `meta_ads` and `meta_ad_lookups`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.attribution import tracking
from whatrack.attribution.tracking import NamedAd
from whatrack.db import Connection
from whatrack.units import NAME_LENGTH

AT_ONCE = 50  # what one call of Meta's takes
LEASE = timedelta(seconds=60)
FRESH = timedelta(days=1)  # a name this young needs no asking
REFRESH_PAUSE = timedelta(hours=1)  # after names were asked for anew, whatever came of it
# Reasons after which a ticket still waits; the others end it, until somebody is connected or the pause is over.
PASSING = ("throttled", "transient")
PAUSES = tuple(timedelta(minutes=each) for each in (10, 60, 360, 1440, 4320, 10080))
SHORT_PAUSES = tuple(timedelta(seconds=each) for each in (15, 60, 300, 900))

# Distinct (organization, ad) that tickets wait for, without reading every ticket: from ticket_tracking_unnamed, one probe each.
WAITING: LiteralString = """
WITH RECURSIVE waiting AS (
    (SELECT organization_id, meta_ad_id FROM ticket_tracking
     WHERE meta_enrichment_status = 'PENDING' AND meta_ad_id IS NOT NULL ORDER BY organization_id, meta_ad_id LIMIT 1)
    UNION ALL
    SELECT following.* FROM waiting w CROSS JOIN LATERAL (
        SELECT k.organization_id, k.meta_ad_id FROM ticket_tracking k
        WHERE k.meta_enrichment_status = 'PENDING' AND k.meta_ad_id IS NOT NULL
        AND (k.organization_id, k.meta_ad_id) > (w.organization_id, w.meta_ad_id)
        ORDER BY k.organization_id, k.meta_ad_id LIMIT 1) AS following
)
"""
# Those that may be looked up now, and the refused ones whose pause is over: of one organization.
DUE: LiteralString = f"""{WAITING}
, due AS (
    SELECT w.organization_id, w.meta_ad_id FROM waiting w LEFT JOIN meta_ad_lookups l USING (organization_id, meta_ad_id)
    WHERE l.meta_ad_id IS NULL OR l.next_attempt_at <= now() OR l.reason <> ALL(%(passing)s)
    UNION
    SELECT organization_id, meta_ad_id FROM (SELECT organization_id, meta_ad_id FROM meta_ad_lookups
        WHERE next_attempt_at <= now() ORDER BY next_attempt_at LIMIT %(limit)s) AS l
), first AS (SELECT organization_id FROM due GROUP BY 1 ORDER BY random() LIMIT 1) -- any: one with many ads holds up no other
SELECT organization_id, due.meta_ad_id, a.fetched_at > now() - %(fresh)s AS fresh, a.meta_account_id, l.reason,
       l.next_attempt_at > now() AS later, coalesce(l.attempts, 0) AS attempts
FROM due JOIN first USING (organization_id)
LEFT JOIN meta_ads a USING (organization_id, meta_ad_id) LEFT JOIN meta_ad_lookups l USING (organization_id, meta_ad_id)
ORDER BY due.meta_ad_id LIMIT %(limit)s
"""  # noqa: S608 - constants only
# Only one process gets each: the row says until when it is being asked for.
LEASE_ADS: LiteralString = """
INSERT INTO meta_ad_lookups AS l (organization_id, meta_ad_id, asked_at, next_attempt_at)
SELECT %(organization)s, ad, now(), now() + %(for)s FROM unnest(%(ads)s::text[]) AS ad ORDER BY ad
ON CONFLICT (organization_id, meta_ad_id) DO UPDATE SET asked_at = now(), next_attempt_at = now() + %(for)s
WHERE l.next_attempt_at <= now()
RETURNING meta_ad_id
"""
REFUSE: LiteralString = """
UPDATE meta_ad_lookups l SET reason = n.reason, attempts = l.attempts + 1, next_attempt_at = n.at
FROM unnest(%(ads)s::text[], %(reasons)s::text[], %(ats)s::timestamptz[]) AS n (ad, reason, at)
WHERE l.organization_id = %(organization)s AND l.meta_ad_id = n.ad
"""
FOUND: LiteralString = "DELETE FROM meta_ad_lookups WHERE organization_id = %s AND meta_ad_id = ANY(%s)"
NAMES = ("name", "ad_set_name", "campaign_name")
# In two steps, because an upsert takes a new ref even of what is there. New ads first: where an ad that is known moves, its
# account's sums are locked (0017_ad_parents.sql), and nobody may wait for an ad after that.
PUT_KNOWN: LiteralString = """
WITH told AS (
    SELECT * FROM unnest(%(id)s::text[], %(name)s::text[], %(status)s::text[], %(ad_set_id)s::text[], %(ad_set_name)s::text[],
        %(campaign_id)s::text[], %(campaign_name)s::text[], %(account_id)s::text[])
        AS n (id, name, status, ad_set_id, ad_set_name, campaign_id, campaign_name, account_id)
), known AS (
    SELECT told.* FROM meta_ads a JOIN told ON a.organization_id = %(organization)s AND a.meta_ad_id = told.id
    ORDER BY told.id FOR NO KEY UPDATE OF a
)
UPDATE meta_ads a SET name = k.name, effective_status = k.status, meta_ad_set_id = k.ad_set_id, meta_ad_set_name = k.ad_set_name,
    meta_campaign_id = k.campaign_id, meta_campaign_name = k.campaign_name, meta_account_id = k.account_id, fetched_at = now()
FROM known k WHERE a.organization_id = %(organization)s AND a.meta_ad_id = k.id
"""
PUT_NEW: LiteralString = """
INSERT INTO meta_ads (organization_id, meta_ad_id, name, effective_status, meta_ad_set_id, meta_ad_set_name, meta_campaign_id,
                      meta_campaign_name, meta_account_id, fetched_at)
SELECT %(organization)s, n.*, now() FROM unnest(%(id)s::text[], %(name)s::text[], %(status)s::text[], %(ad_set_id)s::text[],
    %(ad_set_name)s::text[], %(campaign_id)s::text[], %(campaign_name)s::text[], %(account_id)s::text[]) AS n (id)
WHERE NOT EXISTS (SELECT FROM meta_ads a WHERE a.organization_id = %(organization)s AND a.meta_ad_id = n.id)
ORDER BY n.id
ON CONFLICT (organization_id, meta_ad_id) DO UPDATE SET name = excluded.name, effective_status = excluded.effective_status,
    meta_ad_set_id = excluded.meta_ad_set_id, meta_ad_set_name = excluded.meta_ad_set_name, meta_campaign_id = excluded.meta_campaign_id,
    meta_campaign_name = excluded.meta_campaign_name, meta_account_id = excluded.meta_account_id, fetched_at = now()
"""
# Insights tell names and no status: new ads are left a day old, so that they are asked for soon. Only what differs is
# written, and only what is new takes a number, because hours and hours of the same names would use them up.
RENAMED: LiteralString = """
WITH told AS (
    SELECT * FROM unnest(%(id)s::text[], %(name)s::text[], %(ad_set_id)s::text[], %(ad_set_name)s::text[], %(campaign_id)s::text[],
        %(campaign_name)s::text[], %(account_id)s::text[]) AS n (id, name, ad_set_id, ad_set_name, campaign_id, campaign_name, account_id)
), changed AS (
    SELECT told.* FROM meta_ads a JOIN told ON a.organization_id = %(organization)s AND a.meta_ad_id = told.id
    WHERE (a.name, a.meta_ad_set_id, a.meta_ad_set_name, a.meta_campaign_id, a.meta_campaign_name, a.meta_account_id)
        IS DISTINCT FROM (told.name, told.ad_set_id, told.ad_set_name, told.campaign_id, told.campaign_name, told.account_id)
    ORDER BY told.id FOR NO KEY UPDATE OF a
)
UPDATE meta_ads a SET name = c.name, meta_ad_set_id = c.ad_set_id, meta_ad_set_name = c.ad_set_name, meta_campaign_id = c.campaign_id,
    meta_campaign_name = c.campaign_name, meta_account_id = c.account_id
FROM changed c WHERE a.organization_id = %(organization)s AND a.meta_ad_id = c.id
"""
FIRST_SEEN: LiteralString = """
INSERT INTO meta_ads (organization_id, meta_ad_id, name, meta_ad_set_id, meta_ad_set_name, meta_campaign_id, meta_campaign_name,
                      meta_account_id, fetched_at)
SELECT %(organization)s, n.*, now() - %(fresh)s FROM unnest(%(id)s::text[], %(name)s::text[], %(ad_set_id)s::text[],
    %(ad_set_name)s::text[], %(campaign_id)s::text[], %(campaign_name)s::text[], %(account_id)s::text[]) AS n (id)
WHERE NOT EXISTS (SELECT FROM meta_ads a WHERE a.organization_id = %(organization)s AND a.meta_ad_id = n.id)
ORDER BY n.id
ON CONFLICT DO NOTHING
"""
OF_ACCOUNT: LiteralString = """
SELECT meta_ad_id FROM meta_ads WHERE organization_id = %s AND meta_account_id = %s ORDER BY meta_ad_id
"""
KNOWN: LiteralString = """
SELECT meta_ad_id AS ad_id, name, meta_ad_set_id AS ad_set_id, meta_ad_set_name AS ad_set_name, meta_campaign_id AS campaign_id,
       meta_campaign_name AS campaign_name, meta_account_id AS account_id,
       CASE WHEN effective_status IN ('DELETED', 'NOT_VISIBLE') THEN 'deleted' END AS remark
FROM meta_ads WHERE organization_id = %s AND meta_ad_id = ANY(%s)
"""
RETRY: LiteralString = """
UPDATE meta_ad_lookups SET next_attempt_at = now(), attempts = 0
WHERE organization_id = %s AND reason IS NOT NULL AND (%s::text IS NULL OR meta_ad_id = %s)
"""
# An account that was not there when an ad was asked for may be the ad's.
RETRY_WITH_ACCOUNT: LiteralString = """
UPDATE meta_ad_lookups l SET next_attempt_at = now(), attempts = 0 WHERE reason IS NOT NULL AND next_attempt_at > now()
AND EXISTS (SELECT FROM meta_ad_accounts a WHERE a.organization_id = l.organization_id AND a.created_at > l.asked_at)
"""
# Those of one account whose names are old; asked_at keeps them from being asked for again at once, here or in another process.
STALE: LiteralString = """
WITH stale AS (
    SELECT organization_id, meta_account_id, meta_ad_id FROM meta_ads
    WHERE fetched_at < now() - %(fresh)s AND effective_status IS DISTINCT FROM 'DELETED'
    AND (asked_at IS NULL OR asked_at < now() - %(pause)s)
    ORDER BY fetched_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
), first AS (SELECT organization_id, meta_account_id FROM stale LIMIT 1)
UPDATE meta_ads a SET asked_at = now() FROM stale JOIN first USING (organization_id, meta_account_id)
WHERE a.organization_id = stale.organization_id AND a.meta_ad_id = stale.meta_ad_id
RETURNING a.organization_id, a.meta_account_id, a.meta_ad_id
"""
GONE: LiteralString = """
UPDATE meta_ads SET effective_status = 'NOT_VISIBLE', fetched_at = now() WHERE organization_id = %s AND meta_ad_id = ANY(%s)
"""
UNNAMED: LiteralString = """
SELECT l.meta_ad_id, l.reason, l.attempts, l.asked_at, l.next_attempt_at,
       (SELECT count(*) FROM ticket_tracking k WHERE k.organization_id = l.organization_id AND k.meta_ad_id = l.meta_ad_id) AS tickets
FROM meta_ad_lookups l WHERE l.organization_id = %s AND l.reason IS NOT NULL ORDER BY l.asked_at DESC, l.meta_ad_id LIMIT %s
"""


class CatalogAd(msgspec.Struct, frozen=True):
    """An ad as it is called today."""

    id: str
    name: str | None
    status: str | None
    ad_set_id: str | None
    ad_set_name: str | None
    campaign_id: str | None
    campaign_name: str | None
    account_id: str


class Wanted(msgspec.Struct, frozen=True):
    """An ad that tickets wait for. fresh: the catalog knows it; later: it was refused, and its pause is not over."""

    organization_id: UUID
    meta_ad_id: str
    fresh: bool | None
    meta_account_id: str | None
    reason: str | None
    later: bool | None
    attempts: int


class Unnamed(msgspec.Struct, frozen=True):
    """An ad that could not be looked up, and how many tickets came by it."""

    meta_ad_id: str
    reason: str
    attempts: int
    asked_at: datetime
    next_attempt_at: datetime
    tickets: int


async def due(conn: Connection) -> list[Wanted]:
    """Up to 50 ads of one organization that something can be done about (system scope)."""
    async with conn.cursor(row_factory=class_row(Wanted)) as cursor:
        values = {"passing": list(PASSING), "limit": AT_ONCE, "fresh": FRESH}
        return await (await cursor.execute(DUE, values)).fetchall()


async def lease(conn: Connection, organization_id: UUID, ads: Collection[str]) -> list[str]:
    """Which of these ads this process may ask for now."""
    values = {"organization": organization_id, "ads": list(ads), "for": LEASE}
    return [row[0] for row in await (await conn.execute(LEASE_ADS, values)).fetchall()]


async def name_known(conn: Connection, organization_id: UUID, ads: Sequence[str]) -> int:
    """Name up to tracking.AT_ONCE tickets of ads that the catalog knows; how many."""
    async with conn.cursor(row_factory=class_row(NamedAd)) as cursor:
        known = await (await cursor.execute(KNOWN, [organization_id, list(ads)])).fetchall()
    return await tracking.name_ads(conn, organization_id, known)


async def put(conn: Connection, organization_id: UUID, ads: Sequence[CatalogAd]) -> None:
    """Write ads as they are called today."""
    if ads:
        values = {**_columns(ads), "organization": organization_id}
        await conn.execute(PUT_NEW, values)
        await conn.execute(PUT_KNOWN, values)


async def seen(conn: Connection, organization_id: UUID, ads: Sequence[CatalogAd]) -> None:
    """Ads that insights named, as they are called today; their statuses, which insights do not tell, stay."""
    if ads:
        values = {**_columns(ads), "organization": organization_id, "fresh": FRESH}
        await conn.execute(FIRST_SEEN, values)
        await conn.execute(RENAMED, values)


def _columns(ads: Sequence[CatalogAd]) -> dict[str, list[str | None]]:
    columns = {name: [getattr(ad, name) for ad in ads] for name in CatalogAd.__struct_fields__}
    for name in NAMES:
        columns[name] = [told and told[:NAME_LENGTH] for told in columns[name]]
    return columns


async def of_account(conn: Connection, organization_id: UUID, account_id: str) -> list[str]:
    """The ids of every ad that was ever seen in an account. account_id: digits."""
    found = await (await conn.execute(OF_ACCOUNT, [organization_id, account_id])).fetchall()
    return [row[0] for row in found]


async def found(conn: Connection, organization_id: UUID, ads: Sequence[str]) -> None:
    """Ads that were looked up and named: nobody has to ask for them again."""
    await conn.execute(FOUND, [organization_id, list(ads)])


async def refused(
    conn: Connection,
    organization_id: UUID,
    reasons: Mapping[str, str],
    attempts: Mapping[str, int],
    now: datetime,
    wait: timedelta | None = None,
) -> None:
    """Ads that could not be looked up: ad id → reason. wait: as Meta asked; else the pause grows with the attempts."""
    if not reasons:
        return
    ats = [now + (wait or pause_after(reason, attempts.get(ad, 0))) for ad, reason in reasons.items()]
    values = {"organization": organization_id, "ads": list(reasons), "reasons": list(reasons.values())}
    await conn.execute(REFUSE, {**values, "ats": ats})


def pause_after(reason: str, attempts: int) -> timedelta:
    """How long to leave an ad alone after so many refusals."""
    pauses = SHORT_PAUSES if reason in PASSING else PAUSES
    return pauses[min(attempts, len(pauses) - 1)]


async def retry(conn: Connection, organization_id: UUID, ad_id: str | None = None) -> int:
    """Ask again at once for what was refused: one ad, or all because a profile or account was added. How many."""
    return (await conn.execute(RETRY, [organization_id, ad_id, ad_id])).rowcount


async def retry_with_new_accounts(conn: Connection) -> int:
    """Ask again where an ad account was added since (system scope). How many."""
    return (await conn.execute(RETRY_WITH_ACCOUNT)).rowcount


async def unnamed(conn: Connection, organization_id: UUID, limit: int = 200) -> list[Unnamed]:
    """The ads without names, the last asked for first."""
    async with conn.cursor(row_factory=class_row(Unnamed)) as cursor:
        return await (await cursor.execute(UNNAMED, [organization_id, limit])).fetchall()


async def stale(conn: Connection) -> tuple[UUID, str, list[str]] | None:
    """(organization, account, ads) whose names are a day old, this process's to ask for (system scope); None when none is."""
    values = {"fresh": FRESH, "pause": REFRESH_PAUSE, "limit": AT_ONCE}
    found = await (await conn.execute(STALE, values)).fetchall()
    return (found[0][0], found[0][1], sorted(row[2] for row in found)) if found else None


async def gone(conn: Connection, organization_id: UUID, ads: Collection[str]) -> None:
    """Ads that nobody shows any more; their last names stay."""
    await conn.execute(GONE, [organization_id, list(ads)])
