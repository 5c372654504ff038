"""The key files in an identity's folder.

A consent key is one of two files: `consent.key` has the key itself, unencrypted PKCS#8; `consent.pkcs11` says in which
token it is, and with which public key, so that it can be named without the token. Both are this user's alone: who could
change the second would choose which library is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError, ReleaseError
from twocvm_verifier.jsonfields import Fields
from twocvm_verifier.manifest.consentkeys import parse_spki, spki_der

from . import storage
from .pkcs11uri import parse_pkcs11_uri
from .tokens import PinPrompt, TokenKey

SoftwareKey: TypeAlias = Ed25519PrivateKey | EllipticCurvePrivateKey
ConsentKey: TypeAlias = SoftwareKey | TokenKey
ConsentAlgorithm: TypeAlias = Literal["ed25519", "p256", "p384"]

CONSENT_KEY: Final = "consent.key"
CONSENT_ELSEWHERE: Final = "consent.pkcs11"

# No key, certificate or entry of these kinds comes near it.
MAX_FILE_BYTES: Final = 16 * 1024
_DOCUMENT: Final = "identity"
_NEW: Final[Mapping[str, Callable[[], SoftwareKey]]] = MappingProxyType(
    {
        "ed25519": Ed25519PrivateKey.generate,
        "p256": lambda: generate_private_key(SECP256R1()),
        "p384": lambda: generate_private_key(SECP384R1()),
    }
)


def make_consent_key(kind: ConsentAlgorithm) -> ConsentKey:
    """Return a new key of that kind."""
    return _NEW[kind]()


def write_consent_key(folder: int, key: ConsentKey) -> None:
    """Write a consent key, or where it is, to an open folder that has neither yet.

    Raises:
        OSError: It cannot be written there.
    """
    if isinstance(key, TokenKey):
        where = {"key": strictjson.base64url(spki_der(key)), "uri": key.uri.text}
        storage.write_new(folder, CONSENT_ELSEWHERE, strictjson.canonical(where), mode=storage.PRIVATE_FILE)
    else:
        storage.write_new(folder, CONSENT_KEY, pem_of(key), mode=storage.PRIVATE_FILE)


def read_consent_key(folder: int, *, pin: PinPrompt | None) -> ConsentKey:
    """Return the consent key of an open folder; a token is not opened for that.

    Args:
        folder: From `storage.private_folder`.
        pin: Asks a person for a token's PIN; None where nobody can be asked.

    Raises:
        ReleaseError: IDENTITY_UNREADABLE, IDENTITY_EXPOSED.
        MalformedError: The file is not what its name says, or both are there.
    """
    try:
        raw = storage.read_file(folder, CONSENT_ELSEWHERE, max_bytes=MAX_FILE_BYTES, secret=True)
    except FileNotFoundError:
        return load_pem_key(read_key_file(folder, CONSENT_KEY, secret=True), CONSENT_KEY)
    if CONSENT_KEY in os.listdir(folder):
        raise MalformedError(_DOCUMENT, CONSENT_ELSEWHERE, f"got it beside {CONSENT_KEY}, want one consent key")
    value = strictjson.parse_canonical(raw, document=_DOCUMENT, max_bytes=MAX_FILE_BYTES)
    fields = Fields(value, document=_DOCUMENT, pointer="", required={"key", "uri"})
    try:
        public = parse_spki(fields.base64url("key"))
    except ValueError as error:
        raise MalformedError(_DOCUMENT, "/key", str(error)) from error
    return TokenKey(uri=parse_pkcs11_uri(fields.text("uri")), public=public, pin=pin)


def read_key_file(folder: int, name: str, *, secret: bool) -> bytes:
    """Return a file of an open folder.

    Raises:
        ReleaseError: IDENTITY_UNREADABLE, IDENTITY_EXPOSED.
    """
    try:
        return storage.read_file(folder, name, max_bytes=MAX_FILE_BYTES, secret=secret)
    except FileNotFoundError as error:
        raise ReleaseError("IDENTITY_UNREADABLE", f"file {name!r}: is not in the identity's folder") from error


def pem_of(key: SoftwareKey) -> bytes:
    """Return a key as its file has it: unencrypted PKCS#8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_pem_key(pem: bytes, name: str) -> SoftwareKey:
    """Return the key in a file's content.

    Raises:
        MalformedError: It is no unencrypted key of one of the three kinds.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedError(_DOCUMENT, name, "is not an unencrypted PEM private key") from error
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, (SECP256R1, SECP384R1)):
        return key
    raise MalformedError(_DOCUMENT, name, "got another kind of key, want Ed25519, P-256 or P-384")
