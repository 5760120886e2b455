"""A Graph client of the sandbox, for tests that speak HTTP to it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from tests.sandbox_support import still_sandbox
from whatrack.meta.calls import Token
from whatrack.meta.graph import Graph
from whatrack.sandbox.graph import NEWEST
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.server import served


@dataclass(frozen=True)
class Meta:
    """A sandbox that is served, and where."""

    sandbox: Sandbox
    base_url: str

    @property
    def token(self) -> Token:
        """Thiago's, with every permission."""
        app = self.sandbox.cast.ads_app
        return Token(self.sandbox.token.value, app.secret, app.id)


@contextmanager
def a_meta(seed: int = 1) -> Iterator[Meta]:
    sandbox = still_sandbox(seed)
    with served(sandbox) as base_url:
        yield Meta(sandbox, base_url)


@asynccontextmanager
async def a_graph(meta: Meta, **more: float) -> AsyncIterator[Graph]:
    graph = Graph(meta.base_url, NEWEST, **more)
    yield graph
    await graph.close()
