"""A program that is run for the length of a `with`, and is gone afterwards."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

# How long what was told to stop may take, before it is killed; a guest wipes itself meanwhile.
_STOP_SECONDS: Final = 5.0


class Child:
    """A process of one's own; ended with the `with`.

    Args:
        process: Started, and nobody else's to wait for.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process: Final = process

    @property
    def pid(self) -> int:
        """The process, for whoever measures it."""
        return self._process.pid

    def wait_ended(self, seconds: float) -> int | None:
        """Wait for it to end by itself, and return its exit status; None where it goes on."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def stop(self) -> None:
        """End it, whatever it is doing. May be called more than once, from any thread."""
        self._process.terminate()
        if self.wait_ended(_STOP_SECONDS) is None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
