"""Appraisal: whether what an authentic report says is acceptable.

`appraise` judges evidence at rest by a policy. `appraise_guest` judges a guest that something may be released to: by
the policy, by the manifest's `platform`, and by the 64 bytes of REPORT_DATA that the caller rebuilt itself. All checks
run and all are listed; only verified reports come in. `Verifier` is whoever judges a guest: this machine, or one
elsewhere (`delegated`).
"""

from __future__ import annotations

from .guest import appraise_guest
from .judgement import JudgedReport, Judgement, Question, VekSource, Verifier, completed, no_veks
from .rest import appraise, appraise_examination

__all__ = [
    "JudgedReport",
    "Judgement",
    "Question",
    "VekSource",
    "Verifier",
    "appraise",
    "appraise_examination",
    "appraise_guest",
    "completed",
    "no_veks",
]
