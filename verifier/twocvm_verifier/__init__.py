"""Formats, verification and appraisal: what the SDK and the guest stand on, and enough to judge evidence offline.

The names below are the whole of it for most callers; each is imported when it is first used, so that a program that
only needs one format does not load the cryptography of all.

>>> verifier = SnpVerifier(roots=amd_roots(), crls=Unchecked("this example has none"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .appraisal import appraise, appraise_guest
    from .policy import Policy, parse_policy
    from .snp.roots import amd_roots, simulated_roots
    from .unchecked import Unchecked
    from .verifier import SnpVerifier

__all__ = [
    "Policy",
    "SnpVerifier",
    "Unchecked",
    "amd_roots",
    "appraise",
    "appraise_guest",
    "parse_policy",
    "simulated_roots",
]

_HOMES = {
    "Policy": ".policy",
    "SnpVerifier": ".verifier",
    "Unchecked": ".unchecked",
    "amd_roots": ".snp.roots",
    "appraise": ".appraisal",
    "appraise_guest": ".appraisal",
    "parse_policy": ".policy",
    "simulated_roots": ".snp.roots",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
