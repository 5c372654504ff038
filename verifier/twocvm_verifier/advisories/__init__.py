"""Named attacks on SEV-SNP, and what a report can show of each: AMD's bulletins as data.

One TOML file an advisory lies in `data/`; `docs/advisories.md` says how to write one, and no code changes with it. What
a platform leaves open is listed in every result; whether anything is refused for it, a policy says.
"""

from __future__ import annotations

from .document import advisory_of_document, documents_of, parse_advisory, require_unique, shipped_advisories
from .judge import judge_advisories
from .model import Advisory, Fix

__all__ = [
    "Advisory",
    "Fix",
    "advisory_of_document",
    "documents_of",
    "judge_advisories",
    "parse_advisory",
    "require_unique",
    "shipped_advisories",
]
