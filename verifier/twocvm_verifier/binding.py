"""What a report is made to say: the claims, and the 64 bytes of REPORT_DATA that bind them (`docs/spec/claims.md`).

Claims are a deterministic CBOR map with text keys and byte strings, exactly the keys of their context. The first half
of REPORT_DATA is the hash of that map, the second is the hash of the manifest in clear. Nobody believes claims that
came over the wire: the verifier rebuilds them from what it knows itself and takes only the log's position from them,
which the log then has to justify.

>>> claims = cert_claims(spki_sha256=bytes(32), manifest=NOT_LOCKED, log=LogPosition(head=bytes(32), events=1))
>>> parse_claims(claims.encode()) == claims, len(claims.report_data())
(True, 64)
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from . import framing, strictcbor
from .errors import BindingError, MalformedError
from .framing import HASH_BYTES

MAX_CLAIMS_BYTES: Final = 1024
MAX_EVENT_COUNT: Final = 2**64 - 1
NOT_LOCKED: Final = bytes(HASH_BYTES)
"""What stands for the manifest in the claims of a guest that has none yet."""

_ROLE: Final = b"server"
_COUNT_BYTES: Final = 8
# CBOR [1, h'..32 bytes..']: an array of two, the unsigned integer 1 for SHA-256, and a byte string of 32.
_KEY_HASH_PREFIX: Final = bytes.fromhex("82015820")


class Context(Enum):
    """What a report is for; a report made for one is never accepted for another."""

    CERT = "2cvm/ratls-cert/v1"
    CHANNEL = "2cvm/channel/v1"
    BATCH = "2cvm/batch/v1"
    RECEIPT = "2cvm/receipt/v1"


_OWN_KEYS: Final[Mapping[Context, frozenset[str]]] = MappingProxyType(
    {
        Context.CERT: frozenset(),
        Context.CHANNEL: frozenset({"nonce", "binder"}),
        Context.BATCH: frozenset({"root"}),
        Context.RECEIPT: frozenset({"statement"}),
    }
)
_SHARED_KEYS: Final = frozenset({"ctx", "pubkey-hash", "role", "manifest", "log", "events"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPosition:
    """How far an event log had come: its head, and how many events are under it.

    Attributes:
        head: 32 bytes.
        events: From 0 to 2**64 - 1.
    """

    head: bytes
    events: int

    def __post_init__(self) -> None:
        _want_hash("head", self.head)
        if not 0 <= self.events <= MAX_EVENT_COUNT:
            raise ValueError(f"events: got {self.events}, want 0 to 2**64 - 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What one report says about its guest.

    Attributes:
        context: What the report is for.
        spki_sha256: SHA-256 of the DER SubjectPublicKeyInfo of the guest's TLS key (32 bytes).
        manifest: The manifest's hash (32 bytes); `NOT_LOCKED` before the lock.
        log: The event log's head and length when the report was asked for.
        own: What this context alone adds, 32 bytes each: `nonce` and `binder` (channel), `root` (batch), `statement`
            (receipt), nothing (cert).
    """

    context: Context
    spki_sha256: bytes
    manifest: bytes
    log: LogPosition
    own: Mapping[str, bytes]

    def __post_init__(self) -> None:
        if self.own.keys() != _OWN_KEYS[self.context]:
            raise ValueError(f"own: got {sorted(self.own)}, want {sorted(_OWN_KEYS[self.context])}")
        for name, value in {"spki_sha256": self.spki_sha256, "manifest": self.manifest, **self.own}.items():
            _want_hash(name, value)
        object.__setattr__(self, "own", MappingProxyType(dict(self.own)))

    def encode(self) -> bytes:
        """Return the deterministic CBOR of the claims (at most `MAX_CLAIMS_BYTES`)."""
        return strictcbor.encode(
            {
                "ctx": self.context.value.encode("ascii"),
                "pubkey-hash": _KEY_HASH_PREFIX + self.spki_sha256,
                "role": _ROLE,
                "manifest": self.manifest,
                "log": self.log.head,
                "events": self.log.events.to_bytes(_COUNT_BYTES, "big"),
                **self.own,
            }
        )

    def report_data(self) -> bytes:
        """Return the 64 bytes of REPORT_DATA: SHA-256 of the claims, then the manifest's hash."""
        return framing.sha256(self.encode()) + self.manifest

    def require_equal(self, received: bytes) -> None:
        """Refuse claims from the wire that are not, byte for byte, these.

        Args:
            received: The claims that came with the evidence.

        Raises:
            BindingError: They differ; the detail names the members.
            MalformedError: They differ, and are not claims at all.
        """
        if hmac.compare_digest(self.encode(), received):
            return
        theirs, ours = _members(received), _members(self.encode())
        differing = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
        raise BindingError("CLAIMS_MISMATCH", f"claims: got others than rebuilt from this side, in {differing}")


