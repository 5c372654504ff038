"""Rules 4 to 6 of a manifest's validity: nodes, flow on all paths, limits (`docs/spec/manifest.md`, Validity)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from .draft import Draft, placed
from .filter_rules import find_budget_problems
from .filters import ByComponent
from .graph import Edge, Node, group, in_order, node_edges, reach
from .model import Channel, ChannelKind, DataRef, Output, PortRef, Profile
from .problems import Problems, Rule

_SHOWN_NAMES = 8


def find_flow_problems(draft: Draft, problems: Problems) -> None:
    """Note every rule of nodes, flow and limits that is broken; looks only at ends that exist."""
    channels_known = not problems.under("/channels") and not problems.under("/components")
    channels = [
        (pointer, channel) for pointer, channel in placed(draft.channels, "/channels") if _exists(draft, channel)
    ]
    outputs = [
        (pointer, output)
        for pointer, output in placed(draft.outputs, "/outputs")
        if _in_graph(draft, output.source.component)
    ]
    components = tuple(each for each in draft.component_of.values() if _in_graph(draft, each.name))
    nodes = group(components, [channel for _, channel in channels], [output for _, output in outputs])
    _nodes_are_whole(draft, nodes, problems, channels_known=channels_known)
    order = _order_without_cycles(components_edges(channels), nodes, problems)
    _sizes_fit(draft, channels, outputs, problems)
    if order is None:
        return
    by_name = {node.name: node for node in nodes}
    ordered = tuple(by_name[name] for name in order)
    _flow_is_allowed(draft, ordered, [output for _, output in outputs], problems)
    _node_limits_fit(draft, ordered, problems)


def components_edges(channels: Sequence[tuple[str, Channel]]) -> tuple[Edge, ...]:
    """Return the edges of `call` between components, from the one that exports to the one that imports."""
    return tuple(
        (channel.source.component, channel.target.component)
        for _, channel in channels
        if channel.kind is ChannelKind.CALL and isinstance(channel.source, PortRef)
    )


def _exists(draft: Draft, channel: Channel) -> bool:
    source = channel.source
    known = source.name in draft.item_of if isinstance(source, DataRef) else _in_graph(draft, source.component)
    return known and _in_graph(draft, channel.target.component)


def _in_graph(draft: Draft, component: str) -> bool:
    return component in draft.component_of and component not in draft.filter_components


def _nodes_are_whole(draft: Draft, nodes: Sequence[Node], problems: Problems, *, channels_known: bool) -> None:
    pointer_of = {component.name: pointer for pointer, component in placed(draft.components, "/components")}
    for node in nodes:
        entries = [member for member in node.members if member.entry]
        files = [member for member in node.members if member.profile is Profile.FILES]
        for extra in entries[1:]:
            problems.add(
                Rule.NODE, f"{pointer_of[extra.name]}/entry", f"the node of {node.name!r} has an entry already"
            )
        if not entries and channels_known:
            problems.add(Rule.NODE, f"{pointer_of[node.name]}/entry", "no member of this node has an entry")
        for extra in files[1:]:
            problems.add(
                Rule.NODE, f"{pointer_of[extra.name]}/profile", f"{files[0].name!r} has the node's files already"
            )
        for member in node.members[1:]:
            if member.limits != node.limits and not problems.under("/components"):
                problems.add(
                    Rule.NODE,
                    f"{pointer_of[member.name]}/limits",
                    f"{node.members[0].name!r} is of the same node and states other limits",
                )


def _order_without_cycles(calls: Sequence[Edge], nodes: Sequence[Node], problems: Problems) -> tuple[str, ...] | None:
    """Return the nodes' names in topological order, or None where a cycle of calls or nodes was noted."""
    callers = sorted({name for edge in calls for name in edge})
    _, call_cycles = in_order(callers, calls)
    order, node_cycles = in_order([node.name for node in nodes], node_edges(nodes))
    for kind, cycles in (("calls", call_cycles), ("nodes", node_cycles)):
        for cycle in cycles:
            shown = " -> ".join((*cycle[:_SHOWN_NAMES], "..." if len(cycle) > _SHOWN_NAMES else cycle[0]))
            problems.add(Rule.CYCLE, "/channels", f"a cycle of {kind}: {shown}")
    return None if call_cycles or node_cycles else order


def _flow_is_allowed(draft: Draft, ordered: Sequence[Node], outputs: Sequence[Output], problems: Problems) -> None:
    """must_pass and must_not_reach, against every output that an item can reach on whatever path."""
    items = tuple(draft.item_of.values())
    distinct = {output.name: output for output in outputs}
    reached = reach(ordered, items, distinct.values())
    by_bit = tuple(distinct.values())
    find_budget_problems(draft, reached, by_bit, problems)
    received: dict[str, int] = defaultdict(int)
    passed: dict[str, int] = defaultdict(int)
    for bit, output in enumerate(by_bit):
        for recipient in output.recipients:
            received[recipient] |= 1 << bit
        # A filter that could not be read may be the one that is asked for.
        for name in output.filters if "" not in output.filters else draft.filter_names:
            passed[name] |= 1 << bit
    for pointer, item in placed(draft.data, "/data"):
        if draft.item_of.get(item.name) is not item:
            continue
        for index, name in enumerate(item.must_not_reach):
            if hit := reached[item.name] & received[name]:
                problems.add(
                    Rule.MUST_NOT_REACH,
                    f"{pointer}/must_not_reach/{index}",
                    f"{item.name!r} reaches {name!r} through the output {_first(hit, by_bit)!r}",
                )
        for index, name in enumerate(item.must_pass):
            if name in draft.filter_names and (hit := reached[item.name] & ~passed[name]):
                problems.add(
                    Rule.MUST_PASS,
                    f"{pointer}/must_pass/{index}",
                    f"{item.name!r} reaches the output {_first(hit, by_bit)!r} without the filter {name!r}",
                )


def _first(bits: int, outputs: Sequence[Output]) -> str:
    return outputs[(bits & -bits).bit_length() - 1].name


def _sizes_fit(
    draft: Draft, channels: Sequence[tuple[str, Channel]], outputs: Sequence[tuple[str, Output]], problems: Problems
) -> None:
    """Sizes along each edge; a size of 0 is one that could not be read."""
    port_bytes: dict[PortRef, int] = {}

    def same_port(pointer: str, port: PortRef, max_bytes: int) -> None:
        if max_bytes and port_bytes.setdefault(port, max_bytes) != max_bytes:
            problems.add(
                Rule.LIMIT, f"{pointer}/max_bytes", f"got {max_bytes}, want {port_bytes[port]} as elsewhere for {port}"
            )

    for pointer, channel in channels:
        if channel.kind is ChannelKind.CALL or not channel.max_bytes:
            continue
        if isinstance(channel.source, PortRef):
            same_port(pointer, channel.source, channel.max_bytes)
        elif channel.max_bytes < draft.item_of[channel.source.name].max_bytes:
            problems.add(Rule.LIMIT, f"{pointer}/max_bytes", f"less than the item {channel.source.name!r} may have")
        memory_bytes = draft.component_of[channel.target.component].limits.memory_bytes
        if channel.kind is ChannelKind.WINDOW and memory_bytes and channel.max_bytes > memory_bytes:
            problems.add(Rule.LIMIT, f"{pointer}/max_bytes", "more than the memory of the component that reads it")
    for pointer, output in outputs:
        same_port(pointer, output.source, output.max_bytes)


def _node_limits_fit(draft: Draft, ordered: Sequence[Node], problems: Problems) -> None:
    pointer_of = {component.name: pointer for pointer, component in placed(draft.components, "/components")}
    for node in ordered:
        needed, limit = sum(node.output_ports.values()), node.limits.output_bytes
        if limit and needed > limit:
            problems.add(
                Rule.LIMIT,
                f"{pointer_of[node.members[0].name]}/limits/output_bytes",
                f"got {limit}, want at least {needed}, the sum over the node's ports",
            )
    seconds = _longest_seconds(ordered) if draft.rules.parallel else sum(node.limits.wall_seconds for node in ordered)
    seconds += _filter_seconds(draft)
    if 0 < draft.rules.deadline_seconds < seconds:
        problems.add(
            Rule.LIMIT,
            "/rules/deadline_seconds",
            f"got {draft.rules.deadline_seconds}, want at least {seconds}, what the nodes may take",
        )


def _filter_seconds(draft: Draft) -> int:
    """Return what the filters that are components may take; they run one at a time, once for each output."""
    kinds = (draft.kind_of.get(name) for _, output in placed(draft.outputs, "/outputs") for name in output.filters)
    components = (draft.component_of.get(kind.component) for kind in kinds if isinstance(kind, ByComponent))
    return sum(component.limits.wall_seconds for component in components if component is not None)


def _longest_seconds(ordered: Sequence[Node]) -> int:
    """Return the greatest sum of wall times along a path."""
    node_of: Mapping[str, str] = {member.name: node.name for node in ordered for member in node.members}
    ready_at: dict[str, int] = defaultdict(int)
    ends = [0]
    for node in ordered:
        ends.append(ready_at[node.name] + node.limits.wall_seconds)
        for channel in node.channels:
            follower = node_of[channel.target.component]
            ready_at[follower] = max(ready_at[follower], ends[-1])
    return ends[-1] if len(ends) == 1 else max(ends)
