"""Who a guest is on a connection: one frozen value for the life of that connection.

Spec: docs/spec/ratls.md, 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from twocvm_verifier.binding import LogPosition
    from twocvm_verifier.evidence import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerIdentity:
    """A TLS key, its certificate, and the state of the guest that its evidence speaks of.

    Attributes:
        key: The P-256 key, born in the guest and kept in its memory.
        certificate_der: The self-signed leaf with its evidence.
        spki_sha256: SHA-256 of the key's SPKI DER (32 bytes).
        manifest: manifest_hash, or 32 zero bytes before the lock.
        log: The event log's head and length that the certificate's claims hold.
    """

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate_der: bytes = field(repr=False)
    spki_sha256: bytes
    manifest: bytes
    log: LogPosition


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PeerConnection:
    """The connection under a request, in the ASGI scope as `scope["extensions"]["twocvm"]`.

    Attributes:
        identity: What this connection's handshake showed; never changes while it lives.
        participant_spki_sha256: SHA-256 of the client certificate's SPKI DER (32 bytes), or None without one.
        export: The TLS exporter: takes the nonce (32 bytes), gives 32 bytes. Only on the event loop's thread.
        close_after_response: Makes the answer being written the connection's last. Only on the event loop's thread.
    """

    identity: ServerIdentity
    participant_spki_sha256: bytes | None
    export: Callable[[bytes], bytes]
    close_after_response: Callable[[], None]


def build_certificate(key: ec.EllipticCurvePrivateKey, evidence: Evidence) -> bytes:
    """Return the DER of the self-signed leaf of `key` with `evidence` in its extension."""
    raise NotImplementedError
