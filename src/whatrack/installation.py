"""Where the database comes from: DATABASE_URL, or an embedded PostgreSQL of our own, kept alive while we run.

And where the key comes from that seals secrets in it.
"""

import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from whatrack.crypto import Sealer
from whatrack.embedded import EmbeddedError, EmbeddedPostgres
from whatrack.embedded.files import read_private, write_private
from whatrack.errors import ConfigError
from whatrack.migrations import check_schema, migrate
from whatrack.observe import logger
from whatrack.settings import Settings

WATCH_EVERY_S = 1.0
KEY_FILE = "secret.key"

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


def sealer(settings: Settings) -> Sealer:
    """The keys of WHATRACK_SECRET_KEY; beside an embedded database, without it, one that we make and keep there.

    ConfigError when the database is elsewhere and there is no key: another process would not know one of our making.
    """
    if settings.secret_keys:
        return Sealer([key.get_secret_value() for key in settings.secret_keys])
    if settings.database_url is not None:
        raise ConfigError(
            "WHATRACK_SECRET_KEY is not set: it encrypts tokens in the database. Make one with "
            "`python3 -c 'import secrets; print(secrets.token_urlsafe(32))'` and keep it as safe as the database."
        )
    return Sealer([_own_key(settings)])


def _own_key(settings: Settings) -> str:
    """The key file's text; made by whoever comes first, read by everybody else."""
    path = settings.data_dir / KEY_FILE
    kept = read_private(path)
    if kept is None:
        draft = path.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}")
        write_private(draft, secrets.token_urlsafe(32))
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
        kept = read_private(path)
    return kept or ""
