"""What admission would say, in the words of the component's author: every difference, by name, not only the first.

The component is read by a throw-away worker here too. The description that comes back is text of a stranger's, held to
the strict form of all JSON from outside, and is for showing; admission itself never rests on it.

>>> described = {"imports": {"wasi:cli/exit@0.2.0": {}}, "exports": {}}
>>> differences(described, imports=(), exports=("run",), entry="run")[0].detail
"imports 'wasi:cli/exit@0.2.0', which the manifest does not list"
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from twocvm_verifier import strictjson
from twocvm_verifier.manifest import Profile
from twocvm_verifier.manifest.profiles import allows

from .gate import refusal_of, refuse_by_its_looks, work_on
from .isolation import IsolationReport
from .items import Item, memory_file
from .live import Live
from .messages import Job, Outcome, Work

MAX_DESCRIPTION_BYTES: Final = 1 << 20

# `imports` and `exports`: each name with its members and their types, in the words of WIT.
Description: TypeAlias = Mapping[str, Mapping[str, Mapping[str, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing in which a component is not what a manifest says.

    Attributes:
        code: What admission would refuse it with.
        name: Of the import or export that differs.
        detail: What differs.
    """

    code: str
    name: str
    detail: str


def inspect(item: Item, *, isolation: IsolationReport) -> Description:
    """Return what a component imports and exports.

    Raises:
        ComponentError: It is no component, or takes too much to read.
        MalformedError: Likewise; or its names have characters that no manifest can have.
    """
    refuse_by_its_looks(item)
    result = memory_file("description")
    try:
        job = Job(work=Work.INSPECT, component=item.fd, result=result)
        outcome = work_on(job, item.name, live=Live(), isolation=isolation)
        if outcome is not Outcome.DONE:
            raise refusal_of(outcome, item.name)
        raw = os.pread(result, MAX_DESCRIPTION_BYTES + 1, 0)
    finally:
        os.close(result)
    parsed = strictjson.parse(raw, document="component", max_bytes=MAX_DESCRIPTION_BYTES)
    return cast(Description, parsed)


def profile_of(description: Description) -> Profile | None:
    """Return the narrowest profile that allows all of a component's imports; None where none does."""
    for profile in (Profile.PURE, Profile.FILES):
        if all(allows(profile, name) for name in description["imports"]):
            return profile
    return None


def differences(
    description: Description, *, imports: tuple[str, ...], exports: tuple[str, ...], entry: str
) -> tuple[Difference, ...]:
    """Return every name that only the component has or only the manifest; types are admission's to compare."""
    found = []
    for code, word, listed in (("COMPONENT_IMPORTS", "imports", imports), ("COMPONENT_EXPORTS", "exports", exports)):
        own = description[word]
        found += [
            Difference(code=code, name=name, detail=f"{word} {name!r}, which the manifest does not list")
            for name in sorted(own.keys() - set(listed))
        ]
        found += [
            Difference(code=code, name=name, detail=f"{word} no {name!r}, which the manifest lists")
            for name in sorted(set(listed) - own.keys())
        ]
    if entry and entry not in description["exports"]:
        found.append(Difference(code="COMPONENT_ENTRY", name=entry, detail=f"has no entry {entry!r}"))
    return tuple(found)
