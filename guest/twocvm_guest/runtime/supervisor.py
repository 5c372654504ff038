"""Admits components and runs the manifest's graph; runs no participant's code itself.

`Runtime(manifest, isolation=probe())` has `admit(component, item)`, which returns nothing or raises `ComponentError`,
`run(inputs) -> RunResult`, once, and `wipe()`, from any thread. The first two block; items stay their caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .items import Item


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended.

    Attributes:
        completed: Every node ended well and every output is there.
        outputs: By the manifest's output names, before filters; empty unless `completed`. The caller closes them.
        failures: By node, the code of each that did not end well. Data with the labels of all that reaches the node.
    """

    completed: bool
    outputs: Mapping[str, Item]
    failures: Mapping[str, str]
