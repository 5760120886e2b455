"""The schema: made from nothing, by many processes at once, from any older state; and an old or foreign one is refused."""

import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from tests.conftest import URL, planted_in
from tests.support import APP_SECRET
from whatrack import migrations
from whatrack.errors import ConfigError
from whatrack.migrations import check_schema, migrate

SCRIPTS = ScriptDirectory.from_config(migrations._config())
HEAD = SCRIPTS.get_current_head() or ""
OLDER = [script.revision for script in SCRIPTS.walk_revisions() if script.revision != HEAD]
EIGHT = """
import os, sys
from whatrack.migrations import migrate
children = []
for _ in range(8):
    child = os.fork()
    if not child:
        print(migrate(sys.argv[1]))
        sys.exit()
    children.append(child)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""
# What a schema is made of, so that two can be compared.
SHAPE = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, c.relrowsecurity, c.relforcerowsecurity
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = current_schema()::regnamespace ORDER BY 1, 2
"""

# 2,500 tickets of one organization, made within minutes.
TICKETS_AT_0016 = """
INSERT INTO organizations (id, name, slug, partition) VALUES ('019a0000-0000-7000-8000-000000000000', 'Loja', 'loja', 1);
INSERT INTO stages (organization_id, id, name, "group", position, probability)
SELECT id, id, 'Novo', 'ACTIVE', 1, 10 FROM organizations;
INSERT INTO contacts (organization_id, id, created_at)
SELECT id, ('019ac123-' || lpad(to_hex(n), 4, '0') || '-7000-8000-000000000000')::uuid, now() FROM organizations, generate_series(1, 2500) AS n;
INSERT INTO tickets (organization_id, id, contact_id, phone_number_id, stage_id, status, currency, source, follow_up, opened_at, active_at,
    created_at, updated_at)
SELECT organization_id, id, id, '1', organization_id, 'open', 'BRL', 'message', false, now(), now(), now(), now() FROM contacts;
"""


@pytest.fixture
def empty(conninfo: str) -> Iterator[str]:
    """An empty place on the suite's server: a schema, or with a URL, whose role may do so, a database."""
    name = sql.Identifier(f"empty_{uuid4().hex[:12]}")
    if URL:
        with psycopg.connect(URL, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(name))
            yield make_conninfo("", **{**conninfo_to_dict(URL), "dbname": name._obj[0]})
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        return
    with psycopg.connect(conninfo, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        yield make_conninfo(conninfo, options=f"-c search_path={name._obj[0]}")
        owner.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(name))


def upgrade(conninfo: str, revision: str) -> None:
    """Bring an empty place to an older revision, as an older WhaTrack would have."""
    config = migrations._config()
    with psycopg.connect(conninfo, autocommit=True) as conn:
        role = migrations._app_role(conn)
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: migrations._connect(conninfo, role), poolclass=NullPool
    )
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def shape(conninfo: str) -> list[tuple[object, ...]]:
    with psycopg.connect(conninfo) as conn:
        return conn.execute(SHAPE).fetchall()


def test_from_nothing_to_this_version_and_once_more_changes_nothing(empty: str):
    assert migrate(empty) == HEAD
    made = shape(empty)
    assert migrate(empty) == HEAD

    assert shape(empty) == made
    assert {row[0] for row in made} >= {
        "organizations",
        "webhook_deliveries",
        "contacts",
        "tickets",
        "ticket_tracking",
    }
    check_schema(empty)


def test_from_every_older_revision_the_same_schema_comes_out(empty: str):
    migrate(empty)
    wanted = shape(empty)
    for older in OLDER:
        with psycopg.connect(empty, autocommit=True) as conn:
            (schema,) = conn.execute("SELECT current_schema()").fetchone() or ("",)
            name = sql.Identifier(schema)
            conn.execute(sql.SQL("DROP SCHEMA {0} CASCADE; CREATE SCHEMA {0}").format(name))
        upgrade(empty, older)
        with pytest.raises(ConfigError) as refused:
            check_schema(empty)
        assert str(refused.value) == (
            f"The database's schema is at {older}, this version needs {HEAD}: run `whatrack migrate`."
        )

        assert migrate(empty) == HEAD
        assert shape(empty) == wanted


def test_tickets_of_an_older_version_are_marked_in_pieces_that_one_transaction_follows(empty: str):
    """Their ids begin with when they were made: what groups them by that makes one mark of a year's tickets."""
    upgrade(empty, "0016")
    with migrations._connect(empty, _role(empty)) as conn:
        conn.execute(TICKETS_AT_0016)
        conn.execute("DELETE FROM ticket_marks")
    migrate(empty)

    with migrations._connect(empty, _role(empty)) as conn:
        marks = conn.execute("SELECT cardinality(ticket_ids) FROM ticket_marks ORDER BY 1").fetchall()
    assert marks == [(500,), (1000,), (1000,)]


