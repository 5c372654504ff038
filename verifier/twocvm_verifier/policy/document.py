"""A policy as its owner writes it: TOML, strict, read on top of the built-in default.

A field that is left out is as in `Policy.builtin()`. A field that is not to be checked says so with a reason:
`measurements = { unchecked = "we pin the manifest instead" }`. Unknown fields are refused, and all problems are
reported at once. The format stands in `docs/spec/appraisal.md`.

>>> parse_policy('products = ["Genoa"]').products
('Genoa',)
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias, TypeVar

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, PLATFORM_INFO_BITS, BitDemand, Mitigations
from twocvm_verifier.result import Level
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.tcb import COMPONENTS
from twocvm_verifier.strictjson import text_problem
from twocvm_verifier.unchecked import Unchecked

from .model import AbiVersion, Policy, RequiredLevels

MAX_POLICY_BYTES: Final = 262_144
_MAX_NAME_CHARACTERS: Final = 128
_MAX_CRL_AGE_SECONDS: Final = 10 * 365 * 86_400
_UNCHECKED: Final = frozenset({"unchecked"})
_ABI: Final = re.compile(r"(\d{1,3})\.(\d{1,3})", re.ASCII)
_MASK: Final = re.compile(r"0x[0-9a-f]{1,16}", re.ASCII)

_Value = TypeVar("_Value")
Toml: TypeAlias = Any  # what tomllib returns: nothing is known of it until it is looked at


class _ValueProblemError(Exception):
    """A value is wrong; the text says how, the caller knows where."""


def parse_policy(text: str) -> Policy:
    """Return the policy that `text` writes.

    Args:
        text: TOML, at most 256 KiB of UTF-8.

    Raises:
        MalformedError: Not such a document; every problem is named with its place.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_POLICY_BYTES:
        raise MalformedError("policy", "", f"got {size} bytes, want at most {MAX_POLICY_BYTES}")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError("policy", "", "not TOML") from error
    changes: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in document.items():
        reader = _FIELDS.get(key)
        if reader is None:
            problems.append(f"{key!r}: unknown field")
            continue
        try:
            changes[key] = reader(value)
        except _ValueProblemError as problem:
            problems.append(f"{key}: {problem}")
    changes |= changes.pop("guest_policy", {})
    if problems:
        raise MalformedError("policy", "", "; ".join(problems))
    return replace(Policy.builtin(), **changes)


def _name(value: Toml) -> str:
    text = _text(value)
    if not 1 <= len(text) <= _MAX_NAME_CHARACTERS:
        raise _ValueProblemError(f"want 1 to {_MAX_NAME_CHARACTERS} characters")
    return text


def _text(value: Toml) -> str:
    if not isinstance(value, str):
        raise _ValueProblemError("want text")
    if problem := text_problem(value):
        raise _ValueProblemError(f"text {problem}")
    return value


def _flag(value: Toml) -> bool:
    if not isinstance(value, bool):
        raise _ValueProblemError("want true or false")
    return value


def _integer(value: Toml, *, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise _ValueProblemError(f"want a whole number from 0 to {most}")
    return value


def _list(value: Toml, reader: Callable[[Toml], _Value]) -> tuple[_Value, ...]:
    if not isinstance(value, list) or not value:
        raise _ValueProblemError("want a list that is not empty")
    values = tuple(map(reader, value))
    if len(set(values)) != len(values):
        raise _ValueProblemError("something stands twice")
    return values


def _table(value: Toml, keys: frozenset[str]) -> Mapping[str, Toml]:
    if not isinstance(value, dict):
        raise _ValueProblemError("want a table")
    if unknown := sorted(set(value) - keys):
        raise _ValueProblemError(f"unknown field {unknown[0]!r}")
    return value


def _unless_unchecked(reader: Callable[[Toml], _Value]) -> Callable[[Toml], _Value | Unchecked]:
    def read(value: Toml) -> _Value | Unchecked:
        if isinstance(value, dict) and "unchecked" in value:
            return Unchecked(_reason(_table(value, _UNCHECKED)["unchecked"]))
        return reader(value)

    return read


def _hex(size_bytes: int) -> Callable[[Toml], bytes]:
    def read(value: Toml) -> bytes:
        if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{2 * size_bytes}}}", value):
            raise _ValueProblemError(f"want {2 * size_bytes} lower case hex digits")
        return bytes.fromhex(value)

    return read


def _hex_list(size_bytes: int) -> Callable[[Toml], tuple[bytes, ...] | Unchecked]:
    return _unless_unchecked(lambda value: _list(value, _hex(size_bytes)))


def _one_of(accepted: frozenset[str]) -> Callable[[Toml], str]:
    def read(value: Toml) -> str:
        if value not in accepted if isinstance(value, str) else True:
            raise _ValueProblemError(f"want one of {', '.join(sorted(accepted))}")
        return str(value)

    return read


