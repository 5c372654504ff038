"""A body of a request that a test holds back in its middle."""

from __future__ import annotations

import threading
from collections.abc import Iterator


class Paced:
    """A body that stops in its middle until it may go on, or breaks there."""

    def __init__(self, content: bytes, *, breaks: bool) -> None:
        self._content = content
        self._breaks = breaks
        self.half_sent = threading.Event()
        self.may_go_on = threading.Event()

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[bytes]:
        half = len(self._content) // 2
        yield self._content[:half]
        self.half_sent.set()
        if self._breaks:
            raise ConnectionAbortedError("a test")
        if not self.may_go_on.wait(20):
            raise TimeoutError("a test")
        yield self._content[half:]
