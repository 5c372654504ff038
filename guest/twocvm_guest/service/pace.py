"""How often the guest makes evidence: all who wait share one report, but each of them costs the guest some work.

Each connection may ask a few times in a row and then once a second. Of the requests that wait for the platform at any
moment only so many may be of callers that the manifest does not know: strangers delay a participant by one report and
the work for their answers, however many they are. On the event loop's thread only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
