"""The Appraisal Policy: what a Verifier's owner accepts."""

from __future__ import annotations

from .document import parse_policy, policy_of_document
from .drafting import policy_of_evidence
from .explanation import decides_nothing, explain, open_fields
from .model import AbiVersion, FirmwareVersion, Policy, RequiredLevels
from .pcrs import PcrValues
from .writing import document_of, policy_toml

__all__ = [
    "AbiVersion",
    "FirmwareVersion",
    "PcrValues",
    "Policy",
    "RequiredLevels",
    "decides_nothing",
    "document_of",
    "explain",
    "open_fields",
    "parse_policy",
    "policy_of_document",
    "policy_of_evidence",
    "policy_toml",
]
