"""The SDK against a whole guest over loopback: lock, join, roster, release, outputs, receipts, withdrawal."""

import stat
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from tests.support.attested_guest import policy
from tests.support.guest import LiveGuest, ScriptedWorkers, SteeredClock
from tests.support.manifests import AT, NOT_AFTER, World, set_at
from tests.support.sdk import identity_of
from tests.support.sides import Side, release_all, sides, together
from tests.support.tampering import LyingGuest

from twocvm_guest import upload
from twocvm_guest.held import open_held
from twocvm_sdk import Identity
from twocvm_sdk.ledger import Ledger
from twocvm_verifier import framing
from twocvm_verifier.errors import FetchError, HandshakeError, ReleaseError, TwoCvmError
from twocvm_verifier.receipt_file import verify_receipt_file
from twocvm_verifier.snp.roots import simulated_roots
from twocvm_verifier.verifier import SnpVerifier


def _ledger(side: Side) -> Ledger:
    manifest_hash = side.world.manifest.hash
    return Ledger(folder=side.identity.ledger_folder, manifest_hash=manifest_hash, participant=side.name)


def test_everybody_gets_what_the_manifest_says(tmp_path: Path) -> None:
    """Three participants lock, join and release, and each gets its own outputs with a receipt that verifies."""
    with LiveGuest(World()) as guest:
        everybody = release_all(guest, tmp_path)
        for name, outputs in {
            "analytics": ["model"],
            "hospital-a": ["evaluation"],
            "hospital-b": ["evaluation"],
        }.items():
            with everybody[name].connect() as session:
                for output in outputs:
                    session.output(output).save(tmp_path / name / output)
                    session.ack(output)
                assert session.receipt().verify().body.participant == name
                assert session.receipt().outcome == "completed"
            assert (tmp_path / name / output).read_bytes() == output[:5].encode()
        assert guest.workers.seen == guest.world.content
        assert guest.ended()


def test_a_receipt_file_can_be_judged_by_anybody_later(tmp_path: Path) -> None:
    """The saved receipt needs only the manifest, the policy and the trust anchors, long after the guest is gone."""
    with LiveGuest(World()) as guest:
        everybody = release_all(guest, tmp_path)
        with everybody["hospital-a"].connect() as session:
            session.receipt().save(tmp_path / "receipt.json")
        roots = simulated_roots(guest.platform.root_pem)
    verified = verify_receipt_file(
        (tmp_path / "receipt.json").read_bytes(),
        manifest=guest.world.manifest.hash,
        policy=policy(),
        verifier=SnpVerifier(roots=roots),
        at=AT + timedelta(days=365),
    )
    assert verified.body.participant == "hospital-a"
    assert stat.S_IMODE((tmp_path / "receipt.json").stat().st_mode) == 0o600


def test_twenty_participants_with_forty_items(tmp_path: Path) -> None:
    """A session of 20 participants and 40 items runs to its end."""
    with LiveGuest(World(participants=20, items=40, components=5)) as guest:
        everybody = release_all(guest, tmp_path)
        with everybody["analytics"].connect() as session:
            assert session.receipt().outcome == "completed"
            assert len(session.log().admitted) == 45


@pytest.mark.parametrize("size", [0, 1, 999_999])
def test_items_of_any_size_arrive_as_they_are(tmp_path: Path, size: int) -> None:
    """An empty item is an item, and a long one arrives byte for byte."""
    content = {"records-a": bytes(index % 251 for index in range(size))}
    with LiveGuest(World(contents=content)) as guest:
        everybody = release_all(guest, tmp_path)
        with everybody["hospital-a"].connect() as session:
            assert session.receipt().outcome == "completed"
        assert guest.workers.seen["records-a"] == content["records-a"]


def test_progress_is_told_for_every_item(tmp_path: Path) -> None:
    """The caller is told of each item from nothing to all."""
    told: list[tuple[str, int, int]] = []
    with LiveGuest(World()) as guest:
        everybody = sides(guest, tmp_path)
        everybody["analytics"].lock()
        with together(everybody["hospital-a"].release, everybody["hospital-b"].release):
            everybody["analytics"].release(progress=lambda *step: told.append(step))
    assert [step for step in told if step[1] == step[2]] == [("step-0", 6, 6), ("step-1", 6, 6)]


