"""Where pages of appraisals are kept for a while, for whoever has their address.

An address holds 32 random bytes, and a store knows only their digest: who reads the store opens no page by it that he
has not read already, and who counts in it counts digests. How many are kept is bounded, so that nobody fills a store
that others need; what does not fit is refused, and what is over is as if it had never been.
"""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Final, Protocol

from twocvm_verifier.clock import Clock
from twocvm_verifier.service.problems import ServiceError

# Of at most 32 KiB each.
MAX_REPORTS: Final = 2048


class Reports(Protocol):
    """A store of documents, by the digest of their address. Safe to use from several threads."""

    def keep(self, name: bytes, document: bytes, *, until: datetime) -> None:
        """Keep a document.

        Args:
            name: The digest of its address (32 bytes).
            document: What is kept.
            until: When it is forgotten (aware, UTC).

        Raises:
            ServiceError: REPORTS_OFF; SERVICE_BUSY, where no more can be kept; or the store's own.
        """
        ...

    def find(self, name: bytes) -> bytes:
        """Return a document.

        Raises:
            ServiceError: REPORT_UNKNOWN, or the store's own.
        """
        ...


class NoReports:
    """Keeps nothing, where the service's owner wants no pages."""

    def keep(self, name: bytes, document: bytes, *, until: datetime) -> None:  # noqa: ARG002 - whatever it is
        """Refuse; see `Reports`."""
        raise ServiceError("REPORTS_OFF", "reports: the owner of this service has none kept")

    def find(self, name: bytes) -> bytes:  # noqa: ARG002 - whatever it is
        """Find nothing; see `Reports`."""
        raise unknown()


class MemoryReports:
    """Keeps documents in this process's memory: for one replica of one process.

    Args:
        clock: Says what is over.
        max_reports: How many are kept at once.
    """

    def __init__(self, *, clock: Clock, max_reports: int = MAX_REPORTS) -> None:
        self._clock = clock
        self._max_reports = max_reports
        # In the order in which they were kept, which is that in which they are over.
        self._kept: dict[bytes, tuple[datetime, bytes]] = {}
        self._lock = threading.Lock()

    def keep(self, name: bytes, document: bytes, *, until: datetime) -> None:
        """Keep a document; see `Reports`."""
        with self._lock:
            now = self._clock.now()
            for old, (over, _) in list(self._kept.items()):
                if over > now:
                    break
                del self._kept[old]
            if len(self._kept) >= self._max_reports:
                raise full()
            self._kept[name] = (until, document)

    def find(self, name: bytes) -> bytes:
        """Return a document; see `Reports`."""
        with self._lock:
            over, document = self._kept.get(name, (self._clock.now(), b""))
            if over <= self._clock.now():
                raise unknown()
            return document


def unknown() -> ServiceError:
    """Return the refusal of an address that leads nowhere, or no longer."""
    return ServiceError("REPORT_UNKNOWN", "report: is not known, or no longer")


def full() -> ServiceError:
    """Return the refusal of one document too many."""
    return ServiceError("SERVICE_BUSY", "reports: as many are kept as can be")
