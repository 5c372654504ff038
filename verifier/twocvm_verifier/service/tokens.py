"""Signed tokens: JWS in its compact form, by the current key of a ring whose next key is already known to everybody.

A key says itself which algorithm it is for, and there are two: ES256 for P-256, RS256 for RSA of at least 2048 bits.

Spec: docs/spec/ear.md, 1; RFC 7515; RFC 7518, 3.3 and 3.4.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.jwk import ECKey, RSAKey

from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.strictjson import Json

from .problems import ServiceError

_MIN_RSA_BITS: Final = 2048
_COORDINATE_BYTES: Final = 32
_MAX_KEY_FILE_BYTES: Final = 16_384
_FOR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class Signer(Protocol):
    """A key that signs, wherever it is kept."""

    @property
    def public_jwk(self) -> Mapping[str, Json]:
        """Its public half (RFC 7517), with `kid` (its thumbprint), `alg` and `use`."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the signature that JWS wants for the key's algorithm."""
        ...


class PrivateKeySigner:
    """A private key in this process's memory.

    Args:
        key: P-256, or RSA.

    Raises:
        MalformedError: Another curve, or RSA of fewer than 2048 bits.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
        self._key = key
        if isinstance(key, ec.EllipticCurvePrivateKey):
            if not isinstance(key.curve, ec.SECP256R1):
                raise MalformedError("signing-key", "", f"got a key on {key.curve.name}, want P-256")
            self.public_jwk = _public(ECKey.import_key(key.public_key()), "ES256")
        else:
            if key.key_size < _MIN_RSA_BITS:
                raise MalformedError("signing-key", "", f"got RSA of {key.key_size} bits, want {_MIN_RSA_BITS}")
            self.public_jwk = _public(RSAKey.import_key(key.public_key()), "RS256")

    def sign(self, message: bytes) -> bytes:
        """Return the signature: r and s of 32 bytes each, or PKCS #1 v1.5."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")


class KeyRing:
    """The key that signs now, and the one that will: both are published, so that changing them refuses nobody.

    Args:
        current: Signs.
        following: Is published beside it, where there is one.
    """

    def __init__(self, *, current: Signer, following: Signer | None) -> None:
        self.current = current
        self._published = (current,) if following is None else (current, following)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms of the published keys."""
        return tuple(dict.fromkeys(str(signer.public_jwk["alg"]) for signer in self._published))

    def jwks(self) -> dict[str, Json]:
        """Return the published keys as a JWK set."""
        return {"keys": [dict(signer.public_jwk) for signer in self._published]}

    def token(self, claims: Mapping[str, Json]) -> str:
        """Return the claims, signed."""
        jwk = self.current.public_jwk
        header = strictjson.canonical({"alg": jwk["alg"], "kid": jwk["kid"], "typ": "JWT"})
        signed = f"{strictjson.base64url(header)}.{strictjson.base64url(strictjson.canonical(claims))}"
        return f"{signed}.{strictjson.base64url(self.current.sign(signed.encode('ascii')))}"


def new_key() -> PrivateKeySigner:
    """Return a new key that ends with this process."""
    return PrivateKeySigner(ec.generate_private_key(ec.SECP256R1()))


def load_key(path: Path) -> PrivateKeySigner:
    """Return the key in a file: PEM, not encrypted, readable by its owner alone.

    Raises:
        ServiceError: SIGNING_KEY_EXPOSED.
        MalformedError: The file holds no key that can sign tokens.
        OSError: It cannot be read.
    """
    # A link that somebody else can change is not a file of this owner's.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
        if os.fstat(stream.fileno()).st_mode & _FOR_OTHERS:
            raise ServiceError("SIGNING_KEY_EXPOSED", "signing key: others can read the file, want mode 0600")
        raw = stream.read(_MAX_KEY_FILE_BYTES)
    try:
        key = load_pem_private_key(raw, password=None)
    except (ValueError, TypeError) as error:
        raise MalformedError("signing-key", "", "not a private key in PEM without a password") from error
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise MalformedError("signing-key", "", "neither P-256 nor RSA")
    return PrivateKeySigner(key)


def _public(key: ECKey | RSAKey, algorithm: str) -> dict[str, Json]:
    public = {name: str(value) for name, value in key.as_dict(private=False).items() if name != "kid"}
    return {**public, "kid": key.thumbprint(), "alg": algorithm, "use": "sig"}
