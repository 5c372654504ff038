"""What the three agree on before there is a guest: one manifest, read by each of them for itself, and signed.

Whoever writes the manifest proposes. Each participant parses its own copy, which checks every rule of the format, and
asks it: are my keys in it, are the components the files that I have seen, is the guest the one I know, and whom can my
data reach? Only then it signs.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from string import Template
from typing import Final

from twocvm_sdk.identity import Identity
from twocvm_verifier.clock import format_time
from twocvm_verifier.errors import BindingError
from twocvm_verifier.manifest import Manifest, parse_manifest
from twocvm_verifier.manifest.author import from_toml
from twocvm_verifier.manifest.graph import Flow
from twocvm_verifier.manifest.statements import Statement, sign_consent

# Room for clocks that differ a little, and for a look at the result afterwards.
_VALID_BEFORE: Final = timedelta(minutes=5)
_VALID_AFTER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """One item of data, and what it can reach: by the manifest's graph, whatever the components do.

    Attributes:
        item: The item's name.
        owner: Who releases it.
        outputs: For each output that it can reach, its recipients.
    """

    item: str
    owner: str
    outputs: Mapping[str, tuple[str, ...]]


def write_manifest(demo: Path, identities: Mapping[str, Identity], *, measurement: bytes, at: datetime) -> Manifest:
    """Return the demo's manifest, with everything filled in that its author could not know.

    Args:
        demo: The demo's folder.
        identities: All participants, by name.
        measurement: Of the guest software that is agreed on (48 bytes).
        at: About when it is used.
    """
    values = {
        "measurement": measurement.hex(),
        "not_before": format_time(at - _VALID_BEFORE),
        "not_after": format_time(at + _VALID_AFTER),
    }
    for name, identity in identities.items():
        word = name.replace("-", "_")
        values[f"{word}_tls"] = identity.tls_spki_sha256.hex()
        values[f"{word}_consent"] = identity.consent_spki_sha256.hex()
    for component in ("join", "regression"):
        values[f"{component}_sha256"] = _component_sha256(demo, component).hex()
    authored = (demo / "manifest.toml").read_text(encoding="utf-8")
    return from_toml(Template(authored).substitute(values), randomness=secrets.token_bytes)


def consent(raw: bytes, identity: Identity, *, demo: Path, measurement: bytes) -> Statement:
    """Check a proposed manifest as one participant does, and sign the consent to it.

    Args:
        raw: The proposal.
        identity: Who checks and signs.
        demo: Where the components are that this participant has seen.
        measurement: Of the guest software that it knows (48 bytes).

    Raises:
        TwoCvmError: The manifest is not valid, or not about these keys, components and guests.
    """
    manifest = parse_manifest(raw)
    identity.require_entry(manifest)
    for component in manifest.components:
        if component.sha256 != _component_sha256(demo, component.name):
            raise BindingError("MANIFEST_DIFFERS", f"component {component.name!r}: is not the file that was looked at")
    if manifest.platform.measurements != (measurement,):
        raise BindingError("MANIFEST_DIFFERS", "platform: accepts other guests than the one that is known")
    return sign_consent(identity.consent_key, manifest_hash=manifest.hash, participant=identity.name)


def reaches(manifest: Manifest) -> Iterator[Reach]:
    """Yield for each item of data whom it can reach."""
    flow = Flow(manifest)
    for item in manifest.data:
        outputs = {output.name: output.recipients for output in flow.outputs_reached_by(item.name)}
        yield Reach(item=item.name, owner=item.owner, outputs=outputs)


def _component_sha256(demo: Path, name: str) -> bytes:
    return hashlib.sha256((demo / "components" / f"{name}.wasm").read_bytes()).digest()
