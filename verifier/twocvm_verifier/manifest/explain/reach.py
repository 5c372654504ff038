"""Which component sees which item, and what can reach whom: along every path of the graph.

Items travel forward along channels, so a worker sees whatever reaches it and whatever it makes may tell of that. What
is decided here is decided per worker: components joined by `call` see the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from twocvm_verifier.manifest.filter_words import describe
from twocvm_verifier.manifest.filters import MaxBytes, Noise, Padding
from twocvm_verifier.manifest.graph import Flow, Node, filter_node_name
from twocvm_verifier.manifest.model import Channel, DataItem, DataRef, Manifest, Output

from .facts import Arrival, Code, Item, Never, Noised, Passed, Reached, Sight, Way


class Reach:
    """A manifest's facts about reach.

    Args:
        manifest: As parsed.

    Attributes:
        ways: Every output.
        code: Every component in every worker, filters last.
        seeing: For each item those of `code` that see it.
        items: Every data item.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._flow = Flow(manifest)
        self._node_of = {member.name: node for node in self._flow.nodes for member in node.members}
        self._outputs_of = _outputs_of(self._flow, self._node_of)
        self._seen_in = {
            node.name: frozenset(item.name for item in self._flow.items_reaching(node.name))
            for node in self._flow.nodes
        }
        self.code = (*self._code_of_graph(), *self._code_of_filters())
        self.seeing: dict[str, list[Code]] = {item.name: [] for item in manifest.data}
        for each in self.code:
            for sight in each.sees:
                self.seeing[sight.item].append(each)
        self.ways = tuple(self._way(output) for output in manifest.outputs)
        self.items = tuple(self._item(item) for item in manifest.data)

    def _code_of_graph(self) -> Iterator[Code]:
        for node in self._flow.nodes:
            for member in node.members:
                writes = tuple(output.name for output in node.outputs if output.source.component == member.name)
                feeds = (name for name in self._outputs_of[node.name] if name not in writes)
                yield self._code(node, member.name, writes=writes, feeds=tuple(feeds))

    def _code_of_filters(self) -> Iterator[Code]:
        for output in self._manifest.outputs:
            nodes = {node.name: node for node in self._flow.filter_nodes.get(output.name, ())}
            for position, name in enumerate(output.filters):
                node = nodes.get(filter_node_name(output.name, name))
                if node is not None:
                    behind = output.filters[:position]
                    yield self._code(
                        node, node.members[0].name, writes=(output.name,), feeds=(), filters=output.name, behind=behind
                    )

    def _code(
        self,
        node: Node,
        name: str,
        *,
        writes: tuple[str, ...],
        feeds: tuple[str, ...],
        filters: str = "",
        behind: tuple[str, ...] = (),
    ) -> Code:
        component = self._manifest.component(name)
        others = [member for member in node.members if member.name != name]
        outputs = (self._manifest.output(output) for output in (*writes, *feeds))
        return Code(
            component=name,
            owner=component.owner,
            worker=node.name,
            filters=filters,
            behind=behind,
            joined=tuple(member.name for member in others),
            joined_owners=tuple(sorted({member.owner for member in others} - {component.owner})),
            sees=tuple(self._sight(node, item) for item in self._flow.items_reaching(node.name)),
            writes=writes,
            feeds=feeds,
            recipients=_recipients(outputs),
            told=tuple(
                entry.name
                for entry in self._manifest.participants
                if self._flow.is_entitled(entry.name, node=node.name)
            ),
        )

    def _sight(self, node: Node, item: DataItem) -> Sight:
        return Sight(
            item=item.name,
            owner=item.owner,
            arrivals=tuple(
                Arrival(source=str(channel.source), max_bytes=channel.max_bytes)
                for channel in node.inputs
                if self._brings(channel, item)
            ),
        )

    def _brings(self, channel: Channel, item: DataItem) -> bool:
        source = channel.source
        if isinstance(source, DataRef):
            return source.name == item.name
        # A component that filters reads what belongs to an output, or what another such component left of it: then
        # there is no node of that name, and only what reaches the output is asked for at all.
        node = self._node_of.get(source.component)
        return node is None or item.name in self._seen_in[node.name]

    def _way(self, output: Output) -> Way:
        filters = [self._manifest.filter(name) for name in output.filters]
        node = self._node_of[output.source.component]
        return Way(
            output=output.name,
            recipients=output.recipients,
            max_bytes=most_bytes(self._manifest, output),
            filters=tuple(Passed(name=each.name, owner=each.owner, does=describe(each.kind)) for each in filters),
            items=tuple(item.name for item in self._flow.items_reaching(node.name)),
            code=_distinct(code.component for code in self.code if output.name in code.outputs),
        )

    def _item(self, item: DataItem) -> Item:
        outputs = self._flow.outputs_reached_by(item.name)
        reached = _recipients(outputs)
        return Item(
            name=item.name,
            owner=item.owner,
            max_bytes=item.max_bytes,
            fixed=item.commitment is not None,
            seen_by=_distinct(code.component for code in self.seeing[item.name]),
            reaches=tuple(self._reached(name, outputs) for name in reached),
            never=tuple(
                Never(participant=entry.name, demanded=entry.name in item.must_not_reach)
                for entry in self._manifest.participants
                if entry.name not in reached
            ),
            must_pass=item.must_pass,
            noised=self._noised(item, outputs),
        )

    def _reached(self, participant: str, outputs: Iterable[Output]) -> Reached:
        got = [output for output in outputs if participant in output.recipients]
        return Reached(
            participant=participant,
            outputs=tuple(output.name for output in got),
            max_bytes=sum(most_bytes(self._manifest, output) for output in got),
        )

    def _noised(self, item: DataItem, outputs: Iterable[Output]) -> Noised | None:
        noise_of = {output.name: _noise(self._manifest, output) for output in outputs}
        if not any(noise_of.values()):
            return None
        spent = [noise for each in noise_of.values() for noise in each]
        budget = item.budget
        return Noised(
            epsilon=_plain(sum((noise.epsilon for noise in spent), Decimal(0))),
            delta=_plain(sum((noise.delta for noise in spent), Decimal(0))),
            budget_epsilon="" if budget is None else _plain(budget.epsilon),
            budget_delta="" if budget is None else _plain(budget.delta),
            bare=tuple(name for name, each in noise_of.items() if not each),
        )


