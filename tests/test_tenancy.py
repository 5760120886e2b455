"""One organization never sees or changes another's row, and PostgreSQL itself sees to it.

The tables come from the catalogue, so that a table added later is held to the same.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import AsyncConnection, errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.conftest import URL
from tests.support import NOON, Shop, ad, body, change, make_shop, message, process, rows
from whatrack import flow
from whatrack.db import ALL_TENANTS, APP_ROLE, NO_TENANT, Connection, Database
from whatrack.embedded.place import find_place, passwords_of
from whatrack.errors import ConfigError
from whatrack.inbox import days
from whatrack.migrations import migrate
from whatrack.tenants import audit, members, users
from whatrack.tickets.moves import Change
from whatrack.tickets.stages import Stage, find_stage
from whatrack.units import new_id

# They name an organization, and are read before anybody knows whose request or delivery it is.
INSTALLATION_WIDE = {"number_routes", "api_key_hashes", "sessions"}

TABLES = """
SELECT c.oid, c.relname AS name, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced, c.relispartition AS part,
       CASE WHEN c.relname = 'organizations' THEN 'id' ELSE 'organization_id' END AS organization,
       (SELECT string_agg(quote_ident(a.attname), ', ') FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
       (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies,
       (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid AND p.polcmd = '*' AND p.polpermissive
        AND strpos(pg_get_expr(p.polqual, c.oid), 'whatrack.org') > 0 AND strpos(pg_get_expr(p.polwithcheck, c.oid), 'whatrack.org') > 0) AS sound
FROM pg_class c
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
AND (c.relname = 'organizations'
     OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'organization_id' AND NOT a.attisdropped))
ORDER BY c.relname
"""
FOREIGN_KEYS = """
SELECT k.conname AS name, k.conrelid::regclass::text AS from_table, k.confrelid::regclass::text AS to_table,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (num, place)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.place) AS from_columns,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (num, place)
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY u.place) AS to_columns
FROM pg_constraint k WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace
"""
COLUMNS = """
SELECT c.relname AS "table", a.attname AS name, format_type(a.atttypid, NULL) AS type
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
"""


@dataclass(frozen=True)
class Table:
    """A table with an organization in each row. organization: the column that names it. columns: those that are written."""

    name: str
    organization: str
    columns: str

    def statement(self, text: str) -> bytes:
        return text.format(table=self.name, organization=self.organization, columns=self.columns).encode()


async def tenant_tables(db: Database) -> list[Table]:
    found = await rows(db, TABLES)
    return [
        Table(row["name"], row["organization"], row["columns"])
        for row in found
        if row["name"] not in INSTALLATION_WIDE
    ]


SITE_ROWS = (
    b"""INSERT INTO meta_conversion_attempts (organization_id, id, event_row_id, lease_id, number, dataset_id, request_size, started_at, request)
        SELECT organization_id, %(id)s, id, %(id)s, 1, '1', 1, now(), '{}' FROM meta_conversion_events WHERE organization_id = %(organization)s""",
    b"""INSERT INTO conversion_settings (organization_id, sale_phrase, updated_at) VALUES (%(organization)s, 'Venda', now())""",
    b"""INSERT INTO dataset_test_codes VALUES (%(organization)s, '1', 'TEST1')""",
    b"""INSERT INTO meta_ads (organization_id, meta_ad_id, meta_account_id, fetched_at) VALUES (%(organization)s, '1', '2', now())""",
    b"""INSERT INTO meta_ad_lookups (organization_id, meta_ad_id, asked_at, next_attempt_at) VALUES (%(organization)s, '1', now(), now())""",
    b"""INSERT INTO invitations (organization_id, id, email, role, token_hash, invited_by, expires_at)
        VALUES (%(organization)s, %(id)s, 'b@example.com', 'viewer', uuid_send(%(id)s), 'system', now())""",
    b"""INSERT INTO ticket_refunds (organization_id, id, ticket_id, amount, currency, reason, refunded_at, created_at, actor)
        VALUES (%(organization)s, %(id)s, %(ticket)s, 1, 'BRL', '', now(), now(), 'system')""",
    b"""INSERT INTO ad_pictures (organization_id, source_id, url, state, next_attempt_at)
        VALUES (%(organization)s, '1', 'https://example.com', 'wanted', now()) ON CONFLICT DO NOTHING""",
    b"""INSERT INTO meta_connections (organization_id, id, fb_user_id, fb_user_name, access_token, token_app_id, checked_at,
            check_after, list_after, created_by)
        VALUES (%(organization)s, %(id)s, '1', 'Ana', 'x', '1', now(), now(), now(), 'system')""",
    b"""INSERT INTO meta_ad_accounts (organization_id, id, ad_account_id, ad_account_name, account_status, currency,
            timezone_name, connection_id, seen_at)
        VALUES (%(organization)s, %(id)s, 'act_1', 'Conta', 1, 'BRL', 'UTC', %(id)s, now())""",
    b"""INSERT INTO meta_ad_account_access (organization_id, account_id, connection_id)
        VALUES (%(organization)s, %(id)s, %(id)s)""",
    b"""INSERT INTO insight_accounts (organization_id, account_id) VALUES (%(organization)s, %(id)s)""",
    b"""INSERT INTO insight_days (organization_id, account_id, day) VALUES (%(organization)s, %(id)s, '2026-11-01')""",
    b"""INSERT INTO meta_ad_insights_daily VALUES (%(organization)s, 1, '2026-11-01', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)""",
    b"""INSERT INTO insight_ad_blocks VALUES (%(organization)s, 1, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)""",
    b"""INSERT INTO insight_blocks VALUES (%(organization)s, 1, 1, 4, 1, '1', 1, 1, 1, 1, 1, 1, 1, 1, 1)""",
    b"""INSERT INTO roi_tickets SELECT * FROM ticket_facts WHERE organization_id = %(organization)s LIMIT 1""",
    b"""INSERT INTO roi_ticket_sums VALUES (%(organization)s, false, 0, 1, 1, 0, -1, '', 'BRL', 1, 0, 0, 0, 0, 0, 0)""",
    b"""INSERT INTO cost_settings (organization_id, id, kind, created_at, actor) VALUES (%(organization)s, %(id)s, 'fee', now(), 'system')""",
    b"""INSERT INTO fx_rates VALUES (%(organization)s, 'USD', 'BRL', '2026-11-01', 5, 'entered', now(), 'system')""",
    b"""INSERT INTO report_links (organization_id, id, token_hash, title, question, created_by, expires_at)
        VALUES (%(organization)s, %(id)s, sha256(uuid_send(%(id)s)), 'Cliente', '', 'system', now())""",
    b"""INSERT INTO report_subscriptions (organization_id, user_id, due_at, first_day)
        VALUES (%(organization)s, %(person)s, now(), '2026-11-01')""",
    b"""INSERT INTO report_letters (organization_id, user_id, day, token_hash)
        VALUES (%(organization)s, %(person)s, '2026-11-01', sha256(uuid_send(%(id)s)))""",
    b"""INSERT INTO report_columns (organization_id, user_id, columns) VALUES (%(organization)s, %(person)s, '{spend}')""",
    b"""INSERT INTO report_targets VALUES (%(organization)s, 3)""",
    b"""INSERT INTO oauth_states (organization_id, hash, bound_to, expires_at)
        VALUES (%(organization)s, 'x', 'x', now())""",
)


@pytest.fixture
async def two(db: Database) -> tuple[Shop, Shop]:
    """Two organizations with rows in every tenant table."""
    shops = await make_shop(db, "nossa", waba="1"), await make_shop(db, "deles", waba="2")
    for shop in shops:
        status = {"id": "w", "status": "sent", "timestamp": str(int(NOON.timestamp()))}
        await process(
            db,
            body(change(shop.number, message(referral=ad()))),
            body(change(shop.number, statuses=[status])),
            body(change(shop.number, field="account_update", event="DISABLED_UPDATE")),
        )
        async with db.tenant(shop.id) as conn:
            ticket = (await first(conn, b"SELECT id FROM tickets"))[0]
            await flow.move_ticket(conn, shop.id, ticket, qualified, actor="api_key:test")
        await site_rows(db, shop, ticket)
    return shops


async def site_rows(db: Database, shop: Shop, ticket: UUID) -> None:
    """A row in each table that the site writes; as SQL, because here only whose they are counts."""
    async with db.system() as conn:
        person = await users.create(
            conn, email=f"{shop.organization.slug}@example.com", name="Ana", password_hash=None
        )
        await members.put(conn, shop.id, person.id, "owner")
        await audit.record(conn, shop.id, person.actor, "sign_in", "ticket")
        names = {"organization": shop.id, "id": new_id(), "ticket": ticket, "person": person.id}
        for statement in SITE_ROWS:
            await conn.execute(statement, names)


def qualified(stages: list[Stage]) -> Change:
    return Change(stage=find_stage(stages, "qualified"))


async def first(conn: Connection, query: bytes, *parameters: Any) -> Any:
    return await (await conn.execute(query, parameters)).fetchone()


async def count(conn: Connection, table: Table, where: str = "true", *parameters: Any) -> int:
    query = table.statement("SELECT count(*) FROM {table} WHERE " + where)
    return int((await first(conn, query, *parameters))[0])


async def test_every_table_with_an_organization_forces_row_level_security(
    db: Database, two: tuple[Shop, Shop]
):
    found = {row["name"]: row for row in await rows(db, TABLES)}

    assert found.keys() >= {"organizations", "tickets", "messages", *INSTALLATION_WIDE}
    assert any(row["part"] for row in found.values()), "partitions of messages are among them"
    for name in INSTALLATION_WIDE:
        found.pop(name)
    wrong = {
        name: row
        for name, row in found.items()
        if not (row["enabled"] and row["forced"] and row["policies"] == row["sound"] == 1)
    }
    assert wrong == {}


async def test_a_query_that_forgets_its_tenant_sees_its_own_rows_alone(db: Database, two: tuple[Shop, Shop]):
    ours = two[0]
    for table in await tenant_tables(db):
        async with db.system() as conn:
            own, other = [await count(conn, table, f"{table.organization} = %s", shop.id) for shop in two]
        async with db.tenant(ours.id) as conn:
            seen = await count(conn, table)

        is_month = table.name.startswith(
            "messages_"
        )  # an empty one proves nothing, its policy is read elsewhere
        assert own or is_month, f"{table.name} holds no row of ours, so this would prove nothing"
        assert other or is_month, f"{table.name} holds no row of theirs, so this would prove nothing"
        assert seen == own, table.name


async def test_outside_any_scope_there_are_no_rows_and_no_error(db: Database, two: tuple[Shop, Shop]):
    for table in await tenant_tables(db):
        async with db.installation() as conn:
            assert await count(conn, table) == 0, table.name
    async with db.autocommit() as conn:
        for table in await tenant_tables(db):
            assert await count(conn, table) == 0, table.name


async def test_after_a_scope_ended_its_connection_sees_nothing_and_raises_nothing(
    db: Database, two: tuple[Shop, Shop]
):
    """A transaction's setting leaves '' behind, and ''::uuid would raise: the policy has to know."""
    async with db.autocommit() as conn:
        await db.begin(conn, two[0].id)
        await conn.commit()
        assert (await first(conn, b"SELECT current_setting('whatrack.org', true)"))[0] == ""

        for table in await tenant_tables(db):
            assert await count(conn, table) == 0, table.name


