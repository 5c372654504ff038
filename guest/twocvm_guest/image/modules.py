"""The kernel's modules: which are needed for those that are wanted, and the order to load them in.

Spec: Linux, Documentation/kbuild/modules.rst; a module names what it needs in its section `.modinfo`.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable, Mapping
from typing import Final

_DEPENDS: Final = re.compile(rb"\0depends=([^\0]*)\0")


def with_needs(compressed: Mapping[str, bytes], wanted: Iterable[str]) -> dict[str, bytes]:
    """Return the wanted modules and all that they need, unpacked and in the order to load them.

    Args:
        compressed: The kernel's modules by name, as its package has them (xz); `-` and `_` are the same letter.
        wanted: Names.

    Raises:
        ValueError: There is no such module.
    """
    names = {name.replace("-", "_"): name for name in compressed}
    unpacked: dict[str, bytes] = {}

    def add(asked: str) -> None:
        name = names.get(asked.replace("-", "_"))
        if name is None:
            raise ValueError(f"module {asked}: the kernel's package has none")
        if name not in unpacked:
            module = lzma.decompress(compressed[name])
            for needed in needs(module):
                add(needed)
            unpacked[name] = module

    for each in wanted:
        add(each)
    return unpacked


def needs(module: bytes) -> tuple[str, ...]:
    """Return what a module says it needs."""
    match = _DEPENDS.search(module)
    return tuple(name.decode() for name in match.group(1).split(b",") if name) if match else ()
