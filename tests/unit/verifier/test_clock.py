"""Times: one spelling, aware, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twocvm_verifier.clock import SystemClock, format_time, parse_time, require_utc


@given(st.datetimes(timezones=st.just(UTC)))
def test_round_trip(at: datetime) -> None:
    """Every time that Python knows is written in 20 characters and read as the same second."""
    text = format_time(at)
    assert len(text) == 20
    assert parse_time(text) == at.replace(microsecond=0)


@given(st.text(max_size=24))
def test_total(text: str) -> None:
    """Any text gives the time that it writes, or ValueError."""
    try:
        assert format_time(parse_time(text)) == text
    except ValueError:
        return


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05+00:00",
        "2026-01-02T03:04:05.0Z",
        "2026-01-02t03:04:05z",
        "2026-01-02 03:04:05Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "2026-01-02T03:04:05Z\n",
        "\uff12026-01-02T03:04:05Z",
    ],
)
def test_refuses(text: str) -> None:
    """Other spellings and times that never were are refused."""
    with pytest.raises(ValueError, match=r".+"):
        parse_time(text)


def test_zones_become_utc() -> None:
    """A time of another zone is the same moment in UTC."""
    at = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert require_utc(at).tzinfo is UTC
    assert format_time(at) == "2025-12-31T23:00:00Z"


def test_naive_times_are_mistakes() -> None:
    """A time without a zone is refused as the caller's mistake."""
    with pytest.raises(ValueError, match="zone"):
        require_utc(datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake itself


def test_system_clock() -> None:
    """The machine's clock is aware, and its monotonic one does not go back."""
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic_seconds() <= clock.monotonic_seconds()
