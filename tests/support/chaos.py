"""A wire to a guest that breaks, or leads elsewhere, where a test says.

    with Wire(guest) as wire:
        wire.breaks.extend([Break(up_bytes=300), Break(down_bytes=5000)])     # of the next two connections
        wire.target = other                                                     # of those after them

Bytes are those on the wire, so every phase of a connection can be hit: handshake, evidence, a request, an upload.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from tests.support.guest import LiveGuest

_NEVER: Final = 1 << 62
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, kw_only=True)
class Break:
    """Where a connection ends: after so many bytes to the guest, or from it, whatever comes first.

    Attributes:
        up_bytes: Carried to the guest in all.
        down_bytes: Carried from it in all.
        reset: Whether both ends see a reset instead of an end.
        unnoticed_seconds: How long the guest hears nothing of it.
    """

    up_bytes: int = _NEVER
    down_bytes: int = _NEVER
    reset: bool = False
    unnoticed_seconds: float = 0.0


class Wire:
    """What lies between a participant and a guest; use as a context manager.

    Attributes:
        target: Where the next connection leads; None is nowhere.
        targets: Where the next few lead instead, one each.
        breaks: Of the next connections, one each; afterwards none breaks.
        connections: How many there were.
        carried: Bytes to the guest and from it, over each.
    """

    def __init__(self, guest: LiveGuest) -> None:
        self.target: LiveGuest | None = guest
        self.targets: deque[LiveGuest | None] = deque()
        self.breaks: deque[Break] = deque()
        self.carried: list[list[int]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def connections(self) -> int:
        """How many connections there were."""
        return len(self.carried)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                target = self.targets.popleft() if self.targets else self.target
                counted = [0, 0]
                self.carried.append(counted)
                if target is None:
                    client.close()
                    continue
                broken = self.breaks.popleft() if self.breaks else Break()
                guest = socket.create_connection(("127.0.0.1", int(target.url.rpartition(":")[2])))
                arguments = (client, guest, broken, counted)
                threading.Thread(target=_carry, args=arguments, daemon=True).start()


def _carry(client: socket.socket, guest: socket.socket, broken: Break, counted: list[int]) -> None:
    left = [broken.up_bytes, broken.down_bytes]
    with guest, client, selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
        selector.register(client, selectors.EVENT_READ, (0, guest))
        selector.register(guest, selectors.EVENT_READ, (1, client))
        while all(left):
            for key, _ in selector.select():
                way, to = key.data
                data = key.fileobj.recv(min(1 << 16, left[way]))  # type: ignore[union-attr]
                if not data:
                    return
                to.sendall(data)
                left[way] -= len(data)
                counted[way] += len(data)
                if not left[way]:
                    break
        _end(client, guest, broken)


def _end(client: socket.socket, guest: Any, broken: Break) -> None:
    if broken.reset:
        for each in (client, guest):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.close()
    time.sleep(broken.unnoticed_seconds)
