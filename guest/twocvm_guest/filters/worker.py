"""One built-in filter as the supervisor sees it: an item handed to a throw-away worker, and another one taken back.

The supervisor looks at no byte of an output but to hash it. It is told one of a few words, and seals what was left when
the worker has ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from typing import Final

from twocvm_guest.runtime.isolation import IsolationReport, new_uid, worker_folder
from twocvm_guest.runtime.items import BUFFER_BYTES, Item, ItemWriter, memory_file, seal
from twocvm_guest.runtime.live import Live
from twocvm_guest.runtime.messages import Job, Outcome, Work
from twocvm_guest.runtime.node import NodeError
from twocvm_guest.runtime.process import WorkerError

from .orders import BuiltinKind, library_of, make_order

_START_SECONDS: Final = 60
_BYTES_PER_SECOND: Final = 100_000
_MEMORY_BYTES: Final = 1 << 30
# Libraries reserve more than they use.
_ADDRESS_SPACE_BYTES: Final = 8 << 30
_MAX_ORDER_BYTES: Final = 1 << 20

CODES: Final = {
    Outcome.LENGTH: "FILTER_TOO_LARGE",
    Outcome.NOT_OF_FORMAT: "FILTER_MALFORMED",
    Outcome.ROWS: "FILTER_ROWS",
    Outcome.SCHEMA: "FILTER_SCHEMA",
    Outcome.GROUP: "FILTER_GROUP",
    Outcome.VALUE: "FILTER_VALUE",
    Outcome.MEMORY: "FILTER_RESOURCES",
    Outcome.ISOLATION: "NODE_ISOLATION",
    Outcome.INTERNAL: "NODE_INTERNAL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterLimits:
    """What one application of a built-in filter may take.

    Attributes:
        seconds: Wall time.
        memory_bytes: Beyond what its worker has when it begins.
        max_bytes: The most that it may leave.
    """

    seconds: int
    memory_bytes: int
    max_bytes: int

    @classmethod
    def of(cls, source: Item, *, max_bytes: int) -> FilterLimits:
        """Return the limits for an output.

        Spec: docs/spec/filters.md.
        """
        seconds = _START_SECONDS + source.size_bytes // _BYTES_PER_SECOND
        return cls(seconds=seconds, memory_bytes=_MEMORY_BYTES, max_bytes=max_bytes)


def run_builtin(
    kind: BuiltinKind, source: Item, *, limits: FilterLimits, live: Live, isolation: IsolationReport
) -> Item:
    """Return what a filter leaves of an output; the caller closes it, and `source` stays its own.

    Args:
        kind: The filter.
        source: The output as it is.
        limits: What it may take and leave.
        live: Where the worker is counted.
        isolation: What the worker must have.

    Raises:
        NodeError: The filter refused; the code says why. Nothing is left.
        EndedError: The runtime was wiped.
    """
    result = memory_file(source.name)
    try:
        with contextlib.closing(_order(kind, limits.max_bytes)) as order:
            _work(kind, order, source, result, limits=limits, live=live, isolation=isolation)
        seal(result)
        size_bytes = os.fstat(result).st_size
        if size_bytes > limits.max_bytes:
            raise NodeError("FILTER_TOO_LARGE")
        return Item(name=source.name, size_bytes=size_bytes, sha256=_digest(result), fd=result)
    except BaseException:
        os.close(result)
        raise


def _work(
    kind: BuiltinKind,
    order: Item,
    source: Item,
    result: int,
    *,
    limits: FilterLimits,
    live: Live,
    isolation: IsolationReport,
) -> None:
    uid = new_uid()
    with worker_folder(isolation, uid) as scratch:
        job = Job(
            work=Work.FILTER,
            uid=uid,
            scratch=scratch,
            promised=isolation.promised,
            keep=(order.fd, source.fd, result),
            address_space_bytes=_ADDRESS_SPACE_BYTES,
            data_bytes=limits.memory_bytes,
            file_bytes=limits.max_bytes + 1,
            cpu_seconds=(limits.seconds + 1) * (os.cpu_count() or 1),
            component=order.fd,
            source=source.fd,
            result=result,
            library=library_of(kind),
        )
        with live.start() as worker:
            try:
                worker.shut_in(job)
            except WorkerError as error:
                raise NodeError("NODE_ISOLATION") from error
            try:
                outcome = worker.go_on(seconds=limits.seconds)
            except WorkerError as error:
                raise NodeError("FILTER_RESOURCES" if error.timed_out else "NODE_DIED") from error
    if outcome is not Outcome.DONE:
        raise NodeError(CODES.get(outcome, "NODE_DIED"))


def _order(kind: BuiltinKind, max_bytes: int) -> Item:
    writer = ItemWriter("filter", max_bytes=_MAX_ORDER_BYTES)
    writer.write(json.dumps(make_order(kind, max_bytes=max_bytes)).encode())
    return writer.seal()


def _digest(descriptor: int) -> bytes:
    digest = hashlib.sha256()
    buffer = bytearray(BUFFER_BYTES)
    position = 0
    with memoryview(buffer) as view:
        while count := os.preadv(descriptor, [view], position):
            digest.update(view[:count])
            position += count
    buffer[:] = bytes(len(buffer))
    return digest.digest()
