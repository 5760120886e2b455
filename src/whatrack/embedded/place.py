"""Where a data dir keeps its cluster, and its passwords: decided and made once, private, and gone with the data dir."""

import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex, token_urlsafe

from whatrack.embedded.binaries import SHARED_ROOT, Account, account_for, can_reach, shared_root
from whatrack.embedded.files import EmbeddedError, make_private_folder, read_private, write_private

# First words of the names we make.
_OUR_NAMES = {"start", "users", "passwords", "server", "location", "pgdata", "socket"}

# 107 bytes on Linux, 103 on macOS; the socket's own name takes 15.
_LONGEST_SOCKET_DIR = 103 - len("/.s.PGSQL.5432")


class ClusterGoneError(EmbeddedError):
    """The data dir names a cluster that is not there any more."""


@dataclass(frozen=True, slots=True)
class Passwords:
    """What a cluster was made with.

    socket: names the socket's folder; random, for /tmp, and never used again: a server whose data dir was removed under
    it deletes its socket a minute later. Stable, so that a DSN outlives the server.
    """

    superuser: str = field(repr=False)
    whatrack: str = field(repr=False)
    socket: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """The caller's data_dir (start.lock, passwords, log) and the home of its cluster: the same folder where it can be."""

    data_dir: Path
    home: Path
    account: Account

    @property
    def pgdata(self) -> Path:
        """PostgreSQL's own data directory: whole, or not there at all."""
        return self.home / "pgdata"

    @property
    def users_lock(self) -> Path:
        """Shared by everybody who uses the server. Beside the cluster, so that copies of a data dir count as one."""
        return self.home / "users.lock"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.data_dir / "server.log"

    def socket_dir(self, passwords: Passwords) -> Path:
        """The folder of the unix socket: in the home, or, where its path is too long for a socket, in /tmp.

        TMPDIR plays no part: every process must come to the same answer. libpq reads a comma as a list of hosts.
        """
        near = self.home / f"socket.{passwords.socket}"
        if len(os.fsencode(near)) <= _LONGEST_SOCKET_DIR and "," not in str(near):
            return near
        return Path("/tmp") / f"whatrack-{passwords.socket}"  # noqa: S108  # random name, owner and mode are checked


def start_lock(data_dir: Path) -> Path:
    """Held by whoever starts, stops or removes the server of a data dir."""
    return data_dir / "start.lock"


def claim_data_dir(data_dir: Path) -> None:
    """Makes the data dir with mode 0700, or checks that one which is there may be used, and narrows its mode if it is ours.

    A folder with anybody else's files in it is never changed: WHATRACK_DATA_DIR=/srv must not close /srv.
    """
    if os.geteuid() == 0 and SHARED_ROOT in data_dir.parents:
        shared_root()  # with a mode that lets the server's account through, whatever our umask is
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        data_dir.mkdir(mode=0o700)
    owner = data_dir.stat().st_uid
    if os.geteuid() not in (0, owner):
        raise EmbeddedError(
            f"{data_dir} belongs to user {owner}, not to us ({os.geteuid()}). "
            "Start as that user, or set WHATRACK_DATA_DIR to a folder of our own."
        )
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if not has_other_files(data_dir):
            if mode != 0o700:
                os.fchmod(descriptor, 0o700)
        elif mode & 0o077:
            raise EmbeddedError(
                f"{data_dir} holds other files and other users can enter it. "
                "Set WHATRACK_DATA_DIR to a new or empty folder, or make this one private (chmod 700)."
            )
    finally:
        os.close(descriptor)


def has_other_files(data_dir: Path) -> bool:
    """Whether anything in the folder is neither the launcher's nor the file system's own."""
    return not all(is_ours(name) or name == "lost+found" for name in os.listdir(data_dir))


def is_ours(name: str) -> bool:
    """Whether the launcher gives names like this one in a data dir."""
    return name.lstrip(".").split(".")[0] in _OUR_NAMES


def find_place(data_dir: Path) -> Place | None:
    """The place chosen at the first start; None before it. EmbeddedError when the cluster it names is gone."""
    known = read_private(data_dir / "location")
    if known is None:
        return Place(data_dir, data_dir, account_for(data_dir)) if (data_dir / "pgdata").exists() else None
    home = Path(known.strip())
    if home.parent != SHARED_ROOT or not home.name.isalnum():
        raise EmbeddedError(f"{data_dir}/location names {home}, which WhaTrack never made. Remove that file.")
    if not home.is_dir():
        raise ClusterGoneError(
            f"The database of {data_dir} lay in {home}, and that folder is gone. "
            f"Put it back from a backup, or remove {data_dir} to begin with an empty database."
        )
    if data_dir.stat().st_uid not in (0, home.stat().st_uid):
        raise EmbeddedError(f"{data_dir}/location names another user's {home}. Remove that file.")
    return Place(data_dir, home, account_for(home))


def choose_place(data_dir: Path) -> Place:
    """Where a new cluster goes: into the data dir, unless root's server account cannot get there.

    Then it goes to a random name under SHARED_ROOT, and the file `location` says which. No mode of a parent changes.
    """
    account = account_for(data_dir)
    if os.geteuid() != 0 or (can_reach(account, data_dir.parent) and _hand_over(data_dir, account)):
        return Place(data_dir, data_dir, account)
    home = shared_root() / token_hex(16)
    make_private_folder(home, account.uid, account.gid)
    if not can_reach(account, home):
        home.rmdir()
        raise EmbeddedError(f"User {account.name} cannot enter {SHARED_ROOT}: run `chmod 711 {SHARED_ROOT}`.")
    write_private(data_dir / "location", str(home))
    return Place(data_dir, home, account)


def _hand_over(data_dir: Path, account: Account) -> bool:
    """Gives root's data dir to the server's account; False where it holds other files or the file system refuses."""
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid == account.uid:
            return True
        if has_other_files(data_dir):
            return False
        os.fchown(descriptor, account.uid, account.gid)
    except PermissionError:
        return False
    finally:
        os.close(descriptor)
    return True


def passwords_of(place: Place) -> Passwords:
    """The cluster's passwords, made up before the cluster is. EmbeddedError when a cluster has lost its own."""
    path = place.data_dir / "passwords.json"
    text = read_private(path)
    if text is None and not place.pgdata.exists():
        made = {"superuser": token_urlsafe(32), "whatrack": token_urlsafe(32), "socket": token_hex(6)}
        write_private(path, json.dumps(made))
        return Passwords(**made)
    try:
        return Passwords(**json.loads(text or ""))
    except (ValueError, TypeError) as error:
        raise EmbeddedError(
            f"{path} is missing or damaged, so nobody can log in to the database. Put it back from a backup, "
            f"or remove {place.data_dir} to begin with an empty database."
        ) from error
