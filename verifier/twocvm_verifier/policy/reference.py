"""Reference values that stand in a document of their own, and a policy that demands them too.

They are written as a policy writes them, in the fields in which a known-good value can stand. Laid on a policy they can
only take away from what it accepts: a list that both have is what stands in both, and bits are added up. So whoever
adds reference values to a policy has a stricter one, with a digest of its own, and anybody can make it again.

Spec: docs/spec/policies.md, 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from twocvm_verifier.errors import MalformedError, TwoCvmError
from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, BitDemand
from twocvm_verifier.unchecked import Unchecked

from .document import policy_of_document
from .explanation import REFERENCE_FIELDS
from .model import Policy
from .pcrs import PcrValues
from .values import Written

DOCUMENT: Final = "reference-values"
# What says how a guest must have been launched or a machine set up is a reference value here, as CoRIM has it.
FIELDS: Final = (*REFERENCE_FIELDS, "products", "guest_policy", "platform_info", "vmpl")
# A MEASUREMENT is accepted that stands in any of these lists, so a list more would accept more.
_OF_MEASUREMENT: Final = frozenset({"measurements", "firmware_measurements", "launches"})
# The one list whose members are all demanded; of any other one member is enough.
_ALL_MUST_HOLD: Final = "closed_advisories"


def parse_values(document: Written) -> Mapping[str, Any]:
    """Return the fields of a policy that reference values decide, by their names.

    Args:
        document: A table of some of `FIELDS`, at least one, each as a policy writes it; none of them unchecked.

    Raises:
        MalformedError: It is another.
    """
    if not isinstance(document, Mapping) or not document:
        raise MalformedError(DOCUMENT, "", "want an object with at least one value")
    if unknown := sorted(document.keys() - set(FIELDS)):
        raise MalformedError(DOCUMENT, "", f"{unknown[0]!r} is no reference value")
    try:
        policy = policy_of_document(document)
    except MalformedError as error:
        raise MalformedError(DOCUMENT, "", error.detail) from error
    fields = {name: getattr(policy, name) for name in document}
    if left := sorted(name for name, value in fields.items() if isinstance(value, Unchecked)):
        raise MalformedError(DOCUMENT, "", f"{left[0]}: a reference value is a value")
    if policy.open_guest_policy or not isinstance(policy.minimum_abi, Unchecked):
        raise MalformedError(DOCUMENT, "", "guest_policy: want required and forbidden bits alone")
    return MappingProxyType(fields)


def with_values(policy: Policy, values: Mapping[str, Any]) -> Policy:
    """Return a policy that demands `values` beside what `policy` demands.

    Raises:
        TwoCvmError: REFERENCE_VALUES_CONFLICT, where nothing meets both or one minimum would replace another.
    """
    _require_same_lists(policy, values)
    fields = {name: _both(name, getattr(policy, name), value) for name, value in values.items()}
    if "guest_policy" in fields:
        # What is demanded now is no longer left open.
        demanded = fields["guest_policy"].required | fields["guest_policy"].forbidden
        fields["open_guest_policy"] = {
            bit: why for bit, why in policy.open_guest_policy.items() if not demanded >> GUEST_POLICY_BITS[bit] & 1
        }
    return replace(policy, **fields)


def _require_same_lists(policy: Policy, values: Mapping[str, Any]) -> None:
    mine = {name for name in _OF_MEASUREMENT if not isinstance(getattr(policy, name), Unchecked)}
    theirs = _OF_MEASUREMENT & values.keys()
    if mine and theirs and mine != theirs:
        raise _conflict(", ".join(sorted(theirs)), f"the policy names MEASUREMENT in {', '.join(sorted(mine))} instead")


def _both(name: str, mine: Any, theirs: Any) -> Any:  # noqa: ANN401 - each field has a type of its own
    if isinstance(mine, Unchecked) or mine in (theirs, {}):
        return theirs
    if isinstance(mine, BitDemand):
        joined = BitDemand(required=mine.required | theirs.required, forbidden=mine.forbidden | theirs.forbidden)
        if joined.required & joined.forbidden:
            raise _conflict(name, "a bit would have to be set and clear")
        return joined
    if name == "pcrs":
        return {**mine, **theirs, **{bank: _both_banks(mine[bank], theirs[bank]) for bank in mine.keys() & theirs}}
    if name == _ALL_MUST_HOLD:
        return tuple(dict.fromkeys((*mine, *theirs)))
    if not isinstance(mine, tuple):
        raise _conflict(name, "the policy has minimums of its own")
    return _common(name, mine, theirs)


def _both_banks(mine: PcrValues, theirs: PcrValues) -> PcrValues:
    shared = {
        number: _common(f"pcrs, {number}", mine.named[number], theirs.named[number])
        for number in mine.named.keys() & theirs.named
    }
    return PcrValues(named={**mine.named, **theirs.named, **shared}, others=mine.others)


def _common(name: str, mine: tuple[Any, ...], theirs: tuple[Any, ...]) -> tuple[Any, ...]:
    common = tuple(value for value in mine if value in theirs)
    if not common:
        raise _conflict(name, "no value stands in both")
    return common


def _conflict(name: str, why: str) -> TwoCvmError:
    return TwoCvmError("REFERENCE_VALUES_CONFLICT", f"{name}: {why}")
