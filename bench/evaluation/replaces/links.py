"""Three network namespaces, between which every packet takes 10 ms from its sender to whom it is for.

`relay.py` makes them and holds the packets, in a process of its own. What it makes is measured before anything is
measured over it, and what it did is asked afterwards: where it was not what it is said to be, there is no figure.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.evaluation.ended import ended
from bench.evaluation.judge import UNDER_LOAD
from bench.evaluation.model import FailedError, MissingError
from bench.evaluation.process import Asked

from .relay import address

__all__ = ["DELAY_MS", "FILES", "PARTIES", "Links", "address"]

DELAY_MS: Final = 10
PARTIES: Final = 3
# Of the median round trip, and of packets at the median. Its ends and this relay wake some five times on such a trip.
MOST_ADDED_SHARE: Final = 0.05
MOST_LATE_MS: Final = 0.3
_TIMES: Final = 5
_PYTHON: Final = (sys.executable, "-I", "-S")
FILES: Final = tuple(Path(__file__).with_name(name) for name in ("relay.py", "round_trip.py"))
RELAY: Final = (*_PYTHON, str(FILES[0]), str(PARTIES), str(DELAY_MS))
_ROUND_TRIP: Final = (*_PYTHON, str(FILES[1]), str(_TIMES))


class Links:
    """Ready once their round trips were measured, each pair's; they end with `close`, or with this process.

    Raises:
        MissingError: They cannot be had here, or are not what they are to be.
    """

    def __init__(self) -> None:
        if shutil.which("nsenter") is None:
            raise MissingError(f"links of {DELAY_MS} ms take nsenter, of util-linux")
        self._relay = Asked(RELAY)
        try:
            self._made = json.loads(self._relay.ask("make them"))
            if "missing" in self._made:
                raise MissingError(f"links of {DELAY_MS} ms cannot be made here: {self._made['missing']}")
            self._conditions = required(self._round_trips())
        except FailedError as error:
            self._relay.close()
            raise MissingError(f"links of {DELAY_MS} ms cannot be used here: {error}") from error
        except BaseException:
            self._relay.close()
            raise

    def inside(self, party: int) -> tuple[str, ...]:
        """Return what starts a command in a party's namespace; party I is at `address(I)`."""
        users = self._made["users"]
        among = (f"--user={users}", "--preserve-credentials") if users else ()
        return ("nsenter", *among, f"--net={self._made['namespaces'][party]}")

    def conditions(self) -> Mapping[str, float]:
        """Return what was measured of them: round trips before, and once they are closed, what they carried."""
        return self._conditions

    def close(self) -> None:
        """Take them away."""
        try:
            self._conditions |= json.loads(self._relay.ask("what was carried"))
        finally:
            self._relay.close()

    def require_in_time(self) -> None:
        """See to it that they were, to their end, what they are to be.

        Raises:
            MissingError: They were slower.
        """
        late_ms = self._conditions["late_ms"]
        if late_ms > MOST_LATE_MS:
            raise MissingError(f"{UNDER_LOAD}: half of all packets came {late_ms:.2f} ms late or later")

    def _round_trips(self) -> list[float]:
        found: list[float] = []
        for party in range(PARTIES - 1):
            others = [address(other) for other in range(party + 1, PARTIES)]
            found += json.loads(ended([*self.inside(party), *_ROUND_TRIP, *others]))
        return found


def required(round_trips: list[float]) -> dict[str, float]:
    """Return what is told of round trips, in milliseconds.

    Raises:
        FailedError: They are faster than they can be.
        MissingError: They are slower than they are to be.
    """
    want, got = 2.0 * DELAY_MS, statistics.median(round_trips)
    said = f"a round trip over links of {DELAY_MS} ms took {got:.2f} ms, not {want:g}"
    if got < want:
        raise FailedError(said)
    if got > want * (1 + MOST_ADDED_SHARE):
        raise MissingError(f"{UNDER_LOAD}: {said}")
    return {"round_trip_ms": got, "least_round_trip_ms": min(round_trips), "most_round_trip_ms": max(round_trips)}
