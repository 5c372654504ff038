"""The durable ledger of goes: what this participant signed for, written down before it signed.

A guest has no memory that outlives it, so only a participant can count the runs of a manifest. Decides whether a go
may be given: the first for a manifest is; one for the same guest is the one that stands already, so that another
process can go on; any other needs `again`. Rules, in order: one process at a time; a ledger that cannot be read
refuses, and is never taken for an empty one; what is returned is on disk.

The ledger of one (manifest, participant) is one file, the JCS of `{"version": 1, "manifest", "participant", "goes"}`.

>>> ledger = Ledger(folder=Path("/nowhere"), manifest_hash=bytes(32), participant="hospital-a")
>>> ledger.standing(bytes(32), again=False) is None
True
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

from twocvm_verifier import framing, strictjson
from twocvm_verifier.clock import format_time, parse_time
from twocvm_verifier.errors import MalformedError, ReleaseError
from twocvm_verifier.jsonfields import Fields
from twocvm_verifier.strictjson import Json

from . import storage

VERSION: Final = 1
# 200 items with long paths take 100 KB: room for a hundred goes of the largest manifests.
MAX_LEDGER_BYTES: Final = 16 * 1024 * 1024
_LOCK: Final = "lock"
_FILE_SCHEME: Final = "file://"
_FIELDS: Final = frozenset({"version", "manifest", "participant", "goes"})
_GO_FIELDS: Final = frozenset({"report_id", "guest_spki_sha256", "at", "items", "components"})
_ITEM_FIELDS: Final = frozenset({"file", "bytes", "sha256", "salt"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerItem:
    """One data item as it was committed to.

    Attributes:
        path: Where the file was (absolute).
        size_bytes: Its length when it was read.
        sha256: Its digest when it was read (32 bytes).
        salt: What hides the digest in the commitment (32 random bytes).
    """

    path: Path
    size_bytes: int
    sha256: bytes
    salt: bytes

    @property
    def commitment(self) -> bytes:
        """What a go says of the item, and others may see (32 bytes)."""
        return framing.item_commitment(salt=self.salt, size_bytes=self.size_bytes, sha256=self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerGo:
    """One go: everything that its signature covers, and what is needed to go on in another process.

    Attributes:
        report_id: The guest instance that it is for (32 bytes).
        guest_spki_sha256: The guest's TLS key that it is for (32 bytes).
        at: The time that the go carries (aware, UTC, whole seconds).
        items: The data items, by name.
        components: The files of the participant's components, by name; the manifest fixes their content.
    """

    report_id: bytes
    guest_spki_sha256: bytes
    at: datetime
    items: Mapping[str, LedgerItem]
    components: Mapping[str, Path]

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", MappingProxyType(dict(self.items)))
        object.__setattr__(self, "components", MappingProxyType(dict(self.components)))
        object.__setattr__(self, "at", self.at.replace(microsecond=0))

    @property
    def commitments(self) -> dict[str, bytes]:
        """The commitment of each data item, by name."""
        return {name: item.commitment for name, item in self.items.items()}

    @property
    def paths(self) -> dict[str, Path]:
        """Where each file was, by name: data items and components together."""
        return {name: item.path for name, item in self.items.items()} | dict(self.components)


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
            ReleaseError: GO_ALREADY_GIVEN for another instance, and not `again`; or as `goes`.
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
            ReleaseError: GO_ALREADY_GIVEN; LEDGER_UNWRITABLE; GUEST_REPLACED where the instance is known under
                another key; IDENTITY_EXPOSED, IDENTITY_UNREADABLE.
            MalformedError: The ledger is damaged; nothing may be signed before a person looked at it.
        """
        try:
            with self._exclusively() as opened:
                return self._append(opened, go, again=again)
        except OSError as error:
            raise ReleaseError("LEDGER_UNWRITABLE", f"ledger {str(self.folder)!r}: {error.strerror}") from error

    def _append(self, opened: int, go: LedgerGo, *, again: bool) -> LedgerGo:
        goes = self._read(opened)
        known = self._standing(goes, go.report_id, again=again)
        if known is not None:
            if known.guest_spki_sha256 != go.guest_spki_sha256:
                raise ReleaseError("GUEST_REPLACED", "guest: has another TLS key than the go for it was signed for")
            return known
        storage.replace(opened, self._name, strictjson.canonical(_encode(self, (*goes, go))))
        return go

    def _standing(self, goes: tuple[LedgerGo, ...], report_id: bytes, *, again: bool) -> LedgerGo | None:
        for go in goes:
            if go.report_id == report_id:
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
        return _parse(self, raw)


