"""The `whatrack` command in real processes: what it prints, how it fails, and how serve, work and the database live together."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import aiohttp
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.conftest import planted_in
from tests.support import (
    APP_SECRET,
    SECRET_KEY,
    VERIFY_TOKEN,
    ad,
    body,
    change,
    make_shop,
    message,
    process,
    rows,
)
from tests.test_migrations import HEAD
from tests.test_migrations import empty as empty  # a fixture
from whatrack import embedded
from whatrack.db import Database
from whatrack.embedded import EmbeddedPostgres
from whatrack.embedded.place import find_place, passwords_of
from whatrack.embedded.processes import serving_pid
from whatrack.inbox import intake
from whatrack.inbox.signature import sign
from whatrack.migrations import migrate
from whatrack.tenants import api_keys
from whatrack.tenants.access import Access, Operator

pytestmark = pytest.mark.xdist_group("cli")

SCRIPT = Path(sys.executable).parent / "whatrack"
SECRETS = {
    "WHATRACK_SECRET_KEY": SECRET_KEY,
    "WHATSAPP_APP_SECRET": APP_SECRET,
    "WHATSAPP_VERIFY_TOKEN": VERIFY_TOKEN,
}
PATIENCE_S = 60.0
# A profile whose token died and that no key of ours sealed, an account that is on without a dataset, and no spend of it.
ILL = (
    b"""INSERT INTO meta_connections (organization_id, id, fb_user_id, fb_user_name, access_token, token_app_id, status, status_reason,
            checked_at, check_after, list_after, created_by)
        VALUES (%(organization)s, gen_random_uuid(), '1', 'Ana', 'x', '1', 'EXPIRED', 'password_changed', now(), now(), now(), 'system')""",
    b"""INSERT INTO meta_ad_accounts (organization_id, id, ad_account_id, ad_account_name, account_status, currency, timezone_name,
            is_active, seen_at)
        VALUES (%(organization)s, gen_random_uuid(), 'act_1', 'Conta', 1, 'BRL', 'UTC', true, now())""",
    b"""INSERT INTO insight_accounts (organization_id, account_id, next_at, reason)
        SELECT organization_id, id, now(), 'no_profile' FROM meta_ad_accounts WHERE organization_id = %(organization)s""",
)

# To import everything takes a second or two of CPU, and to take it down again half of one; so one process imports, each
# command is a fork of that one, and ends without tidying up its modules.
FORKER = """
import json, os, sys, traceback
from whatrack.cli import main
for line in sys.stdin:
    job = json.loads(line)
    if "ended" in job:
        pid, status = os.waitpid(job["ended"], os.WNOHANG)
        print(os.waitstatus_to_exitcode(status) if pid else "", flush=True)
        continue
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    for number, path in enumerate(job["files"]):
        os.dup2(os.open(path, os.O_RDWR), number)
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.argv = ["whatrack", *(os.fsdecode(bytes.fromhex(each)) for each in job["arguments"])]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
"""


@dataclass(frozen=True)
class Ended:
    """A process that came to its end."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


class Running:
    """A command under way."""

    def __init__(self, commands: "Commands", pid: int, files: tuple[Path, Path]) -> None:
        self._commands, self.pid, self._files = commands, pid, files
        self.code: int | None = None

    def texts(self) -> tuple[str, str]:
        out, err = (file.read_text(encoding="utf-8", errors="replace") for file in self._files)
        return out, err

    def is_over(self) -> bool:
        if self.code is None and (said := self._commands.ask({"ended": self.pid})):
            self.code = int(said)
        return self.code is not None

    def send(self, number: signal.Signals) -> None:
        if not self.is_over():
            os.kill(self.pid, number)

    def end(self, *, within_s: float = PATIENCE_S) -> Ended:
        """Wait for its end; killed when that does not come."""
        deadline = time.monotonic() + within_s
        while not self.is_over():
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
                raise AssertionError(f"still running: {self.texts()}")
            time.sleep(0.01)
        assert self.code is not None
        out, err = self.texts()
        assert planted_in(err) == []
        return Ended(self.code, out, err)


