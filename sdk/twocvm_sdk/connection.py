"""One connection to one guest that has proven itself on this very connection.

`AttestedConnection.open` returns only after the certificate's evidence was judged inside the handshake and the
channel's evidence after it; nothing else has been sent by then. A connection that ends is over: who goes on opens
another, which proves itself anew.

Spec: docs/spec/ratls.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

if TYPE_CHECKING:
    import requests
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from twocvm_verifier.clock import Clock
    from twocvm_verifier.ratls.proof import CertificateProof, ChannelProof, Expectation

Randomness: TypeAlias = Callable[[int], bytes]
"""Gives as many random bytes as asked; `secrets.token_bytes` outside tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsIdentity:
    """A participant's TLS key and its self-signed certificate (not CA:TRUE)."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long the steps of a connection may take, in seconds.

    Attributes:
        connect_seconds: TCP connect.
        handshake_seconds: The whole TLS handshake, appraisal included.
        proof_seconds: From sending a nonce to the last byte of the answer (`docs/spec/ratls.md`, 4).
        io_seconds: The longest wait for the next byte of anything else.
    """

    connect_seconds: float = 10.0
    handshake_seconds: float = 10.0
    proof_seconds: float = 10.0
    io_seconds: float = 60.0


class AttestedConnection:
    """A verified guest at the other end of one TLS connection. Not for use by several threads at once.

    Attributes:
        certificate: What the handshake proved.
        proof: The latest channel proof.
        http: A `requests.Session` that knows this connection and nothing else.
    """

    certificate: CertificateProof
    proof: ChannelProof
    http: requests.Session

    @classmethod
    def open(
        cls,
        url: str,
        *,
        expectation: Expectation,
        identity: TlsIdentity | None,
        clock: Clock,
        randomness: Randomness,
        timeouts: Timeouts = Timeouts(),
    ) -> Self:
        """Connect to the guest at `url` (`https://HOST:PORT`), verify it, and return the connection.

        Raises:
            ValueError: `url` is not `https://HOST[:PORT]`.
            HandshakeError: The guest did not prove itself; the refusal is the `__cause__` and gives the code.
            FetchError: The connection could not be made, was lost, or took too long.
        """
        raise NotImplementedError

    @property
    def base_url(self) -> str:
        """`https://HOST:PORT`, without a slash at the end: what `http` takes requests for."""
        raise NotImplementedError

    @property
    def proof_age_seconds(self) -> float:
        """How long ago the nonce of `proof` was sent, by the monotonic clock."""
        raise NotImplementedError

    def reprove(self) -> ChannelProof:
        """Ask for a new proof on this connection, judge it, and return it; it replaces `proof`."""
        raise NotImplementedError

    def close(self) -> None:
        """End the connection; a second call does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
