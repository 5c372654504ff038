"""configfs-tsm as files of a file system in user space (FUSE): what the kernel asks for, answered from a `Firmware`.

The files behave as the kernel's do: a directory that is made has the files of an entry; every write counts; `inblob`
takes effect when it is closed, where nobody is told of an error; and a report is made by reading, once for what was
written.

Spec: Linux, Documentation/ABI/testing/configfs-tsm-report and include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from tests.support.snp_firmware import Firmware, FirmwareError

FILES: Final = {
    "provider": 0o444,
    "generation": 0o444,
    "privlevel": 0o200,
    "privlevel_floor": 0o444,
    "inblob": 0o200,
    "outblob": 0o444,
    "auxblob": 0o444,
}
_MOST_LEVEL, _INBLOB_BYTES = 3, 64
_HEADER = struct.Struct("<IIQQIIII")
_ROOT: Final = 1
_BUFFER_BYTES: Final = 1 << 18
# linux/fuse.h, enum fuse_opcode.
_LOOKUP, _FORGET, _GETATTR, _SETATTR, _MKDIR, _RMDIR, _OPEN, _READ, _WRITE = 1, 2, 3, 4, 9, 11, 14, 15, 16
_RELEASE, _FLUSH, _INIT, _OPENDIR, _RELEASEDIR, _INTERRUPT, _BATCH_FORGET = 18, 25, 26, 27, 29, 36, 42
_SILENT: Final = frozenset({_FORGET, _INTERRUPT, _BATCH_FORGET})
_DIRECT_IO: Final = 1


@dataclass
class Entry:
    """One directory: what was written, and what was made of it."""

    inblob: bytes = b""
    level: int = 0
    written: int = 0
    made: int = -1
    outblob: bytes = b""
    auxblob: bytes = b""


def somebody_writes(entry: Entry) -> None:
    """Count a write that is not the guest's."""
    entry.written += 1


