"""What a ledger of goes says, and the file that it is in.

The file is the JCS of `{"version": 1, "manifest", "participant", "goes"}`. Reading it is total: any bytes give the goes
that were written, or `MalformedError`. What the goes decide is in `ledger`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

from twocvm_verifier import framing, strictjson
from twocvm_verifier.clock import format_time, parse_time
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.jsonfields import Fields
from twocvm_verifier.strictjson import Json

VERSION: Final = 1
# 200 items with long paths take 100 KB: room for a hundred goes of the largest manifests.
MAX_LEDGER_BYTES: Final = 16 * 1024 * 1024
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
        withdrawn_at: Since when the participant has withdrawn from that instance; None where it has not.
    """

    report_id: bytes
    guest_spki_sha256: bytes
    at: datetime
    items: Mapping[str, LedgerItem]
    components: Mapping[str, Path]
    withdrawn_at: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", MappingProxyType(dict(self.items)))
        object.__setattr__(self, "components", MappingProxyType(dict(self.components)))
        object.__setattr__(self, "at", self.at.replace(microsecond=0))
        if self.withdrawn_at is not None:
            object.__setattr__(self, "withdrawn_at", self.withdrawn_at.replace(microsecond=0))

    @property
    def commitments(self) -> dict[str, bytes]:
        """The commitment of each data item, by name."""
        return {name: item.commitment for name, item in self.items.items()}

    @property
    def paths(self) -> dict[str, Path]:
        """Where each file was, by name: data items and components together."""
        return {name: item.path for name, item in self.items.items()} | dict(self.components)


def encode_goes(goes: tuple[LedgerGo, ...], *, manifest_hash: bytes, participant: str) -> bytes:
    """Return the file of these goes, oldest first.

    Args:
        goes: All of them.
        manifest_hash: The manifest that they are for (32 bytes).
        participant: Whose they are.
    """
    value: Json = {
        "version": VERSION,
        "manifest": manifest_hash.hex(),
        "participant": participant,
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
                **({} if go.withdrawn_at is None else {"withdrawn_at": format_time(go.withdrawn_at)}),
            }
            for go in goes
        ],
    }
    return strictjson.canonical(value)


def parse_goes(raw: bytes, *, manifest_hash: bytes, participant: str) -> tuple[LedgerGo, ...]:
    """Return the goes in a file, which must be of this manifest and participant.

    Args:
        raw: The file's bytes.
        manifest_hash: As `encode_goes`.
        participant: As `encode_goes`.

    Raises:
        MalformedError: Anything in it is not what `encode_goes` writes.
    """
    value = strictjson.parse(raw, document="ledger", max_bytes=MAX_LEDGER_BYTES)
    fields = Fields(value, document="ledger", pointer="", required=_FIELDS)
    goes = tuple(_parse_go(go, f"/goes/{index}") for index, go in enumerate(fields.array("goes")))
    # Rebuilding the file and comparing it whole leaves nothing of it unread.
    if encode_goes(goes, manifest_hash=manifest_hash, participant=participant) != raw:
        raise MalformedError("ledger", "", "is not what this version writes for this manifest and participant")
    if len({go.report_id for go in goes}) != len(goes):
        raise MalformedError("ledger", "/goes", "has two goes for one instance")
    return goes


def _parse_go(value: Json, pointer: str) -> LedgerGo:
    go = Fields(value, document="ledger", pointer=pointer, required=_GO_FIELDS, optional={"withdrawn_at"})
    items, components = (_object(go.json(key), f"{pointer}/{key}") for key in ("items", "components"))
    return LedgerGo(
        report_id=go.hash("report_id"),
        guest_spki_sha256=go.hash("guest_spki_sha256"),
        at=_parse_time(go, "at", pointer),
        items={name: _parse_item(item, f"{pointer}/items/{name}") for name, item in items.items()},
        components={name: _parse_path(uri, f"{pointer}/components/{name}") for name, uri in components.items()},
        withdrawn_at=_parse_time(go, "withdrawn_at", pointer) if "withdrawn_at" in go else None,
    )


def _parse_time(go: Fields, key: str, pointer: str) -> datetime:
    try:
        return parse_time(go.text(key))
    except ValueError as error:
        raise MalformedError("ledger", f"{pointer}/{key}", str(error)) from error


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
