"""What takes a boot for each case: a reset in every state, time and dates, a payload, what stops a machine early.

On demand (`make boots`), for they take minutes; what every run of the tests boots is in `test_image_boot` and
`tests/attack/test_machine_host.py`.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.actor import ACTOR
from tests.support.host_input import HostInput
from tests.support.images import shared_folder
from tests.support.launches import at_once, finish, reach, require_new_launch
from tests.support.machine import (
    EVERY_BOOT,
    ON_DEMAND,
    PATIENCE_SECONDS,
    HostedMachine,
    Outsider,
    development_image,
    image_to_boot,
    machine_world,
    outsiders,
)

from twocvm_guest.image.boot import Hardware, Machine, emulator_words, hardware, parse_event
from twocvm_guest.image.command_line import Variant
from twocvm_guest.image.folder import ImageFolder
from twocvm_guest.image.payload import write_payload
from twocvm_guest.session.machine import State
from twocvm_verifier.errors import HandshakeError, ReleaseError

pytestmark = [pytest.mark.timeout(900), pytest.mark.skipif(not EVERY_BOOT, reason=ON_DEMAND)]

# The longest that a session may take here; the run of `expired` waits for it.
DEADLINE_SECONDS = 90


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """The development image."""
    return development_image(shared_folder(tmp_path_factory))


@pytest.fixture(scope="module")
def machine(image: ImageFolder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostedMachine]:
    """A machine that is reset in one state after the other: each launch begins where the last one was ended."""
    with HostedMachine(image, folder=tmp_path_factory.mktemp("machine")) as booted:
        booted.serving()
        booted.world = machine_world(booted, deadline_seconds=DEADLINE_SECONDS)
        yield booted


@pytest.mark.parametrize("state", State)
def test_a_reset_in_any_state_leaves_an_empty_machine(machine: HostedMachine, state: State, tmp_path: Path) -> None:
    """Whatever a session was doing, the next launch knows nothing of it, and all that was held is for the last one."""
    wiped = state is State.WIPED
    held = reach(State.COMPLETED if wiped else state, machine, tmp_path / "participants")
    if wiped:
        finish(machine, held)
    machine.reset()
    machine.serving()
    require_new_launch(machine, held)


def test_the_plug_pulled_in_a_run_leaves_what_was_held_authentic(image: ImageFolder, tmp_path: Path) -> None:
    """Switched off in the middle of a run and started anew, the machine is another launch, as after a reset."""
    for part in ("first", "second"):
        (tmp_path / part).mkdir()
    with HostedMachine(image, folder=tmp_path / "first") as first:
        first.serving()
        first.world = machine_world(first)
        held = reach(State.RUNNING, first, tmp_path / "participants")
        first.host.do("quit")
        assert first.wait_ended(PATIENCE_SECONDS) == 0
        with HostedMachine(image, folder=tmp_path / "second", after=first) as second:
            second.serving()
            require_new_launch(second, held)


def test_a_component_that_fills_its_folder_ends_its_run_and_not_the_machine(image: ImageFolder, tmp_path: Path) -> None:
    """With no file and no byte left where it writes, the run has failed; everybody is told so, and then it is off."""
    with HostedMachine(image, folder=tmp_path) as machine:
        machine.serving()
        machine.world = machine_world(machine)
        held = reach(State.FAILED, machine, tmp_path / "participants")
        for side in held.everybody.values():
            with side.connect() as session:
                assert session.receipt().outcome == "failed"
        assert machine.wait_ended(PATIENCE_SECONDS) == 0
        assert machine.events()["ended"]["status"] == 0


def test_a_deadline_is_counted_on_the_machines_own_clock(image: ImageFolder, tmp_path: Path) -> None:
    """While a machine stands still no time passes for it; while it has no processor, it does."""
    with HostedMachine(image, folder=tmp_path) as machine:
        machine.serving()
        machine.world = machine_world(machine, deadline_seconds=30)
        side = outsiders(machine, tmp_path / "participants")["hospital-a"]
        locked = time.monotonic()
        side.lock()
        with side.connect() as session:
            with machine.host.standing():
                time.sleep(30.0)
            assert time.monotonic() - locked > 30.0
            assert session.status() == "locked"
            machine.jump(30.0)
            assert machine.wait_state("locked", "expired") in {"locked", "expired"}
            time.sleep(1.0)
            assert session.status() == "expired"
            assert session.receipt().outcome == "expired"


@pytest.mark.parametrize("date", ["1950-01-01", "2099-12-31"])
def test_a_machine_with_a_date_far_off_serves_and_is_judged_by_others_clocks(
    image: ImageFolder, tmp_path: Path, date: str
) -> None:
    """Whatever the host's clock shows, the guest starts; a simulated chip is then as old or as new as that says."""
    with HostedMachine(image, folder=tmp_path, date=f"{date}T00:00:00") as machine:
        machine.serving()
        machine.world = machine_world(machine)
        with pytest.raises(HandshakeError) as refused:
            machine.state()
        assert refused.value.code in {"CHAIN_EXPIRED", "CHAIN_NOT_YET_VALID"}


