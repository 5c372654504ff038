"""The container in which evidence travels: a CMW collection, as CBOR in certificates and as JSON in answers.

`docs/spec/evidence.md` has it byte for byte. Both forms hold the same members, each an array of two: a media type that
is fixed for that member, and the bytes. Both are read strictly: canonical bytes, exactly the known members, nothing
behind them. What the members say is judged elsewhere (`binding`, `snp`).

>>> evidence = Evidence(report=b"r", claims=b"c", vek=b"v")
>>> parse_cbor(encode_cbor(evidence)) == parse_json(encode_json(evidence)) == evidence
True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

from . import strictcbor, strictjson
from .errors import MalformedError
from .strictjson import Json

# protocol: an extension value is at most 16384 bytes with its OCTET STRING header, which takes 4 at that length.
MAX_EXTENSION_BYTES: Final = 16384
MAX_CBOR_BYTES: Final = MAX_EXTENSION_BYTES - 4
MAX_JSON_BYTES: Final = 32768
# 16 steps of one byte for the side and 32 for the sibling.
PATH_STEP_BYTES: Final = 33
MAX_PATH_BYTES: Final = 16 * PATH_STEP_BYTES

MEDIA_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "snp": "application/octet-stream",
        "claims": "application/cbor",
        "vek": "application/pkix-cert",
        "chain": "application/pem-certificate-chain",
        "crl": "application/pkix-crl",
        "azure": "application/cbor",
        "path": "application/octet-stream",
    }
)
JSON_MEDIA_TYPE: Final = "application/cmw+json"
_REQUIRED: Final = frozenset({"snp", "claims"})
_PAIR: Final = 2
# In the order of RFC 8785, with what stands between two members: each has one spelling but for its value.
_SPELLED: Final = tuple((name, f'"{name}":["{MEDIA_TYPES[name]}","') for name in sorted(MEDIA_TYPES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a guest hands over to be judged, taken apart and not yet believed.

    Attributes:
        report: The platform's report, as it came (the member `snp`).
        claims: What REPORT_DATA is the hash of, as it came: canonical CBOR, see `binding.parse_claims`.
        vek: DER of the certificate of the key that signed the report. Absent where the guest's host has none to hand
            over; whoever judges finds it elsewhere.
        chain: PEM of ASK or ASVK, then ARK. Absent where the verifier is expected to have them.
        crl: DER of the ARK's revocation list, where the guest has one.
        azure: Where a paravisor's vTPM speaks for the guest: its quote, and what that is judged with (`azure.member`).
        path: Only in answers for a batch: the steps from this connection's leaf to the root, possibly none (`b""`).
    """

    report: bytes
    claims: bytes
    vek: bytes | None = None
    chain: bytes | None = None
    crl: bytes | None = None
    azure: bytes | None = None
    path: bytes | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "path" and value == b"":
                raise ValueError(f"{field.name}: a member that is there is not empty")
        if self.path is not None:
            _path_problem(self.path, ValueError)


def encode_cbor(evidence: Evidence) -> bytes:
    """Return the certificate form of `evidence`, without the extension's OCTET STRING around it.

    Raises:
        ValueError: It has a `path`, which certificates never carry, or is larger than `MAX_CBOR_BYTES`.
    """
    if evidence.path is not None:
        raise ValueError("path: only an answer carries one")
    raw = strictcbor.encode({name: [MEDIA_TYPES[name], value] for name, value in _members(evidence).items()})
    if len(raw) > MAX_CBOR_BYTES:
        raise ValueError(f"evidence: got {len(raw)} bytes, want at most {MAX_CBOR_BYTES}")
    return raw


def parse_cbor(raw: bytes) -> Evidence:
    """Return the evidence in a certificate, from the bytes inside the extension's OCTET STRING.

    Raises:
        MalformedError: Not the canonical collection of `docs/spec/evidence.md`, section 2.
    """
    value = strictcbor.parse(raw, document="evidence", max_bytes=MAX_CBOR_BYTES)
    if not isinstance(value, dict):
        raise MalformedError("evidence", "", "not a map")
    if "path" in value:
        raise MalformedError("evidence", "/path", "a certificate's evidence has no path")
    return _evidence(value, _bytes_of)


def to_json(evidence: Evidence) -> Json:
    """Return the JSON form of `evidence` as a value, for documents that hold it."""
    return {name: [MEDIA_TYPES[name], strictjson.base64url(value)] for name, value in _members(evidence).items()}


