"""ATTESTATION_REPORT: 1184 bytes, parsed and nothing more.

A `Report` is what bytes claim; nobody has signed it yet as far as this module knows. Rules, in order: the length is
exact; the version is 2 to 5; every reserved byte and bit is zero, as it is on all reports that AMD's chips make; the
few enumerated fields have values that exist.

>>> parse_report(bytes(1184))
Traceback (most recent call last):
twocvm_verifier.errors.MalformedError: report.version: got 0, want 2 to 5
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, Final

from twocvm_verifier.errors import MalformedError

REPORT_BYTES: Final = 0x4A0
# SNP ABI 56860 r1.58, 7.3, table 23: what the signature covers.
SIGNED_BYTES: Final = 0x2A0

# SNP ABI 56860 r1.58, 7.3, table 23: bytes 0x000..0x207, little endian. A run without a name is reserved, and proved to
# be zero below.
_LAYOUT: Final = (
    ("version", "I"),
    ("guest_svn", "I"),
    ("policy", "Q"),
    ("family_id", "16s"),
    ("image_id", "16s"),
    ("vmpl", "I"),
    ("signature_algo", "I"),
    ("current_tcb", "8s"),
    ("platform_info", "Q"),
    ("flags", "I"),
    ("after_flags", "I"),
    ("report_data", "64s"),
    ("measurement", "48s"),
    ("host_data", "32s"),
    ("id_key_digest", "48s"),
    ("author_key_digest", "48s"),
    ("report_id", "32s"),
    ("report_id_ma", "32s"),
    ("reported_tcb", "8s"),
    ("family", "B"),
    ("model", "B"),
    ("stepping", "B"),
    ("", "21x"),
    ("chip_id", "64s"),
    ("committed_tcb", "8s"),
    ("current_build", "B"),
    ("current_minor", "B"),
    ("current_major", "B"),
    ("", "x"),
    ("committed_build", "B"),
    ("committed_minor", "B"),
    ("committed_major", "B"),
    ("", "x"),
    ("launch_tcb", "8s"),
    ("launch_mit_vector", "Q"),
    ("current_mit_vector", "Q"),
)
_BODY: Final = struct.Struct("<" + "".join(form for _, form in _LAYOUT))
_NAMES: Final = tuple(name for name, _ in _LAYOUT if name)
# Table 23, SIGNATURE, and table 140: R and S, 72 bytes each, little endian, of which P-384 needs 48.
_SIGNATURE: Final = struct.Struct("<48s24s48s24s")
_SIGNATURE_PADDING: Final = bytes(REPORT_BYTES - SIGNED_BYTES - 144)
_ZERO_24: Final = bytes(24)
_ZERO_21: Final = bytes(21)
_ZERO_TAIL_5: Final = bytes(SIGNED_BYTES - 0x208)
_ZERO_TAIL_2: Final = bytes(SIGNED_BYTES - 0x1F8)

ECDSA_P384_SHA384: Final = 1
HOST_VMPL: Final = 0xFFFFFFFF
SIGNED_BY_VCEK: Final = 0
SIGNED_BY_VLEK: Final = 1
SIGNED_BY_NONE: Final = 7

_POLICY_MUST_BE_ONE: Final = 1 << 17
_POLICY_RESERVED: Final = ~((1 << 26) - 1) & (2**64 - 1)
_PLATFORM_INFO_RESERVED: Final = ~0xFF & (2**64 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One report as it claims to be. Fields are AMD's, in lower case; bytes are as in the report.

    Attributes:
        raw: All 1184 bytes as received; what is verified.
        version: 2 to 5.
        guest_svn: Security version of the guest, from its id block.
        policy: The guest policy, 64 bits (`policy_bits` names them).
        family_id: 16 bytes of the id block.
        image_id: 16 bytes of the id block.
        vmpl: 0 to 3, or `HOST_VMPL` where the host asked for the report.
        signature_algo: `ECDSA_P384_SHA384`.
        current_tcb: TCB_VERSION that runs (8 bytes, see `tcb`).
        platform_info: 64 bits.
        author_key_en: Whether AUTHOR_KEY_DIGEST is of a key that signed the id key.
        mask_chip_key: Whether the platform may not sign with its VCEK.
        signing_key: 0 VCEK, 1 VLEK, 7 none.
        report_data: 64 bytes that the guest chose.
        measurement: Launch digest (48 bytes).
        host_data: 32 bytes that the host chose at launch.
        id_key_digest: SHA-384 of the id key (48 bytes).
        author_key_digest: SHA-384 of the author key (48 bytes).
        report_id: New at every launch (32 bytes).
        report_id_ma: Of the migration agent (32 bytes); all ones where there is none.
        reported_tcb: TCB_VERSION that the VEK was derived from (8 bytes).
        family: CPUID family; 0 in version 2.
        model: CPUID model; 0 in version 2.
        stepping: CPUID stepping; 0 in version 2.
        chip_id: 64 bytes; zero where masked.
        committed_tcb: TCB_VERSION below which firmware cannot be rolled back (8 bytes).
        current_build: Firmware that runs: build.
        current_minor: Its API minor version.
        current_major: Its API major version.
        committed_build: Firmware that is committed: build.
        committed_minor: Its API minor version.
        committed_major: Its API major version.
        launch_tcb: TCB_VERSION at launch or import (8 bytes).
        launch_mit_vector: Mitigations at launch, a set of bits; 0 before version 5.
        current_mit_vector: Mitigations now, a set of bits; 0 before version 5.
        signature_r: R of the signature (48 bytes, little endian).
        signature_s: S of the signature (48 bytes, little endian).
    """

    raw: bytes = field(repr=False)
    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algo: int
    current_tcb: bytes
    platform_info: int
    author_key_en: bool
    mask_chip_key: bool
    signing_key: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    family: int
    model: int
    stepping: int
    chip_id: bytes
    committed_tcb: bytes
    current_build: int
    current_minor: int
    current_major: int
    committed_build: int
    committed_minor: int
    committed_major: int
    launch_tcb: bytes
    launch_mit_vector: int
    current_mit_vector: int
    signature_r: bytes = field(repr=False)
    signature_s: bytes = field(repr=False)