def most_bytes(manifest: Manifest, output: Output) -> int:
    """Return the most bytes that recipients get of an output, as its limit and its filters say.

    Only two kinds of filter say anything of bytes. Others write anew what they let pass, perhaps longer than it was, so
    what was known before them is not known behind them.
    """
    most = output.max_bytes
    for name in output.filters:
        kind = manifest.filter(name).kind
        if isinstance(kind, MaxBytes):
            most = min(most, kind.max_bytes)
        elif isinstance(kind, Padding):
            # At least one byte is added, and what fits in no size is refused.
            most = next((size for size in kind.sizes if size > most), kind.sizes[-1])
        else:
            most = output.max_bytes
    return most


def _outputs_of(flow: Flow, node_of: dict[str, Node]) -> dict[str, tuple[str, ...]]:
    """Return for each node every output that something it leaves can reach."""
    found: dict[str, dict[str, None]] = {}
    for node in reversed(flow.nodes):
        names = dict.fromkeys(output.name for output in node.outputs)
        for channel in node.channels:
            names |= found[node_of[channel.target.component].name]
        found[node.name] = names
    return {name: tuple(sorted(names)) for name, names in found.items()}


def _noise(manifest: Manifest, output: Output) -> tuple[Noise, ...]:
    kinds = (manifest.filter(name).kind for name in output.filters)
    return tuple(kind for kind in kinds if isinstance(kind, Noise))


def _plain(value: Decimal) -> str:
    """Return a decimal as manifests write it."""
    return f"{value.normalize():f}"


def _recipients(outputs: Iterable[Output]) -> tuple[str, ...]:
    return tuple(sorted({name for output in outputs for name in output.recipients}))


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
