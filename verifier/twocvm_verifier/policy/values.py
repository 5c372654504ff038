"""Readers of a policy's values: each returns the value or says in one sentence what is wrong with it.

They read what `tomllib` and `strictjson` give alike; nothing is known of a value until it is looked at. The caller
knows where the value stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from twocvm_verifier.azure.quote import DIGEST_BYTES, PCR_COUNT
from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, PLATFORM_INFO_BITS, BitDemand, Mitigations
from twocvm_verifier.result import Level
from twocvm_verifier.snp.launch import LaunchPrefix, parse_launch_prefix
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.tcb import COMPONENTS
from twocvm_verifier.strictjson import text_problem
from twocvm_verifier.unchecked import Unchecked

from .model import TCBS, AbiVersion, FirmwareVersion, Policy, RequiredLevels
from .pcrs import ALL_NAMED, PCR_BANKS, PcrValues

MAX_NAME_CHARACTERS: Final = 128
_MAX_GUEST_SVN: Final = (1 << 32) - 1
_UNCHECKED: Final = frozenset({"unchecked"})
_ABI: Final = re.compile(r"(\d{1,3})\.(\d{1,3})", re.ASCII)
_FIRMWARE: Final = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})", re.ASCII)
_MASK: Final = re.compile(r"0x[0-9a-f]{1,16}", re.ASCII)
_OTHERS: Final = "others"
_PCRS: Final = frozenset(map(str, range(PCR_COUNT)))
_ADVISORY: Final = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)

_Value = TypeVar("_Value")
Written: TypeAlias = Any


class ValueProblemError(Exception):
    """A value is wrong; the text says how, the caller knows where."""


def name(value: Written) -> str:
    """Return a name for people, 1 to 128 characters."""
    found = text(value)
    if not 1 <= len(found) <= MAX_NAME_CHARACTERS:
        raise ValueProblemError(f"want 1 to {MAX_NAME_CHARACTERS} characters")
    return found


def text(value: Written) -> str:
    """Return any text that may stand in a document."""
    if not isinstance(value, str):
        raise ValueProblemError("want text")
    if problem := text_problem(value):
        raise ValueProblemError(f"text {problem}")
    return value


def flag(value: Written) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ValueProblemError("want true or false")
    return value


def integer(value: Written, *, most: int) -> int:
    """Return a whole number from 0 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueProblemError(f"want a whole number from 0 to {most}")
    return value


def guest_svn(value: Written) -> int:
    """Return a least GUEST_SVN; 0 would be met by a guest without an id block."""
    if not (least := integer(value, most=_MAX_GUEST_SVN)):
        raise ValueProblemError("0 demands nothing, want at least 1")
    return least


def listed(value: Written, reader: Callable[[Written], _Value]) -> tuple[_Value, ...]:
    """Return the members of a list that is not empty and has nothing twice."""
    if not isinstance(value, list) or not value:
        raise ValueProblemError("want a list that is not empty")
    values = tuple(map(reader, value))
    if len(set(values)) != len(values):
        raise ValueProblemError("something stands twice")
    return values


def table(value: Written, keys: frozenset[str]) -> Mapping[str, Written]:
    """Return a table that has no other than these keys."""
    if not isinstance(value, dict):
        raise ValueProblemError("want a table")
    if unknown := sorted(set(value) - keys):
        raise ValueProblemError(f"unknown field {unknown[0]!r}")
    return value


def table_with_members(value: Written, keys: frozenset[str], *, kind: str) -> Mapping[str, Written]:
    """Return a table that has some of these keys, and at least one."""
    found = table(value, keys)
    if not found:
        raise ValueProblemError(f"want at least one {kind}")
    return found


def reason(value: Written) -> str:
    """Return why something is not checked: text that says something."""
    found = text(value)
    if not found.strip():
        raise ValueProblemError("want a reason")
    return found


