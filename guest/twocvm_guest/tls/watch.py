"""How long a client may take for each step, decided without a clock or a socket of its own.

A connection is in one phase at a time. Some phases must end within a time; in the others the client must keep moving
a certain number of bytes. While the guest itself is the one to act, nobody is late.

>>> watch = Watch(Limits(handshake_seconds=10), now=0.0)
>>> [watch.overdue(Phase.HANDSHAKE, requests=0, moved_bytes=0, now=now) for now in (9.0, 10.5)]
[False, True]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, and all clients together, may cost a guest (`docs/spec/ratls.md`, 5).

    Attributes:
        connections: How many may be open at once.
        unlocked_connections: The same before the lock, when nobody has to be there but who locks.
        handshake_seconds: From the first packet to the end of the handshake.
        head_seconds: For a request's head to be complete: after the handshake, and after the first byte of a later one.
        of_one_participant: How many of them may be of one participant; fewer where its even share of them is less.
        idle_seconds: Between two requests of a participant.
        stranger_idle_seconds: The same of whoever the manifest does not know.
        stall_seconds: In which at least `stall_bytes` of a body must move.
        stall_bytes: See there.
        linger_seconds: How long what a client still sends is dropped after an answer that came early, so that it can
            read the answer.
        head_bytes: The most that a request's head may have.
    """

    connections: int = 512
    unlocked_connections: int = 32
    of_one_participant: int = 64
    handshake_seconds: float = 10.0
    head_seconds: float = 10.0
    idle_seconds: float = 300.0
    stranger_idle_seconds: float = 30.0
    stall_seconds: float = 30.0
    stall_bytes: int = 1 << 14
    linger_seconds: float = 2.0
    head_bytes: int = 1 << 14


class Phase(Enum):
    """Whose turn it is on a connection, and for what."""

    HANDSHAKE = "the client does the handshake"
    HEAD = "the client sends the head of a request"
    IDLE = "a participant may send a request"
    STRANGER_IDLE = "a client that the manifest does not know may send a request"
    BODY = "the client sends the body of a request"
    WORK = "the guest works on a request"
    ANSWER = "the client reads an answer"


_SECONDS: Final[Mapping[Phase, Callable[[Limits], float]]] = MappingProxyType(
    {
        Phase.HANDSHAKE: lambda limits: limits.handshake_seconds,
        Phase.HEAD: lambda limits: limits.head_seconds,
        Phase.IDLE: lambda limits: limits.idle_seconds,
        Phase.STRANGER_IDLE: lambda limits: limits.stranger_idle_seconds,
        Phase.BODY: lambda limits: limits.stall_seconds,
        Phase.ANSWER: lambda limits: limits.stall_seconds,
    }
)
_MUST_MOVE: Final = frozenset({Phase.BODY, Phase.ANSWER})


class Watch:
    """Remembers since when it has been whose turn, and says when that is too long."""

    def __init__(self, limits: Limits, *, now: float) -> None:
        self._limits = limits
        self._turn = (Phase.HANDSHAKE, 0)
        self._since = now
        self._moved_bytes = 0

    def overdue(self, phase: Phase, *, requests: int, moved_bytes: int, now: float) -> bool:
        """Return whether the client has had its time.

        Args:
            phase: What the connection is at now.
            requests: How many requests have begun on it: the same phase of another request is another turn.
            moved_bytes: How many bytes it has moved in all.
            now: Monotonic seconds.
        """
        moving = phase in _MUST_MOVE and moved_bytes - self._moved_bytes >= self._limits.stall_bytes
        if (phase, requests) != self._turn or moving:
            self._turn, self._since, self._moved_bytes = (phase, requests), now, moved_bytes
        seconds = _SECONDS.get(phase)
        return seconds is not None and now - self._since > seconds(self._limits)
