"""One of three parties that multiply by MPyC: Shamir's shares of 32-bit integers, honest but curious, one of three.

    python -m bench.evaluation.elsewhere.mpc_party -M3 -I INDEX -P HOST:PORT -P HOST:PORT -P HOST:PORT

MPyC reads the command line. Each party has its request on standard input: `size`, `seed` and `repeats`. The matrix is
party 0's and the vector party 1's; sharing them is not timed. Party 0 is asked for samples; the others follow it. A
product is one of `np_matmul`, and it ends when its result was opened to all. All of them end with whoever started them.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
from typing import Any, Final

import numpy as np
from mpyc.runtime import mpc

from .product import numbers, product, require_near, told
from .serving import Told, Work, serve

INTEGER = mpc.SecInt(32)
# linux/prctl.h
_SIGNAL_WITH_PARENT: Final = 1


def make(request: dict[str, Any]) -> tuple[Work[Any], Told[Any]]:
    """Share the numbers, and return what multiplies them and what checks each result."""
    mpc.run(mpc.start())
    size = request["size"]
    matrix, vector = numbers(size, request["seed"])
    mine = {0: (matrix, [0] * size), 1: ([[0] * size] * size, vector)}
    a, x = mine.get(mpc.pid, ([[0] * size] * size, [0] * size))
    shared_a = mpc.input(INTEGER.array(np.array(a)), senders=0)
    shared_x = mpc.input(INTEGER.array(np.array(x)), senders=1)

    async def products() -> Any:
        return [await mpc.output(mpc.np_matmul(shared_a, shared_x)) for _ in range(request["repeats"])]

    def work() -> Any:
        return mpc.run(products())

    def checked(results: Any) -> tuple[str, float]:
        found, exact = [[float(each) for each in result] for result in results], product(matrix, vector)
        for each in found:
            require_near(each, exact, 0.0)
        return told(found[-1])

    return work, checked


def meet() -> None:
    """Wait for each other, there and back: the first product is to take as many ways between them as each further one.

    Once would have party 0 begin as long before the others as its word takes to them, and wait for that in its time.
    """
    for _ in range(2):
        mpc.run(mpc.transfer(True))


def follow() -> None:
    """Multiply for as long as party 0 does."""
    request = json.loads(sys.stdin.readline())
    work, _ = make(request)
    try:
        while True:
            meet()
            work()
    except (EOFError, ConnectionError, RuntimeError, SystemExit):
        return


if __name__ == "__main__":
    # Over a link that ends at the same moment, nobody is told that another has ended.
    ctypes.CDLL(None).prctl(_SIGNAL_WITH_PARENT, signal.SIGKILL)
    serve(make, meet) if mpc.pid == 0 else follow()
