"""What a guest has proven on one connection, and the two judgements that prove it.

`judge_certificate` judges the evidence in a leaf: for first contact and early refusal. `judge_channel` judges evidence
made for a nonce and a TLS exporter value: only after it may anything be released. Both rebuild the claims from what the
caller knows itself and compare all 64 bytes of REPORT_DATA; from the wire they take the log's head and length alone.

A `CertificateProof` and a `ChannelProof` are made only here.

Spec: docs/spec/ratls.md, docs/spec/claims.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from ..appraisal import Appraisal
    from ..binding import LogPosition
    from ..manifest.model import Manifest
    from ..policy import Policy
    from ..snp.verify import VerifiedReport

NONCE_BYTES: Final = 32
EXPORTED_BYTES: Final = 32
# draft-fossati-seat-expat: the label of the exporter value that the binder holds.
EXPORTER_LABEL: Final = b"Attestation"


class ManifestState(StrEnum):
    """Whether the guest has a manifest in force."""

    LOCKED = "locked"
    UNLOCKED = "unlocked"


class ReportVerifier(Protocol):
    """What verifies a report; `SnpVerifier` is one."""

    def verify(self, report: bytes, /, *, vek: bytes, at: datetime, chain: bytes | None = None) -> VerifiedReport:
        """Return the report as verified, or raise a `TwoCvmError`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a Relying Party expects of a guest.

    Attributes:
        manifest: Its own copy of the manifest, never the guest's.
        policy: The appraisal policy that every report is held to, beside the manifest's `platform`.
        verifier: Verifies reports; holds the trust anchors.
        unlocked_ok: Whether a guest that has no manifest in force yet is accepted. Only `lock` says True.
    """

    manifest: Manifest
    policy: Policy
    verifier: ReportVerifier
    unlocked_ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What every proof on a connection says.

    Attributes:
        spki_der: The leaf's SubjectPublicKeyInfo (91 bytes, P-256).
        spki_sha256: Its SHA-256 (32 bytes).
        manifest_state: Whether the expected manifest is in force.
        log: Head and length of the event log when the report was made.
        verified: The report behind the proof.
        appraisal: Its appraisal, already required to hold.
    """

    spki_der: bytes
    spki_sha256: bytes
    manifest_state: ManifestState
    log: LogPosition
    verified: VerifiedReport
    appraisal: Appraisal

    @property
    def report_id(self) -> bytes:
        """REPORT_ID: which launch of which guest this is (32 bytes)."""
        return self.verified.report.report_id


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateProof(Proof):
    """The leaf's key is a guest's as expected. Says nothing about who holds the key now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelProof(Proof):
    """The other end of this very connection is a guest as expected, and was when `nonce` was drawn.

    Attributes:
        nonce: The Relying Party's 32 random bytes.
        batched: Whether the report is shared with other connections over a Merkle root.
    """

    nonce: bytes
    batched: bool


def judge_certificate(der: bytes, *, expectation: Expectation, at: datetime) -> CertificateProof:
    """Judge the evidence in a guest's leaf certificate."""
    raise NotImplementedError


def judge_channel(
    raw_json: bytes,
    *,
    certificate: CertificateProof,
    previous: Proof,
    nonce: bytes,
    exported: bytes,
    expectation: Expectation,
    at: datetime,
) -> ChannelProof:
    """Judge evidence made for this connection."""
    raise NotImplementedError
