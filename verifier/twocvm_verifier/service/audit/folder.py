"""An audit log's folder: `audit.jsonl`, which is appended to, and the files before it, which nobody writes any more.

Several processes append: each holds a lock while it looks where the log ends and writes its lines in one go. What ended
in the middle of a line is left where it is, and the next record says so. Nothing is ever changed or cut.

Spec: docs/spec/audit.md, 4.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.service.problems import ServiceError

from .record import (
    MAX_RECORD_BYTES,
    NOTHING_BEFORE,
    Entry,
    Kind,
    Position,
    Record,
    begin_entry,
    mended_entry,
    parse_record,
)

ACTIVE: Final = "audit.jsonl"
_LOCK: Final = "lock"
_SCRATCH: Final = "next"
# A torn line, and what further attempts on a full disk left behind it.
_TAIL_BYTES: Final = 8 * MAX_RECORD_BYTES
_FLAGS: Final = os.O_NOFOLLOW | os.O_CLOEXEC
_FOR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """How a file ends.

    Attributes:
        last: Its last whole record.
        torn: The bytes behind it that are none; empty in a file that nobody died over.
        open_line: Whether the last line lacks its end.
    """

    last: Record
    torn: bytes
    open_line: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    inode: int
    size_bytes: int
    tail: Tail


class AuditFolder:
    """Where a log is written. One thread of a process at a time; several processes may.

    Args:
        path: The folder; its owner's alone.
        log: The name of a log that begins here (32 random bytes).
        max_file_bytes: Where a new file is begun.
    """

    def __init__(self, path: Path, *, log: bytes, max_file_bytes: int) -> None:
        self.path = path
        self.log = log
        self._max_file_bytes = max_file_bytes
        self._known: _Known | None = None
        self._file = -1
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & _FOR_OTHERS or path.stat().st_uid != os.geteuid():
            raise ServiceError("AUDIT_EXPOSED", f"audit folder: got mode {path.stat().st_mode & 0o777:o}, want 700")
        self._lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)

    def append(self, entries: list[Entry], *, at: str) -> Position:
        """Write entries, in their order, and return where the log ends then; durable only after `sync`.

        Raises:
            OSError: The disk is full, or gone. What was written of them is mended at the next call.
            ServiceError: AUDIT_BROKEN, AUDIT_EXPOSED.
        """
        with self._locked():
            tail = self._tail(at)
            records: list[Record] = []
            if tail.torn:
                records.append(_after(tail.last, mended_entry(torn=tail.torn + b"\n" * tail.open_line), at))
            for entry in entries:
                records.append(_after(records[-1] if records else tail.last, entry, at))
            lines = b"\n" * tail.open_line + b"".join(record.encode() + b"\n" for record in records)
            if not lines:
                return tail.last.position
            last = (records or [tail.last])[-1]
            self._write(lines)
            status = os.fstat(self._file)
            whole = Tail(last=last, torn=b"", open_line=False)
            self._known = _Known(inode=status.st_ino, size_bytes=status.st_size, tail=whole)
            return last.position

    def sync(self) -> None:
        """Wait until all that was appended is on the disk.

        Raises:
            OSError: It is not, and nobody knows what is.
        """
        os.fdatasync(self._file)

    def free_bytes(self) -> int:
        """Return how much the disk still takes."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def close(self) -> None:
        """Give back what is open."""
        for each in (self._file, self._lock):
            os.close(each)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _write(self, lines: bytes) -> None:
        written = os.write(self._file, lines)
        if written != len(lines):
            # The rest would say no more than this does; the next call finds what is torn.
            raise OSError(errno.ENOSPC, "audit log: got a part written")

    def _tail(self, at: str) -> Tail:
        """Return how the log ends, in a file that is open and not full."""
        active = self.path / ACTIVE
        try:
            status = active.stat(follow_symlinks=False)
        except FileNotFoundError:
            return self._begin(self._known.tail.last if self._known else self._last_of_rotated(), at)
        known = self._known
        if known is None or (known.inode, known.size_bytes) != (status.st_ino, status.st_size):
            known = self._read(active)
            self._require_onward(known.tail.last)
            self._known = known
        if known.size_bytes < self._max_file_bytes or known.tail.torn:
            return known.tail
        return self._rotate(active, known.tail.last, at)

    def _require_onward(self, last: Record) -> None:
        ours = self._known.tail.last if self._known else last
        if last.seq <= ours.seq and last != ours:
            raise ServiceError("AUDIT_BROKEN", "audit log: ends before what this process has written to it")

    def _read(self, active: Path) -> _Known:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._file = os.open(active, os.O_RDWR | os.O_APPEND | _FLAGS)
        status = os.fstat(self._file)
        if status.st_mode & _FOR_OTHERS or status.st_uid != os.geteuid():
            raise ServiceError("AUDIT_EXPOSED", "audit log: others can use the file, want mode 0600")
        self.log = _log_of(os.pread(self._file, MAX_RECORD_BYTES, 0))
        start = max(0, status.st_size - _TAIL_BYTES)
        tail = read_tail(os.pread(self._file, _TAIL_BYTES, start))
        return _Known(inode=status.st_ino, size_bytes=status.st_size, tail=tail)

    def _last_of_rotated(self) -> Record | None:
        files = rotated(self.path)
        return None if not files else self._read(files[-1]).tail.last

    def _rotate(self, active: Path, last: Record, at: str) -> Tail:
        first = parse_record(os.pread(self._file, MAX_RECORD_BYTES, 0).partition(b"\n")[0])
        aside = self.path / f"audit-{first.seq:016d}.jsonl"
        if aside.exists():
            raise ServiceError("AUDIT_BROKEN", f"audit log: {aside.name} is there already")
        # What others have appended and wait for must not come after what is durable.
        self.sync()
        active.rename(aside)
        return self._begin(last, at)

    def _begin(self, last: Record | None, at: str) -> Tail:
        """Make a file whose first record is there as soon as the file is."""
        first = _after(last, begin_entry(log=self.log), at)
        scratch = self.path / _SCRATCH
        scratch.unlink(missing_ok=True)
        made = os.open(scratch, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        try:
            os.write(made, first.encode() + b"\n")
            os.fsync(made)
        finally:
            os.close(made)
        scratch.rename(self.path / ACTIVE)
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._known = self._read(self.path / ACTIVE)
        return self._known.tail


def rotated(path: Path) -> list[Path]:
    """Return the files of a folder that are full, oldest first."""
    return sorted(path.glob("audit-*.jsonl"))


def read_tail(end: bytes) -> Tail:
    """Return how a file ends, from its last bytes.

    Raises:
        ServiceError: AUDIT_BROKEN: No record is among them.
    """
    lines = end.split(b"\n")
    open_line = bool(lines[-1])
    for index in range(len(lines) - 1, -1, -1):
        try:
            last = parse_record(lines[index])
        except MalformedError:
            continue
        behind = b"\n".join(lines[index + 1 :])
        # A record without its line's end is whole; what follows the end of a whole line is an empty one.
        return Tail(last=last, torn=behind, open_line=open_line)
    raise ServiceError("AUDIT_BROKEN", f"audit log: got no record among its last {len(end)} bytes")


def _log_of(start: bytes) -> bytes:
    try:
        first = parse_record(start.partition(b"\n")[0]).entry
    except MalformedError as error:
        raise ServiceError("AUDIT_BROKEN", "audit log: does not begin with a record") from error
    if first.kind is not Kind.BEGIN:
        raise ServiceError("AUDIT_BROKEN", f"audit log: begins with a {first.kind}")
    return bytes.fromhex(first.members["log"])


def _after(last: Record | None, entry: Entry, at: str) -> Record:
    if last is None:
        return Record(entry=entry, seq=0, previous=NOTHING_BEFORE, at=at)
    return Record(entry=entry, seq=last.seq + 1, previous=last.position.head, at=at)