class Commands:
    """Starts `whatrack` commands, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[Running] = []
        self.stdin = "/dev/null"
        self._forker = subprocess.Popen(
            [sys.executable, "-c", FORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, job: dict[str, Any]) -> str:
        assert self._forker.stdin
        assert self._forker.stdout
        self._forker.stdin.write(json.dumps(job) + "\n")
        self._forker.stdin.flush()
        return self._forker.stdout.readline().strip()

    def start(self, *arguments: str, **environment: str) -> Running:
        name = f"{len(self._running)}"
        files = (self.folder / f"{name}.out", self.folder / f"{name}.err")
        for file in files:
            file.touch()
        job = {
            "arguments": [os.fsencode(each).hex() for each in arguments],
            "environment": {"PATH": os.defpath, "HOME": str(self.folder), **environment},
            "files": [self.stdin, *map(str, files)],
        }
        running = Running(self, int(self.ask(job)), files)
        self._running.append(running)
        return running

    def __call__(self, *arguments: str, **environment: str) -> Ended:
        return self.start(*arguments, **environment).end()

    def kill_all(self) -> None:
        for running in self._running:
            running.send(signal.SIGKILL)

    def close(self) -> None:
        self.kill_all()
        assert self._forker.stdin
        self._forker.stdin.close()
        self._forker.wait()
        assert self._forker.stdout
        self._forker.stdout.close()


@pytest.fixture(scope="module")
def whatrack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("commands"))
    yield commands
    commands.close()


@pytest.fixture(autouse=True)
def _nothing_left_running(whatrack: Commands) -> Iterator[None]:
    yield
    whatrack.kill_all()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A data dir whose embedded database is made and stopped."""
    folder = tmp_path_factory.mktemp("data") / "data"
    with EmbeddedPostgres(folder) as server:
        migrate(server.start())
    yield str(folder)
    embedded.remove(folder)


def url_of(conninfo: str) -> str:
    """A conninfo as DATABASE_URL wants it."""
    parts = {name: quote(str(value), safe="") for name, value in conninfo_to_dict(conninfo).items()}
    login = f"{parts.pop('user')}:{parts.pop('password', '')}"
    database = parts.pop("dbname")
    return f"postgresql://{login}@/{database}?" + "&".join(f"{name}={value}" for name, value in parts.items())


def database_of(data_dir: str) -> int | None:
    """The process of the PostgreSQL that serves a data dir."""
    place = find_place(Path(data_dir).resolve())
    return serving_pid(place.pgdata) if place else None


