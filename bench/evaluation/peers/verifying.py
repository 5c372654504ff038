"""Verifying and appraising the same reports, by this project's verifier and by go-sev-guest in a process of its own."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.evaluation.build import sha256
from bench.evaluation.model import MissingError, Opened, Timing
from bench.evaluation.process import Asked
from bench.go_sev_guest import REPORTS, built, written
from tests.support.amd import AT, fake_amd

from twocvm_verifier import Policy, SnpVerifier, Unchecked, appraise
from twocvm_verifier.snp.product import Product

_ALL: Final = f"{REPORTS} accepted"


class Ours:
    """This project's verifier, which has seen the chip before, as a verifier has."""

    def __init__(self) -> None:
        amd = fake_amd(Product.GENOA)
        with tempfile.TemporaryDirectory() as folder:
            self._vek, self._reports = written(amd, Path(folder))
        self._verifier = SnpVerifier(roots=amd.roots(), crls=Unchecked("nor does theirs"))
        self._policy = Policy.builtin()

    def sample(self) -> tuple[Timing, ...]:
        """Judge each report once; a refused one raises."""
        wall, start, cpu = time.time_ns(), time.monotonic_ns(), time.process_time_ns()
        for report in self._reports:
            verified = self._verifier.verify(report, vek=self._vek, at=AT)
            appraise(verified, policy=self._policy, at=AT).require()
        return (_timing(start, wall, time.process_time_ns() - cpu),)

    def close(self) -> None:
        """Nothing is held."""


class Theirs:
    """go-sev-guest's `verify` and `validate`.

    Raises:
        MissingError: It cannot be built here.
    """

    def __init__(self) -> None:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            try:
                self.program = built(folder)
            except FileNotFoundError as missing:
                raise MissingError(f"go-sev-guest: {missing}") from missing
            written(fake_amd(Product.GENOA), folder)
            self._asked = Asked([str(self.program), str(folder)])
            stack.callback(self._asked.close)
            self._closing = stack.pop_all()

    def sample(self) -> tuple[Timing, ...]:
        """Have it judge each report once; it ends where one is refused."""
        wall, start = time.time_ns(), time.monotonic_ns()
        answer = self._asked.ask("")
        return (_timing(start, wall, int(answer)),)

    def close(self) -> None:
        """End it."""
        self._closing.close()


def ours() -> Opened:
    """Open this project's verifier."""
    return Opened(candidate=Ours())


def theirs() -> Opened:
    """Open go-sev-guest."""
    candidate = Theirs()
    return Opened(candidate=candidate, files={"go-sev-guest": sha256(candidate.program)})


def _timing(start: int, wall: int, cpu: int) -> Timing:
    end, wall_end = time.monotonic_ns(), time.time_ns()
    return Timing(start_ns=start, end_ns=end, wall_start_ns=wall, wall_end_ns=wall_end, cpu_ns=cpu, digest=_ALL)
