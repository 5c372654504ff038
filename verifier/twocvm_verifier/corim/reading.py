"""A whole CoRIM, as values for one policy, with whatever it names that no policy of ours judges.

A CoRIM's triples are alternatives, and a policy's fields hold all together. So triples are joined only where that is
the same: where they differ in one field alone, and that one is a list. Of others one would be met by half, and another
by the other half.

Spec: docs/spec/corim.md, 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from twocvm_verifier.errors import MalformedError, UnsupportedError
from twocvm_verifier.policy.reference import parse_values
from twocvm_verifier.strictjson import Json

from .comid import records_of
from .envelope import DOCUMENT, Corim
from .snp import values_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a CoRIM comes to.

    Attributes:
        values: Fields of a policy, as `policy.reference.with_values` takes them.
        document: The same as a policy writes them.
        unread: What it names that is not judged, or not as it is named: each in words, each once.
        not_before: When it begins to count (aware, UTC).
        not_after: When it ends to (aware, UTC).
    """

    values: Mapping[str, Any] = field(repr=False)
    document: Mapping[str, Json]
    unread: tuple[str, ...]
    not_before: datetime
    not_after: datetime


def read_corim(corim: Corim) -> Reading:
    """Return the reference values of a CoRIM.

    Raises:
        MalformedError: What it holds is not as its profile has it, or it names no reference value at all.
        UnsupportedError: Its triples cannot be one policy (CORIM_ALTERNATIVES).
    """
    records, unread = records_of(corim.comids)
    if not records:
        raise MalformedError(DOCUMENT, "triples", "names no reference value")
    alternatives: list[dict[str, Json]] = []
    left = [*corim.unread, *unread]
    for record in records:
        values, more = values_of(record, profile=corim.profile)
        alternatives.append(values)
        left += more
    document = _joined(alternatives)
    return Reading(
        values=parse_values(document),
        document=document,
        unread=tuple(dict.fromkeys(left)),
        not_before=corim.not_before,
        not_after=corim.not_after,
    )


def _joined(alternatives: Sequence[dict[str, Json]]) -> dict[str, Json]:
    first, *others = alternatives
    names = {name for values in alternatives for name in values}
    differing = sorted(name for name in names if any(values.get(name) != first.get(name) for values in others))
    if not differing:
        return first
    (name, *more), lists = differing, [values.get(differing[0]) for values in alternatives]
    if more or not all(isinstance(each, list) for each in lists):
        raise UnsupportedError("CORIM_ALTERNATIVES", f"corim: its triples differ in {', '.join(differing)}")
    members = [member for each in lists if isinstance(each, list) for member in each]
    return {**first, name: list(dict.fromkeys(map(_hashable, members)))}


def _hashable(member: Json) -> Any:  # noqa: ANN401 - hex or a number, as it stands in the list
    return member
