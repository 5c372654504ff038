"""A policy written down again: as the document that `policy_of_document` reads, and as TOML for people.

What is written is read back as the same policy, with the same digest, whatever a later version's default is: every
field is written out, those that are not checked with their reason.

>>> document_of(Policy.builtin())["vmpl"]
[0]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Final

from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, PLATFORM_INFO_BITS, BitDemand
from twocvm_verifier.strictjson import Json
from twocvm_verifier.unchecked import Unchecked

from .document import policy_of_document
from .explanation import MEANINGS
from .model import Policy, RequiredLevels

_LINE_CHARACTERS: Final = 100


def document_of(policy: Policy) -> dict[str, Json]:
    """Return the document of a policy: every field, as `docs/spec/appraisal.md` writes it.

    Raises:
        ValueError: A document cannot say this: DEBUG or MIGRATE_MA left open without a reason, bits without a name.
    """
    form = policy.to_json()
    guest_policy: dict[str, Json] = {
        **_names(policy.guest_policy, GUEST_POLICY_BITS),
        "unchecked": {name: why.reason for name, why in policy.open_guest_policy.items()},
        "minimum_abi": form.pop("minimum_abi"),
    }
    del form["open_guest_policy"]
    form |= {
        "guest_policy": guest_policy,
        "platform_info": _names(policy.platform_info, PLATFORM_INFO_BITS),
        "require_levels": _levels(policy.require_levels),
    }
    if not isinstance(policy.mitigations, Unchecked):
        form["mitigations"] = {
            each.name: f"{getattr(policy.mitigations, each.name):#x}" for each in fields(policy.mitigations)
        }
    if not policy.minimum_tcb_of:
        del form["minimum_tcb_of"]
    if policy_of_document(form) != policy:
        raise ValueError("this policy cannot be written: it leaves something open without a name or a reason")
    return form


def policy_toml(policy: Policy, *, about: tuple[str, ...] = ()) -> str:
    """Return the policy as TOML that `parse_policy` reads back, with a comment on each field.

    Args:
        policy: What to write.
        about: Lines to begin with, as comments.

    Raises:
        ValueError: As `document_of`.
    """
    lines = [f"# {line}" for line in about]
    for key, value in document_of(policy).items():
        lines += ["", f"# {MEANINGS[key]}", f"{key} = {_value(value)}"]
    return "\n".join(lines).lstrip("\n") + "\n"


def _names(demand: BitDemand, bits: Mapping[str, int]) -> dict[str, Json]:
    return {
        each.name: [name for name, bit in bits.items() if getattr(demand, each.name) >> bit & 1]
        for each in fields(demand)
    }


def _levels(required: RequiredLevels) -> Json:
    if not required.levels:
        return {"unchecked": required.others.reason, "at_rest": required.at_rest}
    said: dict[str, Json] = {"levels": list(map(str, required.levels)), "at_rest": required.at_rest}
    if required.others != Policy.builtin().require_levels.others:
        said["reason"] = required.others.reason
    return said


def _value(value: Json) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, Mapping):
        return f"{{ {', '.join(_members(value))} }}" if value else "{}"
    return _list([_value(member) for member in value])


def _members(value: Mapping[str, Json]) -> Iterator[str]:
    for key, member in value.items():
        yield f"{key} = {_value(member)}"


def _list(members: list[str]) -> str:
    line = f"[{', '.join(members)}]"
    if len(line) <= _LINE_CHARACTERS or len(members) == 1:
        return line
    return "[\n" + "".join(f"  {member},\n" for member in members) + "]"