def from_json(value: Json) -> Evidence:
    """Return the evidence that a JSON value of `strictjson` writes.

    Raises:
        MalformedError: Not the collection of `docs/spec/evidence.md`, section 3.
    """
    if not isinstance(value, Mapping):
        raise MalformedError("evidence", "", "not an object")
    return _evidence(value, _bytes_of_text)


def encode_json(evidence: Evidence) -> bytes:
    """Return the answer form of `evidence` (`JSON_MEDIA_TYPE`, canonical).

    Raises:
        ValueError: It is larger than `MAX_JSON_BYTES`.
    """
    members = _members(evidence)
    spelled = (f'{before}{strictjson.base64url(members[name])}"]' for name, before in _SPELLED if name in members)
    raw = f"{{{','.join(spelled)}}}".encode("ascii")
    if len(raw) > MAX_JSON_BYTES:
        raise ValueError(f"evidence: got {len(raw)} bytes, want at most {MAX_JSON_BYTES}")
    return raw


def parse_json(raw: bytes) -> Evidence:
    """Return the evidence in an answer.

    Raises:
        MalformedError: Not the canonical JSON of `docs/spec/evidence.md`, section 3.
    """
    evidence = from_json(strictjson.parse(raw, document="evidence", max_bytes=MAX_JSON_BYTES))
    # All that it holds has one spelling.
    if encode_json(evidence) != raw:
        raise MalformedError("evidence", "", "bytes are not canonical (RFC 8785)")
    return evidence


def _members(evidence: Evidence) -> dict[str, bytes]:
    values = {
        "snp": evidence.report,
        "claims": evidence.claims,
        "vek": evidence.vek,
        "chain": evidence.chain,
        "crl": evidence.crl,
        "azure": evidence.azure,
        "path": evidence.path,
    }
    return {name: value for name, value in values.items() if value is not None}


def _evidence(collection: Mapping[str, object], read: Callable[[object, str], bytes]) -> Evidence:
    if unknown := sorted(collection.keys() - MEDIA_TYPES.keys()):
        raise MalformedError("evidence", "", f"members {unknown!r} are not known")
    if missing := sorted(_REQUIRED - collection.keys()):
        places = tuple(f"/{name}" for name in missing)
        raise MalformedError("evidence", "", f"members {missing} are missing", places=places)
    members = {name: _member(name, pair, read) for name, pair in collection.items()}
    if "path" in members:
        _path_problem(members["path"], lambda detail: MalformedError("evidence", "/path", detail))
    return Evidence(
        report=members["snp"],
        claims=members["claims"],
        vek=members.get("vek"),
        chain=members.get("chain"),
        crl=members.get("crl"),
        azure=members.get("azure"),
        path=members.get("path"),
    )


def _member(name: str, pair: object, read: Callable[[object, str], bytes]) -> bytes:
    if not isinstance(pair, list) or len(pair) != _PAIR:
        raise MalformedError("evidence", f"/{name}", "not an array of media type and value")
    if pair[0] != MEDIA_TYPES[name]:
        raise MalformedError("evidence", f"/{name}/0", f"got {pair[0]!r:.80}, want {MEDIA_TYPES[name]}")
    data = read(pair[1], name)
    if not data and name != "path":
        raise MalformedError("evidence", f"/{name}/1", "empty")
    return data


def _bytes_of(value: object, name: str) -> bytes:
    if not isinstance(value, bytes):
        raise MalformedError("evidence", f"/{name}/1", "not a byte string")
    return value


def _bytes_of_text(value: object, name: str) -> bytes:
    if not isinstance(value, str):
        raise MalformedError("evidence", f"/{name}/1", "not a string")
    try:
        return strictjson.parse_base64url(value)
    except ValueError as error:
        raise MalformedError("evidence", f"/{name}/1", str(error)) from error


def _path_problem(path: bytes, error: Callable[[str], Exception]) -> None:
    if len(path) > MAX_PATH_BYTES or len(path) % PATH_STEP_BYTES:
        raise error(f"path: got {len(path)} bytes, want whole steps of {PATH_STEP_BYTES}, at most 16")
    if any(side > 1 for side in path[::PATH_STEP_BYTES]):
        raise error("path: a side is neither 0 (left) nor 1 (right)")
