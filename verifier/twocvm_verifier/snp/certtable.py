"""The certificate table that a host hands its guest with a report: which of its blobs is what.

A table is a list of entries (GUID, offset, length), ended by an entry of zeros, and then the blobs themselves. It comes
from the host, so it is a place to find a VEK in and never one to find trust in: `chain` compares what it brings with
the anchors. Rules, in order:
1. At most 64 KiB, and at most 32 entries before the one of zeros.
2. Every blob has at least one byte and lies wholly behind the entries and inside the table; no two share a byte.
3. Nothing of AMD's stands twice, in whichever byte order (some hosts write GUIDs big-endian, others with the first
   three fields swapped), and no other GUID does.

An entry of a GUID that is not AMD's is passed over: hosts put things of their own there.

Spec: GHCB 56421 r2.03, 4.1.8.1; SNP ABI 56860 r1.58, 8.2.
"""

from __future__ import annotations

import struct
from base64 import encodebytes
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from uuid import UUID

from twocvm_verifier.errors import MalformedError, NotFoundError

from .report import SIGNED_BY_VLEK, Report

# Linux hands a guest at most 16 KiB (SEV_FW_BLOB_MAX_SIZE); others round up to larger pages.
MAX_TABLE_BYTES: Final = 65_536
MAX_ENTRIES: Final = 32
_ENTRY: Final = struct.Struct("<16sII")
_END: Final = bytes(_ENTRY.size)

_AMD_GUIDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "63da758d-e664-4564-adc5-f4b93be8accd": "vcek",
        "a8074bc2-a25a-483e-aae6-39c045a0b8a1": "vlek",
        "4ab7b379-bbac-4fe4-a02f-05aef327c782": "intermediate",
        "c0b406a4-a803-4952-9743-3fb6014cd0ae": "ark",
        "92f81bc3-5811-4d3d-97ff-d19f88dc67ea": "crl",
    }
)


def _both_orders() -> Mapping[bytes, str]:
    named = ((UUID(text), name) for text, name in _AMD_GUIDS.items())
    return MappingProxyType({raw: name for guid, name in named for raw in (guid.bytes, guid.bytes_le)})


_NAMES: Final = _both_orders()


@dataclass(frozen=True, slots=True, kw_only=True)
class CertTable:
    """What a host says the certificates are; believed by nobody.

    Attributes:
        blobs: The blobs of AMD's GUIDs: some of `vcek`, `vlek`, `intermediate` (ASK or ASVK), `ark` and `crl`.
        unknown: How many entries had other GUIDs.
    """

    blobs: Mapping[str, bytes] = field(repr=False)
    unknown: int

    def vek_of(self, report: Report) -> bytes:
        """Return the blob that should be the certificate of the key that signed `report`.

        Raises:
            NotFoundError: The table has none of that kind.
        """
        name = "vlek" if report.signing_key == SIGNED_BY_VLEK else "vcek"
        if name not in self.blobs:
            raise NotFoundError("VEK_MISSING", f"certificate table: got no {name.upper()}, want the report's")
        return self.blobs[name]

    @property
    def chain(self) -> bytes | None:
        """The intermediate and the root in PEM, as `SnpVerifier.verify` takes them; None unless both are there."""
        if "intermediate" not in self.blobs or "ark" not in self.blobs:
            return None
        return b"".join(_pem(self.blobs[name]) for name in ("intermediate", "ark"))


def parse_cert_table(raw: bytes) -> CertTable:
    """Return what the table holds.

    Args:
        raw: The table, with whatever padding its pages have.

    Raises:
        MalformedError: Anything that breaks a rule of the module.
    """
    if len(raw) > MAX_TABLE_BYTES:
        raise _malformed("length", f"got {len(raw)} bytes, want at most {MAX_TABLE_BYTES}")
    entries = _parse_entries(raw)
    _require_apart(entries, behind=_ENTRY.size * (len(entries) + 1), size_bytes=len(raw))
    blobs: dict[str, bytes] = {}
    others: set[bytes] = set()
    for guid, offset, length in entries:
        name = _NAMES.get(guid)
        if (guid in others) if name is None else (name in blobs):
            raise _malformed("entries", f"{name or guid.hex()} stands twice")
        if name is None:
            others.add(guid)
        else:
            blobs[name] = raw[offset : offset + length]
    return CertTable(blobs=MappingProxyType(blobs), unknown=len(others))


def _parse_entries(raw: bytes) -> list[tuple[bytes, int, int]]:
    entries: list[tuple[bytes, int, int]] = []
    for at in range(0, len(raw) - _ENTRY.size + 1, _ENTRY.size):
        if raw[at : at + _ENTRY.size] == _END:
            return entries
        if len(entries) == MAX_ENTRIES:
            raise _malformed("entries", f"got more than {MAX_ENTRIES}")
        entries.append(_ENTRY.unpack_from(raw, at))
    raise _malformed("entries", "the entry of zeros that ends them is missing")


def _require_apart(entries: list[tuple[bytes, int, int]], *, behind: int, size_bytes: int) -> None:
    free_from = behind
    for _, offset, length in sorted(entries, key=lambda entry: entry[1]):
        if not length:
            raise _malformed("entries", "one has no bytes")
        if offset < free_from:
            raise _malformed("entries", f"one begins at {offset}, in another or in the list of entries")
        if offset + length > size_bytes:
            raise _malformed("entries", f"one ends at {offset + length}, behind the table's {size_bytes} bytes")
        free_from = offset + length


def _pem(blob: bytes) -> bytes:
    if blob.lstrip().startswith(b"-----BEGIN"):
        return blob.strip() + b"\n"
    return b"-----BEGIN CERTIFICATE-----\n" + encodebytes(blob) + b"-----END CERTIFICATE-----\n"


def _malformed(field_name: str, detail: str) -> MalformedError:
    return MalformedError("cert-table", field_name, detail)
