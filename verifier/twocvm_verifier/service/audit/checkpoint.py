"""Checkpoints: places in an audit log that the service's key signed, so that nothing before them can be made anew.

A checkpoint is a JWS of a type of its own, so that it is never taken for a token, nor a token for it.

Spec: docs/spec/audit.md, 3; RFC 7515.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.jsonfields import Fields
from twocvm_verifier.strictjson import Json

from .record import DOCUMENT, MAX_RECORD_BYTES, Entry, Kind, Position

TYPE: Final = "2cvm.audit.v1"
ALGORITHMS: Final = ("ES256", "RS256")
_MEMBERS: Final = frozenset({"log", "seq", "head"})


class Signs(Protocol):
    """What a checkpoint needs of a key: its public half, and that it signs."""

    @property
    def public_jwk(self) -> Mapping[str, Json]:
        """Its public half, with `kid` and `alg`."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the signature that JWS wants for the key's algorithm."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a checkpoint says.

    Attributes:
        log: Which log it is of (32 bytes).
        position: The place.
    """

    log: bytes
    position: Position


def checkpoint_entry(checkpoint: Checkpoint, *, signer: Signs) -> Entry:
    """Return a checkpoint, signed; that may take as long as the key is far away."""
    jwk = signer.public_jwk
    header = strictjson.canonical({"alg": jwk["alg"], "kid": jwk["kid"], "typ": TYPE})
    said = strictjson.canonical(
        {"log": checkpoint.log.hex(), "seq": checkpoint.position.seq, "head": checkpoint.position.head.hex()}
    )
    signed = f"{strictjson.base64url(header)}.{strictjson.base64url(said)}"
    signature = strictjson.base64url(signer.sign(signed.encode("ascii")))
    return Entry(kind=Kind.CHECKPOINT, members={"jws": f"{signed}.{signature}"})


def parse_checkpoint(compact: str) -> Checkpoint:
    """Return what a checkpoint says, not yet believed.

    Raises:
        MalformedError: Its payload is not canonical JSON of docs/spec/audit.md, 3.
    """
    try:
        payload = strictjson.parse_base64url(compact.split(".")[1])
    except (IndexError, ValueError) as error:
        raise MalformedError(DOCUMENT, "/jws", "not a JWS in its compact form") from error
    value = strictjson.parse_canonical(payload, document=DOCUMENT, max_bytes=MAX_RECORD_BYTES)
    fields = Fields(value, document=DOCUMENT, pointer="/jws", required=_MEMBERS)
    position = Position(seq=fields.integer("seq", maximum=strictjson.MAX_INTEGER), head=fields.hash("head"))
    return Checkpoint(log=fields.hash("log"), position=position)


def signed_by(compact: str, *, keys: KeySet) -> bool:
    """Return whether one of the keys signed a checkpoint, as one."""
    try:
        verified = jws.deserialize_compact(compact, keys, algorithms=list(ALGORITHMS))
    except (JoseError, ValueError):
        return False
    return verified.headers().get("typ") == TYPE
