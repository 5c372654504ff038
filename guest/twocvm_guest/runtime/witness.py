"""What a worker tells of a component beside its outcome, where all data is the watcher's own: everything.

A worker imports this only where its job has a witness, and only `twocvm run --local` gives a job one. What the
component does is the same with and without: its streams take whatever it writes, and what the pipe has no room for is
dropped.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Final

from wasmtime import ExitTrap, WasmtimeError

MAX_CAUSE_CHARACTERS: Final = 4096


class Witness:
    """Hears what a component says, and tells how it ended.

    Args:
        pipes: `Job.witness`: where what it says goes and where the end is told, both without waiting.
    """

    def __init__(self, pipes: tuple[int, ...]) -> None:
        self._said, self._told = pipes
        self._dropped_bytes = 0
        self._start_ns = time.monotonic_ns()

    def hear(self, said: bytes) -> int:
        """Take what a component wrote to a standard stream; return how much of it that was, which is all."""
        kept = 0
        # A full pipe takes nothing.
        with contextlib.suppress(BlockingIOError):
            kept = os.write(self._said, said)
        self._dropped_bytes += len(said) - kept
        return len(said)

    def tell(self, cause: WasmtimeError | None, *, fuel: int, memory_bytes: int) -> None:
        """Tell how the component ended.

        Args:
            cause: What the engine raised, if it did.
            fuel: Instructions that were counted.
            memory_bytes: What it made this process have.
        """
        figures = {
            "nanoseconds": time.monotonic_ns() - self._start_ns,
            "fuel": fuel,
            "memory_bytes": memory_bytes,
            "dropped_bytes": self._dropped_bytes,
            "exit_code": cause.code if isinstance(cause, ExitTrap) else -1,
            "cause": "" if cause is None else str(cause)[-MAX_CAUSE_CHARACTERS:],
        }
        os.write(self._told, json.dumps(figures).encode())
