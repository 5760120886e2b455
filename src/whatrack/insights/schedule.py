"""Which account is fetched next, and by whom: one row an account, leased to one process at a time. One writer of `insight_accounts`."""

from typing import LiteralString

from whatrack.db import Connection

# Accounts that were turned on since; those that were turned off rest, and what they spent stays.
TURNED_ON: LiteralString = """
INSERT INTO insight_accounts AS s (organization_id, account_id, next_at)
SELECT a.organization_id, a.id, now() FROM meta_ad_accounts a
LEFT JOIN insight_accounts s ON s.organization_id = a.organization_id AND s.account_id = a.id
WHERE a.is_active AND s.next_at IS NULL
ORDER BY a.organization_id, a.id
ON CONFLICT (organization_id, account_id) DO UPDATE SET next_at = now() WHERE s.next_at IS NULL
"""
TURNED_OFF: LiteralString = """
UPDATE insight_accounts s SET next_at = NULL FROM meta_ad_accounts a
WHERE s.next_at <= now() AND a.organization_id = s.organization_id AND a.id = s.account_id AND NOT a.is_active
"""


async def follow_accounts(conn: Connection) -> int:
    """Begin with accounts that were turned on, rest with those that were turned off (system scope). How many."""
    on = (await conn.execute(TURNED_ON)).rowcount
    return on + (await conn.execute(TURNED_OFF)).rowcount
