"""Codes of components, workers and runs."""

from __future__ import annotations

from typing import Final

from .table import Code, malformed

CODES: Final[dict[str, Code]] = {
    "MALFORMED_COMPONENT": malformed(
        "The file is not a WebAssembly component. Build it as a component, not as a core module.",
        "docs/spec/manifest.md",
    ),
}
