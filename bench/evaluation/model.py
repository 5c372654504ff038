"""What is measured: workloads, their steps, the configurations that each comes in, and which are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


class MissingError(Exception):
    """A configuration cannot be had here; the text is the reason, and its column stays empty."""


class FailedError(Exception):
    """A configuration was there and did not do its work; the text is what it said, and its column stays empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How large the run is.

    Attributes:
        reduced: Sizes and rounds that end within minutes, to see that everything works.
        fetches: Whether sources may be fetched from package registries; what is at hand is used in any case.
    """

    reduced: bool
    fetches: bool = True

    @property
    def rounds(self) -> int:
        """How often each configuration is sampled."""
        return 3 if self.reduced else 10

    @property
    def limit_seconds(self) -> float:
        """How long opening, one sample or closing of a configuration may take; it is far above what any takes."""
        return 300 if self.reduced else 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One way to have a workload computed.

    Attributes:
        name: Short, for the JSON: `gcc-v3`.
        title: For a table's head.
        flags: What the compiler was told, or whatever else tells it from the others.
        exact: Its digest must be that of the others. Where not, only its value must be near theirs.
        repeats: How many times the units of a step one sample of it does; more where one of them takes microseconds.
    """

    name: str
    title: str
    flags: str = ""
    exact: bool = True
    repeats: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is timed.

    Attributes:
        name: `insert`.
        units: How many units of work one sample of it does.
        unit: `rows`.
        least_seconds: Of one unit; whatever computes faster has had its loop removed by the compiler.
    """

    name: str
    units: float
    unit: str
    least_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One step of one sample, as whoever called it saw it.

    Attributes:
        start_ns: Of the monotonic clock.
        end_ns: Of the monotonic clock.
        wall_start_ns: Of the wall clock, which the other is held against.
        wall_end_ns: Of the wall clock.
        cpu_ns: Processor time of whatever computed it.
        digest: Of the result, in hex: equal bits give equal digests.
        value: Of the result, for configurations that do not give equal bits.
    """

    start_ns: int
    end_ns: int
    wall_start_ns: int
    wall_end_ns: int
    cpu_ns: int
    digest: str
    value: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end_ns - self.start_ns) / 1e9


class Candidate(Protocol):
    """A configuration that is ready to be sampled; whatever is not to be timed has been done."""

    def sample(self) -> tuple[Timing, ...]:
        """Go through the workload's steps once; one timing for each, in their order."""

    def close(self) -> None:
        """Give everything back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A candidate.

    Attributes:
        files: What it is made of: names with their SHA-256 in hex.
        conditions: Asked once it is closed, what was measured of what it ran on: names, with their units, and numbers.
    """

    candidate: Candidate
    files: Mapping[str, str] = field(default_factory=dict)
    conditions: Callable[[], Mapping[str, float]] = dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A configuration and how to open it.

    Attributes:
        configuration: Which.
        open: Opens it; may raise `MissingError`.
        build: Makes beforehand what opening needs, several at once; may raise `MissingError`, as opening will again.
    """

    configuration: Configuration
    open: Callable[[], Opened]
    build: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A ratio of times that is wanted: of one configuration over the fastest of some.

    Attributes:
        name: What a table calls it.
        step: Which of the workload's steps.
        of: Names of configurations; the fastest of them is the numerator.
        over: Names of configurations; the fastest of them, by its median, is the denominator.
        at_most: The bound that this project sets itself; 0 is none.
        paper: The paper's figure, as it stands there with its mark; empty where it has none.
    """

    name: str
    step: str
    of: tuple[str, ...]
    over: tuple[str, ...]
    at_most: float = 0.0
    paper: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is computed, in all configurations.

    Attributes:
        name: `arithmetic/product-512-fused`; unique, and begins with its class.
        title: For people.
        steps: What is timed.
        offers: The configurations, in the order in which they are sampled.
        comparisons: The ratios that are wanted.
        rounds: How often each is sampled; 0 is as the plan has it.
        tolerance: How far values of inexact configurations may be apart, relatively.
        pinned: Whether all of it runs on one core.
        busy: Whether a sample that did not have its core is disturbed; not so for what waits.
    """

    name: str
    title: str
    steps: tuple[Step, ...]
    offers: tuple[Offer, ...]
    comparisons: tuple[Comparison, ...] = ()
    rounds: int = 0
    tolerance: float = 1e-9
    pinned: bool = True
    busy: bool = True
