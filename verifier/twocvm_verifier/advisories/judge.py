"""What a verified report shows of each advisory: closed, open, not to be attested, or unknown.

Rules, in order, for each advisory:
1. A product that it does not concern has it closed; one for which no report can show it has `cannot_be_attested`.
2. Of the fixes for this chip, one whose conditions all hold closes it. TCB levels must hold in all four TCBs: a level
   that can be rolled back, or that came after the launch, protects nobody.
3. It is open where every fix for this chip has a condition that does not hold.
4. Else it is unknown: no level is recorded here, or the report is too old to say. Unknown is never taken for closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, PLATFORM_INFO_BITS, BitDemand
from twocvm_verifier.result import AdvisoryResult, AdvisoryStatus
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import Report
from twocvm_verifier.snp.tcb import Tcb
from twocvm_verifier.snp.verify import TCB_FIELDS, VerifiedReport

from .model import Advisory, Fix

_FIRST_WITH_CPUID = 3
_FIRST_WITH_MITIGATIONS = 5


def judge_advisories(verified: VerifiedReport, advisories: tuple[Advisory, ...]) -> tuple[AdvisoryResult, ...]:
    """Return how each advisory stands on the platform that made this report; none for a simulated one."""
    if verified.product is Product.SIMULATED:
        return ()
    # The four are mostly one: what runs is committed, reported, and was there at launch.
    tcbs: dict[Tcb, list[str]] = {}
    for field in TCB_FIELDS:
        tcbs.setdefault(verified.tcb(field), []).append(field.removesuffix("_tcb"))
    return tuple(_judge(verified, tcbs, advisory) for advisory in advisories)


def _judge(verified: VerifiedReport, tcbs: Mapping[Tcb, list[str]], advisory: Advisory) -> AdvisoryResult:
    status, detail = _status(verified, tcbs, advisory)
    return AdvisoryResult(id=advisory.id, title=advisory.title, status=status, detail=detail, source=advisory.source)


def _status(verified: VerifiedReport, tcbs: Mapping[Tcb, list[str]], advisory: Advisory) -> tuple[AdvisoryStatus, str]:
    product, report = str(verified.product), verified.report
    if product in advisory.unaffected:
        return AdvisoryStatus.CLOSED, advisory.unaffected[product]
    if product in advisory.unattested:
        return AdvisoryStatus.CANNOT_BE_ATTESTED, advisory.unattested[product]
    found = [_try(report, tcbs, fix) for fix in advisory.fixes if fix.product == product and _concerns(fix, report)]
    for status, detail in found:
        if status is AdvisoryStatus.CLOSED:
            return status, detail
    if found and all(status is AdvisoryStatus.OPEN for status, _ in found):
        return AdvisoryStatus.OPEN, "; or ".join(detail for _, detail in found)
    unknown = [detail for status, detail in found if status is AdvisoryStatus.UNKNOWN]
    return AdvisoryStatus.UNKNOWN, unknown[0] if unknown else f"no level is recorded here for {_chip(verified)}"


def _concerns(fix: Fix, report: Report) -> bool:
    # Version 2 does not name its chip, so that every fix of the product may be meant.
    if not fix.chips or report.version < _FIRST_WITH_CPUID:
        return True
    return (report.family, report.model, report.stepping) in fix.chips


def _try(report: Report, tcbs: Mapping[Tcb, list[str]], fix: Fix) -> tuple[AdvisoryStatus, str]:
    failed = [*_below(tcbs, fix), *_bits(fix.platform_info, report.platform_info, PLATFORM_INFO_BITS, "platform")]
    failed += _bits(fix.guest_policy, report.policy, GUEST_POLICY_BITS, "guest policy")
    with_vectors = report.version >= _FIRST_WITH_MITIGATIONS
    missing = fix.mitigations & ~(report.launch_mit_vector & report.current_mit_vector)
    if with_vectors and missing:
        failed.append(f"mitigation bits {missing:#x} are missing")
    if failed:
        return AdvisoryStatus.OPEN, ", ".join(failed)
    if fix.chips and report.version < _FIRST_WITH_CPUID:
        return AdvisoryStatus.UNKNOWN, "a report of version 2 does not name its chip, and levels differ between chips"
    if fix.mitigations and not with_vectors:
        return AdvisoryStatus.UNKNOWN, f"a report of version {report.version} has no mitigation vectors"
    if fix.unrecorded:
        return AdvisoryStatus.UNKNOWN, fix.unrecorded
    return AdvisoryStatus.CLOSED, "every condition is met"


def _below(tcbs: Mapping[Tcb, list[str]], fix: Fix) -> Iterator[str]:
    below: dict[str, list[str]] = {}
    for tcb, fields in tcbs.items():
        for part in tcb.below(fix.tcb):
            below.setdefault(part, []).extend(fields)
    for part, those in below.items():
        yield f"{part} is below {fix.tcb[part]} ({', '.join(those)})"


def _bits(demand: BitDemand, value: int, bits: Mapping[str, int], whose: str) -> Iterator[str]:
    if not demand.required | demand.forbidden:
        return
    for name, position in bits.items():
        mask = 1 << position
        if demand.required & mask and not value & mask:
            yield f"{whose}: {name} is clear"
        if demand.forbidden & mask and value & mask:
            yield f"{whose}: {name} is set"


def _chip(verified: VerifiedReport) -> str:
    report = verified.report
    if report.version < _FIRST_WITH_CPUID:
        return str(verified.product)
    return f"{verified.product} {report.family:02x}/{report.model:02x}/{report.stepping:02x}"
