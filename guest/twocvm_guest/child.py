"""A program that is run for the length of a `with`, and is gone afterwards: also where this process is killed in it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import IO, Final, Self

# How long what was told to stop may take, before it is killed; a guest wipes itself meanwhile.
_STOP_SECONDS: Final = 5.0
# The kernel kills what follows with whoever started it, and forgets that at no execve(2) of an ordinary program. Whose
# parent is another one by then has missed it (PR_SET_PDEATHSIG(2const)). A program of its own, for nothing may be run
# between fork and exec where there are threads. Python ignores two signals, and an execve(2) does not change that.
_TIED: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
for each in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(each, signal.SIG_DFL)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


class Child:
    """A process of one's own; ended with the `with`, and killed with the thread that started it.

    Args:
        words: The program and its arguments.
        output: Where what it prints goes.
        errors: Where what else it says goes.
    """

    def __init__(self, words: tuple[str, ...], *, output: IO[bytes] | int, errors: IO[bytes]) -> None:
        self._process: Final = subprocess.Popen(  # the caller's fixed program, no shell
            (sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
        )

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
