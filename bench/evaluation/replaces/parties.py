"""Three parties of MPyC, each a process of its own: on loopback, or in a network namespace each."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from bench.evaluation.build import ROOT
from bench.evaluation.model import Timing
from bench.evaluation.process import Served

from .links import PARTIES, Links, address

_MODULE: Final = "bench.evaluation.elsewhere.mpc_party"
_PORT: Final = 11365
_SECONDS: Final = 10


class Parties:
    """Ready once all are connected and the numbers are shared; party 0 tells the time.

    Args:
        python: The Python that has MPyC.
        request: What each is asked.
        linked: Whether each has a namespace of its own, with links of 10 ms.

    Raises:
        MissingError: There are no such links here.
    """

    def __init__(self, python: Path, request: dict[str, object], *, linked: bool) -> None:
        with ExitStack() as stack:
            self._links = stack.enter_context(closing(Links())) if linked else None
            commands = _commands(python, self._links)
            for command in commands[1:]:
                _follow(command, request, stack)
            self._first = Served(commands[0], request)
            # The first to end: then the others have nobody to follow.
            stack.callback(self._first.close)
            self._closing = stack.pop_all()

    def sample(self) -> tuple[Timing, ...]:
        """Have them multiply."""
        return self._first.sample()

    def conditions(self) -> Mapping[str, float]:
        """Return what was measured of their links; on loopback nothing is."""
        return self._links.conditions() if self._links else {}

    def close(self) -> None:
        """End all of them, and their links.

        Raises:
            MissingError: The links were not what they are to be.
        """
        self._closing.close()
        if self._links:
            self._links.require_in_time()


def _commands(python: Path, links: Links | None) -> list[list[str]]:
    peers = [f"{address(each)}:{_PORT}" for each in range(PARTIES)] if links else _loopback()
    options = [part for each in peers for part in ("-P", each)]
    return [
        [*(links.inside(each) if links else ()), str(python), "-m", _MODULE, "--no-log", "-I", str(each), *options]
        for each in range(PARTIES)
    ]


def _follow(command: list[str], request: dict[str, object], stack: ExitStack) -> None:
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stack.callback(_end, process)
    assert process.stdin is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()


def _end(process: subprocess.Popen[str]) -> None:
    # It waits for a party that has gone.
    process.kill()
    process.communicate(timeout=_SECONDS)


def _loopback() -> list[str]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(PARTIES)]
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
