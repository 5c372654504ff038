"""What an auditor finds in an audit log: everything that is not as a service writes it, not the first of it.

Rules, in order:
1. Every line is a record; bytes that are none are told by the record behind them, whose digest of them agrees.
2. Numbers go up by one, from 0 or from behind a head that was kept.
3. Each record names the digest of the one before it.
4. Each checkpoint tells a record as it is there, and is signed by one of the keys where keys are given.
5. A head that was kept is a record as it is there.

What is behind the last checkpoint and every kept head can have been cut or made anew by whoever could write the files;
the result says from where.

Spec: docs/spec/audit.md, 6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from joserfc.jwk import KeySet

from twocvm_verifier.errors import MalformedError

from .checkpoint import parse_checkpoint, signed_by
from .record import MAX_RECORD_BYTES, NOTHING_BEFORE, Kind, Position, Record, parse_record


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFinding:
    """One thing that is wrong.

    Attributes:
        code: A name in `codes.CODES`.
        where: Which file and line, or which record.
        detail: What came and what was expected.
    """

    code: str
    where: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What a log is.

    Attributes:
        records: How many were read.
        verdicts: How many of them tell a verdict.
        end: The last of them; None where there is none.
        signed: The last place that a checkpoint vouches for, where keys were given and one signed it.
        notes: What a service tells itself of: ends in the middle of a line, and where the log begins late.
        findings: What is wrong, in the order of the log.
    """

    records: int
    verdicts: int
    end: Position | None
    signed: Position | None
    notes: tuple[str, ...]
    findings: tuple[AuditFinding, ...]


def log_files(path: Path) -> list[Path]:
    """Return the files of a log's folder, oldest first; a file is itself."""
    from .folder import ACTIVE, rotated

    if not path.is_dir():
        return [path]
    return [*rotated(path), *(each for each in [path / ACTIVE] if each.exists())]


def examine(files: Iterable[Path], *, keys: KeySet | None, kept: tuple[Position, ...]) -> Examination:
    """Examine a log.

    Args:
        files: Its files, oldest first.
        keys: Of the service; None leaves every signature unexamined, and `signed` says so.
        kept: Heads that were kept elsewhere.

    Raises:
        OSError: A file cannot be read.
    """
    examiner = _Examiner(keys=keys, kept=kept)
    for file in files:
        with file.open("rb") as stream:
            examiner.read(stream, name=file.name)
    return examiner.end()


