"""A manifest whose form has been read and whose rules have not: parts that could not be made out are None.

The rules of `references.py` and `flow.py` work on what is left. Each of them either can only find more where there is
more to see, or asks first whether everything was made out, so that one mistake is never reported as another elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

from .filter_form import FilterForm
from .filters import ByComponent, FilterKind
from .model import Channel, Component, DataItem, Output, ParticipantEntry, Rules
from .platform import Platform


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The parts of a manifest, in the order of the document."""

    participants: tuple[ParticipantEntry, ...]
    platform: Platform
    components: tuple[Component, ...]
    data: tuple[DataItem, ...]
    channels: tuple[Channel | None, ...]
    filters: tuple[FilterForm, ...]
    outputs: tuple[Output | None, ...]
    rules: Rules

    @cached_property
    def participant_names(self) -> frozenset[str]:
        """The names of all participants."""
        return frozenset(participant.name for participant in self.participants)

    @cached_property
    def filter_names(self) -> frozenset[str]:
        """The names of all filters."""
        return frozenset(found.name for found in self.filters)

    @cached_property
    def kind_of(self) -> Mapping[str, FilterKind]:
        """What each filter does, by its name; only of those that could be made out."""
        return {found.name: found.kind for found in reversed(self.filters) if found.kind is not None}

    @cached_property
    def filter_components(self) -> frozenset[str]:
        """The components that are filters, by name; they are no part of the graph that the channels make."""
        return frozenset(found.kind.component for found in self.filters if isinstance(found.kind, ByComponent))

    @cached_property
    def component_of(self) -> Mapping[str, Component]:
        """Components by name; of two with the same name the first."""
        return _by_name(self.components)

    @cached_property
    def item_of(self) -> Mapping[str, DataItem]:
        """Data items by name; of two with the same name the first."""
        return _by_name(self.data)


def placed(values: Iterable[_T | None], pointer: str) -> Iterator[tuple[str, _T]]:
    """Yield each value that was made out, after the pointer of its place in the array `pointer`."""
    for index, value in enumerate(values):
        if value is not None:
            yield f"{pointer}/{index}", value


def _by_name(values: Iterable[_N]) -> dict[str, _N]:
    result: dict[str, _N] = {}
    for value in values:
        if value.name:
            result.setdefault(value.name, value)
    return result