def _platform_info(value: Toml) -> BitDemand:
    table = _table(value, frozenset({"required", "forbidden"}))
    return _disjoint(_mask(table, "required", PLATFORM_INFO_BITS), _mask(table, "forbidden", PLATFORM_INFO_BITS))


def _guest_policy(value: Toml) -> dict[str, object]:
    """Return the fields of the policy that this table decides.

    What the built-in policy forbids stays forbidden unless a bit is required, or left open with a reason: a table that
    is about something else must not let DEBUG in by its silence.
    """
    table = _table(value, frozenset({"required", "forbidden", "unchecked", "minimum_abi"}))
    reasons = _table(table.get("unchecked", {}), frozenset(GUEST_POLICY_BITS))
    opened = {name: Unchecked(_reason(reason)) for name, reason in reasons.items()}
    open_mask = sum(1 << GUEST_POLICY_BITS[name] for name in opened)
    required = _mask(table, "required", GUEST_POLICY_BITS)
    forbidden = _mask(table, "forbidden", GUEST_POLICY_BITS)
    if open_mask & (required | forbidden):
        raise _ValueProblemError("a bit is demanded and left unchecked")
    builtin = Policy.builtin().guest_policy.forbidden & ~required & ~open_mask
    fields: dict[str, object] = {
        "guest_policy": _disjoint(required, forbidden | builtin),
        "open_guest_policy": opened,
    }
    if "minimum_abi" in table:
        fields["minimum_abi"] = _unless_unchecked(_abi)(table["minimum_abi"])
    return fields


def _mask(table: Mapping[str, Toml], name: str, bits: Mapping[str, int]) -> int:
    listed = table.get(name, [])
    if not isinstance(listed, list):
        raise _ValueProblemError("want lists of names of bits")
    return sum(1 << bits[bit] for bit in set(map(_one_of(frozenset(bits)), listed)))


def _disjoint(required: int, forbidden: int) -> BitDemand:
    if required & forbidden:
        raise _ValueProblemError("a bit is both required and forbidden")
    return BitDemand(required=required, forbidden=forbidden)


def _abi(value: Toml) -> AbiVersion:
    match = _ABI.fullmatch(value) if isinstance(value, str) else None
    if match is None or max(int(match[1]), int(match[2])) > 0xFF:
        raise _ValueProblemError('want an ABI version such as "1.51"')
    return AbiVersion(major=int(match[1]), minor=int(match[2]))


def _minimum_tcb(value: Toml) -> Mapping[str, Mapping[str, int]]:
    table = _table(value, frozenset(Product))
    if not table:
        raise _ValueProblemError("want at least one product")
    return {
        product: {name: _integer(number, most=0xFF) for name, number in _table(least, COMPONENTS).items()}
        for product, least in table.items()
    }


def _mitigations(value: Toml) -> Mitigations:
    table = _table(value, frozenset({"launch", "current"}))
    masks = {}
    for name in ("launch", "current"):
        mask = table.get(name, "0x0")
        if not isinstance(mask, str) or not _MASK.fullmatch(mask):
            raise _ValueProblemError('want masks such as "0x3f"')
        masks[name] = int(mask, 16)
    return Mitigations(**masks)


def _required_levels(value: Toml) -> RequiredLevels:
    if isinstance(value, list):
        value = {"levels": value}
    if isinstance(value, dict) and "unchecked" in value:
        return RequiredLevels(
            levels=(), at_rest=True, others=Unchecked(_reason(_table(value, _UNCHECKED)["unchecked"]))
        )
    table = _table(value, frozenset({"levels", "reason"}))
    named = _list(table.get("levels"), _one_of(frozenset(Level)))
    levels = tuple(level for level in Level if level in named)
    if len(levels) < len(Level) and "reason" not in table:
        raise _ValueProblemError('want a reason for the levels that are left out: { levels = [...], reason = "..." }')
    others = Unchecked(_reason(table["reason"])) if "reason" in table else Policy.builtin().require_levels.others
    return RequiredLevels(levels=levels, at_rest=True, others=others)


def _reason(value: Toml) -> str:
    text = _text(value)
    if not text.strip():
        raise _ValueProblemError("want a reason")
    return text


_FIELDS: Final[Mapping[str, Callable[[Toml], object]]] = {
    "name": _name,
    "products": lambda value: _list(value, _one_of(frozenset(Product))),
    "guest_policy": _guest_policy,
    "platform_info": _platform_info,
    "vmpl": _unless_unchecked(lambda value: _list(value, lambda vmpl: _integer(vmpl, most=3))),
    "provisional_firmware": _flag,
    "minimum_tcb": _unless_unchecked(_minimum_tcb),
    "mitigations": _unless_unchecked(_mitigations),
    "measurements": _hex_list(48),
    "id_key_digests": _hex_list(48),
    "author_key_digests": _hex_list(48),
    "chip_ids": _hex_list(64),
    "require_host_data": _flag,
    "max_crl_age_seconds": _unless_unchecked(lambda value: _integer(value, most=_MAX_CRL_AGE_SECONDS)),
    "require_levels": _required_levels,
}
