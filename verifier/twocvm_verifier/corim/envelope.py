"""Which CoRIM some bytes hold, for how long it counts, and whether somebody who is trusted signed it.

Rules:
1. An unsigned one (tag 501) is believed as far as whoever hands it over is.
2. A signed one (tag 18, COSE_Sign1) has to verify under one of the caller's own keys, by ES256 or ES384 as the key is;
   what its header says of keys, certificates and signers chooses nothing.
3. Its profile is one that this version knows; what belongs to no profile may mean anything.

Spec: docs/spec/corim.md, 1; draft-ietf-rats-corim, 4; RFC 9052, 4.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from twocvm_verifier import strictcbor
from twocvm_verifier.errors import MalformedError, SignatureError, UnsupportedError
from twocvm_verifier.strictcbor import Tag, TaggedCbor

from .profiles import PROFILES, Profile

DOCUMENT: Final = "corim"
MAX_CORIM_BYTES: Final = 512 * 1024
UNSIGNED_TAG: Final = 501
SIGNED_TAG: Final = 18
COMID_TAG: Final = 506
_URI_TAG: Final = 32
_TIME_TAG: Final = 1
# draft-ietf-rats-corim, 4.1: keys of the map.
_ID, _TAGS, _DEPENDENT, _PROFILE, _VALIDITY, _ENTITIES = range(6)
_KNOWN: Final = frozenset({_ID, _TAGS, _DEPENDENT, _PROFILE, _VALIDITY, _ENTITIES})
_MAX_TIME: Final = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())
EVER: Final = datetime(9999, 12, 31, tzinfo=UTC)
_ALWAYS: Final = datetime(1970, 1, 1, tzinfo=UTC)
# RFC 9053, 2.1, and RFC 9052, 3.1: algorithm; what must be understood.
_ALG, _CRIT = 1, 2
_ALGORITHMS: Final = {"secp256r1": (-7, hashes.SHA256()), "secp384r1": (-35, hashes.SHA384())}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsigned:
    """Whoever hands a CoRIM over is believed, so that a signed one is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """Who may sign a CoRIM; an unsigned one is believed as under `Unsigned`.

    Attributes:
        keys: On P-256 or P-384, at least one.
    """

    keys: tuple[ec.EllipticCurvePublicKey, ...]


Trust: TypeAlias = Unsigned | Trusted


@dataclass(frozen=True, slots=True, kw_only=True)
class Corim:
    """One CoRIM, whose tags are not read yet.

    Attributes:
        profile: Which profile its CoMIDs are of.
        comids: The CoMIDs, as bytes.
        not_before: When it begins to count (aware, UTC).
        not_after: When it ends to (aware, UTC).
        signed: Whether a trusted key signed it.
        unread: What else it names, in words.
    """

    profile: Profile
    comids: tuple[bytes, ...]
    not_before: datetime
    not_after: datetime
    signed: bool
    unread: tuple[str, ...]


def trust_of(pems: Sequence[bytes]) -> Trust:
    """Return the trust in these public keys, each in PEM; that in unsigned CoRIMs alone where there are none.

    Raises:
        MalformedError: One is no public key on P-256 or P-384.
    """
    return Trusted(keys=tuple(map(_public_key, pems))) if pems else Unsigned()


def parse_corim(raw: bytes, *, trust: Trust) -> Corim:
    """Return the CoRIM that `raw` holds.

    Args:
        raw: At most `MAX_CORIM_BYTES`.
        trust: Who may sign it.

    Raises:
        MalformedError: It is none.
        SignatureError: It is signed, and by nobody who is trusted (CORIM_UNTRUSTED).
        UnsupportedError: It is of another profile (CORIM_PROFILE).
    """
    value = strictcbor.parse_tagged(raw, document=DOCUMENT, max_bytes=MAX_CORIM_BYTES)
    signed = isinstance(value, Tag) and value.number == SIGNED_TAG
    if isinstance(value, Tag) and signed:
        payload = _signed_payload(value.value, trust)
        value = strictcbor.parse_tagged(payload, document=DOCUMENT, max_bytes=MAX_CORIM_BYTES)
    if not isinstance(value, Tag) or value.number != UNSIGNED_TAG or not isinstance(value.value, Mapping):
        raise MalformedError(DOCUMENT, "", f"want the tag {UNSIGNED_TAG}, or {SIGNED_TAG} around it, and a map")
    return _corim(value.value, signed=signed)


