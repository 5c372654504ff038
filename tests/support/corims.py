"""CoRIM files of AMD's SEV-SNP profile, made part by part, with anything in them wrong.

raw = corim(triple({641: measurement()}))
raw = signed(corim(triple({641: measurement()})), key)
"""

from __future__ import annotations

from typing import Any, Final

import cbor2
from cbor2 import CBORTag
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.manifests import MEASUREMENT

from twocvm_verifier import ecdsa

BY_CHIP: Final = bytes.fromhex("2b060104019c780301")
BY_CSP: Final = bytes.fromhex("2b060104019c780302")
DRAFT: Final = "tag:amd.com,2025:snp-corim-profile"
VERAISON: Final = "tag:amd.com,2024:snp-corim-profile"
# draft-ietf-rats-corim: keys of the maps.
ID, TAGS, DEPENDENT, PROFILE, VALIDITY, ENTITIES = range(6)


def digest(value: bytes = MEASUREMENT, algorithm: int = 7) -> dict[int, Any]:
    """Return a value that is a digest."""
    return {2: [[algorithm, value]]}


def raw_value(value: bytes, mask: bytes | None = None) -> dict[int, Any]:
    """Return a value of bytes, perhaps with a mask."""
    return {4: CBORTag(560, value)} | ({} if mask is None else {5: CBORTag(560, mask)})


def svn(value: int, *, exact: bool = False) -> dict[int, Any]:
    """Return a security version."""
    return {1: CBORTag(552 if exact else 553, value)}


def version(text: str, scheme: int = 16384) -> dict[int, Any]:
    """Return a version."""
    return {0: {0: text, 1: scheme}}


def triple(values: dict[int, Any], *, class_id: bytes = BY_CHIP, **environment: Any) -> list[Any]:
    """Return a reference triple: values by their mkey, and further members of its environment (`instance`, `group`)."""
    where: dict[int, Any] = {0: {0: CBORTag(111, class_id)}}
    where |= {{"instance": 1, "group": 2}[name]: value for name, value in environment.items()}
    return [where, [{0: mkey, 1: value} for mkey, value in values.items()]]


def comid(*triples: list[Any], **members: Any) -> bytes:
    """Return a CoMID of reference triples; members replace its own, by the number after an underscore."""
    document = {1: {0: b"i" * 16}, 4: {0: list(triples)}}
    return cbor2.dumps(document | {int(key[1:]): value for key, value in members.items()})


def corim(*triples: list[Any], profile: str = DRAFT, tags: list[Any] | None = None, **members: Any) -> bytes:
    """Return a CoRIM of reference triples; members replace its own, by the number after an underscore."""
    document = {ID: "test", TAGS: tags or [CBORTag(506, comid(*triples))], PROFILE: CBORTag(32, profile)}
    document |= {int(key[1:]): value for key, value in members.items()}
    return cbor2.dumps(CBORTag(501, {key: value for key, value in document.items() if value is not None}))


def signed(
    payload: bytes, key: ec.EllipticCurvePrivateKey, *, protected: dict[int, Any] | None = None, tag: int = 18
) -> bytes:
    """Return a CoRIM in a COSE_Sign1 envelope."""
    algorithm = -7 if key.key_size == 256 else -35
    header = cbor2.dumps({1: algorithm, 3: "application/rim+cbor"} if protected is None else protected)
    signature = ecdsa.sign(key, cbor2.dumps(["Signature1", header, b"", payload]))
    return cbor2.dumps(CBORTag(tag, [header, {}, payload, signature]))
