"""Where work is done that takes a while, and a bound on what waits for it.

What asks a disk, a network or a key's keeper is done by a few threads: a `Line`. What only computes, and not for long,
is done on the event loop itself, for the way to a thread and back costs a tenth of a judgement: `Turns`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeVar

from twocvm_verifier.clock import Clock

from .problems import ServiceError

# Some six judgements; nobody notices that a probe waits for so long.
ROW_SECONDS: Final = 0.01
_T = TypeVar("_T")


class Line:
    """A few threads, and a bound on what waits for them.

    Args:
        threads: How many.
        max_waiting: How much may be running and waiting.
    """

    def __init__(self, *, threads: int, max_waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="appraisal")
        self._free = max_waiting

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run one piece of work in its turn.

        Raises:
            ServiceError: SERVICE_BUSY.
        """
        if not self._free:
            raise _busy()
        self._free -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._free += 1

    def stop(self) -> None:
        """Begin nothing more; what runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Turns(Generic[_T]):
    """Work on the event loop: what is there at a time is done in a row, and then the loop looks after everybody else.

    Done in a row, and answered in a row, it costs less than each by itself between other things, by what a processor
    remembers. Who wants something else waits for `ROW_SECONDS` and one piece at most, however much there is.
    Of one event loop.

    Args:
        max_waiting: How much may wait.
        clock: Says how long a row takes.
    """

    def __init__(self, *, max_waiting: int, clock: Clock) -> None:
        self._max_waiting = max_waiting
        self._clock = clock
        self._waiting: deque[tuple[asyncio.Future[_T], Callable[[], _T]]] = deque()

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run one piece of work in its turn; it computes for a few milliseconds at most, and waits for nothing.

        Raises:
            ServiceError: SERVICE_BUSY.
        """
        if len(self._waiting) >= self._max_waiting:
            raise _busy()
        loop = asyncio.get_running_loop()
        if not self._waiting:
            # Once round the loop, for those who are just arriving.
            loop.call_soon(loop.call_soon, self._row)
        turn: asyncio.Future[_T] = loop.create_future()
        self._waiting.append((turn, work))
        return await turn

    def _row(self) -> None:
        end = self._clock.monotonic_seconds() + ROW_SECONDS
        while True:
            turn, work = self._waiting.popleft()
            # Who has gone away meanwhile is judged no more.
            if not turn.done():
                try:
                    turn.set_result(work())
                except Exception as error:  # noqa: BLE001 - whatever it is, it is for who waits
                    turn.set_exception(error)
            if not self._waiting:
                return
            if self._clock.monotonic_seconds() >= end:
                turn.get_loop().call_soon(self._row)
                return


def _busy() -> ServiceError:
    return ServiceError("SERVICE_BUSY", "appraisals: too many are waiting")
