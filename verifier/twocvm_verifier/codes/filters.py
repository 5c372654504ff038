"""Codes of filters: why one did not let an output pass."""

from __future__ import annotations

from typing import Final

from .table import REFUSED, Code


def _filter(meaning: str) -> Code:
    # Never an answer of the guest: a run tells `completed` or `failed`, and more only to who is entitled to it.
    return Code(exit_status=REFUSED, http_status=500, meaning=meaning, spec="docs/spec/filters.md")


CODES: Final[dict[str, Code]] = {
    "FILTER_GROUP": _filter("An output has a count below the least group size that a filter lets pass."),
    "FILTER_MALFORMED": _filter("An output is not of the format that a filter takes it for, as the filter has it."),
    "FILTER_RESOURCES": _filter(
        "A filter took more time or memory than a guest gives to one. Make the output smaller."
    ),
    "FILTER_ROWS": _filter("An output has more records than a filter lets pass."),
    "FILTER_SCHEMA": _filter("An output is not what the JSON schema of a filter allows."),
    "FILTER_TOO_LARGE": _filter(
        "An output is longer than a filter lets pass or can pad, or became longer than the manifest allows it to be."
    ),
    "FILTER_VALUE": _filter(
        "A column or member that a filter works on is missing, or is no number that it takes: not a number at all, too "
        "large, or with too many decimals."
    ),
}
