"""Sessions in this process's memory: for one replica, and gone with it."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Final

from twocvm_verifier.clock import Clock
from twocvm_verifier.service.problems import ServiceError

from .protocol import ChallengeSession, SessionState

# A complete one has a token of some 3 KB.
MAX_SESSIONS: Final = 8192


class MemorySessions:
    """A store in memory.

    Args:
        clock: Says what has expired.
        max_sessions: How many are kept at once.
    """

    def __init__(self, *, clock: Clock, max_sessions: int = MAX_SESSIONS) -> None:
        self._clock = clock
        self._max_sessions = max_sessions
        # In the order in which they were made, which is that in which they expire.
        self._sessions: dict[str, ChallengeSession] = {}
        self._lock = threading.Lock()

    def create(self, session: ChallengeSession) -> None:
        """Keep a new session; see `Sessions`."""
        with self._lock:
            self._forget_expired()
            if len(self._sessions) >= self._max_sessions:
                raise ServiceError("SERVICE_BUSY", f"sessions: {self._max_sessions} are open")
            self._sessions[session.identifier] = session

    def get(self, identifier: str) -> ChallengeSession:
        """Return a session; see `Sessions`."""
        with self._lock:
            return self._known(identifier)

    def begin(self, identifier: str) -> ChallengeSession:
        """Take a session into work, once; see `Sessions`."""
        with self._lock:
            session = self._known(identifier)
            if session.state is not SessionState.WAITING:
                raise ServiceError("SESSION_SPENT", f"session: is {session.state}")
            self._sessions[identifier] = taken = replace(session, state=SessionState.PROCESSING)
            return taken

    def finish(self, session: ChallengeSession) -> None:
        """Keep what came of it; see `Sessions`."""
        with self._lock:
            if session.identifier in self._sessions:
                self._sessions[session.identifier] = session

    def delete(self, identifier: str) -> None:
        """Forget a session; see `Sessions`."""
        with self._lock:
            del self._sessions[self._known(identifier).identifier]

    def _known(self, identifier: str) -> ChallengeSession:
        session = self._sessions.get(identifier)
        if session is None or session.expires_at <= self._clock.now():
            raise ServiceError("SESSION_UNKNOWN", "session: is not known, or no longer")
        return session

    def _forget_expired(self) -> None:
        now = self._clock.now()
        for identifier, session in list(self._sessions.items()):
            if session.expires_at > now:
                break
            del self._sessions[identifier]
