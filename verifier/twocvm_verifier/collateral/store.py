"""Collateral on disk: certificates that never change, and of each revocation list the newest ever seen.

A file is what the name says only after it was verified again, each time it is used; one that is not is as if it were
not there. Files are written beside their place and then moved, so that no reader sees half of one, and a revocation
list is replaced under a lock, so that two writers cannot bring back an older one.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from twocvm_verifier.clock import format_time
from twocvm_verifier.errors import FetchError, MalformedError, StaleError, VerificationError
from twocvm_verifier.snp.crl import MAX_CRL_BYTES, Crl
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.roots import Roots
from twocvm_verifier.snp.vek import MAX_VEK_BYTES

from .genuine import verify_crl_of, verify_vcek_of
from .names import HARDWARE, CrlName, VcekName

CHIP_ID_BYTES: Final = 64
_VCEK_FILE: Final = re.compile(r"vcek/([A-Z][a-z]+)/([0-9a-f]{16}|[0-9a-f]{128})/([0-9a-f]{16})\.der", re.ASCII)
_NOT_GENUINE: Final = (MalformedError, VerificationError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One piece that a store holds, verified a moment ago.

    Attributes:
        name: What it is.
        der: Its bytes.
        not_before: When it begins to count: a certificate with its chain, or a list at its thisUpdate.
        not_after: Until when it counts: a certificate with its chain, or a list until its nextUpdate.
    """

    name: VcekName | CrlName
    der: bytes = field(repr=False)
    not_before: datetime
    not_after: datetime

    def require_in_force(self, *, at: datetime) -> None:
        """Refuse a piece that does not count at `at` (aware, UTC).

        Raises:
            StaleError: It has not begun, or has ended.
        """
        if at < self.not_before:
            raise StaleError("CRL_NOT_YET_VALID", f"{self.name}: begins at {format_time(self.not_before)}")
        if at > self.not_after:
            raise StaleError("CRL_STALE", f"{self.name}: ended at {format_time(self.not_after)}")


class Store:
    """One folder of collateral. May be shared between threads and processes.

    Args:
        folder: Where it is; made when something is first written.
        roots: What its pieces are verified under.
    """

    def __init__(self, folder: Path, *, roots: Roots) -> None:
        self.folder = folder
        self.roots = roots

    def vcek(self, name: VcekName) -> Stored | None:
        """Return the VCEK of that name, or None where there is none that is genuine."""
        raw = self._read(name, MAX_VEK_BYTES)
        try:
            return None if raw is None else self._vcek(name, raw)
        except _NOT_GENUINE:
            return None

    def crl(self, name: CrlName) -> Stored | None:
        """Return the newest list of that name that was ever put here, ended or not; None where there is none."""
        found = self._newest(name)
        return None if found is None else _stored_crl(name, found)

    def put_vcek(self, name: VcekName, der: bytes) -> Stored:
        """Keep a VCEK; one that is there, genuine and ends no earlier stays as it is.

        Raises:
            MalformedError: It is no VCEK.
            VerificationError: It is not that of the name.
            FetchError: The folder cannot be written (`STORE_UNWRITABLE`).
        """
        offered = self._vcek(name, der)
        kept = self.vcek(name)
        if kept is not None and kept.not_after >= offered.not_after:
            return kept
        self._write(name, der)
        return offered

    def put_crl(self, name: CrlName, der: bytes) -> Stored:
        """Keep a revocation list, in the place of an older one.

        Raises:
            MalformedError: It is no revocation list.
            VerificationError: It is not that of the name.
            StaleError: A newer one was here before (`CRL_ROLLED_BACK`).
            FetchError: The folder cannot be written (`STORE_UNWRITABLE`).
        """
        offered = verify_crl_of(name, der, roots=self.roots)
        with self._locked():
            kept = self._newest(name)
            if kept is not None and offered.number < kept.number:
                raise StaleError(
                    "CRL_ROLLED_BACK", f"crl: got number {offered.number}, want at least {kept.number}, seen before"
                )
            if kept is None or (offered.number, offered.this_update) > (kept.number, kept.this_update):
                self._write(name, der)
                kept = offered
        return _stored_crl(name, kept)

    def pieces(self) -> Iterator[Stored]:
        """Yield every genuine piece, in the order of their names."""
        for path in sorted(self.folder.glob("vcek/*/*/*.der")):
            name = _vcek_name(path.relative_to(self.folder).as_posix())
            if name is not None and (stored := self.vcek(name)) is not None:
                yield stored
        for name_of_list in (CrlName(product=product, kind=kind) for product in HARDWARE for kind in VekKind):
            if (stored := self.crl(name_of_list)) is not None:
                yield stored

    def crls(self) -> tuple[bytes, ...]:
        """Return every genuine list, as `Crls.held` takes them."""
        return tuple(stored.der for stored in self.pieces() if isinstance(stored.name, CrlName))

    def _vcek(self, name: VcekName, raw: bytes) -> Stored:
        verified = verify_vcek_of(name, raw, roots=self.roots)
        return Stored(name=name, der=raw, not_before=verified.not_before, not_after=verified.not_after)

    def _newest(self, name: CrlName) -> Crl | None:
        raw = self._read(name, MAX_CRL_BYTES)
        try:
            return None if raw is None else verify_crl_of(name, raw, roots=self.roots)
        except _NOT_GENUINE:
            return None

    def _read(self, name: VcekName | CrlName, max_bytes: int) -> bytes | None:
        try:
            with (self.folder / name.file_name).open("rb") as stream:
                # One byte more than there can be makes a longer file malformed, not cut off.
                return stream.read(max_bytes + 1)
        except OSError:
            return None

    def _write(self, name: VcekName | CrlName, der: bytes) -> None:
        place = self.folder / name.file_name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            descriptor, beside = tempfile.mkstemp(dir=place.parent, prefix=".new-")
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(der)
            Path(beside).replace(place)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("wb")
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _stored_crl(name: CrlName, crl: Crl) -> Stored:
    return Stored(name=name, der=crl.raw, not_before=crl.this_update, not_after=crl.next_update)


def _unwritable(folder: Path, error: OSError) -> FetchError:
    return FetchError("STORE_UNWRITABLE", f"store {str(folder)!r}: {error.strerror}")


def _vcek_name(file_name: str) -> VcekName | None:
    match = _VCEK_FILE.fullmatch(file_name)
    if match is None or match[1] not in HARDWARE:
        return None
    chip_id = bytes.fromhex(match[2]).ljust(CHIP_ID_BYTES, b"\x00")
    return VcekName(product=Product(match[1]), chip_id=chip_id, tcb=bytes.fromhex(match[3]))
