"""What rows are called, and what else they say beside their sums: parents, status, reach, and how fresh an account is."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from whatrack.db import Connection
from whatrack.roi import silent
from whatrack.roi.answers import Freshness, Row
from whatrack.roi.ask import LEVELS, Ask, Level, Within
from whatrack.roi.metrics import NOTHING
from whatrack.roi.scope import Account, Scope
from whatrack.roi.sums import RANK

OF_ADS: LiteralString = """
SELECT m.ref::text AS key, m.meta_ad_id AS id, m.name, m.effective_status AS status, m.meta_ad_set_id AS adset_id,
       m.meta_ad_set_name AS adset_name, m.meta_campaign_id AS campaign_id, m.meta_campaign_name AS campaign_name,
       m.meta_account_id AS digits
FROM meta_ads m WHERE m.organization_id = %(organization)s AND m.ref = ANY(%(keys)s::int[])
"""
# Of what several ads have in common, the name that Meta told last, and the liveliest status.
OF_AD_SETS: LiteralString = f"""
SELECT DISTINCT ON (key) m.meta_ad_set_id AS key, m.meta_ad_set_id AS id, m.meta_ad_set_name AS name,
       first_value(m.effective_status) OVER (PARTITION BY m.meta_ad_set_id ORDER BY {RANK}, m.ref) AS status,
       m.meta_campaign_id AS campaign_id, m.meta_campaign_name AS campaign_name, m.meta_account_id AS digits
FROM meta_ads m WHERE m.organization_id = %(organization)s AND m.meta_ad_set_id = ANY(%(keys)s)
ORDER BY key, m.fetched_at DESC, m.ref
"""  # noqa: S608 - constants only
OF_CAMPAIGNS: LiteralString = f"""
SELECT DISTINCT ON (key) m.meta_campaign_id AS key, m.meta_campaign_id AS id, m.meta_campaign_name AS name,
       first_value(m.effective_status) OVER (PARTITION BY m.meta_campaign_id ORDER BY {RANK}, m.ref) AS status,
       m.meta_account_id AS digits
FROM meta_ads m WHERE m.organization_id = %(organization)s AND m.meta_campaign_id = ANY(%(keys)s)
ORDER BY key, m.fetched_at DESC, m.ref
"""  # noqa: S608 - constants only
OF: dict[Level, LiteralString] = {"campaign": OF_CAMPAIGNS, "adset": OF_AD_SETS, "ad": OF_ADS}
# Reach is of one ad and one day: never added up.
REACH: LiteralString = """
SELECT d.ad_ref::text, d.reach FROM meta_ad_insights_daily d
WHERE d.organization_id = %(organization)s AND d.account_ref = ANY(%(accounts)s) AND d.day = %(day)s AND d.ad_ref = ANY(%(keys)s::int[])
"""
# Of tickets that an ad brought, what it was called then; the last that differs from its name today.
NAMES_THEN: LiteralString = """
SELECT m.ref::text, k.meta_ad_name FROM meta_ads m CROSS JOIN LATERAL (
    SELECT k.meta_ad_name FROM ticket_tracking k WHERE k.organization_id = m.organization_id AND k.meta_ad_id = m.meta_ad_id
    AND k.meta_ad_name <> m.name ORDER BY k.last_touch_at DESC LIMIT 1) AS k
WHERE m.organization_id = %(organization)s AND m.ref = ANY(%(keys)s::int[])
"""
# What was not read since it ended is due, for ever if need be: insight_days_due holds those days, and four weeks beside them.
FRESHNESS: LiteralString = """
SELECT a.ref, s.whole_at, s.reason, (
    SELECT count(*) FROM insight_days d CROSS JOIN LATERAL (SELECT (d.day + 1)::timestamp AT TIME ZONE z.zone AS at) AS ended
    WHERE d.organization_id = a.organization_id AND d.account_id = a.id AND d.due_at IS NOT NULL
    AND d.day BETWEEN %(since)s AND %(until)s AND (d.fetched_at IS NULL OR d.fetched_at < d.day + 2) -- no zone's day ends later
    AND ended.at <= %(now)s AND (d.fetched_at IS NULL OR d.fetched_at < ended.at)
    ) AS gaps, EXISTS (
    SELECT FROM insight_days d WHERE d.organization_id = a.organization_id AND d.account_id = a.id
    AND d.fetched_at IS NOT NULL AND d.day BETWEEN %(since)s AND %(until)s) AS came
