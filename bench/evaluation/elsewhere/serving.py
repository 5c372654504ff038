"""Answers as `host.py` does: one request first, then the timings of each sample.

serve(make)             make(request) returns what is timed, and what tells the digest and the value of its result
serve(make, before)     and `before` is done before each sample, untimed
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Work = Callable[[], T]
Told = Callable[[T], "tuple[str, float]"]


def serve(
    make: Callable[[dict[str, Any]], tuple[Work[T], Told[T]]], before: Callable[[], object] = lambda: None
) -> None:
    """Serve requests until standard input ends; processor time is that of this process."""
    work, told = make(json.loads(sys.stdin.readline()))
    print("{}", flush=True)
    for _ in sys.stdin:
        before()
        cpu, wall, start = time.process_time_ns(), time.time_ns(), time.monotonic_ns()
        result = work()
        end, wall_end, cpu = time.monotonic_ns(), time.time_ns(), time.process_time_ns() - cpu
        print(json.dumps([[start, end, wall, wall_end, cpu, *told(result)]]), flush=True)
