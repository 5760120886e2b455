"""Files, folders and locks that no other user can read, forge or swap under us, even where root writes in a user's folder."""

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex


class EmbeddedError(Exception):
    """The embedded database cannot do what was asked; the message says what happened and what to do."""


def open_private(path: Path, flags: int) -> int:
    """A descriptor of the 0600 file at path, made when it is missing and then owned by its folder's owner.

    EmbeddedError for a symbolic or hard link and for a third user's file: root would write through it.
    """
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return _open_existing(path, flags)
    folder = path.parent.stat()
    if os.geteuid() == 0:
        os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor


def _open_existing(path: Path, flags: int) -> int:
    owners = {os.geteuid(), path.parent.stat().st_uid}
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise EmbeddedError(
            f"{path} cannot be opened ({error.strerror}). Run as its owner, or remove it."
        ) from error
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1 and found.st_uid in owners:
        return descriptor
    os.close(descriptor)
    raise EmbeddedError(
        f"{path} is a link or another user's file, so it is not trusted. Remove it and start again."
    )


def read_private(path: Path) -> str | None:
    """What the file holds; None when there is none."""
    try:
        descriptor = _open_existing(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, encoding="utf-8") as file:
        return file.read()


def write_private(path: Path, text: str) -> None:
    """Puts text at path as a whole or not at all, also across a power cut."""
    draft = path.with_name(f".{path.name}.{token_hex(8)}")
    descriptor = open_private(draft, os.O_WRONLY)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Makes the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_folder(path: Path, uid: int, gid: int, mode: int = 0o700) -> None:
    """A folder at path that is uid's and has exactly this mode; one that is there already is checked, never changed."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        check_private_folder(path, uid, mode)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # By descriptor: by name, the folder's owner could swap in a link between the two calls.
        if os.geteuid() == 0:
            os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def check_private_folder(path: Path, uid: int, mode: int = 0o700) -> None:
    """EmbeddedError unless path is a real folder of uid's that nobody else can write to (mode: its widest bits)."""
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not stat.S_IMODE(found.st_mode) & ~mode:
        return
    raise EmbeddedError(
        f"{path} must be a folder of user {uid} with mode {mode:o}, but it is mode {stat.S_IMODE(found.st_mode):o} "
        f"of user {found.st_uid}: somebody else may have made it. Look at it and remove it."
    )


@contextmanager
def held_alone(path: Path) -> Iterator[None]:
    """Holds the lock file at path exclusively, waiting for whoever has it; FileNotFoundError when its folder is gone."""
    descriptor = _lock(path)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def folder_held_alone(path: Path) -> Iterator[None]:
    """Holds a folder itself as an exclusive lock, which leaves no file behind."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int:
    while True:
        descriptor = open_private(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if is_still(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # Whoever held it removed the whole folder meanwhile: what we locked is not the file others will lock.
        os.close(descriptor)


def share(path: Path) -> int:
    """A shared lock on the file at path, which the kernel lets go of when this process ends in any way at all."""
    descriptor = open_private(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def is_last(descriptor: int) -> bool:
    """Gives up a shared lock; True when nobody else shares it, and then it is held alone until the descriptor closes."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # Said aloud, because closing frees nothing while a forked child has the descriptor too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False
    return True


def is_still(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one that path names now."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def delete(path: Path) -> None:
    """Deletes a file or a whole folder, waiting a few seconds for what a killed process's child may still put there."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    for _ in range(50):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.1)
    shutil.rmtree(path)
