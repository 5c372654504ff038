"""A few threads, and a bound on what waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .problems import ServiceError

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
            raise ServiceError("SERVICE_BUSY", "appraisals: too many are waiting")
        self._free -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._free += 1

    def stop(self) -> None:
        """Begin nothing more; what runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