def parse_report(raw: bytes) -> Report:
    """Return what the bytes claim.

    Args:
        raw: Exactly 1184 bytes (0x4A0).

    Raises:
        MalformedError: Anything else, with the field that is wrong.

    Spec: SNP ABI 56860 r1.58, 7.3, table 23.
    """
    if len(raw) != REPORT_BYTES:
        raise MalformedError("report", "length", f"got {len(raw)} bytes, want {REPORT_BYTES}")
    raw = bytes(raw)
    values: dict[str, Any] = dict(zip(_NAMES, _BODY.unpack_from(raw), strict=True))
    _require_reserved_zero(raw, version=values["version"])
    r, r_padding, s, s_padding = _SIGNATURE.unpack_from(raw, SIGNED_BYTES)
    if r_padding != _ZERO_24 or s_padding != _ZERO_24 or raw[SIGNED_BYTES + 144 :] != _SIGNATURE_PADDING:
        raise MalformedError("report", "signature", "reserved bytes are not zero")
    flags, after_flags = values.pop("flags"), values.pop("after_flags")
    if after_flags or flags >> 5:
        raise MalformedError("report", "flags", f"reserved bits are not zero: {flags:#x}, {after_flags:#x}")
    report = Report(
        raw=raw,
        author_key_en=bool(flags & 1),
        mask_chip_key=bool(flags & 2),
        signing_key=flags >> 2,
        signature_r=r,
        signature_s=s,
        **values,
    )
    _require_known_values(report)
    return report


def _require_reserved_zero(raw: bytes, *, version: int) -> None:
    if not 2 <= version <= 5:
        raise MalformedError("report", "version", f"got {version}, want 2 to 5")
    # Version 3 put CPUID's family, model and stepping into the first three of these bytes.
    zero = raw[0x188:0x1A0] == _ZERO_24 if version == 2 else raw[0x18B:0x1A0] == _ZERO_21
    if not zero or raw[0x1EB] or raw[0x1EF]:
        raise MalformedError("report", "reserved", f"bytes that version {version} reserves are not zero")
    tail = raw[0x208:SIGNED_BYTES] == _ZERO_TAIL_5 if version == 5 else raw[0x1F8:SIGNED_BYTES] == _ZERO_TAIL_2
    if not tail:
        raise MalformedError(
            "report", "reserved", f"bytes after LAUNCH_TCB that version {version} reserves are not zero"
        )


def _require_known_values(report: Report) -> None:
    if report.policy & _POLICY_RESERVED or not report.policy & _POLICY_MUST_BE_ONE:
        raise MalformedError("report", "policy", f"reserved bits are wrong: {report.policy:#x}")
    if report.platform_info & _PLATFORM_INFO_RESERVED:
        raise MalformedError("report", "platform_info", f"reserved bits are not zero: {report.platform_info:#x}")
    if report.vmpl > 3 and report.vmpl != HOST_VMPL:
        raise MalformedError("report", "vmpl", f"got {report.vmpl:#x}, want 0 to 3 or {HOST_VMPL:#x}")
    if report.signature_algo != ECDSA_P384_SHA384:
        raise MalformedError("report", "signature_algo", f"got {report.signature_algo}, want {ECDSA_P384_SHA384}")
    if report.signing_key not in (SIGNED_BY_VCEK, SIGNED_BY_VLEK, SIGNED_BY_NONE):
        raise MalformedError("report", "signing_key", f"got {report.signing_key}, want 0, 1 or 7")