@dataclass
class Tsm:
    """What is behind the files.

    Attributes:
        firmware: Makes the reports.
        provider: What it calls itself; empty where no driver is loaded.
        floor: The lowest privilege level.
        errors: The errno that an operation on a file ends with, once, by `write privlevel` or `read outblob`.
        meddling: Called with the entry after an operation on a file, by the same names: somebody else at work.
        contents: What a file holds instead.
        hidden: Files that are not there.
        piece_bytes: The most that one read gives.
        short: Files of which every write takes a byte less than it is given.
        entries: By name.
        first_generation: Of every entry.
    """

    firmware: Firmware
    provider: str = "sev_guest"
    floor: int = 0
    errors: dict[str, list[int]] = field(default_factory=dict)
    meddling: dict[str, list[Callable[[Entry], None]]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    piece_bytes: int = _BUFFER_BYTES
    short: set[str] = field(default_factory=set)
    entries: dict[str, Entry] = field(default_factory=dict)
    first_generation: int = 0

    def make(self, name: str) -> None:
        """Make an entry, as `mkdir` does."""
        if not self.provider:
            raise OSError(errno.ENXIO, "no provider")
        if name in self.entries:
            raise OSError(errno.EEXIST, "is there")
        self.entries[name] = Entry(written=self.first_generation)

    def remove(self, name: str) -> None:
        """Remove an entry, as `rmdir` does."""
        if self.entries.pop(name, None) is None:
            raise OSError(errno.ENOENT, "is not there")

    def read(self, entry: Entry, file: str) -> bytes:
        """Return what a file holds; for the blobs a report is made where there is none of what was written."""
        self._fail(f"read {file}")
        try:
            return self.contents[file] if file in self.contents else self._read(entry, file)
        finally:
            self._meddle(f"read {file}", entry)

    def write(self, entry: Entry, file: str, value: bytes) -> None:
        """Take what was written to a file; for `inblob`, when it is closed."""
        self._fail(f"write {file}")
        if file == "privlevel":
            level = int(value.strip() or b"-1", 0)
            if not self.floor <= level <= _MOST_LEVEL:
                raise OSError(errno.EINVAL, "no such level")
            entry.level = level
        else:
            entry.inblob = value
        entry.written += 1
        self._meddle(f"write {file}", entry)

    def _read(self, entry: Entry, file: str) -> bytes:
        if file == "generation":
            return b"%d\n" % (entry.written % (1 << 64))
        if file in ("outblob", "auxblob"):
            self._report(entry)
            return entry.outblob if file == "outblob" else entry.auxblob
        return {"provider": f"{self.provider}\n", "privlevel_floor": f"{self.floor}\n"}[file].encode()

    def _report(self, entry: Entry) -> None:
        if len(entry.inblob) != _INBLOB_BYTES:
            raise OSError(errno.EINVAL, "not 64 bytes")
        if entry.made == entry.written:
            return
        try:
            change = self.firmware.request()
        except FirmwareError as error:
            raise OSError(error.fail.error, "failed") from error
        if change.status:
            raise OSError(errno.ENXIO, "the firmware says no")
        entry.outblob = change.report(self.firmware.report(entry.inblob, entry.level))
        entry.auxblob, entry.made = self.firmware.table, entry.written

    def _fail(self, what: str) -> None:
        if self.errors.get(what):
            raise OSError(self.errors[what].pop(0), what)

    def _meddle(self, what: str, entry: Entry) -> None:
        if self.meddling.get(what):
            self.meddling[what].pop(0)(entry)


@dataclass
class _Handle:
    entry: Entry
    file: str
    content: bytes | None = None
    written: bytearray = field(default_factory=bytearray)


class FileSystem:
    """The kernel's requests, answered by a `Tsm`. One thread serves it.

    Args:
        descriptor: Of `/dev/fuse`, mounted.
        tsm: What is behind the files.
    """

    def __init__(self, descriptor: int, tsm: Tsm) -> None:
        self._descriptor = descriptor
        self._tsm = tsm
        self._names: dict[int, tuple[str, str]] = {_ROOT: ("", "")}
        self._nodes: dict[tuple[str, str], int] = {("", ""): _ROOT}
        self._handles: dict[int, _Handle] = {}
        self._answers: dict[int, Callable[[tuple[str, str], bytes], bytes]] = {
            _INIT: self._init,
            _LOOKUP: self._lookup,
            _GETATTR: lambda node, _: struct.pack("<QII", 0, 0, 0) + self._attributes(node),
            _SETATTR: lambda node, _: struct.pack("<QII", 0, 0, 0) + self._attributes(node),
            _MKDIR: self._mkdir,
            _RMDIR: self._rmdir,
            _OPEN: self._open,
            _READ: self._read,
            _WRITE: self._write,
            _FLUSH: self._flush,
            _RELEASE: self._release,
            _OPENDIR: lambda _, __: struct.pack("<QII", 0, 0, 0),
            _RELEASEDIR: lambda _, __: b"",
        }

    def serve(self) -> None:
        """Answer until it is unmounted."""
        while True:
            try:
                request = os.read(self._descriptor, _BUFFER_BYTES)
            except OSError as error:
                if error.errno == errno.EPERM:
                    time.sleep(0.005)  # Nobody has mounted it yet.
                elif error.errno not in (errno.EINTR, errno.ENOENT):
                    return
                continue
            length, operation, unique, node, *_ = _HEADER.unpack_from(request)
            if operation in _SILENT:
                continue
            try:
                answer = self._answers.get(operation, _unknown)(
                    self._names.get(node, ("", "")), request[_HEADER.size : length]
                )
                self._reply(unique, answer)
            except OSError as error:
                self._reply(unique, b"", error=error.errno or errno.EIO)

    def _reply(self, unique: int, body: bytes, *, error: int = 0) -> None:
        os.write(self._descriptor, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)

    def _init(self, _: tuple[str, str], request: bytes) -> bytes:
        major, _minor, readahead, _flags = struct.unpack_from("<IIII", request)
        # Version 7.31, no flags; writes of at most 64 KiB, times of a nanosecond.
        return struct.pack("<IIIIHHIIHHI", major, 31, readahead, 0, 8, 6, 65536, 1, 32, 0, 0) + bytes(24)

    def _lookup(self, parent: tuple[str, str], request: bytes) -> bytes:
        name = request.rstrip(b"\0").decode()
        node = (name, "") if not parent[0] else (parent[0], name)
        if node[0] not in self._tsm.entries or (node[1] and (node[1] not in FILES or node[1] in self._tsm.hidden)):
            raise OSError(errno.ENOENT, name)
        return self._found(node)

    def _mkdir(self, _: tuple[str, str], request: bytes) -> bytes:
        name = request[8:].split(b"\0")[0].decode()
        self._tsm.make(name)
        return self._found((name, ""))

    def _rmdir(self, _: tuple[str, str], request: bytes) -> bytes:
        self._tsm.remove(request.rstrip(b"\0").decode())
        return b""

    def _open(self, node: tuple[str, str], _: bytes) -> bytes:
        number = max(self._handles, default=0) + 1
        self._handles[number] = _Handle(self._tsm.entries[node[0]], node[1])
        return struct.pack("<QII", number, _DIRECT_IO, 0)

    def _read(self, _: tuple[str, str], request: bytes) -> bytes:
        number, offset, size = struct.unpack_from("<QQI", request)
        handle = self._handles[number]
        if handle.content is None:
            handle.content = self._tsm.read(handle.entry, handle.file)
        return handle.content[offset : offset + min(size, self._tsm.piece_bytes)]

    def _write(self, _: tuple[str, str], request: bytes) -> bytes:
        number, offset, size = struct.unpack_from("<QQI", request)
        handle, value = self._handles[number], request[40 : 40 + size]
        if handle.file == "inblob":
            if offset + size > _INBLOB_BYTES:
                raise OSError(errno.EFBIG, "more than 64 bytes")
            handle.written[offset : offset + size] = value
        else:
            self._tsm.write(handle.entry, handle.file, value)
        return struct.pack("<II", size - (handle.file in self._tsm.short), 0)

    def _release(self, _: tuple[str, str], request: bytes) -> bytes:
        del self._handles[struct.unpack_from("<Q", request)[0]]
        return b""

    def _flush(self, _: tuple[str, str], request: bytes) -> bytes:
        handle = self._handles[struct.unpack_from("<Q", request)[0]]
        if handle.written:
            with suppress(OSError):
                self._tsm.write(handle.entry, handle.file, bytes(handle.written))
            handle.written.clear()
        return b""

    def _found(self, node: tuple[str, str]) -> bytes:
        # Nothing is kept by the kernel: neither names nor attributes.
        return struct.pack("<QQQQII", self._number(node), 0, 0, 0, 0, 0) + self._attributes(node)

    def _attributes(self, node: tuple[str, str]) -> bytes:
        mode = stat.S_IFREG | FILES[node[1]] if node[1] else stat.S_IFDIR | 0o755
        size, links, block = 4096 if node[1] else 0, 1 if node[1] else 2, 4096
        owner = (os.getuid(), os.getgid())
        return struct.pack("<6Q10I", self._number(node), size, 0, 0, 0, 0, 0, 0, 0, mode, links, *owner, 0, block, 0)

    def _number(self, node: tuple[str, str]) -> int:
        number = self._nodes.setdefault(node, len(self._nodes) + 1)
        self._names[number] = node
        return number


def _unknown(_: tuple[str, str], __: bytes) -> bytes:
    raise OSError(errno.ENOSYS, "not needed")
