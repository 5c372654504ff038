"""One local run: components admitted, the graph run with witnesses, outputs filtered as in a guest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from twocvm_guest.runtime.isolation import IsolationReport
from twocvm_guest.runtime.items import Item
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.graph import Node, nodes

from .watched import Testimony, WatchedRuntime


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStory:
    """How one node went.

    Attributes:
        name: Of the node.
        code: What it failed with; empty where it has not failed.
        memory_limit_bytes: The manifest's limit.
        fuel_limit: Likewise; 0 for none.
        told: What its worker told, or None where it was not started, because another one failed before.
    """

    name: str
    code: str
    memory_limit_bytes: int
    fuel_limit: int
    told: Testimony | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRun:
    """How a run went, in full.

    Attributes:
        nodes: In the order of the graph.
        refused: A filter refused an output, so that nobody would have got any.
        outputs: What a guest would hand out, by name; empty where it would hand out nothing. The caller closes them.
    """

    nodes: tuple[NodeStory, ...]
    refused: bool
    outputs: Mapping[str, Item]

    @property
    def code(self) -> str:
        """The first failure's code, or nothing where the run completed."""
        failed = (node.code for node in self.nodes if node.code)
        return next(failed, "FILTER_REFUSED" if self.refused else "")


def run_local(
    manifest: Manifest, *, components: Mapping[str, Item], data: Mapping[str, Item], isolation: IsolationReport
) -> LocalRun:
    """Run a manifest whose data is all the caller's own.

    Args:
        manifest: What is run.
        components: Every component's file, by name; they stay the caller's, as do the items of `data`.
        data: Every data item, by name.
        isolation: What every worker must have.

    Raises:
        ComponentError: A component is not what the manifest says.
        MalformedError: It is no component.
        UnsupportedError: The runtime has not got what the manifest asks for.
    """
    with WatchedRuntime(manifest, isolation=isolation) as runtime:
        for component in manifest.components:
            runtime.admit(component, components[component.name])
        result = runtime.run(data)
        filtered = runtime.filter(result.outputs) if result.completed else result
        testimonies = runtime.testimonies()
    for item in result.outputs.values():
        item.close()
    return LocalRun(
        nodes=tuple(_story(node, result.failures.get(node.name, ""), testimonies) for node in nodes(manifest)),
        refused=result.completed and not filtered.completed,
        outputs=filtered.outputs,
    )


def _story(node: Node, code: str, testimonies: Mapping[str, Testimony]) -> NodeStory:
    return NodeStory(
        name=node.name,
        code=code,
        memory_limit_bytes=node.limits.memory_bytes,
        fuel_limit=node.limits.fuel or 0,
        told=testimonies.get(node.name),
    )
