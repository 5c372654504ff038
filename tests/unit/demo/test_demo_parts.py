"""The parts of the demo that its one good run does not show: failures, terminals, folders."""

from __future__ import annotations

import io
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from twocvm_guest.demo.agreement import consent, write_manifest
from twocvm_guest.demo.cast import CAST
from twocvm_guest.demo.files import demo_folder
from twocvm_guest.demo.member import ask
from twocvm_guest.demo.process import GuestProcess
from twocvm_guest.demo.show import Show
from twocvm_guest.demo.summary import Summary
from twocvm_guest.demo.together import together
from twocvm_guest.main import run
from twocvm_sdk import Identity
from twocvm_sdk.guest import Guest
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.errors import FetchError, ReleaseError, TwoCvmError
from twocvm_verifier.manifest import ManifestError

MEASUREMENT = bytes(range(48))


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    """Keys of all three."""
    folder = tmp_path_factory.mktemp("identities")
    return {role.name: Identity.new(folder / role.name, role.name) for role in CAST}


@pytest.fixture(scope="module")
def manifest(identities: dict[str, Identity]) -> bytes:
    """The demo's manifest, canonical."""
    return write_manifest(demo_folder(), identities, measurement=MEASUREMENT, at=SystemClock().now()).raw


def test_everything_that_a_role_releases_ships() -> None:
    """Each role's files are there."""
    for role in CAST:
        assert all(path.is_file() for path in role.items(demo_folder()).values())


def test_participant_signs_only_what_it_knows(identities: dict[str, Identity], manifest: bytes, tmp_path: Path) -> None:
    """A manifest with another guest, with other components or without this participant's keys is not signed."""
    me = identities["hospital-a"]
    demo = demo_folder()
    assert consent(manifest, me, demo=demo, measurement=MEASUREMENT)
    with pytest.raises(TwoCvmError) as other_guest:
        consent(manifest, me, demo=demo, measurement=bytes(48))
    assert other_guest.value.code == "MANIFEST_DIFFERS"
    (tmp_path / "components").mkdir()
    for name in ("join", "regression"):
        (tmp_path / "components" / f"{name}.wasm").write_bytes(b"something else")
    with pytest.raises(TwoCvmError) as other_component:
        consent(manifest, me, demo=tmp_path, measurement=MEASUREMENT)
    assert other_component.value.code == "MANIFEST_DIFFERS"
    stranger = Identity.new(tmp_path / "hospital-a", "hospital-a")
    with pytest.raises(TwoCvmError) as other_keys:
        consent(manifest, stranger, demo=demo, measurement=MEASUREMENT)
    assert other_keys.value.code == "NOT_A_PARTICIPANT"


def test_participant_signs_only_a_valid_manifest(identities: dict[str, Identity], manifest: bytes) -> None:
    """Each participant parses the proposal itself."""
    broken = manifest.replace(b'"no-bulk"', b'"no-bulb"', 1)
    with pytest.raises(ManifestError):
        consent(broken, identities["analytics"], demo=demo_folder(), measurement=MEASUREMENT)


def test_first_failure_ends_everybodys_waiting() -> None:
    """Where one fails, the others are released from waiting, and the failure is what is told."""
    stopped = threading.Event()

    def work(name: str) -> str:
        if name == "fails":
            raise LookupError(name)
        assert stopped.wait(10)
        return name

    with pytest.raises(LookupError, match="fails"):
        together(("waits", "fails"), work, otherwise=stopped.set)
    assert stopped.is_set()


def test_interruption_ends_everybodys_waiting(request: pytest.FixtureRequest) -> None:
    """Where a person interrupts, nobody is waited for."""
    stopped = threading.Event()
    # What runs in the background of a shell is born deaf to this signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def work(name: str) -> str:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert stopped.wait(10)
        return name

    with pytest.raises(KeyboardInterrupt):
        together(("waits",), work, otherwise=stopped.set)
    assert stopped.is_set()


def test_results_come_in_the_order_of_the_participants() -> None:
    """Whoever is done first, results stay with their participants."""
    first = threading.Event()

    def work(name: str) -> str:
        if name == "second":
            first.set()
        assert first.wait(10)
        return name.upper()

    assert together(("first", "second"), work, otherwise=first.set) == ("FIRST", "SECOND")


def test_guest_that_does_not_start_is_an_error_with_its_words(tmp_path: Path) -> None:
    """A guest that ends before it listens is told with the last line it said."""
    absent = tmp_path / "absent.json"
    with GuestProcess(manifest=absent, root=tmp_path / "root.pem", log=tmp_path / "log") as guest:
        with pytest.raises(FetchError) as failed:
            guest.wait_ready()
        assert failed.value.code == "GUEST_FAILED"
        assert guest.wait_ended(10) != 0


@pytest.mark.parametrize("code", ["", "OUTPUT_MISMATCH"])
def test_demo_never_passes_over_a_guest_that_serves_anybody(code: str) -> None:
    """A guest that begins to serve another's output, of whatever length, ends the demo loudly."""

    class Careless:
        @contextmanager
        def output(self, name: str, *, size_bytes: int) -> Iterator[None]:
            if code:
                raise ReleaseError(code, f"{name}: {size_bytes}")
            yield

    with pytest.raises(RuntimeError, match="no recipient"):
        ask(cast("Guest", Careless()), "stranger", "model")


def test_where_a_person_watches_there_are_bars() -> None:
    """On a terminal a transfer is a bar, with the participant's name."""
    shown = io.StringIO()
    show = Show(Console(file=shown, force_terminal=True, width=100), names=("hospital-a",))
    with show.transfers() as transfers:
        tell = transfers.of("hospital-a")
        tell("features", 10, 20)
        tell("features", 20, 20)
    assert "hospital-a: features" in shown.getvalue()
    assert "━" in shown.getvalue()


def test_a_transfer_is_told_once() -> None:
    """Without a terminal a transfer is told when it is whole, and once."""
    shown = io.StringIO()
    show = Show(Console(file=shown), names=("hospital-a",))
    with show.transfers() as transfers:
        tell = transfers.of("hospital-a")
        for done in (0, 10, 20, 20):
            tell("features", done, 20)
    assert shown.getvalue().split() == ["hospital-a", "features:", "20", "bytes", "sent"]


def test_kept_folder_must_be_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo never writes into a folder that is there already."""
    assert run(["demo", "--keep", str(tmp_path)]) == 2
    assert "--keep" in capsys.readouterr().err


def test_summary_is_the_same_for_programs() -> None:
    """The JSON form of a summary is JSON, and says what the text says."""
    summary = Summary(
        manifest_hash=bytes(32),
        report_id=bytes(32),
        outcome="completed",
        reaches=(),
        received=(),
        refused=(),
        receipts=("analytics",),
        evaluation={"accuracy": 1.0, "auc": 1.0, "evaluated_on": 1, "fitted_on": 1},
        unchecked=("snp.chain.revocation: a reason",),
        warnings=(),
        phases=(),
    )
    said = json.loads(json.dumps(summary.to_json()))
    assert said["secure"] is False
    assert any("snp.chain.revocation: a reason" in line for line in said["not_protected"])
