"""Audit logs of a service in this process: written for real, in a folder of a test's own.

with auditing(folder) as log:
    log.record(verdict("one")).result()
found = examined(folder)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from joserfc.jwk import KeySet
from tests.support.sdk import StandingClock

from twocvm_verifier.service.audit.examine import Examination, examine, log_files
from twocvm_verifier.service.audit.folder import ACTIVE, AuditFolder
from twocvm_verifier.service.audit.record import Entry, Kind, Position
from twocvm_verifier.service.audit.writer import AuditLog, Pace
from twocvm_verifier.service.tokens import PrivateKeySigner, new_key

KEY: Final = new_key()
OTHER_KEY: Final = new_key()
NAME: Final = bytes(range(32))
SELDOM: Final = Pace(records=1_000_000, seconds=3600.0)


def keys(*signers: PrivateKeySigner) -> KeySet:
    """Return what a service with these keys publishes."""
    return KeySet.import_key_set({"keys": [dict(signer.public_jwk) for signer in signers or (KEY,)]})


def verdict(request_id: str = "r-1", **members: str) -> Entry:
    """Return the entry of a verdict."""
    said = {"report": "ab" * 32, "policy": "cd" * 32, "verdict": "affirming", "purpose": "rest"}
    return Entry(kind=Kind.VERDICT, members={"request_id": request_id, **said, **members})


@dataclass(slots=True)
class Told:
    """What a log said of itself."""

    records: int = 0
    reasons: list[str] = field(default_factory=list)
    checkpoints: list[Position] = field(default_factory=list)

    def written(self, records: int) -> None:
        """Count."""
        self.records += records

    def refused(self, reason: str) -> None:
        """Keep the reason."""
        self.reasons.append(reason)

    def checkpoint(self, position: Position) -> None:
        """Keep the head."""
        self.checkpoints.append(position)


@contextmanager
def auditing(path: Path, **changes: Any) -> Iterator[AuditLog]:
    """Open a log, and end it well."""
    folder = changes.pop("folder", None) or AuditFolder(
        path, log=NAME, max_file_bytes=changes.pop("max_file_bytes", 1 << 24)
    )
    given = {"signer": lambda: KEY, "pace": SELDOM, "clock": StandingClock(), "events": Told()} | changes
    log = AuditLog(folder, **given)
    try:
        yield log
    finally:
        log.close()


def written(path: Path, *, verdicts: int = 5, **changes: Any) -> list[bytes]:
    """Write a log of some verdicts, one after the other, and return its lines: two, the verdicts, a checkpoint."""
    with auditing(path, **changes) as log:
        for number in range(verdicts):
            log.record(verdict(f"r-{number}")).result()
    return lines(path)


def lines(path: Path) -> list[bytes]:
    """Return the lines of a folder's newest file."""
    return (path / ACTIVE).read_bytes().splitlines(keepends=True)


def rewritten(path: Path, changed: list[bytes]) -> Path:
    """Write other lines in the place of a log's."""
    (path / ACTIVE).write_bytes(b"".join(changed))
    return path


def examined(*paths: Path, key: PrivateKeySigner | None = KEY, kept: tuple[Position, ...] = ()) -> Examination:
    """Examine logs, by the key that they are signed with."""
    files = [file for path in paths for file in log_files(path)]
    return examine(files, keys=None if key is None else keys(key), kept=kept)


def codes(found: Examination) -> list[str]:
    """Return what was found."""
    return [finding.code for finding in found.findings]


def edited(line: bytes, **members: Any) -> bytes:
    """Return a line with other members, as canonical as before."""
    value = json.loads(line) | members
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"
