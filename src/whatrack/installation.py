"""Where the database comes from: DATABASE_URL, or an embedded PostgreSQL of our own, kept alive while we run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from whatrack.embedded import EmbeddedError, EmbeddedPostgres
from whatrack.errors import ConfigError
from whatrack.migrations import check_schema, migrate
from whatrack.observe import logger
from whatrack.settings import Settings

WATCH_EVERY_S = 1.0

log = logger(__name__)


@contextmanager
def database(settings: Settings, *, migrated: bool = True) -> Iterator[str]:
    """The conninfo of a database at this version's schema, for as long as the block lasts.

    The embedded one is started or joined, migrated, watched and, by its last user, stopped. One from DATABASE_URL is
    only checked: `whatrack migrate` changes it. migrated=False leaves the schema alone.
    """
    if settings.database_url is not None:
        conninfo = settings.database_url.get_secret_value()
        if migrated:
            check_schema(conninfo)
        yield conninfo
        return
    server = EmbeddedPostgres(settings.data_dir, bin_dir=settings.postgres_bin_dir)
    try:
        conninfo = server.start()
    except EmbeddedError as error:
        raise ConfigError(f"The embedded database does not start. {error}") from None
    try:
        if migrated:
            migrate(conninfo)
        with _watched(server):
            yield conninfo
    finally:
        server.stop()


@contextmanager
def _watched(server: EmbeddedPostgres) -> Iterator[None]:
    """Start the server again whenever it dies."""
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(server, ended), name="embedded-postgres", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _watch(server: EmbeddedPostgres, ended: threading.Event) -> None:
    while not ended.wait(WATCH_EVERY_S):
        try:
            if server.ensure_running():
                log.warning("embedded_database_restarted")
        except (EmbeddedError, OSError) as error:
            log.exception("embedded_database_down", exc_info=error)
