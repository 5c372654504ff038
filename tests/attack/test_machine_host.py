"""A host that gives a booted machine all it can, takes away what it can, turns its clock, and resets it in a run.

One machine serves all of it: it is booted once with everything at once, brought into a run, and reset there. As it is
launched that is its end; that it comes up empty where a host has it start again is seen on demand (`make boots`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from tests.support.host_input import CREDENTIAL, HostInput
from tests.support.images import shared_folder
from tests.support.launches import Held, lost, reach, require_new_launch
from tests.support.machine import (
    EVERY_BOOT,
    ON_DEMAND,
    HostedMachine,
    development_image,
    machine_world,
)

from twocvm_guest.image.boot import NETWORK
from twocvm_guest.session.machine import State
from twocvm_sdk.connection import Timeouts
from twocvm_verifier.errors import FetchError
from twocvm_verifier.framing import sha256

pytestmark = pytest.mark.timeout(600)

# Years before the manifest, and before anything that a participant signs.
LONG_AGO = "2021-01-01T00:00:00"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> HostInput:
    """Everything that the host adds."""
    return HostInput(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def machine(given: HostInput, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostedMachine]:
    """A machine with all of it, with another year, and with its cable out, whose guest serves."""
    image = development_image(shared_folder(tmp_path_factory))
    folder = tmp_path_factory.mktemp("machine")
    with HostedMachine(image, folder=folder, words=(*given.words, "-S"), date=LONG_AGO) as booted:
        booted.host.do("set_link", name="net", up=False)
        booted.host.do("cont")
        booted.serving()
        booted.world = machine_world(booted)
        yield booted


@pytest.fixture(scope="module")
def connected(machine: HostedMachine) -> str:
    """Connects the machine, and returns the code that whoever came before that was told."""
    with pytest.raises(FetchError) as refused:
        machine.connect(unlocked_ok=True, timeouts=Timeouts(handshake_seconds=1.0))
    machine.host.do("set_link", name="net", up=True)
    return refused.value.code


@pytest.fixture(scope="module")
def held(machine: HostedMachine, connected: str, tmp_path_factory: pytest.TempPathFactory) -> Held:
    """What its participants hold in the middle of a run."""
    assert connected
    return reach(State.RUNNING, machine, tmp_path_factory.mktemp("participants") / "first")


@pytest.fixture(scope="module")
def launched_again(machine: HostedMachine, held: Held) -> Held:
    """What they hold of it when it has been reset, and serves again; on demand, for it takes another boot."""
    if not EVERY_BOOT:
        pytest.skip(ON_DEMAND)
    machine.reset()
    machine.serving()
    return held


def test_what_the_host_added_is_named_and_not_used(machine: HostedMachine) -> None:
    """Each device that nothing drives, the cards beside the first, tables and items are in the report: the whole."""
    rows = machine.events()["made"]["ignored"]
    assert isinstance(rows, list)
    expected = {
        # Intel's card, an NVMe disk and a serial card; virtio's disk, console, entropy and memory.
        *(f"pci device without a driver: {number}" for number in ("8086:10d3", "1b36:0010", "1b36:0002")),
        *(f"virtio device without a driver: 1af4:{number}" for number in ("0002", "0003", "0004", "0005")),
        "network card, switched off: eth1",
        "ACPI table: OEM7 016382db1a2cf741",
        f"SMBIOS strings, not used: 1 {sha256(CREDENTIAL).hex()[:16]}",
        "firmware configuration, never read: fw_cfg",
    }
    assert expected <= set(rows)
    # All else is of the machine's own board.
    assert {row.rpartition(":")[0] for row in set(rows) - expected} == {"pci device without a driver: 8086"}


def test_a_machine_that_starts_without_a_network_serves_once_it_has_one(machine: HostedMachine, connected: str) -> None:
    """Nobody reaches it before, and nothing in it has given up meanwhile."""
    assert connected == "CONNECTION_TIMEOUT"
    assert machine.state() == "unlocked"


def test_a_session_runs_in_a_machine_with_a_date_of_long_ago(held: Held) -> None:
    """Participants judge dates by their own clocks: years before the manifest begins, its session is run."""
    assert held.state is State.RUNNING
    assert len(held.goes) == len(held.everybody)


@contextmanager
def link_down(machine: HostedMachine) -> Iterator[None]:
    """The machine's card without its cable, for the length of a block."""
    machine.host.do("set_link", name="net", up=False)
    try:
        yield
    finally:
        machine.host.do("set_link", name="net", up=True)


WAYS: dict[str, Callable[[HostedMachine], AbstractContextManager[None]]] = {
    "stands still": lambda machine: machine.host.standing(),
    "has no network": link_down,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_machine_that_falls_silent_is_said_to_be_and_goes_on(machine: HostedMachine, held: Held, way: str) -> None:
    """Whoever asks meanwhile is told that nothing came; afterwards the same launch is in the same run."""
    with machine.connect(timeouts=Timeouts(io_seconds=0.5)) as client:
        with WAYS[way](machine):
            assert lost(client) == "CONNECTION_TIMEOUT"
        with machine.connect() as after:
            assert after.connection.certificate.report_id == held.proof.report_id
            assert after.state() == "running"


def test_a_jump_of_the_clocks_ends_no_run_before_its_deadline(machine: HostedMachine, held: Held) -> None:
    """A machine whose processor was taken away for a while finds its clocks ahead, and its session where it was."""
    machine.jump(2.0)
    assert machine.state() == "running"
    assert held.session is not None
    assert held.session.status() == "running"


def test_a_card_that_is_plugged_in_and_the_power_button_change_nothing(
    machine: HostedMachine, held: Held, given: HostInput
) -> None:
    """A card that comes while the machine runs stays off, and nobody listens to the button."""
    for command, arguments in given.plug():
        machine.host.do(command, **arguments)
    machine.host.do("system_powerdown")
    time.sleep(1.0)
    assert machine.state() == "running"
    assert given.frames("late") == ()
    assert held.session is not None
    assert held.session.status() == "running"


def test_a_reset_in_the_middle_of_a_run_leaves_an_empty_machine(machine: HostedMachine, launched_again: Held) -> None:
    """Another key, another launch, no manifest, no item; consents lock it again, and goes are for the launch before."""
    require_new_launch(machine, launched_again)


def test_no_code_of_the_hosts_has_run_and_nothing_was_written(held: Held, given: HostInput) -> None:
    """The table's code, the second line and the host's channel have brought not one byte out, in a run neither."""
    assert held.state is State.RUNNING
    assert given.written() == b""


def test_nothing_left_the_machine_but_answers_from_its_port(held: Held, given: HostInput) -> None:
    """Frame by frame: the first card has sent ARP and TCP from the one port that opens nothing, the others nothing."""
    assert held.state is State.RUNNING
    sent = given.frames("net")
    assert len(sent) > 100
    assert [frame for frame in sent if not frame.is_answer(NETWORK.port)] == []
    assert given.frames("second") == given.frames("third") == ()


def test_as_it_is_launched_a_reset_is_the_end(machine: HostedMachine, held: Held) -> None:
    """Reset in the middle of its run, a machine is gone (`-no-reboot`), and who asks is told that nobody is there."""
    assert held.state is State.RUNNING
    assert machine.reset_for_good() == 0
    with pytest.raises(FetchError) as gone:
        machine.state()
    assert gone.value.code == "GUEST_UNREACHABLE"
