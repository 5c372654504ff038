"""How often the guest makes evidence: all who wait share one report, but each of them costs the guest some work.

Each connection may ask a few times in a row and then once a second. Of the requests that wait for the platform at any
moment only so many may be of callers that the manifest does not know: strangers delay a participant by one report and
the work for their answers, however many they are.

The body of a lock is anybody's, large, and read one at a time. Whoever sends one has a while in which nobody disturbs
it, and from then on gives way to the next who comes: a client that drips a body holds up a lock for no longer.

On the event loop's thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from weakref import WeakKeyDictionary

from twocvm_guest.tls import PeerConnection
from twocvm_verifier.clock import Clock
from twocvm_verifier.errors import ReleaseError

BURST: Final = 8
PER_SECOND: Final = 1.0
# An answer takes the guest some 0.2 ms beside the report.
WAITING_STRANGERS: Final = 128
WAITING_PARTICIPANTS: Final = 1024
# A manifest of 100 KiB takes less on any line; a body of three megabytes may need longer, where nobody else comes.
UNDISTURBED_SECONDS: Final = 2.0


class Pace:
    """Who may ask for evidence now.

    Args:
        clock: Only differences of its monotonic seconds count.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        # By connection: how many requests it has left, and at what time.
        self._left: WeakKeyDictionary[PeerConnection, tuple[float, float]] = WeakKeyDictionary()
        self._waiting = {False: 0, True: 0}

    @contextmanager
    def turn(self, peer: PeerConnection, *, known: bool) -> Iterator[None]:
        """Take one request of a connection into account, for the length of a `with`.

        Args:
            peer: The connection.
            known: Whether the manifest has its key.

        Raises:
            ReleaseError: TOO_MANY_REQUESTS.
        """
        now = self._clock.monotonic_seconds()
        left, since = self._left.get(peer, (float(BURST), now))
        left = min(float(BURST), left + (now - since) * PER_SECOND)
        room = WAITING_PARTICIPANTS if known else WAITING_STRANGERS
        if left < 1 or self._waiting[known] >= room:
            raise ReleaseError("TOO_MANY_REQUESTS", "evidence: asked for too often")
        self._left[peer] = (left - 1, now)
        self._waiting[known] += 1
        try:
            yield
        finally:
            self._waiting[known] -= 1


class LockTurn:
    """Whose lock is read and judged now.

    Args:
        clock: Only differences of its monotonic seconds count.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        self._taken = asyncio.Lock()
        self._reading: asyncio.Timeout | None = None
        self._since_seconds = 0.0

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Be the one, for the length of a `with`.

        Raises:
            ReleaseError: TOO_MANY_REQUESTS, where another's is being judged, or has been read for a short while only.
        """
        if self._taken.locked() and not self._interrupted():
            raise ReleaseError("TOO_MANY_REQUESTS", "lock: another one is being judged")
        async with self._taken:
            yield

    @contextmanager
    def reading(self, limit: asyncio.Timeout) -> Iterator[None]:
        """Let the next who comes end `limit`, once it has gone on for a while, for the length of a `with`."""
        self._reading, self._since_seconds = limit, self._clock.monotonic_seconds()
        try:
            yield
        finally:
            self._reading = None

    def _interrupted(self) -> bool:
        reading_seconds = self._clock.monotonic_seconds() - self._since_seconds
        if self._reading is None or reading_seconds < UNDISTURBED_SECONDS:
            return False
        self._reading.reschedule(asyncio.get_running_loop().time())
        self._reading = None
        return True
