"""Keys that sign tokens and never leave their keeper: a PKCS#11 token, or the key service of a cloud.

The keeper is `securesystemslib`'s, by its URI; the public half is the owner's, from a file. So what is published is
what the owner chose, whatever the keeper says, and nothing is told that does not verify under it: a keeper that signs
with another key, or not at all, makes no token.

Spec: docs/spec/ear.md, 1; RFC 7518, 3.3 and 3.4.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import Signer as Keeper  # type: ignore[attr-defined] # exported without being listed
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from twocvm_verifier.errors import MalformedError, UnsupportedError
from twocvm_verifier.strictjson import Json

from .problems import ServiceError
from .tokens import PublicKey, joined, public_jwk

# In a file, a key is `key`; on a stick, behind an agent or a person, it signs nothing while nobody looks.
SCHEMES: Final = ("hsm", "gcpkms", "awskms", "azurekms")
_SSLIB: Final = {"ES256": "ecdsa-sha2-nistp256", "RS256": "rsa-pkcs1v15-sha256"}
_PROBE: Final = b"twocvm: may this key sign?"


class KeptSigner:
    """A key that somebody else keeps.

    Args:
        uri: `hsm:ID?label=TOKEN`, `gcpkms:NAME`, `awskms:ID` or `azurekms://VAULT/keys/NAME/VERSION`.
        public: PEM of its public half: P-256, or RSA of at least 2048 bits.
        pin: Says the PIN, where the keeper wants one; it is asked at each signature.

    Raises:
        MalformedError: `public` is no such key.
        ServiceError: SIGNING_KEY_WRONG, where the keeper cannot sign so that it verifies.
        UnsupportedError: EXTRA_MISSING, where the keeper's library is not installed.
    """

    # Wherever the keeper is, it is not here.
    prompt: Final = False

    def __init__(self, uri: str, *, public: bytes, pin: Callable[[], str]) -> None:
        if uri.partition(":")[0] not in SCHEMES:
            raise MalformedError("signing-key", "", f"want a keeper of {', '.join(SCHEMES)}")
        self._public = _public_key(public)
        self.public_jwk: Mapping[str, Json] = public_jwk(self._public)
        scheme = _SSLIB[str(self.public_jwk["alg"])]
        # A PKCS#11 token has one login for the whole process, which two calls at once would end for each other; a
        # cloud is far away, and asked by as many as want it.
        self._turn = threading.Lock() if uri.startswith("hsm:") else nullcontext()
        try:
            self._keeper = Keeper.from_priv_key_uri(
                uri, SSlibKey.from_crypto(self._public, scheme=scheme), lambda _: pin()
            )
        except UnsupportedLibraryError as error:
            missing = f"signing key: {error}: pip install 'securesystemslib[{uri.partition(':')[0]}]'"
            raise UnsupportedError("EXTRA_MISSING", missing) from error
        except Exception as error:
            raise _wrong(error, uri) from error
        try:
            self.sign(_PROBE)
        except ServiceError as error:
            raise _wrong(error.__cause__ or error, uri) from error

    def sign(self, message: bytes) -> bytes:
        """Return the signature that JWS wants.

        Raises:
            ServiceError: SIGNING_FAILED, where the keeper gives none, or one that does not verify.
        """
        try:
            with self._turn:
                signature = bytes.fromhex(self._keeper.sign(message).signature)
            return self._verified(signature, message)
        except Exception as error:  # the libraries of five keepers raise whatever they like
            raise ServiceError("SIGNING_FAILED", f"signing key: {type(error).__name__}") from error

    def _verified(self, signature: bytes, message: bytes) -> bytes:
        if isinstance(self._public, rsa.RSAPublicKey):
            self._public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            return signature
        self._public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        return joined(*decode_dss_signature(signature))


def _public_key(pem: bytes) -> PublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError("signing-key", "public", "not a public key in PEM") from error
    if not isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
        raise MalformedError("signing-key", "public", "neither P-256 nor RSA")
    return key


def _wrong(error: BaseException, uri: str) -> ServiceError:
    """Say what is wrong with a key, when the service starts and its owner reads it."""
    # A token's words name module, token and key; in a cloud's there may be whatever it was asked with.
    words = f": {str(error)!r:.200}" if uri.startswith("hsm:") and str(error) else ""
    said = f"{type(error).__name__}{words}"
    return ServiceError("SIGNING_KEY_WRONG", f"signing key: its keeper cannot sign with it: {said}")