def _encode(ledger: Ledger, goes: tuple[LedgerGo, ...]) -> Json:
    return {
        "version": VERSION,
        "manifest": ledger.manifest_hash.hex(),
        "participant": ledger.participant,
        "goes": [
            {
                "report_id": go.report_id.hex(),
                "guest_spki_sha256": go.guest_spki_sha256.hex(),
                "at": format_time(go.at),
                "items": {
                    name: {
                        # A URI, because not every file name is text that strict JSON carries.
                        "file": item.path.as_uri(),
                        "bytes": item.size_bytes,
                        "sha256": item.sha256.hex(),
                        "salt": strictjson.base64url(item.salt),
                    }
                    for name, item in go.items.items()
                },
                "components": {name: path.as_uri() for name, path in go.components.items()},
            }
            for go in goes
        ],
    }


def _parse(ledger: Ledger, raw: bytes) -> tuple[LedgerGo, ...]:
    value = strictjson.parse(raw, document="ledger", max_bytes=MAX_LEDGER_BYTES)
    fields = Fields(value, document="ledger", pointer="", required=_FIELDS)
    goes = tuple(_parse_go(go, f"/goes/{index}") for index, go in enumerate(fields.array("goes")))
    # Rebuilding the file and comparing it whole leaves nothing of it unread.
    if strictjson.canonical(_encode(ledger, goes)) != raw:
        raise MalformedError("ledger", "", "is not what this version writes for this manifest and participant")
    if len({go.report_id for go in goes}) != len(goes):
        raise MalformedError("ledger", "/goes", "has two goes for one instance")
    return goes


def _parse_go(value: Json, pointer: str) -> LedgerGo:
    go = Fields(value, document="ledger", pointer=pointer, required=_GO_FIELDS)
    items, components = (_object(go.json(key), f"{pointer}/{key}") for key in ("items", "components"))
    try:
        at = parse_time(go.text("at"))
    except ValueError as error:
        raise MalformedError("ledger", f"{pointer}/at", str(error)) from error
    return LedgerGo(
        report_id=go.hash("report_id"),
        guest_spki_sha256=go.hash("guest_spki_sha256"),
        at=at,
        items={name: _parse_item(item, f"{pointer}/items/{name}") for name, item in items.items()},
        components={name: _parse_path(uri, f"{pointer}/components/{name}") for name, uri in components.items()},
    )


def _parse_item(value: Json, pointer: str) -> LedgerItem:
    item = Fields(value, document="ledger", pointer=pointer, required=_ITEM_FIELDS)
    salt = item.base64url("salt")
    if len(salt) != framing.HASH_BYTES:
        raise MalformedError("ledger", f"{pointer}/salt", f"got {len(salt)} bytes, want {framing.HASH_BYTES}")
    return LedgerItem(
        path=_parse_path(item.json("file"), f"{pointer}/file"),
        size_bytes=item.integer("bytes", maximum=strictjson.MAX_INTEGER),
        sha256=item.hash("sha256"),
        salt=salt,
    )


def _parse_path(value: Json, pointer: str) -> Path:
    if not isinstance(value, str) or not value.startswith(_FILE_SCHEME + "/"):
        raise MalformedError("ledger", pointer, "not a file URI")
    raw = unquote_to_bytes(value.removeprefix(_FILE_SCHEME))
    if b"\x00" in raw:
        raise MalformedError("ledger", pointer, "not a path")
    return Path(os.fsdecode(raw))


def _object(value: Json, pointer: str) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise MalformedError("ledger", pointer, "not an object")
    return value