def _public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError(DOCUMENT, "key", "not a public key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _ALGORITHMS:
        raise MalformedError(DOCUMENT, "key", "neither P-256 nor P-384")
    return key


def _corim(members: Mapping[int | str, TaggedCbor], *, signed: bool) -> Corim:
    comids, unread = _tags(members.get(_TAGS))
    if _DEPENDENT in members:
        unread.append("it rests on other CoRIMs")
    unread += [f"it has a member {key!r}" for key in members if key not in _KNOWN]
    not_before, not_after = _validity(members)
    return Corim(
        profile=_profile(members.get(_PROFILE)),
        comids=comids,
        not_before=not_before,
        not_after=not_after,
        signed=signed,
        unread=tuple(unread),
    )


def _tags(value: TaggedCbor | None) -> tuple[tuple[bytes, ...], list[str]]:
    if not isinstance(value, list) or not value:
        raise MalformedError(DOCUMENT, "tags", "want an array that is not empty")
    comids: list[bytes] = []
    unread: list[str] = []
    for each in value:
        if not isinstance(each, Tag) or not isinstance(each.value, bytes):
            raise MalformedError(DOCUMENT, "tags", "want tagged byte strings")
        if each.number == COMID_TAG:
            comids.append(each.value)
        else:
            unread.append(f"it has a document of tag {each.number}, which is no CoMID")
    return tuple(comids), unread


def _profile(value: TaggedCbor | None) -> Profile:
    # Earlier drafts have a list of profiles.
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    name = value.value if isinstance(value, Tag) and value.number == _URI_TAG else ""
    if not isinstance(name, str) or name not in PROFILES:
        raise UnsupportedError("CORIM_PROFILE", "corim: is not of AMD's SEV-SNP profile")
    return PROFILES[name]


def _validity(members: Mapping[int | str, TaggedCbor]) -> tuple[datetime, datetime]:
    if _VALIDITY not in members:
        return _ALWAYS, EVER
    value = members[_VALIDITY]
    if not isinstance(value, Mapping) or not value.keys() <= {0, 1} or 1 not in value:
        raise MalformedError(DOCUMENT, "rim-validity", "want its end, and perhaps its begin")
    return _time(value.get(0, Tag(_TIME_TAG, 0))), _time(value[1])


def _time(value: TaggedCbor) -> datetime:
    seconds = value.value if isinstance(value, Tag) and value.number == _TIME_TAG else None
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds <= _MAX_TIME:
        raise MalformedError(DOCUMENT, "rim-validity", "want times in whole seconds since 1970")
    return datetime.fromtimestamp(seconds, UTC)


def _signed_payload(value: TaggedCbor, trust: Trust) -> bytes:
    match value:
        case [bytes() as protected, dict(), bytes() as payload, bytes() as signature]:
            pass
        case _:
            raise MalformedError(DOCUMENT, "cose", "want header, map, payload and signature")
    header = strictcbor.parse_tagged(protected, document=DOCUMENT, max_bytes=MAX_CORIM_BYTES)
    if not isinstance(header, Mapping) or _CRIT in header:
        raise MalformedError(DOCUMENT, "cose", "want a header in which nothing is critical")
    if isinstance(trust, Unsigned):
        raise SignatureError("CORIM_UNTRUSTED", "corim: is signed, and no key was named that may sign it")
    data = strictcbor.encode(["Signature1", protected, b"", payload])
    if not any(_verifies(key, header.get(_ALG), signature, data) for key in trust.keys):
        raise SignatureError("CORIM_UNTRUSTED", "corim: no key that was named signed it")
    return payload


def _verifies(key: ec.EllipticCurvePublicKey, algorithm: TaggedCbor | None, signature: bytes, data: bytes) -> bool:
    wanted, algorithm_hash = _ALGORITHMS[key.curve.name]
    width = key.key_size // 8
    if algorithm != wanted or len(signature) != 2 * width:
        return False
    r, s = int.from_bytes(signature[:width], "big"), int.from_bytes(signature[width:], "big")
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(algorithm_hash))
    except InvalidSignature:
        return False
    return True
