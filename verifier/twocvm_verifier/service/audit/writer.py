"""The audit log of a running service: whoever has a verdict waits here until its record is on the disk.

One thread of each process writes. While it waits for the disk, verdicts gather; it writes them together and waits once
for all of them, so that the disk's slowness is shared. Rules, in order:
1. What cannot be written now refuses those who wait for it, and is tried anew with the next.
2. What the disk says it may have lost ends writing in this process: nobody knows what is there.
3. Between, the key of the service signs how far the log has come; where it cannot, verdicts still leave.

Spec: docs/spec/audit.md, 3 and 5.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Protocol

from twocvm_verifier.clock import Clock, format_time
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.service.problems import ServiceError

from .checkpoint import Checkpoint, Signs, checkpoint_entry
from .folder import AuditFolder
from .record import Entry, Position

# Less than this and a service says that it is not ready, before it has to refuse.
MIN_FREE_BYTES: Final = 1024 * 1024


class AuditEvents(Protocol):
    """Who is told how the log fares."""

    def written(self, records: int) -> None:
        """So many verdicts are durable."""
        ...

    def refused(self, reason: str) -> None:
        """Verdicts could not be recorded; `reason` has no word of a request."""
        ...

    def checkpoint(self, position: Position) -> None:
        """A checkpoint is durable: the head to be kept elsewhere."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the log is signed.

    Attributes:
        records: After how many of this process's.
        seconds: After how long, where there are any.
    """

    records: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    entry: Entry
    durable: Future[Position] = field(default_factory=Future)


class AuditLog:
    """Writes verdicts. May be shared between threads; is made in the process that uses it, after any fork.

    Args:
        folder: Where.
        signer: Returns the key that signs now.
        pace: How often it does.
        clock: Says what time it is.
        events: Is told how it fares.

    Raises:
        ServiceError: AUDIT_BROKEN, AUDIT_EXPOSED.
        OSError: The folder cannot be written.
    """

    def __init__(
        self, folder: AuditFolder, *, signer: Callable[[], Signs], pace: Pace, clock: Clock, events: AuditEvents
    ) -> None:
        self._folder, self._signer, self._pace = folder, signer, pace
        self._clock, self._events = clock, events
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._ending = self._failed = False
        self._unsigned = 0
        self._signed_at = clock.monotonic_seconds()
        # A torn end is mended now, and a folder that cannot be written ends the start instead of the first verdict.
        self._position = self._commit([])
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether the next verdict can probably be recorded."""
        return not self._failed and self._folder.free_bytes() >= MIN_FREE_BYTES

    def record(self, entry: Entry) -> Future[Position]:
        """Return what ends when `entry` is durable: with its place or one after it, or with AUDIT_UNAVAILABLE."""
        waiting = _Waiting(entry=entry)
        # Who stops waiting does not take the record back.
        waiting.durable.set_running_or_notify_cancel()
        with self._changed:
            if self._ending:
                waiting.durable.set_exception(_unavailable("the service is ending"))
                return waiting.durable
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.durable

    def close(self) -> None:
        """Write what waits, sign the end, and end."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()
        self._folder.close()

    def _run(self) -> None:
        # From its beginning on a log has something that a key has signed.
        self._sign()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ending, timeout=self._patience())
                batch, self._waiting = self._waiting, []
                ending = self._ending
            if batch:
                self._settle(batch)
            if self._unsigned and (ending or self._due()):
                self._sign()
            if ending and not batch:
                return

    def _settle(self, batch: list[_Waiting]) -> None:
        try:
            self._position = self._commit([each.entry for each in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told, and the thread goes on
            self._events.refused(_reason(error))
            for each in batch:
                each.durable.set_exception(_unavailable("was not written"))
            return
        self._unsigned += len(batch)
        self._events.written(len(batch))
        for each in batch:
            each.durable.set_result(self._position)

    def _commit(self, entries: list[Entry]) -> Position:
        if self._failed:
            raise _unavailable("the disk has failed before")
        position = self._folder.append(entries, at=format_time(self._clock.now()))
        try:
            self._folder.sync()
        except OSError:
            # The kernel reports a page that it could not write once, and then takes it for clean.
            self._failed = True
            raise
        return position

    def _patience(self) -> float | None:
        return (
            max(0.0, self._signed_at + self._pace.seconds - self._clock.monotonic_seconds()) if self._unsigned else None
        )

    def _due(self) -> bool:
        waited = self._clock.monotonic_seconds() - self._signed_at
        return self._unsigned >= self._pace.records or waited >= self._pace.seconds

    def _sign(self) -> None:
        checkpoint = Checkpoint(log=self._folder.log, position=self._position)
        self._signed_at, self._unsigned = self._clock.monotonic_seconds(), 0
        try:
            self._position = self._commit([checkpoint_entry(checkpoint, signer=self._signer())])
        except Exception as error:  # noqa: BLE001 - a key elsewhere fails in ways of its own; verdicts go on
            self._events.refused(_reason(error))
        else:
            self._events.checkpoint(checkpoint.position)


def _unavailable(why: str) -> ServiceError:
    return ServiceError("AUDIT_UNAVAILABLE", f"audit log: {why}")


def _reason(error: Exception) -> str:
    if isinstance(error, TwoCvmError):
        return error.code
    # Its text may have anything in it.
    return errno.errorcode.get(getattr(error, "errno", None) or 0, type(error).__name__)
