"""Takes what a node wrote, after its worker has ended: one regular file at every port, and nothing besides.

The folder was written by anybody. Names are only compared, the file is opened by the kernel's rules for a folder that
is not trusted, and what does not look exactly as it should is a failure of the node. The bytes pass through this
process in one buffer that is overwritten, into sealed memory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Final

from . import syscalls
from .items import BUFFER_BYTES, Item, ItemWriter

DATA: Final = "data"
_RESOLVE: Final = (
    syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS | syscalls.RESOLVE_NO_XDEV
)
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class OutputError(Exception):
    """What a node left is not what its ports say; `code` is a code of the code table."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


def is_exceeded(folder: int, ports: Mapping[str, int]) -> bool:
    """Return whether a node that failed has met the limit of its outputs: a file is too long, or no room is left."""
    if os.fstatvfs(folder).f_bfree == 0:
        return True
    for port, max_bytes in ports.items():
        try:
            descriptor = _open(folder, f"{port}/{DATA}", os.O_PATH)
        except OutputError:
            continue
        size_bytes = os.fstat(descriptor).st_size
        os.close(descriptor)
        if size_bytes > max_bytes:
            return True
    return False


def collect(folder: int, ports: Mapping[str, int]) -> dict[str, Item]:
    """Return what lies at each port, sealed; the caller closes the items.

    Args:
        folder: A descriptor of the worker's `/out`.
        ports: Each port with the most bytes that it may hold.

    Raises:
        OutputError: Something is missing, too much, too long, or no plain file.
    """
    if set(os.listdir(folder)) != set(ports):
        raise OutputError("OUTPUT_UNEXPECTED")
    items: dict[str, Item] = {}
    buffer = bytearray(BUFFER_BYTES)
    try:
        for port, max_bytes in ports.items():
            items[port] = _take(folder, port, max_bytes, buffer)
    except BaseException:
        for item in items.values():
            item.close()
        raise
    finally:
        buffer[:] = bytes(len(buffer))
    return items


def _take(folder: int, port: str, max_bytes: int, buffer: bytearray) -> Item:
    names = _names(folder, port)
    if not names:
        raise OutputError("OUTPUT_MISSING")
    if names != [DATA]:
        raise OutputError("OUTPUT_UNEXPECTED")
    descriptor = _open(folder, f"{port}/{DATA}", _READ)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise OutputError("OUTPUT_NOT_A_FILE")
        if found.st_size > max_bytes:
            raise OutputError("OUTPUT_TOO_LARGE")
        return _copied(descriptor, port, found.st_size, buffer)
    finally:
        os.close(descriptor)


def _names(folder: int, port: str) -> list[str]:
    """Return the first names in a port's folder; there may be any number."""
    descriptor = _open(folder, port, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(descriptor) as entries:
            return [entry.name for entry, _ in zip(entries, range(2), strict=False)]
    finally:
        os.close(descriptor)


def _open(folder: int, path: str, flags: int) -> int:
    try:
        return syscalls.openat2(folder, path, flags=flags, resolve=_RESOLVE)
    except OSError as error:
        raise OutputError("OUTPUT_NOT_A_FILE") from error


def _copied(descriptor: int, port: str, size_bytes: int, buffer: bytearray) -> Item:
    writer = ItemWriter(port, max_bytes=size_bytes)
    try:
        with memoryview(buffer) as view:
            while count := os.readv(descriptor, [view]):
                writer.write(view[:count])
        return writer.seal()
    finally:
        writer.discard()
