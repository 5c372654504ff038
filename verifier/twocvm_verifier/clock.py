"""Time as an argument: nothing below the command line asks the machine what time it is.

Functions take `at: datetime`; objects that outlive a call take a `Clock`. The wire form of a time is
`YYYY-MM-DDTHH:MM:SSZ`, always UTC, always 20 characters.

>>> format_time(parse_time("2026-01-02T03:04:05Z"))
'2026-01-02T03:04:05Z'
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Protocol

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


class Clock(Protocol):
    """What an object that outlives a call asks for the time."""

    def now(self) -> datetime:
        """Return the current time (aware, UTC)."""
        ...

    def monotonic_seconds(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clocks. Made only in command lines and services."""

    def now(self) -> datetime:
        """Return the machine's time (aware, UTC)."""
        return datetime.now(UTC)

    def monotonic_seconds(self) -> float:
        """Return the machine's monotonic clock in seconds."""
        return time.monotonic()


def require_utc(at: datetime) -> datetime:
    """Return `at` as UTC; a naive time is a mistake of the caller.

    Raises:
        ValueError: `at` has no time zone.
    """
    if at.tzinfo is None:
        raise ValueError("a time without a zone decides nothing: pass an aware datetime")
    return at.astimezone(UTC)


def format_time(at: datetime) -> str:
    """Return `at` as `YYYY-MM-DDTHH:MM:SSZ` (20 characters, whole seconds)."""
    # Not strftime: its %Y has fewer than four digits before the year 1000.
    return require_utc(at).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def parse_time(text: str) -> datetime:
    """Return the aware UTC time that `text` writes.

    Raises:
        ValueError: `text` is not a real time of the form `YYYY-MM-DDTHH:MM:SSZ`.
    """
    if not _TIME.fullmatch(text):
        raise ValueError("want YYYY-MM-DDTHH:MM:SSZ")
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
