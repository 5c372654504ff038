"""What a session is, and what whoever keeps its answer promises.

A session is kept by nobody: its identifier holds it, sealed (`sealed.py`). What is kept is that somebody answered it,
so that its nonce is good once, whoever asks and however many ask at the same time; and what came of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class SessionState(StrEnum):
    """Where a session is, in Veraison's words."""

    WAITING = "waiting"
    PROCESSING = "processing"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeSession:
    """One challenge and what came of it.

    Attributes:
        identifier: What its path ends with (base64url); only who was told it can know it.
        nonce: The challenge (8 to 64 bytes).
        drawn: Whether this service drew it, so that nobody knew it before; else it is the caller's own.
        expires_at: When it is over (aware, UTC).
        state: Where it is.
        result: The token, once it is complete; else empty.
    """

    identifier: str = field(repr=False)
    nonce: bytes = field(repr=False)
    drawn: bool
    expires_at: datetime
    state: SessionState
    result: str = field(repr=False, default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What sessions are sealed and judged by at a time.

    Attributes:
        epoch: A secret of which the sealing key is made. It is another one whenever an answer may have been forgotten.
        at: The time (aware, UTC), by the one clock of all replicas where there is one.
    """

    epoch: bytes = field(repr=False)
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of a session so far.

    Attributes:
        state: Never `waiting`.
        result: The token, once it is complete and where it is kept still.
    """

    state: SessionState
    result: str = field(repr=False, default="")


class Answers(Protocol):
    """Knows which sessions were answered. Safe to use from several threads; a call may wait for a network.

    A session is named by the 16 bytes that begin its identifier. Every method may raise ServiceError STATE_UNREACHABLE,
    and each but `moment` SESSION_UNKNOWN, where the epoch is another one by now or the session was forgotten.
    """

    @property
    def once(self) -> bool:
        """Whether an answered session is known to be. Else only its time limits a nonce."""
        ...

    def moment(self) -> Moment:
        """Return what sessions are sealed and judged by now."""
        ...

    def take(self, name: bytes, *, expires_at: datetime, epoch: bytes) -> None:
        """Note that a session is being answered; only one caller ever can.

        Raises:
            ServiceError: SESSION_SPENT for everybody else; SESSION_UNKNOWN where it is over; SERVICE_BUSY where no
                more can be noted.
        """
        ...

    def told(self, name: bytes, *, epoch: bytes) -> Told | None:
        """Return what came of a session; None where nobody answered it yet."""
        ...

    def finish(self, name: bytes, told: Told, *, epoch: bytes) -> None:
        """Keep what came of a session that was taken; nothing happens where it was forgotten meanwhile."""
        ...

    def forget(self, name: bytes, *, epoch: bytes) -> None:
        """Make a session unknown to everybody, for as long as it would have lived."""
        ...
