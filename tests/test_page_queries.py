"""How many statements a page sends: a fixed number, however many tickets there are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from psycopg import AsyncCursor
from typing_extensions import override

from tests.conftest import settings_for_tests
from tests.support import NOON, SEALER, ad, body, change, make_shop, message, process, rows
from tests.test_api_errors import running
from tests.test_pages_tickets import visiting
from whatrack.db import Connection, Database
from whatrack.web.app import build_app


class CountingDatabase(Database):
    """Counts the statements that pages send, the scope's own BEGIN left out."""

    def __init__(self, conninfo: str) -> None:
        super().__init__(conninfo)
        self.statements: list[str] = []

    @override
    def system(self) -> Any:
        return self._counted(super().system())

    @override
    def tenant(self, organization_id: Any) -> Any:
        return self._counted(super().tenant(organization_id))

    @override
    def installation(self) -> Any:
        return self._counted(super().installation())

    @asynccontextmanager
    async def _counted(self, opened: Any) -> AsyncIterator[Connection]:
        statements = self.statements

        class Counting(AsyncCursor[Any]):
            @override
            async def execute(self, query: Any, *arguments: Any, **more: Any) -> Any:
                statements.append(str(query)[:60])
                return await super().execute(query, *arguments, **more)

        async with opened as conn:
            before, conn.cursor_factory = conn.cursor_factory, Counting
            try:
                yield conn
            finally:
                conn.cursor_factory = before


# Two for the session and its organizations; the rest is the page's own.
MOST = {
    "/tickets": 8,
    "/tickets?view=list": 6,
    "/tickets?view=list&q=pessoa": 6,
    "/tickets/{ticket}": 11,
    "/tickets/new": 3,
    "/roi": 31,
    "/roi?level=ad&basis=click&period=7&compare=0": 31,
    "/roi/tickets?metric=leads&row=total:": 18,
    "/roi/number?metric=roas&row=total:": 14,
    "/roi/reconciliation": 14,
    "/roi/time": 8,
    "/roi/time?basis=click": 11,
    "/roi?level=ad&within=campaign:1&within=campaign:2&refunds=sale": 38,
    "/roi/people": 9,
    "/roi/days": 9,
    "/roi/export.csv?level=ad": 14,
    "/settings/costs": 8,
}


@pytest.mark.parametrize(("path", "most"), MOST.items())
async def test_a_page_sends_as_many_statements_for_sixty_tickets_as_for_one(
    db: Database, path: str, most: int
):
    shop = await make_shop(db)
    counting = CountingDatabase(db.conninfo)
    await counting.open()
    counts = []
    async with running(build_app(settings_for_tests(), counting, SEALER, None)) as session:
        address = str(session._base_url)
        async with visiting(db, address, shop) as browser:
            for people in (range(1), range(60)):
                said = [
                    message(
                        f"55119{n:08}",
                        at=NOON - timedelta(minutes=n),
                        text=f"Oi {n}",
                        referral=ad(clid=f"Aff-{n}"),
                    )
                    for n in people
                ]
                await process(db, body(change(shop.number, *said)))
                ticket = (await rows(db, "SELECT id FROM tickets ORDER BY opened_at LIMIT 1"))[0]["id"]
                counting.statements.clear()
                async with browser.get(path.format(ticket=ticket)) as answer:
                    assert answer.status == 200
                counts.append(len(counting.statements))
    await counting.close()
    assert counts[0] == counts[1] <= most, counting.statements