async def test_another_organizations_rows_cannot_be_changed_or_deleted(db: Database, two: tuple[Shop, Shop]):
    ours, theirs = two
    for table in await tenant_tables(db):
        touch = table.statement(
            "UPDATE {table} SET {organization} = {organization} WHERE {organization} = %s"
        )
        delete = table.statement("DELETE FROM {table} WHERE {organization} = %s")
        async with db.tenant(ours.id) as conn:
            assert (await conn.execute(touch, [theirs.id])).rowcount == 0, table.name
            assert (await conn.execute(delete, [theirs.id])).rowcount == 0, table.name


async def test_rows_cannot_be_written_for_or_given_to_another_organization(
    db: Database, two: tuple[Shop, Shop]
):
    ours, theirs = two
    for table in await tenant_tables(db):
        async with db.system() as conn:
            query = table.statement(
                "SELECT to_json(t)::text FROM {table} t WHERE {organization} = %s LIMIT 1"
            )
            found = await first(conn, query, theirs.id)
        if found is None and table.name.startswith("messages_"):
            continue  # a month without messages
        assert found, table.name
        row = found[0]
        insert = table.statement(
            "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM json_populate_record(NULL::{table}, %s::json)"
        )
        give = table.statement("UPDATE {table} SET {organization} = %s")

        with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
            async with db.tenant(ours.id) as conn:
                await conn.execute(insert, [row])
        with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
            async with db.tenant(ours.id) as conn:
                await conn.execute(give, [theirs.id])


