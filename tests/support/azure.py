"""An Azure of our own: a paravisor on a chip of ours and its vTPM, with any one part wrong; and Azure's own evidence.

amd, azure = fake_amd(), FakeAzure()
report = amd.report(report_data=azure.report_data())
member = azure.member(extra_data=framing.quote_extra_data(bound)).encode()
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from tests.support.vectors import genuine_reports, vectors_folder

from twocvm_verifier import framing
from twocvm_verifier.azure.hcl import parse_hcl
from twocvm_verifier.azure.member import AzureMember
from twocvm_verifier.azure.quote import parse_quote
from twocvm_verifier.azure.runtime import parse_runtime
from twocvm_verifier.snp.vek import parse_vek

PCRS = tuple(bytes([number]) * 32 for number in range(24))
SELECTION = b"\xff\xff\xff"


@cache
def attestation_key() -> rsa.RSAPrivateKey:
    """Return the vTPM's key, one for all tests of a process."""
    return rsa.generate_private_key(65537, 2048)


def jwk(key: rsa.RSAPublicKey, **changes: Any) -> dict[str, Any]:
    """Return a key as Azure's runtime data has the attestation key, with changes; None leaves a member out."""
    modulus = key.public_numbers().n.to_bytes(256, "big")
    encoded = base64.urlsafe_b64encode(modulus).rstrip(b"=").decode()
    whole = {"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": encoded} | changes
    return {name: value for name, value in whole.items() if value is not None}


def runtime_data(key: rsa.RSAPublicKey, **changes: Any) -> bytes:
    """Return runtime data with this attestation key, as Azure spells it, with changes."""
    whole = {
        "keys": [jwk(key)],
        "vm-configuration": {"console-enabled": True, "secure-boot": True, "tpm-enabled": True, "vmUniqueId": "A"},
        "user-data": "00" * 64,
    } | changes
    return json.dumps(
        {name: value for name, value in whole.items() if value is not None}, separators=(",", ":")
    ).encode()


def hcl_report(report: bytes, runtime: bytes, *, padding_bytes: int = 100) -> bytes:
    """Return the envelope that Azure's paravisor puts into NV index 0x01400001."""
    end = 32 + len(report) + 20 + len(runtime)
    header = struct.pack("<4sIIII12s", b"HCLA", 2, end, 2, 0, bytes(12))
    return (
        header
        + report
        + struct.pack("<IIIII", 20 + len(runtime), 1, 2, 1, len(runtime))
        + runtime
        + bytes(padding_bytes)
    )


def quote(
    *,
    extra_data: bytes,
    pcr_digest: bytes = hashlib.sha256(b"".join(PCRS)).digest(),
    magic: bytes = b"\xffTCG",
    kind: int = 0x8018,
    signer: bytes = b"\x00\x0b" + bytes(32),
    reset_count: int = 7,
    restart_count: int = 0,
    safe: int = 1,
    banks: bytes = struct.pack(">IHB", 1, 0x000B, 3) + SELECTION,
    rest: bytes = b"",
) -> bytes:
    """Return TPMS_ATTEST."""
    return b"".join(
        (
            magic,
            kind.to_bytes(2, "big"),
            _sized(signer),
            _sized(extra_data),
            struct.pack(">QIIBQ", 1000, reset_count, restart_count, safe, 0x2020031200120003),
            banks,
            _sized(pcr_digest),
            rest,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeAzure:
    """A paravisor and its vTPM."""

    key: rsa.RSAPrivateKey = field(default_factory=attestation_key)
    runtime: bytes = field(default_factory=lambda: runtime_data(attestation_key().public_key()))

    def report_data(self) -> bytes:
        """Return what the paravisor has put into REPORT_DATA."""
        return framing.sha256(self.runtime) + bytes(32)

    def sign(self, quoted: bytes) -> bytes:
        """Return the vTPM's signature."""
        return self.key.sign(quoted, padding.PKCS1v15(), SHA256())

    def member(self, *, extra_data: bytes, pcrs: tuple[bytes, ...] = PCRS, **changes: Any) -> AzureMember:
        """Return what comes beside the report."""
        quoted = quote(extra_data=extra_data, **changes)
        return AzureMember(
            runtime=parse_runtime(self.runtime), quote=parse_quote(quoted), signature=self.sign(quoted), pcrs=pcrs
        )

    def bound_to(self, report_data: bytes, **changes: Any) -> bytes:
        """Return the encoded member whose quote binds these 64 bytes."""
        return self.member(extra_data=framing.quote_extra_data(report_data), **changes).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class GenuineAzure:
    """Evidence that a real Azure VM made, with the certificate of its chip's key."""

    name: str
    hcl: bytes
    report: bytes
    vek: bytes
    at: datetime
    nonce: bytes
    member: AzureMember


@cache
def genuine_azure() -> tuple[GenuineAzure, ...]:
    """Return every genuine SNP evidence of Azure's with a quote; none where there are no vectors."""
    folder = vectors_folder()
    return (
        ()
        if folder is None
        else tuple(found for path in sorted(folder.glob("azure/*/quote.msg")) for found in _read(path.parent))
    )


def _read(folder: Path) -> list[GenuineAzure]:
    meta = json.loads((folder / "meta.json").read_text())
    hcl = (folder / "hcl_report.bin").read_bytes()
    if meta["hcl"]["report_type"] != 2:
        return []
    parsed = parse_hcl(hcl)
    vek = next((each.vek for each in genuine_reports() if each.report == parsed.report), None)
    if vek is None:
        text = json.loads((folder / "evidence.json").read_text())["evidence"]["vcek"]
        vek = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    member = AzureMember(
        runtime=parse_runtime(parsed.runtime),
        quote=parse_quote((folder / "quote.msg").read_bytes()),
        signature=(folder / "quote.sig").read_bytes(),
        pcrs=tuple(map(bytes.fromhex, json.loads((folder / "pcrs.json").read_text()))),
    )
    return [
        GenuineAzure(
            name=folder.name,
            hcl=hcl,
            report=parsed.report,
            vek=vek,
            at=parse_vek(vek).vek.not_before + timedelta(days=1),
            nonce=bytes.fromhex(meta["nonce"]),
            member=member,
        )
    ]


def flipped(raw: bytes, bit: int) -> bytes:
    """Return the bytes with one bit changed."""
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _sized(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value
