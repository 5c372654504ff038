"""How a guest makes evidence: from claims and a platform's report, for a connection, a certificate or a receipt.

No function here takes bytes to sign from outside. The nonce and the exporter's value of a connection go into claims of
their own kind, and what a platform signs is the hash of those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from twocvm_verifier import framing
from twocvm_verifier.binding import Claims, LogPosition, batch_claims, cert_claims, channel_claims, receipt_claims
from twocvm_verifier.evidence import Evidence
from twocvm_verifier.receipt import Receipt, ReceiptBody, build_receipt
from twocvm_verifier.snp.report import parse_report

from .batch import tree_of
from .platforms.attester import Attester
from .tls import ServerIdentity, build_certificate

_NO_CLAIMS: Final = bytes(64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a platform says of this launch, whatever it is asked to sign.

    Attributes:
        report_id: REPORT_ID (32 bytes), new at every launch.
        measurement: MEASUREMENT (48 bytes).
        host_data: HOST_DATA (32 bytes): zero, or the hash of the only manifest that this launch accepts.
    """

    report_id: bytes
    measurement: bytes
    host_data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a relying party wants to see in the evidence for its connection.

    Attributes:
        nonce: Its 32 bytes.
        exported: The connection's exporter value for that nonce (32 bytes), from the connection itself.
    """

    nonce: bytes
    exported: bytes


def first_report(attester: Attester) -> Launch:
    """Return what this launch is, from a report over zero bytes, which is shown to nobody and proves nothing."""
    report = parse_report(attester.report(_NO_CLAIMS))
    return Launch(report_id=report.report_id, measurement=report.measurement, host_data=report.host_data)


def make_identity(attester: Attester, *, manifest: bytes, log: LogPosition) -> ServerIdentity:
    """Return a new TLS key with a certificate that holds evidence for it.

    Args:
        attester: The platform.
        manifest: The manifest's hash, or `binding.NOT_LOCKED`.
        log: Where the log stands when the identity comes into use.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    spki_sha256 = framing.sha256(_spki_der(key))
    evidence = _evidence(attester, cert_claims(spki_sha256=spki_sha256, manifest=manifest, log=log))
    return ServerIdentity(
        key=key,
        certificate_der=build_certificate(key, evidence),
        spki_sha256=spki_sha256,
        manifest=manifest,
        log=log,
    )


def connection_evidence(
    attester: Attester, *, identity: ServerIdentity, log: LogPosition, questions: Sequence[Question]
) -> tuple[Evidence, ...]:
    """Return the evidence for connections, in their order, with one report for all of them.

    For one alone it is of context `channel`, for more of context `batch`.

    Args:
        attester: The platform.
        identity: What the handshakes of all these connections showed.
        log: Where the log stands now.
        questions: One for each connection, at least one and at most `batch.MAX_LEAVES`.

    Spec: docs/spec/claims.md, 1 and 5.
    """
    spki_sha256, spki_der, manifest = identity.spki_sha256, _spki_der(identity.key), identity.manifest
    bound = [(asked.nonce, framing.binder(spki_der=spki_der, exported=asked.exported)) for asked in questions]
    if len(bound) == 1:
        nonce, binder = bound[0]
        alone = channel_claims(spki_sha256=spki_sha256, manifest=manifest, log=log, nonce=nonce, binder=binder)
        return (_evidence(attester, alone),)
    root, paths = tree_of([framing.batch_leaf(nonce=nonce, binder=binder) for nonce, binder in bound])
    shared = _evidence(attester, batch_claims(spki_sha256=spki_sha256, manifest=manifest, log=log, root=root))
    return tuple(replace(shared, path=path) for path in paths)


def signed_receipt(attester: Attester, *, identity: ServerIdentity, body: ReceiptBody) -> Receipt:
    """Return a receipt with a report of its own."""
    envelope = build_receipt(body, key=identity.key)
    claims = receipt_claims(
        spki_sha256=identity.spki_sha256, manifest=identity.manifest, log=body.log, statement=envelope.statement
    )
    return Receipt(envelope=envelope, evidence=_evidence(attester, claims))


def _evidence(attester: Attester, claims: Claims) -> Evidence:
    report_data = claims.report_data()
    return Evidence(
        report=attester.report(report_data),
        azure=attester.quote(report_data),
        claims=claims.encode(),
        vek=attester.vek(),
        chain=attester.chain(),
        crl=attester.crl(),
    )


def _spki_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
