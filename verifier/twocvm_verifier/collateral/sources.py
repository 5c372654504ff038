"""A service that answers as AMD's KDS does: the KDS itself, or a mirror of it. What it sends is believed elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from twocvm_verifier.clock import Clock
from twocvm_verifier.errors import FetchError

from .fetcher import Fetcher
from .names import CrlName, VcekName
from .pace import Pace

KDS_URL: Final = "https://kdsintf.amd.com"
# KDS gives about one VCEK in ten seconds to an address, then answers 429.
KDS_INTERVAL_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 20.0
_MAX_TRIES: Final = 4
_BASE: Final = re.compile(r"https?://[^/?#@\s]+(?:/[^?#\s]*)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One such service.

    Attributes:
        name: What results call it, such as `kds` or `mirror`.
        base_url: Where its paths begin, without a slash at the end.
        fetcher: Gets the documents.
        pace: The turns at it.
        clock: Measures how long a caller has waited.
        request_seconds: How long one request may take.
    """

    name: str
    base_url: str
    fetcher: Fetcher
    pace: Pace
    clock: Clock
    request_seconds: float

    def __post_init__(self) -> None:
        if not _BASE.fullmatch(self.base_url) or self.base_url.endswith("/") or not urlsplit(self.base_url).hostname:
            raise ValueError(f"source: got {self.base_url!r}, want http(s)://host[:port][/path], no slash at the end")

    def get(self, name: VcekName | CrlName, *, max_bytes: int, patience_seconds: float) -> bytes:
        """Return what the source sends for `name`; nothing of it is believed yet.

        A source that asks to be left alone is asked again when it says, as long as the patience lasts; anything else
        that goes wrong is told at once.

        Args:
            name: What is wanted.
            max_bytes: How many bytes it may have.
            patience_seconds: How long to wait for a turn, all in all.

        Raises:
            NotFoundError: The source does not have it.
            FetchError: As `Fetcher.get`.
        """
        last, tries = self.clock.monotonic_seconds() + patience_seconds, 0
        while True:
            tries += 1
            left = last - self.clock.monotonic_seconds()
            self.pace.wait_turn(most_seconds=left, paced=isinstance(name, VcekName))
            try:
                return self.fetcher.get(
                    self.base_url + name.kds_path, max_bytes=max_bytes, timeout_seconds=self.request_seconds
                )
            except FetchError as error:
                if error.code == "FETCH_BUSY":
                    self.pace.hold(error.retry_after_seconds)
                if error.code != "FETCH_BUSY" or tries == _MAX_TRIES:
                    raise
