"""Codes of the manifest and of signed statements."""

from __future__ import annotations

from typing import Final

from .table import Code, malformed

CODES: Final[dict[str, Code]] = {
    "MALFORMED_MANIFEST": malformed(
        "The manifest breaks a rule of its format; every problem is listed with its place. Mend it and sign again.",
        "docs/spec/manifest.md",
    ),
}
