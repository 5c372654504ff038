"""`require_host_data`: a guest that was not launched for this manifest is refused, by certificate and by channel."""

from pathlib import Path

import pytest
from tests.support.attested_guest import Scene, policy
from tests.support.guest import LiveGuest
from tests.support.hostile_guest import Forgery, HostileGuest
from tests.support.manifests import World
from tests.support.sides import Side

from twocvm_verifier.errors import HandshakeError, TwoCvmError

DEMANDED = policy(require_host_data=True)


def test_a_guest_that_is_born_locked_is_accepted(tmp_path: Path) -> None:
    """HOST_DATA is the manifest's hash from launch on, and every command of a participant holds the guest to it."""
    world = World()
    with LiveGuest(world, host_data=world.manifest.hash) as guest:
        side = Side(guest, "hospital-a", tmp_path)
        side.lock(policy=DEMANDED)
        with side.connect(policy=DEMANDED) as session:
            session.join(side.files)
            assert session.proof.verified.report.host_data == world.manifest.hash


def test_a_guest_that_is_not_is_refused_in_the_handshake(tmp_path: Path) -> None:
    """A guest with HOST_DATA zero is refused by its certificate, locked or not, and never sees who asked."""
    with LiveGuest(World()) as guest:
        side = Side(guest, "hospital-a", tmp_path)
        for act in (side.lock, side.connect):
            with pytest.raises(HandshakeError) as refused:
                act(policy=DEMANDED)
            assert (refused.value.code, refused.value.exit_status) == ("HOST_DATA_MISMATCH", 11)
            guest.lock() if guest.state == "unlocked" else None
    scene = Scene()
    with HostileGuest(Forgery(scene=scene).context()) as hostile:
        with pytest.raises(HandshakeError):
            scene.connect(hostile.url, expectation=scene.expectation(policy=DEMANDED))
        assert hostile.shown == []


def test_the_channel_is_held_to_it_as_well() -> None:
    """A guest whose certificate was judged without the demand is refused at the next proof under it."""
    scene = Scene()
    with scene.serve() as guest, scene.connect(guest.url) as connection:
        connection._expectation = scene.expectation(policy=DEMANDED)
        with pytest.raises(TwoCvmError) as refused:
            connection.reprove()
        assert refused.value.code == "HOST_DATA_MISMATCH"
        assert connection.closed


def test_a_guest_born_for_another_manifest(tmp_path: Path) -> None:
    """HOST_DATA of another manifest is refused whether or not the policy asks."""
    with LiveGuest(World(), host_data=b"\x07" * 32) as guest, pytest.raises(HandshakeError) as refused:
        Side(guest, "hospital-a", tmp_path).lock()
    assert refused.value.code == "HOST_DATA_MISMATCH"