@pytest.mark.parametrize("reserved", [ALL_TENANTS, NO_TENANT], ids=["all tenants", "no tenant"])
async def test_a_reserved_id_is_no_tenant(db: Database, reserved: UUID):
    with pytest.raises(ValueError, match="reserved"):
        db.tenant(reserved)


async def test_the_role_of_every_transaction_is_bound_by_row_level_security(db: Database):
    async with db.system() as conn:
        query = b"SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        assert await first(conn, query) == (False, False)


async def test_every_foreign_key_between_tenants_tables_carries_the_organization(db: Database):
    """Foreign keys ignore row-level security: one without the organization could point into another's rows."""
    tenants = {table.name for table in await tenant_tables(db)}
    keys = [row for row in await rows(db, FOREIGN_KEYS) if {row["from_table"], row["to_table"]} <= tenants]

    assert len(keys) > 5
    wrong = [
        row["name"]
        for row in keys
        if not any(
            pair in (("organization_id", "organization_id"), ("organization_id", "id"))
            for pair in zip(row["from_columns"], row["to_columns"], strict=True)
        )
        or (len(row["from_columns"]) == 1 and row["to_table"] != "organizations")
    ]
    assert wrong == []


async def test_every_moment_has_a_zone_and_no_number_is_a_float(db: Database):
    columns = await rows(db, COLUMNS)

    banned = {
        "timestamp without time zone",
        "time without time zone",
        "time with time zone",
        "real",
        "double precision",
        "money",
    }
    assert {row["type"] for row in columns} >= {"timestamp with time zone", "numeric", "uuid"}
    assert [row for row in columns if row["type"] in banned] == []


