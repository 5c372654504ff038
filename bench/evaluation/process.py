"""Candidates that are a process of their own: a kernel in `host.py`, or whatever else answers as it does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .build import ROOT
from .model import FailedError, Timing


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


class Served:
    """A process of its own that is asked over its standard input, once for each sample.

    Args:
        command: What is started, in the root of the repository.
        first: What it is asked first, as JSON; it is ready once it has answered.
    """

    def __init__(self, command: Sequence[str], first: Any) -> None:
        self._process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._ask(first)

    def sample(self) -> tuple[Timing, ...]:
        """Do all steps once."""
        return tuple(timing(each) for each in self._ask({}))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _ask(self, question: Any) -> Any:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None and pipe_out is not None  # noqa: PT018, they were asked for above
        try:
            pipe_in.write(json.dumps(question) + "\n")
            pipe_in.flush()
            answer = pipe_out.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            _, said = self._process.communicate()
            raise FailedError(f"its process ended with {self._process.returncode}: {said.strip()[-500:]}")
        return json.loads(answer)


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
