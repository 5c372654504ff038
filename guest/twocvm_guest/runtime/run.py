"""One run of a manifest's graph: which node can start, what lies at which port, and who still needs it.

Nodes run in topological order, one at a time unless the manifest says `parallel`. Whatever a worker does, its node has
ended well or has failed; the first failure ends the run and leaves nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from twocvm_verifier.manifest import DataRef, Manifest, PortRef
from twocvm_verifier.manifest.graph import Node

from .isolation import IsolationReport
from .items import Item
from .live import EndedError, Live
from .node import NodeError, run_node


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended.

    Attributes:
        completed: Every node ended well and every output is there.
        outputs: By the manifest's output names, before filters; empty unless `completed`. The caller closes them.
        failures: By node, the code of each that did not end well. Data with the labels of all that reaches the node.
    """

    completed: bool
    outputs: Mapping[str, Item]
    failures: Mapping[str, str]


WIPED: Final = RunResult(completed=False, outputs=MappingProxyType({}), failures=MappingProxyType({}))


class Run:
    """One run. Belongs to one thread.

    Args:
        manifest: Whose graph it is.
        ordered: The manifest's nodes, in topological order.
        compiled: The compiled form of each, by its name.
        live: Where workers are counted.
        isolation: What every worker must have.
        witness: Gives what a node's worker tells everything to; see `Job.witness`.
    """

    def __init__(
        self,
        manifest: Manifest,
        ordered: tuple[Node, ...],
        compiled: Mapping[str, Item],
        *,
        live: Live,
        isolation: IsolationReport,
        witness: Callable[[Node], tuple[int, ...]],
    ) -> None:
        self._manifest = manifest
        self._waiting = list(ordered)
        self._compiled = compiled
        self._live = live
        self._isolation = isolation
        self._witness = witness
        self._held: dict[DataRef | PortRef, Item] = {}
        self._uses = Counter(channel.source for node in ordered for channel in node.inputs)
        self._uses.update(output.source for output in manifest.outputs)
        self._failures: dict[str, str] = {}

    def all(self, inputs: Mapping[str, Item]) -> RunResult:
        """Run every node, or stop at the first that fails."""
        try:
            self._take(inputs)
            self._nodes()
            if self._failures:
                return RunResult(completed=False, outputs={}, failures=MappingProxyType(self._failures))
            return RunResult(completed=True, outputs=MappingProxyType(self._outputs()), failures={})
        except EndedError:
            return WIPED
        finally:
            self._live.dismiss()
            for held in self._held.values():
                held.close()

    def _take(self, inputs: Mapping[str, Item]) -> None:
        # Descriptors of our own: the caller may close its items at any time, and their numbers be used again.
        for item in self._manifest.data:
            try:
                self._held[DataRef(name=item.name)] = inputs[item.name].duplicate(item.name)
            except ValueError as error:
                raise EndedError from error

    def _nodes(self) -> None:
        at_once = (os.cpu_count() or 1) if self._manifest.rules.parallel else 1
        running: dict[Future[dict[str, Item]], Node] = {}
        with ThreadPoolExecutor(at_once, thread_name_prefix="node") as threads:
            while self._waiting or running:
                if self._live.ended and not self._failures:
                    raise EndedError
                self._start(threads, running, at_once)
                if self._waiting:
                    # In this thread, which outlives all workers of the run.
                    self._live.prepare()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    self._finish(running.pop(future), future)
                if self._failures:
                    # What still runs is of no use to anybody any more.
                    self._live.end()
                    self._waiting.clear()

    def _start(self, threads: ThreadPoolExecutor, running: dict[Future[dict[str, Item]], Node], at_once: int) -> None:
        for node in tuple(self._waiting):
            if len(running) < at_once and all(channel.source in self._held for channel in node.inputs):
                self._waiting.remove(node)
                running[threads.submit(self._one, node)] = node

    def _one(self, node: Node) -> dict[str, Item]:
        inputs = {channel.target: self._held[channel.source] for channel in node.inputs}
        for channel in node.inputs:
            if self._held[channel.source].size_bytes > channel.max_bytes:
                raise NodeError("ITEM_TOO_LARGE")
        return run_node(
            node,
            compiled=self._compiled[node.name],
            inputs=inputs,
            ports=_port_limits(node),
            rules=self._manifest.rules,
            live=self._live,
            isolation=self._isolation,
            witness=self._witness(node),
        )

    def _finish(self, node: Node, future: Future[dict[str, Item]]) -> None:
        try:
            written = future.result()
        except (NodeError, EndedError, OSError) as error:
            if self._live.ended:
                # A worker that was killed because the run is over has not failed by itself.
                if not self._failures:
                    raise EndedError from error
                return
            self._failures[node.name] = error.code if isinstance(error, NodeError) else "NODE_INTERNAL"
            return
        for source in node.output_ports:
            self._held[source] = written[source.port]
        for channel in node.inputs:
            self._uses[channel.source] -= 1
            if not self._uses[channel.source]:
                self._held.pop(channel.source).close()

    def _outputs(self) -> dict[str, Item]:
        return {output.name: self._held[output.source].duplicate(output.name) for output in self._manifest.outputs}


def _port_limits(node: Node) -> dict[str, int]:
    """Return each output port with the least of all limits on what is taken from it."""
    ports: dict[str, int] = {}
    for source, max_bytes in (
        *((channel.source, channel.max_bytes) for channel in node.channels),
        *((output.source, output.max_bytes) for output in node.outputs),
    ):
        if isinstance(source, PortRef):
            ports[source.port] = min(max_bytes, ports.get(source.port, max_bytes))
    return ports
