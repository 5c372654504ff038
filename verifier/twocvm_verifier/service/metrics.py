"""Figures for Prometheus, of all processes of a service together, on an address of their own.

Every label is from a list that this program has: routes, classes of statuses, verdicts, codes. Nothing that a caller
chose makes a series. The processes add up in files of a folder that they share, and one address tells the sum: it is
not the service's own, so that who may ask for verdicts need not see figures.

The library decides when it is imported, by the environment, whether values are kept in files: so `figures_at` imports
it, and whatever counts is made within.

Spec: docs/adr/0021-observing-and-deploying.md.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from twocvm_verifier.errors import MalformedError

from .addresses import parse_address
from .logs import event
from .observe import Account

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from .audit.record import Position

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX: Final = "twocvm_verifier"
# An appraisal takes a few milliseconds, and as long as AMD does where the certificate is to be fetched.
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The figures of this process; watches requests and the audit log.

    Args:
        registry: Where they are found; one of its own for each.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", text, labels, registry=registry)

        self._requests = counter("requests", "Requests that are over.", "route", "status")
        self._refusals = counter("refusals", "Requests that were answered with a problem.", "code")
        self._verdicts = counter("verdicts", "Verdicts that were reached.", "verdict")
        self._fetches = counter("collateral_fetches", "What AMD's KDS and mirrors were asked.", "result")
        self._records = counter("audit_records", "Verdicts that are durable in the audit log.")
        self._failures = counter("audit_failures", "Attempts to write the audit log that failed.")
        self._seconds = Histogram(
            f"{_PREFIX}_appraisal_seconds",
            "From a request that is read to its verdict.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._under_way = Gauge(
            f"{_PREFIX}_requests_in_flight",
            "Requests under way.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._audit = Gauge(
            f"{_PREFIX}_audit_writable",
            "Whether the last attempt to write the audit log succeeded; of all processes, the worst.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        # Where there is none, nothing is wrong with it.
        self._audit.set(1)

    def begun(self) -> None:
        """Count a request that has come."""
        self._under_way.inc()

    def ended(self, account: Account) -> None:
        """Count a request that is over."""
        self._under_way.dec()
        self._requests.labels(account.route, f"{account.status // 100}xx").inc()
        if account.seen.code:
            self._refusals.labels(account.seen.code).inc()
        if account.seen.verdict:
            self._verdicts.labels(account.seen.verdict).inc()
        if account.seen.appraisal_seconds is not None:
            self._seconds.observe(account.seen.appraisal_seconds)

    def fetched(self, result: str) -> None:
        """Count a question to a source of collateral: `ok`, or the code of what went wrong."""
        self._fetches.labels(result).inc()

    def written(self, records: int) -> None:
        """Count verdicts that are durable."""
        self._records.inc(records)
        self._audit.set(1)

    def refused(self, reason: str) -> None:  # noqa: ARG002 - stands in the log; as a label it would be no closed list
        """Count an attempt that failed."""
        self._failures.inc()
        self._audit.set(0)

    def checkpoint(self, position: Position) -> None:  # noqa: ARG002 - a head is no figure
        """Note that the log can be written."""
        self._audit.set(1)


def own_figures() -> Metrics:
    """Return the figures of this process, kept with those of the others where they are shared."""
    from prometheus_client import CollectorRegistry

    return Metrics(CollectorRegistry())


@contextmanager
def figures_at(address: str) -> Iterator[None]:
    """Tell the figures of this process and of those that it starts meanwhile, at `http://ADDRESS:PORT/metrics`.

    Args:
        address: Where to listen; nothing is told where it is empty.

    Raises:
        MalformedError: It cannot listen there.
    """
    if not address:
        yield
        return
    where = parse_address(address)
    with TemporaryDirectory(prefix="twocvm-figures-") as folder:
        os.environ[FOLDER] = folder
        from prometheus_client import CollectorRegistry, start_http_server
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        # The process's signals are for the thread that waits for them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            server, thread = start_http_server(where.port, where.host, registry)
        except OSError as error:
            raise MalformedError("settings", "metrics.listen", f"{address}: {error.strerror}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        event("metrics", listening=where.url("http", port=server.server_port))
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            del os.environ[FOLDER]


def forget_process(pid: int) -> None:
    """Count no longer what a process that has ended had under way."""
    if FOLDER in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid)  # type: ignore[no-untyped-call]
