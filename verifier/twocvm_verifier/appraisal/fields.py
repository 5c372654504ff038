"""One author's demands, asked of each field of a verified report.

Every question is listed, also those that the author does not ask. Sets of bits are compared as sets, TCBs component
by component, and a list of accepted values by membership.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, PLATFORM_INFO_BITS, BitDemand
from twocvm_verifier.policy.model import AbiVersion
from twocvm_verifier.result import Check, Level
from twocvm_verifier.snp.launch import LaunchPrefix
from twocvm_verifier.snp.report import Report
from twocvm_verifier.snp.verify import TCB_FIELDS, VerifiedReport
from twocvm_verifier.unchecked import Unchecked

from .build import hex_list, judged, listed, skipped
from .demands import Demand, Demands, Matched, match_measurement

_CODE_OF_GUEST_BIT = {"debug": "DEBUG_ALLOWED", "migrate_ma": "MIGRATION_ALLOWED"}
_ZERO_CHIP_ID = bytes(64)
_EITHER = Unchecked("either is accepted")


def check_demands(demands: Demands, verified: VerifiedReport) -> tuple[Check, ...]:
    """Return every check of one author, in the order in which people read them."""
    report = verified.report
    return (
        _product(demands, verified),
        _chip(demands, report),
        *_tcbs(demands, verified),
        _firmware(demands, report),
        *_mitigations(demands, report),
        *_platform_info(demands, report),
        *_guest_policy(demands, report),
        _abi(demands, report),
        _vmpl(demands, report),
        _measurement(demands, report),
        listed(demands.author, "id_key_digest", "ID_KEY_MISMATCH", demands.id_key_digests, report.id_key_digest),
        listed(
            demands.author,
            "author_key_digest",
            "AUTHOR_KEY_MISMATCH",
            demands.author_key_digests,
            report.author_key_digest,
        ),
    )


def _product(demands: Demands, verified: VerifiedReport) -> Check:
    return judged(
        f"{demands.author}.product",
        "PRODUCT_NOT_ACCEPTED",
        Level.AL1,
        holds=str(verified.product) in demands.products,
        expected=", ".join(demands.products),
        actual=str(verified.product),
        detail="this product is not accepted",
    )


def _chip(demands: Demands, report: Report) -> Check:
    identifier, actual = f"{demands.author}.chip_id", report.chip_id.hex()
    if isinstance(demands.chip_ids, Unchecked):
        return skipped(identifier, "CHIP_NOT_ACCEPTED", Level.AL1, unchecked=demands.chip_ids, actual=actual)
    return judged(
        identifier,
        "CHIP_NOT_ACCEPTED",
        Level.AL1,
        # A masked CHIP_ID is no chip's, even where someone lists it.
        holds=report.chip_id in demands.chip_ids and report.chip_id != _ZERO_CHIP_ID,
        expected=hex_list(demands.chip_ids),
        actual=actual,
        detail="this chip is not one of those that are accepted",
    )


def _tcbs(demands: Demands, verified: VerifiedReport) -> Iterator[Check]:
    for field in TCB_FIELDS:
        tcb, name = verified.tcb(field), field.removesuffix("_tcb")
        identifier = f"{demands.author}.tcb.{name}"
        minimums = _minimums(demands, name)
        if isinstance(minimums, Unchecked):
            yield skipped(identifier, "TCB_OUT_OF_DATE", Level.AL2, unchecked=minimums, actual=str(tcb))
            continue
        least = _least([minimum.get(str(verified.product)) for minimum in minimums])
        below = None if least is None else tcb.below(least)
        yield judged(
            identifier,
            "TCB_OUT_OF_DATE",
            Level.AL2,
            holds=below == (),
            expected="no minimum for this product" if least is None else f"at least {_named(least)}",
            actual=str(tcb),
            detail=f"below the minimum: {', '.join(below)}" if below else f"no minimum is named for {verified.product}",
        )


def _minimums(demands: Demands, name: str) -> list[Mapping[str, Mapping[str, int]]] | Unchecked:
    """Return the minimums of one of the four TCBs, by product: those of all four, and its own."""
    own = demands.minimum_tcb_of.get(name)
    if isinstance(demands.minimum_tcb, Unchecked):
        return demands.minimum_tcb if own is None else [own]
    return [demands.minimum_tcb] if own is None else [demands.minimum_tcb, own]


def _least(minimums: list[Mapping[str, int] | None]) -> Mapping[str, int] | None:
    """Return the greatest level that any of them names, by component; None where one does not know the product."""
    least: dict[str, int] = {}
    for minimum in minimums:
        if minimum is None:
            return None
        least |= {part: max(level, least.get(part, 0)) for part, level in minimum.items()}
    return least


def _firmware(demands: Demands, report: Report) -> Check:
    current = (report.current_major, report.current_minor, report.current_build)
    committed = (report.committed_major, report.committed_minor, report.committed_build)
    identifier = f"{demands.author}.firmware.committed"
    actual = f"runs {_dotted(current)}, committed {_dotted(committed)}"
    if isinstance(demands.committed_firmware, Unchecked):
        return skipped(
            identifier, "FIRMWARE_PROVISIONAL", Level.AL2, unchecked=demands.committed_firmware, actual=actual
        )
    return judged(
        identifier,
        "FIRMWARE_PROVISIONAL",
        Level.AL2,
        holds=current == committed and report.current_tcb == report.committed_tcb,
        expected="what runs is what is committed",
        actual=f"{actual}, TCB {report.current_tcb.hex()} and {report.committed_tcb.hex()}",
        detail="the firmware that runs can still be rolled back to an older one",
    )


def _mitigations(demands: Demands, report: Report) -> Iterator[Check]:
    for when, found in (("launch", report.launch_mit_vector), ("current", report.current_mit_vector)):
        identifier, actual = f"{demands.author}.mitigations.{when}", f"{found:#x}"
        if isinstance(demands.mitigations, Unchecked):
            yield skipped(identifier, "MITIGATION_MISSING", Level.AL2, unchecked=demands.mitigations, actual=actual)
            continue
        wanted: int = getattr(demands.mitigations, when)
        yield judged(
            identifier,
            "MITIGATION_MISSING",
            Level.AL2,
            holds=found & wanted == wanted,
            expected=f"all bits of {wanted:#x}",
            actual=actual,
            detail=f"these bits are missing: {wanted & ~found:#x}",
        )


def _platform_info(demands: Demands, report: Report) -> Iterator[Check]:
    for name, bit in PLATFORM_INFO_BITS.items():
        yield _bit(
            f"{demands.author}.platform_info.{name}",
            "PLATFORM_INFO_REFUSED",
            demands.platform_info,
            mask=1 << bit,
            value=report.platform_info,
            otherwise=_EITHER,
        )


def _guest_policy(demands: Demands, report: Report) -> Iterator[Check]:
    for name, bit in GUEST_POLICY_BITS.items():
        yield _bit(
            f"{demands.author}.guest_policy.{name}",
            _CODE_OF_GUEST_BIT.get(name, "GUEST_POLICY_REFUSED"),
            demands.guest_policy,
            mask=1 << bit,
            value=report.policy,
            otherwise=demands.open_guest_policy.get(name, _EITHER),
        )


def _bit(identifier: str, code: str, demand: BitDemand, *, mask: int, value: int, otherwise: Unchecked) -> Check:
    found = bool(value & mask)
    actual = "set" if found else "clear"
    required, forbidden = bool(demand.required & mask), bool(demand.forbidden & mask)
    if not required and not forbidden:
        return skipped(identifier, code, Level.AL2, unchecked=otherwise, actual=actual)
    return judged(
        identifier,
        code,
        Level.AL2,
        holds=(not required or found) and (not forbidden or not found),
        expected="set" if required else "clear",
        actual=actual,
        detail=f"the bit is {actual}",
    )


def _abi(demands: Demands, report: Report) -> Check:
    # SNP ABI 56860 r1.58, 4.3, table 10: bits 7:0 and 15:8 are the least version that the guest accepts.
    guest = AbiVersion(major=report.policy >> 8 & 0xFF, minor=report.policy & 0xFF)
    firmware = AbiVersion(major=report.current_major, minor=report.current_minor)
    identifier, least = f"{demands.author}.guest_policy.abi", demands.minimum_abi
    if isinstance(least, Unchecked) and guest <= firmware:
        return skipped(identifier, "ABI_REFUSED", Level.AL2, unchecked=least, actual=str(guest))
    wanted = "" if isinstance(least, Unchecked) else f"at least {least}, and "
    return judged(
        identifier,
        "ABI_REFUSED",
        Level.AL2,
        holds=guest <= firmware and (isinstance(least, Unchecked) or guest >= least),
        expected=f"{wanted}at most the firmware's {firmware}",
        actual=str(guest),
        detail="the ABI version that the guest's policy demands is not acceptable",
    )


def _vmpl(demands: Demands, report: Report) -> Check:
    identifier, actual = f"{demands.author}.vmpl", "host" if report.vmpl > 3 else str(report.vmpl)
    if isinstance(demands.vmpl, Unchecked):
        return skipped(identifier, "VMPL_REFUSED", Level.AL3, unchecked=demands.vmpl, actual=actual)
    return judged(
        identifier,
        "VMPL_REFUSED",
        Level.AL3,
        holds=report.vmpl in demands.vmpl,
        expected=", ".join(map(str, demands.vmpl)),
        actual=actual,
        detail="the report was requested from another privilege level",
    )


def _measurement(demands: Demands, report: Report) -> Check:
    launches, firmware = demands.launches, demands.firmware_measurements
    if isinstance(launches, Unchecked) and isinstance(firmware, Unchecked):
        return listed(demands.author, "measurement", "MEASUREMENT_MISMATCH", demands.measurements, report.measurement)
    return judged(
        f"{demands.author}.measurement",
        "MEASUREMENT_MISMATCH",
        Level.AL4,
        holds=match_measurement(demands, report.measurement) is not Matched.NONE,
        expected=", ".join(_reference_values(demands)),
        actual=report.measurement.hex() + _launched_as(launches, report.measurement),
        detail="measurement is none of those that are accepted, and of no accepted launch",
    )


def _reference_values(demands: Demands) -> Iterator[str]:
    if not isinstance(demands.measurements, Unchecked):
        yield from (value.hex() for value in demands.measurements)
    if not isinstance(demands.launches, Unchecked):
        yield from map(str, demands.launches)
    if not isinstance(demands.firmware_measurements, Unchecked):
        yield from (f"{value.hex()} (firmware alone)" for value in demands.firmware_measurements)


def _launched_as(launches: Demand[tuple[LaunchPrefix, ...]], measurement: bytes) -> str:
    known = () if isinstance(launches, Unchecked) else launches
    vcpus = next((count for launch in known if (count := launch.vcpus_of(measurement)) is not None), None)
    return "" if vcpus is None else f", with {vcpus} vCPUs"


def _named(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _dotted(version: tuple[int, int, int]) -> str:
    major, minor, build = version
    return f"{major}.{minor}.{build}"
