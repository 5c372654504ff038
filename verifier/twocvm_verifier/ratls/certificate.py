"""The leaf certificate of a guest: where its evidence lies, and how strictly it is read.

Spec: docs/spec/ratls.md, 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..evidence import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class RatlsCertificate:
    """A leaf as parsed. Says nothing about whether its evidence holds.

    Attributes:
        spki_der: SubjectPublicKeyInfo, DER (91 bytes, P-256).
        spki_sha256: Its SHA-256 (32 bytes).
        evidence: The evidence as parsed.
    """

    spki_der: bytes
    spki_sha256: bytes
    evidence: Evidence


def evidence_extension(evidence: Evidence) -> tuple[str, bytes]:
    """Return the extension's dotted OID and its value: a DER OCTET STRING of the CBOR evidence."""
    raise NotImplementedError


def parse_certificate(der: bytes) -> RatlsCertificate:
    """Return what a leaf certificate holds."""
    raise NotImplementedError
