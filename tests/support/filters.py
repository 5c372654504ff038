r"""Filters of tests: one applied in this process, or in a worker as a guest applies it.

left(kind_of("rounding", format="csv", columns=["n"], step="0.5"), b"n\n1.2\n")       # b"n\n1.0\n"
code(kind_of("max_bytes", max_bytes=1), b"ab")                                       # "FILTER_TOO_LARGE"
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing

from tests.support.actor import isolation, item

from twocvm_guest.filters.orders import BuiltinKind, make_order
from twocvm_guest.filters.refusal import Refused
from twocvm_guest.filters.steps import make_step
from twocvm_guest.filters.worker import CODES, FilterLimits, run_builtin
from twocvm_guest.runtime.live import Live
from twocvm_verifier.manifest.filter_form import read_filter
from twocvm_verifier.manifest.filters import ByComponent
from twocvm_verifier.manifest.place import Place
from twocvm_verifier.manifest.problems import Problems
from twocvm_verifier.strictjson import canonical

MAX_BYTES = 1 << 30


def kind_of(builtin: str, **parameters: object) -> BuiltinKind:
    """Return a built-in filter as the manifest's reader makes it."""
    problems = Problems()
    sets = {key: sorted(value, key=canonical) for key, value in parameters.items() if isinstance(value, list)}
    entry = {"name": "f", "owner": "o", "builtin": builtin, "parameters": parameters | sets}
    form = read_filter(Place(entry, "/filters/0", problems))
    problems.refuse()
    if form.kind is None or isinstance(form.kind, ByComponent):
        raise ValueError(builtin)
    return form.kind


def left(kind: BuiltinKind, output: bytes, *, piece_bytes: int = 1 << 18, max_bytes: int = MAX_BYTES) -> bytes:
    """Return what a filter leaves of an output, in this process.

    Raises:
        Refused: It refuses.
    """
    # Through JSON, as a worker is told of it.
    step = make_step(json.loads(json.dumps(make_order(kind, max_bytes=max_bytes))))
    return b"".join(step(_pieces(output, piece_bytes)))


def code(kind: BuiltinKind, output: bytes, *, max_bytes: int = MAX_BYTES) -> str:
    """Return the code with which a filter refuses an output, or the empty string where it does not."""
    try:
        left(kind, output, max_bytes=max_bytes)
    except Refused as refused:
        return CODES[refused.outcome]
    return ""


def in_worker(
    kind: BuiltinKind, output: bytes, *, max_bytes: int = MAX_BYTES, seconds: int = 60, memory_bytes: int = 1 << 30
) -> bytes:
    """Return what a filter leaves of an output, in a worker; `NodeError` where it refuses."""
    limits = FilterLimits(seconds=seconds, memory_bytes=memory_bytes, max_bytes=max_bytes)
    with closing(item("output", output)) as source:
        result = run_builtin(kind, source, limits=limits, live=Live(), isolation=isolation())
    with closing(result):
        return result.open().read()


def _pieces(output: bytes, size: int) -> Iterator[bytes]:
    return (output[start : start + size] for start in range(0, len(output), size))
