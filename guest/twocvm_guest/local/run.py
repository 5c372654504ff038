"""One local run: components admitted, the graph run with witnesses, outputs filtered, all as in a guest."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

from twocvm_guest.runtime.isolation import IsolationReport
from twocvm_guest.runtime.items import Item
from twocvm_guest.runtime.run import RunResult
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.graph import Flow, Node

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
        refused: By output and filter, the code of the filter that let nothing go to anybody.
        outputs: What a guest would hand out, by name; empty where it would hand out nothing. The caller closes them.
    """

    nodes: tuple[NodeStory, ...]
    refused: Mapping[str, str]
    outputs: Mapping[str, Item]

    @property
    def code(self) -> str:
        """The first failure's code, or nothing where the run completed."""
        failed = (*(node.code for node in self.nodes), *self.refused.values())
        return next(filter(None, failed), "")


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
        result = _filtered(runtime, data)
        testimonies = runtime.testimonies()
    flow = Flow(manifest)
    nodes = (*flow.nodes, *(node for chain in flow.filter_nodes.values() for node in chain))
    stories = tuple(_story(node, result.failures.get(node.name, ""), testimonies) for node in nodes)
    known = {node.name for node in nodes}
    refused = {name: code for name, code in result.failures.items() if name not in known}
    return LocalRun(nodes=stories, refused=refused, outputs=result.outputs)


def _filtered(runtime: WatchedRuntime, data: Mapping[str, Item]) -> RunResult:
    result = runtime.run(data)
    with ExitStack() as held:
        for item in result.outputs.values():
            held.enter_context(closing(item))
        return runtime.filter(result.outputs) if result.completed else result


def _story(node: Node, code: str, testimonies: Mapping[str, Testimony]) -> NodeStory:
    return NodeStory(
        name=node.name,
        code=code,
        memory_limit_bytes=node.limits.memory_bytes,
        fuel_limit=node.limits.fuel or 0,
        told=testimonies.get(node.name),
    )
