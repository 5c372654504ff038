"""Codes of lock, join, roster, release, outputs, receipts and event log."""

from __future__ import annotations

from typing import Final

from .table import Code, malformed

CODES: Final[dict[str, Code]] = {
    "MALFORMED_LOG": malformed(
        "The event log is not what this version writes. The peer is another version, or lies.",
        "docs/spec/log.md",
    ),
}
