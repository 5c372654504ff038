"""How often one source is asked: in turn, no faster than it bears, and not while it asks to be left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable

from twocvm_verifier.clock import Clock
from twocvm_verifier.errors import FetchError


class Pace:
    """The turns at one source. May be shared between threads, and should be by all that ask the same source.

    Args:
        clock: Measures the time between turns.
        interval_seconds: The least time from one turn to the next.
        pause: Waits for so many seconds; `time.sleep` outside tests.
    """

    def __init__(self, *, clock: Clock, interval_seconds: float, pause: Callable[[float], None]) -> None:
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._pause = pause
        self._free_at = clock.monotonic_seconds()
        self._lock = threading.Lock()

    def wait_turn(self, *, most_seconds: float, paced: bool) -> None:
        """Wait until it is the caller's turn.

        Args:
            most_seconds: Give up rather than wait longer than this.
            paced: Whether the turn keeps others away for the interval; small documents that many chips share need not.

        Raises:
            FetchError: The turn would come too late (`FETCH_BUSY`).
        """
        last = self._clock.monotonic_seconds() + most_seconds
        while True:
            with self._lock:
                now = self._clock.monotonic_seconds()
                wait_seconds = self._free_at - now
                if wait_seconds <= 0:
                    self._free_at = now + (self._interval_seconds if paced else 0.0)
                    return
            if now + wait_seconds > last:
                raise FetchError(
                    "FETCH_BUSY",
                    f"source: the next turn is in {wait_seconds:.0f} s, later than this caller can wait",
                    retry_after_seconds=wait_seconds,
                )
            self._pause(wait_seconds)

    def hold(self, seconds: float) -> None:
        """Leave the source alone for so long, whoever's turn it would be."""
        with self._lock:
            self._free_at = max(self._free_at, self._clock.monotonic_seconds() + seconds)
