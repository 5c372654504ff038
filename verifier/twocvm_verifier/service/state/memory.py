"""What was answered, in this process's memory: for one replica of one process, and gone with it, like its sessions."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from twocvm_verifier.clock import Clock
from twocvm_verifier.service.problems import ServiceError

from .protocol import Moment, SessionState, Told

EPOCH_BYTES: Final = 32
# More than one process can judge while a session lives, so that nobody can fill it; some 80 MB.
MAX_ANSWERED: Final = 262_144
# A token has some 3 KB. Who answered was told it, so that of the oldest only the state is kept.
MAX_RESULTS: Final = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class _Noted:
    """One answered session: until when it is known, and what came of it; None for what was to be forgotten."""

    until: datetime
    told: Told | None = field(repr=False)


class MemoryAnswers:
    """Keeps answers in memory.

    Args:
        clock: Says what is over.
        epoch: A secret of this process's (32 random bytes).
        session_seconds: For how long a session lives.
        max_answered: How many are known at once.
        max_results: Of how many the token is kept.
    """

    once: Final = True

    def __init__(
        self,
        *,
        clock: Clock,
        epoch: bytes,
        session_seconds: float,
        max_answered: int = MAX_ANSWERED,
        max_results: int = MAX_RESULTS,
    ) -> None:
        self._clock = clock
        self._epoch = epoch
        self._lifetime = timedelta(seconds=session_seconds)
        self._max_answered = max_answered
        self._max_results = max_results
        # In the order in which they were answered, which is that in which they are over.
        self._noted: dict[bytes, _Noted] = {}
        self._results: dict[bytes, None] = {}
        self._lock = threading.Lock()

    def moment(self) -> Moment:
        """Return the secret and the time."""
        return Moment(epoch=self._epoch, at=self._clock.now())

    def take(self, name: bytes, *, expires_at: datetime, epoch: bytes) -> None:  # noqa: ARG002 - it is always the same
        """Note an answer, once; see `Answers`."""
        with self._lock:
            now = self._clock.now()
            if expires_at <= now:
                raise _unknown()
            told = self._told(name)
            if told is not None:
                raise ServiceError("SESSION_SPENT", f"session: is {told.state}")
            self._note(name, Told(state=SessionState.PROCESSING), now=now)

    def told(self, name: bytes, *, epoch: bytes) -> Told | None:  # noqa: ARG002 - it is always the same
        """Return what came of a session; see `Answers`."""
        with self._lock:
            return self._told(name)

    def finish(self, name: bytes, told: Told, *, epoch: bytes) -> None:  # noqa: ARG002 - it is always the same
        """Keep what came of it; see `Answers`."""
        with self._lock:
            noted = self._noted.get(name)
            if noted is None or noted.told is None:
                return
            self._noted[name] = replace(noted, told=told)
            if told.result:
                self._results[name] = None
            if len(self._results) > self._max_results:
                self._drop_result(next(iter(self._results)))

    def forget(self, name: bytes, *, epoch: bytes) -> None:  # noqa: ARG002 - it is always the same
        """Make a session unknown; see `Answers`."""
        with self._lock:
            if name in self._noted:
                self._results.pop(name, None)
                self._noted[name] = replace(self._noted[name], told=None)
            else:
                self._note(name, None, now=self._clock.now())

    def _told(self, name: bytes) -> Told | None:
        noted = self._noted.get(name)
        if noted is None:
            return None
        if noted.told is None:
            raise _unknown()
        return noted.told

    def _note(self, name: bytes, told: Told | None, *, now: datetime) -> None:
        # Two of the oldest for each new one: so what is over is gone soon, and no call takes long.
        for oldest, noted in list(islice(self._noted.items(), 2)):
            if noted.until <= now:
                del self._noted[oldest]
                self._results.pop(oldest, None)
        if len(self._noted) >= self._max_answered:
            raise ServiceError("SERVICE_BUSY", f"sessions: {self._max_answered} were answered")
        self._noted[name] = _Noted(until=now + self._lifetime, told=told)

    def _drop_result(self, name: bytes) -> None:
        del self._results[name]
        self._noted[name] = replace(self._noted[name], told=Told(state=SessionState.COMPLETE))


def _unknown() -> ServiceError:
    return ServiceError("SESSION_UNKNOWN", "session: is not known, or no longer")
