"""What a guest holds in memory: bytes that were written once, were hashed on the way, and can never change again.

An `Item` is a sealed memory file: no directory has a name for it, no disk ever sees it, no process can write to it,
and a worker is handed the descriptor itself. Its bytes pass through this process in the caller's buffers only, so an
item may be larger than what the process may hold. Closing an item ends every reader of it at once.

>>> writer = ItemWriter("greeting", max_bytes=5)
>>> writer.write(b"hello")
>>> item = writer.seal()
>>> item.open().read()
b'hello'
>>> item.close()
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import threading
from typing import BinaryIO, Final, TypeAlias, cast

from twocvm_verifier.errors import ReleaseError

Chunk: TypeAlias = bytes | bytearray | memoryview

SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
# One read of `Item.open()`; also how much of an output passes through this process at a time.
BUFFER_BYTES: Final = 1 << 20
# linux/memfd.h, since Linux 6.3: the file can never be executed.
_MFD_NOEXEC_SEAL: Final = 0x0008


class Item:
    """Bytes that cannot change, under a name of the manifest.

    Attributes:
        name: The item's or output's name in the manifest.
        size_bytes: Its length.
        sha256: Its plain digest (32 bytes). Low-entropy data is guessed from it: show the commitment, not this.
    """

    __slots__ = ("_fd", "_lock", "name", "sha256", "size_bytes")

    def __init__(self, *, name: str, size_bytes: int, sha256: bytes, fd: int) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self.sha256 = sha256
        self._fd = fd
        self._lock = threading.Lock()

    @property
    def fd(self) -> int:
        """The descriptor of the sealed memory file, for handing to a worker; this item goes on owning it.

        Raises:
            ValueError: The item is closed.
        """
        if self._fd < 0:
            raise ValueError(f"item {self.name}: closed")
        return self._fd

    def open(self) -> BinaryIO:
        """Return a new reader at position 0; readers are independent of each other and end with the item."""
        return cast(BinaryIO, io.BufferedReader(_Reader(self), BUFFER_BYTES))

    def duplicate(self, name: str) -> Item:
        """Return another item of the same memory, which lives until it is closed itself."""
        with self._lock:
            return Item(name=name, size_bytes=self.size_bytes, sha256=self.sha256, fd=_duplicate(self.fd))

    def close(self) -> None:
        """Give the memory back. Closing twice is no mistake; reading afterwards is `ValueError`."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def read_into(self, buffer: memoryview, position: int) -> int:
        """Read from `position` into `buffer`; return how many bytes came, 0 at the end.

        Raises:
            ValueError: The item is closed.
        """
        # The lock keeps a wipe in another thread from closing the descriptor, and a third from reusing its number.
        with self._lock:
            return os.preadv(self.fd, [buffer], position)

    def __repr__(self) -> str:
        return f"Item({self.name!r}, {self.size_bytes} bytes)"


class ItemWriter:
    """An item while it comes in. Belongs to one thread; ends with `seal` or with `discard`.

    Args:
        name: The item's name in the manifest.
        max_bytes: The most it may hold; one byte more is refused at the chunk that brings it.
    """

    def __init__(self, name: str, *, max_bytes: int) -> None:
        self._name = name
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._hash = hashlib.sha256()
        self._fd = memory_file(name)

    @property
    def size_bytes(self) -> int:
        """How many bytes have come so far."""
        return self._size_bytes

    def write(self, chunk: Chunk) -> None:
        """Take the next bytes; the caller may overwrite `chunk` afterwards.

        Raises:
            ReleaseError: ITEM_TOO_LARGE; what came so far is gone.
            ValueError: The writer has ended.
        """
        if self._fd < 0:
            raise ValueError(f"item {self._name}: already ended")
        size_bytes = self._size_bytes + len(chunk)
        if size_bytes > self._max_bytes:
            self.discard()
            raise ReleaseError("ITEM_TOO_LARGE", f"{self._name}: got more than {self._max_bytes} bytes")
        self._hash.update(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self._size_bytes = size_bytes

    def seal(self) -> Item:
        """Return what was written, from now on unchangeable.

        Raises:
            ValueError: The writer has ended.
        """
        if self._fd < 0:
            raise ValueError(f"item {self._name}: already ended")
        fd, self._fd = self._fd, -1
        seal(fd)
        return Item(name=self._name, size_bytes=self._size_bytes, sha256=self._hash.digest(), fd=fd)

    def discard(self) -> None:
        """Forget what was written. No mistake after `seal`, which has then handed it on."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def memory_file(name: str) -> int:
    """Return a new, empty memory file that can be sealed; closed in every process that is not handed it."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | _MFD_NOEXEC_SEAL)
    except OSError:  # A kernel before 6.3 refuses the flag that it does not know.
        return os.memfd_create(name, flags)


def seal(fd: int) -> None:
    """Make a memory file unchangeable for every process, this one included.

    Raises:
        ValueError: Somebody sealed it before, and not so.
    """
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SEAL == 0:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS != SEALS:
        raise ValueError("memory file: sealed by another, incompletely")


def _duplicate(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


class _Reader(io.RawIOBase):
    """A position in an item."""

    def __init__(self, item: Item) -> None:
        self._item = item
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        count = self._item.read_into(memoryview(cast(bytearray, buffer)), self._position)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._item.size_bytes}[whence]
        if start + offset < 0:
            raise ValueError("position before the start")
        self._position = start + offset
        return self._position
