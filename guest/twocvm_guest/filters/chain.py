"""What stands between a run and its recipients: every output passes its filters, or nobody gets any.

Each output goes through its filters one after another: a built-in in a throw-away worker, a component in a node of its
own that has seen nothing else. Of a length alone the supervisor judges itself.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from twocvm_guest.runtime.isolation import IsolationReport
from twocvm_guest.runtime.items import Item
from twocvm_guest.runtime.live import EndedError, Live
from twocvm_guest.runtime.node import NodeError, run_node
from twocvm_guest.runtime.run import WIPED, RunResult
from twocvm_verifier.errors import UnsupportedError
from twocvm_verifier.manifest import Manifest, Output
from twocvm_verifier.manifest.filters import FILTERED_PORT, ByComponent, FilterKind, MaxBytes, Noise
from twocvm_verifier.manifest.graph import Flow, Node, filter_node_name

from .worker import FilterLimits, run_builtin


def require_filters(manifest: Manifest, *, has: Callable[[str], object] = importlib.util.find_spec) -> None:
    """Refuse a manifest with a filter that this guest has not got the library for.

    Args:
        manifest: About to be locked.
        has: Says whether a package is installed.

    Raises:
        UnsupportedError: UNSUPPORTED_FILTER.
    """
    for found in manifest.filters:
        if isinstance(found.kind, Noise) and not has("opendp"):
            raise UnsupportedError("UNSUPPORTED_FILTER", f"filter {found.name!r}: noise needs the extra twocvm[noise]")


class Chain:
    """The filters of one manifest. Belongs to one thread.

    Args:
        manifest: Whose outputs are filtered.
        flow: Its graph.
        compiled: The compiled form of every component that filters, by its name.
        live: Where workers are counted.
        isolation: What every worker must have.
        witness: Gives what a node's worker tells everything to; see `Job.witness`.
    """

    def __init__(
        self,
        manifest: Manifest,
        flow: Flow,
        compiled: Mapping[str, Item],
        *,
        live: Live,
        isolation: IsolationReport,
        witness: Callable[[Node], tuple[int, ...]],
    ) -> None:
        self._manifest = manifest
        self._flow = flow
        self._compiled = compiled
        self._live = live
        self._isolation = isolation
        self._witness = witness

    def all(self, outputs: Mapping[str, Item]) -> RunResult:
        """Filter every output, or stop at the first that is refused.

        Args:
            outputs: As the run left them, all of the manifest's; they stay their caller's.

        Returns:
            What may be handed out, which the caller closes; or why not: a code, by the name that `filter_node_name`
            gives the filter.
        """
        passed: dict[str, Item] = {}
        try:
            for output in self._manifest.outputs:
                passed[output.name] = self._output(output, outputs[output.name])
        except _Refusal as refusal:
            _close(passed)
            return RunResult(completed=False, outputs={}, failures=MappingProxyType({refusal.filter: refusal.code}))
        except EndedError:
            _close(passed)
            return WIPED
        except BaseException:
            _close(passed)
            raise
        return RunResult(completed=True, outputs=MappingProxyType(passed), failures={})

    def _output(self, output: Output, unfiltered: Item) -> Item:
        if unfiltered.size_bytes > output.max_bytes:
            node = next(node for node in self._flow.nodes if output in node.outputs)
            raise _Refusal(node.name, "OUTPUT_TOO_LARGE")
        try:
            item = unfiltered.duplicate(output.name)
        except ValueError as error:
            # Closed by a wipe in another thread.
            raise EndedError from error
        nodes = iter(self._flow.filter_nodes.get(output.name, ()))
        for name in output.filters:
            try:
                left = self._one(self._manifest.filter(name).kind, output, nodes, item)
            except (NodeError, OSError) as error:
                if self._live.ended:
                    raise EndedError from error
                code = error.code if isinstance(error, NodeError) else "NODE_INTERNAL"
                raise _Refusal(filter_node_name(output.name, name), code) from error
            finally:
                item.close()
            item = left
        return item

    def _one(self, kind: FilterKind, output: Output, nodes: Iterator[Node], item: Item) -> Item:
        """Return what one filter leaves of an output."""
        if isinstance(kind, ByComponent):
            return self._node(next(nodes), output, item)
        if isinstance(kind, MaxBytes):
            if item.size_bytes > kind.max_bytes:
                raise NodeError("FILTER_TOO_LARGE")
            return item.duplicate(output.name)
        limits = FilterLimits.of(item, max_bytes=output.max_bytes)
        return run_builtin(kind, item, limits=limits, live=self._live, isolation=self._isolation)

    def _node(self, node: Node, output: Output, item: Item) -> Item:
        (channel,) = node.inputs
        written = run_node(
            node,
            compiled=self._compiled[node.entry.name],
            inputs={channel.target: item},
            ports={FILTERED_PORT: output.max_bytes},
            rules=self._manifest.rules,
            live=self._live,
            isolation=self._isolation,
            witness=self._witness(node),
        )
        with contextlib.closing(written[FILTERED_PORT]) as left:
            return left.duplicate(output.name)


class _Refusal(Exception):  # noqa: N818 - a decision, which never leaves this module
    def __init__(self, filter_name: str, code: str) -> None:
        self.filter = filter_name
        self.code = code
        super().__init__(code)


def _close(items: Mapping[str, Item]) -> None:
    for item in items.values():
        item.close()
