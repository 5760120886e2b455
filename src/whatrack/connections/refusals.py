"""A failed call of Graph as the answer to whoever asked for it: a stable code, and a status a program can act on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from whatrack.errors import Refused
from whatrack.meta.errors import GraphError, NoAnswer, Transient, VersionGone

WITHIN_S = 15.0  # a person waits; browsers here give up after 20


@asynccontextmanager
async def answered(field: str | None = None, within_s: float = WITHIN_S) -> AsyncIterator[None]:
    """GraphErrors inside become Refused: 503 when it may work later, else 422 about the field, or 409 without one.

    So does what takes longer than a person waits. code: the error's reason, as errors.py of meta/ lists them.
    """
    try:
        async with asyncio.timeout(within_s):
            yield
    except TimeoutError:
        raise _refused(NoAnswer("no_answer"), field) from None
    except GraphError as error:
        raise _refused(error, field) from None


def _refused(error: GraphError, field: str | None) -> Refused:
    if isinstance(error, Transient | VersionGone):
        return Refused(error.reason, f"Meta does not answer as it should right now: {error}.", status=503)
    return Refused(error.reason, f"Meta refused: {error}.", status=422 if field else 409, field=field)
