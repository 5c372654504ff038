"""Candidates that are a process of their own: a kernel in `host.py`, or whatever else answers as it does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from .build import ROOT
from .ended import end_all, started
from .model import FailedError, Timing

# One that is asked nothing more has nothing to do but to give its memory back.
_SECONDS_TO_END: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a kernel is asked.

    Attributes:
        size: Of its data, in whatever it counts.
        seed: Of its data.
        times: How often it does each step.
        fresh: Whether it prepares again before every sample, untimed.
    """

    size: int
    seed: int = 1
    times: tuple[int, ...]
    fresh: bool = False

    @property
    def text(self) -> str:
        """As `entry.c` reads it."""
        return " ".join(map(str, (self.size, self.seed, *self.times)))


class Asked:
    """A process that answers each line with a line, until its standard input ends.

    Args:
        command: What is started, in the root of the repository.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = started(command, stdin=subprocess.PIPE, cwd=ROOT)

    def ask(self, line: str) -> str:
        """Return what it answers.

        Raises:
            FailedError: It has ended.
        """
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None and pipe_out is not None  # noqa: PT018, they were asked for above
        try:
            pipe_in.write(f"{line}\n")
            pipe_in.flush()
            answer = pipe_out.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            _, said = self._process.communicate()
            raise FailedError(f"its process ended with {self._process.returncode}: {said.strip()[-500:]}")
        return answer

    def close(self, *, patience_seconds: float = _SECONDS_TO_END) -> None:
        """End its input, and with that the process; one that goes on is ended with all that it has started."""
        try:
            self._process.communicate(timeout=patience_seconds)
        except subprocess.TimeoutExpired:
            end_all(self._process)
            self._process.communicate()


class Served:
    """A process of its own that is asked over its standard input, once for each sample.

    Args:
        command: What is started.
        first: What it is asked first, as JSON; it is ready once it has answered.
    """

    def __init__(self, command: Sequence[str], first: Any) -> None:
        self._asked = Asked(command)
        try:
            self._ask(first)
        except BaseException:
            self.close()
            raise

    def sample(self) -> tuple[Timing, ...]:
        """Do all steps once."""
        return tuple(timing(each) for each in self._ask({}))

    def close(self, *, patience_seconds: float = _SECONDS_TO_END) -> None:
        """End the process; after that long, whatever it does."""
        self._asked.close(patience_seconds=patience_seconds)

    def _ask(self, question: Any) -> Any:
        return json.loads(self._asked.ask(json.dumps(question)))


class Hosted(Served):
    """A kernel that is ready in a process of its own."""

    def __init__(self, kind: str, path: Path, request: Request) -> None:
        super().__init__([sys.executable, "-m", "bench.evaluation.host", kind, str(path)], asdict(request))


def timing(numbers: Sequence[Any]) -> Timing:
    """Return what `host.py` answered."""
    start, end, wall, wall_end, cpu, digest, value = numbers
    return Timing(
        start_ns=start, end_ns=end, wall_start_ns=wall, wall_end_ns=wall_end, cpu_ns=cpu, digest=digest, value=value
    )
