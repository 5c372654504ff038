"""A policy in words: what each field means, what it demands, and what the whole leaves open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, PLATFORM_INFO_BITS, BitDemand, Mitigations
from twocvm_verifier.unchecked import Unchecked

from .model import Policy, RequiredLevels
from .pcrs import PcrValues

# One line a field of the document, in the order in which they are explained.
MEANINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "name": "For people; part of the digest that names this policy.",
        "products": "Whose chips are accepted.",
        "guest_policy": "What the guest was launched to allow and to forbid; the least ABI version that it asks for.",
        "platform_info": "How the machine is set up.",
        "vmpl": "The privilege level inside the guest that asked for the report.",
        "provisional_firmware": "Whether firmware that the operator can still roll back is accepted.",
        "minimum_firmware": "The least version of the SNP firmware, running and committed, by product.",
        "minimum_tcb": "The least security version of each component, by product, in all four TCBs.",
        "minimum_tcb_of": "Further least versions, for one of the four TCBs alone.",
        "mitigations": "Bits that the mitigation vectors must have.",
        "closed_advisories": "Named attacks that the platform must be shown to have closed.",
        "measurements": "Launch digests of the guests that are accepted.",
        "firmware_measurements": "Launch digests of a provider's firmware alone, whatever that starts.",
        "launches": "Launches that are accepted with any number of vCPUs (`twocvm measure --prefix`).",
        "host_data": "What the host said at launch.",
        "family_ids": "Family ids of the launch's id block.",
        "image_ids": "Image ids of the launch's id block.",
        "report_ids": "Particular launches.",
        "id_key_digests": "Who signed the launch's id block.",
        "author_key_digests": "Who vouched for that signer.",
        "minimum_guest_svn": "The least security version of a guest that those keys signed.",
        "pcrs": "How the guest's vTPM says that it was started, under a paravisor; by bank and number.",
        "chip_ids": "Particular chips.",
        "csp_ids": "Providers whose VLEK is accepted, and then no VCEK.",
        "require_host_data": "Whether HOST_DATA must be the manifest's hash; else it may also be zero.",
        "max_crl_age_seconds": "How old a revocation list may be for a release.",
        "require_levels": "Which levels must be proved: AL1 chip, AL2 firmware, AL3 kernel, AL4 guest and manifest.",
    }
)
# Fields in which a reference value stands. A policy that says nothing in any of them accepts whatever is genuine.
REFERENCE_FIELDS: Final = (
    "minimum_firmware",
    "minimum_tcb",
    "minimum_tcb_of",
    "mitigations",
    "closed_advisories",
    "measurements",
    "firmware_measurements",
    "launches",
    "host_data",
    "family_ids",
    "image_ids",
    "report_ids",
    "id_key_digests",
    "author_key_digests",
    "minimum_guest_svn",
    "pcrs",
    "chip_ids",
    "csp_ids",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """One thing that a policy does not check.

    Attributes:
        field: The field, or the bit as `field.bit`.
        reason: Why not.
        by_default: Whether the reason is the built-in policy's, so that the author said nothing.
    """

    field: str
    reason: str
    by_default: bool


def open_fields(policy: Policy) -> tuple[Open, ...]:
    """Return what the policy leaves open, field by field, in the order of `MEANINGS`."""
    builtin = Policy.builtin()
    found = [
        Open(field=each.name, reason=value.reason, by_default=value == getattr(builtin, each.name))
        for each in fields(policy)
        if isinstance(value := getattr(policy, each.name), Unchecked)
    ]
    found += [
        Open(field=f"guest_policy.{name}", reason=why.reason, by_default=False)
        for name, why in policy.open_guest_policy.items()
    ]
    if policy.provisional_firmware:
        why = "firmware that can still be rolled back is accepted"
        found.append(Open(field="provisional_firmware", reason=why, by_default=False))
    banks: Mapping[str, PcrValues] = {} if isinstance(policy.pcrs, Unchecked) else policy.pcrs
    found += [
        Open(field=f"pcrs.{bank}.others", reason=accepted.others.reason, by_default=False)
        for bank, accepted in banks.items()
        if accepted.left
    ]
    missing = [level for level in ("AL1", "AL2", "AL3", "AL4") if level not in policy.require_levels.levels]
    found += [
        Open(field=f"require_levels.{level}", reason=policy.require_levels.others.reason, by_default=False)
        for level in missing
    ]
    return tuple(found)


def decides_nothing(policy: Policy) -> bool:
    """Return whether every reference value is left to the built-in policy, which knows none."""
    builtin = Policy.builtin()
    return all(getattr(policy, name) == getattr(builtin, name) for name in REFERENCE_FIELDS)


def explain(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """Return for each field its name, what it is about, and what this policy demands of it, in words."""
    for name, meaning in MEANINGS.items():
        yield name, meaning, _said(policy, name)


def _said(policy: Policy, name: str) -> str:
    value = getattr(policy, name)
    if name == "guest_policy":
        opened = [f"{bit} is left open: {why.reason}" for bit, why in policy.open_guest_policy.items()]
        least = policy.minimum_abi
        abi = f"any ABI version: {least.reason}" if isinstance(least, Unchecked) else f"at least ABI {least}"
        return "; ".join([_bits(policy.guest_policy, GUEST_POLICY_BITS), *opened, abi])
    if name == "platform_info":
        return _bits(policy.platform_info, PLATFORM_INFO_BITS)
    if isinstance(value, Unchecked):
        return f"not checked: {value.reason}"
    if isinstance(value, RequiredLevels):
        return _levels(value)
    if isinstance(value, Mitigations):
        return f"all bits of {value.launch:#x} at launch and of {value.current:#x} now"
    return _plain(value)


def _bits(demand: BitDemand, bits: Mapping[str, int]) -> str:
    words = [
        f"{name} must be {word}"
        for name, bit in bits.items()
        for word, mask in (("set", demand.required), ("clear", demand.forbidden))
        if mask >> bit & 1
    ]
    return ", ".join(words) or "either is accepted for every bit"


def _levels(required: RequiredLevels) -> str:
    when = "for a release and at rest" if required.at_rest else "for a release; at rest they are listed"
    if not required.levels:
        return f"none: {required.others.reason}"
    others = "" if len(required.levels) == 4 else f"; not the others: {required.others.reason}"
    return f"{', '.join(required.levels)}, {when}{others}"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_plain(member)}" for key, member in value.items()) or "nothing more"
    return str(value)