def payload_of(folder: Path, *contents: bytes) -> Path:
    """A disk with these files."""
    folder.mkdir()
    for number, content in enumerate(contents):
        (folder / str(number)).write_bytes(content)
    write_payload(folder, folder.with_suffix(".img"))
    return folder.with_suffix(".img")


def test_what_the_machine_brought_is_named_by_its_owners_and_run(image: ImageFolder, tmp_path: Path) -> None:
    """A component and data of the payload are released by name and run; what is on no disk is refused and then sent."""
    records = b"one of many rows\n" * 50_000
    held = {"analytics": {"step-0"}, "hospital-a": {"records-a"}, "hospital-b": {"records-b"}}
    with HostedMachine(image, folder=tmp_path, payload=payload_of(tmp_path / "brought", ACTOR, records)) as machine:
        machine.serving()
        machine.world = machine_world(machine)
        machine.world.content["records-a"] = records
        everybody = outsiders(machine, tmp_path / "participants", "read /in/records-a/data")
        everybody["analytics"].lock()

        def release(side: Outsider) -> None:
            if side.name == "hospital-b":
                with pytest.raises(ReleaseError) as refused:
                    side.release(held=held[side.name], wait_seconds=PATIENCE_SECONDS)
                assert refused.value.code == "ITEM_NOT_HELD"
                side.release(wait_seconds=PATIENCE_SECONDS)
            else:
                side.release(held=held[side.name], wait_seconds=PATIENCE_SECONDS)

        at_once(everybody, release)
        assert machine.wait_state("completed", "failed") == "completed"
        with everybody["analytics"].connect() as session:
            assert b"read: " + records[:64] in session.output("model").read()
        ignored = machine.events()["made"]["ignored"]
        assert isinstance(ignored, list)
        assert not any(row.startswith("disk:") for row in ignored)


@pytest.mark.parametrize("variant", Variant)
def test_another_payload_than_the_measured_one_ends_the_machine(
    variant: Variant, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A host that exchanges the disk has no guest: the first process finds another root, and says so in its own way."""
    image = image_to_boot(variant, shared_folder(tmp_path_factory))
    named, other = (hardware(image, payload=payload_of(tmp_path / name, name.encode())) for name in ("named", "other"))
    with Machine(image, replace(other, command_line=named.command_line), log=tmp_path / "log") as machine:
        assert machine.wait_ended(PATIENCE_SECONDS) == 0
        said, events = machine.console(), machine.events()
    if variant is Variant.PRODUCTION:
        assert said.splitlines() == ["twocvm PAYLOAD"]
    else:
        assert "another root" in str(events["refused"]["error"])
        assert "made" not in events


@pytest.mark.parametrize(
    "added", ["init=/usr/bin/python3.11", "single", "twocvm.port=8444", "console=ttyS1", "-- -c import:os"]
)
def test_any_further_word_ends_the_machine(image: ImageFolder, tmp_path: Path, added: str) -> None:
    """What the kernel would act on, hand on, or leave alone: with it there is no guest."""
    plain = hardware(image)
    changed = Hardware(port=plain.port, command_line=f"{plain.command_line} {added}")
    with Machine(image, changed, log=tmp_path / "log") as machine:
        assert machine.wait_ended(PATIENCE_SECONDS) == 0
        assert not {"made", "ready"} & machine.events().keys()


def test_without_its_word_the_kernel_does_run_a_hosts_table(image: ImageFolder, tmp_path: Path) -> None:
    """That the table of `HostInput` would be heard of: without `acpi_no_static_ssdt`, before it ends, its code runs."""
    given = HostInput(tmp_path)
    plain = hardware(image, words=given.words)
    line = plain.command_line.replace("acpi_no_static_ssdt ", "")
    changed = Hardware(port=plain.port, command_line=line, words=plain.words)
    with Machine(image, changed, log=tmp_path / "log") as machine:
        assert "command line" in str(machine.wait_for("refused", seconds=PATIENCE_SECONDS)["error"])
        assert machine.wait_ended(PATIENCE_SECONDS) == 0
    assert given.written() == b"AB"


def test_without_a_card_there_is_no_guest(image: ImageFolder, tmp_path: Path) -> None:
    """A machine without a network says so and ends."""
    console = tmp_path / "console"
    words = emulator_words(image, hardware(image), console)
    card = next(index for index, word in enumerate(words) if word.startswith("virtio-net-pci"))
    subprocess.run((*words[: card - 1], *words[card + 1 :]), check=True, timeout=PATIENCE_SECONDS, capture_output=True)
    events = dict(event for line in console.read_text().splitlines() for event in parse_event(line))
    assert "interface" in str(events["refused"]["error"])
    assert "made" not in events
