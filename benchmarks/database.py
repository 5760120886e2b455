"""The PostgreSQL of a run: the embedded one as the product launches it, durable, in a folder that goes at the end."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.bodies import Shop
from benchmarks.processes import parent, wait_for
from whatrack import flow
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.db import ALL_TENANTS, Database
from whatrack.embedded import EmbeddedPostgres, remove
from whatrack.inbox import days
from whatrack.migrations import migrate
from whatrack.tenants.organizations import Organization
from whatrack.units import new_id

# The one setting beside the product's own: each commit's moment is kept, so that lag can be read afterwards.
OPTIONS = {"track_commit_timestamp": "on"}
DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")
SIZES = ("shared_buffers", "max_wal_size", "data_checksums", "wal_sync_method", "server_version")

# What workers have yet to do: close old tickets, write changed ones' facts, say of ads who names them.
BEHIND = """
SELECT FROM tickets WHERE status = 'open' AND active_at < now() - interval '30 days'
UNION ALL SELECT FROM ticket_marks
UNION ALL SELECT FROM ticket_tracking WHERE meta_enrichment_status = 'PENDING' LIMIT 1
"""


class Cluster:
    """A running server with a migrated database. pid: its first process; another one after restart()."""

    def __init__(self, data_dir: Path, server: EmbeddedPostgres) -> None:
        self.data_dir = data_dir
        self._server = server
        self.conninfo = server.start()
        self.pid = self._first_process()

    def restart(self) -> None:
        """Stop and start the server: everything is on disk, nothing in its own memory, and no old work is under way."""
        self._server.stop()
        self._server.start()
        self.pid = self._first_process()

    def _first_process(self) -> int:
        with psycopg.connect(self.conninfo) as probe:
            return parent(probe.info.backend_pid)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster for as long as the block lasts. RuntimeError when it would not be durable."""
    folder = Path(tempfile.mkdtemp(prefix="whatrack-bench-"))
    data_dir = folder / "data"
    try:
        with EmbeddedPostgres(data_dir, options=OPTIONS) as server:
            made = Cluster(data_dir, server)
            migrate(made.conninfo)
            if weak := [name for name, value in settings(made.conninfo, DURABILITY).items() if value != "on"]:
                raise RuntimeError(f"not durable: {', '.join(weak)}")
            yield made
    finally:
        remove(data_dir)
        shutil.rmtree(folder, ignore_errors=True)


def settings(conninfo: str, names: tuple[str, ...]) -> dict[str, str]:
    """What the server says its settings are."""
    with psycopg.connect(conninfo) as conn:
        rows = conn.execute(
            "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS n (name)", [[*names]]
        )
        return dict(rows.fetchall())


def connect(conninfo: str) -> psycopg.Connection:
    """An autocommitting connection in the all-tenants scope, for what is not measured."""
    conn = psycopg.connect(conninfo, autocommit=True)
    conn.execute("SELECT set_config('whatrack.org', %s, false)", [str(ALL_TENANTS)])
    return conn


async def open_shops(
    db: Database, count: int, *, people: int, first_person: int, first_number: int
) -> list[Shop]:
    """Organizations with one live number each, and the people that shall be theirs, in equal parts."""
    await days.ensure_days(db)
    shops = []
    for place in range(count):
        number = first_number + place
        organization = await flow.open_organization(
            db, Organization(id=new_id(), name=f"Clínica {number}", slug=f"clinica-{number}")
        )
        each = people // count
        shop = Shop(f"10654{number:010d}", f"10229{number:010d}", first_person + place * each, each)
        await flow.register_number(
            db, WhatsappNumber(organization.id, shop.number, shop.waba, "+55 11 3555-0100")
        )
        shops.append(shop)
    return shops


def settled(running: Cluster) -> None:
    """Wait until the workers are done with all that was filled in or left by another part, then tidy: no shop's tickets come
    all in one minute."""
    with connect(running.conninfo) as conn:
        wait_for(lambda: conn.execute(BEHIND).fetchone() is None, "workers with nothing to do", 300)
        conn.execute("VACUUM ANALYZE tickets, ticket_tracking")
