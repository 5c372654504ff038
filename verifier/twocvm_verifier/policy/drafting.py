"""A policy made from one report: it demands what this report shows, and so is met by it.

A draft, for a person to read: that a value stands in a genuine report says that it is so, not that it is good. What the
built-in policy refuses (DEBUG, a migration agent, another VMPL, firmware that can be rolled back) stays refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from twocvm_verifier.azure.verify import VerifiedAzureReport
from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, PLATFORM_INFO_BITS, BitDemand, Mitigations
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.report import Report
from twocvm_verifier.snp.tcb import layout
from twocvm_verifier.snp.verify import TCB_FIELDS, VerifiedReport
from twocvm_verifier.unchecked import Unchecked

from .model import FirmwareVersion, Policy
from .pcrs import SHA256_BANK, PcrValues

# Bits whose setting makes a machine or a guest safer; a draft demands those that the report has.
_SAFER_PLATFORM: Final = ("rapl_dis", "ciphertext_hiding_dram_en", "alias_check_complete")
_SAFER_GUEST: Final = (
    "single_socket",
    "mem_aes_256_xts",
    "rapl_dis",
    "ciphertext_hiding_dram",
    "page_swap_disable",
)
# Bits whose setting makes one less safe; a draft forbids those that the report has not.
_RISKIER_PLATFORM: Final = ("smt_en",)
_RISKIER_GUEST: Final = ("smt", "cxl_allow")

# Loaders, Secure Boot's keys, kernel, initial RAM disk and command line, whichever of these a start measures; their
# zeros say what it did not do.
_PCRS_OF_SOFTWARE: Final = (2, 3, 4, 7, 8, 9, 11, 12, 13, 14)
_PCRS_OF_MACHINE: Final = Unchecked("of one machine, its firmware and its disk, or extended by what runs later")

_ANY_CHIP: Final = Unchecked("drafted from one report; any chip of its product is accepted")
_ANY_LAUNCH: Final = Unchecked("drafted from one report; every launch of its guest is accepted")
_OF_PROVIDER: Final = Unchecked("the report that this was drafted from is of a provider's firmware alone")
_NOT_SIGNED: Final = Unchecked("the report that this was drafted from has no id block")
_NO_SVN: Final = Unchecked("the report that this was drafted from is of version 0")
_NO_VLEK: Final = Unchecked("the report that this was drafted from is signed with a VCEK")
_NO_VECTORS: Final = Unchecked("the report that this was drafted from has no mitigation bits")


def policy_of_evidence(verified: VerifiedReport, *, name: str) -> Policy:
    """Return a policy that demands what this report shows.

    Args:
        verified: The report; only an authentic one is a reference for anything.
        name: Of the policy, for people.
    """
    report, product = verified.report, str(verified.product)
    tcbs = [verified.tcb(field) for field in TCB_FIELDS]
    lowest = {part: min(getattr(tcb, part) for tcb in tcbs) for part in layout(verified.product)}
    # A VLEK is a provider's, and what a provider starts is its own firmware.
    of_provider = verified.paravisor or verified.vek.vek.kind is VekKind.VLEK
    csp_id = verified.vek.vek.csp_id
    return replace(
        Policy.builtin(),
        name=name,
        products=(product,),
        guest_policy=_guest_policy(report),
        platform_info=_demand(report.platform_info, PLATFORM_INFO_BITS, _SAFER_PLATFORM, _RISKIER_PLATFORM),
        minimum_firmware={product: _lowest_firmware(report)},
        minimum_tcb={product: lowest},
        mitigations=_mitigations(report),
        measurements=_OF_PROVIDER if of_provider else (report.measurement,),
        firmware_measurements=(report.measurement,) if of_provider else Policy.builtin().firmware_measurements,
        launches=Unchecked("the measurement above is the one that is accepted"),
        host_data=_ANY_LAUNCH,
        report_ids=_ANY_LAUNCH,
        family_ids=_unless_zero(report.family_id),
        image_ids=_unless_zero(report.image_id),
        id_key_digests=_unless_zero(report.id_key_digest),
        author_key_digests=_unless_zero(report.author_key_digest),
        # An id block's signer is known by its key, and this report shows which version it is of.
        minimum_guest_svn=report.guest_svn or _NO_SVN if any(report.id_key_digest) else _NOT_SIGNED,
        pcrs=_pcrs(verified),
        chip_ids=_ANY_CHIP,
        csp_ids=(csp_id,) if verified.vek.vek.kind is VekKind.VLEK else _NO_VLEK,
    )


def _guest_policy(report: Report) -> BitDemand:
    builtin = Policy.builtin().guest_policy
    shown = _demand(report.policy, GUEST_POLICY_BITS, _SAFER_GUEST, _RISKIER_GUEST)
    return BitDemand(required=shown.required, forbidden=shown.forbidden | builtin.forbidden)


def _demand(value: int, bits: Mapping[str, int], safer: tuple[str, ...], riskier: tuple[str, ...]) -> BitDemand:
    return BitDemand(
        required=sum(1 << bits[name] for name in safer if value >> bits[name] & 1),
        forbidden=sum(1 << bits[name] for name in riskier if not value >> bits[name] & 1),
    )


def _lowest_firmware(report: Report) -> FirmwareVersion:
    current = FirmwareVersion(major=report.current_major, minor=report.current_minor, build=report.current_build)
    committed = FirmwareVersion(
        major=report.committed_major, minor=report.committed_minor, build=report.committed_build
    )
    return min(current, committed)


def _mitigations(report: Report) -> Mitigations | Unchecked:
    if not report.launch_mit_vector and not report.current_mit_vector:
        return _NO_VECTORS
    return Mitigations(launch=report.launch_mit_vector, current=report.current_mit_vector)


def _pcrs(verified: VerifiedReport) -> Mapping[str, PcrValues] | Unchecked:
    if not isinstance(verified, VerifiedAzureReport):
        # Left out of the digest, so that a native guest's draft stays what it was.
        return Policy.builtin().pcrs
    named = {number: (verified.member.pcrs[number],) for number in _PCRS_OF_SOFTWARE}
    return {SHA256_BANK: PcrValues(named=named, others=_PCRS_OF_MACHINE)}


def _unless_zero(value: bytes) -> tuple[bytes, ...] | Unchecked:
    return (value,) if any(value) else _NOT_SIGNED
