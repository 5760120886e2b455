"""The server of one cluster: made whole, answering to a login, and no other process is ever taken for it."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path
from secrets import token_hex
from threading import Event, Thread
from typing import IO, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from whatrack.embedded.binaries import run, spawn
from whatrack.embedded.files import (
    EmbeddedError,
    check_private_folder,
    delete,
    make_private_folder,
    open_private,
    sync_folder,
)
from whatrack.embedded.place import Passwords, Place
from whatrack.embedded.processes import exists, recorded_pid, serves, serving_pid

_MEGABYTE = 2**20


def shared_buffers() -> str:
    """An eighth of the memory that is ours to use, and at most 1 GB: a million people's pages do not fit into
    256 MB, and the drain then fetches and evicts six of them for each message."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # in a container; "max" is no limit
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return f"{min(max(memory // 8 // _MEGABYTE, 64), 1024)}MB"


DEFAULT_OPTIONS: Mapping[str, str] = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    "shared_buffers": shared_buffers(),
    # Checkpoints far apart: after each one every page written for the first time goes to the log whole. Compressing
    # those cost a third of the server's time.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "max_connections": "100",
    "shared_preload_libraries": "",
    "log_checkpoints": "off",
    # The log holds what befell the server, never what was in a statement: an ERROR's own text can quote a value
    # ('invalid input syntax for type integer: "5511…"'), and whoever sent the statement gets it anyway.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}

_PORT = 5432  # names the socket; nothing listens on TCP
_LARGEST_LOG = 8 * 2**20
_PATIENCE_S = 60.0  # for old backends to let go of shared memory, and for a live server that is silent
_MOST_LAUNCHES = 5  # of a server that is killed each time, for want of memory, say
_REFUSALS = ("authentication failed", "no pg_hba.conf entry", "does not exist")
_OLD_BACKENDS_LIVE = re.compile("pre-existing shared memory block|lock file .* already exists")

CREATE_ROLE = sql.SQL("CREATE ROLE whatrack")
ALTER_ROLE = sql.SQL(
    "ALTER ROLE whatrack LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}"
)
CREATE_DATABASE = sql.SQL("CREATE DATABASE whatrack OWNER whatrack")
ROLE_EXISTS: LiteralString = "SELECT 1 FROM pg_roles WHERE rolname = 'whatrack'"
DATABASE_EXISTS: LiteralString = "SELECT 1 FROM pg_database WHERE datname = 'whatrack'"


class Answer(Enum):
    """What a login attempt tells about the server."""

    UP = "it lets us in"
    NOT_YET = "it lives, but starts, recovers or stops"
    NONE = "nobody answers"


