"""How the service is watched, put together from its settings: lines, figures, spans and the record of verdicts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twocvm_verifier.clock import Clock
from twocvm_verifier.collateral import Fetcher
from twocvm_verifier.errors import MalformedError, TwoCvmError

from .audit.folder import AuditFolder
from .audit.ledger import AuditLedger, Ledger, NoLedger
from .audit.record import Position
from .audit.writer import AuditEvents, AuditLog, Pace
from .limits import PROBES
from .logs import RequestLog, event
from .metrics import Metrics, own_figures
from .observe import Watcher
from .problems import ServiceError
from .tokens import Signer

if TYPE_CHECKING:
    from .settings import Settings

_LOG_NAME_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Everything that watches one process.

    Attributes:
        watchers: Who is told of requests.
        ledger: Where verdicts are kept.
        probes: As `Parts.probes`.
        around: What counts the questions to sources of collateral.
        closing: Called once the last request is over, in this order.
    """

    watchers: tuple[Watcher, ...]
    ledger: Ledger
    probes: dict[str, Callable[[], None]]
    around: Callable[[Fetcher], Fetcher]
    closing: tuple[Callable[[], None], ...]


def open_watch(
    settings: Settings, *, signer: Callable[[], Signer], clock: Clock, random_bytes: Callable[[int], bytes]
) -> Watch:
    """Return what watches this process.

    Args:
        settings: What the owner set.
        signer: Returns the key that signs tokens now.
        clock: Says what time it is.
        random_bytes: Gives as many random bytes as it is asked for.

    Raises:
        TwoCvmError: The audit log cannot be written, or an extra is missing.
    """
    watchers: list[Watcher] = [RequestLog(quiet=PROBES)] if settings.logs.requests else []
    closing: list[Callable[[], None]] = []
    probes: dict[str, Callable[[], None]] = {}
    figures: list[Metrics] = [own_figures()] if settings.metrics.listen else []
    watchers += figures
    if settings.tracing.endpoint:
        from .tracing import open_spans

        spans = open_spans(settings.tracing)
        watchers.append(spans)
        closing.append(spans.stop)
    ledger: Ledger = NoLedger()
    if settings.audit.folder is None:
        event("audit-off", level=logging.WARNING, hint="verdicts are told and not recorded: audit.folder")
    else:
        told = AuditTold((AuditLines(), *figures))
        with _settings_name(settings.audit.folder):
            log = AuditLog(
                AuditFolder(
                    settings.audit.folder,
                    log=random_bytes(_LOG_NAME_BYTES),
                    max_file_bytes=settings.audit.file_bytes,
                ),
                signer=signer,
                pace=Pace(records=settings.audit.checkpoint_records, seconds=settings.audit.checkpoint_seconds),
                clock=clock,
                events=told,
            )
        ledger = AuditLedger(log)
        probes["audit"] = lambda: _require_ready(log)
        closing.insert(0, log.close)

    def around(fetcher: Fetcher) -> Fetcher:
        return CountedFetcher(fetcher, figures[0]) if figures else fetcher

    return Watch(watchers=tuple(watchers), ledger=ledger, probes=probes, around=around, closing=tuple(closing))


@contextmanager
def _settings_name(folder: Path) -> Iterator[None]:
    """Say of a folder that cannot be written which setting names it."""
    try:
        yield
    except OSError as error:
        raise MalformedError("settings", "audit.folder", f"{str(folder)!r}: {error.strerror}") from error


def _require_ready(log: AuditLog) -> None:
    if not log.ready:
        raise ServiceError("AUDIT_UNAVAILABLE", "audit log: the disk is nearly full, or has failed")


class AuditLines:
    """Says in the log how the record of verdicts fares; the heads among it are worth keeping elsewhere."""

    def written(self, records: int) -> None:
        """Say nothing: each request has its own line."""

    def refused(self, reason: str) -> None:
        """Say what is wrong."""
        event("audit-failed", level=logging.ERROR, reason=reason)

    def checkpoint(self, position: Position) -> None:
        """Say how far the log is signed, as `twocvm verifier audit verify --head` takes it."""
        event("audit-checkpoint", head=f"{position.seq}:{position.head.hex()}")


class AuditTold:
    """Tells several.

    Args:
        each: Whom.
    """

    def __init__(self, each: Sequence[AuditEvents]) -> None:
        self._each = tuple(each)

    def written(self, records: int) -> None:
        """Pass it on."""
        for one in self._each:
            one.written(records)

    def refused(self, reason: str) -> None:
        """Pass it on."""
        for one in self._each:
            one.refused(reason)

    def checkpoint(self, position: Position) -> None:
        """Pass it on."""
        for one in self._each:
            one.checkpoint(position)


class CountedFetcher:
    """Gets documents as another does, and counts what came of it.

    Args:
        fetcher: Who gets them.
        figures: Where it is counted.
    """

    def __init__(self, fetcher: Fetcher, figures: Metrics) -> None:
        self._fetcher = fetcher
        self._figures = figures

    def get(self, url: str, *, max_bytes: int, timeout_seconds: float) -> bytes:
        """Return what is at `url`.

        Raises:
            CollateralError: As the fetcher.
        """
        try:
            got = self._fetcher.get(url, max_bytes=max_bytes, timeout_seconds=timeout_seconds)
        except TwoCvmError as error:
            self._figures.fetched(error.code)
            raise
        self._figures.fetched("ok")
        return got
