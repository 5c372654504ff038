"""The Appraisal Policy: what a Verifier's owner accepts."""

from __future__ import annotations

from .document import parse_policy
from .model import AbiVersion, Policy, RequiredLevels

__all__ = ["AbiVersion", "Policy", "RequiredLevels", "parse_policy"]
