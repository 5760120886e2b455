"""A failed call of Graph as the answer to whoever asked for it: a stable code, and a status a program can act on."""

from collections.abc import Iterator
from contextlib import contextmanager

from whatrack.errors import Refused
from whatrack.meta.errors import GraphError, Transient, VersionGone


@contextmanager
def answered(field: str | None = None) -> Iterator[None]:
    """GraphErrors inside become Refused: 503 when it may work later, else 422 about the field, or 409 without one.

    code: the error's reason, as errors.py of meta/ lists them.
    """
    try:
        yield
    except GraphError as error:
        if isinstance(error, Transient | VersionGone):
            raise Refused(
                error.reason, f"Meta does not answer as it should right now: {error}.", status=503
            ) from None
        status = 422 if field else 409
        raise Refused(error.reason, f"Meta refused: {error}.", status=status, field=field) from None
