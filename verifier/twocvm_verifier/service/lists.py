"""The newest revocation lists, as they were found a moment ago: a list is looked for again, not for each request.

What is found is verified where it is used, as ever, and a verifier forgets no list that it saw; so what is a few
seconds old can only say later that something was revoked in these seconds.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Final

from twocvm_verifier.clock import Clock
from twocvm_verifier.collateral import Collateral, CrlName
from twocvm_verifier.errors import CollateralError

# As long as a failure to find one is remembered, too.
FRESH_SECONDS: Final = 10.0
# A list that is at hand is used until it ends; policies say what is too old.
_ANY_AGE_SECONDS: Final = 3650.0 * 86_400.0


class WouldWaitError(Exception):
    """What is asked for is not in memory, and whoever asks does not want to wait for more."""


class Lists:
    """Finds revocation lists. May be shared between threads.

    Args:
        collateral: Where they are found.
        clock: Says how long ago that was.
    """

    def __init__(self, collateral: Collateral, *, clock: Clock) -> None:
        self._collateral = collateral
        self._clock = clock
        # There are as many names as products and kinds of keys.
        self._found: dict[CrlName, tuple[float, bytes | None]] = {}

    def newest(self, name: CrlName, *, at: datetime, patient: bool) -> bytes | None:
        """Return the DER of the newest list of a name, or None where there is none to be had.

        Args:
            name: Which.
            at: When it must be in force (aware, UTC).
            patient: Whether to look for it on the disk, and to ask elsewhere.

        Raises:
            WouldWaitError: It was not looked for a moment ago, and `patient` is false.
        """
        now = self._clock.monotonic_seconds()
        known = self._found.get(name)
        if known is not None and now - known[0] < FRESH_SECONDS:
            return known[1]
        if not patient:
            raise WouldWaitError
        found = None
        with suppress(CollateralError):
            found = self._collateral.crl(name, at=at, max_age_seconds=_ANY_AGE_SECONDS).der
        self._found[name] = (now, found)
        return found
