"""Admits components and has the manifest's graph run; runs, compiles and loads no participant's code itself.

A component that others call, or that calls others, is looked at by itself when it comes, and all of its node together
when the last of them has come. Blocking calls, for any thread; `wipe` from any thread at any time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from twocvm_guest.filters.chain import Chain, require_filters
from twocvm_verifier.errors import ComponentError
from twocvm_verifier.manifest import Component, Manifest
from twocvm_verifier.manifest.graph import Flow, Node, filter_components

from . import gate
from .isolation import IsolationReport
from .items import Item
from .live import EndedError, Live
from .members import calls_of
from .run import WIPED, Run, RunResult

# How many components are compiled at the same time; each may take `gate.ADMISSION_BYTES`.
_ADMISSIONS: Final = 2
# How long `wipe` waits for other threads to let go of what they hold, after every worker was killed.
_WIPE_SECONDS: Final = 15.0


class Runtime:
    """Everything of one manifest that runs.

    Args:
        manifest: In force.
        isolation: What every worker must have, as `isolation.probe` found it.

    Raises:
        UnsupportedError: UNSUPPORTED_FILTER; the manifest has a filter that this guest has not got.
    """

    def __init__(self, manifest: Manifest, *, isolation: IsolationReport) -> None:
        self._manifest: Final = manifest
        self._isolation: Final = isolation
        require_filters(manifest)
        self._flow: Final = Flow(manifest)
        self._nodes: Final = self._flow.nodes
        self._filters: Final = filter_components(manifest)
        self._live: Final = Live()
        self._compiling: Final = threading.BoundedSemaphore(_ADMISSIONS)
        self._guard: Final = threading.Condition()
        self._busy = 0
        # The compiled form of each node, and the bytes of members whose node is not complete yet.
        self._compiled: Final[dict[str, Item]] = {}
        self._parts: Final[dict[str, Item]] = {}
        self._has_run = False

    def admit(self, component: Component, item: Item) -> None:
        """Have a component inspected and compiled in a throw-away worker. Blocks; `item` stays its caller's.

        Raises:
            ComponentError: It is not what the manifest says, or the runtime was wiped (RUN_WIPED).
            MalformedError: It is no component.
        """
        with self._at_work(), self._compiling:
            try:
                self._admit(component, item)
            except (EndedError, ComponentError) as error:
                if self._live.ended:
                    raise ComponentError("RUN_WIPED", f"component {component.name!r}: the session ended") from error
                raise

    def _admit(self, component: Component, item: Item) -> None:
        holding = (each for each in self._nodes if component.name in {member.name for member in each.members})
        node = next(holding, None)
        calls = calls_of(node.calls, component.name) if node else ()
        compiled = gate.admit(component, item, calls=calls, live=self._live, isolation=self._isolation)
        if node is None or len(node.members) == 1:
            # A component that filters is in no node of the graph, and gets one for each output.
            self._keep(self._compiled, component.name, compiled)
            return
        compiled.close()
        self._keep(self._parts, component.name, item.duplicate(component.name))
        self._compose(node, component)

    def _compose(self, node: Node, last: Component) -> None:
        """Have a node compiled whose last member has just come; where it does not fit the others, it has not come."""
        with self._guard:
            try:
                parts = {member.name: self._parts[member.name].duplicate(member.name) for member in node.members}
            except KeyError:
                return
        try:
            compiled = gate.compose(node, parts, live=self._live, isolation=self._isolation)
            self._keep(self._compiled, node.name, compiled)
        except ComponentError:
            self._drop(last.name)
            raise
        finally:
            for part in parts.values():
                part.close()
        self._drop(*parts)

    def _keep(self, where: dict[str, Item], name: str, item: Item) -> None:
        with self._guard:
            # Whichever of the two is not kept: an earlier one, or this one where a wipe did not wait for it.
            unwanted = item if self._live.ended else where.pop(name, None)
            if unwanted is not item:
                where[name] = item
        if unwanted is not None:
            unwanted.close()

    def _drop(self, *names: str) -> None:
        with self._guard:
            for name in names:
                if part := self._parts.pop(name, None):
                    part.close()

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
                return WIPED
            missing = ({node.name for node in self._nodes} | self._filters) - self._compiled.keys()
            missing |= {each.name for each in self._manifest.data} - inputs.keys()
            if missing:
                raise RuntimeError(f"runtime: {sorted(missing)} not admitted")
            self._has_run = True
        with self._at_work():
            run = Run(
                self._manifest,
                self._nodes,
                self._compiled,
                live=self._live,
                isolation=self._isolation,
                witness=self._witness,
            )
            return run.all(inputs)

    def filter(self, outputs: Mapping[str, Item]) -> RunResult:
        """Pass what a run left through the manifest's filters. Blocks; `outputs` stay their caller's.

        Args:
            outputs: Of the `RunResult` of `run`, which has completed.

        Returns:
            What may be handed out, which the caller closes; or the code of the filter that refused.
        """
        with self._at_work():
            if self._live.ended:
                return WIPED
            chain = Chain(
                self._manifest,
                self._flow,
                self._compiled,
                live=self._live,
                isolation=self._isolation,
                witness=self._witness,
            )
            return chain.all(outputs)

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
            for held in (self._compiled, self._parts):
                for item in held.values():
                    item.close()
                held.clear()

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
