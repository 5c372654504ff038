"""Who a guest is on a connection: one frozen value for the life of that connection.

Spec: docs/spec/ratls.md, 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from twocvm_verifier.ratls.certificate import evidence_extension

if TYPE_CHECKING:
    from twocvm_verifier.binding import LogPosition
    from twocvm_verifier.evidence import Evidence

_NAME: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "2cvm guest")])
# Validity means nothing here, for the host owns the guest's clock: freshness is the channel's nonce.
_NOT_BEFORE: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_AFTER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class PeerConnection:
    """The connection under a request, in the ASGI scope as `scope["extensions"]["twocvm"]`.

    Attributes:
        identity: What this connection's handshake showed; never changes while it lives.
        participant_spki_sha256: SHA-256 of the client certificate's SPKI DER (32 bytes), or None without one. The
            peer has proven that it holds that key; whether it is a participant's is the manifest's to say.
        export: The TLS exporter: takes the nonce (32 bytes), gives 32 bytes. Only on the event loop's thread.
        close_after_response: Makes the next answer to begin the connection's last; from any thread.
    """

    identity: ServerIdentity
    participant_spki_sha256: bytes | None
    export: Callable[[bytes], bytes]
    close_after_response: Callable[[], None]


def build_certificate(key: ec.EllipticCurvePrivateKey, evidence: Evidence) -> bytes:
    """Return the DER of the self-signed leaf of `key` with `evidence` in its extension.

    Raises:
        ValueError: The evidence is too large for a certificate.
    """
    builder = (
        x509.CertificateBuilder(issuer_name=_NAME, subject_name=_NAME, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(evidence_extension(evidence), critical=False)
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)
