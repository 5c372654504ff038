"""A consent key that never leaves its token: PKCS#11, by URI. Needs the extra `pkcs11`.

Rules, in order, each time something is signed:
1. Exactly one token, and in it exactly one private key, is the one that the URI describes.
2. The PIN comes from the file that the URI names, which must be this user's alone, or from a person.
3. The token signs the exact bytes (Ed25519) or their digest (P-256 with SHA-256, P-384 with SHA-384).
4. The signature gets the one spelling that statements have, and must verify under the public key that the identity was
   made with. So a token that was exchanged, or fails, gives an error and never a statement.

Nothing is created or deleted in a token. The key of TLS connections is a file; it proves who connects, and signs
nothing that commits anybody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from twocvm_verifier import ecdsa
from twocvm_verifier.errors import ReleaseError, SignatureError, UnsupportedError
from twocvm_verifier.manifest.consentkeys import ConsentPublicKey, parse_spki, spki_der, verify

from . import storage
from .pkcs11uri import Pkcs11Uri

if TYPE_CHECKING:
    from types import ModuleType

PinPrompt: TypeAlias = Callable[[str], str]
"""Asks a person for the PIN of the token of that name."""

_MAX_PIN_BYTES: Final = 256
_KINDS: Final = "got another kind of key, want Ed25519, P-256 or P-384"
# CKA_EC_PARAMS: the DER of named curves, and the name that PKCS#11 3.0 has for the one of Ed25519.
_CURVES: Final = MappingProxyType(
    {bytes.fromhex("06082a8648ce3d030107"): SECP256R1(), bytes.fromhex("06052b81040022"): SECP384R1()}
)
_EDWARDS: Final = frozenset({bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519"})
# What CKA_EC_POINT may have around the point: nothing, an OCTET STRING, or a BIT STRING (PKCS#11 2.40 and 3.0 differ).
_HEADS: Final[tuple[Callable[[int], bytes], ...]] = (
    lambda _: b"",
    lambda size: bytes([4, size]),
    lambda size: bytes([3, size + 1, 0]),
)
# PKCS#11 has one login for a whole process and token, so uses take turns.
_TURN: Final = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """A private key in a token. Has what `consentkeys.ConsentSigner` asks for.

    Attributes:
        uri: Where it is.
        public: Its public key, as the identity was made with.
        pin: Asks a person, where the URI names no file; None where nobody can be asked.
    """

    uri: Pkcs11Uri
    public: ConsentPublicKey
    pin: PinPrompt | None = field(repr=False)

    @staticmethod
    def find(uri: Pkcs11Uri, *, pin: PinPrompt | None) -> TokenKey:
        """Look a key up in its token.

        Raises:
            UnsupportedError: EXTRA_MISSING, TOKEN_MODULE.
            ReleaseError: TOKEN_MISSING, TOKEN_PIN, TOKEN_KEY, TOKEN_FAILED; a PIN file that others may read.
        """
        with _session(uri, pin) as (session, _):
            public = _public_key(session, _private_key(session, uri))
        return TokenKey(uri=uri, public=public, pin=pin)

    def public_key(self) -> ConsentPublicKey:
        """Return the public key."""
        return self.public

    def sign(self, data: bytes) -> bytes:
        """Return the token's signature of `data`, as statements spell it: 64 bytes, or 96 for P-384.

        Raises:
            UnsupportedError: As `find`.
            ReleaseError: As `find`.
            SignatureError: TOKEN_SIGNATURE: it does not verify under `public`.
        """
        try:
            with _session(self.uri, self.pin) as (session, pin):
                signature = _signed(_private_key(session, self.uri), self.public, data, pin=pin)
            verify(self.public, signature, data)
        except InvalidSignature as error:
            raise SignatureError("TOKEN_SIGNATURE", "token: its signature is not one of this identity's key") from error
        return signature


@contextmanager
def _session(uri: Pkcs11Uri, prompt: PinPrompt | None) -> Iterator[tuple[Any, str]]:
    """Open the token and log in, for the length of a `with`; yields the session, and the PIN for keys that ask anew."""
    pkcs11 = _pkcs11()
    with _TURN:
        token = _token(pkcs11, uri)
        pin = _pin(uri, prompt, name=token.label)
        try:
            with token.open(user_pin=pin) as session:
                yield session, pin
        except (
            pkcs11.PinIncorrect,
            pkcs11.PinInvalid,
            pkcs11.PinLenRange,
            pkcs11.PinLocked,
            pkcs11.PinExpired,
            pkcs11.UserPinNotInitialized,
        ) as error:
            raise ReleaseError("TOKEN_PIN", f"token {token.label!r:.80}: {_name(error)}") from error
        except pkcs11.PKCS11Error as error:
            raise ReleaseError("TOKEN_FAILED", f"token {token.label!r:.80}: {_name(error)}") from error


def _pkcs11() -> ModuleType:
    try:
        import pkcs11
    except ModuleNotFoundError as error:
        raise UnsupportedError("EXTRA_MISSING", f"{error.name}: not installed; install twocvm[pkcs11]") from error
    return pkcs11


def _token(pkcs11: Any, uri: Pkcs11Uri) -> Any:  # noqa: ANN401 - the library has no types for what it makes
    try:
        module = pkcs11.lib(str(uri.module_path))
    except pkcs11.PKCS11Error as error:
        raise UnsupportedError("TOKEN_MODULE", f"module {str(uri.module_path)!r:.200}: cannot be loaded") from error
    try:
        found = [token for token in module.get_tokens() if uri.token.items() <= _described(token).items()]
    except pkcs11.PKCS11Error as error:
        raise ReleaseError("TOKEN_FAILED", f"module {str(uri.module_path)!r:.200}: {_name(error)}") from error
    if len(found) != 1:
        raise ReleaseError("TOKEN_MISSING", f"token: got {len(found)} that the URI describes, want one")
    return found[0]


def _described(token: Any) -> dict[str, str]:  # noqa: ANN401
    return {
        "token": token.label,
        "manufacturer": token.manufacturer_id,
        "serial": token.serial.decode("utf-8", "replace"),
        "model": token.model,
    }


def _pin(uri: Pkcs11Uri, prompt: PinPrompt | None, *, name: str) -> str:
    if uri.pin_file is None:
        if prompt is None:
            raise ReleaseError("TOKEN_PIN", f"token {name!r:.80}: got no PIN, and nobody to ask for it")
        return prompt(name)
    try:
        return storage.read_private(uri.pin_file, max_bytes=_MAX_PIN_BYTES).removesuffix(b"\n").decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError("TOKEN_PIN", "pin-source: want a file with the PIN in it") from error


def _private_key(session: Any, uri: Pkcs11Uri) -> Any:  # noqa: ANN401
    from pkcs11 import Attribute, ObjectClass

    wanted: dict[Attribute, object] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    if uri.object is not None:
        wanted[Attribute.LABEL] = uri.object
    if uri.id is not None:
        wanted[Attribute.ID] = uri.id
    return _only(session, wanted, what="private keys that the URI describes")


def _public_key(session: Any, private: Any) -> ConsentPublicKey:  # noqa: ANN401
    """Return the public key that the token has beside a private one, under the same CKA_ID and label."""
    from pkcs11 import Attribute, KeyType, ObjectClass

    if private.key_type not in (KeyType.EC, KeyType.EC_EDWARDS):
        raise ReleaseError("TOKEN_KEY", f"token: {_KINDS}")
    wanted = {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.ID: private[Attribute.ID],
        Attribute.LABEL: private[Attribute.LABEL],
    }
    found = _only(session, wanted, what="public keys beside the private one")
    try:
        return decoded_point(found[Attribute.EC_PARAMS], found[Attribute.EC_POINT])
    except (KeyError, ValueError) as error:
        raise ReleaseError("TOKEN_KEY", f"token: {_KINDS}") from error


def _only(session: Any, wanted: dict[Any, object], *, what: str) -> Any:  # noqa: ANN401
    found = list(session.get_objects(wanted))
    if len(found) != 1:
        raise ReleaseError("TOKEN_KEY", f"token: got {len(found)} {what}, want one")
    return found[0]


def decoded_point(parameters: bytes, point: bytes) -> ConsentPublicKey:
    """Return the key that CKA_EC_PARAMS and CKA_EC_POINT write, in any of the forms that tokens use.

    Raises:
        KeyError: Another curve.
        ValueError: Not a point of it.
    """
    key: ConsentPublicKey
    if parameters in _EDWARDS:
        key = Ed25519PublicKey.from_public_bytes(_unwrapped(point, 32))
    else:
        curve = _CURVES[parameters]
        key = EllipticCurvePublicKey.from_encoded_point(curve, _unwrapped(point, 1 + curve.key_size // 4))
    return parse_spki(spki_der(key))


def _unwrapped(point: bytes, size: int) -> bytes:
    for head_of in _HEADS:
        head = head_of(size)
        if len(point) == len(head) + size and point.startswith(head):
            return point[len(head) :]
    raise ValueError("not a point of this curve")


def _signed(private: Any, public: ConsentPublicKey, data: bytes, *, pin: str) -> bytes:  # noqa: ANN401
    from pkcs11 import Attribute, AttributeTypeInvalid, Mechanism

    try:
        again = {"pin": pin} if private[Attribute.ALWAYS_AUTHENTICATE] else {}
    except AttributeTypeInvalid:
        again = {}  # a token from before there was such an attribute
    if isinstance(public, Ed25519PublicKey):
        return bytes(private.sign(data, mechanism=Mechanism.EDDSA, **again))
    return ecdsa.sign_with(
        public.curve,
        data,
        sign_digest=lambda digest: bytes(private.sign(digest, mechanism=Mechanism.ECDSA, **again)),
    )


def _name(error: Exception) -> str:
    return type(error).__name__
