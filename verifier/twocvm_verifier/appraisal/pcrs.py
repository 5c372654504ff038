"""PCRs of a guest's vTPM, asked of evidence in which a paravisor vouches for one.

That the values are those that were quoted is known by now (`azure.verify`). Whether they are good is the policy's word:
each PCR that it names is a check of its own, and what it leaves open is listed with its reason. Where no vTPM speaks
for the guest, nothing that is named is met. Matched or not, no level is proved: it is the paravisor's word, not the
chip's.

Spec: docs/spec/azure.md, 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from twocvm_verifier.azure.verify import VerifiedAzureReport
from twocvm_verifier.policy.model import Policy
from twocvm_verifier.policy.pcrs import SHA256_BANK
from twocvm_verifier.result import Check, Level
from twocvm_verifier.snp.verify import VerifiedReport
from twocvm_verifier.unchecked import Unchecked

from .build import hex_list, judged, skipped
from .demands import POLICY

_PCRS: Final = f"{POLICY}.pcrs"
_CODE: Final = "PCR_MISMATCH"


def check_pcrs(policy: Policy, verified: VerifiedReport) -> Iterator[Check]:
    """Return a check for each PCR that the policy names, and what it leaves open of those that were quoted.

    A guest without a vTPM has nothing that could be left open, so its results are what they were.
    """
    quoted: dict[str, tuple[bytes, ...]] = {}
    if isinstance(verified, VerifiedAzureReport):
        quoted[SHA256_BANK] = verified.member.pcrs
    if isinstance(policy.pcrs, Unchecked):
        for bank, found in quoted.items():
            yield _left(f"{_PCRS}.{bank}", policy.pcrs, tuple(range(len(found))))
        return
    for bank, accepted in policy.pcrs.items():
        found = quoted.get(bank, ())
        for number, values in accepted.named.items():
            yield judged(
                f"{_PCRS}.{bank}.{number}",
                _CODE,
                Level.AL3,
                holds=bool(found) and found[number] in values,
                expected=hex_list(values),
                actual=found[number].hex() if found else "none",
                detail="the guest was started with something else" if found else "no vTPM speaks for this guest",
            )
        if accepted.left:
            yield _left(f"{_PCRS}.{bank}.others", accepted.others, accepted.left)


def _left(identifier: str, unchecked: Unchecked, numbers: tuple[int, ...]) -> Check:
    actual = f"PCRs {', '.join(map(str, numbers))}"
    return skipped(identifier, _CODE, Level.AL3, unchecked=unchecked, actual=actual)
