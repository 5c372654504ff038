"""The durable ledger of goes: what this participant signed for, written down before it signed.

A guest has no memory that outlives it, so only a participant can count the runs of a manifest. Decides whether a go
may be given: the first for a manifest is; one for the same guest is the one that stands already, so that another
process can go on, unless it was withdrawn; any other needs `again`. Rules, in order: one process at a time; a ledger
that cannot be read refuses, and is never taken for an empty one; what is returned is on disk.

The ledger of one (manifest, participant) is one file, as `goes` writes it.

>>> ledger = Ledger(folder=Path("/nowhere"), manifest_hash=bytes(32), participant="hospital-a")
>>> ledger.standing(bytes(32), again=False) is None
True
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from twocvm_verifier.clock import format_time
from twocvm_verifier.errors import ReleaseError

from . import storage
from .goes import MAX_LEDGER_BYTES, LedgerGo, LedgerItem, encode_goes, parse_goes

__all__ = ["Ledger", "LedgerGo", "LedgerItem"]

_LOCK: Final = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The goes of one participant under one manifest.

    Attributes:
        folder: Where ledgers lie; made with mode 0700 when the first go is written.
        manifest_hash: The manifest's hash (32 bytes).
        participant: The participant's name.
    """

    folder: Path
    manifest_hash: bytes
    participant: str

    def goes(self) -> tuple[LedgerGo, ...]:
        """Return every go that was written down, oldest first.

        Raises:
            MalformedError: The file is damaged or of another version.
            ReleaseError: IDENTITY_EXPOSED, IDENTITY_UNREADABLE.
        """
        if not os.path.lexists(self.folder):
            return ()
        with storage.private_folder(self.folder) as opened:
            return self._read(opened)

    def standing(self, report_id: bytes, *, again: bool) -> LedgerGo | None:
        """Return the go that stands for an instance; None where one may be given.

        Raises:
            ReleaseError: GO_ALREADY_GIVEN for another instance, and not `again`; GO_WITHDRAWN for this one; or as
                `goes`.
            MalformedError: As `goes`.
        """
        return self._standing(self.goes(), report_id, again=again)

    def record(self, go: LedgerGo, *, again: bool) -> LedgerGo:
        """Have a go on disk before it is signed, and return the one that stands for its guest.

        The first go that was written for a guest instance stands: where there is one, it is returned unchanged, and
        the caller goes on with it.

        Args:
            go: What is about to be signed.
            again: Whether a go for the same manifest and another instance may be given.

        Raises:
            ReleaseError: GO_ALREADY_GIVEN; GO_WITHDRAWN; LEDGER_UNWRITABLE; GUEST_REPLACED where the instance is known
                under another key; IDENTITY_EXPOSED, IDENTITY_UNREADABLE.
            MalformedError: The ledger is damaged; nothing may be signed before a person looked at it.
        """
        with self._exclusively() as opened:
            return self._append(opened, go, again=again)

    def withdraw(self, report_id: bytes, *, at: datetime) -> None:
        """Have it on disk that the go for an instance counts no more; nothing changes where there is none.

        From then on nobody who reads this ledger releases anything to that instance, whether or not the instance ever
        heard of it.

        Args:
            report_id: The instance's REPORT_ID (32 bytes).
            at: The time (aware, UTC); the first one stands.

        Raises:
            ReleaseError: LEDGER_UNWRITABLE, IDENTITY_EXPOSED, IDENTITY_UNREADABLE.
            MalformedError: The ledger is damaged.
        """
        with self._exclusively() as opened:
            goes = self._read(opened)
            changed = tuple(
                replace(go, withdrawn_at=at) if go.report_id == report_id and go.withdrawn_at is None else go
                for go in goes
            )
            if changed != goes:
                self._write(opened, changed)

    def _append(self, opened: int, go: LedgerGo, *, again: bool) -> LedgerGo:
        goes = self._read(opened)
        known = self._standing(goes, go.report_id, again=again)
        if known is not None:
            if known.guest_spki_sha256 != go.guest_spki_sha256:
                raise ReleaseError("GUEST_REPLACED", "guest: has another TLS key than the go for it was signed for")
            return known
        self._write(opened, (*goes, go))
        return go

    def _write(self, opened: int, goes: tuple[LedgerGo, ...]) -> None:
        raw = encode_goes(goes, manifest_hash=self.manifest_hash, participant=self.participant)
        storage.replace(opened, self._name, raw)

    def _standing(self, goes: tuple[LedgerGo, ...], report_id: bytes, *, again: bool) -> LedgerGo | None:
        for go in goes:
            if go.report_id == report_id:
                _require_not_withdrawn(go)
                return go
        if goes and not again:
            raise ReleaseError(
                "GO_ALREADY_GIVEN",
                f"ledger: {self.participant!r} gave a go for this manifest on {format_time(goes[-1].at)} to instance "
                f"{goes[-1].report_id.hex()[:16]}, which may have run",
            )
        return None

    @property
    def _name(self) -> str:
        return f"{self.manifest_hash.hex()}.{self.participant}.json"

    @contextmanager
    def _exclusively(self) -> Iterator[int]:
        try:
            with self._locked() as opened:
                yield opened
        except OSError as error:
            raise ReleaseError("LEDGER_UNWRITABLE", f"ledger {str(self.folder)!r}: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            self.folder.mkdir(mode=storage.PRIVATE_FOLDER)
        except FileExistsError:
            pass
        else:
            storage.sync_folder(self.folder.parent)
        with storage.private_folder(self.folder) as opened:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(_LOCK, flags, storage.PRIVATE_FILE, dir_fd=opened), "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                storage.sweep(opened)
                yield opened

    def _read(self, opened: int) -> tuple[LedgerGo, ...]:
        try:
            raw = storage.read_file(opened, self._name, max_bytes=MAX_LEDGER_BYTES, secret=True)
        except FileNotFoundError:
            return ()
        return parse_goes(raw, manifest_hash=self.manifest_hash, participant=self.participant)


def _require_not_withdrawn(go: LedgerGo) -> None:
    if go.withdrawn_at is not None:
        raise ReleaseError(
            "GO_WITHDRAWN",
            f"ledger: the go for instance {go.report_id.hex()[:16]} was withdrawn on {format_time(go.withdrawn_at)}",
        )
