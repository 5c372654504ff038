"""Fetching over HTTP: from one place, so many bytes, for so long, and nothing that is not there is made up."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.fake_kds import FakeKds, Mode

from twocvm_verifier.clock import SystemClock
from twocvm_verifier.collateral.http import DEFAULT_RETRY_AFTER_SECONDS, MAX_RETRY_AFTER_SECONDS, HttpFetcher
from twocvm_verifier.errors import FetchError, NotFoundError

PATH = "/vcek/v1/Milan/00?blSPL=03"
NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


class AtNoon(SystemClock):
    """A clock that stands at noon."""

    def now(self) -> datetime:
        """Return noon."""
        return NOW


@pytest.fixture
def kds():
    """A service with one document."""
    with FakeKds.serving({PATH: b"document" * 100}) as serving:
        yield serving


def get(kds: FakeKds, *, max_bytes: int = 4096, timeout_seconds: float = 5.0) -> bytes:
    """Fetch the document."""
    return HttpFetcher(clock=AtNoon()).get(kds.url + PATH, max_bytes=max_bytes, timeout_seconds=timeout_seconds)


def test_a_document_comes_whole(kds):
    """The bytes are those that were sent, up to exactly as many as may come."""
    assert get(kds) == b"document" * 100
    assert get(kds, max_bytes=800) == b"document" * 100
    assert kds.asked == [PATH, PATH]


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        (Mode.MISSING, "COLLATERAL_NOT_FOUND"),
        (Mode.BUSY, "FETCH_BUSY"),
        (Mode.BROKEN, "FETCH_FAILED"),
        (Mode.UNAVAILABLE, "FETCH_FAILED"),
        (Mode.OUTAGE, "FETCH_FAILED"),
        (Mode.ENCODED, "FETCH_FAILED"),
        (Mode.REDIRECT, "FETCH_REDIRECTED"),
        (Mode.OVERSIZE, "FETCH_TOO_LARGE"),
    ],
)
def test_answers_that_are_none(kds, mode, code):
    """Each bad answer has its code, exit status 40, and costs one request."""
    kds.mode = mode
    with pytest.raises((FetchError, NotFoundError)) as caught:
        get(kds)
    assert (caught.value.code, caught.value.exit_status) == (code, 40)
    assert kds.asked == [PATH]


def test_one_byte_too_many(kds):
    """The limit is exact."""
    with pytest.raises(FetchError) as caught:
        get(kds, max_bytes=799)
    assert caught.value.code == "FETCH_TOO_LARGE"


def test_a_redirect_is_not_followed(kds):
    """Neither to another host nor to the same: the other place is never asked."""
    kds.mode = Mode.REDIRECT
    with FakeKds.serving({PATH: b"elsewhere"}) as elsewhere:
        for target in (elsewhere.url + PATH, PATH, "file:///etc/passwd"):
            kds.elsewhere = target
            with pytest.raises(FetchError) as caught:
                get(kds)
            assert caught.value.code == "FETCH_REDIRECTED"
        assert elsewhere.asked == []
    assert len(kds.asked) == 3


@pytest.mark.parametrize("mode", [Mode.SLOW, Mode.STALLED])
def test_slow_answers_end(kds, mode):
    """Neither silence nor a byte now and then holds anybody much longer than the time-out."""
    kds.mode = mode
    began = time.monotonic()
    with pytest.raises(FetchError) as caught:
        get(kds, timeout_seconds=0.3)
    assert caught.value.code == "FETCH_FAILED"
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "ftp://127.0.0.1/x", "http://", "no url"])
def test_places_that_are_none(url):
    """A port where nobody listens, another scheme, no host: one error, never another exception."""
    with pytest.raises(FetchError) as caught:
        HttpFetcher(clock=AtNoon()).get(url, max_bytes=10, timeout_seconds=1)
    assert caught.value.code == "FETCH_FAILED"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Mon, 01 Jun 2026 12:00:30 GMT", 30.0),
        ("Mon, 01 Jun 2026 12:00:30 -0000", 30.0),
        ("Mon, 01 Jun 2026 11:00:00 GMT", 0.0),
        ("999999999", MAX_RETRY_AFTER_SECONDS),
        ("Fri, 01 Jan 2100 00:00:00 GMT", MAX_RETRY_AFTER_SECONDS),
        ("soon", DEFAULT_RETRY_AFTER_SECONDS),
        ("-1", DEFAULT_RETRY_AFTER_SECONDS),
        ("", DEFAULT_RETRY_AFTER_SECONDS),
    ],
)
def test_retry_after(kds, value, seconds):
    """Seconds and dates are understood, within a day; anything else is the default."""
    kds.mode, kds.retry_after = Mode.BUSY, value
    with pytest.raises(FetchError) as caught:
        get(kds)
    assert caught.value.code == "FETCH_BUSY"
    assert timedelta(seconds=caught.value.retry_after_seconds) == timedelta(seconds=seconds)


def test_busy_without_a_time(kds):
    """A service that does not say for how long is left alone for as long as AMD's counts."""
    kds.mode = Mode.BUSY_SILENT
    with pytest.raises(FetchError) as caught:
        get(kds)
    assert caught.value.retry_after_seconds == DEFAULT_RETRY_AFTER_SECONDS
