"""Several participants at once: one thread each, and the first failure ends it for all.

A participant that fails would leave the others waiting for its go until the manifest's deadline. Here the guest is
stopped instead, which ends every connection, and the first error is the one that is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def together(each: Iterable[_T], work: Callable[[_T], _R], *, otherwise: Callable[[], None]) -> tuple[_R, ...]:
    """Do the same for each of several, all at once, and return the results in their order.

    Args:
        each: One thread is made for each.
        work: What is done.
        otherwise: Called as soon as one has failed, or when the caller is interrupted; it must end the others' waiting.

    Raises:
        Exception: Whatever the first that failed raised.
    """
    values = tuple(each)
    with ThreadPoolExecutor(max_workers=len(values)) as pool:
        try:
            futures = [pool.submit(work, value) for value in values]
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        except BaseException:
            otherwise()
            raise
    return tuple(future.result() for future in futures)
