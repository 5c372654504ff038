"""A platform whose device a test holds, breaks and counts.

Inside `with platform.held():` the device is at work with the first call that comes; `platform.reports` has the
REPORT_DATA of every report that was made.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from twocvm_guest.platforms.attester import Attester


class SlowPlatform:
    """An `Attester` around another.

    Args:
        attester: What makes the reports.

    Attributes:
        reports: REPORT_DATA of each report that was made, in order.
        failing: Further calls fail while this is set.
    """

    name = "simulated"

    def __init__(self, attester: Attester) -> None:
        self.reports: list[bytes] = []
        self.failing: OSError | None = None
        self._attester = attester
        self._free = threading.Event()
        self._free.set()
        self._called = threading.Event()
        self._users = threading.Semaphore()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the device at work, from its next call on, until the `with` ends."""
        self._called.clear()
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def wait_until_called(self) -> None:
        """Wait for the first call since `held` began."""
        if not self._called.wait(10):
            raise TimeoutError("nobody called the device")

    def report(self, report_data: bytes) -> bytes:
        """Return a report, unless two ask at once."""
        if not self._users.acquire(blocking=False):
            raise RuntimeError("the device was called while it was at work")
        try:
            self._called.set()
            if not self._free.wait(10):
                raise TimeoutError("a test holds the device for ever")
            if self.failing is not None:
                raise self.failing
            self.reports.append(report_data)
            return self._attester.report(report_data)
        finally:
            self._users.release()

    def quote(self, report_data: bytes) -> bytes | None:
        """Return the other's."""
        return self._attester.quote(report_data)

    def vek(self) -> bytes:
        """Return the other's."""
        return self._attester.vek()

    def chain(self) -> bytes:
        """Return the other's."""
        return self._attester.chain()

    def crl(self) -> bytes | None:
        """Return the other's."""
        return self._attester.crl()
