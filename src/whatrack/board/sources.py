"""Which ads and campaigns an organization's tickets came from: the choices of the list's filters."""

from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection

LIMIT = 200
# One step of the index for each distinct ad, however many tickets each has; then the newest touch names it.
ADS: LiteralString = """
WITH RECURSIVE ad AS (
    SELECT min(meta_ad_id) AS id FROM ticket_tracking WHERE organization_id = %(organization)s AND meta_ad_id IS NOT NULL
    UNION ALL
    SELECT (SELECT min(k.meta_ad_id) FROM ticket_tracking k WHERE k.organization_id = %(organization)s AND k.meta_ad_id > ad.id)
    FROM ad WHERE ad.id IS NOT NULL
)
SELECT ad.id, coalesce(named.meta_ad_name, named.headline, ad.id) AS name FROM (SELECT id FROM ad WHERE id IS NOT NULL LIMIT %(limit)s) AS ad
CROSS JOIN LATERAL (SELECT k.meta_ad_name, k.headline FROM ticket_tracking k
                    WHERE k.organization_id = %(organization)s AND k.meta_ad_id = ad.id LIMIT 1) AS named
ORDER BY lower(coalesce(named.meta_ad_name, named.headline, ad.id)), ad.id
"""
CAMPAIGNS: LiteralString = """
WITH RECURSIVE campaign AS (
    SELECT min(meta_campaign_id) AS id FROM ticket_tracking WHERE organization_id = %(organization)s AND meta_campaign_id IS NOT NULL
    UNION ALL
    SELECT (SELECT min(k.meta_campaign_id) FROM ticket_tracking k
            WHERE k.organization_id = %(organization)s AND k.meta_campaign_id > campaign.id)
    FROM campaign WHERE campaign.id IS NOT NULL
)
SELECT campaign.id, coalesce(named.meta_campaign_name, campaign.id) AS name
FROM (SELECT id FROM campaign WHERE id IS NOT NULL LIMIT %(limit)s) AS campaign
CROSS JOIN LATERAL (SELECT k.meta_campaign_name FROM ticket_tracking k
                    WHERE k.organization_id = %(organization)s AND k.meta_campaign_id = campaign.id LIMIT 1) AS named
ORDER BY lower(coalesce(named.meta_campaign_name, campaign.id)), campaign.id
"""


class Source(msgspec.Struct, frozen=True):
    """An ad or campaign. name: as Meta or the ad's headline says it, else the id."""

    id: str
    name: str


async def ads(conn: Connection, organization_id: UUID) -> list[Source]:
    """The ads that tickets are credited to, by name; at most LIMIT."""
    return await _found(conn, ADS, organization_id)


async def campaigns(conn: Connection, organization_id: UUID) -> list[Source]:
    """The campaigns that tickets are credited to, by name; at most LIMIT."""
    return await _found(conn, CAMPAIGNS, organization_id)


async def _found(conn: Connection, statement: LiteralString, organization_id: UUID) -> list[Source]:
    async with conn.cursor(row_factory=class_row(Source)) as cursor:
        return await (
            await cursor.execute(statement, {"organization": organization_id, "limit": LIMIT})
        ).fetchall()