def unless_unchecked(reader: Callable[[Written], _Value]) -> Callable[[Written], _Value | Unchecked]:
    """Return a reader that also takes `{ unchecked = "reason" }`."""

    def read(value: Written) -> _Value | Unchecked:
        if isinstance(value, dict) and "unchecked" in value:
            return Unchecked(reason(table(value, _UNCHECKED)["unchecked"]))
        return reader(value)

    return read


def hex_list(size_bytes: int) -> Callable[[Written], tuple[bytes, ...] | Unchecked]:
    """Return a reader of a list of values of `size_bytes` bytes each, in hex, or of a reason."""
    return unless_unchecked(hex_values(size_bytes))


def hex_values(size_bytes: int) -> Callable[[Written], tuple[bytes, ...]]:
    """Return a reader of a list of values of `size_bytes` bytes each, in hex."""

    def read(value: Written) -> bytes:
        if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{2 * size_bytes}}}", value):
            raise ValueProblemError(f"want {2 * size_bytes} lower case hex digits")
        return bytes.fromhex(value)

    return lambda value: listed(value, read)


def one_of(accepted: frozenset[str]) -> Callable[[Written], str]:
    """Return a reader of one of these words."""

    def read(value: Written) -> str:
        if not isinstance(value, str) or value not in accepted:
            raise ValueProblemError(f"want one of {', '.join(sorted(accepted))}")
        return str(value)

    return read


def launch(value: Written) -> LaunchPrefix:
    """Return a launch with any number of vCPUs, as `twocvm measure --prefix` prints it."""
    try:
        return parse_launch_prefix(text(value))
    except ValueError as error:
        raise ValueProblemError(str(error)) from error


def advisory(value: Written) -> str:
    """Return the id of an advisory."""
    if not isinstance(value, str) or not _ADVISORY.fullmatch(value):
        raise ValueProblemError("want the id of an advisory, such as entrysign")
    return value


def platform_info(value: Written) -> BitDemand:
    """Return what is demanded of PLATFORM_INFO."""
    found = table(value, frozenset({"required", "forbidden"}))
    return _disjoint(_mask(found, "required", PLATFORM_INFO_BITS), _mask(found, "forbidden", PLATFORM_INFO_BITS))


def guest_policy(value: Written) -> dict[str, object]:
    """Return the fields of the policy that this table decides.

    What the built-in policy forbids stays forbidden unless a bit is required, or left open with a reason: a table that
    is about something else must not let DEBUG in by its silence.
    """
    found = table(value, frozenset({"required", "forbidden", "unchecked", "minimum_abi"}))
    reasons = table(found.get("unchecked", {}), frozenset(GUEST_POLICY_BITS))
    opened = {bit: Unchecked(reason(why)) for bit, why in reasons.items()}
    open_mask = sum(1 << GUEST_POLICY_BITS[bit] for bit in opened)
    required = _mask(found, "required", GUEST_POLICY_BITS)
    forbidden = _mask(found, "forbidden", GUEST_POLICY_BITS)
    if open_mask & (required | forbidden):
        raise ValueProblemError("a bit is demanded and left unchecked")
    builtin = Policy.builtin().guest_policy.forbidden & ~required & ~open_mask
    fields: dict[str, object] = {
        "guest_policy": _disjoint(required, forbidden | builtin),
        "open_guest_policy": opened,
    }
    if "minimum_abi" in found:
        fields["minimum_abi"] = unless_unchecked(_abi)(found["minimum_abi"])
    return fields


def minimum_tcb(value: Written) -> Mapping[str, Mapping[str, int]]:
    """Return the least of each component, by product."""
    return {
        product: {part: integer(number, most=0xFF) for part, number in table(least, COMPONENTS).items()}
        for product, least in table_with_members(value, frozenset(Product), kind="product").items()
    }


def minimum_tcb_of(value: Written) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
    """Return further minimums that hold for one of the four TCBs alone."""
    return {tcb: minimum_tcb(least) for tcb, least in table_with_members(value, frozenset(TCBS), kind="TCB").items()}


