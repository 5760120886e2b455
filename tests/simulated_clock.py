"""A database whose clock a test moves, as the demo moves its own: see whatrack.demo.clock."""

from whatrack.db import Database
from whatrack.demo.clock import MovedClock


class SimulatedClock(MovedClock):
    """now(), as far from the real one as `move` says. Use it inside `async with`; it goes with it."""

    async def __aenter__(self) -> "SimulatedClock":
        await self.start(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.remove()

    async def open(self) -> Database:
        """The database as its users see it, with the moved clock."""
        db = Database(self.conninfo)
        await db.open()
        return db
