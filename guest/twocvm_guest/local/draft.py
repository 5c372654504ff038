"""From a manifest that lacks what only a session needs to one that is valid, for a local run.

Whatever its author wrote stands. Filled in are owners and recipients, keys that nobody has, a platform that no guest
is, dates around now, and for each component without a digest what its file says: digest, profile, imports, exports and
entry. Limits and sizes are never filled in, since trying them is what the run is for; nothing is added to a whole one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from twocvm_guest.runtime.inspection import Description
from twocvm_verifier.clock import format_time
from twocvm_verifier.manifest import Manifest, Profile
from twocvm_verifier.manifest.author import Randomness, compose
from twocvm_verifier.manifest.profiles import is_run_interface
from twocvm_verifier.strictjson import Json

ME: Final = "me"
_ROOM: Final = timedelta(hours=1)
_DEADLINE_SECONDS: Final = 604800


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A component as its file is.

    Attributes:
        sha256: Of the file (32 bytes).
        description: What it imports and exports.
    """

    sha256: bytes
    description: Description


def complete(document: Json, components: Mapping[str, Built], *, at: datetime, randomness: Randomness) -> Manifest:
    """Return the manifest that a document comes to on this machine.

    Args:
        document: A whole manifest, or less.
        components: By name, each that has a file.
        at: About now.
        randomness: As of `compose`.

    Raises:
        ManifestError: Even so it is not valid; pointers are those of the document.
        UnsupportedError: As `compose`.
    """
    if not isinstance(document, dict):
        return compose(document, randomness=randomness)
    whole: dict[str, Any] = {
        "version": 1,
        "name": "local",
        "purpose": "A local run",
        "not_before": format_time(at - _ROOM),
        "not_after": format_time(at + _ROOM),
        "participants": [{"name": ME}],
        "platform": {
            "simulated": True,
            "products": ["Simulated"],
            "measurements": [hashlib.sha384(b"local").hexdigest()],
            "operator": "external",
        },
        "rules": {},
        **document,
    }
    _fill(whole, "participants", _keys)
    names = [each["name"] for each in _tables(whole, "participants") if isinstance(each.get("name"), str)]
    owner = {"owner": min(names, default=ME)}
    _fill(whole, "components", lambda each: owner | _facts(each, components))
    _fill(whole, "data", lambda _: owner | {"media_type": "application/octet-stream"})
    _fill(whole, "filters", lambda _: owner)
    _fill(whole, "outputs", lambda _: {"recipients": names})
    if isinstance(whole["rules"], dict):
        whole["rules"] = {"deadline_seconds": _DEADLINE_SECONDS} | whole["rules"]
    return compose(whole, randomness=randomness)


def _tables(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the tables of an array; what is none is left for the manifest's own rules to refuse."""
    members = document.get(name)
    return [each for each in members if isinstance(each, dict)] if isinstance(members, list) else []


def _fill(document: dict[str, Any], name: str, missing: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    if isinstance(document.get(name), list):
        document[name] = [missing(each) | each if isinstance(each, dict) else each for each in document[name]]


def _keys(participant: Mapping[str, Any]) -> dict[str, Any]:
    def key(use: str) -> dict[str, str]:
        return {"spki_sha256": hashlib.sha256(f"{use} {participant.get('name')}".encode()).hexdigest()}

    return {"tls": [key("tls")], "consent": key("consent")}


def _facts(component: Mapping[str, Any], components: Mapping[str, Built]) -> dict[str, Any]:
    built = components.get(str(component.get("name")))
    if built is None or "sha256" in component:
        return {}
    description = built.description
    facts = {
        "sha256": built.sha256.hex(),
        "profile": (Profile.FILES if any(map(_is_wasi, description["imports"])) else Profile.PURE).value,
        "imports": list(description["imports"]),
        "exports": list(description["exports"]),
        "entry": next(filter(is_run_interface, description["exports"]), ""),
    }
    return {name: value for name, value in facts.items() if value}


def _is_wasi(name: str) -> bool:
    return name.startswith("wasi:")
