"""How far up the evidence reaches: which of the four levels is proved, and by what.

The signature proves the chip, and the key that made it its firmware. Kernel and software are proved by MEASUREMENT, and
by nothing else, so all depends on what MEASUREMENT covers. Rules, in order:
1. Simulated evidence proves nothing that its manifest does not allow.
2. A MEASUREMENT that one author asks about and does not know proves nothing.
3. It covers a provider's firmware alone where anybody who knows it says so, and under a paravisor whoever says what.
4. Under a VLEK, which only a provider has, it covers firmware alone unless the policy itself names it as an image: who
   wrote the manifest may not know better, and a provider starts its own firmware and not ours.
5. Else it covers an image, where somebody named it as one.
6. Where nobody asks about MEASUREMENT, an id block of a signer and a version that the policy accepts says which image
   it is, for the chip launches no other; never under a paravisor or a VLEK, where a provider starts what it signed.
"""

from __future__ import annotations

from twocvm_verifier.policy.model import RequiredLevels
from twocvm_verifier.result import Check, Level, LevelProof
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.verify import VerifiedReport
from twocvm_verifier.unchecked import Unchecked

from .build import judged, skipped
from .demands import POLICY, Demands, Matched, match_measurement, signed_version

_NOTHING_SIMULATED = "a simulated platform proves nothing that its manifest does not allow"
_NOTHING_MEASURED = "no reference value of MEASUREMENT was matched"
_FIRMWARE_ALONE = "MEASUREMENT covers the provider's firmware and nothing that it starts"


def prove_levels(
    verified: VerifiedReport, authors: tuple[Demands, ...], *, simulation_allowed: bool
) -> tuple[LevelProof, ...]:
    """Return what proves each level.

    Args:
        verified: The report.
        authors: The demands of all who name reference values of MEASUREMENT: the policy, and the manifest if any.
        simulation_allowed: Whether a manifest allows a simulated platform.
    """
    if verified.roots_simulated and not simulation_allowed:
        return tuple(LevelProof(level=level, proved_by="", detail=_NOTHING_SIMULATED) for level in Level)
    covered = coverage(verified, authors)
    firmware, by = "that key was derived from this TCB", ""
    detail = _NOTHING_MEASURED
    if covered is Matched.FIRMWARE:
        firmware, detail = f"{firmware}, and the provider's firmware is a reference value", _FIRMWARE_ALONE
    elif covered is Matched.IMAGE:
        by, detail = "MEASUREMENT", "the launch digest is a reference value"
    elif covered is Matched.SIGNED:
        by, detail = "ID_BLOCK", "an accepted key signed this launch digest, in an accepted version"
    return (
        LevelProof(level=Level.AL1, proved_by="signature", detail="a key that AMD certified signed the report"),
        LevelProof(level=Level.AL2, proved_by="REPORTED_TCB", detail=firmware),
        LevelProof(level=Level.AL3, proved_by=by, detail=detail),
        LevelProof(level=Level.AL4, proved_by=by, detail=detail),
    )


def coverage(verified: VerifiedReport, authors: tuple[Demands, ...]) -> Matched:
    """Return what MEASUREMENT covers, as far as it is known: rules 2 to 6 above."""
    found = {each.author: match_measurement(each, verified.report.measurement) for each in authors}
    said = set(found.values())
    under_vlek = verified.vek.vek.kind is VekKind.VLEK
    if said <= {Matched.NOTHING_ASKED}:
        signed = any(signed_version(each, verified.report) for each in authors)
        return Matched.SIGNED if signed and not under_vlek and not verified.paravisor else Matched.NONE
    if Matched.NONE in said:
        return Matched.NONE
    of_provider = under_vlek and found[POLICY] is not Matched.IMAGE
    return Matched.FIRMWARE if Matched.FIRMWARE in said or verified.paravisor or of_provider else Matched.IMAGE


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
