"""What a process holds from its start to its end, as pages ask for it. Async, or FastAPI would fetch it from a thread."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from whatrack.connections.keys import Keys
from whatrack.crypto import Sealer
from whatrack.meta.graph import Graph
from whatrack.settings import Settings
from whatrack.tenants.passwords import Passwords


async def _settings(request: Request) -> Settings:
    found: Settings = request.app.state.settings
    return found


async def _sealer(request: Request) -> Sealer:
    found: Sealer = request.app.state.sealer
    return found


async def _passwords(request: Request) -> Passwords:
    found: Passwords = request.app.state.passwords
    return found


async def _graph(request: Request) -> Graph:
    found: Graph = request.app.state.graph
    return found


async def _keys(request: Request) -> Keys:
    found: Keys = request.app.state.keys
    return found


async def _poke(request: Request) -> Callable[[str], None]:
    found: Callable[[str], None] = request.app.state.poke
    return found


TheSettings = Annotated[Settings, Depends(_settings)]
TheSealer = Annotated[Sealer, Depends(_sealer)]
ThePasswords = Annotated[Passwords, Depends(_passwords)]
TheGraph = Annotated[Graph, Depends(_graph)]
TheKeys = Annotated[Keys, Depends(_keys)]
ThePoke = Annotated[Callable[[str], None], Depends(_poke)]  # says, after a commit, that a loop has work