def test_items_that_the_machine_brought_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `held` names is not sent; progress is told; what the machine has not is refused, and may then be sent."""
    brought = tmp_path / "payload"
    brought.mkdir()
    told: list[tuple[str, int, int]] = []
    with LiveGuest(World()) as guest:
        (brought / framing.sha256(b"step-0").hex()).write_bytes(b"step-0")
        monkeypatch.setattr(upload, "open_held", partial(open_held, folder=brought))
        everybody = sides(guest, tmp_path)
        owner = everybody["analytics"]
        owner.lock()
        with together(everybody["hospital-a"].release, everybody["hospital-b"].release):
            with pytest.raises(ValueError, match="records-a"):
                owner.release(held={"records-a"})
            with pytest.raises(ReleaseError) as refused:
                owner.release(held=set(owner.files), progress=lambda *step: told.append(step))
            assert refused.value.code == "ITEM_NOT_HELD"
            owner.release()
        assert told[:2] == [("step-0", 0, 6), ("step-0", 6, 6)]
        with owner.connect() as session:
            assert session.receipt().outcome == "completed"


def test_an_item_that_the_manifest_commits_to(tmp_path: Path) -> None:
    """With the salt of the manifest's commitment the item is taken, and without it nothing is signed or recorded."""
    plain = World()

    def edit(document) -> None:
        document["data"][0]["commitment"] = plain.commitment("records-a").hex()

    with LiveGuest(World(edit=edit)) as guest:
        everybody = sides(guest, tmp_path)
        everybody["analytics"].lock()
        with everybody["hospital-a"].connect() as session, pytest.raises(TwoCvmError) as refused:
            session.join(everybody["hospital-a"].files)
        assert refused.value.code == "ITEM_COMMITMENT_MISMATCH"
        assert _ledger(everybody["hospital-a"]).goes() == ()
        with everybody["hospital-a"].connect() as session:
            with pytest.raises(ValueError, match="records-b"):
                session.join(everybody["hospital-a"].files, salts={"records-b": plain.salt["records-b"]})
            session.join(everybody["hospital-a"].files, salts={"records-a": plain.salt["records-a"]})
        # From here on the ledger has the salt.
        with together(*(side.release for side in everybody.values())):
            pass
        with everybody["hospital-a"].connect() as session:
            assert session.receipt().outcome == "completed"


def test_locking_is_for_everybody_and_once(tmp_path: Path) -> None:
    """Each participant may lock, and all but the first find the guest locked to the same manifest."""
    with LiveGuest(World()) as guest:
        proofs = [side.lock() for side in sides(guest, tmp_path).values()]
        assert len({proof.report_id for proof in proofs}) == 1
        assert {proof.log.events for proof in proofs} == {2}


def test_a_guest_before_its_lock_is_said_to_be_so(tmp_path: Path) -> None:
    """Whoever connects before the lock is told that the guest is not locked."""
    with LiveGuest(World()) as guest, pytest.raises(HandshakeError) as refused:
        Side(guest, "hospital-a", tmp_path).connect()
    assert refused.value.code == "NOT_LOCKED"
    assert refused.value.exit_status == 50


def test_a_run_that_fails_gives_a_receipt_and_no_output(tmp_path: Path) -> None:
    """A failed run is a receipt that says so, and no output is asked for."""
    with LiveGuest(World(), workers=ScriptedWorkers(failures={"step-0": "TRAPPED"})) as guest:
        everybody = release_all(guest, tmp_path)
        with everybody["analytics"].connect() as session:
            assert session.receipt().outcome == "failed"
            with pytest.raises(ReleaseError) as refused:
                session.output("model")
    assert refused.value.code == "SESSION_ENDED"


