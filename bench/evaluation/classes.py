"""The classes of the evaluation, in the order of the report; `__init__.py` of this package says what each offers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .chapter import Chapter
    from .model import Plan, Workload
    from .runs import Runs

NAMES: Final = ("arithmetic", "memory", "inference", "attestation", "replaces", "peers")


class EvaluationClass(Protocol):
    """What a class's package offers."""

    TITLE: str

    def workloads(self, plan: Plan) -> Iterable[Workload]:
        """Return what is measured."""

    def chapter(self, runs: Runs) -> Chapter:
        """Return its part of the report."""


def load(name: str) -> EvaluationClass:
    """Return the class of that name."""
    found: EvaluationClass = import_module(f"{__package__}.{name}")
    return found
