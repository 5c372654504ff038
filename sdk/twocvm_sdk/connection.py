"""One connection to one guest that has proven itself on this very connection.

`AttestedConnection.open` returns only after the certificate's evidence was judged inside the handshake and the
channel's evidence after it; nothing else has been sent by then. A connection that ends is over: who goes on opens
another, which proves itself anew.

Spec: docs/spec/ratls.md.
"""

from __future__ import annotations

import math
import socket
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

from twocvm_verifier.errors import FetchError, HandshakeError, TwoCvmError
from twocvm_verifier.ratls.proof import CertificateProof, ChannelProof, Expectation

from .address import Address, parse_address
from .bound import BoundSession
from .channel import Randomness, prove_channel
from .closing import Closing
from .exchange import Exchanges
from .handshake import Handshake, TlsIdentity
from .line import Line
from .tlssocket import TlsSocket

if TYPE_CHECKING:
    from twocvm_verifier.clock import Clock

__all__ = ["AttestedConnection", "Randomness", "Timeouts", "TlsIdentity"]


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


class AttestedConnection(Closing):
    """A verified guest at the other end of one TLS connection. Not for use by several threads at once.

    Attributes:
        certificate: What the handshake proved.
        proof: The latest channel proof.
        address: Where the guest is.
        exchanges: The HTTP on it. Whoever takes it sees to the age of the proof.
    """

    def __init__(
        self,
        exchanges: Exchanges,
        *,
        address: Address,
        certificate: CertificateProof,
        expectation: Expectation,
        clock: Clock,
        randomness: Randomness,
        timeouts: Timeouts,
    ) -> None:
        self.certificate: Final = certificate
        self.address: Final = address
        self.exchanges: Final = exchanges
        self._expectation = expectation
        self._clock = clock
        self._randomness = randomness
        self._timeouts = timeouts
        self.proof, self._proven_at_seconds = self._prove(certificate)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        expectation: Expectation,
        identity: TlsIdentity | None,
        clock: Clock,
        randomness: Randomness,
        timeouts: Timeouts | None = None,
    ) -> Self:
        """Connect to the guest at `url`, verify it, and return the connection.

        Args:
            url: `https://HOST[:PORT]`.
            expectation: What is expected of the guest.
            identity: The client certificate, shown once the guest's was accepted; None shows nothing.
            clock: The time to judge at, and of deadlines and ages.
            randomness: Where nonces come from.
            timeouts: `Timeouts()` unless given.

        Raises:
            ValueError: `url` is not what it should be.
            HandshakeError: The guest did not prove itself; the refusal is the `__cause__`, and gives the code.
            FetchError: The connection could not be made, was lost, or took too long.
        """
        address = parse_address(url)
        timeouts = timeouts or Timeouts()
        raw = _connect(address, seconds=timeouts.connect_seconds)
        try:
            handshake = Handshake(expectation=expectation, identity=identity, at=clock.now())
            if (name := address.server_name) is not None:
                handshake.connection.set_tlsext_host_name(name)
            tls = TlsSocket(handshake.connection, raw, clock=clock, wait_seconds=timeouts.io_seconds)
            certificate = handshake.run(tls, seconds=timeouts.handshake_seconds)
            return cls(
                Exchanges(tls, host=address.authority),
                address=address,
                certificate=certificate,
                expectation=expectation,
                clock=clock,
                randomness=randomness,
                timeouts=timeouts,
            )
        except BaseException as error:
            raw.close()
            if not isinstance(error, TwoCvmError) or isinstance(error, (FetchError, HandshakeError)):
                raise
            raise HandshakeError(error.code, error.detail) from error

    @cached_property
    def http(self) -> BoundSession:
        """A `requests.Session` that knows this connection and nothing else.

        An answer must be read to its end before the next request; a request that fails ends the connection. The proof
        is as old as it is: see `reprove`.
        """
        return BoundSession(Line(self, max_proof_age_seconds=math.inf))

    @property
    def base_url(self) -> str:
        """`https://HOST:PORT`, without a slash at the end: what `http` takes requests for."""
        return self.address.base_url

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self.exchanges.closed

    @property
    def proof_age_seconds(self) -> float:
        """How long ago the nonce of `proof` was sent, by the monotonic clock."""
        return self._clock.monotonic_seconds() - self._proven_at_seconds

    def reprove(self) -> ChannelProof:
        """Ask for a new proof on this connection, judge it, and return it; it replaces `proof`.

        Raises:
            RuntimeError: An answer was not read to its end.
            TwoCvmError: The guest did not prove itself again; the connection has ended.
        """
        self.proof, self._proven_at_seconds = self._prove(self.proof)
        return self.proof

    def close(self) -> None:
        """End the connection; a second call does nothing."""
        self.exchanges.close()

    def _prove(self, previous: CertificateProof | ChannelProof) -> tuple[ChannelProof, float]:
        # The age of a proof counts from before its nonce has left.
        began_seconds = self._clock.monotonic_seconds()
        proof = prove_channel(
            self.exchanges,
            previous=previous,
            expectation=self._expectation,
            at=self._clock.now(),
            randomness=self._randomness,
            seconds=self._timeouts.proof_seconds,
        )
        return proof, began_seconds


def _connect(address: Address, *, seconds: float) -> socket.socket:
    try:
        raw = socket.create_connection((address.host, address.port), timeout=seconds)
    except OSError as error:
        raise FetchError(
            "GUEST_UNREACHABLE", f"{address.base_url}: {error.strerror or type(error).__name__}"
        ) from error
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw
