"""The graph of a manifest: its nodes, the order they run in, and what can reach what.

Components joined by `call` are one node, because they share a store and so a fate. A node has the labels of everything
that can reach it, on whatever path; a `Flow` answers both ways. Sets of items and outputs are integers with a bit for
each, so that a manifest of any size that fits the format is decided in time linear in its edges.

>>> in_order(("a", "b"), (("b", "a"),))
(('b', 'a'), ())
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from types import MappingProxyType

from .filters import FILTERED_PORT, UNFILTERED_PORT, ByComponent
from .model import Channel, ChannelKind, Component, DataItem, DataRef, Limits, Manifest, Output, PortRef

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What one worker runs: one component, or several joined by `call`.

    Attributes:
        name: The name of the member that has the entry.
        members: Its components, in the order of the manifest.
        calls: The `call` channels inside it.
        inputs: The channels that bring data in.
        channels: The channels that carry data out, to other nodes.
        outputs: The manifest's outputs that are taken from it.
    """

    name: str
    members: tuple[Component, ...]
    calls: tuple[Channel, ...]
    inputs: tuple[Channel, ...]
    channels: tuple[Channel, ...]
    outputs: tuple[Output, ...]

    @property
    def entry(self) -> Component:
        """The member whose entry is called."""
        return next(member for member in self.members if member.entry)

    @property
    def limits(self) -> Limits:
        """The limits of the whole node; all members state the same."""
        return self.members[0].limits

    @property
    def output_ports(self) -> Mapping[PortRef, int]:
        """Every port that data is taken from, with the most bytes it may hold."""
        ports = {channel.source: channel.max_bytes for channel in self.channels if isinstance(channel.source, PortRef)}
        return MappingProxyType(ports | {output.source: output.max_bytes for output in self.outputs})


class Flow:
    """The nodes of a valid manifest in the order they run, and what reaches what.

    Args:
        manifest: As parsed, so without cycles.

    Attributes:
        nodes: In topological order; of those that could run next, the one with the least name.
        filter_nodes: For each output that has any, the nodes of the components that filter it, in their order. They
            run after all others, one for each output, and each is reached by what reaches the output.
    """

    def __init__(self, manifest: Manifest) -> None:
        filtering = filter_components(manifest)
        in_graph = [component for component in manifest.components if component.name not in filtering]
        nodes = group(in_graph, manifest.channels, manifest.outputs)
        order, _ = in_order([node.name for node in nodes], node_edges(nodes))
        by_name = {node.name: node for node in nodes}
        self.nodes = tuple(by_name[name] for name in order)
        self._items = manifest.data
        self._outputs = manifest.outputs
        self._labels = labels(self.nodes, manifest.data)
        self._reach = reach(self.nodes, manifest.data, manifest.outputs)
        node_of = {output.name: node.name for node in self.nodes for output in node.outputs}
        chains = {output.name: tuple(_filter_nodes(manifest, output)) for output in manifest.outputs}
        self.filter_nodes: Mapping[str, tuple[Node, ...]] = MappingProxyType(
            {name: chain for name, chain in chains.items() if chain}
        )
        for output in manifest.outputs:
            names = (filter_node_name(output.name, name) for name in output.filters)
            self._labels |= dict.fromkeys(names, self._labels[node_of[output.name]])

    def items_reaching(self, node: str) -> tuple[DataItem, ...]:
        """Return every data item that can reach the node of that name, or the filter, built in or not: its label."""
        return tuple(item for bit, item in enumerate(self._items) if self._labels[node] >> bit & 1)

    def outputs_reached_by(self, item: str) -> tuple[Output, ...]:
        """Return every output that the data item of that name can reach."""
        return tuple(output for bit, output in enumerate(self._outputs) if self._reach[item] >> bit & 1)

    def is_entitled(self, participant: str, *, node: str) -> bool:
        """Return whether data reaches `node`, and every item of it is the participant's own.

        Only then may the participant be told more of that node than the outcome of the run. Of a node that no data
        reaches nobody is: what it does tells of its code alone.
        """
        return {item.owner for item in self.items_reaching(node)} == {participant}


def nodes(manifest: Manifest) -> tuple[Node, ...]:
    """Return the nodes of a manifest in the order they run; those of filters are not among them."""
    return Flow(manifest).nodes


def group(components: Sequence[Component], channels: Iterable[Channel], outputs: Iterable[Output]) -> tuple[Node, ...]:
    """Return the nodes, in the order of their first members; components that `call` joins are one.

    Args:
        components: With distinct names.
        channels: Those that name no other component are counted.
        outputs: Likewise.
    """
    owner = _joined(components, channels)
    members: dict[str, list[Component]] = defaultdict(list)
    for component in components:
        members[owner[component.name]].append(component)
    calls: dict[str, list[Channel]] = defaultdict(list)
    inputs: dict[str, list[Channel]] = defaultdict(list)
    leaving: dict[str, list[Channel]] = defaultdict(list)
    results: dict[str, list[Output]] = defaultdict(list)
    for channel in channels:
        if channel.kind is ChannelKind.CALL:
            calls[owner[channel.target.component]].append(channel)
            continue
        inputs[owner[channel.target.component]].append(channel)
        if isinstance(channel.source, PortRef):
            leaving[owner[channel.source.component]].append(channel)
    for output in outputs:
        results[owner[output.source.component]].append(output)
    return tuple(
        Node(
            name=_node_name(joined),
            members=tuple(joined),
            calls=tuple(calls[key]),
            inputs=tuple(inputs[key]),
            channels=tuple(leaving[key]),
            outputs=tuple(results[key]),
        )
        for key, joined in members.items()
    )


def node_edges(found: Iterable[Node]) -> tuple[Edge, ...]:
    """Return the edges between nodes, by name; a channel of a node to itself is one too."""
    found = tuple(found)
    node_of = {member.name: node.name for node in found for member in node.members}
    return tuple((node.name, node_of[channel.target.component]) for node in found for channel in node.channels)


def in_order(names: Sequence[str], edges: Iterable[Edge]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the names in topological order, and every cycle that stands in the way.

    Of the names that could come next the least comes first. Where nothing can come next, one cycle is noted and its
    names are taken as done, so that the search goes on behind it.
    """
    waiting: dict[str, set[str]] = {name: set() for name in sorted(names)}
    followers: dict[str, set[str]] = defaultdict(set)
    for source, target in edges:
        waiting[target].add(source)
        followers[source].add(target)
    order: list[str] = []
    cycles: list[tuple[str, ...]] = []
    ready = [name for name, before in waiting.items() if not before]
    for name in ready:
        del waiting[name]
    while ready or waiting:
        if not ready:
            cycles.append(_cycle(waiting))
            ready = sorted(cycles[-1])
            for name in ready:
                del waiting[name]
        name = heappop(ready)
        order.append(name)
        for follower in followers[name] & waiting.keys():
            waiting[follower].discard(name)
            if not waiting[follower]:
                del waiting[follower]
                heappush(ready, follower)
    return tuple(order), tuple(cycles)


def labels(ordered: Iterable[Node], data: Iterable[DataItem]) -> dict[str, int]:
    """Return for each node the bits of the items that can reach it; `ordered` is topological."""
    ordered = tuple(ordered)
    bit = {item.name: 1 << index for index, item in enumerate(data)}
    node_of = {member.name: node.name for node in ordered for member in node.members}
    label = dict.fromkeys((node.name for node in ordered), 0)
    for node in ordered:
        for channel in node.inputs:
            source = channel.source
            label[node.name] |= bit[source.name] if isinstance(source, DataRef) else label[node_of[source.component]]
    return label


def reach(ordered: Iterable[Node], data: Iterable[DataItem], outputs: Iterable[Output]) -> dict[str, int]:
    """Return for each item the bits of the outputs it can reach; `ordered` is topological."""
    bit = {output.name: 1 << index for index, output in enumerate(outputs)}
    of_item = dict.fromkeys((item.name for item in data), 0)
    of_node: dict[str, int] = defaultdict(int)
    ordered = tuple(ordered)
    node_of = {member.name: node.name for node in ordered for member in node.members}
    for node in reversed(ordered):
        for output in node.outputs:
            of_node[node.name] |= bit[output.name]
        for channel in node.inputs:
            source = channel.source
            if isinstance(source, DataRef):
                of_item[source.name] |= of_node[node.name]
            else:
                of_node[node_of[source.component]] |= of_node[node.name]
    return of_item


def filter_components(manifest: Manifest) -> frozenset[str]:
    """Return the components that filter, by name; they are in no node of the graph."""
    return frozenset(found.kind.component for found in manifest.filters if isinstance(found.kind, ByComponent))


def filter_node_name(output: str, filter_name: str) -> str:
    """Return the name of the node that runs a filter for an output; no other node can have it."""
    return f"{output}/{filter_name}"


def _filter_nodes(manifest: Manifest, output: Output) -> Iterator[Node]:
    """Yield a node for each filter of an output that is a component: one port in, one port out, nothing else."""
    source = output.source
    for name in output.filters:
        kind = manifest.filter(name).kind
        if not isinstance(kind, ByComponent):
            continue
        unfiltered = PortRef(component=kind.component, port=UNFILTERED_PORT)
        filtered = PortRef(component=kind.component, port=FILTERED_PORT)
        yield Node(
            name=filter_node_name(output.name, name),
            members=(manifest.component(kind.component),),
            calls=(),
            inputs=(Channel(source=source, target=unfiltered, kind=ChannelKind.FILE, max_bytes=output.max_bytes),),
            channels=(),
            outputs=(replace(output, source=filtered),),
        )
        source = filtered


def _joined(components: Iterable[Component], channels: Iterable[Channel]) -> dict[str, str]:
    """Return for each component the name that stands for its node: disjoint sets, joined by `call`."""
    parent = {component.name: component.name for component in components}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for channel in channels:
        if channel.kind is ChannelKind.CALL and isinstance(channel.source, PortRef):
            parent[root(channel.source.component)] = root(channel.target.component)
    return {name: root(name) for name in parent}


def _node_name(members: Sequence[Component]) -> str:
    return next((member.name for member in members if member.entry), members[0].name)


def _cycle(waiting: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Return one cycle among names of which each still waits for another."""
    path: list[str] = []
    seen: dict[str, int] = {}
    name = next(iter(waiting))
    while name not in seen:
        seen[name] = len(path)
        path.append(name)
        name = min(waiting[name])
    return tuple(reversed(path[seen[name] :]))
