"""Codes of components, workers and runs."""

from __future__ import annotations

from typing import Final

from .table import REFUSED, Code, malformed

CODES: Final[dict[str, Code]] = {
    "ITEM_TOO_LARGE": Code(
        exit_status=REFUSED,
        http_status=413,
        meaning="An item or output is longer than the manifest allows. Nothing of it was kept.",
        spec="docs/spec/manifest.md",
    ),
    "MALFORMED_COMPONENT": malformed(
        "The file is not a WebAssembly component. Build it as a component, not as a core module.",
        "docs/spec/manifest.md",
    ),
}