class Server:
    """Starts, watches and stops one cluster's server. Whoever changes something here holds start.lock."""

    def __init__(self, place: Place, bin_dir: Path, options: Mapping[str, str], passwords: Passwords) -> None:
        self.place = place
        self._bin_dir = bin_dir
        self._options = options
        self._passwords = passwords
        self._socket_dir = place.socket_dir(passwords)

    def dsn(self, role: str = "whatrack") -> str:
        """Conninfo for a role and the database of its name."""
        password = self._passwords.whatrack if role == "whatrack" else self._passwords.superuser
        return make_conninfo(
            host=str(self._socket_dir), port=_PORT, user=role, password=password, dbname=role
        )

    def answer(self) -> Answer:
        """Tries a login as the superuser, for whom PostgreSQL keeps connections free."""
        try:
            psycopg.connect(self.dsn("postgres"), connect_timeout=3).close()
        except psycopg.OperationalError as error:
            return _answer_in(str(error), self.place)
        return Answer.UP

    def clear_drafts(self) -> None:
        """Deletes what initdb runs that were cut short have left; one that still runs without its parent fails by this."""
        for leftover in self.place.home.glob("pgdata.new.*"):
            delete(leftover)

    def make_cluster(self) -> None:
        """Runs initdb where there is no cluster yet; a half-made one never gets the name pgdata."""
        home, account = self.place.home, self.place.account
        draft = home / f"pgdata.new.{token_hex(8)}"
        password_file = draft.with_name(f"{draft.name}.password")
        with _private(password_file, os.O_RDWR) as file:
            file.write(self._passwords.superuser.encode())
        layout = ["--encoding=UTF8", "--locale=C", "--data-checksums"]
        access = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={password_file}"]
        status, output = run([self._bin_dir / "initdb", "-D", draft, *layout, *access], account)
        password_file.unlink()
        if status != 0:
            delete(draft)
            raise EmbeddedError(
                f"PostgreSQL could not make a new database in {home}. It said:\n{output[-2000:]}"
            )
        draft.rename(self.place.pgdata)
        sync_folder(home)

    def bring_up(self, given_up: Event) -> bool:
        """Returns when a login works; True when a server had to be launched for it.

        A server that is recovering may take as long as it needs. EmbeddedError when it refuses to start, when old
        backends or silence last longer than a minute, or when given_up is set.
        """
        launched: subprocess.Popen[bytes] | None = None
        launches, log_from, pause_s, deadline = 0, 0, 0.01, time.monotonic() + _PATIENCE_S
        while (answer := self.answer()) is not Answer.UP:
            if answer is Answer.NOT_YET:
                deadline = time.monotonic() + _PATIENCE_S
            elif launched is not None and launched.returncode is not None:
                self._check_exit(launched.returncode, log_from, launches)
                launched = None
            elif launched is None and serving_pid(self.place.pgdata) is None:
                log_from = self._log_size()
                launched, launches = self._launch(), launches + 1
            if given_up.wait(pause_s):
                raise EmbeddedError("The embedded database was told to stop before it was up.")
            if time.monotonic() > deadline:
                raise EmbeddedError(self._why_silent(log_from))
            pause_s = min(pause_s * 1.3, 0.25)  # each refused login of a long recovery is a line in the log
        return launched is not None

    def provide_database(self) -> None:
        """Makes the role and the database `whatrack` where they are not there yet; the database comes last."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            if connection.execute(DATABASE_EXISTS).fetchone():
                return
            if not connection.execute(ROLE_EXISTS).fetchone():
                connection.execute(CREATE_ROLE)
            # Hashed here: the password itself never goes over the wire or into a statement.
            verifier = connection.pgconn.encrypt_password(
                self._passwords.whatrack.encode(), b"whatrack", b"scram-sha-256"
            )
            connection.execute(ALTER_ROLE.format(verifier.decode()))
            connection.execute(CREATE_DATABASE)

    def shut_down(self) -> None:
        """Stops the server, if it runs, and takes its socket's folder out of /tmp."""
        end_server(self.place)
        drop_socket_dir(self.place, self._passwords)

    def trim_log(self) -> None:
        """Keeps the log and one older part of it, each a few megabytes. Whoever holds start.lock may call it at any time."""
        if self.has_long_log():
            older = self.place.log.with_name("server.log.1")
            with _private(self.place.log, os.O_RDWR) as log, _private(older, os.O_RDWR) as copy:
                copy.truncate()
                shutil.copyfileobj(log, copy)
                log.truncate(0)  # the server appends, so it goes on at the new end

    def has_long_log(self) -> bool:
        """Whether trim_log has something to do."""
        return self._log_size() > _LARGEST_LOG

    def _launch(self) -> subprocess.Popen[bytes]:
        account = self.place.account
        make_private_folder(self._socket_dir, account.uid, account.gid)
        self._forget_dead_server()
        self.trim_log()
        settings = {
            **DEFAULT_OPTIONS,
            **self._options,
            "listen_addresses": "",
            "port": str(_PORT),
            "unix_socket_directories": '"' + str(self._socket_dir).replace('"', '""') + '"',
            "logging_collector": "off",
            "log_destination": "stderr",
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with _private(self.place.log, os.O_RDWR | os.O_APPEND) as log:
            command: list[str | Path] = [self._bin_dir / "postgres", "-D", self.place.pgdata, *arguments]
            process = spawn(command, account, log.fileno())
        # Reaps it the moment it dies: to PostgreSQL a zombie is a live server that holds the data.
        Thread(target=process.wait, name="postgres-reaper", daemon=True).start()
        return process

    def _forget_dead_server(self) -> None:
        """Removes what would keep PostgreSQL from starting: its rule is that any live process with the old PID is a server.

        A PID that is dead it sorts out itself. Two servers on the same data stay impossible either way: it also looks
        whether anybody is attached to the shared memory that belongs to this data directory.
        """
        pid = recorded_pid(self.place.pgdata)
        if pid is None or exists(pid):
            (self.place.pgdata / "postmaster.pid").unlink(missing_ok=True)
        for name in (f".s.PGSQL.{_PORT}", f".s.PGSQL.{_PORT}.lock"):
            (self._socket_dir / name).unlink(missing_ok=True)

    def _check_exit(self, status: int, log_from: int, launches: int) -> None:
        """Raises unless another launch may help: old backends still die, or somebody ended the server as it started."""
        tail = self._log_tail(log_from)
        was_ended = status <= 0 and launches < _MOST_LAUNCHES
        if not was_ended and not _OLD_BACKENDS_LIVE.search(tail):
            raise EmbeddedError(
                f"PostgreSQL did not start (exit status {status}). Mend what its log says:\n{tail}"
            )

    def _why_silent(self, log_from: int) -> str:
        pid = serving_pid(self.place.pgdata)
        advice = f"end process {pid}" if pid else f"end what is left of the old server of {self.place.pgdata}"
        return f"No login to PostgreSQL worked for {_PATIENCE_S:.0f} s: {advice}. Its log:\n{self._log_tail(log_from)}"

    def _log_size(self) -> int:
        try:
            return self.place.log.stat().st_size
        except FileNotFoundError:
            return 0

    def _log_tail(self, start: int) -> str:
        with _private(self.place.log, os.O_RDWR) as log:
            log.seek(max(start, self._log_size() - 4000))
            return log.read().decode(errors="replace")


def _answer_in(text: str, place: Place) -> Answer:
    """What a refused login says. libpq gives no SQLSTATE here; the texts are stable because the cluster's locale is C."""
    if "FATAL" not in text:
        return Answer.NONE
    if "the database system is" in text:
        return Answer.NOT_YET
    if "too many clients" in text or "connection slots" in text:
        return Answer.UP
    if any(refusal in text for refusal in _REFUSALS):
        raise EmbeddedError(
            f"The database in {place.pgdata} refuses the password in {place.data_dir}: {text}"
        )
    return Answer.NONE  # our login met the end of the server


def end_server(place: Place) -> None:
    """Stops the cluster's server, if one runs: fast, or after a minute without its last checkpoint (the WAL has it all)."""
    pid = serving_pid(place.pgdata)
    if pid is None or _end(pid, signal.SIGINT, place.pgdata) or _end(pid, signal.SIGQUIT, place.pgdata):
        return
    raise EmbeddedError(f"PostgreSQL (process {pid}) does not stop. See {place.log}, then end it.")


def drop_socket_dir(place: Place, passwords: Passwords) -> None:
    """Takes the socket's folder out of /tmp, if it lies there and is the one we made."""
    socket_dir = place.socket_dir(passwords)
    if socket_dir.parent != place.home:
        with suppress(OSError, EmbeddedError):
            check_private_folder(socket_dir, place.account.uid)
            socket_dir.rmdir()


def _end(pid: int, number: signal.Signals, pgdata: Path) -> bool:
    """Whether the server ended within a minute of the signal."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    deadline = time.monotonic() + _PATIENCE_S
    while serves(pid, pgdata):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _private(path: Path, flags: int) -> IO[bytes]:
    return os.fdopen(open_private(path, flags), "rb+")
