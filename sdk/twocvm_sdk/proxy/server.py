"""Takes tools' connections, each in a thread of its own with a connection of its own to the guest."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from twocvm_verifier.errors import ReleaseError

from .relay import Observer, Relay

if TYPE_CHECKING:
    from twocvm_sdk.endpoint import Endpoint

    from .gate import Gate
    from .listener import Listener

# Each is a thread here and a connection at the guest, which has a limit of its own.
MAX_CONNECTIONS: Final = 32
_TICK_SECONDS: Final = 0.2
_END_SECONDS: Final = 5.0


class Proxy:
    """A proxy for one guest.

    Args:
        endpoint: The guest.
        listener: Where tools connect; whoever opened it closes it.
        gate: Which requests pass.
        observer: Told of connections to the guest, and of refusals.
    """

    def __init__(self, endpoint: Endpoint, *, listener: Listener, gate: Gate, observer: Observer) -> None:
        self._endpoint = endpoint
        self._listener = listener
        self._gate = gate
        self._observer = observer
        self._lock = threading.Lock()
        self._relays: dict[Relay, threading.Thread] = {}

    def serve(self, stopping: threading.Event) -> None:
        """Serve until `stopping` is set; then everything under way is broken off."""
        self._listener.socket.settimeout(_TICK_SECONDS)
        try:
            while not stopping.is_set():
                try:
                    raw, _ = self._listener.socket.accept()
                except TimeoutError:
                    continue
                self._start(Relay(raw, endpoint=self._endpoint, gate=self._gate, observer=self._observer))
        finally:
            self._end()

    def _start(self, relay: Relay) -> None:
        thread = threading.Thread(target=self._run, args=(relay,), daemon=True)
        with self._lock:
            busy = len(self._relays) >= MAX_CONNECTIONS
            if not busy:
                self._relays[relay] = thread
        if busy:
            relay.refuse(ReleaseError("PROXY_BUSY", f"proxy: serves {MAX_CONNECTIONS} connections already"))
        else:
            thread.start()

    def _run(self, relay: Relay) -> None:
        try:
            relay.serve()
        finally:
            with self._lock:
                del self._relays[relay]

    def _end(self) -> None:
        with self._lock:
            running = dict(self._relays)
        for relay in running:
            relay.stop()
        for thread in running.values():
            thread.join(_END_SECONDS)
