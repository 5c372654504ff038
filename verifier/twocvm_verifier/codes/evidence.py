"""Codes of reports, certificates, collateral and appraisal."""

from __future__ import annotations

from typing import Final

from .table import Code, malformed

CODES: Final[dict[str, Code]] = {
    "MALFORMED_REPORT": malformed(
        "The bytes are not an SNP attestation report. Pass the 1184 bytes that the platform gave, unchanged.",
        "SNP ABI 56860, 7.3",
    ),
}
