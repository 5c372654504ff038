"""ECDSA signatures as r || s of fixed width with the low s, so that each has exactly one spelling.

P-256 goes with SHA-256 and P-384 with SHA-384; no other curve is used.

>>> key = ec.generate_private_key(ec.SECP256R1())
>>> verify(key.public_key(), sign(key, b"data"), b"data")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

# FIPS 186-5 and SP 800-186: the orders of the two groups.
_ORDERS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        "secp384r1": int(
            "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16
        ),
    }
)


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Return the signature of `data`: 64 bytes for P-256, 96 for P-384.

    Raises:
        ValueError: The key is on another curve.
    """
    order, width, algorithm = _parameters(key.curve)
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(algorithm)))
    return r.to_bytes(width, "big") + min(s, order - s).to_bytes(width, "big")


def sign_with(curve: ec.EllipticCurve, data: bytes, *, sign_digest: Callable[[bytes], bytes]) -> bytes:
    """Return the signature of `data` by a key that is elsewhere; whether it is one is for `verify` to say.

    Args:
        curve: The key's.
        data: What is signed.
        sign_digest: Signs a digest and returns r || s of fixed width, as PKCS#11 has it.

    Raises:
        ValueError: The key is on another curve.
        InvalidSignature: What came back has another length.
    """
    order, width, algorithm = _parameters(curve)
    digest = hashes.Hash(algorithm)
    digest.update(data)
    raw = sign_digest(digest.finalize())
    if len(raw) != 2 * width:
        raise InvalidSignature
    s = int.from_bytes(raw[width:], "big")
    return raw[:width] + min(s, (order - s) % order).to_bytes(width, "big")


def verify(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> None:
    """Verify that `signature` is the one of `data` under `key`.

    Raises:
        InvalidSignature: It is not, or has another length, or the high s.
        ValueError: The key is on another curve.
    """
    order, width, algorithm = _parameters(key.curve)
    if len(signature) != 2 * width:
        raise InvalidSignature
    r, s = int.from_bytes(signature[:width], "big"), int.from_bytes(signature[width:], "big")
    if s > order // 2:
        raise InvalidSignature
    key.verify(encode_dss_signature(r, s), data, ec.ECDSA(algorithm))


def _parameters(curve: ec.EllipticCurve) -> tuple[int, int, hashes.HashAlgorithm]:
    if curve.name not in _ORDERS:
        raise ValueError(f"curve: got {curve.name}, want P-256 or P-384")
    algorithm = hashes.SHA256() if curve.name == "secp256r1" else hashes.SHA384()
    return _ORDERS[curve.name], curve.key_size // 8, algorithm
