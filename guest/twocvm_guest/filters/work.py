"""The worker's side of a built-in filter: bytes from one descriptor, through the filter, to another."""

from __future__ import annotations

import json
import os
from typing import Final

from twocvm_guest.runtime.messages import Outcome

from .refusal import Refused, Stream
from .steps import make_step

_PIECE_BYTES: Final = 1 << 18


def apply(order: int, source: int, result: int) -> Outcome:
    """Do what the order says; return how it ended.

    Args:
        order: Descriptor of the order.
        source: Descriptor of the output as it is.
        result: Descriptor of the memory file that takes what is left.
    """
    try:
        step = make_step(json.loads(b"".join(_pieces(order))))
        _write(result, step(_pieces(source)))
    except Refused as refused:
        return refused.outcome
    return Outcome.DONE


def _pieces(descriptor: int) -> Stream:
    position = 0
    while piece := os.pread(descriptor, _PIECE_BYTES, position):
        position += len(piece)
        yield piece


def _write(descriptor: int, stream: Stream) -> None:
    # Filters leave a line at a time; the kernel is asked to write some thousands of them at once.
    gathered = bytearray()
    for piece in stream:
        gathered += piece
        if len(gathered) >= _PIECE_BYTES:
            _write_all(descriptor, gathered)
            gathered.clear()
    _write_all(descriptor, gathered)


def _write_all(descriptor: int, content: bytearray) -> None:
    with memoryview(content) as rest:
        done = 0
        while done < len(rest):
            done += os.write(descriptor, rest[done:])
