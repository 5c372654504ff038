"""What one author demands of a platform, in one form for the policy and for the manifest.

Both are checked by the same code, so that neither can mean something the other does not; a check's id says whose
demand it is. What an author does not demand is an `Unchecked` with that author's reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias, TypeVar

from twocvm_verifier.manifest.platform import BitDemand, Mitigations, Platform
from twocvm_verifier.policy.model import AbiVersion, Policy
from twocvm_verifier.snp.launch import LaunchPrefix
from twocvm_verifier.snp.report import Report
from twocvm_verifier.unchecked import Unchecked

POLICY: Final = "policy"
MANIFEST: Final = "manifest.platform"

_Value = TypeVar("_Value")
Demand: TypeAlias = _Value | Unchecked


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """The demands of one author. Fields are as in `Policy`.

    Attributes:
        author: `POLICY` or `MANIFEST`; the prefix of the checks' ids.
        products: Accepted products.
        guest_policy: Bits of POLICY.
        open_guest_policy: Bits of POLICY that are left open with a reason.
        minimum_abi: Least ABI version that the guest's policy demands.
        platform_info: Bits of PLATFORM_INFO.
        vmpl: Accepted VMPLs.
        committed_firmware: True where firmware that can still be rolled back is refused.
        minimum_tcb: Least TCB by product and component.
        minimum_tcb_of: Further least TCBs, for one of the four alone.
        mitigations: Bits of the mitigation vectors.
        measurements: Accepted MEASUREMENTs.
        firmware_measurements: Accepted MEASUREMENTs that cover a provider's firmware alone, beside `measurements`.
        launches: Accepted launches with any number of vCPUs, beside `measurements`.
        id_key_digests: Accepted ID_KEY_DIGESTs.
        author_key_digests: Accepted AUTHOR_KEY_DIGESTs.
        minimum_guest_svn: Least GUEST_SVN of an image that one of those keys signed.
        chip_ids: Accepted CHIP_IDs.
    """

    author: str
    products: tuple[str, ...]
    guest_policy: BitDemand
    open_guest_policy: Mapping[str, Unchecked]
    minimum_abi: Demand[AbiVersion]
    platform_info: BitDemand
    vmpl: Demand[tuple[int, ...]]
    committed_firmware: Demand[bool]
    minimum_tcb: Demand[Mapping[str, Mapping[str, int]]]
    minimum_tcb_of: Mapping[str, Mapping[str, Mapping[str, int]]]
    mitigations: Demand[Mitigations]
    measurements: Demand[tuple[bytes, ...]]
    firmware_measurements: Demand[tuple[bytes, ...]]
    launches: Demand[tuple[LaunchPrefix, ...]]
    id_key_digests: Demand[tuple[bytes, ...]]
    author_key_digests: Demand[tuple[bytes, ...]]
    minimum_guest_svn: Demand[int]
    chip_ids: Demand[tuple[bytes, ...]]


class Matched(Enum):
    """What the report's MEASUREMENT is among one author's reference values."""

    NOTHING_ASKED = "no reference value is named"
    IMAGE = "of an image: firmware, kernel and all that the kernel starts with"
    FIRMWARE = "of a provider's firmware alone"
    SIGNED = "of an image that an accepted key signed, in an accepted version"
    NONE = "none of those that are accepted"


def match_measurement(demands: Demands, measurement: bytes) -> Matched:
    """Return what a MEASUREMENT is to an author; one that stands in both lists covers the firmware alone."""
    if not isinstance(demands.firmware_measurements, Unchecked) and measurement in demands.firmware_measurements:
        return Matched.FIRMWARE
    images, launches = demands.measurements, demands.launches
    if not isinstance(images, Unchecked) and measurement in images:
        return Matched.IMAGE
    if not isinstance(launches, Unchecked) and any(launch.vcpus_of(measurement) is not None for launch in launches):
        return Matched.IMAGE
    asked = any(not isinstance(each, Unchecked) for each in (demands.firmware_measurements, images, launches))
    return Matched.NONE if asked else Matched.NOTHING_ASKED


def signed_version(demands: Demands, report: Report) -> bool:
    """Return whether the launch's id block is of an accepted signer and a version that is new enough.

    The chip launches nothing but the MEASUREMENT in that block, so whoever signed it said which image it is.
    """
    keys = ((demands.id_key_digests, report.id_key_digest), (demands.author_key_digests, report.author_key_digest))
    return (
        not isinstance(demands.minimum_guest_svn, Unchecked)
        and report.guest_svn >= demands.minimum_guest_svn
        and all(found in accepted for accepted, found in keys if not isinstance(accepted, Unchecked))
    )


def demands_of_policy(policy: Policy) -> Demands:
    """Return what a Verifier's owner demands."""
    provisional = Unchecked("the policy accepts firmware that can still be rolled back")
    return Demands(
        author=POLICY,
        products=policy.products,
        guest_policy=policy.guest_policy,
        open_guest_policy=policy.open_guest_policy,
        minimum_abi=policy.minimum_abi,
        platform_info=policy.platform_info,
        vmpl=policy.vmpl,
        committed_firmware=provisional if policy.provisional_firmware else True,
        minimum_tcb=policy.minimum_tcb,
        minimum_tcb_of=policy.minimum_tcb_of,
        mitigations=policy.mitigations,
        measurements=policy.measurements,
        firmware_measurements=policy.firmware_measurements,
        launches=policy.launches,
        id_key_digests=policy.id_key_digests,
        author_key_digests=policy.author_key_digests,
        minimum_guest_svn=policy.minimum_guest_svn,
        chip_ids=policy.chip_ids,
    )


def demands_of_platform(platform: Platform) -> Demands:
    """Return what all participants together demand, as their manifest says it."""
    return Demands(
        author=MANIFEST,
        products=platform.products,
        guest_policy=platform.guest_policy,
        open_guest_policy={},
        minimum_abi=_not_named("least ABI"),
        platform_info=platform.platform_info,
        vmpl=(platform.vmpl,),
        committed_firmware=_not_named("committed firmware"),
        minimum_tcb=platform.minimum_tcb or _not_named("least TCB"),
        minimum_tcb_of={},
        mitigations=platform.mitigations,
        measurements=platform.measurements or _not_named("measurement of an image"),
        firmware_measurements=platform.firmware_measurements or _not_named("measurement of a provider's firmware"),
        launches=_not_named("launch of any number of vCPUs"),
        id_key_digests=platform.id_key_digests or _not_named("id key"),
        author_key_digests=platform.author_key_digests or _not_named("author key"),
        minimum_guest_svn=_not_named("least GUEST_SVN"),
        chip_ids=platform.chip_ids or _not_named("particular chip"),
    )


def _not_named(what: str) -> Unchecked:
    return Unchecked(f"the manifest demands no {what}")
