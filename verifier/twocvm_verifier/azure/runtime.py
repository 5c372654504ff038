"""The runtime data of Azure's paravisor: JSON that names the vTPM's attestation key and how the VM is set up.

Its digest is in the report, so the chip vouches for every byte of it. Of its members this project rests on one alone,
the attestation key; the rest is shown to people. Members that are not known are passed over, because Azure adds some
now and then, and the digest covers them all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.strictjson import Json

MAX_RUNTIME_BYTES: Final = 4096
USER_DATA_BYTES: Final = 64
MODULUS_BYTES: Final = 256

_DOCUMENT: Final = "azure runtime"
_KEY_ID: Final = "HCLAkPub"
# RFC 7518, 6.3.1.2: 65537.
_EXPONENT: Final = "AQAB"
_USER_DATA: Final = re.compile(rf"[0-9A-F]{{{2 * USER_DATA_BYTES}}}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeData:
    """What runtime data says.

    Attributes:
        raw: The bytes as received; what is hashed.
        attestation_key: The vTPM's key (RSA, 2048 bits), which signs nothing but what the vTPM itself attests.
        configuration: How the VM is set up, as Azure names it: `secure-boot`, `console-enabled`, `vmUniqueId`, ...
        user_data: What the guest last asked to have written there (64 bytes); zero where it asked nothing.
    """

    raw: bytes = field(repr=False)
    attestation_key: rsa.RSAPublicKey
    configuration: Mapping[str, Json]
    user_data: bytes


def parse_runtime(raw: bytes) -> RuntimeData:
    """Return what runtime data says.

    Args:
        raw: At most `MAX_RUNTIME_BYTES` of JSON.

    Raises:
        MalformedError: Not the JSON of `docs/spec/azure.md`, 3.
    """
    value = strictjson.parse(raw, document=_DOCUMENT, max_bytes=MAX_RUNTIME_BYTES)
    if not isinstance(value, dict):
        raise MalformedError(_DOCUMENT, "", "not an object")
    configuration, user_data = value.get("vm-configuration"), value.get("user-data")
    if not isinstance(configuration, dict):
        raise MalformedError(_DOCUMENT, "/vm-configuration", "not an object")
    if not isinstance(user_data, str) or not _USER_DATA.fullmatch(user_data):
        raise MalformedError(_DOCUMENT, "/user-data", f"not {2 * USER_DATA_BYTES} upper case hex digits")
    return RuntimeData(
        raw=raw,
        attestation_key=_attestation_key(value.get("keys")),
        configuration=MappingProxyType(configuration),
        user_data=bytes.fromhex(user_data),
    )


def _attestation_key(keys: Json | None) -> rsa.RSAPublicKey:
    if not isinstance(keys, list):
        raise MalformedError(_DOCUMENT, "/keys", "not an array")
    named = [key for key in keys if isinstance(key, dict) and key.get("kid") == _KEY_ID]
    if len(named) != 1:
        raise MalformedError(_DOCUMENT, "/keys", f"got {len(named)} keys named {_KEY_ID}, want one")
    (key,) = named
    if (key.get("kty"), key.get("e"), key.get("key_ops")) != ("RSA", _EXPONENT, ["sign"]):
        raise MalformedError(_DOCUMENT, "/keys", f"{_KEY_ID} is no RSA key with exponent 65537 that signs")
    try:
        modulus = strictjson.parse_base64url(str(key.get("n")))
        # The highest bit and the lowest are set, so that it is of exactly 2048 bits and no library stumbles over it.
        if len(modulus) != MODULUS_BYTES or not modulus[0] & 0x80 or not modulus[-1] & 1:
            raise ValueError(f"its modulus is no odd number of {8 * MODULUS_BYTES} bits")
        return rsa.RSAPublicNumbers(e=65537, n=int.from_bytes(modulus, "big")).public_key()
    except ValueError as error:
        raise MalformedError(_DOCUMENT, "/keys", f"{_KEY_ID}: {error}") from error
