"""What a guest would say of a component, with everything that its author can change about it.

Admission itself decides, by the very code and in the very worker that a guest has; what is added here is every
difference instead of the first, and a sentence for each.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from twocvm_guest.local.draft import Built, complete
from twocvm_guest.runtime.inspection import Description, differences, inspect, profile_of
from twocvm_guest.runtime.isolation import IsolationReport
from twocvm_guest.runtime.items import Item
from twocvm_guest.runtime.supervisor import Runtime
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.errors import ComponentError, MalformedError
from twocvm_verifier.manifest import Component, Manifest, Profile
from twocvm_verifier.manifest.profiles import allows, is_run_interface
from twocvm_verifier.strictjson import Json

from .advice import advice

_ALONE: Final[Json] = {
    "components": [{"name": "it", "limits": {"memory_bytes": 1 << 26, "wall_seconds": 1, "output_bytes": 1}}],
    "outputs": [{"name": "out", "from": "component:it.out", "max_bytes": 1}],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One reason for which a guest would not admit a component.

    Attributes:
        code: Of the code table.
        detail: What is wrong, with the name of the import or export.
        advice: What to change; empty where the code's meaning says it.
    """

    code: str
    detail: str
    advice: str


def judge(item: Item, entry: Component, manifest: Manifest, *, isolation: IsolationReport) -> tuple[Refusal, ...]:
    """Return every reason against a component under a manifest; none means that a guest admits it.

    Args:
        item: The file.
        entry: What it is in the manifest.
        manifest: The manifest.
        isolation: What the workers that look at it must have.

    Raises:
        UnsupportedError: The runtime has not got what the manifest asks for.
    """
    found: list[Refusal] = []
    if item.sha256 != entry.sha256:
        found.append(_refusal("COMPONENT_DIGEST", f"has SHA-256 {item.sha256.hex()}, not {entry.sha256.hex()}"))
    try:
        description = inspect(item, isolation=isolation)
    except (ComponentError, MalformedError) as error:
        return (*found, _refusal(error.code, error.detail))
    named = differences(description, imports=entry.imports, exports=entry.exports, entry=entry.entry)
    found += (_refusal(each.code, each.detail, each.name) for each in named)
    return tuple(found) or _admission(manifest, entry, item, isolation)


def judge_alone(item: Item, *, isolation: IsolationReport) -> tuple[Refusal, ...]:
    """Return every reason for which no guest would admit a component, whatever the manifest says.

    A component that other components serve or call is judged with its manifest, which says by whom.
    """
    try:
        description = inspect(item, isolation=isolation)
    except (ComponentError, MalformedError) as error:
        return (_refusal(error.code, error.detail),)
    found = tuple(_unallowed(description))
    if found or profile_of(description) is Profile.PURE:
        return found
    built = {"it": Built(sha256=item.sha256, description=description)}
    manifest = complete(_ALONE, built, at=SystemClock().now(), randomness=secrets.token_bytes)
    return _admission(manifest, manifest.component("it"), item, isolation)


def _unallowed(description: Description) -> list[Refusal]:
    found = [
        _refusal("COMPONENT_PROFILE", f"imports {name!r}, which no profile allows", name)
        for name in sorted(description["imports"])
        if not allows(Profile.FILES, name)
    ]
    if description["imports"] and not any(map(is_run_interface, description["exports"])):
        found.append(_refusal("COMPONENT_ENTRY", "exports no wasi:cli/run, so nothing can be called"))
    return found


def _admission(manifest: Manifest, entry: Component, item: Item, isolation: IsolationReport) -> tuple[Refusal, ...]:
    runtime = Runtime(manifest, isolation=isolation)
    try:
        runtime.admit(entry, item)
    except (ComponentError, MalformedError) as error:
        return (_refusal(error.code, error.row.meaning),)
    finally:
        runtime.wipe()
    return ()


def _refusal(code: str, detail: str, name: str = "") -> Refusal:
    return Refusal(code=code, detail=detail, advice=advice(code, name))
