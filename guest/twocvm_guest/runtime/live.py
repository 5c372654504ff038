"""The workers that are alive, so that all of them can be ended at once, from any thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from .messages import Job
from .process import Worker


class EndedError(Exception):
    """No worker starts any more."""


class Live:
    """Every worker of one runtime."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._workers: set[Worker] = set()
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    @contextlib.contextmanager
    def start(self, job: Job) -> Iterator[Worker]:
        """Start a worker, which is ended when the block is left, or at once when `end` is called.

        Raises:
            EndedError: `end` was called.
        """
        with self._guard:
            if self._ended:
                raise EndedError
            worker = Worker(job)
            self._workers.add(worker)
        try:
            with worker:
                yield worker
        finally:
            with self._guard:
                self._workers.discard(worker)

    def end(self) -> None:
        """Kill every worker and let none start again."""
        with self._guard:
            self._ended = True
            workers = tuple(self._workers)
        for worker in workers:
            worker.kill()
