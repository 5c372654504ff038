"""One piece of work however many ask for it at once, and a failure that is shared for a short while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from twocvm_verifier.clock import Clock
from twocvm_verifier.errors import CollateralError, FetchError

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

# Each takes a thread while it lasts; a crowd that asks for so many chips at once is answered in turn.
MAX_FLIGHTS: Final = 256


@dataclass(slots=True)
class _Flight(Generic[Value]):
    landed: threading.Event = field(default_factory=threading.Event)
    value: list[Value] = field(default_factory=list)
    failure: BaseException | None = None
    forget_at: float = float("inf")


class Flights(Generic[Key, Value]):
    """Work under way, by key. May be shared between threads.

    The work runs in a thread of its own, so that nobody who asks waits longer than it means to; it goes on when all
    have given up, and whoever asks next finds it under way, or done.

    Args:
        clock: Measures how long a failure is shared.
        failure_seconds: For how long after it failed work is not begun again.
    """

    def __init__(self, *, clock: Clock, failure_seconds: float) -> None:
        self._clock = clock
        self._failure_seconds = failure_seconds
        self._flights: dict[Key, _Flight[Value]] = {}
        self._lock = threading.Lock()

    def run(self, key: Key, work: Callable[[], Value], *, wait_seconds: float) -> Value:
        """Return what `work` returns, run now or by somebody who asked for the same before.

        Args:
            key: What makes two callers ask for the same.
            work: What finds it; runs at most once at a time for each key.
            wait_seconds: Give up waiting, not working, after so long.

        Raises:
            CollateralError: The work failed, now or a short while ago; `FETCH_BUSY` where it is not done yet.
        """
        flight = self._join(key, work)
        if not flight.landed.wait(wait_seconds):
            raise FetchError("FETCH_BUSY", f"{key}: not here after {wait_seconds:.0f} s, and still being fetched")
        if flight.failure is not None:
            raise _again(flight.failure) from flight.failure
        return flight.value[0]

    def _join(self, key: Key, work: Callable[[], Value]) -> _Flight[Value]:
        with self._lock:
            now = self._clock.monotonic_seconds()
            for known, flight in list(self._flights.items()):
                if flight.forget_at <= now:
                    del self._flights[known]
            if key in self._flights:
                return self._flights[key]
            if len(self._flights) >= MAX_FLIGHTS:
                raise FetchError(
                    "FETCH_BUSY",
                    f"{key}: {MAX_FLIGHTS} other pieces are being fetched",
                    retry_after_seconds=self._failure_seconds,
                )
            begun: _Flight[Value] = _Flight()
            self._flights[key] = begun
        threading.Thread(target=self._fly, args=(key, begun, work), name="collateral", daemon=True).start()
        return begun

    def _fly(self, key: Key, flight: _Flight[Value], work: Callable[[], Value]) -> None:
        try:
            flight.value.append(work())
        except BaseException as failure:  # noqa: BLE001 - whatever it is, it is raised again in every thread that waits
            flight.failure = failure
        with self._lock:
            if flight.failure is None:
                del self._flights[key]
            else:
                flight.forget_at = self._clock.monotonic_seconds() + self._failure_seconds
        flight.landed.set()


def _again(failure: BaseException) -> BaseException:
    """Return a failure of its own for each thread: one that is raised in many at once gathers all their traces."""
    if isinstance(failure, FetchError):
        return FetchError(failure.code, failure.detail, retry_after_seconds=failure.retry_after_seconds)
    if isinstance(failure, CollateralError):
        return type(failure)(failure.code, failure.detail)
    return RuntimeError("fetching failed in a way that is a mistake of this program")
