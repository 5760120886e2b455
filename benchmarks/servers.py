"""The servers that are put under load, each a process of its own on 127.0.0.1, ended when its block ends."""

import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.bodies import Shop
from benchmarks.database import Cluster, connect
from benchmarks.load import Target
from benchmarks.processes import running, wait_for
from whatrack.inbox import intake

ROOT = Path(__file__).resolve().parent.parent
SECRET = "bench-app-secret"
PEER_PATH = "/webhook"
PEER_TABLE = """
CREATE TABLE peer_deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, received_at timestamptz NOT NULL DEFAULT now(), body bytea NOT NULL)
"""


@contextmanager
def whatrack(
    cluster: Cluster, *, with_workers: bool, more: Mapping[str, str] | None = None
) -> Iterator[Target]:
    """`whatrack serve` on the run's cluster, as its users start it. more: settings besides."""
    command = [sys.executable, "-c", "from whatrack.cli import main; main()", "serve"]
    environ = {
        "DATABASE_URL": "",
        "WHATRACK_DATA_DIR": str(cluster.data_dir),
        "WHATRACK_LOG_LEVEL": "warning",
        "WHATSAPP_APP_SECRET": SECRET,
        "WHATSAPP_VERIFY_TOKEN": "bench",
        **(more or {}),
    }
    flags = [] if with_workers else ["--no-workers"]
    port = free_port()
    with _serving([*command, "--port", str(port), *flags], environ, cluster, port, intake.PATH) as target:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/readyz"), "/readyz")
        yield target


@contextmanager
def pywa(cluster: Cluster, shop: Shop) -> Iterator[Target]:
    """pywa_async with FastAPI under uvicorn, one process."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "benchmarks.pywa_peer:app",
        "--port",
        str(port),
        "--loop",
        "uvloop",
    ]
    command += ["--http", "httptools", "--no-access-log", "--log-level", "warning"]
    environ = {"PEER_SECRET": SECRET, "PEER_NUMBER": shop.number, "PEER_PATH": PEER_PATH}
    with _serving(command, environ, cluster, port, PEER_PATH) as target:
        yield target


@contextmanager
def flask(cluster: Cluster) -> Iterator[Target]:
    """Flask and psycopg under gunicorn, two processes of 16 threads: a row and a commit for each request."""
    with connect(cluster.conninfo) as conn:
        conn.execute(PEER_TABLE.encode())
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "benchmarks.flask_peer:app", "--workers", "2"]
    command += ["--worker-class", "gthread", "--threads", "16"]
    command += ["--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
    environ = {"PEER_SECRET": SECRET, "PEER_DATABASE": cluster.conninfo, "PEER_PATH": PEER_PATH}
    with _serving(command, environ, cluster, port, PEER_PATH) as target:
        yield target


@contextmanager
def _serving(
    command: Sequence[str], environ: dict[str, str], cluster: Cluster, port: int, path: str
) -> Iterator[Target]:
    log = cluster.data_dir.parent / "servers.log"
    with running(command, {"PYTHONPATH": str(ROOT), **environ}, log) as process:
        wait_for(lambda: process.poll() is not None or _listens(port), f"a listener of {command[1:4]}")
        if process.poll() is not None:
            raise RuntimeError(f"{command} ended: {log.read_text(errors='replace')[-2000:]}")
        yield Target(port, path, SECRET.encode(), (process.pid, cluster.pid))


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def answers(url: str) -> bool:
    """Whether this address says 200."""
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
