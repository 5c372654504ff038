"""How a guest does TLS: what it shows, what it asks for, and which client certificates it takes.

TLS 1.3 only, nothing is ever resumed, a client certificate is asked for and not required. Of a client certificate the
key alone counts: its issuer, names and dates are ignored, and the handshake has proven that the peer holds the key. A
certificate that could issue others is refused, and so is everything that is sent beside the leaf.

Spec: docs/spec/ratls.md, 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL, crypto

from twocvm_verifier.framing import sha256

if TYPE_CHECKING:
    from .identity import ServerIdentity

# X509_V_ERR_*: what OpenSSL finds wrong with a certificate of which only the key counts: not yet or no longer valid
# (9, 10), self-signed (18), issuer unknown (20), first signature unverified (21). Anything else is refused.
_IGNORED_ERRORS: Final = frozenset({0, 9, 10, 18, 20, 21})
# openssl/ssl.h, since 3.0: what was read is overwritten where it was decrypted. The bindings have no name for it.
_OP_CLEANSE_PLAINTEXT: Final = 1 << 1
# The same file: the bindings set it.
_MODE_ENABLE_PARTIAL_WRITE: Final = 1 << 0


@dataclass(slots=True)
class ClientKey:
    """What a handshake has found out about its client; one for each connection.

    Attributes:
        spki_sha256: SHA-256 of the SPKI DER of the client certificate that was accepted, if there was one.
    """

    spki_sha256: bytes | None = None


def server_context(identity: ServerIdentity) -> SSL.Context:
    """Return the context for all connections that show `identity`; their app data is a `ClientKey` each.

    Raises:
        OpenSSL.SSL.Error: Key and certificate do not belong together.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    # OpenSSL still sends tickets. With neither stateless tickets nor a cache behind them they resume nothing.
    context.set_options(SSL.OP_NO_TICKET | _OP_CLEANSE_PLAINTEXT)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # A memory buffer takes whatever is written, so one call encrypts many records.
    context.clear_mode(_MODE_ENABLE_PARTIAL_WRITE)
    context.use_certificate(x509.load_der_x509_certificate(identity.certificate_der))
    context.use_privatekey(identity.key)
    context.check_privatekey()
    context.set_verify(SSL.VERIFY_PEER, _judge_client)
    return context


def spki_sha256_of(certificate: x509.Certificate) -> bytes:
    """Return SHA-256 of the certificate's SPKI DER: how manifests name a TLS key (32 bytes)."""
    return sha256(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _judge_client(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, _ok: int) -> bool:
    # Called twice or more for a leaf. It must never raise: what a callback raises is kept in a list that all
    # connections of the context share, and would come up in another one.
    try:
        if depth != 0 or error not in _IGNORED_ERRORS:
            return False
        leaf = certificate.to_cryptography()
        if _is_ca(leaf):
            return False
        client = connection.get_app_data()
        client.spki_sha256 = spki_sha256_of(leaf)
    except Exception:  # noqa: BLE001 - whatever a hostile certificate provokes, the answer is no
        return False
    return True


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
