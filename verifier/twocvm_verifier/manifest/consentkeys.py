"""The keys that sign statements: Ed25519, ECDSA P-256, ECDSA P-384, each with one encoding and one signature form.

A key is named by the SHA-256 of its SPKI DER, so a second encoding of it would be a second name: only the exact DER is
taken. A signature has one spelling too: for ECDSA r || s of fixed width with the low s; for Ed25519 the library refuses
an s that is not reduced, and a key of small order, under which anyone can sign anything, is refused here.

>>> from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
>>> key = Ed25519PrivateKey.from_private_bytes(bytes(32))
>>> verify(parse_spki(spki_der(key)), sign(key, b"data"), b"data")
"""

from __future__ import annotations

from typing import Final, Protocol, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey as EcPublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from twocvm_verifier import ecdsa

ConsentPublicKey: TypeAlias = Ed25519PublicKey | EcPublicKey


class ConsentSigner(Protocol):
    """A private key that is elsewhere: in a token, in another process."""

    def public_key(self) -> ConsentPublicKey:
        """Return its public key."""
        ...

    def sign(self, data: bytes, /) -> bytes:
        """Return the signature of `data` in the one spelling that `verify` takes."""
        ...


ConsentPrivateKey: TypeAlias = Ed25519PrivateKey | EllipticCurvePrivateKey | ConsentSigner

# SPKI DER of a P-384 key, the longest of the three.
MAX_SPKI_BYTES: Final = 120

_FIELD_PRIME: Final = 2**255 - 19
_Y_BITS: Final = 2**255 - 1
# RFC 8032, 5.1: y of the eight points of edwards25519 whose order divides 8. Order 1, 2 and 4 have 1, -1 and 0; the
# four of order 8 have this value or its negative.
_ORDER_8_Y: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y: Final = frozenset({0, 1, _FIELD_PRIME - 1, _ORDER_8_Y, _FIELD_PRIME - _ORDER_8_Y})


def spki_der(key: ConsentPrivateKey | ConsentPublicKey) -> bytes:
    """Return the SPKI DER of a key; its SHA-256 is what a manifest names."""
    public = key if isinstance(key, (Ed25519PublicKey, EcPublicKey)) else key.public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def parse_spki(der: bytes) -> ConsentPublicKey:
    """Return the key that `der` writes.

    Raises:
        ValueError: Not the exact DER of an Ed25519, P-256 or P-384 key, or a key of small order.
    """
    if len(der) > MAX_SPKI_BYTES:
        raise ValueError(f"got {len(der)} bytes, want at most {MAX_SPKI_BYTES}")
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("not a public key") from error
    if isinstance(key, Ed25519PublicKey):
        y = int.from_bytes(key.public_bytes_raw(), "little") & _Y_BITS
        if y >= _FIELD_PRIME or y in _SMALL_ORDER_Y:
            raise ValueError("an Ed25519 key of small order")
    elif not isinstance(key, EcPublicKey) or not isinstance(key.curve, (SECP256R1, SECP384R1)):
        raise ValueError("not an Ed25519, P-256 or P-384 key")
    if spki_der(key) != der:
        raise ValueError("not the one DER form of the key")
    return key


def sign(key: ConsentPrivateKey, data: bytes) -> bytes:
    """Return the signature of `data`: 64 bytes, or 96 for P-384.

    Raises:
        ValueError: The key is on another curve.
    """
    return ecdsa.sign(key, data) if isinstance(key, EllipticCurvePrivateKey) else key.sign(data)


def verify(key: ConsentPublicKey, signature: bytes, data: bytes) -> None:
    """Verify that `signature` is the one of `data` under `key`.

    Raises:
        InvalidSignature: It is not, or is another spelling of one.
    """
    if isinstance(key, Ed25519PublicKey):
        key.verify(signature, data)
    else:
        ecdsa.verify(key, signature, data)


__all__ = [
    "MAX_SPKI_BYTES",
    "ConsentPrivateKey",
    "ConsentPublicKey",
    "ConsentSigner",
    "InvalidSignature",
    "parse_spki",
    "sign",
    "spki_der",
    "verify",
]