class _Examiner:
    def __init__(self, *, keys: KeySet | None, kept: tuple[Position, ...]) -> None:
        self._keys, self._kept = keys, {position.seq: position.head for position in kept}
        # By number: the digest of a record, and the one that it names.
        self._seen: dict[int, tuple[bytes, bytes]] = {}
        self._checkpoints: list[tuple[str, Record]] = []
        self._findings: list[AuditFinding] = []
        self._notes: list[str] = []
        self._end: Position | None = None
        self._log = ""
        self._gap, self._gap_bytes = hashlib.sha256(), 0
        self._verdicts = 0

    def read(self, stream: BinaryIO, *, name: str) -> None:
        """Read one file."""
        for number, (line, whole) in enumerate(_lines(stream), start=1):
            record = _record(line) if whole else None
            if record is None:
                self._gap.update(line)
                self._gap_bytes += len(line)
            else:
                where = f"{name}:{number}"
                self._close_gap(where, record)
                self._place(where, record)

    def end(self) -> Examination:
        """Compare what was read as a whole."""
        if self._gap_bytes:
            # A service that is writing, or has died and not begun anew.
            self._notes.append(f"{self._gap_bytes} bytes behind the last record are not yet a record")
        self._find_missing()
        signed = self._signed()
        self._compare_kept()
        return Examination(
            records=len(self._seen),
            verdicts=self._verdicts,
            end=self._end,
            signed=signed,
            notes=tuple(self._notes),
            findings=tuple(self._findings),
        )

    def _find(self, code: str, where: str, detail: str) -> None:
        self._findings.append(AuditFinding(code=code, where=where, detail=detail))

    def _close_gap(self, where: str, record: Record) -> None:
        told = record.entry.members["sha256"] if record.entry.kind is Kind.MENDED else ""
        if self._gap_bytes and told == self._gap.hexdigest():
            self._notes.append(f"{where}: the service ended in the middle of {self._gap_bytes} bytes, and says so")
        elif self._gap_bytes:
            self._find("AUDIT_CHANGED", where, f"{self._gap_bytes} bytes before it are no record")
        elif told:
            self._find("AUDIT_CHANGED", where, "tells of bytes before it that are not there")
        self._gap, self._gap_bytes = hashlib.sha256(), 0

    def _place(self, where: str, record: Record) -> None:
        seq, position = record.seq, record.position
        if seq in self._seen:
            again = self._seen[seq][0] == position.head
            code = "AUDIT_REORDERED" if again else "AUDIT_FORKED"
            self._find(code, where, f"record {seq} is there a second time" + ("" if again else ", and another"))
            return
        self._seen[seq] = (position.head, record.previous)
        before = NOTHING_BEFORE if seq == 0 else self._seen.get(seq - 1, (record.previous,))[0]
        if self._end is not None and seq < self._end.seq:
            self._find("AUDIT_REORDERED", where, f"record {seq} stands behind record {self._end.seq}")
        else:
            self._end = position
        if before != record.previous:
            self._find("AUDIT_CHANGED", where, f"record {seq} was written behind another record {seq - 1}")
        self._note_kind(where, record)

    def _note_kind(self, where: str, record: Record) -> None:
        entry = record.entry
        if entry.kind is Kind.VERDICT:
            self._verdicts += 1
        elif entry.kind is Kind.CHECKPOINT:
            self._checkpoints.append((where, record))
        elif entry.kind is Kind.BEGIN:
            if self._foreign(bytes.fromhex(entry.members["log"])):
                self._find("AUDIT_FORKED", where, "begins a file of another log")
            self._log = entry.members["log"]

    def _find_missing(self) -> None:
        numbers = sorted(self._seen)
        if not numbers:
            self._find("MALFORMED_AUDIT", "log", "got no record")
            return
        first = numbers[0]
        if self._kept.get(first - 1) == self._seen[first][1]:
            self._notes.append(f"begins with record {first}, behind the head that was kept")
        elif first:
            self._find("AUDIT_MISSING", "log", _range(0, first - 1))
        for before, after in pairwise(numbers):
            if after != before + 1:
                self._find("AUDIT_MISSING", "log", _range(before + 1, after - 1))

    def _signed(self) -> Position | None:
        signed: Position | None = None
        for where, record in self._checkpoints:
            compact = record.entry.members["jws"]
            try:
                said = parse_checkpoint(compact)
            except MalformedError as error:
                self._find("AUDIT_SIGNATURE", where, error.detail)
                continue
            if self._keys is not None and not signed_by(compact, keys=self._keys):
                self._find("AUDIT_SIGNATURE", where, "the checkpoint is signed by no key that was given")
            elif self._foreign(said.log) or said.position.seq >= record.seq or self._differs(said.position):
                self._find("AUDIT_FORKED", where, f"the checkpoint has another record {said.position.seq}")
            elif self._keys is not None:
                signed = said.position
        if self._keys is not None and signed is None:
            self._find("AUDIT_SIGNATURE", "log", "got no checkpoint that a key signed, want one")
        return signed

    def _compare_kept(self) -> None:
        for seq, head in self._kept.items():
            if self._end is not None and seq > self._end.seq:
                self._find("AUDIT_TRUNCATED", "log", f"ends with record {self._end.seq}, want {seq} at least")
            elif self._differs(Position(seq=seq, head=head)):
                self._find("AUDIT_FORKED", "log", f"record {seq} is another than the head that was kept")

    def _foreign(self, log: bytes) -> bool:
        # Where the first record is missing, that is said.
        return self._log not in ("", log.hex())

    def _differs(self, position: Position) -> bool:
        return position.seq in self._seen and self._seen[position.seq][0] != position.head


def _lines(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Return lines with their ends, and whether each is one: what is longer than a record comes in pieces."""
    begins = True
    while piece := stream.readline(MAX_RECORD_BYTES + 1):
        ends = piece.endswith(b"\n")
        yield piece, begins and (ends or len(piece) <= MAX_RECORD_BYTES)
        begins = ends


def _record(line: bytes) -> Record | None:
    try:
        return parse_record(line.removesuffix(b"\n"))
    except MalformedError:
        return None


def _range(first: int, last: int) -> str:
    return f"record {first} is not there" if first == last else f"records {first} to {last} are not there"
