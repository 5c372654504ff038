"""A `Fetcher` over HTTP, on `requests` (extra `sdk`).

Rules: no redirect is followed; nothing is decompressed; the answer has a size and a deadline as a whole, so that
neither a flood nor a drip of bytes holds anybody. Proxies of the environment are used, for what comes is verified.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import requests
from urllib3.exceptions import HTTPError

from twocvm_verifier.clock import Clock
from twocvm_verifier.errors import FetchError, NotFoundError

# Where a busy service does not say for how long: AMD's counts in tens of seconds.
DEFAULT_RETRY_AFTER_SECONDS: Final = 10.0
MAX_RETRY_AFTER_SECONDS: Final = 86_400.0
_CHUNK_BYTES: Final = 16_384
_SECONDS: Final = re.compile(r"\d{1,9}", re.ASCII)
_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "twocvm"}


class HttpFetcher:
    """Fetches with a connection for each document, so that threads share nothing.

    Args:
        clock: Measures the deadline, and what a date in Retry-After means.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    def get(self, url: str, *, max_bytes: int, timeout_seconds: float) -> bytes:
        """Return what is at `url`; as `Fetcher.get`."""
        deadline = self._clock.monotonic_seconds() + timeout_seconds
        try:
            with requests.get(
                url, headers=_HEADERS, timeout=timeout_seconds, allow_redirects=False, stream=True
            ) as response:
                self._require_ok(response)
                return self._body(response, max_bytes=max_bytes, deadline=deadline)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise FetchError("FETCH_FAILED", f"{url!r}: {type(error).__name__}") from error

    def _require_ok(self, response: requests.Response) -> None:
        status, url = response.status_code, response.url
        if status == HTTPStatus.NOT_FOUND:
            raise NotFoundError("COLLATERAL_NOT_FOUND", f"{url!r}: not found")
        waits = "Retry-After" in response.headers
        if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.SERVICE_UNAVAILABLE and waits):
            seconds = self._retry_after(response.headers.get("Retry-After", ""))
            raise FetchError("FETCH_BUSY", f"{url!r}: asks to wait {seconds:.0f} s", retry_after_seconds=seconds)
        if 300 <= status < 400:
            raise FetchError("FETCH_REDIRECTED", f"{url!r}: answers with a redirect ({status})")
        if status != HTTPStatus.OK or response.headers.get("Content-Encoding", "identity") != "identity":
            raise FetchError("FETCH_FAILED", f"{url!r}: got status {status}, want 200 and no encoding")

    def _body(self, response: requests.Response, *, max_bytes: int, deadline: float) -> bytes:
        body = b""
        # Each read returns what has come, so that the deadline is looked at however slowly it comes.
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
            body += chunk
            if len(body) > max_bytes:
                raise FetchError("FETCH_TOO_LARGE", f"{response.url!r}: want at most {max_bytes} bytes")
            if self._clock.monotonic_seconds() > deadline:
                raise FetchError("FETCH_FAILED", f"{response.url!r}: the answer takes too long")
        return body

    def _retry_after(self, text: str) -> float:
        """Return how long a place asks to be left alone: RFC 9110, 10.2.3, seconds or a date."""
        if _SECONDS.fullmatch(text):
            return min(float(text), MAX_RETRY_AFTER_SECONDS)
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return DEFAULT_RETRY_AFTER_SECONDS
        # A date without a zone is of no zone that matters here: HTTP's are all GMT.
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        seconds = (at - self._clock.now()).total_seconds()
        return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
