"""A verified connection for protocols other than HTTP.

The attest exchange has been done when one of these exists, so the bytes that follow are the caller's own on both sides.
The caller speaks first, for nothing may follow the answer of that exchange unasked (docs/spec/ratls.md, 4). No further
proof is made on it: who needs a fresh one opens another connection, or speaks HTTP.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from twocvm_verifier.ratls.proof import EXPORTER_LABEL

from .closing import Closing
from .line import seconds_of
from .tlssocket import lost

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from twocvm_verifier.ratls.proof import CertificateProof, ChannelProof

    from .connection import AttestedConnection

_READ_AHEAD_BYTES: Final = 1 << 16


class RatlsConnection(Closing):
    """A stream of bytes to and from a verified guest. Not for use by several threads at once. Made by `Endpoint`.

    Args:
        connection: Proven, nothing else sent on it; owned by this from now on.

    Attributes:
        certificate: What the handshake proved.
        proof: What the channel's evidence proved, on this very connection.
        reader: For protocols of lines or counted bytes: what `recv` reads from too.
    """

    def __init__(self, connection: AttestedConnection) -> None:
        self.certificate: Final[CertificateProof] = connection.certificate
        self.proof: Final[ChannelProof] = connection.proof
        self._connection = connection
        self._tls = connection.exchanges.tls
        self.reader: Final = io.BufferedReader(self._tls, _READ_AHEAD_BYTES)

    @property
    def proof_age_seconds(self) -> float:
        """How long ago the nonce of `proof` was sent, by the monotonic clock."""
        return self._connection.proof_age_seconds

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._connection.closed

    def settimeout(self, seconds: float) -> None:
        """Bound each wait for the next byte to move, from now on.

        Raises:
            ValueError: It is no time: nobody waits for ever by mistake.
        """
        self._tls.wait_seconds = seconds_of(seconds)

    def recv(self, max_bytes: int) -> bytes:
        """Return what came, at most `max_bytes`, waiting for the first byte; empty once the guest has ended the stream.

        Raises:
            FetchError: The connection was lost, ended without a word, or took too long; it has ended.
            HandshakeError: The guest broke it off with an alert; it has ended.
        """
        self._require_open()
        with self._connection.exchanges.ending_on_failure():
            return self.reader.read1(max_bytes)

    def sendall(self, data: ReadableBuffer) -> None:
        """Send all of `data`. Errors as `recv`."""
        self._require_open()
        with self._connection.exchanges.ending_on_failure():
            self._tls.send_all(data)

    def export(self, label: bytes, *, size_bytes: int, context: bytes = b"") -> bytes:
        """Return keying material that only the two ends of this very connection have (RFC 8446, 7.5).

        Args:
            label: As the protocol names it.
            size_bytes: How much.
            context: What it is mixed with.

        Raises:
            ValueError: The label is that of attestation.
        """
        if label == EXPORTER_LABEL:
            raise ValueError(f"label: {label!r} is for attestation alone")
        return self._tls.tls.export_keying_material(label, size_bytes, context)

    def close(self) -> None:
        """End the connection; a second call does nothing."""
        self._connection.close()

    def _require_open(self) -> None:
        if self.closed:
            raise lost("has ended")
