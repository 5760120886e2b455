"""The schema, as plain SQL in numbered files; Alembic keeps the count and runs each in one transaction.

Migrations run as the role that owns the tables. When the connection's own role would bypass row-level security
(a superuser, or BYPASSRLS), that is `whatrack_app`, made here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from whatrack.db import ALL_TENANTS, APP_ROLE, WHO
from whatrack.errors import ConfigError

LOCK = 0x77686174  # "what": one migration at a time, however many processes start at once
SQL_FOLDER = Path(__file__).parent / "versions"


def migrate(conninfo: str) -> str:
    """Bring the schema to this version's; answers the revision reached. Safe to run from many processes at once.

    ConfigError when the server is out of reach or refuses, or when the schema is a newer version's.
    """
    config = _config()
    with _explained(), psycopg.connect(conninfo, autocommit=True) as lock:
        lock.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        role = _app_role(lock)
        engine = create_engine(
            "postgresql+psycopg://", creator=lambda: _connect(conninfo, role), poolclass=NullPool
        )
        with engine.connect() as connection:
            _check_known(config, _revision(connection))
            connection.rollback()  # reading began a transaction, in which Alembic would commit nothing
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            return _revision(connection) or ""


def check_schema(conninfo: str) -> None:
    """ConfigError unless the database can be reached and is at this version's schema."""
    config = _config()
    head = ScriptDirectory.from_config(config).get_current_head()
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: _connect(conninfo, None), poolclass=NullPool
    )
    with _explained(), engine.connect() as connection:
        found = _revision(connection)
    _check_known(config, found)
    if found != head:
        raise ConfigError(
            f"The database's schema is at {found or 'nothing'}, this version needs {head}: run `whatrack migrate`."
        )


def run_file(connection: Connection, name: str) -> None:
    """Run versions/<name>.sql through the raw driver cursor: PostgreSQL's own SQL, no dialect between."""
    text = (SQL_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError("migrations need a psycopg connection")
    raw.execute(text.encode())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _check_known(config: Config, found: str | None) -> None:
    """ConfigError when the schema is at a revision this version does not have."""
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise ConfigError(
            f"The database's schema is at {found}, which this version does not know: run the newer WhaTrack that made it."
        )


@contextmanager
def _explained() -> Iterator[None]:
    """What the server refuses becomes one line; a mistake in our own SQL stays the bug it is."""
    try:
        yield
    except (psycopg.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, psycopg.OperationalError | psycopg.errors.InsufficientPrivilege):
            raise
        said = str(cause).strip().partition("\n")[0]
        reached = "does not let us" if cause.sqlstate else "cannot be reached"
        raise ConfigError(f"DATABASE_URL: the server {reached}: {said}") from None


def _connect(conninfo: str, role: str | None) -> psycopg.Connection:
    conn = psycopg.connect(conninfo)
    if role:
        conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    # A data migration must see every organization's rows; a lock is waited for briefly, so that intake never stalls.
    conn.execute(
        "SELECT set_config('whatrack.org', %s, false), set_config('lock_timeout', '5s', false)",
        [str(ALL_TENANTS)],
    )
    conn.commit()
    return conn


def _app_role(conn: psycopg.Connection) -> str | None:
    """The role that shall own the tables: None for the connection's own, else whatrack_app, made when missing."""
    row = conn.execute(WHO, [APP_ROLE]).fetchone()
    bypasses, has_app_role, _ = row or (True, False, 0)
    if not bypasses:
        return None
    role = sql.Identifier(APP_ROLE)
    try:
        if not has_app_role:
            conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN NOSUPERUSER NOBYPASSRLS").format(role))
        conn.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))
        conn.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(role))
    except psycopg.errors.InsufficientPrivilege:
        raise ConfigError(
            f"DATABASE_URL: its role bypasses row-level security and may not make the role {APP_ROLE}: have an "
            f"administrator run `CREATE ROLE {APP_ROLE} NOLOGIN` and grant it, or connect as an ordinary role."
        ) from None
    return APP_ROLE
