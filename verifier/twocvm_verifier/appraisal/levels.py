"""How far up the evidence reaches: which of the four levels is proved, and by what.

A native SNP report proves the chip and its firmware by its signature, and kernel and software by MEASUREMENT, but only
where someone named the measurement to expect. Simulated evidence counts only where the manifest allows it.
"""

from __future__ import annotations

from twocvm_verifier.policy.model import RequiredLevels
from twocvm_verifier.result import Check, Level, LevelProof, Status
from twocvm_verifier.unchecked import Unchecked

from .build import judged, skipped

_NOTHING_SIMULATED = "a simulated platform proves nothing that its manifest does not allow"
_NOTHING_MEASURED = "no reference value of MEASUREMENT was matched"


def prove_levels(checks: tuple[Check, ...], *, simulated: bool, simulation_allowed: bool) -> tuple[LevelProof, ...]:
    """Return what proves each level.

    Args:
        checks: Every check of the evidence so far; those of MEASUREMENT decide on AL3 and AL4.
        simulated: Whether the roots are a simulated platform's.
        simulation_allowed: Whether a manifest allows that.
    """
    if simulated and not simulation_allowed:
        return tuple(LevelProof(level=level, proved_by="", detail=_NOTHING_SIMULATED) for level in Level)
    measured = [check.status for check in checks if check.id.endswith(".measurement")]
    matched = Status.PASS in measured and Status.FAIL not in measured
    by, detail = ("MEASUREMENT", "the launch digest is a reference value") if matched else ("", _NOTHING_MEASURED)
    return (
        LevelProof(level=Level.AL1, proved_by="signature", detail="a key that AMD certified signed the report"),
        LevelProof(level=Level.AL2, proved_by="REPORTED_TCB", detail="that key was derived from this TCB"),
        LevelProof(level=Level.AL3, proved_by=by, detail=detail),
        LevelProof(level=Level.AL4, proved_by=by, detail=detail),
    )


def check_levels(levels: tuple[LevelProof, ...], required: RequiredLevels, *, for_release: bool) -> tuple[Check, ...]:
    """Return a check for each level: whether it is required, and proved."""
    checks = []
    for proof in levels:
        identifier, actual = f"policy.level.{proof.level.lower()}", proof.proved_by or "nothing"
        if proof.level not in required.levels:
            checks.append(
                skipped(identifier, "LEVEL_NOT_PROVED", proof.level, unchecked=required.others, actual=actual)
            )
        elif not for_release and not required.at_rest:
            reason = Unchecked("required for a release only")
            checks.append(skipped(identifier, "LEVEL_NOT_PROVED", proof.level, unchecked=reason, actual=actual))
        else:
            checks.append(
                judged(
                    identifier,
                    "LEVEL_NOT_PROVED",
                    proof.level,
                    holds=bool(proof.proved_by),
                    expected="proved",
                    actual=actual,
                    detail=proof.detail,
                )
            )
    return tuple(checks)
