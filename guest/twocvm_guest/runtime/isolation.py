"""What keeps a worker from everything but its own node, and what of it this machine gives.

`probe` starts a worker that does nothing but shut itself in, by the very code that every other worker runs, and tells
what it got. A runtime is given that report: each of its workers must have whatever the report says is to be had, or
nothing is run in it. What is missing shows in `twocvm doctor` and in the guest's event log.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twocvm_verifier.errors import UnsupportedError

from .features import Feature
from .messages import Job, Outcome, Work
from .process import Worker, WorkerError
from .scratch import scratch_folder

_SWAPS: Final = Path("/proc/swaps")
# High identities that no distribution hands out; where a container has fewer, the end of what it has.
_UIDS: Final = 0x7B00_0000
_UID_MAP: Final = Path("/proc/self/uid_map")
_FILE_BYTES: Final = 1 << 20
_PROBE_SECONDS: Final = 10.0
_CPU_SECONDS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureReport:
    """One means of isolation on this machine.

    Attributes:
        name: Such as `mount-namespace`; stable.
        available: A worker on this machine had it.
        reason: Where it had not, why, in words for the machine's owner; else empty.
    """

    name: str
    available: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationReport:
    """What a worker on this machine is kept in.

    Attributes:
        features: Every means that `docs/runtime.md` lists, in its order.
    """

    features: tuple[FeatureReport, ...]

    @property
    def complete(self) -> bool:
        """Nothing is missing."""
        return not self.missing

    @property
    def missing(self) -> tuple[FeatureReport, ...]:
        """What this machine does not give."""
        return tuple(feature for feature in self.features if not feature.available)

    @property
    def promised(self) -> tuple[str, ...]:
        """The names of what every worker must have: all that is available and is a worker's own."""
        return tuple(
            feature.name for feature in self.features if feature.available and feature.name != Feature.NO_SWAP.value
        )

    def require_complete(self) -> None:
        """Refuse a machine that does not give everything.

        Raises:
            UnsupportedError: ISOLATION_INCOMPLETE, with every means that is missing and why.
        """
        if self.missing:
            reasons = "; ".join(f"{feature.name} ({feature.reason})" for feature in self.missing)
            raise UnsupportedError("ISOLATION_INCOMPLETE", f"workers run without {reasons}")

    @property
    def has_folders(self) -> bool:
        """Whether workers have mounts of their own, and so need no scratch folder of this process's."""
        return Feature.OWN_FOLDERS.value in self.promised


def probe() -> IsolationReport:
    """Start a worker, let it shut itself in, and report what it got. Takes about a tenth of a second.

    Raises:
        UnsupportedError: ISOLATION_UNKNOWN; the worker did not come to its end, so that nothing is known of any.
    """
    uid = new_uid()
    with scratch_folder(uid) as scratch:
        job = Job(
            work=Work.PROBE,
            uid=uid,
            scratch=scratch,
            promised=(),
            file_bytes=_FILE_BYTES,
            cpu_seconds=_CPU_SECONDS,
        )
        try:
            with Worker() as worker:
                reasons = worker.shut_in(job)
                if worker.go_on(seconds=_PROBE_SECONDS) is not Outcome.DONE:
                    raise WorkerError("worker: cannot work once it is shut in")
        except WorkerError as error:
            raise UnsupportedError("ISOLATION_UNKNOWN", str(error)) from error
    swaps = _SWAPS.read_text().splitlines()[1:] if _SWAPS.exists() else []
    reasons[Feature.NO_SWAP] = f"the machine swaps to {len(swaps)} devices" if swaps else ""
    return IsolationReport(features=tuple(_report(feature, reasons) for feature in Feature))


def new_uid() -> int:
    """Return an identity for one worker, of effect only where this process is root."""
    own = [line.split() for line in _UID_MAP.read_text().splitlines()]
    end = max(int(first) + int(count) for first, _, count in own)
    span = 1 << 24
    return (_UIDS if end > _UIDS + span else max(1, end - end // 4)) + secrets.randbelow(min(span, max(1, end // 4)))


@contextlib.contextmanager
def worker_folder(isolation: IsolationReport, uid: int) -> Iterator[str]:
    """Give what a worker on this machine writes to: nothing where it has mounts of its own, else a scratch folder."""
    if isolation.has_folders:
        yield ""
        return
    with scratch_folder(uid) as folder:
        yield folder


def _report(feature: Feature, reasons: dict[Feature, str]) -> FeatureReport:
    reason = reasons.get(feature, "it was not tried")
    return FeatureReport(name=feature.value, available=not reason, reason=reason)
