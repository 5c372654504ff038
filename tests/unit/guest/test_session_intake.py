"""What may arrive: the owner's item, once at a time, as it was committed to."""

from __future__ import annotations

import pytest
from tests.support.manifests import ITEM_MAX_BYTES, World
from tests.support.session_core import collecting, component_offer, data_offer, locked

from twocvm_guest.session.intake import MAX_COMPONENT_BYTES, Intake, Offer
from twocvm_guest.session.machine import State
from twocvm_verifier.errors import MalformedError, ReleaseError

WORLD = World()
OWNER, OTHER, OWNER_OF_CODE = "hospital-a", "hospital-b", "analytics"


@pytest.mark.parametrize(
    ("offer", "caller", "code"),
    [
        (data_offer(WORLD, "records-a"), OTHER, "NOT_YOURS"),
        (component_offer(WORLD, "step-0"), OWNER, "NOT_YOURS"),
        (Offer(name="secret", size_bytes=1, sha256=bytes(32), salt=None), OWNER, "UNKNOWN_NAME"),
        (Offer(name="..", size_bytes=1, sha256=bytes(32), salt=None), OWNER, "UNKNOWN_NAME"),
        (data_offer(WORLD, "records-a", size_bytes=ITEM_MAX_BYTES + 1), OWNER, "ITEM_TOO_LARGE"),
        (component_offer(WORLD, "step-0", size_bytes=MAX_COMPONENT_BYTES + 1), OWNER_OF_CODE, "ITEM_TOO_LARGE"),
        (data_offer(WORLD, "records-a", sha256=bytes(32)), OWNER, "ITEM_COMMITMENT_MISMATCH"),
        (data_offer(WORLD, "records-a", salt=bytes(32)), OWNER, "ITEM_COMMITMENT_MISMATCH"),
        (data_offer(WORLD, "records-a", size_bytes=1), OWNER, "ITEM_COMMITMENT_MISMATCH"),
        (component_offer(WORLD, "step-0", sha256=bytes(32)), OWNER_OF_CODE, "ITEM_COMMITMENT_MISMATCH"),
    ],
)
def test_wrong_offer_is_refused_before_its_first_byte(offer: Offer, caller: str, code: str) -> None:
    """An upload that is not the item its owner signed for is refused by what it says of itself, and leaves nothing."""
    session = collecting(WORLD)
    with pytest.raises(ReleaseError) as refused:
        session.begin_item(offer, caller=caller)
    assert refused.value.code == code
    session.begin_item(data_offer(WORLD, "records-a"), caller=OWNER)


@pytest.mark.parametrize(
    ("offer", "caller"),
    [
        (data_offer(WORLD, "records-a", salt=None), OWNER),
        (component_offer(WORLD, "step-0", salt=bytes(32)), OWNER_OF_CODE),
    ],
)
def test_salt_belongs_to_data_and_to_nothing_else(offer: Offer, caller: str) -> None:
    """Data without a salt and a component with one are refused as requests of no form."""
    with pytest.raises(MalformedError) as refused:
        collecting(WORLD).begin_item(offer, caller=caller)
    assert refused.value.code == "MALFORMED_REQUEST"


def test_item_is_on_its_way_once() -> None:
    """A second upload of the same item is refused while the first goes on, and taken once that was broken off."""
    session = collecting(WORLD)
    offer = data_offer(WORLD, "records-a")
    session.begin_item(offer, caller=OWNER)
    with pytest.raises(ReleaseError) as refused:
        session.begin_item(offer, caller=OWNER)
    assert refused.value.code == "ITEM_IN_TRANSIT"
    session.abandon_item("records-a")
    session.begin_item(offer, caller=OWNER)


def test_admitted_item_is_never_taken_again() -> None:
    """What is admitted stays, also where its own upload ends afterwards, and cannot be sent again."""
    session = collecting(WORLD)
    offer = data_offer(WORLD, "records-a")
    session.begin_item(offer, caller=OWNER)
    session.admit_item("records-a")
    session.abandon_item("records-a")
    with pytest.raises(ReleaseError) as refused:
        session.begin_item(offer, caller=OWNER)
    assert refused.value.code == "ITEM_ADMITTED"


def test_upload_that_never_began_is_abandoned_without_a_word() -> None:
    """An upload that ends before the roster, or twice, changes nothing."""
    early, session = locked(WORLD), collecting(WORLD)
    for each in (early, session):
        each.abandon_item("records-a")
        each.abandon_item("records-a")
    assert early.state is State.LOCKED
    session.begin_item(data_offer(WORLD, "records-a"), caller=OWNER)


def test_manifest_commitment_reaches_the_upload() -> None:
    """Where the manifest commits to an item, only that content is taken, whatever a go could say."""
    plain = World()

    def commit(document: dict[str, object]) -> None:
        data = document["data"]
        assert isinstance(data, list)
        data[0]["commitment"] = plain.commitment(data[0]["name"]).hex()

    world = World(edit=commit)
    session = collecting(world)
    with pytest.raises(ReleaseError) as refused:
        session.begin_item(data_offer(world, "records-a", sha256=bytes(32)), caller=OWNER)
    assert refused.value.code == "ITEM_COMMITMENT_MISMATCH"
    session.begin_item(data_offer(world, "records-a"), caller=OWNER)


def test_nothing_is_admitted_that_was_not_begun() -> None:
    """An admission without an upload is our own mistake and not a refusal."""
    commitments = {name: bytes(32) for name in WORLD.content}
    intake = Intake(WORLD.manifest, commitments=commitments)
    with pytest.raises(RuntimeError):
        intake.admit("records-a")
    assert not intake.complete


def test_intake_wants_a_commitment_for_every_data_item() -> None:
    """An intake that knows no commitment for an item is our own mistake, and none is made."""
    with pytest.raises(ValueError, match="commitments"):
        Intake(WORLD.manifest, commitments={})
