"""A DSSE envelope with one ECDSA P-256 signature, as receipts travel in (`docs/spec/receipt.md`, section 3).

The signature alone is never enough: what makes a receipt one is the report that is bound to the same bytes.

>>> pae(b"{}")[:10]
b'DSSEv1 28 '
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from . import ecdsa, framing
from .errors import MalformedError, SignatureError
from .jsonfields import Fields
from .strictjson import Json

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload and who says to have signed it.

    Attributes:
        payload: The signed document.
        spki_sha256: SHA-256 of the DER SubjectPublicKeyInfo of the signing key (32 bytes; the keyid).
        signature: r || s (64 bytes).
    """

    payload: bytes
    spki_sha256: bytes
    signature: bytes

    @property
    def statement(self) -> bytes:
        """SHA-256 of the pre-authentication encoding (32 bytes): what the receipt's report is bound to."""
        return framing.sha256(pae(self.payload))

    def to_json(self) -> Json:
        """Return the envelope as it travels."""
        return {
            "payload": base64.b64encode(self.payload).decode("ascii"),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {"keyid": self.spki_sha256.hex(), "sig": base64.b64encode(self.signature).decode("ascii")},
            ],
        }


def pae(payload: bytes) -> bytes:
    """Return the pre-authentication encoding of `payload`, which is what is signed.

    Spec: DSSE v1.0, protocol, "PAE".
    """
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode("ascii"), len(payload), payload)


def sign_envelope(payload: bytes, *, key: ec.EllipticCurvePrivateKey) -> Envelope:
    """Return `payload` signed by `key` (P-256)."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Envelope(payload=payload, spki_sha256=framing.sha256(spki), signature=ecdsa.sign(key, pae(payload)))


def parse_envelope(value: Json) -> Envelope:
    """Return the envelope that a JSON value writes; nothing is verified.

    Raises:
        MalformedError: Not exactly one payload of our type with one signature, in canonical standard base64.
    """
    fields = Fields(value, document="receipt", pointer="", required={"payload", "payloadType", "signatures"})
    fields.exactly("payloadType", PAYLOAD_TYPE)
    signatures = fields.objects("signatures", required={"keyid", "sig"})
    if len(signatures) != 1:
        raise MalformedError("receipt", "/signatures", f"got {len(signatures)} signatures, want 1")
    signature = _base64(signatures[0].text("sig"), "/signatures/0/sig")
    if len(signature) != SIGNATURE_BYTES:
        raise MalformedError("receipt", "/signatures/0/sig", f"got {len(signature)} bytes, want {SIGNATURE_BYTES}")
    return Envelope(
        payload=_base64(fields.text("payload"), "/payload"),
        spki_sha256=signatures[0].hash("keyid"),
        signature=signature,
    )


def verify_envelope(envelope: Envelope, *, spki_der: bytes) -> None:
    """Verify that the key signed the payload.

    Args:
        envelope: As parsed.
        spki_der: DER SubjectPublicKeyInfo of a P-256 key, from who knows whose it is.

    Raises:
        SignatureError: The keyid is another key's, the key is not on P-256, or it did not sign this.
    """
    if envelope.spki_sha256 != framing.sha256(spki_der):
        raise SignatureError("RECEIPT_SIGNATURE", "receipt: keyid is not the hash of the guest's key")
    try:
        key = load_der_public_key(spki_der)
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise SignatureError("RECEIPT_SIGNATURE", "receipt: the guest's key is not on P-256")
        ecdsa.verify(key, envelope.signature, pae(envelope.payload))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as error:
        raise SignatureError("RECEIPT_SIGNATURE", "receipt: the guest's key did not sign it") from error


def _base64(text: str, pointer: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError("receipt", pointer, "not base64") from error
    if base64.b64encode(data).decode("ascii") != text:
        raise MalformedError("receipt", pointer, "not canonical base64")
    return data
