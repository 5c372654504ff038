"""One node of a run: inputs handed to a worker, the component's entry called there, its outputs taken and sealed."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator, Mapping
from typing import Final

from twocvm_verifier.manifest import ChannelKind, ClockRule, PortRef, RandomRule, Rules
from twocvm_verifier.manifest.graph import Node

from .isolation import IsolationReport, new_uid, worker_folder
from .items import Item
from .live import Live
from .members import members_of
from .messages import Job, Outcome, Work
from .outputs import OutputError, collect, is_exceeded
from .process import Worker, WorkerError

# Every thread of a worker together may use what all processors give in the node's time, and the start besides.
_START_CPU_SECONDS: Final = 10

_CODES: Final = {
    Outcome.TRAPPED: "NODE_TRAPPED",
    Outcome.STACK: "NODE_STACK",
    Outcome.MEMORY: "NODE_MEMORY",
    Outcome.FUEL: "NODE_FUEL",
    Outcome.EXIT: "NODE_EXIT",
    Outcome.ISOLATION: "NODE_ISOLATION",
    Outcome.INTERNAL: "NODE_INTERNAL",
}


class NodeError(Exception):
    """A node failed; `code` is a code of the code table, and data with the labels of all that reaches the node."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


def run_node(
    node: Node,
    *,
    compiled: Item,
    inputs: Mapping[PortRef, Item],
    ports: Mapping[str, int],
    rules: Rules,
    live: Live,
    isolation: IsolationReport,
    witness: tuple[int, ...],
) -> dict[str, Item]:
    """Return what lies at each output port when the node has ended well; the caller closes the items.

    Args:
        node: One component, or several joined by calls.
        compiled: Its compiled form, from this node's own admission.
        inputs: By where they go; they stay the caller's, and nobody closes them meanwhile.
        ports: Each output port with the most bytes that it may hold.
        rules: What stands behind clock and random.
        live: Where the worker is counted.
        isolation: What the worker must have.
        witness: As `Job.witness`; stays the caller's.

    Raises:
        NodeError: It did not end well; nothing of it is left.
        EndedError: The runtime was wiped.
    """
    uid = new_uid()
    with worker_folder(isolation, uid) as scratch:
        job = _job(node, uid, scratch, compiled, inputs, ports, rules, isolation, witness)
        try:
            with live.start() as worker:
                return _collected(node, job, worker, ports)
        except WorkerError as error:
            raise NodeError("NODE_TIME" if error.timed_out else "NODE_DIED") from error
        except OutputError as error:
            raise NodeError(error.code) from error


def _collected(node: Node, job: Job, worker: Worker, ports: Mapping[str, int]) -> dict[str, Item]:
    try:
        worker.shut_in(job)
    except WorkerError as error:
        raise NodeError("NODE_ISOLATION") from error
    outcome = worker.go_on(seconds=node.limits.wall_seconds)
    if outcome is not Outcome.DONE:
        # A component that meets the end of its room gives up in ways of its own.
        exceeded = outcome in (Outcome.EXIT, Outcome.TRAPPED) and is_exceeded(worker.outputs, ports)
        raise NodeError("OUTPUT_TOO_LARGE" if exceeded else _CODES.get(outcome, "NODE_DIED"))
    return collect(worker.outputs, ports)


def _job(
    node: Node,
    uid: int,
    scratch: str,
    compiled: Item,
    inputs: Mapping[PortRef, Item],
    ports: Mapping[str, int],
    rules: Rules,
    isolation: IsolationReport,
    witness: tuple[int, ...],
) -> Job:
    limits = node.limits
    return Job(
        work=Work.RUN,
        uid=uid,
        scratch=scratch,
        promised=isolation.promised,
        keep=(compiled.fd, *(item.fd for item in inputs.values()), *witness),
        file_bytes=max(ports.values(), default=0) + 1,
        cpu_seconds=limits.wall_seconds * (os.cpu_count() or 1) + _START_CPU_SECONDS,
        component=compiled.fd,
        inputs=tuple(_files(node, inputs)),
        outputs=tuple(ports),
        # A valid manifest's `limits.output_bytes` is at least this.
        output_bytes=sum(ports.values()),
        entry=node.entry.entry,
        members=members_of(node, inputs=inputs),
        memory_bytes=limits.memory_bytes,
        fuel=limits.fuel or 0,
        coarse_clock=rules.clock is ClockRule.COARSE,
        seed=_seed(rules, node.name).hex(),
        witness=witness,
    )


def _files(node: Node, inputs: Mapping[PortRef, Item]) -> Iterator[tuple[str, int, int]]:
    """Give the inputs that are files; at most one member has any."""
    for channel in node.inputs:
        if channel.kind is ChannelKind.FILE:
            item = inputs[channel.target]
            yield channel.target.port, item.fd, item.size_bytes


def _seed(rules: Rules, name: str) -> bytes:
    """Return what the node's random numbers come from: nothing where they are the kernel's own."""
    if rules.random is not RandomRule.SEEDED:
        return b""
    return hmac.digest(rules.seed, name.encode(), "sha256") if rules.seed else os.urandom(32)