# A database whose role is a superuser: it would see every row, so it takes another role or is refused.


@pytest.fixture
def superuser(conninfo: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The conninfo of the suite's embedded server as its superuser."""
    if URL:
        pytest.skip("the superuser of WHATRACK_TEST_DATABASE_URL is not ours")
    place = find_place(tmp_path_factory.getbasetemp() / "postgres0" / "data")
    assert place is not None
    parts = {**conninfo_to_dict(conninfo), "user": "postgres", "password": passwords_of(place).superuser}
    return make_conninfo("", **{**parts, "dbname": "postgres"})


@pytest.fixture
async def bypassing(superuser: str) -> AsyncIterator[str]:
    """An empty database of the superuser's, on a server without the role whatrack_app."""
    conninfo = make_conninfo(superuser, dbname="bypassing")
    role = sql.Identifier(APP_ROLE)
    with psycopg.connect(superuser, autocommit=True) as admin:
        admin.execute("CREATE DATABASE bypassing")
        yield conninfo
        admin.execute("DROP DATABASE bypassing WITH (FORCE)")
        admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))


async def test_a_superuser_without_the_role_to_take_is_refused_in_one_line(bypassing: str):
    database = Database(bypassing)

    with pytest.raises(ConfigError) as refusal:
        await database.open()

    text = str(refusal.value)
    assert "\n" not in text
    assert "DATABASE_URL" in text
    assert APP_ROLE in text
    assert "whatrack migrate" in text


async def test_a_superuser_takes_the_applications_role_in_every_transaction(bypassing: str):
    migrate(bypassing)
    db = Database(bypassing)
    await db.open()
    try:
        await days.ensure_days(db)
        ours, theirs = await make_shop(db, "nossa", waba="1"), await make_shop(db, "deles", waba="2")
        await process(db, body(change(ours.number, message())), body(change(theirs.number, message())))

        assert db.takes_role
        async with db.tenant(ours.id) as conn:
            assert await first(conn, b"SELECT current_user::text") == (APP_ROLE,)
            assert await first(conn, b"SELECT array_agg(DISTINCT organization_id) FROM tickets") == (
                [ours.id],
            )
        async with db.autocommit() as conn:
            assert await first(conn, b"SELECT count(*) FROM tickets") == (0,)
        assert {row["owner"] for row in await rows(db, OWNERS)} == {APP_ROLE}
    finally:
        await db.close()


OWNERS = "SELECT DISTINCT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relnamespace = 'public'::regnamespace"


async def test_connections_that_died_while_idle_are_replaced_unseen(db: Database):
    async with db.installation() as one, db.installation() as other:  # two in the pool
        assert one is not other
    async with db.installation() as conn:
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = current_user"
        )
        gone = conn
    gone_too = await AsyncConnection.connect(db.conninfo, autocommit=True)
    await gone_too.execute("SELECT pg_terminate_backend(%s)", [gone.info.backend_pid])
    await gone_too.close()

    for _ in range(3):
        async with db.installation() as conn:
            assert (await first(conn, b"SELECT 1"))[0] == 1
