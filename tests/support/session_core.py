"""A session without a guest around it, brought as far as a test wants it."""

from __future__ import annotations

from datetime import datetime
from functools import cache

from tests.support.manifests import AT, GUEST_SPKI_SHA256, REPORT_ID, World

from twocvm_guest.session.intake import Offer
from twocvm_guest.session.session import Session, log_of_lock
from twocvm_verifier import framing
from twocvm_verifier.logevents import platform_event
from twocvm_verifier.manifest.roster import Consents, verify_consents
from twocvm_verifier.receipt import SealedOutput

DEADLINE_SECONDS = 3600.0


@cache
def consents(world: World) -> Consents:
    """Return the consents that a world's sessions are locked with; the same each time, signatures included."""
    return verify_consents(world.consents(), world.manifest)


def locked(world: World) -> Session:
    """Return a session that is locked at the monotonic time 0."""
    log = log_of_lock(
        report_id=REPORT_ID,
        platform=platform_event(platform="simulated", missing=()),
        manifest=world.manifest,
        consents=consents(world),
    )
    return Session(
        manifest=world.manifest,
        report_id=REPORT_ID,
        guest_spki_sha256=GUEST_SPKI_SHA256,
        log=log,
        locked_seconds=0.0,
    )


def collecting(world: World) -> Session:
    """Return a session whose roster is complete."""
    session = locked(world)
    for name in world.names:
        session.join(world.go(name), caller=name)
    return session


def running(world: World) -> Session:
    """Return a session in which everything is admitted."""
    session = collecting(world)
    for offer, owner in offers(world):
        session.begin_item(offer, caller=owner)
        session.admit_item(offer.name)
    return session


def completed(world: World) -> Session:
    """Return a session whose outputs are sealed."""
    session = running(world)
    session.ran()
    session.complete(sealed(world))
    return session


def offers(world: World) -> list[tuple[Offer, str]]:
    """Return what owners announce of all of their items, each with its owner."""
    data = [(data_offer(world, item.name), item.owner) for item in world.manifest.data]
    return data + [(component_offer(world, part.name), part.owner) for part in world.manifest.components]


def data_offer(world: World, name: str, **changes: object) -> Offer:
    """Return what an item's owner announces of it, or something else."""
    content = world.content[name]
    fields = {"size_bytes": len(content), "sha256": framing.sha256(content), "salt": world.salt[name], **changes}
    return Offer(name=name, **fields)  # type: ignore[arg-type]


def component_offer(world: World, name: str, **changes: object) -> Offer:
    """Return what a component's owner announces of it, or something else."""
    fields = {"size_bytes": 9, "sha256": world.manifest.component(name).sha256, "salt": None, **changes}
    return Offer(name=name, **fields)  # type: ignore[arg-type]


def sealed(world: World) -> dict[str, SealedOutput]:
    """Return an output of 5 bytes under each name that the manifest has."""
    return {output.name: SealedOutput(sha256=bytes(32), size_bytes=5) for output in world.manifest.outputs}


def advance(session: Session, seconds: float, *, at: datetime = AT) -> None:
    """Let a session see a time."""
    session.advance(monotonic_seconds=seconds, at=at)
