"""Threads that ask at the same moment, and when each of them was answered.

All wait at a barrier. The time begins when it opens, for all alike; in whichever order they are answered, the first
answer is position 1. So a thread that starts late has no short time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bench.evaluation.model import FailedError, Timing

Ask = Callable[[], object]
_SECONDS: Final = 60
MOST_SHOWN: Final = 10


def places(threads: int) -> tuple[int, ...]:
    """Return the positions that are kept of so many: all, or ten evenly from the first to the last.

    >>> places(3), places(100)
    ((1, 2, 3), (1, 12, 23, 34, 45, 56, 67, 78, 89, 100))
    """
    if threads <= MOST_SHOWN:
        return tuple(range(1, threads + 1))
    return tuple(1 + round(number * (threads - 1) / (MOST_SHOWN - 1)) for number in range(MOST_SHOWN))


class Crowd:
    """A candidate: each sample is one barrier, with a timing for each of `places`; its value is the device's calls.

    Args:
        asks: What each thread does.
        calls: How many times the device was called until now.
        end: Called when it is closed.
    """

    def __init__(self, asks: Sequence[Ask], *, calls: Callable[[], int], end: Callable[[], object]) -> None:
        self._asks = asks
        self._calls = calls
        self._end = end
        self._threads = ThreadPoolExecutor(len(asks))

    def sample(self) -> tuple[Timing, ...]:
        """Let all ask at once, and wait until each was answered."""
        opened: list[tuple[int, int]] = []
        barrier = threading.Barrier(len(self._asks), lambda: opened.append(_clocks()), timeout=_SECONDS)

        def answered(ask: Ask) -> tuple[int, int]:
            barrier.wait()
            ask()
            return _clocks()

        before, cpu = self._calls(), time.process_time_ns()
        try:
            ends = sorted(self._threads.map(answered, self._asks))
        except Exception as error:
            raise FailedError(f"somebody got no answer: {type(error).__name__}: {error}") from error
        calls, cpu = self._calls() - before, time.process_time_ns() - cpu
        ((start, wall_start),) = opened
        return tuple(
            Timing(
                start_ns=start,
                end_ns=ends[place - 1][0],
                wall_start_ns=wall_start,
                wall_end_ns=ends[place - 1][1],
                cpu_ns=cpu,
                digest=f"{len(ends)} answers",
                value=calls,
            )
            for place in places(len(ends))
        )

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown()
        self._end()


def _clocks() -> tuple[int, int]:
    return time.monotonic_ns(), time.time_ns()