def test_an_ad_that_could_not_be_named_says_why_and_one_of_an_older_version_that_does_not_is_asked_for_anew(
    empty: str,
):
    """Rows that are FAILED without a reason would never be given another one: no comparison finds them."""
    failed = """INSERT INTO ticket_tracking (organization_id, ticket_id, meta_source_type, meta_ad_id, meta_enrichment_status,
        meta_enrichment_error) SELECT gen_random_uuid(), gen_random_uuid(), 'ad', '120001', 'FAILED', reason FROM unnest(%s::text[]) AS reason"""
    upgrade(empty, "0018")
    with migrations._connect(empty, _role(empty)) as conn:
        conn.execute(failed, [[None, "no_access"]])
    migrate(empty)

    with migrations._connect(empty, _role(empty)) as conn:
        query = "SELECT meta_enrichment_status, meta_enrichment_error FROM ticket_tracking ORDER BY 1"
        assert conn.execute(query).fetchall() == [("FAILED", "no_access"), ("PENDING", None)]
        with pytest.raises(errors.CheckViolation):
            conn.execute(failed, [[None]])


def test_what_meta_said_of_a_dead_token_is_not_kept_as_its_profiles_name(empty: str):
    accounts = """WITH o AS (INSERT INTO organizations (id, name, slug, partition) VALUES (gen_random_uuid(), 'Loja', 'loja', 0) RETURNING id),
        a AS (INSERT INTO meta_ad_accounts (organization_id, id, ad_account_id, ad_account_name, account_status, currency, timezone_name,
              seen_at) SELECT o.id, gen_random_uuid(), 'act_' || place, reason, 1, 'BRL', 'America/Sao_Paulo', now()
              FROM o, unnest(%s::text[]) WITH ORDINALITY AS reasons (reason, place) RETURNING organization_id, id, ad_account_name)
        INSERT INTO insight_accounts (organization_id, account_id, reason, message)
        SELECT organization_id, id, ad_account_name, 'As Meta put it' FROM a"""
    upgrade(empty, "0023")
    with migrations._connect(empty, _role(empty)) as conn:
        conn.execute(accounts, [["throttled", "token_dead"]])
    migrate(empty)

    with migrations._connect(empty, _role(empty)) as conn:
        found = conn.execute("SELECT reason, message FROM insight_accounts ORDER BY 1").fetchall()
    assert found == [("throttled", "As Meta put it"), ("token_dead", None)]


def _role(conninfo: str) -> str | None:
    with psycopg.connect(conninfo, autocommit=True) as conn:
        return migrations._app_role(conn)


def test_eight_processes_that_migrate_at_once_make_one_schema(empty: str):
    ended = subprocess.run([sys.executable, "-c", EIGHT, empty], capture_output=True, text=True, timeout=120)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [HEAD] * 8
    check_schema(empty)


def test_an_empty_database_is_refused_by_name_of_the_command_that_helps(empty: str):
    with pytest.raises(
        ConfigError, match=f"schema is at nothing, this version needs {HEAD}: run `whatrack migrate`"
    ):
        check_schema(empty)

    assert shape(empty) == []


def test_the_schema_of_a_newer_version_is_refused_and_left_alone(empty: str):
    migrate(empty)
    with psycopg.connect(empty, autocommit=True) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '0999'")

    for open_it in (check_schema, migrate):
        with pytest.raises(ConfigError, match="0999, which this version does not know"):
            open_it(empty)


def test_a_server_out_of_reach_is_one_line_without_the_password():
    gone = f"postgresql://u:{APP_SECRET}@127.0.0.1:1/db"

    for open_it in (check_schema, migrate):
        with pytest.raises(ConfigError) as refused:
            open_it(gone)
        assert str(refused.value).startswith("DATABASE_URL: the server cannot be reached: ")
        assert "\n" not in str(refused.value)
        assert planted_in(str(refused.value)) == []


@pytest.mark.skipif(bool(URL), reason="the URL's role may do everything")
def test_a_role_that_may_not_make_tables_is_told_so_in_one_line(empty: str):
    with psycopg.connect(empty, autocommit=True) as owner:
        owner.execute(
            "DO $$ BEGIN EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM whatrack', current_schema()); END $$"
        )

    with pytest.raises(ConfigError) as refused:
        migrate(empty)

    assert str(refused.value).startswith(
        "DATABASE_URL: the server does not let us: permission denied for schema"
    )
    assert "\n" not in str(refused.value)
