"""The demo, whole: real processes, real data, and a result that a direct computation confirms."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.support.demo_reference import Reference, compute

from twocvm_guest.demo.cast import CAST
from twocvm_guest.demo.files import demo_folder
from twocvm_guest.demo.run import run_demo
from twocvm_guest.demo.show import Show
from twocvm_guest.demo.summary import Summary
from twocvm_guest.main import run as run_command

TOLERANCE = 1e-9
MOST_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One demo that was played to its end."""

    folder: Path
    summary: Summary
    shown: str

    def received(self, recipient: str, name: str) -> dict[str, object]:
        """An output in a recipient's folder."""
        value: dict[str, object] = json.loads((self.folder / "received" / recipient / f"{name}.json").read_bytes())
        return value


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The demo, played once for all tests here."""
    folder, shown = tmp_path_factory.mktemp("demo"), io.StringIO()
    show = Show(Console(file=shown, width=400), names=tuple(role.name for role in CAST))
    summary = run_demo(folder, show)
    return Played(folder=folder, summary=summary, shown=shown.getvalue())


@pytest.fixture(scope="module")
def reference() -> Reference:
    """The same computation, done directly."""
    data = demo_folder() / "data"
    return compute(data / "hospital-a" / "features.csv", data / "hospital-b" / "diagnoses.csv")


def test_run_is_completed_and_the_guest_ends_by_itself(played: Played) -> None:
    """The run ends well, everybody has a receipt, and the guest halts once everything has arrived."""
    assert played.summary.outcome == "completed"
    assert played.summary.receipts == ("hospital-a", "hospital-b", "analytics")
    assert "the guest's process has ended" in played.shown


def test_model_is_the_one_that_numpy_finds(played: Played, reference: Reference) -> None:
    """The company's coefficients equal a direct computation to 1e-9."""
    model = played.received("analytics", "model")
    coefficients = model["coefficients"]
    assert isinstance(coefficients, dict)
    assert tuple(coefficients) == reference.names
    np.testing.assert_allclose(list(coefficients.values()), reference.coefficients, rtol=0, atol=TOLERANCE)
    assert model["intercept"] == pytest.approx(reference.intercept, abs=TOLERANCE)


@pytest.mark.parametrize("hospital", ["hospital-a", "hospital-b"])
def test_evaluation_is_the_one_that_numpy_finds(played: Played, reference: Reference, hospital: str) -> None:
    """Each hospital's evaluation equals a direct computation to 1e-9."""
    assert played.received(hospital, "evaluation") == pytest.approx(reference.evaluation, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("who", "files"),
    [
        ("hospital-a", {"evaluation.json", "receipt.json"}),
        ("hospital-b", {"evaluation.json", "receipt.json"}),
        ("analytics", {"model.json", "receipt.json"}),
    ],
)
def test_each_gets_its_own_and_nothing_else(played: Played, who: str, files: set[str]) -> None:
    """Nobody has more in the end than its own outputs and its own receipt."""
    assert {path.name for path in (played.folder / "received" / who).iterdir()} == files


def test_asking_for_anothers_output_is_refused(played: Played) -> None:
    """Everybody who asked for an output that is not its own was refused, a stranger for every one."""
    asked = {(refused.who, refused.output) for refused in played.summary.refused}
    assert asked == {
        ("hospital-a", "model"),
        ("hospital-b", "model"),
        ("analytics", "evaluation"),
        ("stranger", "evaluation"),
        ("stranger", "model"),
    }


def test_what_left_is_what_is_told(played: Played) -> None:
    """The bytes that the summary says have left are the bytes that are there, within the manifest's filter."""
    sizes = {each.file: each.size_bytes for each in played.summary.received}
    assert {file: file.stat().st_size for file in sizes} == sizes
    assert max(sizes.values()) <= 4096


def test_what_can_be_learned_follows_from_the_manifest(played: Played) -> None:
    """Both hospitals' data can reach the evaluation and the model, and the joined table has no way out."""
    recipients = {"evaluation": ("hospital-a", "hospital-b"), "model": ("analytics",)}
    assert {reach.item: dict(reach.outputs) for reach in played.summary.reaches} == {
        "features": recipients,
        "diagnoses": recipients,
    }


def test_simulation_is_said_aloud_and_nothing_is_left_unchecked(played: Played) -> None:
    """Neither the steps nor the summary let anybody take this platform for a real one; revocation was asked about."""
    told = "\n".join(line for section in played.summary.sections() for line in section.lines)
    for text in (told, played.shown):
        assert "SIMULATED" in text.upper()
        assert "not checked" not in text.lower()
    assert "NOT SECURE" in played.shown
    assert (played.summary.to_json()["secure"], played.summary.unchecked) == (False, ())


def test_where_nobody_watches_there_are_plain_lines(played: Played) -> None:
    """Without a terminal there is no escape sequence and no bar, and each transfer is one line."""
    assert "\x1b" not in played.shown
    assert re.search(r"hospital-a +features: \d+ bytes sent", played.shown)


def test_demo_is_quick(played: Played) -> None:
    """From the first key to the guest's end it takes under 20 seconds."""
    assert sum(phase.seconds for phase in played.summary.phases) < MOST_SECONDS


def test_no_patient_is_on_disk_but_in_the_hospitals_files(played: Played) -> None:
    """Nothing that the demo wrote holds a pseudonym of a patient."""
    patient = b"p-947068144542"
    assert patient in (demo_folder() / "data" / "hospital-b" / "diagnoses.csv").read_bytes()
    written = [path for path in played.folder.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if patient in path.read_bytes()]


@pytest.mark.parametrize("who", ["hospital-a", "hospital-b", "analytics"])
def test_kept_receipt_holds_on_the_command_line(played: Played, who: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is kept is enough for `twocvm receipt verify`, with the simulated root that is named to it."""
    arguments = [
        *("receipt", "verify", str(played.folder / "received" / who / "receipt.json")),
        *("--manifest", str(played.folder / "manifest.json"), "--policy", str(played.folder / "policy.toml")),
        *("--simulated-root", str(played.folder / "simulated-root.pem")),
    ]
    assert run_command(arguments) == 0
    assert who in capsys.readouterr().out


def test_kept_receipt_of_another_manifest_is_refused(
    played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A receipt is judged by the judge's manifest; another salt makes it another."""
    manifest = json.loads((played.folder / "manifest.json").read_bytes())
    salt = "00" * 16
    changed = (played.folder / "manifest.json").read_text().replace(manifest["salt"], salt)
    (tmp_path / "manifest.json").write_text(changed)
    shutil.copy(played.folder / "received" / "analytics" / "receipt.json", tmp_path)
    arguments = [
        *("receipt", "verify", str(tmp_path / "receipt.json")),
        *("--manifest", str(tmp_path / "manifest.json"), "--policy", str(played.folder / "policy.toml")),
        *("--simulated-root", str(played.folder / "simulated-root.pem")),
    ]
    assert run_command(arguments) == 10
    assert capsys.readouterr().err


def test_command_keeps_what_it_is_told_to_keep(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`twocvm demo --keep` prints the steps on stderr and the summary on stdout, and leaves the folder."""
    folder = tmp_path / "kept"
    assert run_command(["demo", "--keep", str(folder)]) == 0
    printed = capfd.readouterr()
    for title in ("who could learn what", "what left the guest, and for whom", "what is NOT protected"):
        assert title in printed.out.splitlines()
    assert "each verifies the guest" in printed.err
    assert "each verifies the guest, on its own connection" in printed.out
    assert str(folder / "manifest.json") in printed.out
    assert (folder / "received" / "analytics" / "model.json").is_file()
