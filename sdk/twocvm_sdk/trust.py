"""What a participant believes before it connects: its manifest, its policy, and who judges by them.

Decides that simulated roots are used only where the manifest that all participants signed allows a simulated platform:
both must say so, and roots that nothing can come of are a mistake of the caller.
"""

from __future__ import annotations

from twocvm_verifier.appraisal import Verifier
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.policy import Policy
from twocvm_verifier.ratls.proof import Expectation
from twocvm_verifier.snp.revocation import PREFER, CrlUse
from twocvm_verifier.snp.roots import Roots, amd_roots
from twocvm_verifier.verifier import SnpVerifier


def expect(
    manifest: Manifest,
    *,
    policy: Policy,
    roots: Roots | None,
    crls: CrlUse,
    unlocked_ok: bool,
    verifier: Verifier | None = None,
) -> Expectation:
    """Return what every proof of a guest is held to.

    Args:
        manifest: The participant's own copy.
        policy: Its appraisal policy; the manifest's `platform` must hold beside it.
        roots: Trust anchors; AMD's where none are given.
        crls: Whether revocation is asked about.
        unlocked_ok: Whether a guest without a manifest in force is accepted. Only `lock` says so.
        verifier: Who judges; this machine, with `roots` and `crls`, where none is given.

    Raises:
        ValueError: Simulated roots with a manifest that does not allow a simulated platform; or trust anchors or lists
            beside a verifier, which has its own.
    """
    if verifier is not None:
        if roots is not None or crls is not PREFER:
            raise ValueError(
                "verifier: has its own trust anchors and revocation lists; give either it, or roots and crls"
            )
        return Expectation(manifest=manifest, policy=policy, verifier=verifier, unlocked_ok=unlocked_ok)
    anchors = amd_roots() if roots is None else roots
    if anchors.simulated and not manifest.platform.simulated:
        raise ValueError("roots: are simulated, and the manifest does not allow a simulated platform")
    local = SnpVerifier(roots=anchors, crls=crls)
    return Expectation(manifest=manifest, policy=policy, verifier=local, unlocked_ok=unlocked_ok)
