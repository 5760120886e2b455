"""Processes of a run: started and ended by their own id, their CPU time and memory read from /proc (Linux)."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

TICKS = os.sysconf("SC_CLK_TCK")
STOP_S = 15.0
CORE = 0  # the one that a drainer and PostgreSQL share when one core is measured
_PARENT, _UTIME, _STIME, _CUTIME, _CSTIME = 1, 11, 12, 13, 14  # fields of /proc/<pid>/stat after the name


def in_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The function's answer, from a fresh process of its own."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


@contextmanager
def running(command: Sequence[str], environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block lasts; then asked to end, and killed when it does not within 15 s."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environ}, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def parent(pid: int) -> int:
    """The id of the process's parent."""
    return int(_stat(pid)[_PARENT])


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                children.setdefault(parent(int(folder.name)), []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def cpu_s(pid: int) -> float:
    """Seconds of CPU that the process and its descendants have used, those included that ended meanwhile."""
    total = 0
    for each in family(pid):
        with suppress(OSError):
            stat = _stat(each)
            total += int(stat[_UTIME]) + int(stat[_STIME]) + int(stat[_CUTIME]) + int(stat[_CSTIME])
    return total / TICKS


def pin(pid: int, cores: set[int]) -> None:
    """Keep the process, its threads and its descendants on these cores."""
    for each in family(pid):
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                os.sched_setaffinity(int(task.name), cores)


def unpin(pid: int) -> None:
    """Let the process, its threads and its descendants run on every core again."""
    pin(pid, set(range(os.cpu_count() or 1)))


def memory_mb(pids: Sequence[int]) -> tuple[float, float]:
    """(PSS, USS) in MB of these processes together: with their share of common pages, and without."""
    pss = uss = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            key, _, rest = line.partition(":")
            if key == "Pss":
                pss += int(rest.split()[0])
            elif key in ("Private_Clean", "Private_Dirty"):
                uss += int(rest.split()[0])
    return pss / 1000 * 1.024, uss / 1000 * 1.024


def wait_for(true: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Return when it is true; TimeoutError when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {timeout_s:.0f} s")
        time.sleep(0.02)


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def peak_mb(pid: int) -> float:
    """The most memory (RSS) in MB that the process ever held at once."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000 * 1.024
    raise RuntimeError(f"no VmHWM of process {pid}")
