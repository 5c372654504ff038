"""What happens before there is a guest: keys, a manifest that all three check, and their consents.

Everything is written to one folder, in the form that the commands of `twocvm` take, so that whoever keeps the folder
can do with it by hand what the demo does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twocvm_sdk import Identity
from twocvm_verifier import Policy, parse_policy
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.statements import Statement

from .agreement import Reach, consent, reaches, write_manifest
from .cast import CAST, STRANGER
from .files import demo_folder
from .show import Show


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What there is before there is a guest.

    Attributes:
        folder: Where everything lies.
        demo: The demo's own files.
        identities: The keys of the participants, by name.
        stranger: Keys that the manifest does not know.
        manifest: What all participants signed.
        consents: Their signatures.
        policy: What each holds the guest to.
    """

    folder: Path
    demo: Path
    identities: Mapping[str, Identity]
    stranger: Identity
    manifest: Manifest
    consents: tuple[Statement, ...]
    policy: Policy

    @property
    def manifest_file(self) -> Path:
        """The canonical manifest, as a guest is launched for it."""
        return self.folder / "manifest.json"

    @property
    def root_file(self) -> Path:
        """Where the guest writes the root of its simulated platform."""
        return self.folder / "simulated-root.pem"


def prepare(folder: Path, show: Show, *, measurement: bytes) -> Prepared:
    """Make keys, write the manifest, and let every participant check and sign it.

    Args:
        folder: Empty; everything is written there.
        show: Told what happens.
        measurement: Of the guest software that the three agree on (48 bytes).

    Raises:
        TwoCvmError: A participant does not agree to the manifest.
    """
    demo = demo_folder()
    with show.phase("three organisations make their keys"):
        identities = {role.name: _new_identity(folder, role.name, show) for role in CAST}
        stranger = Identity.new(folder / "identities" / STRANGER, STRANGER)
    with show.phase("all three check one manifest, and sign it"):
        manifest = write_manifest(demo, identities, measurement=measurement, at=SystemClock().now())
        show.line(f"{manifest.name}, {manifest.hash.hex()}")
        show.line(f"accepts only guests with measurement {measurement.hex()[:32]}...")
        reached = tuple(reaches(manifest))
        consents = []
        for name, identity in identities.items():
            consents.append(consent(manifest.raw, identity, demo=demo, measurement=measurement))
            show.says(name, f"signs: {_reason(name, reached)}")
    policy = (demo / "policy.toml").read_text(encoding="utf-8")
    prepared = Prepared(
        folder=folder,
        demo=demo,
        identities=identities,
        stranger=stranger,
        manifest=manifest,
        consents=tuple(consents),
        policy=parse_policy(policy),
    )
    _write(prepared, policy)
    return prepared


def _new_identity(folder: Path, name: str, show: Show) -> Identity:
    identity = Identity.new(folder / "identities" / name, name)
    show.says(name, f"connects with key {identity.tls_spki_sha256.hex()[:16]}..., signs with another")
    return identity


def _reason(name: str, reached: tuple[Reach, ...]) -> str:
    own = [reach for reach in reached if reach.owner == name]
    if not own:
        return "the components are mine, and see nothing but their ports"
    return "; ".join(f"{reach.item} can reach {' and '.join(reach.outputs)}, nothing else" for reach in own)


def _write(prepared: Prepared, policy: str) -> None:
    prepared.manifest_file.write_bytes(prepared.manifest.raw)
    (prepared.folder / "policy.toml").write_text(policy, encoding="utf-8")
    consents = prepared.folder / "consents"
    consents.mkdir()
    for name, statement in zip(prepared.identities, prepared.consents, strict=True):
        (consents / f"{name}.json").write_bytes(statement.to_bytes())
