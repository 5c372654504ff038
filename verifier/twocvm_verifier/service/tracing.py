"""Spans for OpenTelemetry, where the owner names who collects them: one for each request, of its account alone.

A caller's `traceparent` joins its trace only where the owner says that callers are believed: whoever is, decides which
requests are traced, and under which ids they are found.

Spec: W3C Trace Context, 3; OpenTelemetry semantic conventions for HTTP.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from twocvm_verifier.errors import UnsupportedError

from .observe import Account

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor

    from .settings import Tracing

_NANOSECONDS: Final = 1_000_000_000
_EXPORT_SECONDS: Final = 5
_SERVER_ERROR: Final = 500


class Spans:
    """Makes a span of each request that is over.

    Args:
        processor: What becomes of spans.
        sampled: Which part of the requests is traced, from 0 to 1.
        believe_callers: Whether a caller's traceparent counts.
    """

    def __init__(self, processor: SpanProcessor, *, sampled: float, believe_callers: bool) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
        from opentelemetry.trace import SpanKind

        self._kind = SpanKind.SERVER
        # Not the library's own defaults: those read names and attributes from the environment.
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(sampled),
            resource=Resource({"service.name": "twocvm-verifier"}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("twocvm_verifier")
        self._believe_callers = believe_callers

    def begun(self) -> None:
        """Wait for what becomes of it."""

    def ended(self, account: Account) -> None:
        """Make the span."""
        from opentelemetry.trace import Status, StatusCode

        end = time.time_ns()
        span = self._tracer.start_span(
            f"{account.method} {account.route}",
            context=self._context(account.traceparent),
            kind=self._kind,
            start_time=end - round(account.seconds * _NANOSECONDS),
            attributes={
                "http.request.method": account.method,
                "http.route": account.route,
                "http.response.status_code": account.status,
                "twocvm.request_id": account.seen.request_id,
                "twocvm.code": account.seen.code,
                "twocvm.verdict": account.seen.verdict,
            },
        )
        if account.status >= _SERVER_ERROR:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def stop(self) -> None:
        """Send what is left, and end."""
        self._provider.shutdown()

    def _context(self, traceparent: str) -> Context:
        from opentelemetry.context import Context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {"traceparent": traceparent} if self._believe_callers else {}
        return TraceContextTextMapPropagator().extract(carrier, Context())


def open_spans(settings: Tracing) -> Spans:
    """Return what makes spans and sends them, in the background, to where the settings say.

    Raises:
        UnsupportedError: The extra is missing.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise UnsupportedError("EXTRA_MISSING", f"{error.name}: not installed; install twocvm[tracing]") from error
    exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=_EXPORT_SECONDS)
    return Spans(BatchSpanProcessor(exporter), sampled=settings.sampled, believe_callers=settings.believe_traceparent)
