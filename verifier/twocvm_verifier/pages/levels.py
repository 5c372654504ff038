"""A report's four TCBs beside the floors that policy and manifest set, component by component.

The comparison itself is the appraisal's; here stands which floor each component was held to, and whether it is met.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from twocvm_verifier.bundle import Case
from twocvm_verifier.result import Appraisal
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.tcb import layout
from twocvm_verifier.strictjson import Json
from twocvm_verifier.unchecked import Unchecked

_WHEN: Final[Mapping[str, str]] = {
    "reported": "what the certificate vouches for",
    "committed": "below which it cannot be rolled back",
    "current": "what runs now",
    "launch": "what ran when the guest began",
}


def tcb_of(case: Case, appraisal: Appraisal) -> dict[str, Json]:
    """Return the table: components in the order of the product's TCB, a row for each of the four.

    Args:
        case: What was judged; its policy and manifest set the floors.
        appraisal: What came out.
    """
    product = str(appraisal.facts["product"])
    components = list(layout(Product(product)))
    rows: list[Json] = []
    for name, meaning in _WHEN.items():
        found = appraisal.facts[f"{name}_tcb"]
        floors = _floors(case, name, product)
        cells = [_cell(found, part, floors.get(part)) for part in components]
        rows.append({"name": name, "meaning": meaning, "cells": cells})
    return {"components": list(components), "rows": rows, "floors": any(_floors(case, name, product) for name in _WHEN)}


def _cell(found: Json, part: str, floor: int | None) -> list[Json]:
    level = found[part] if isinstance(found, Mapping) else 0
    if floor is None:
        return [level, "", "free"]
    return [level, str(floor), "met" if isinstance(level, int) and level >= floor else "below"]


def _floors(case: Case, name: str, product: str) -> dict[str, int]:
    policy, manifest = case.policy, case.manifest
    demanded = [] if isinstance(policy.minimum_tcb, Unchecked) else [policy.minimum_tcb]
    demanded.append(policy.minimum_tcb_of.get(name, {}))
    if manifest is not None:
        demanded.append(manifest.platform.minimum_tcb or {})
    floors: dict[str, int] = {}
    for by_product in demanded:
        for part, level in by_product.get(product, {}).items():
            floors[part] = max(level, floors.get(part, 0))
    return floors
