"""Every connection that a guest has open, and the identity that new ones are shown.

The lock changes the identity once. From that moment no request on an older connection reaches the application and no
answer leaves on one, but for the connection on which the lock was asked for: it answers, and ends.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from twocvm_verifier.binding import NOT_LOCKED

from .context import server_context
from .identity import PeerConnection, ServerIdentity
from .watch import Limits

if TYPE_CHECKING:
    from OpenSSL import SSL


class Link(Protocol):
    """An open connection, as the registry sees it; nothing here waits."""

    @property
    def peer(self) -> PeerConnection | None:
        """What its requests see of it; None before the handshake is complete."""
        ...

    @property
    def is_incomplete(self) -> bool:
        """Whether the client has begun a handshake or a request and not ended it."""
        ...

    def retire(self) -> None:
        """Let nothing more in or out, and close; from any thread."""
        ...

    def sweep(self) -> None:
        """Close if the client has had its time; on the event loop's thread only."""
        ...


class Connections:
    """The registry of open connections. From any thread.

    Args:
        identity: What connections are shown until `swap`.
        limits: What clients may cost.
    """

    def __init__(self, identity: ServerIdentity, *, limits: Limits) -> None:
        self.limits = limits
        self._mutex = threading.Lock()
        # In the order in which they came.
        self._links: dict[Link, None] = {}
        self._current = (identity, server_context(identity))

    @property
    def identity(self) -> ServerIdentity:
        """What a connection that begins now is shown."""
        return self._current[0]

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._links)

    def admit(self, link: Link) -> tuple[ServerIdentity, SSL.Context] | None:
        """Take a new connection and return what to show on it, or None where there are too many already.

        Where there is no room, the oldest connection that has not come through its handshake makes some: whoever only
        opens sockets, however many, keeps nobody out.
        """
        with self._mutex:
            if len(self._links) >= self._room and not self._drop_oldest_without_handshake():
                return None
            self._links[link] = None
            return self._current

    def forget(self, link: Link) -> None:
        """Drop a connection that has ended."""
        with self._mutex:
            self._links.pop(link, None)

    def swap(self, identity: ServerIdentity, *, keep: PeerConnection | None) -> None:
        """Show `identity` from now on, and close every open connection.

        When this returns, no request of an older connection reaches the application any more. When it raises, nothing
        has changed; so it comes first in whatever step must be indivisible.

        Args:
            identity: The new one, complete with its evidence.
            keep: The connection that still gets the answer to its present request, and is closed then.

        Raises:
            OpenSSL.SSL.Error: Key and certificate of `identity` do not belong together.
        """
        context = server_context(identity)
        if keep is not None:
            keep.close_after_response()
        with self._mutex:
            self._current = (identity, context)
            retired = [link for link in self._links if keep is None or link.peer is not keep]
            for link in retired:
                link.retire()

    def snapshot(self) -> tuple[Link, ...]:
        """Return the connections that are open now."""
        with self._mutex:
            return tuple(self._links)

    def _drop_oldest_without_handshake(self) -> bool:
        oldest = next((link for link in self._links if link.peer is None), None)
        if oldest is None:
            return False
        del self._links[oldest]
        oldest.retire()
        return True

    @property
    def _room(self) -> int:
        unlocked = self._current[0].manifest == NOT_LOCKED
        return self.limits.unlocked_connections if unlocked else self.limits.connections
