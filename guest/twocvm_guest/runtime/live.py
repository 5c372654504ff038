"""The workers that are alive, so that all of them can be ended at once, from any thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from .process import Worker


class EndedError(Exception):
    """No worker starts any more."""


class Live:
    """Every worker of one runtime."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._workers: set[Worker] = set()
        self._spare: Worker | None = None
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    @contextlib.contextmanager
    def start(self) -> Iterator[Worker]:
        """Start a worker, or take the spare one. It is ended when the block is left, or at once when `end` is called.

        Raises:
            EndedError: `end` was called.
        """
        with self._guard:
            if self._ended:
                raise EndedError
            worker, self._spare = self._spare or Worker(), None
            self._workers.add(worker)
        try:
            with worker:
                yield worker
        finally:
            with self._guard:
                self._workers.discard(worker)

    def prepare(self) -> None:
        """Start the process of the next worker, which takes longest, while others work; it holds nothing yet.

        The calling thread must outlive that worker: the kernel ends a process with the thread that started it.
        """
        with self._guard:
            if not self._ended and self._spare is None:
                self._spare = Worker()
                self._workers.add(self._spare)

    def dismiss(self) -> None:
        """End a spare worker that nobody took."""
        with self._guard:
            spare, self._spare = self._spare, None
            if spare is None:
                return
            self._workers.discard(spare)
        with spare:
            pass

    def end(self) -> None:
        """Kill every worker and let none start again."""
        with self._guard:
            self._ended = True
            workers = tuple(self._workers)
        for worker in workers:
            worker.kill()
