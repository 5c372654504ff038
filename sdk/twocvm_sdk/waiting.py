"""Waiting for others: asking for the log again and again, with longer pauses, over whatever connection there is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from twocvm_verifier.clock import Clock
from twocvm_verifier.eventlog import VerifiedLog

from .instance import Instance
from .watch import Watch

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How one session waits.

    Attributes:
        instance: Whose log is asked for.
        watch: A failure of it ends the waiting.
        clock: Counts the time.
    """

    instance: Instance
    watch: Watch
    clock: Clock

    def logs(self, *, wait_seconds: float) -> Iterator[VerifiedLog]:
        """Yield the log as it is now, and again after each pause, until the time is over; once at least.

        Args:
            wait_seconds: How long.

        Raises:
            TwoCvmError: The log, a proof or the watch failed, or the guest is lost for good.
        """
        last, pause = self.clock.monotonic_seconds() + wait_seconds, FIRST_PAUSE_SECONDS
        while True:
            yield self.instance.persist(self.instance.log)
            if self.clock.monotonic_seconds() > last:
                return
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            self.watch.require_proven()
            self.instance.persist(self.instance.refresh)
