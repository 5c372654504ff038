"""The keys that a verifier signs with: pinned by whoever asks it, or fetched from it over HTTPS.

A key is known by its thumbprint (RFC 7638), which is computed here and never believed; its kind says with which
algorithm it signs, so that a token cannot choose: ES256 for P-256, RS256 for RSA of 2048 to 8192 bits.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from twocvm_verifier import strictjson
from twocvm_verifier.clock import Clock
from twocvm_verifier.errors import FetchError, MalformedError
from twocvm_verifier.strictjson import Json

from .verifierhttps import Service

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
MAX_KEYS: Final = 16
MAX_KEYS_BYTES: Final = 65_536
# A verifier that changes its keys shows the new one long before it signs with it.
REFRESH_SECONDS: Final = 60.0
_RSA_BITS: Final = range(2048, 8193)
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

TokenKey: TypeAlias = ECKey | RSAKey
Keys: TypeAlias = Mapping[str, TokenKey]
"""By thumbprint (base64url)."""


class KeySource(Protocol):
    """Where a verifier's keys come from. Safe to use from several threads."""

    def key(self, kid: str, service: Service, /) -> TokenKey | None:
        """Return the key of that thumbprint; None where the verifier has no such key.

        Raises:
            FetchError: VERIFIER_KEYS, VERIFIER_UNREACHABLE.
        """
        ...


class PinnedKeys:
    """Keys that whoever asks has from who runs the verifier. Nothing that comes over the network adds one.

    Args:
        jwks: A JWK Set (RFC 7517, 5).

    Raises:
        MalformedError: MALFORMED_VERIFIER_KEYS: it is none, or holds no key that tokens are signed with.
    """

    def __init__(self, jwks: bytes) -> None:
        self._keys: Final = parse_keys(jwks)

    def key(self, kid: str, service: Service, /) -> TokenKey | None:
        """Return the key of that thumbprint."""
        del service
        return self._keys.get(kid)


class DiscoveredKeys:
    """Keys as the verifier itself shows them: as good as the CA that vouches for its name.

    Fetched when they are first needed, and again where a token names an unknown one, at most once a minute.

    Args:
        clock: Counts that minute.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock: Final = clock
        self._lock: Final = threading.Lock()
        self._keys: Keys = {}
        self._fetched_seconds: float | None = None

    def key(self, kid: str, service: Service, /) -> TokenKey | None:
        """Return the key of that thumbprint, asking the verifier where it is not known."""
        with self._lock:
            now = self._clock.monotonic_seconds()
            due = self._fetched_seconds is None or now - self._fetched_seconds >= REFRESH_SECONDS
            if kid not in self._keys and due:
                self._keys = _discover(service)
                self._fetched_seconds = now
            return self._keys.get(kid)


def parse_keys(jwks: bytes) -> Keys:
    """Return the keys of a JWK Set that tokens can be signed with; others in it are passed over.

    Raises:
        MalformedError: MALFORMED_VERIFIER_KEYS.
    """
    value = strictjson.parse(jwks, document="verifier keys", max_bytes=MAX_KEYS_BYTES)
    listed = value.get("keys") if isinstance(value, Mapping) else None
    if not isinstance(listed, (list, tuple)) or len(listed) > MAX_KEYS:
        raise MalformedError("verifier keys", "/keys", f"not a list of at most {MAX_KEYS} keys")
    keys = {key.thumbprint(): key for key in map(_key, listed) if key is not None}
    if not keys:
        raise MalformedError("verifier keys", "/keys", "got none of ES256 or RS256")
    return MappingProxyType(keys)


def algorithm_of(key: TokenKey) -> str:
    """Return the one algorithm that a key signs with."""
    return "ES256" if isinstance(key, ECKey) else "RS256"


def _key(value: Json) -> TokenKey | None:
    if not isinstance(value, Mapping):
        return None
    if _PRIVATE & value.keys():
        raise MalformedError("verifier keys", "/keys", "got a private key, or a shared one")
    try:
        if value.get("kty") == "EC" and value.get("crv") == "P-256":
            return ECKey.import_key(_material(value))
        if value.get("kty") == "RSA" and _modulus(value).bit_length() in _RSA_BITS:
            return RSAKey.import_key(_material(value))
    except (JoseError, ValueError, TypeError, ArithmeticError):
        return None
    return None


def _material(value: Mapping[str, Json]) -> dict[str, str | list[str]]:
    # What a key is, and nothing of what is said about it.
    return {name: member for name in ("kty", "crv", "x", "y", "n", "e") if isinstance(member := value.get(name), str)}


def _modulus(value: Mapping[str, Json]) -> int:
    return int.from_bytes(strictjson.parse_base64url(str(value.get("n"))), "big")


def _discover(service: Service) -> Keys:
    try:
        raw = service.get(DISCOVERY_PATH)
        found = strictjson.parse(raw, document="verifier keys", max_bytes=MAX_KEYS_BYTES)
        jwks_uri = found.get("jwks_uri") if isinstance(found, Mapping) and found.get("issuer") == service.url else None
        if not isinstance(jwks_uri, str) or not jwks_uri.startswith(service.url + "/"):
            raise FetchError("VERIFIER_KEYS", f"{service.url}: shows the keys of another issuer, or elsewhere")
        return parse_keys(service.get(jwks_uri.removeprefix(service.url)))
    except MalformedError as error:
        raise FetchError("VERIFIER_KEYS", f"{service.url}: {error.detail}") from error
