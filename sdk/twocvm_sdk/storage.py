"""Files that only their owner may read, written so that a crash leaves the old content or the new, never a part.

Decides who may have touched a file: the folder and its secrets must be this user's alone, and no name may be a link
that leads elsewhere. What the files mean is left to `identity` and `ledger`. Rules, in order: a folder is opened
first, without following a link; every file is then named within that open folder; what was opened is judged, not
what the name meant a moment before; new content is on disk before its name is.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from twocvm_verifier.errors import ReleaseError

PRIVATE_FOLDER: Final = 0o700
PRIVATE_FILE: Final = 0o600
PUBLIC_FILE: Final = 0o644
_OTHERS: Final = 0o077
TEMPORARY: Final = ".new-"


@contextmanager
def private_folder(path: Path) -> Iterator[int]:
    """Open a folder that belongs to this user alone, for the length of a `with`.

    Args:
        path: The folder; its last part may not be a symbolic link.

    Yields:
        A descriptor to name files in (`dir_fd`).

    Raises:
        ReleaseError: IDENTITY_UNREADABLE, or IDENTITY_EXPOSED where others may enter it.
    """
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ReleaseError("IDENTITY_UNREADABLE", f"folder {str(path)!r}: {error.strerror}, want a folder") from error
    try:
        _require_own(os.fstat(folder), f"folder {str(path)!r}")
        yield folder
    finally:
        os.close(folder)


def read_file(folder: int, name: str, *, max_bytes: int, secret: bool) -> bytes:
    """Return the content of a file in an open folder.

    Args:
        folder: From `private_folder`.
        name: The file's name in it; a link is refused.
        max_bytes: The most that such a file holds.
        secret: Whether the file must be this user's alone.

    Raises:
        FileNotFoundError: There is no such file.
        ReleaseError: IDENTITY_UNREADABLE, or IDENTITY_EXPOSED where others may read or write a secret one.
    """
    # O_NONBLOCK: opening a pipe that somebody put there must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        what = "got a link, want a file" if error.errno == errno.ELOOP else str(error.strerror)
        raise ReleaseError("IDENTITY_UNREADABLE", f"file {name!r}: {what}") from error
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ReleaseError("IDENTITY_UNREADABLE", f"file {name!r}: got something else, want a regular file")
        if secret:
            _require_own(status, f"file {name!r}")
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ReleaseError("IDENTITY_UNREADABLE", f"file {name!r}: got more than {max_bytes} bytes")
    return data


def read_private(path: Path, *, max_bytes: int) -> bytes:
    """Return the content of a file that is this user's alone, in whatever folder.

    Raises:
        FileNotFoundError: There is no such file.
        ReleaseError: As `read_file`.
    """
    with _parent(path) as folder:
        return read_file(folder, path.name, max_bytes=max_bytes, secret=True)


def write_private(path: Path, data: bytes) -> None:
    """Create a file of mode 0600 that does not exist yet, and have it on disk before returning.

    Raises:
        OSError: It cannot be written there, or is there.
    """
    with _parent(path) as folder:
        write_new(folder, path.name, data, mode=PRIVATE_FILE)


def write_new(folder: int, name: str, data: bytes, *, mode: int) -> None:
    """Create a file that does not exist yet, and have it on disk before returning.

    Raises:
        FileExistsError: The name is taken, by whatever it is.
    """
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def replace(folder: int, name: str, data: bytes) -> None:
    """Give a private file new content in one step, on disk before returning.

    A crash leaves the content before or after, and perhaps a file that begins with `TEMPORARY`.
    """
    temporary = f"{TEMPORARY}{secrets.token_hex(8)}"
    try:
        write_new(folder, temporary, data, mode=PRIVATE_FILE)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        _forget(folder, temporary)
        raise
    os.fsync(folder)


@contextmanager
def arriving(path: Path) -> Iterator[BinaryIO]:
    """Write a file of mode 0600 that has its name only once it is whole and on disk.

    Args:
        path: Anywhere; a file that is there is replaced in one step.

    Yields:
        Where to write. If the `with` is left by an exception, `path` is as it was.

    Raises:
        OSError: It cannot be written there.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, want a file", str(path))
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(temporary, flags, PRIVATE_FILE), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.absolute().parent)


def sweep(folder: int) -> None:
    """Remove what crashed writers left; only for who holds the folder's lock."""
    for name in os.listdir(folder):
        if name.startswith(TEMPORARY):
            _forget(folder, name)


def sync_folder(path: Path) -> None:
    """Have the names in `path` on disk before returning."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _parent(path: Path) -> Iterator[int]:
    folder = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def _forget(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def _require_own(status: os.stat_result, what: str) -> None:
    if status.st_uid != os.geteuid():
        raise ReleaseError("IDENTITY_EXPOSED", f"{what}: got owner {status.st_uid}, want {os.geteuid()}")
    if mode := stat.S_IMODE(status.st_mode) & _OTHERS:
        raise ReleaseError("IDENTITY_EXPOSED", f"{what}: got mode bits {mode:03o} for others, want none")