def minimum_firmware(value: Written) -> Mapping[str, FirmwareVersion]:
    """Return the least version of the firmware, by product."""
    return {
        product: _firmware(version)
        for product, version in table_with_members(value, frozenset(Product), kind="product").items()
    }


def mitigations(value: Written) -> Mitigations:
    """Return the bits that the two mitigation vectors must have."""
    found = table(value, frozenset({"launch", "current"}))
    masks = {}
    for vector in ("launch", "current"):
        mask = found.get(vector, "0x0")
        if not isinstance(mask, str) or not _MASK.fullmatch(mask):
            raise ValueProblemError('want masks such as "0x3f"')
        masks[vector] = int(mask, 16)
    return Mitigations(**masks)


def required_levels(value: Written) -> RequiredLevels:
    """Return which levels must be proved; fewer than all four need a reason."""
    if isinstance(value, list):
        value = {"levels": value}
    if isinstance(value, dict) and "unchecked" in value:
        found = table(value, _UNCHECKED | {"at_rest"})
        others = Unchecked(reason(found["unchecked"]))
        return RequiredLevels(levels=(), at_rest=flag(found.get("at_rest", True)), others=others)
    found = table(value, frozenset({"levels", "reason", "at_rest"}))
    named = listed(found.get("levels"), one_of(frozenset(Level)))
    levels = tuple(level for level in Level if level in named)
    if len(levels) < len(Level) and "reason" not in found:
        raise ValueProblemError('want a reason for the levels that are left out: { levels = [...], reason = "..." }')
    others = Unchecked(reason(found["reason"])) if "reason" in found else Policy.builtin().require_levels.others
    return RequiredLevels(levels=levels, at_rest=flag(found.get("at_rest", True)), others=others)


def pcrs(value: Written) -> Mapping[str, PcrValues]:
    """Return which values of its PCRs are accepted, by bank."""
    return {bank: _bank(named) for bank, named in table_with_members(value, PCR_BANKS, kind="bank").items()}


def _bank(value: Written) -> PcrValues:
    found, others = dict(table(value, _PCRS | {_OTHERS})), ALL_NAMED
    if _OTHERS in found:
        others = Unchecked(reason(table(found.pop(_OTHERS), _UNCHECKED).get("unchecked")))
    elif len(found) < PCR_COUNT:
        raise ValueProblemError('want a reason for the PCRs that are left out: others = { unchecked = "..." }')
    read = hex_values(DIGEST_BYTES)
    try:
        return PcrValues(named={int(number): read(values) for number, values in found.items()}, others=others)
    except ValueError as error:
        raise ValueProblemError(str(error)) from error


def _mask(found: Mapping[str, Written], key: str, bits: Mapping[str, int]) -> int:
    names = found.get(key, [])
    if not isinstance(names, list):
        raise ValueProblemError("want lists of names of bits")
    return sum(1 << bits[bit] for bit in set(map(one_of(frozenset(bits)), names)))


def _disjoint(required: int, forbidden: int) -> BitDemand:
    if required & forbidden:
        raise ValueProblemError("a bit is both required and forbidden")
    return BitDemand(required=required, forbidden=forbidden)


def _abi(value: Written) -> AbiVersion:
    match = _ABI.fullmatch(value) if isinstance(value, str) else None
    if match is None or max(map(int, match.groups())) > 0xFF:
        raise ValueProblemError('want an ABI version such as "1.51"')
    return AbiVersion(major=int(match[1]), minor=int(match[2]))


def _firmware(value: Written) -> FirmwareVersion:
    match = _FIRMWARE.fullmatch(value) if isinstance(value, str) else None
    if match is None or max(map(int, match.groups())) > 0xFF:
        raise ValueProblemError('want a firmware version such as "1.55.40"')
    return FirmwareVersion(major=int(match[1]), minor=int(match[2]), build=int(match[3]))
