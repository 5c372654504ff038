"""Finding collateral: in the store, else at each source in order, once for however many ask at the same time.

Rules:
1. What the store holds is used, if it is genuine and in force; nothing else is asked then.
2. Else each source is asked in order, until one sends what is genuine. A source that sends something else has failed
   (`FETCH_WRONG`), whatever it is: that is never a finding about the evidence.
3. What was fetched is stored, and what was stored is what the next caller gets.
4. A failure is shared by all who asked, and by those who ask within a few seconds.
5. A revocation list that is in force, but older than the caller likes, is better than none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from twocvm_verifier.clock import Clock, require_utc
from twocvm_verifier.errors import CollateralError, FetchError, MalformedError, NotFoundError, VerificationError
from twocvm_verifier.snp.crl import MAX_CRL_BYTES
from twocvm_verifier.snp.report import Report
from twocvm_verifier.snp.vek import MAX_VEK_BYTES

from .flight import Flights
from .names import CrlName, VcekName, vcek_names
from .sources import Source
from .store import Store, Stored

# Long enough that a crowd does not ask again at once, short enough that a person can.
FAILURE_SECONDS: Final = 10.0
STORE: Final = "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One piece of collateral, genuine, and where it was found.

    Attributes:
        piece: As the store keeps it.
        source: `store`, or the source's name.
    """

    piece: Stored
    source: str

    @property
    def der(self) -> bytes:
        """Its bytes."""
        return self.piece.der


class Collateral:
    """Finds collateral. May be shared between threads, and should be by all that share a store.

    Args:
        store: Looked at first, and where everything is kept.
        sources: Asked in this order; none where nothing may be fetched.
        clock: Measures waiting, and for how long a failure is shared.
        patience_seconds: How long a caller waits for one piece, turns of others included.
    """

    def __init__(self, *, store: Store, sources: Sequence[Source], clock: Clock, patience_seconds: float) -> None:
        self.store = store
        self._sources = tuple(sources)
        self._patience_seconds = patience_seconds
        self._flights: Flights[VcekName | CrlName, Fetched] = Flights(clock=clock, failure_seconds=FAILURE_SECONDS)

    def vek_of(self, report: Report, *, at: datetime) -> Fetched:
        """Return the VCEK that should verify `report`.

        Args:
            report: As parsed; what it claims decides only what is asked for.
            at: When the VCEK must be valid (aware, UTC).

        Raises:
            NotFoundError: Nobody has it, or it cannot be asked for: see `vcek_names`.
            FetchError: A source failed, so that nobody knows.
        """
        names, at = vcek_names(report), require_utc(at)
        if (found := self.stored_vek_of(report, at=at)) is not None:
            return found
        problems: list[CollateralError] = []
        for name in names:
            try:
                return self._fetch(name, stored=partial(self._stored_vcek, name, at=at))
            except CollateralError as problem:
                problems.append(problem)
        raise _deciding(problems)

    def stored_vek_of(self, report: Report, *, at: datetime) -> Fetched | None:
        """Return the VCEK that should verify `report`, or None where the store has none; nobody is asked.

        Raises:
            NotFoundError: It cannot be asked for at all.
        """
        at = require_utc(at)
        found = (self._stored_vcek(name, at=at) for name in vcek_names(report))
        return next((each for each in found if each is not None), None)

    @property
    def fetches(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self._sources)

    def vcek(self, name: VcekName, *, at: datetime) -> Fetched:
        """Return the VCEK of a name; else as `vek_of`."""
        at = require_utc(at)
        return self._stored_vcek(name, at=at) or self._fetch(name, stored=partial(self._stored_vcek, name, at=at))

    def crl(self, name: CrlName, *, at: datetime, max_age_seconds: float) -> Fetched:
        """Return the newest revocation list of `name`, in force at `at`.

        Args:
            name: Which.
            at: When it must be in force (aware, UTC).
            max_age_seconds: An older one is used only where no source has a newer one; 0 asks the sources in any case.

        Raises:
            NotFoundError: Nobody has one.
            FetchError: A source failed, and the store holds none.
            StaleError: There is one, and it is not in force.
        """
        at = require_utc(at)
        recent = partial(self._recent_crl, name, at=at, max_age_seconds=max_age_seconds)
        found = recent()
        if found is None:
            try:
                found = self._fetch(name, stored=recent)
            except CollateralError:
                kept = self.store.crl(name)
                if kept is None:
                    raise
                found = Fetched(piece=kept, source=STORE)
        found.piece.require_in_force(at=at)
        return found

    def _stored_vcek(self, name: VcekName, *, at: datetime) -> Fetched | None:
        stored = self.store.vcek(name)
        return None if stored is None or at > stored.not_after else Fetched(piece=stored, source=STORE)

    def _recent_crl(self, name: CrlName, *, at: datetime, max_age_seconds: float) -> Fetched | None:
        stored = self.store.crl(name)
        if stored is None or not at - timedelta(seconds=max_age_seconds) < stored.not_before <= at <= stored.not_after:
            return None
        return Fetched(piece=stored, source=STORE)

    def _fetch(self, name: VcekName | CrlName, *, stored: Callable[[], Fetched | None]) -> Fetched:
        if not self._sources:
            raise NotFoundError("COLLATERAL_NOT_FOUND", f"{name}: the store has none in force, and nothing is fetched")
        # Whoever comes when the piece has just landed finds it in the store, instead of asking once more.
        return self._flights.run(name, lambda: stored() or self._ask(name), wait_seconds=self._patience_seconds)

    def _ask(self, name: VcekName | CrlName) -> Fetched:
        problems: list[CollateralError] = []
        max_bytes = MAX_VEK_BYTES if isinstance(name, VcekName) else MAX_CRL_BYTES
        for source in self._sources:
            try:
                raw = source.get(name, max_bytes=max_bytes, patience_seconds=self._patience_seconds)
                return Fetched(piece=self._keep(name, raw, source), source=source.name)
            except CollateralError as problem:
                problems.append(problem)
        raise _deciding(problems)

    def _keep(self, name: VcekName | CrlName, raw: bytes, source: Source) -> Stored:
        try:
            return self.store.put_vcek(name, raw) if isinstance(name, VcekName) else self.store.put_crl(name, raw)
        except (MalformedError, VerificationError) as error:
            detail = f"{source.name}: answered with something else than the {name}: {error.detail}"
            raise FetchError("FETCH_WRONG", detail) from error


def _deciding(problems: Sequence[CollateralError]) -> CollateralError:
    """Return what to tell: that a source failed rather than that another has nothing, for then nobody knows."""
    failed = [problem for problem in problems if not isinstance(problem, NotFoundError)]
    return failed[-1] if failed else problems[-1]
