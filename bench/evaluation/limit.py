"""How long a thing may take: whoever waits for something that never ends is told so.

The main thread is interrupted by an alarm, wherever it waits. What is measured natively computes in a process of its
own, so that there is always somebody to wait for.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager


class OverrunError(BaseException):
    """It took too long. No `Exception`, so that nobody on the way takes it for one of his own."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Interrupt what the main thread does in a `with` for longer than that; another alarm goes on afterwards.

    Raises:
        OverrunError: It took longer.
    """

    def end(*_: object) -> None:
        raise OverrunError(f"it took more than {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, end)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    began = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 0.001))