def test_only_ones_own_outputs_can_be_named(tmp_path: Path) -> None:
    """An output of somebody else's is a mistake of the caller, found before anything is asked."""
    with LiveGuest(World()) as guest:
        everybody = release_all(guest, tmp_path)
        with everybody["analytics"].connect() as session, pytest.raises(KeyError):
            session.output("evaluation")


def test_waiting_for_the_others_ends(tmp_path: Path) -> None:
    """Where somebody never joins, the wait ends with its name and nothing was released."""
    with LiveGuest(World()) as guest:
        everybody = sides(guest, tmp_path)
        everybody["hospital-a"].lock()
        with everybody["hospital-a"].connect() as session, pytest.raises(FetchError) as refused:
            session.release(everybody["hospital-a"].files, wait_seconds=0.2)
        assert refused.value.code == "ROSTER_WAIT_ENDED"
        assert "analytics" in refused.value.detail
        with everybody["hospital-a"].connect() as session:
            assert session.log().admitted == frozenset()


def test_waiting_for_the_end_ends(tmp_path: Path) -> None:
    """A receipt that is not there in time is waited for no longer."""
    workers = ScriptedWorkers()
    workers.may_end.clear()
    with LiveGuest(World(), workers=workers) as guest:
        everybody = release_all(guest, tmp_path)
        with everybody["analytics"].connect() as session:
            with pytest.raises(FetchError) as refused:
                session.receipt(wait_seconds=0.2)
            workers.may_end.set()
            assert session.receipt(wait_seconds=20).outcome == "completed"
    assert refused.value.code == "SESSION_GOES_ON"


def test_joining_and_releasing_are_two_steps_if_one_wants(tmp_path: Path) -> None:
    """One process joins, another releases what the first committed to, on the same go."""
    with LiveGuest(World()) as guest:
        everybody = sides(guest, tmp_path)
        everybody["analytics"].lock()
        for side in everybody.values():
            with side.connect() as session:
                assert session.committed() is None
                session.join(side.files)
        for side in everybody.values():
            with side.connect() as session:
                assert session.committed() == side.files
                session.release(session.committed() or {})
        guest.wait_for("completed")
        assert [len(_ledger(side).goes()) for side in everybody.values()] == [1, 1, 1]


def test_a_second_instance_needs_an_explicit_word(tmp_path: Path) -> None:
    """A go for another instance under the same manifest is refused before anything is signed, and `again` allows it."""
    world = World()
    with LiveGuest(world) as first, LiveGuest(world) as second:
        side = Side(first, "hospital-a", tmp_path)
        side.lock()
        with side.connect() as session:
            session.join(side.files)
        other = Side(second, "hospital-a", tmp_path)
        other.lock()
        with other.connect() as session:
            with pytest.raises(ReleaseError) as refused:
                session.join(other.files)
            assert refused.value.code == "GO_ALREADY_GIVEN"
            assert session.log().goes == {}
            session.join(other.files, again=True)
            assert session.log().goes.keys() == {"hospital-a"}
        assert len(_ledger(other).goes()) == 2


def test_what_a_roster_shows_of_an_item_is_new_each_time(tmp_path: Path) -> None:
    """The same file gives another commitment for another instance, so that nobody can guess it or know it again."""
    world, seen = World(), []
    for _ in range(2):
        with LiveGuest(world) as guest:
            side = Side(guest, "hospital-a", tmp_path)
            side.lock()
            with side.connect() as session:
                session.join(side.files, again=True)
                (go,) = session.instance.guest.roster().goes
                seen.append(go.to_json()["items"]["records-a"])
    assert len({*seen, framing.sha256(world.content["records-a"]).hex()}) == 3


def test_a_go_is_on_disk_before_it_is_sent(tmp_path: Path) -> None:
    """When a go reaches the guest, the ledger has it."""
    known: list[int] = []
    with LyingGuest(World()) as guest:
        side = Side(guest, "hospital-a", tmp_path)
        side.lock()
        guest.hooks["/v1/join"] = lambda: known.append(len(_ledger(side).goes()))
        with side.connect() as session:
            session.join(side.files)
    assert known == [1]


