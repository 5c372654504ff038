"""Rule 7 of a manifest's validity: what filters may stand where (`docs/spec/manifest.md`, Validity)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from .draft import Draft, placed
from .filters import Budget, ByComponent, FilterKind, Format, Noise, Padding, format_of
from .model import Component, DataRef, Output, Profile
from .problems import Problems, Rule


def find_filter_problems(draft: Draft, problems: Problems) -> None:
    """Note every filter that is no filter, or stands where it makes no sense."""
    _components_are_filters(draft, problems)
    kind_of = draft.kind_of
    for pointer, output in placed(draft.outputs, "/outputs"):
        kinds = [(f"{pointer}/filters/{index}", kind_of.get(name)) for index, name in enumerate(output.filters)]
        _order_makes_sense(kinds, problems)
        _sizes_fit(draft, output, kinds, problems)


def find_budget_problems(
    draft: Draft, reached: Mapping[str, int], outputs: Sequence[Output], problems: Problems
) -> None:
    """Note every item whose budget the outputs that it reaches exceed.

    Args:
        draft: The manifest.
        reached: For each item the bits of the outputs that it reaches.
        outputs: By bit.
        problems: Where problems are noted.
    """
    if any(found.kind is None for found in draft.filters) or any("" in output.filters for output in outputs):
        # What could not be read may be the noise that is missed.
        return
    costs = [_cost(draft, output) for output in outputs]
    for pointer, item in placed(draft.data, "/data"):
        budget = item.budget
        if budget is None or draft.item_of.get(item.name) is not item or problems.under(f"{pointer}/budget"):
            continue
        bits = reached[item.name]
        spent = [
            (output, cost) for bit, (output, cost) in enumerate(zip(outputs, costs, strict=True)) if bits >> bit & 1
        ]
        if bare := [output.name for output, cost in spent if cost is None]:
            detail = f"{item.name!r} reaches the output {bare[0]!r} without noise"
            problems.add(Rule.BUDGET, f"{pointer}/budget", detail)
            continue
        epsilon = sum((cost.epsilon for _, cost in spent if cost), Decimal(0))
        delta = sum((cost.delta for _, cost in spent if cost), Decimal(0))
        for name, total, most in (("epsilon", epsilon, budget.epsilon), ("delta", delta, budget.delta)):
            if total > most:
                problems.add(
                    Rule.BUDGET, f"{pointer}/budget", f"the outputs of {item.name!r} take {name} {total:f} of {most:f}"
                )


def _cost(draft: Draft, output: Output) -> Budget | None:
    """Return what the noise of an output costs together, or None where it has none."""
    noises = [kind for name in output.filters if isinstance(kind := draft.kind_of.get(name), Noise)]
    if not noises:
        return None
    return Budget(
        epsilon=sum((noise.epsilon for noise in noises), Decimal(0)),
        delta=sum((noise.delta for noise in noises), Decimal(0)),
    )


def _components_are_filters(draft: Draft, problems: Problems) -> None:
    used = _used_otherwise(draft)
    for pointer, found in placed(draft.filters, "/filters"):
        if not isinstance(found.kind, ByComponent):
            continue
        place, name = f"{pointer}/component", found.kind.component
        component = draft.component_of.get(name)
        if component is None:
            if "" not in (each.name for each in draft.components):
                problems.add(Rule.REFERENCE, place, f"no component is called {name!r}")
            continue
        if (fault := _unfit(component, used)) and not problems.under("/components"):
            problems.add(Rule.FILTER, place, f"{name!r} {fault}")


def _unfit(component: Component, used: frozenset[str]) -> str:
    if component.name in used:
        return "has a channel or an output, so it is part of the graph and no filter"
    if component.profile is not Profile.FILES:
        return "is not of the profile files"
    return "" if component.entry else "has no entry"


def _used_otherwise(draft: Draft) -> frozenset[str]:
    """Return every component that a channel or an output names."""
    names = {output.source.component for _, output in placed(draft.outputs, "/outputs")}
    for _, channel in placed(draft.channels, "/channels"):
        names.add(channel.target.component)
        if not isinstance(channel.source, DataRef):
            names.add(channel.source.component)
    return frozenset(names)


def _order_makes_sense(kinds: Sequence[tuple[str, FilterKind | None]], problems: Problems) -> None:
    read_as: Format | None = None
    padded = False
    noised: set[str] = set()
    for pointer, kind in kinds:
        if padded:
            problems.add(Rule.FILTER, pointer, "stands after padding, which is the last filter of an output")
            return
        padded = isinstance(kind, Padding)
        if isinstance(kind, ByComponent) or kind is None:
            # Whatever comes out of it may have another format.
            read_as = None
        elif (wanted := format_of(kind)) is not None:
            if read_as not in (None, wanted):
                problems.add(Rule.FILTER, pointer, f"takes the output for {wanted}, a filter before it for {read_as}")
            read_as = wanted
        if isinstance(kind, Noise):
            if again := noised.intersection(kind.target.places):
                problems.add(Rule.FILTER, pointer, f"adds noise to {min(again)!r}, which has noise already")
            noised.update(kind.target.places)


def _sizes_fit(
    draft: Draft, output: Output, kinds: Sequence[tuple[str, FilterKind | None]], problems: Problems
) -> None:
    """Sizes against the output's; one of 0 is one that could not be read."""
    for pointer, kind in kinds:
        if isinstance(kind, Padding) and output.max_bytes and kind.sizes[-1] > output.max_bytes:
            problems.add(Rule.LIMIT, pointer, f"pads to {kind.sizes[-1]} bytes, more than the output's max_bytes")
        if isinstance(kind, ByComponent) and (component := draft.component_of.get(kind.component)):
            limit = component.limits.output_bytes
            if limit and output.max_bytes > limit:
                problems.add(
                    Rule.LIMIT, pointer, f"{component.name!r} may leave {limit} bytes, less than the output's max_bytes"
                )
