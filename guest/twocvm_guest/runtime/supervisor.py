"""Admits components and runs the manifest's graph; runs, compiles and loads no participant's code itself.

Nodes run in topological order, one at a time unless the manifest says `parallel`. Whatever a worker does, its node has
ended well or has failed; the first failure ends the run and leaves nothing. Blocking calls, for any thread; `wipe`
from any thread at any time.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from twocvm_verifier.errors import ComponentError, UnsupportedError
from twocvm_verifier.manifest import ChannelKind, Component, DataRef, Manifest, PortRef
from twocvm_verifier.manifest.graph import Node, nodes

from . import gate
from .isolation import IsolationReport
from .items import Item
from .live import EndedError, Live
from .node import NodeError, run_node

# How many components are compiled at the same time; each may take `gate.ADMISSION_BYTES`.
_ADMISSIONS: Final = 2
# How long `wipe` waits for other threads to let go of what they hold, after every worker was killed.
_WIPE_SECONDS: Final = 15.0


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


_WIPED: Final = RunResult(completed=False, outputs=MappingProxyType({}), failures=MappingProxyType({}))


class Runtime:
    """Everything of one manifest that runs.

    Args:
        manifest: In force; its `file` channels are carried.
        isolation: What every worker must have, as `isolation.probe` found it.

    Raises:
        UnsupportedError: UNSUPPORTED_CHANNEL; the manifest has a `call` or `window` channel.
    """

    def __init__(self, manifest: Manifest, *, isolation: IsolationReport) -> None:
        require_supported(manifest)
        self._manifest: Final = manifest
        self._isolation: Final = isolation
        self._nodes: Final = nodes(manifest)
        self._live: Final = Live()
        self._compiling: Final = threading.BoundedSemaphore(_ADMISSIONS)
        self._guard: Final = threading.Condition()
        self._busy = 0
        self._compiled: Final[dict[str, Item]] = {}
        self._has_run = False

    def admit(self, component: Component, item: Item) -> None:
        """Have a component inspected and compiled in a throw-away worker. Blocks; `item` stays its caller's.

        Raises:
            ComponentError: It is not what the manifest says, or the runtime was wiped (RUN_WIPED).
            MalformedError: It is no component.
        """
        with self._at_work(), self._compiling:
            try:
                compiled = gate.admit(component, item, live=self._live, isolation=self._isolation)
            except (EndedError, ComponentError) as error:
                if self._live.ended:
                    raise ComponentError("RUN_WIPED", f"component {component.name!r}: the session ended") from error
                raise
            with self._guard:
                # Whichever of the two is not kept: an earlier form, or this one where a wipe did not wait for it.
                previous = compiled if self._live.ended else self._compiled.pop(component.name, None)
                if previous is not compiled:
                    self._compiled[component.name] = compiled
            if previous is not None:
                previous.close()

    def run(self, inputs: Mapping[str, Item]) -> RunResult:
        """Run the graph, once. Blocks; `inputs` stay their caller's.

        Args:
            inputs: Every data item of the manifest, by name.

        Raises:
            RuntimeError: It has run already, or a component or an item is missing; the caller is wrong.
        """
        with self._guard:
            if self._has_run:
                raise RuntimeError("runtime: one run a launch")
            if self._live.ended:
                return _WIPED
            missing = {each.name for each in self._manifest.components} - self._compiled.keys()
            missing |= {each.name for each in self._manifest.data} - inputs.keys()
            if missing:
                raise RuntimeError(f"runtime: {sorted(missing)} not admitted")
            self._has_run = True
        with self._at_work():
            run = _Run(
                self._manifest,
                self._nodes,
                self._compiled,
                live=self._live,
                isolation=self._isolation,
                witness=self._witness,
            )
            return run.all(inputs)

    def _witness(self, node: Node) -> tuple[int, ...]:  # noqa: ARG002 - for who overrides it
        """Return what a worker tells everything to: nothing. Only `twocvm run --local` has something there."""
        return ()

    def wipe(self) -> None:
        """Kill every worker and drop everything it had, now. From any thread, any number of times.

        Returns when the threads that were in `admit` or `run` have let go of what they held.
        """
        self._live.end()
        with self._guard:
            self._guard.wait_for(lambda: self._busy == 0, _WIPE_SECONDS)
            for item in self._compiled.values():
                item.close()
            self._compiled.clear()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        with self._guard:
            self._busy += 1
        try:
            yield
        finally:
            with self._guard:
                self._busy -= 1
                self._guard.notify_all()


def require_supported(manifest: Manifest) -> None:
    """Refuse a manifest whose channels this runtime does not carry.

    Raises:
        UnsupportedError: UNSUPPORTED_CHANNEL.
    """
    for channel in manifest.channels:
        if channel.kind is not ChannelKind.FILE:
            raise UnsupportedError("UNSUPPORTED_CHANNEL", f"channel to {channel.target}: got kind {channel.kind}")


class _Run:
    """One run: which nodes can start, what lies at which port, and who still needs it. Belongs to one thread."""

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
            return _WIPED
        finally:
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
        inputs = {channel.target.port: self._held[channel.source] for channel in node.inputs}
        for channel in node.inputs:
            if self._held[channel.source].size_bytes > channel.max_bytes:
                raise NodeError("ITEM_TOO_LARGE")
        return run_node(
            node,
            compiled=self._compiled[node.entry.name],
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
        for port, item in written.items():
            self._held[PortRef(component=node.entry.name, port=port)] = item
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