def test_a_ledger_that_was_lost_is_noticed(tmp_path: Path) -> None:
    """A guest that has a go of ours which the ledger does not know gets nothing."""
    with LiveGuest(World()) as guest:
        side = Side(guest, "hospital-a", tmp_path)
        side.lock()
        with side.connect() as session:
            session.join(side.files)
            for path in side.identity.ledger_folder.glob("*.json"):
                path.unlink()
            with pytest.raises(TwoCvmError) as refused:
                session.join(side.files)
    assert refused.value.code == "GO_NOT_OURS"


def test_a_file_that_changed_after_the_go_is_not_released(tmp_path: Path) -> None:
    """The file that leaves is the one that was committed to, also for a later process."""
    with LiveGuest(World()) as guest:
        side = Side(guest, "hospital-a", tmp_path)
        side.lock()
        with side.connect() as session:
            session.join(side.files)
            side.files["records-a"].write_bytes(b"changed")
            with pytest.raises(ReleaseError) as refused:
                session.release(side.files)
    assert refused.value.code == "ITEM_CHANGED"


def test_a_file_that_changes_while_it_is_sent_is_not_admitted(tmp_path: Path) -> None:
    """A file that changes under way breaks the upload, and the guest has nothing of it."""
    content = {"records-a": bytes(900_000)}
    with LiveGuest(World(contents=content)) as guest:
        everybody = sides(guest, tmp_path)
        everybody["analytics"].lock()
        side = everybody["hospital-a"]

        def change(name: str, sent: int, total: int) -> None:
            if sent == 0:
                side.files[name].write_bytes(bytes(899_999) + b"!")

        with together(everybody["analytics"].release, everybody["hospital-b"].release):
            with pytest.raises(ReleaseError) as refused:
                side.release(progress=change)
            assert refused.value.code == "ITEM_CHANGED"
            side.files["records-a"].write_bytes(content["records-a"])
            side.release()
        guest.wait_for("completed")


@pytest.mark.parametrize("path", ["/v1/join", "/v1/artifacts/records-a"])
def test_a_lost_answer_is_gone_on_from(tmp_path: Path, path: str) -> None:
    """Where the guest did what was asked and the answer was lost, the same call goes on without a second go."""
    with LyingGuest(World()) as guest:
        everybody = sides(guest, tmp_path)
        side, others = everybody.pop("hospital-a"), everybody.values()
        side.lock()
        for other in others:
            with other.connect() as session:
                session.join(other.files)
        guest.silences.add(path)
        for each in (side, *others):
            each.release()
        guest.wait_for("completed")
        assert guest.count(f"{'POST' if path == '/v1/join' else 'PUT'} {path}") == (3 if path == "/v1/join" else 1)
        assert guest.count("PUT /v1/artifacts/records-a") == 1
        assert len(_ledger(side).goes()) == 1


@pytest.mark.parametrize("moment", ["go", "release"])
def test_nothing_happens_outside_the_manifests_dates(tmp_path: Path, moment: str) -> None:
    """By one's own clock nothing is signed, and nothing released, once the manifest is not in force."""
    with LyingGuest(World()) as guest:
        everybody = sides(guest, tmp_path)
        everybody["analytics"].lock()
        side = everybody["hospital-a"]
        late = NOT_AFTER + timedelta(seconds=1)
        if moment == "go":
            side.clock.at = late
        else:
            guest.hooks["/v1/roster"] = lambda: setattr(side.clock, "at", late)
        with together(everybody["analytics"].release, everybody["hospital-b"].release):
            with pytest.raises(ReleaseError) as refused:
                side.release()
            assert refused.value.code == "OUTSIDE_VALIDITY"
            assert guest.count("PUT /v1/artifacts/records-a") == 0
            assert len(_ledger(side).goes()) == (0 if moment == "go" else 1)
            guest.hooks.clear()
            side.clock.at = AT
            side.release()