def is_stopped(data_dir: str) -> bool:
    return database_of(data_dir) is None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def until(condition: Callable[[], bool], *commands: Running) -> None:
    """Wait for something that the commands, which must go on running meanwhile, bring about."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            over = [command.texts() for command in commands if command.is_over()]
            assert over == []
            await asyncio.sleep(0.02)


async def ready(session: aiohttp.ClientSession, *commands: Running) -> None:
    """Wait until a service commits deliveries."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            over = [command.texts() for command in commands if command.is_over()]
            assert over == []
            try:
                async with session.get("/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.02)


async def click(session: aiohttp.ClientSession, number: str, phone: str) -> None:
    """Send one signed ad click, as Meta does: until it is taken."""
    text = body(change(number, message(phone, referral=ad())))
    headers = {"X-Hub-Signature-256": sign(text, APP_SECRET.encode())}
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with session.post(intake.PATH, data=text, headers=headers) as answer:
                assert answer.status in (200, 503), await answer.text()
                if answer.status == 200:
                    return
            await asyncio.sleep(0.1)


async def tickets_seen(
    session: aiohttp.ClientSession, key: str, count: int
) -> tuple[list[dict[str, Any]], float]:
    """So many tickets, and how many seconds it took until they were there."""
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with session.get("/api/v1/tickets", headers={"Authorization": f"Bearer {key}"}) as answer:
                assert answer.status == 200, await answer.text()
                found: list[dict[str, Any]] = (await answer.json())["data"]
            if len(found) >= count:
                return found, time.monotonic() - began
            await asyncio.sleep(0.02)


def shop_by_commands(whatrack: Commands, slug: str, **where: str) -> tuple[str, str]:
    """An organization with a live number, made as an operator makes them; the number's id and a key."""
    number = str(time.time_ns())
    steps = [
        whatrack("org", "create", "--name", slug.title(), "--slug", slug, **where),
        whatrack("number", "add", "--org", slug, "--phone-number-id", number, "--waba-id", "1", "--display-phone", "+55 11 5", **where),
        whatrack("api-key", "create", "--org", slug, "--role", "owner", "--json", **where),
    ]  # fmt: skip
    assert [(step.code, step.err) for step in steps] == [(0, "")] * 3
    return number, str(steps[2].json["key"])


# What it prints


async def test_every_command_prints_for_people_and_with_json_for_programs(
    whatrack: Commands, db: Database, conninfo: str
):
    where = {"DATABASE_URL": url_of(conninfo)}
    await process(db, body(change("4711", message())), b"not json")

    def both(*arguments: str, again: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
        plain = whatrack(*arguments, **where)
        programs = whatrack(*(again or arguments), "--json", **where)
        assert [(each.code, each.err) for each in (plain, programs)] == [(0, ""), (0, "")]
        assert programs.out.count("\n") == 1
        return plain.out, programs.json

    migrated, as_json = both("migrate")
    assert (migrated, as_json) == (f"The schema is at {HEAD}.\n", {"revision": HEAD})

    create = (
        "org",
        "create",
        "--name",
        "Padaria São João",
        "--slug",
        "padaria",
        "--timezone",
        "America/Recife",
        "--currency",
        "USD",
    )
    created, organization = both(
        *create, again=("org", "create", "--name", "Padaria 2", "--slug", "padaria-2")
    )
    assert set(organization) == {"id", "slug", "name"}
    assert (organization["slug"], organization["name"]) == ("padaria-2", "Padaria 2")
    found = await rows(db, "SELECT id, name, timezone, base_currency FROM organizations ORDER BY slug")
    assert created == f"Organization padaria: {found[0]['id']}\n"
    assert (found[0]["name"], found[0]["timezone"], found[0]["base_currency"]) == (
        "Padaria São João",
        "America/Recife",
        "USD",
    )
    assert (found[1]["timezone"], found[1]["base_currency"], str(found[1]["id"])) == (
        "America/Sao_Paulo",
        "BRL",
        organization["id"],
    )

    add = (
        "number",
        "add",
        "--org",
        "padaria",
        "--phone-number-id",
        "4711",
        "--waba-id",
        "1",
        "--display-phone",
        "+55 81 3",
    )
    added, again = both(*add)
    assert added == "The number 4711 is live; 1 earlier deliveries are on their way.\n"
    assert again == {"phone_number_id": "4711", "released": 0}  # it is queued already

    shown, made = both("api-key", "create", "--org", "padaria", "--role", "viewer")
    assert set(made) == {"id", "key"}
    who = await api_keys.authenticate(db, made["key"])
    assert who == Access(found[0]["id"], "viewer", f"api_key:{UUID(made['id'])}")
    assert await api_keys.authenticate(db, shown.split()[0]) != who
    assert "not shown again" in shown
    _, operator = both("api-key", "create", "--operator")
    assert isinstance(await api_keys.authenticate(db, operator["key"]), Operator)

    replayed, queued = both("replay", "--failed")
    assert replayed == "1 queued; a running `whatrack serve` or `work` processes them.\n"
    assert queued == {"queued": 0}
    first = str((await rows(db, "SELECT min(id) AS id FROM webhook_deliveries"))[0]["id"])
    for which in (
        ("--id", first, "--id", str(2**63 - 1)),
        ("--since", "2026-01-01T00:00:00-0300", "--until", "2100-01-01T00:00:00+0000"),
    ):
        replayed, queued = both("replay", *which)
        assert re.match(r"\d queued", replayed)
        assert queued == {"queued": 0}  # what waits already is not queued twice


async def test_doctor_says_what_works_and_what_a_person_has_to_do(
    whatrack: Commands, db: Database, conninfo: str
):
    where = {"DATABASE_URL": url_of(conninfo), **SECRETS}
    shop = await make_shop(db)
    await process(db, body(change(shop.number, message())), b"not json")

    well, told = whatrack("doctor", **where), whatrack("doctor", "--json", **where)

    assert (well.code, well.err, told.code) == (0, "", 0), well.out
    assert f"ok    number      {shop.organization.slug}: " in well.out
    states = {each["check"]: each["state"] for each in told.json["checks"]}
    good = dict.fromkeys(("webhooks", "key", "disk", "database", "partitions", "queue", "number"), "ok")
    assert states == {**good, "facebook": "warning", "deliveries": "warning"}

    async with db.tenant(shop.id) as conn:
        for statement in ILL:
            await conn.execute(statement, {"organization": shop.id})
    ill = whatrack("doctor", "--json", **{**where, "WHATSAPP_APP_SECRET": ""})

    assert (ill.code, ill.json["ok"]) == (1, False)
    broken = {each["check"]: each["detail"] for each in ill.json["checks"] if each["state"] == "broken"}
    assert broken.keys() == {"webhooks", "key", "profile", "dataset", "spend"}
    assert "password_changed" in broken["profile"]
    assert "no_profile" in broken["spend"]
    assert "earlier key" in broken["key"]


def test_doctor_makes_no_database_and_names_one_that_is_out_of_reach(whatrack: Commands, tmp_path: Path):
    nowhere = whatrack("doctor", WHATRACK_DATA_DIR=str(tmp_path / "none"))
    away = whatrack("doctor", DATABASE_URL="postgresql://a:b@127.0.0.1:1/c")

    assert (nowhere.code, away.code, nowhere.err, away.err) == (1, 1, "", "")
    assert "FAIL  database    there is none" in nowhere.out
    assert not (tmp_path / "none").exists()
    assert "FAIL  database    DATABASE_URL: the server cannot be reached" in away.out


def test_help_and_version_need_no_settings(whatrack: Commands):
    helped = [
        whatrack(*arguments, DATABASE_URL="nonsense")
        for arguments in (["--help"], ["-h"], ["org", "--help"], ["serve", "-h"])
    ]
    version = whatrack("--version")

    assert [each.code for each in (*helped, version)] == [0] * 5
    for command in ("serve", "work", "demo", "doctor", "migrate", "replay", "org", "number", "api-key"):
        assert re.search(rf"^  {command} ", helped[0].out, re.MULTILINE)
    assert re.fullmatch(r"whatrack, version \d+\.\d+\.\d+\n", version.out)


# How it fails


async def test_every_refusal_is_one_line_on_stderr_and_exit_code_1(
    whatrack: Commands, db: Database, conninfo: str, empty: str, tmp_path: Path
):
    shop, other = await make_shop(db, "loja"), await make_shop(db, "outra")
    (tmp_path / "file").write_text("x")
    taken = socket.create_server(("127.0.0.1", 0))
    port = str(taken.getsockname()[1])
    here = {"DATABASE_URL": url_of(conninfo), **SECRETS}
    gone = {**here, "DATABASE_URL": f"postgresql://u:{APP_SECRET}@127.0.0.1:1/db"}
    bare = {**here, "DATABASE_URL": url_of(empty)}
    create = ("org", "create", "--name", "Nova", "--slug")
    number = ("--phone-number-id", other.number, "--waba-id", "1", "--display-phone", "+55")
    cases: list[tuple[tuple[str, ...], dict[str, str], str]] = [
        ((*create, "loja"), here, 'slug "loja" exists'),
        ((*create, "Não Pode"), here, "A slug has"),
        ((*create, "-x"), here, "A slug has"),
        ((*create, "nova", "--timezone", "Mars/Base"), here, 'no time zone "Mars/Base"'),
        ((*create, "nova", "--timezone", "../../etc/passwd"), here, "no time zone"),
        ((*create, "nova", "--currency", "reais"), here, "A currency is three capitals"),
        (("org", "create", "--name", "", "--slug", "nova"), here, "A name has"),
        (("org", "create", "--name", "\udcff", "--slug", "nova"), here, "not UTF-8"),
        (("number", "add", "--org", "nenhuma", *number), here, "no organization nenhuma"),
        (("number", "add", "--org", "loja", *number), here, f"The number {other.number} is live for another organization"),
        (("number", "add", "--org", "loja", "--phone-number-id", "+55", *number[2:]), here, "The phone number id is digits"),
        (("number", "add", "--org", "loja", *number[:3], "x", *number[4:]), here, "The WABA id is digits"),
        (("number", "add", "--org", "loja", *number[:5], "x" * 41), here, "The phone as people read it"),
        (("api-key", "create", "--org", "nenhuma", "--role", "owner"), here, "no organization nenhuma"),
        (("serve",), {"DATABASE_URL": here["DATABASE_URL"]}, "WHATSAPP_APP_SECRET is not set"),
        (("serve",), {**here, "WHATSAPP_VERIFY_TOKEN": ""}, "WHATSAPP_VERIFY_TOKEN is not set"),
        (("serve",), {**here, "WHATSAPP_APP_SECRET_FILE": str(tmp_path / "file")}, "WHATSAPP_APP_SECRET_FILE are both set"),
        (("serve", "--port", port), here, f"Cannot listen on 127.0.0.1:{port} (Address already in use)"),
        (("serve", "--host", "192.0.2.1", "--port", "0"), here, "Cannot listen on 192.0.2.1:0 (Cannot assign requested address): choose another with --host."),
        (("serve", "--host", "no.such.host.invalid", "--port", "0"), here, "Cannot listen on no.such.host.invalid:0 (Name or service not known): choose another with --host."),
        (("serve", "--port", "0"), gone, "DATABASE_URL: the server cannot be reached"),
        (("work",), gone, "DATABASE_URL: the server cannot be reached"),
        (("migrate",), gone, "DATABASE_URL: the server cannot be reached"),
        (("replay", "--failed"), gone, "DATABASE_URL: the server cannot be reached"),
        (("serve", "--port", "0"), bare, f"schema is at nothing, this version needs {HEAD}: run `whatrack migrate`"),
        (("work",), bare, "run `whatrack migrate`"),
        ((*create, "nova"), bare, "run `whatrack migrate`"),
        (("migrate",), {"DATABASE_URL": f"postgresql+psycopg://u:{APP_SECRET}@h/d"}, "DATABASE_URL is malformed"),
        (("migrate",), {**here, "WHATRACK_DELIVERY_DAYS": "ten"}, "WHATRACK_DELIVERY_DAYS is malformed"),
        (("migrate",), {"WHATRACK_DATA_DIR": str(tmp_path / "file" / "x")}, "The embedded database does not start"),
        (("migrate",), {"WHATRACK_DATA_DIR": str(tmp_path / "d"), "WHATRACK_POSTGRES_BIN_DIR": str(tmp_path)}, str(tmp_path)),
        (("demo", "--exit", "--port", port), {}, "Cannot listen on"),
        (("demo", "--exit", "--port", "0"), {"WHATRACK_LOG_LEVEL": "loud"}, "WHATRACK_LOG_LEVEL is malformed"),
    ]  # fmt: skip

    ended = [whatrack(*arguments, **environment) for arguments, environment, _ in cases]
    taken.close()

    for (arguments, _, says), each in zip(cases, ended, strict=True):
        assert (each.code, each.out) == (1, ""), (arguments, each)
        assert each.err.startswith("whatrack: "), (arguments, each.err)
        assert each.err.count("\n") == 1, (arguments, each.err)
        assert says in each.err, arguments
    assert {row["slug"] for row in await rows(db, "SELECT slug FROM organizations")} == {"loja", "outra"}
    assert shop.number != other.number


def test_a_command_that_is_written_wrong_is_exit_code_2_and_touches_nothing(whatrack: Commands):
    both = ("--since", "2026-01-01T00:00:00+0000", "--until", "2026-01-02T00:00:00+0000")
    wrong: list[tuple[str, ...]] = [
        ("nonsense",), ("serve", "--nonsense"), ("serve", "--port", "65536"), ("serve", "--port", "x"), ("org", "create"),
        ("org", "create", "--name", "x"), ("number", "add", "--org", "x"), ("api-key", "create"),
        ("api-key", "create", "--org", "x"), ("api-key", "create", "--role", "owner"),
        ("api-key", "create", "--org", "x", "--role", "operator"), ("api-key", "create", "--operator", "--org", "x"),
        ("api-key", "create", "--operator", "--role", "owner"), ("replay",), ("replay", "--id", "x"), ("replay", "--id", "0"),
        ("replay", "--id", str(2**63)), ("replay", *both[:2]), ("replay", *both[2:]), ("replay", *both, "--failed"),
        ("replay", "--id", "1", "--failed"), ("replay", "--failed", "--quarantined"), ("replay", *both[:2], "--until", both[1]), ("replay", "--since", "2026-01-01", *both[2:]),
        ("replay", "--since", "2026-01-01T00:00:00", *both[2:]), ("work", "extra"), ("migrate", "now"),
    ]  # fmt: skip

    ended = [whatrack(*arguments, DATABASE_URL="nonsense") for arguments in wrong]

    for arguments, each in zip(wrong, ended, strict=True):
        assert (each.code, each.out) == (2, ""), (arguments, each)
        assert "Error: " in each.err
        assert "Traceback" not in each.err


# How processes live together


async def test_commands_at_once_on_a_new_data_dir_share_its_database_and_the_last_stops_it(
    whatrack: Commands, tmp_path: Path
):
    folder = tmp_path / "data"
    where = {"WHATRACK_DATA_DIR": str(folder)}

    commands = [
        whatrack.start("org", "create", "--name", f"N{place}", "--slug", f"n{place}", "--json", **where)
        for place in range(3)
    ]
    ended = [command.end() for command in commands]
    taken = whatrack("org", "create", "--name", "N", "--slug", "n1", **where)

    assert [(each.code, each.err) for each in ended] == [(0, "")] * 3
    assert {each.json["slug"] for each in ended} == {"n0", "n1", "n2"}
    assert (taken.code, taken.err) == (
        1,
        'whatrack: An organization with the slug "n1" exists: choose another.\n',
    )
    assert is_stopped(str(folder))
    embedded.remove(folder)


async def test_serve_turns_a_signed_webhook_into_a_ticket_and_ends_at_sigterm_with_its_database(
    whatrack: Commands, data_dir: str, tmp_path: Path
):
    where = {"WHATRACK_DATA_DIR": data_dir, **SECRETS}
    port = free_port()
    log = tmp_path / "log"
    with log.open("w") as stderr:
        serve = await asyncio.create_subprocess_exec(
            SCRIPT, "serve", "--port", str(port), env={"PATH": os.defpath, **where}, stdout=subprocess.PIPE, stderr=stderr
        )  # fmt: skip
        try:
            number, key = shop_by_commands(
                whatrack, "serve", **where
            )  # beside the server, on the same database
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                await ready(session)
                await click(session, number, "5511900000001")
                found, _ = await tickets_seen(session, key, 1)
            running = not is_stopped(data_dir)
            serve.send_signal(signal.SIGTERM)
            out, _ = await asyncio.wait_for(serve.communicate(), PATIENCE_S)
        finally:
            if serve.returncode is None:
                serve.kill()
                await serve.wait()

    assert (serve.returncode, running, is_stopped(data_dir)) == (0, True, True)
    assert re.search(rf"  http://localhost:{port}/setup/[\w-]{{43}}\n".encode(), out)
    assert (found[0]["tracking"]["meta_source_type"], found[0]["contact"]["wa_id"]) == ("ad", "5511900000001")
    said = log.read_text()
    assert planted_in(said) == []
    assert "5511900000001" not in said
    assert all(json.loads(line)["level"] in ("debug", "info") for line in said.splitlines()), said


async def test_a_server_without_workers_and_a_worker_beside_it_share_the_embedded_database(
    whatrack: Commands, data_dir: str
):
    where = {"WHATRACK_DATA_DIR": data_dir, **SECRETS}
    port = free_port()
    server = whatrack.start("serve", "--no-workers", "--port", str(port), **where)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        await ready(session, server)
        number, key = shop_by_commands(whatrack, "apart", **where)
        await click(session, number, "5511900000001")
        await asyncio.sleep(0.5)
        alone, _ = await tickets_seen(session, key, 0)
        worker = whatrack.start("work", **where)
        await tickets_seen(session, key, 1)
        took = []
        for place in range(2, 6):
            await click(session, number, f"551190000000{place}")
            took.append((await tickets_seen(session, key, place))[1])
        server.send(signal.SIGTERM)
        first = server.end()
        shared = not is_stopped(data_dir)
        worker.send(signal.SIGTERM)
        second = worker.end()

    assert alone == []
    assert min(took) < 1.5  # NOTIFY, or else the poll of each second
    assert [each.code for each in (first, second)] == [0, 0]
    assert (shared, is_stopped(data_dir)) == (True, True)


async def test_with_a_database_url_migrate_comes_first_and_serve_then_runs_on_it(
    whatrack: Commands, empty: str
):
    where = {"DATABASE_URL": url_of(empty), **SECRETS}

    migrated = whatrack("migrate", **where)
    number, key = shop_by_commands(whatrack, "url", **where)
    port = free_port()
    server = whatrack.start("serve", "--port", str(port), **where)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        await ready(session, server)
        await click(session, number, "5511900000001")
        found, _ = await tickets_seen(session, key, 1)
        server.send(signal.SIGINT)
        ended = server.end()

    assert (migrated.code, migrated.err) == (0, "")
    assert found[0]["tracking"]["ctwa_clid"] == "Aff-click-1"
    assert ended.code == 0


async def test_a_start_cut_short_by_sigterm_leaves_no_database_behind(whatrack: Commands, data_dir: str):
    for wait_for_it in (True, False):
        command = whatrack.start("serve", "--port", "0", WHATRACK_DATA_DIR=data_dir, **SECRETS)
        if wait_for_it:
            await until(lambda: not is_stopped(data_dir), command)
        command.send(signal.SIGTERM)
        ended = command.end()

        assert ended.code in (0, 128 + signal.SIGTERM, -signal.SIGTERM)  # the last: before it had begun
        assert "Traceback" not in ended.err
        assert is_stopped(data_dir)


def test_a_role_that_would_see_every_organization_is_refused_in_one_line(whatrack: Commands, data_dir: str):
    with EmbeddedPostgres(Path(data_dir)) as server:
        place = find_place(Path(data_dir).resolve())
        assert place
        superuser = {"user": "postgres", "password": passwords_of(place).superuser}
        where = {"DATABASE_URL": url_of(make_conninfo(server.start(), **superuser)), **SECRETS}
        ended = [
            whatrack(*command, **where)
            for command in (("serve", "--port", "0"), ("work",), ("replay", "--failed"))
        ]

    for each in ended:
        assert (each.code, each.out, each.err.count("\n")) == (1, "", 1)
        assert each.err.startswith(
            "whatrack: DATABASE_URL: its role bypasses row-level security and there is no role whatrack_app"
        )


def test_a_start_that_fails_says_where_and_no_value(whatrack: Commands, empty: str):
    migrate(empty)
    with psycopg.connect(empty, autocommit=True) as conn:
        conn.execute("DROP TABLE webhook_deliveries CASCADE")

    ended = whatrack("serve", "--port", "0", DATABASE_URL=url_of(empty), **SECRETS)

    assert ended.code not in (0, None)
    (failed,) = [line for line in map(json.loads, ended.err.splitlines()) if line["event"] == "start_failed"]
    assert failed["error"]["sqlstate"] == "42P01"
    assert "Traceback" not in ended.err


async def test_a_server_outlives_its_killed_database_and_then_takes_webhooks_again(
    whatrack: Commands, data_dir: str
):
    where = {"WHATRACK_DATA_DIR": data_dir, **SECRETS}
    port = free_port()
    server = whatrack.start("serve", "--port", str(port), **where)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        await ready(session, server)
        number, key = shop_by_commands(whatrack, "killed", **where)
        os.kill(database_of(data_dir) or 0, signal.SIGKILL)
        await until(lambda: not is_stopped(data_dir), server)
        await ready(session, server)
        await click(session, number, "5511900000001")
        found, _ = await tickets_seen(session, key, 1)
        server.send(signal.SIGTERM)
        ended = server.end()

    assert (len(found), ended.code, is_stopped(data_dir)) == (1, 0, True)
    assert "embedded_database_restarted" in ended.err
