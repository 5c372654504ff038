"""The TLS handshake with a guest, whose certificate is judged inside it.

Rules, in order:
1. TLS 1.3 only; no session is ever offered, and each connection has a context of its own, so that nothing resumes.
2. The peer sends one certificate and none beside it.
3. `ratls.proof.judge_certificate` accepts it, in OpenSSL's verify callback: before our own certificate is sent.
4. Afterwards, positively: the callback ran in this handshake, on the very certificate that the connection has.

A callback must not raise, for pyOpenSSL would keep the exception in a list of the context; what it finds is kept here.

Spec: docs/spec/ratls.md, 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from twocvm_verifier.errors import BindingError, MalformedError, TwoCvmError
from twocvm_verifier.ratls.proof import judge_certificate

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    from twocvm_verifier.ratls.proof import CertificateProof, Expectation

    from .tlssocket import TlsSocket

# X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT: what OpenSSL has to say of every guest's leaf.
_SELF_SIGNED: Final = 18
# openssl/ssl.h; the bindings set it, and have no name for it.
_MODE_ENABLE_PARTIAL_WRITE: Final = 1 << 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsIdentity:
    """A participant's TLS key, and a certificate of it that is not CA:TRUE."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate


class Handshake:
    """One handshake, before and after it is done on `connection`, which works on memory buffers.

    Args:
        expectation: What is expected of the guest.
        identity: What we show once the guest's certificate was accepted; None shows nothing.
        at: The time to judge at.
    """

    def __init__(self, *, expectation: Expectation, identity: TlsIdentity | None, at: datetime) -> None:
        self.connection: Final = SSL.Connection(_client_context(identity, self._on_certificate))
        self.connection.set_connect_state()
        self._expectation = expectation
        self._at = at
        self._leaf = b""
        self._proof: CertificateProof | None = None
        self._refusal: BaseException | None = None

    def run(self, tls: TlsSocket, *, seconds: float) -> CertificateProof:
        """Do the handshake over `tls`, in at most `seconds`, and return what it proved.

        Raises:
            TwoCvmError: Our own refusal, where there was one; else HandshakeError or FetchError of `tls`.
        """
        try:
            with tls.within(seconds):
                tls.handshake()
        except TwoCvmError:
            if self._refusal is not None:
                raise self._refusal from None
            raise
        return self.proof()

    def proof(self) -> CertificateProof:
        """Return what the complete handshake proved.

        Raises:
            BindingError: HANDSHAKE_UNVERIFIED: the certificate was not judged in this handshake.
        """
        leaf = self.connection.get_peer_certificate(as_cryptography=True)
        judged = leaf is not None and self._leaf == leaf.public_bytes(Encoding.DER) and self._is_alone()
        modern = self.connection.get_protocol_version() == SSL.TLS1_3_VERSION
        if self._proof is None or self._refusal is not None or not judged or not modern:
            raise BindingError("HANDSHAKE_UNVERIFIED", "tls: the peer's certificate was not judged in this handshake")
        return self._proof

    def _on_certificate(
        self, connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, _ok: int
    ) -> bool:
        # Runs twice for a self-signed leaf: once to say so, once to say that all is well.
        del connection
        try:
            self._judge(certificate.to_cryptography().public_bytes(Encoding.DER), error=error, depth=depth)
        except BaseException as refusal:  # noqa: BLE001 - kept, and raised by `run`
            self._refusal = self._refusal or refusal
        return self._refusal is None

    def _judge(self, leaf: bytes, *, error: int, depth: int) -> None:
        if depth != 0 or not self._is_alone():
            raise MalformedError("ratls certificate", "chain", "got certificates beside the leaf")
        if self._proof is None:
            self._leaf = leaf
            self._proof = judge_certificate(leaf, expectation=self._expectation, at=self._at)
        if leaf != self._leaf or error not in (0, _SELF_SIGNED):
            raise BindingError("HANDSHAKE_UNVERIFIED", f"tls: certificate error {error} beside self-signed")

    def _is_alone(self) -> bool:
        return len(self.connection.get_peer_cert_chain() or ()) == 1


def _client_context(identity: TlsIdentity | None, callback: SSL._VerifyCallback) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET)
    # A memory buffer takes whatever is written, so one call encrypts many records.
    context.clear_mode(_MODE_ENABLE_PARTIAL_WRITE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if identity is not None:
        context.use_certificate(identity.certificate)
        try:
            context.use_privatekey(identity.key)
        except SSL.Error as error:
            raise ValueError("identity: the certificate is of another key") from error
    context.set_verify(SSL.VERIFY_PEER, callback)
    return context
