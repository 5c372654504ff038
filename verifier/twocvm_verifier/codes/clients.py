"""Codes of the clients on a participant's machine: HTTP libraries, tokens with keys, the proxy."""

from __future__ import annotations

from typing import Final

from .table import UNSUPPORTED, Code

_SDK: Final = "docs/sdk.md"


def _ours(exit_status: int, meaning: str) -> Code:
    # Found on a participant's own machine, never by the guest.
    return Code(exit_status=exit_status, http_status=500, meaning=meaning, spec=_SDK)


CODES: Final[dict[str, Code]] = {
    "EXTRA_MISSING": _ours(
        UNSUPPORTED,
        "What this needs is not installed. Install twocvm with the extra that is named.",
    ),
}