FROM unnest(%(refs)s::int[], %(zones)s::text[]) AS z (ref, zone)
JOIN meta_ad_accounts a ON a.organization_id = %(organization)s AND a.ref = z.ref
LEFT JOIN insight_accounts s ON s.organization_id = a.organization_id AND s.account_id = a.id
WHERE a.is_active OR s.account_id IS NOT NULL
ORDER BY a.folded_name || '', a.ref -- read in the index's order, each account was looked for among all
"""
CALLED: LiteralString = """
SELECT c.kind, c.id, c.name, a.ad_account_name FROM (
    SELECT 'account' AS kind, ad_account_id AS id, ad_account_name AS name, ad_account_id AS account FROM meta_ad_accounts
    WHERE organization_id = %(organization)s AND ad_account_id = ANY(%(account)s)
    UNION ALL (SELECT DISTINCT ON (meta_campaign_id) 'campaign', meta_campaign_id, meta_campaign_name, 'act_' || meta_account_id FROM meta_ads
        WHERE organization_id = %(organization)s AND meta_campaign_id = ANY(%(campaign)s) ORDER BY meta_campaign_id, fetched_at DESC, ref)
    UNION ALL (SELECT DISTINCT ON (meta_ad_set_id) 'adset', meta_ad_set_id, meta_ad_set_name, 'act_' || meta_account_id FROM meta_ads
        WHERE organization_id = %(organization)s AND meta_ad_set_id = ANY(%(adset)s) ORDER BY meta_ad_set_id, fetched_at DESC, ref)
    UNION ALL SELECT 'ad', meta_ad_id, name, 'act_' || meta_account_id FROM meta_ads WHERE organization_id = %(organization)s AND meta_ad_id = ANY(%(ad)s)
) AS c LEFT JOIN meta_ad_accounts a ON a.organization_id = %(organization)s AND a.ad_account_id = c.account
"""
NAMES_AT_MOST = 200  # rows on a page for which yesterday's names are looked up


class Called(msgspec.Struct, frozen=True):
    """A row's name, and its account's where that is one of the organization's."""

    name: str
    account: str | None


async def called(conn: Connection, organization_id: UUID, within: Sequence[Within]) -> dict[Within, Called]:
    """What rows are called today; without those that are unknown or have no name."""
    if not within:
        return {}
    ids: dict[str, Any] = {level: [each.id for each in within if each.kind == level] for level in LEVELS}
    found = await (await conn.execute(CALLED, {"organization": organization_id, **ids})).fetchall()
    return {Within(kind, key): Called(name, account) for kind, key, name, account in found if name}


async def rows(conn: Connection, about: Scope, ask: Ask, keys: Sequence[str]) -> dict[str, Row]:
    """key → the row without its amounts."""
    if ask.level == "account":
        return {str(account.ref): _of_account(account) for account in about.accounts}
    by_digits = {account.digits: account for account in about.accounts}
    async with conn.cursor(row_factory=dict_row) as cursor:
        values = {"organization": about.organization_id, "keys": list(keys)}
        found = await (await cursor.execute(OF[ask.level], values)).fetchall()
    then = await _names_then(conn, about, keys) if ask.level == "ad" else {}
    known = {
        row["key"]: _of(ask.level, row, by_digits.get(row["digits"]), then.get(row["key"])) for row in found
    }
    return {key: known.get(key) or Row(kind=ask.level, id=key, name=None, amounts=NOTHING) for key in keys}


def _of_account(account: Account) -> Row:
    return Row(
        kind="account",
        id=account.ad_account_id,
        name=account.name,
        amounts=NOTHING,
        status="ACTIVE" if account.account_status == 1 else f"ACCOUNT_{account.account_status}",
        is_active=account.is_active,
        account_id=account.ad_account_id,
        account_name=account.name,
        currency=account.currency,
        zone=account.zone,
    )


def _of(level: Level, row: dict[str, Any], account: Account | None, then: str | None) -> Row:
    parents = ("campaign_id", "campaign_name", "adset_id", "adset_name")
    return Row(
        kind=level,
        id=row["id"],
        name=row["name"],
        amounts=NOTHING,
        status=row["status"],
        name_then=then,
        is_active=account is not None and account.is_active,
        account_id=account.ad_account_id if account else None,
        account_name=account.name if account else None,
        currency=account.currency if account else None,
        zone=account.zone if account else None,
        **{name: row[name] for name in parents if name in row},
    )


async def _names_then(conn: Connection, about: Scope, keys: Sequence[str]) -> dict[str, str]:
    if len(keys) > NAMES_AT_MOST:
        return {}
    values = {"organization": about.organization_id, "keys": list(keys)}
    return dict(await (await conn.execute(NAMES_THEN, values)).fetchall())


async def reach(conn: Connection, about: Scope, ask: Ask, keys: Sequence[str]) -> dict[str, int]:
    """key → reach, where it is known: of ads on one day."""
    if ask.level != "ad" or ask.since != ask.until:
        return {}
    values = {
        "organization": about.organization_id,
        "accounts": [account.ref for account in about.asked],
        "day": ask.since,
        "keys": list(keys),
    }
    return dict(await (await conn.execute(REACH, values)).fetchall())


async def freshness(conn: Connection, about: Scope, ask: Ask, now: datetime) -> list[Freshness]:
    """How fresh each account's spend is that was ever on, by name."""
    accounts = {account.ref: account for account in about.asked}
    values = {
        "organization": about.organization_id,
        "refs": list(accounts),
        "zones": [account.zone for account in accounts.values()],
        "since": ask.since,
        "until": ask.until,
        "now": now,
    }
    found = await (await conn.execute(FRESHNESS, values)).fetchall()
    ids = [account.id for account in about.asked]
    days, people = Counter[str](), Counter[str]()
    for each in await silent.find(conn, about.organization_id, ids, ask.since, ask.until):
        days[each.ad_account_id] += 1
        people[each.ad_account_id] += each.people
    return [
        Freshness(
            account := accounts[ref].ad_account_id,
            accounts[ref].name,
            whole_at,
            gaps,
            reason,
            came,
            days[account],
            people[account],
        )
        for ref, whole_at, reason, gaps, came in found
    ]
