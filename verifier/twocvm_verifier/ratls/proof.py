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
from typing import TYPE_CHECKING, Final

from twocvm_verifier import framing
from twocvm_verifier.appraisal import Judgement, Question
from twocvm_verifier.binding import (
    NOT_LOCKED,
    Claims,
    LogPosition,
    batch_claims,
    cert_claims,
    channel_claims,
    parse_claims,
)
from twocvm_verifier.errors import BindingError, LockError, LogProofError
from twocvm_verifier.evidence import Evidence, parse_json
from twocvm_verifier.snp.report import parse_report

from .batch import root_of
from .certificate import parse_certificate

if TYPE_CHECKING:
    from twocvm_verifier.appraisal import JudgedReport, Verifier
    from twocvm_verifier.manifest.model import Manifest
    from twocvm_verifier.policy import Policy
    from twocvm_verifier.result import Appraisal

NONCE_BYTES: Final = 32
EXPORTED_BYTES: Final = 32
# What stays the same from the certificate's report to every later one on the connection (docs/spec/ratls.md, 4).
_INSTANCE_FIELDS: Final = ("measurement", "host_data", "policy", "chip_id", "report_id")
# draft-fossati-seat-expat: the label of the exporter value that the binder holds.
EXPORTER_LABEL: Final = b"Attestation"


class ManifestState(StrEnum):
    """Whether the guest has a manifest in force."""

    LOCKED = "locked"
    UNLOCKED = "unlocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a Relying Party expects of a guest.

    Attributes:
        manifest: Its own copy of the manifest, never the guest's.
        policy: The appraisal policy that every report is held to, beside the manifest's `platform`.
        verifier: Judges what the evidence says: this machine, or others whose word is taken.
        unlocked_ok: Whether a guest that has no manifest in force yet is accepted. Only `lock` says True.
    """

    manifest: Manifest
    policy: Policy
    verifier: Verifier
    unlocked_ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What every proof on a connection says.

    Attributes:
        spki_der: The leaf's SubjectPublicKeyInfo (91 bytes, P-256).
        spki_sha256: Its SHA-256 (32 bytes).
        manifest_state: Whether the expected manifest is in force.
        log: Head and length of the event log when the report was made.
        verified: The report behind the proof: verified here, or vouched for by another verifier.
        appraisal: Its appraisal, already required to hold.
    """

    spki_der: bytes
    spki_sha256: bytes
    manifest_state: ManifestState
    log: LogPosition
    verified: JudgedReport
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
    """Judge the evidence in a guest's leaf certificate.

    Args:
        der: The leaf as it came in the handshake.
        expectation: What is expected of the guest.
        at: The time to judge at (aware, UTC).

    Raises:
        MalformedError: The certificate, its claims or its report are not what the specification writes.
        VerificationError: The evidence is not authentic, or not about this key and this manifest.
        CollateralError: The evidence cannot be judged now.
        AppraisalError: It is authentic and not acceptable.
        LockError: Everything holds, but no manifest is in force, and `unlocked_ok` is False.

    Spec: docs/spec/ratls.md, 2 and 3.
    """
    leaf = parse_certificate(der)
    received = parse_claims(leaf.evidence.claims)
    # Of what came, this and the log's position alone are used: the one to choose between two claims that we rebuild.
    state = ManifestState.UNLOCKED if received.manifest == NOT_LOCKED else ManifestState.LOCKED
    claims = cert_claims(
        spki_sha256=leaf.spki_sha256, manifest=_manifest_of(state, expectation.manifest), log=received.log
    )
    judged = _judge(leaf.evidence, claims, expectation=expectation, at=at)
    if state is ManifestState.UNLOCKED and not expectation.unlocked_ok:
        raise LockError("NOT_LOCKED", "guest: no manifest is in force yet")
    return CertificateProof(
        spki_der=leaf.spki_der,
        spki_sha256=leaf.spki_sha256,
        manifest_state=state,
        log=received.log,
        verified=judged.verified,
        appraisal=judged.appraisal,
    )


def judge_channel(
    raw: bytes, *, previous: Proof, nonce: bytes, exported: bytes, expectation: Expectation, at: datetime
) -> ChannelProof:
    """Judge evidence that a guest made for this very connection.

    Args:
        raw: The answer's body: the JSON form of evidence.
        previous: The proof before this one on the same connection; the first time, the certificate's.
        nonce: The 32 random bytes that were sent, never used before.
        exported: This connection's TLS exporter value for the label `EXPORTER_LABEL` and `nonce` (32 bytes).
        expectation: The same that `previous` was judged by.
        at: The time to judge at (aware, UTC).

    Raises:
        MalformedError: As `judge_certificate`.
        VerificationError: As there; or the instance is another than before, or its event log went back.
        CollateralError: As there.
        AppraisalError: As there.

    Spec: docs/spec/ratls.md, 4.
    """
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"nonce: got {len(nonce)} bytes, want {NONCE_BYTES}")
    evidence = parse_json(raw)
    log = parse_claims(evidence.claims).log
    binder = framing.binder(spki_der=previous.spki_der, exported=exported)
    manifest = _manifest_of(previous.manifest_state, expectation.manifest)
    if evidence.path is None:
        claims = channel_claims(
            spki_sha256=previous.spki_sha256, manifest=manifest, log=log, nonce=nonce, binder=binder
        )
    else:
        root = root_of(leaf=framing.batch_leaf(nonce=nonce, binder=binder), path=evidence.path)
        claims = batch_claims(spki_sha256=previous.spki_sha256, manifest=manifest, log=log, root=root)
    judged = _judge(evidence, claims, expectation=expectation, at=at)
    _require_same_instance(judged.verified, previous.verified)
    _require_log_kept(log, previous.log)
    return ChannelProof(
        spki_der=previous.spki_der,
        spki_sha256=previous.spki_sha256,
        manifest_state=previous.manifest_state,
        log=log,
        verified=judged.verified,
        appraisal=judged.appraisal,
        nonce=nonce,
        batched=evidence.path is not None,
    )


def _manifest_of(state: ManifestState, manifest: Manifest) -> bytes:
    return NOT_LOCKED if state is ManifestState.UNLOCKED else manifest.hash


def _judge(evidence: Evidence, claims: Claims, *, expectation: Expectation, at: datetime) -> Judgement:
    # What is malformed is said before what is not authentic, and that before what is not acceptable.
    parse_report(evidence.report)
    claims.require_equal(evidence.claims)
    question = Question(
        evidence=evidence,
        report_data=claims.report_data(),
        manifest=expectation.manifest,
        policy=expectation.policy,
    )
    judgement = expectation.verifier.judge(question, at=at)
    judgement.appraisal.require()
    return judgement


def _require_same_instance(now: JudgedReport, before: JudgedReport) -> None:
    changed = [name for name in _INSTANCE_FIELDS if getattr(now.report, name) != getattr(before.report, name)]
    # Under a paravisor a guest may start again with the same report.
    if now.boot != before.boot:
        changed.append("boot")
    if changed:
        raise BindingError("INSTANCE_CHANGED", f"report: not of the guest that began this connection, in {changed}")


def _require_log_kept(now: LogPosition, before: LogPosition) -> None:
    if now.events < before.events:
        raise LogProofError("LOG_WENT_BACK", f"events: got {now.events}, want at least {before.events}")
    if now.events == before.events and now.head != before.head:
        raise LogProofError("LOG_WENT_BACK", f"log: another head than before at {now.events} events")
