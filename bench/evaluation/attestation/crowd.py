"""Threads that ask at the same moment, and when each of them was answered.

All wait at a barrier. The time begins when it opens, for all alike; in whichever order they are answered, the first
answer is position 1. So a thread that starts late has no short time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from bench.evaluation.model import FailedError, Timing

Ask = Callable[[], object]
_Clocks = tuple[int, int]
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

    def sample(self) -> tuple[Timing, ...]:
        """Let all ask at once, and wait until each was answered."""
        before, cpu = self._calls(), time.process_time_ns()
        (start, wall_start), ends = self._answers()
        calls, cpu = self._calls() - before, time.process_time_ns() - cpu
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

    def _answers(self) -> tuple[_Clocks, list[_Clocks]]:
        """Return when the barrier opened, and when each was answered, in order."""
        opened: list[_Clocks] = []
        ends: list[_Clocks] = []
        errors: list[Exception] = []
        barrier = threading.Barrier(len(self._asks), lambda: opened.append(_clocks()), timeout=_SECONDS)

        def answered(ask: Ask) -> None:
            try:
                barrier.wait()
                ask()
                ends.append(_clocks())
            except Exception as error:  # noqa: BLE001, it is told below
                errors.append(error)

        # As daemons, so that nobody waits for one that never ends, once this was interrupted.
        threads = [threading.Thread(target=answered, args=(ask,), daemon=True) for ask in self._asks]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        if errors:
            raise FailedError(f"somebody got no answer: {type(errors[0]).__name__}: {errors[0]}") from errors[0]
        return opened[0], sorted(ends)

    def close(self) -> None:
        """Give back what they asked."""
        self._end()


def _clocks() -> _Clocks:
    return time.monotonic_ns(), time.time_ns()
