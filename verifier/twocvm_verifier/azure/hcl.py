"""The HCL report: what Azure's paravisor leaves in its vTPM for the guest, taken apart and nothing more.

An envelope without a signature of its own: a header, the SNP report of the paravisor, and the runtime data whose digest
stands in that report's REPORT_DATA. Nothing in the header is believed; it says only where the two are.

>>> parse_hcl(b"HCLA" + bytes(2000))
Traceback (most recent call last):
twocvm_verifier.errors.MalformedError: hcl report.version: got 0, want 1 or 2
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.snp.report import REPORT_BYTES

MAX_HCL_BYTES: Final = 8192
"""More than any NV index holds; Azure's has 2600."""

_DOCUMENT: Final = "hcl report"
# docs/spec/azure.md, 2: the header (0x00..0x1F), little endian, and the one of the runtime data (0x4C0..0x4D3).
_HEADER: Final = struct.Struct("<4sIIII12s")
_RUNTIME_HEADER: Final = struct.Struct("<IIIII")
_MAGIC: Final = b"HCLA"
_VERSIONS: Final = (1, 2)
_REQUEST_TYPE: Final = 2
_RUNTIME_VERSION: Final = 1
_SNP: Final = 2
_SHA256: Final = 1
_REPORT_OFFSET: Final = _HEADER.size
_RUNTIME_HEADER_OFFSET: Final = _REPORT_OFFSET + REPORT_BYTES
_RUNTIME_OFFSET: Final = _RUNTIME_HEADER_OFFSET + _RUNTIME_HEADER.size


@dataclass(frozen=True, slots=True, kw_only=True)
class HclReport:
    """What an HCL report holds.

    Attributes:
        report: The paravisor's SNP report (1184 bytes), not parsed yet.
        runtime: The runtime data, as hashed: JSON, see `runtime.parse_runtime`.
    """

    report: bytes = field(repr=False)
    runtime: bytes = field(repr=False)


def parse_hcl(raw: bytes) -> HclReport:
    """Return what an HCL report holds.

    Args:
        raw: As read from the vTPM's NV index, at most `MAX_HCL_BYTES`; what follows the runtime data is zero.

    Raises:
        MalformedError: Not the layout of `docs/spec/azure.md`, 2, or a report of another kind than SNP's.
    """
    if not _RUNTIME_OFFSET <= len(raw) <= MAX_HCL_BYTES:
        raise MalformedError(_DOCUMENT, "length", f"got {len(raw)} bytes, want {_RUNTIME_OFFSET} to {MAX_HCL_BYTES}")
    magic, version, size, request, status, reserved = _HEADER.unpack_from(raw)
    data_size, data_version, kind, digest, runtime_size = _RUNTIME_HEADER.unpack_from(raw, _RUNTIME_HEADER_OFFSET)
    _require("magic", magic, _MAGIC)
    if version not in _VERSIONS:
        raise MalformedError(_DOCUMENT, "version", f"got {version}, want 1 or 2")
    _require("request_type", request, _REQUEST_TYPE)
    _require("status", status, 0)
    _require("reserved", reserved, bytes(len(reserved)))
    _require("runtime_version", data_version, _RUNTIME_VERSION)
    _require("report_type", kind, _SNP)
    _require("hash_type", digest, _SHA256)
    end = _RUNTIME_OFFSET + runtime_size
    if not 0 < runtime_size <= len(raw) - _RUNTIME_OFFSET:
        raise MalformedError(_DOCUMENT, "runtime_size", f"got {runtime_size}, want 1 to {len(raw) - _RUNTIME_OFFSET}")
    _require("runtime_header_size", data_size, _RUNTIME_HEADER.size + runtime_size)
    _require("report_size", size, end)
    if any(raw[end:]):
        raise MalformedError(_DOCUMENT, "padding", "bytes after the runtime data are not zero")
    return HclReport(report=raw[_REPORT_OFFSET:_RUNTIME_HEADER_OFFSET], runtime=raw[_RUNTIME_OFFSET:end])


def _require(name: str, got: object, want: object) -> None:
    if got != want:
        raise MalformedError(_DOCUMENT, name, f"got {got!r}, want {want!r}")
