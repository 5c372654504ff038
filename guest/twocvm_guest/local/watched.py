"""The guest's runtime, with a witness in every worker.

Nothing else differs: the same admission, isolation, limits, clocks and order. What a component says and how it ended
comes through two pipes for each node, which its worker writes to without waiting, and which are read when it is over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

from twocvm_guest.runtime.isolation import IsolationReport
from twocvm_guest.runtime.supervisor import Runtime
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.graph import Node

# What a pipe holds; see pipe(7), "Pipe capacity".
_PIPE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """What one node told.

    Attributes:
        said: What its component wrote to stdout and stderr, in order, up to about 64 KiB.
        dropped_bytes: What it wrote beyond that.
        has_ended: It ended by itself. Else it was ended from outside, and nothing but `said` is known.
        seconds: From the start of its component to the end.
        memory_bytes: What it made the worker have, beside what every worker has.
        fuel: Instructions; 0 where the manifest has no fuel for it.
        exit_code: Of the component, or -1 where it did not end so.
        cause: What the engine says of a trap, with names from the component; else empty.
    """

    said: str
    dropped_bytes: int = 0
    has_ended: bool = False
    seconds: float = 0.0
    memory_bytes: int = 0
    fuel: int = 0
    exit_code: int = -1
    cause: str = ""


class WatchedRuntime(Runtime):
    """A runtime for who may know everything: every data item is the caller's own. Use as a context manager.

    Args:
        manifest: What is run.
        isolation: As of `Runtime`.
    """

    def __init__(self, manifest: Manifest, *, isolation: IsolationReport) -> None:
        super().__init__(manifest, isolation=isolation)
        self._pipes: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()
        for pipes in self._pipes.values():
            for descriptor in (*pipes[0], *pipes[1]):
                os.close(descriptor)
        self._pipes.clear()

    def testimonies(self) -> Mapping[str, Testimony]:
        """Return what each node that was started has told, by name; call once, when the run is over."""
        return MappingProxyType(
            {name: _testimony(_drain(said), _drain(told)) for name, ((said, _), (told, _)) in self._pipes.items()}
        )

    def _witness(self, node: Node) -> tuple[int, ...]:
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._pipes[node.name] = (said, told) = (os.pipe2(flags), os.pipe2(flags))
        return (said[1], told[1])


def _drain(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _PIPE_BYTES)
    except BlockingIOError:
        return b""


def _testimony(said: bytes, told: bytes) -> Testimony:
    text = said.decode("utf-8", errors="replace")
    if not told:
        return Testimony(said=text)
    figures = json.loads(told)
    return Testimony(
        said=text,
        dropped_bytes=figures["dropped_bytes"],
        has_ended=True,
        seconds=figures["nanoseconds"] / 1e9,
        memory_bytes=figures["memory_bytes"],
        fuel=figures["fuel"],
        exit_code=figures["exit_code"],
        cause=figures["cause"],
    )
