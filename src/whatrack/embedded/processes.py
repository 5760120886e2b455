"""Which live process, if any, is the PostgreSQL server of a data directory: never a zombie, never a recycled PID."""

import os
import subprocess
from itertools import pairwise
from pathlib import Path


def recorded_pid(pgdata: Path) -> int | None:
    """The PID in postmaster.pid; None without one, and for a file that a power cut left empty or torn."""
    try:
        first = (pgdata / "postmaster.pid").read_bytes().split(b"\n")[0]
        pid = abs(int(first))  # a single-user server writes it negative
    except (FileNotFoundError, ValueError):
        return None
    return pid or None


def serving_pid(pgdata: Path) -> int | None:
    """The server that postmaster.pid names, if that process lives and is one."""
    pid = recorded_pid(pgdata)
    return pid if pid is not None and serves(pid, pgdata) else None


def exists(pid: int) -> bool:
    """Whether any process, a zombie too, has this PID."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def serves(pid: int, pgdata: Path) -> bool:
    """Whether this process is a live `postgres` that works in this very data directory."""
    if not Path("/proc/self/cmdline").exists():
        return _serves_by_ps(pid, pgdata)
    process = Path("/proc") / str(pid)
    try:
        if (process / "comm").read_text().strip() != "postgres":
            return False
        arguments = (process / "cmdline").read_bytes().split(b"\0")  # empty for a zombie
    except (FileNotFoundError, ProcessLookupError):
        return False
    return _names(arguments, pgdata) or _works_in(process, pgdata)


def _names(arguments: list[bytes], pgdata: Path) -> bool:
    return (b"-D", os.fsencode(pgdata)) in pairwise(arguments)


def _works_in(process: Path, pgdata: Path) -> bool:
    """By its working directory, which holds when the data dir was renamed under it. Not every root may look there."""
    try:
        return os.path.samestat((process / "cwd").stat(), pgdata.stat())
    except OSError:
        return False


def _serves_by_ps(pid: int, pgdata: Path) -> bool:
    """Where there is no /proc (macOS)."""
    asked = subprocess.run(  # noqa: S603  # fixed words and a number
        ["/bin/ps", "-ww", "-o", "stat=,command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, command = asked.stdout.strip().partition(" ")
    return bool(state) and "Z" not in state and "postgres" in command and f"-D {pgdata} " in command
