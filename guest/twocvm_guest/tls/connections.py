"""Every connection that a guest has open, and the identity that new ones are shown.

The lock changes the identity once. From that moment no request on an older connection reaches the application and no
answer leaves on one, but for the connection on which the lock was asked for: it answers, and ends.

Where there is no room for a new connection, an older one gives way. Handshakes that are not complete may hold a quarter
of the room at the cost of others: above it the oldest of them gives way, so that opening sockets ends nobody's
connection; below it the oldest of those whom the manifest does not know, idle ones first, so that coming through keeps
nobody out. A participant's connection gives way to nobody but a newer one of the same participant, who has more than
its even share of the room.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from twocvm_verifier.binding import NOT_LOCKED

from .context import server_context
from .identity import PeerConnection, ServerIdentity
from .watch import Limits, Phase

if TYPE_CHECKING:
    from OpenSSL import SSL

_NOBODY: Final[Mapping[bytes, str]] = MappingProxyType({})
# One in so many of the connections may be a handshake that pushes out who has come through its own.
_SHARE_OF_HANDSHAKES: Final = 4


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

    @property
    def phase(self) -> Phase:
        """Whose turn it is; on the event loop's thread only."""
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
        self._participants = _NOBODY

    @property
    def identity(self) -> ServerIdentity:
        """What a connection that begins now is shown."""
        return self._current[0]

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._links)

    def knows(self, peer: PeerConnection | None) -> bool:
        """Return whether a connection has shown a participant's TLS key; nobody is known before the lock."""
        return self._participant(peer) is not None

    def admit(self, link: Link) -> tuple[ServerIdentity, SSL.Context] | None:
        """Take a new connection and return what to show on it, or None where there is no room and nobody gives way.

        On the event loop's thread only.
        """
        with self._mutex:
            if len(self._links) >= self._room:
                if (older := self._who_gives_way()) is None:
                    return None
                self._drop(older)
            self._links[link] = None
            return self._current

    def introduce(self, link: Link) -> None:
        """Take note that a connection has come through its handshake: of one participant there are only so many."""
        with self._mutex:
            if (name := self._participant(link.peer)) is None:
                return
            same = [other for other in self._links if self._participant(other.peer) == name]
            if len(same) > self._share:
                self._drop(next((other for other in same if other.phase is Phase.IDLE), same[0]))

    def forget(self, link: Link) -> None:
        """Drop a connection that has ended."""
        with self._mutex:
            self._links.pop(link, None)

    def swap(
        self,
        identity: ServerIdentity,
        *,
        keep: PeerConnection | None,
        participants: Mapping[bytes, str] = _NOBODY,
    ) -> None:
        """Show `identity` from now on, and close every open connection.

        When this returns, no request of an older connection reaches the application any more. When it raises, nothing
        has changed; so it comes first in whatever step must be indivisible.

        Args:
            identity: The new one, complete with its evidence.
            keep: The connection that still gets the answer to its present request, and is closed then.
            participants: Whose keys are known from now on: names, by the SHA-256 of each key's SPKI DER.

        Raises:
            OpenSSL.SSL.Error: Key and certificate of `identity` do not belong together.
        """
        context = server_context(identity)
        if keep is not None:
            keep.close_after_response()
        with self._mutex:
            self._current, self._participants = (identity, context), MappingProxyType(dict(participants))
            retired = [link for link in self._links if keep is None or link.peer is not keep]
            for link in retired:
                link.retire()

    def snapshot(self) -> tuple[Link, ...]:
        """Return the connections that are open now."""
        with self._mutex:
            return tuple(self._links)

    def _who_gives_way(self) -> Link | None:
        shaking = [link for link in self._links if link.peer is None]
        if len(shaking) * _SHARE_OF_HANDSHAKES > self._room:
            return shaking[0]
        strangers = [link for link in self._links if link.peer and not self.knows(link.peer)]
        idle = [link for link in strangers if link.phase is Phase.STRANGER_IDLE]
        # Of those for whom the guest works, what it has begun is ended: that is short, and paced.
        waited_for = [link for link in strangers if link.phase is not Phase.WORK]
        return next(iter(idle + waited_for + shaking), None)

    def _participant(self, peer: PeerConnection | None) -> str | None:
        key = None if peer is None else peer.participant_spki_sha256
        return None if key is None else self._participants.get(key)

    def _drop(self, link: Link) -> None:
        del self._links[link]
        link.retire()

    @property
    def _share(self) -> int:
        # However many keys each of them has, all but one participant together leave that one its share.
        participants = len(set(self._participants.values()))
        return max(1, min(self.limits.of_one_participant, self.limits.connections // participants))

    @property
    def _room(self) -> int:
        unlocked = self._current[0].manifest == NOT_LOCKED
        return self.limits.unlocked_connections if unlocked else self.limits.connections
