"""What was measured: the samples of every configuration of every workload, and the machine's load around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .model import Comparison, Configuration, Step, Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One configuration of one workload.

    Attributes:
        configuration: Which.
        files: What it was made of, by SHA-256.
        empty: Why it has no samples; empty where it has.
        failed: Whether that is because it failed, and not because it cannot be had here.
        samples: One for each round: a timing for each step.
        conditions: What was measured of what it ran on.
    """

    configuration: Configuration
    files: Mapping[str, str] = field(default_factory=dict)
    empty: str = ""
    failed: bool = False
    samples: tuple[tuple[Timing, ...], ...] = ()
    conditions: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One workload after its rounds.

    Attributes:
        others: How many cores were busy with anything else meanwhile.
        again: When it was measured again and at which commit; empty where that was with all others.
    """

    name: str
    title: str
    steps: tuple[Step, ...]
    comparisons: tuple[Comparison, ...]
    columns: tuple[Column, ...]
    tolerance: float
    busy: bool
    others: float
    again: str = ""

    def column(self, name: str) -> Column | None:
        """The configuration of that name, if it has one."""
        return next((each for each in self.columns if each.configuration.name == name), None)

    def step_index(self, name: str) -> int:
        """Where in each sample the step is."""
        return next(index for index, each in enumerate(self.steps) if each.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One whole run on one machine; what a JSON file holds.

    Attributes:
        label: `plain` or `snp`: which columns it fills.
        reduced: Whether it was the small one.
        started: When, in UTC.
        ended: When, in UTC.
        machine: As `machine.describe` found it.
        workloads: In the order in which they were measured.
    """

    label: str
    reduced: bool
    started: str
    ended: str
    machine: Mapping[str, Any]
    workloads: tuple[Measured, ...]

    def workload(self, name: str) -> Measured | None:
        """The workload of that name, if it was measured."""
        return next((each for each in self.workloads if each.name == name), None)

    def of_class(self, name: str) -> tuple[Measured, ...]:
        """The workloads of a class."""
        return tuple(each for each in self.workloads if each.name.startswith(f"{name}/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What a report is made of: a run outside SEV-SNP, and one inside, where there is one of either."""

    plain: Run | None
    snp: Run | None

    @property
    def each(self) -> tuple[Run, ...]:
        """Those that there are."""
        return tuple(run for run in (self.plain, self.snp) if run)
