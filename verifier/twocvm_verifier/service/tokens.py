"""Signed tokens: JWS in its compact form, by the current key of a ring whose next key is already known to everybody.

A key says itself which algorithm it is for, and there are two: ES256 for P-256, RS256 for RSA of at least 2048 bits.

Spec: docs/spec/ear.md, 1; RFC 7515; RFC 7518, 3.3 and 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.jwk import ECKey, RSAKey

from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.strictjson import Json

from .problems import ServiceError
from .secretfiles import read_secret

_MIN_RSA_BITS: Final = 2048
_COORDINATE_BYTES: Final = 32
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class Signer(Protocol):
    """A key that signs, wherever it is kept."""

    @property
    def public_jwk(self) -> Mapping[str, Json]:
        """Its public half (RFC 7517), with `kid` (its thumbprint), `alg` and `use`."""
        ...

    @property
    def prompt(self) -> bool:
        """Whether it signs within a part of a millisecond, and asks nobody."""
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
        self.public_jwk: Mapping[str, Json] = public_jwk(key.public_key())
        # RSA takes as long as its owner has made it.
        self.prompt = isinstance(key, ec.EllipticCurvePrivateKey)

    def sign(self, message: bytes) -> bytes:
        """Return the signature: r and s of 32 bytes each, or PKCS #1 v1.5."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return joined(*decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256()))))


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
    raw = read_secret(path, code="SIGNING_KEY_EXPOSED")
    try:
        key = load_pem_private_key(raw, password=None)
    except (ValueError, TypeError) as error:
        raise MalformedError("signing-key", "", "not a private key in PEM without a password") from error
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise MalformedError("signing-key", "", "neither P-256 nor RSA")
    return PrivateKeySigner(key)


def require_algorithm(signer: Signer, wanted: str) -> None:
    """Refuse a key that is for another algorithm than the owner set.

    Raises:
        ServiceError: SIGNING_KEY_WRONG.
    """
    if signer.public_jwk["alg"] != wanted:
        raise ServiceError("SIGNING_KEY_WRONG", f"signing key: is for {signer.public_jwk['alg']}, want {wanted}")


def public_jwk(key: PublicKey) -> dict[str, Json]:
    """Return the JWK of a key that can sign tokens.

    Raises:
        MalformedError: Another curve than P-256, or RSA of fewer than 2048 bits.
    """
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _MIN_RSA_BITS:
            raise MalformedError("signing-key", "", f"got RSA of {key.key_size} bits, want {_MIN_RSA_BITS}")
        return _public(RSAKey.import_key(key), "RS256")
    if not isinstance(key.curve, ec.SECP256R1):
        raise MalformedError("signing-key", "", f"got a key on {key.curve.name}, want P-256")
    return _public(ECKey.import_key(key), "ES256")


def joined(r: int, s: int) -> bytes:
    """Return the signature of P-256 as JWS has it: both numbers in 32 bytes each."""
    return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")


def _public(key: ECKey | RSAKey, algorithm: str) -> dict[str, Json]:
    public = {name: str(value) for name, value in key.as_dict(private=False).items() if name != "kid"}
    return {**public, "kid": key.thumbprint(), "alg": algorithm, "use": "sig"}
