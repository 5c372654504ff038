"""What fetches bytes, as the rest of this package sees it. Tests and services bring their own."""

from __future__ import annotations

from typing import Protocol


class Fetcher(Protocol):
    """Gets one document. Safe to call from several threads."""

    def get(self, url: str, *, max_bytes: int, timeout_seconds: float) -> bytes:
        """Return what is at `url`, all of it or nothing.

        Args:
            url: `http` or `https`; it is asked and no other place is.
            max_bytes: More than these are refused, before they are read.
            timeout_seconds: For each step of the connection, and again for the answer as a whole.

        Raises:
            NotFoundError: It is not there (404).
            FetchError: Anything else went wrong. `FETCH_BUSY` with `retry_after_seconds` where the place asks to be
                left alone; `FETCH_REDIRECTED`, `FETCH_TOO_LARGE`, else `FETCH_FAILED`.
        """
        ...
