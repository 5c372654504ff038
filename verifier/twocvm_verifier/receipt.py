"""What a participant can show afterwards: a receipt, and the evidence that makes it one (`docs/spec/receipt.md`).

A receipt is a statement in an envelope, signed by the guest's TLS key, whose hash is in the claims of a report of its
own. The guest builds it in this order: `ReceiptBody.of_session`, `build_receipt`, a report over
`body.claims(envelope.statement).report_data()`, `Receipt.encode`. It is judged in `receipt_file`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from . import evidence, strictjson
from .dsse import Envelope, parse_envelope, sign_envelope, verify_envelope
from .errors import MalformedError
from .evidence import Evidence
from .jsonfields import Fields
from .receipt_body import (
    MAX_STATEMENT_BYTES,
    ComponentDigest,
    InputCommitment,
    OwnOutput,
    ReceiptBody,
    SealedOutput,
    parse_body,
)
from .strictjson import Json

__all__ = [
    "MAX_RECEIPT_BYTES",
    "ComponentDigest",
    "Envelope",
    "InputCommitment",
    "OwnOutput",
    "Receipt",
    "ReceiptBody",
    "SealedOutput",
    "build_receipt",
    "parse_body",
    "parse_receipt",
    "receipt_from_json",
    "verify_receipt_envelope",
]

# The statement in base64, and its evidence.
MAX_RECEIPT_BYTES: Final = MAX_STATEMENT_BYTES // 2 * 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A receipt as the guest hands it out, not yet believed.

    Attributes:
        envelope: The signed statement.
        evidence: Whose report is bound to it.
    """

    envelope: Envelope
    evidence: Evidence

    def to_json(self) -> dict[str, Json]:
        """Return the two members of the answer."""
        return {"receipt": self.envelope.to_json(), "evidence": evidence.to_json(self.evidence)}

    def encode(self) -> bytes:
        """Return the answer to `GET /v1/receipt`."""
        return strictjson.canonical(self.to_json())


def build_receipt(body: ReceiptBody, *, key: ec.EllipticCurvePrivateKey) -> Envelope:
    """Return the signed statement; it is no receipt before a report is bound to its `statement`.

    Args:
        body: What it states.
        key: The guest's TLS key (P-256), whose hash is in `body`.
    """
    return sign_envelope(body.payload(), key=key)


def parse_receipt(raw: bytes) -> Receipt:
    """Return the receipt in an answer to `GET /v1/receipt`, not yet believed.

    Raises:
        MalformedError: Not canonical JSON of `docs/spec/receipt.md`, section 4.
    """
    value = strictjson.parse_canonical(raw, document="receipt", max_bytes=MAX_RECEIPT_BYTES)
    fields = Fields(value, document="receipt", pointer="", required={"receipt", "evidence"})
    return receipt_from_json(fields.json("receipt"), fields.json("evidence"))


def receipt_from_json(envelope: Json, collection: Json) -> Receipt:
    """Return the receipt that an envelope and its evidence make up, not yet believed.

    Raises:
        MalformedError: One of them is not in its form, or the evidence is a batch's.
    """
    receipt = Receipt(envelope=parse_envelope(envelope), evidence=evidence.from_json(collection))
    if receipt.evidence.path is not None:
        raise MalformedError("receipt", "/evidence/path", "a receipt has a report of its own")
    return receipt


def verify_receipt_envelope(envelope: Envelope, *, spki_der: bytes) -> ReceiptBody:
    """Return what the key's owner signed.

    Args:
        envelope: As parsed.
        spki_der: DER SubjectPublicKeyInfo of the guest's TLS key, from who knows whose it is.

    Raises:
        SignatureError: The key did not sign this.
        MalformedError: It signed something that is no statement of ours.
    """
    verify_envelope(envelope, spki_der=spki_der)
    return parse_body(envelope.payload)
