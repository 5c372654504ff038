"""What a manifest lets happen, said to one participant before it signs: who sees what, and what a coalition learns.

`explain` computes facts from the graph and nothing else; `lines` says them in words, and `Explanation.to_json` to
programs (`docs/spec/explain.md`).
"""

from __future__ import annotations

from .facts import SCHEMA, Explanation, Knowledge
from .report import explain
from .words import lines

__all__ = ["SCHEMA", "Explanation", "Knowledge", "explain", "lines"]