def test_an_old_proof_is_asked_for_again_before_a_release(tmp_path: Path) -> None:
    """After a minute without a proof, each release begins with a new one."""
    with LyingGuest(World()) as guest:
        everybody = sides(guest, tmp_path)
        everybody["hospital-a"].lock()
        with together(everybody["hospital-a"].release, everybody["hospital-b"].release):
            clock = SteeredClock()
            side = Side(guest, "analytics", tmp_path, clock=clock)
            with side.connect() as session:
                before = guest.count("POST /.well-known/2cvm/attest")
                session.join(side.files)
                guest.hooks["/v1/artifacts/step-0"] = lambda: setattr(clock, "ahead_seconds", 61.0)
                session.release(side.files)
                sent = guest.requests[before:]
        first, second = sent.index("PUT /v1/artifacts/step-0"), sent.index("PUT /v1/artifacts/step-1")
        assert "POST /.well-known/2cvm/attest" in sent[first:second]


def test_whoever_withdraws_ends_it_for_all(tmp_path: Path) -> None:
    """After a withdrawal nothing can be released, and everybody's receipt says so."""
    with LiveGuest(World()) as guest:
        everybody = sides(guest, tmp_path)
        everybody["analytics"].lock()
        with everybody["hospital-a"].connect() as session:
            session.join(everybody["hospital-a"].files)
        with everybody["hospital-b"].connect() as session:
            session.withdraw()
        with everybody["hospital-a"].connect() as session:
            with pytest.raises(ReleaseError) as refused:
                session.release(everybody["hospital-a"].files)
            assert session.receipt().outcome == "withdrawn"
    assert refused.value.code == "LOG_STARTED"


def test_a_withdrawal_after_the_run_began_is_too_late(tmp_path: Path) -> None:
    """Withdrawal and run are decided once."""
    workers = ScriptedWorkers()
    workers.may_end.clear()
    with LiveGuest(World(), workers=workers) as guest:
        everybody = release_all(guest, tmp_path)
        with everybody["analytics"].connect() as session, pytest.raises(ReleaseError) as refused:
            session.withdraw()
        workers.may_end.set()
    assert refused.value.code == "TOO_LATE"


def test_keys_that_the_manifest_does_not_know_do_not_connect(tmp_path: Path) -> None:
    """A stranger, or a participant with other keys than the manifest's, is stopped before anything is sent."""
    with LyingGuest(World()) as guest:
        Side(guest, "analytics", tmp_path).lock()
        heard = len(guest.requests)
        for name, folder in (("stranger", "x"), ("hospital-a", "y")):
            side = Side(guest, "hospital-a", tmp_path)
            with pytest.raises(ReleaseError) as refused:
                side.connect(identity=Identity.new(tmp_path / folder, name))
            assert refused.value.code == "NOT_A_PARTICIPANT"
        assert len(guest.requests) == heard


def test_simulated_roots_need_the_manifests_word(tmp_path: Path) -> None:
    """Simulated roots with a manifest that does not allow a simulated platform are a mistake of the caller."""

    def edit(document) -> None:
        set_at(document, "/platform/simulated", False)
        set_at(document, "/platform/products", ["Genoa"])

    with LiveGuest(World()) as guest:
        side = Side(guest, "hospital-a", tmp_path)
        with pytest.raises(ValueError, match="simulated"):
            side.connect(manifest=World(edit=edit).manifest)
        with pytest.raises(ValueError, match="simulated"):
            side.lock(manifest=World(edit=edit).manifest, consents=World(edit=edit).consents())


def test_real_roots_do_not_take_a_simulated_guest(tmp_path: Path) -> None:
    """Without the simulated root, and that is without a word, a simulated guest is not authentic."""
    with LiveGuest(World()) as guest:
        side = Side(guest, "hospital-a", tmp_path)
        side.lock()
        with pytest.raises(HandshakeError) as refused:
            side.connect(roots=None)
    assert refused.value.exit_status == 10


def test_the_folder_of_an_identity_is_all_there_is(tmp_path: Path) -> None:
    """Keys and ledger lie in one folder of mode 0700."""
    side = identity_of(World().party("hospital-a"), tmp_path)
    assert side.ledger_folder.parent == side.folder
    assert stat.S_IMODE(side.folder.stat().st_mode) == 0o700
