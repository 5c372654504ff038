"""What a store of sessions promises, wherever it is.

A session goes from `waiting` to `processing` once, whoever asks and however many ask at the same time; that step is
what makes its nonce good once. What has expired is as if it had never been.
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
        identifier: A UUID that nobody can guess.
        nonce: The challenge (8 to 64 bytes).
        expires_at: When it is forgotten (aware, UTC).
        state: Where it is.
        result: The token, once it is complete; else empty.
    """

    identifier: str
    nonce: bytes = field(repr=False)
    expires_at: datetime
    state: SessionState
    result: str = field(repr=False, default="")


class Sessions(Protocol):
    """A store of sessions. Safe to use from several threads."""

    def create(self, session: ChallengeSession) -> None:
        """Keep a new session.

        Raises:
            ServiceError: SERVICE_BUSY, where no more can be kept.
        """
        ...

    def get(self, identifier: str) -> ChallengeSession:
        """Return a session.

        Raises:
            ServiceError: SESSION_UNKNOWN.
        """
        ...

    def begin(self, identifier: str) -> ChallengeSession:
        """Take a session from `waiting` to `processing`, and return it; only one caller ever can.

        Raises:
            ServiceError: SESSION_UNKNOWN, or SESSION_SPENT for everybody else.
        """
        ...

    def finish(self, session: ChallengeSession) -> None:
        """Keep what came of a session that is `processing`; nothing happens where it was forgotten meanwhile."""
        ...

    def delete(self, identifier: str) -> None:
        """Forget a session.

        Raises:
            ServiceError: SESSION_UNKNOWN.
        """
        ...