def cert_claims(*, spki_sha256: bytes, manifest: bytes, log: LogPosition) -> Claims:
    """Return the claims of the evidence in a certificate."""
    return Claims(context=Context.CERT, spki_sha256=spki_sha256, manifest=manifest, log=log, own={})


def channel_claims(*, spki_sha256: bytes, manifest: bytes, log: LogPosition, nonce: bytes, binder: bytes) -> Claims:
    """Return the claims of the evidence for one connection.

    Args:
        spki_sha256: Of the leaf's key.
        manifest: The manifest's hash, or `NOT_LOCKED`.
        log: Where the log stands.
        nonce: The relying party's 32 bytes, never used before.
        binder: `framing.binder` of the leaf's key and this connection's exporter value.
    """
    own = {"nonce": nonce, "binder": binder}
    return Claims(context=Context.CHANNEL, spki_sha256=spki_sha256, manifest=manifest, log=log, own=own)


def batch_claims(*, spki_sha256: bytes, manifest: bytes, log: LogPosition, root: bytes) -> Claims:
    """Return the claims of evidence that many connections share; `root` is the Merkle root over their leaves."""
    return Claims(context=Context.BATCH, spki_sha256=spki_sha256, manifest=manifest, log=log, own={"root": root})


def receipt_claims(*, spki_sha256: bytes, manifest: bytes, log: LogPosition, statement: bytes) -> Claims:
    """Return the claims of a receipt's evidence; `statement` is SHA-256 of what its envelope signs."""
    own = {"statement": statement}
    return Claims(context=Context.RECEIPT, spki_sha256=spki_sha256, manifest=manifest, log=log, own=own)


def parse_claims(raw: bytes) -> Claims:
    """Return the claims that `raw` writes. Nothing in them is true because it stands there.

    Raises:
        MalformedError: Anything but the canonical map of one of the four contexts.
    """
    members = _members(raw)
    context = _context(members)
    if members.keys() != _SHARED_KEYS | _OWN_KEYS[context]:
        raise MalformedError("claims", "", f"got members {sorted(members)!r}, want those of {context.value}")
    if members["role"] != _ROLE:
        raise MalformedError("claims", "role", "not `server`")
    key_hash = members["pubkey-hash"]
    if not key_hash.startswith(_KEY_HASH_PREFIX):
        raise MalformedError("claims", "pubkey-hash", "not [1, SHA-256]")
    hashes = {key: members[key] for key in ("manifest", "log", *sorted(_OWN_KEYS[context]))}
    hashes["pubkey-hash"] = key_hash.removeprefix(_KEY_HASH_PREFIX)
    for key, value in hashes.items():
        if len(value) != HASH_BYTES:
            raise MalformedError("claims", key, f"got {len(value)} bytes, want {HASH_BYTES}")
    if len(members["events"]) != _COUNT_BYTES:
        raise MalformedError("claims", "events", f"got {len(members['events'])} bytes, want {_COUNT_BYTES}")
    return Claims(
        context=context,
        spki_sha256=hashes["pubkey-hash"],
        manifest=hashes["manifest"],
        log=LogPosition(head=hashes["log"], events=int.from_bytes(members["events"], "big")),
        own={key: hashes[key] for key in _OWN_KEYS[context]},
    )


def _members(raw: bytes) -> dict[str, bytes]:
    value = strictcbor.parse(raw, document="claims", max_bytes=MAX_CLAIMS_BYTES)
    if not isinstance(value, dict):
        raise MalformedError("claims", "", "not a map")
    members: dict[str, bytes] = {}
    for key, member in value.items():
        if not isinstance(member, bytes):
            raise MalformedError("claims", "", f"member {key!r} is not a byte string")
        members[key] = member
    return members


def _context(members: Mapping[str, bytes]) -> Context:
    try:
        return Context(members.get("ctx", b"").decode("ascii"))
    except ValueError as error:
        raise MalformedError("claims", "ctx", "not a context of this version") from error


def _want_hash(name: str, value: bytes) -> None:
    if len(value) != HASH_BYTES:
        raise ValueError(f"{name}: got {len(value)} bytes, want {HASH_BYTES}")
