"""The host's hands on a machine that runs: QEMU's monitor, as far as tests need it.

with Monitor(path) as host:
    host.do("system_reset")
    host.wait_for("RESET")

Spec: QEMU 7.2, docs/interop/qmp-spec.txt.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

PATIENCE_SECONDS: Final = 60.0


class Monitor:
    """A connection to the monitor of one machine, for the length of a `with`.

    Args:
        path: The socket that QEMU listens at, or will in a moment.
    """

    def __init__(self, path: Path) -> None:
        self._link: Final = _connected(path)
        self._link.settimeout(PATIENCE_SECONDS)
        self._lines: Final = self._link.makefile("r", encoding="utf-8")
        self._events: list[str] = []
        if "QMP" not in self._read():
            raise ConnectionError("monitor: no greeting")
        self.do("qmp_capabilities")

    def do(self, command: str, **arguments: Any) -> Any:
        """Have a command done, and return what it answers; of its arguments' names `_` stands for `-`.

        Raises:
            RuntimeError: QEMU refused.
        """
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        self._link.sendall(json.dumps({"execute": command, "arguments": named}).encode() + b"\n")
        while True:
            answer = self._read()
            if "event" in answer:
                self._events.append(answer["event"])
            elif "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def wait_for(self, event: str) -> None:
        """Wait for an event that nobody has waited for yet; those before it are forgotten."""
        while True:
            while self._events:
                if self._events.pop(0) == event:
                    return
            self._events.append(self._read().get("event", ""))

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Let the machine stand still, with its clocks, for the length of a block."""
        self.do("stop")
        try:
            yield
        finally:
            self.do("cont")

    def _read(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise ConnectionError("monitor: the machine is gone")
        read: dict[str, Any] = json.loads(line)
        return read

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._link.close()


def _connected(path: Path) -> socket.socket:
    last = time.monotonic() + PATIENCE_SECONDS
    while True:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            link.close()
            if time.monotonic() > last:
                raise
            time.sleep(0.02)
        else:
            return link
