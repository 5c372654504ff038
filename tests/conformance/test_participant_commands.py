"""The participant's commands, through the public command line alone, against a live guest."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.guest import LiveGuest, ScriptedWorkers
from tests.support.manifests import World, set_at
from tests.support.sides import sides

from twocvm_guest.main import run
from twocvm_verifier import strictjson

POLICY = 'name = "test"\nmax_crl_age_seconds = { unchecked = "these tests have no revocation list" }\n'


def _long_lived(document) -> None:
    # Commands judge by the machine's own clock.
    set_at(document, "/not_after", "2100-01-01T00:00:00Z")


@dataclass(kw_only=True)
class Scene:
    """A guest, and the files that its participants have on their machines."""

    guest: LiveGuest
    folder: Path

    def __post_init__(self) -> None:
        self.sides = sides(self.guest, self.folder)
        (self.folder / "manifest.json").write_bytes(self.guest.world.raw)
        (self.folder / "policy.toml").write_text(POLICY)
        (self.folder / "root.pem").write_bytes(self.guest.platform.root_pem)

    def options(self, name: str, *, without: tuple[str, ...] = ()) -> list[str]:
        """Return the options with which a participant calls every command on the guest."""
        files = {"identity": name, "manifest": "manifest.json", "policy": "policy.toml", "simulated-root": "root.pem"}
        options = {f"--{option}": str(self.folder / file) for option, file in files.items()}
        return [word for option, file in options.items() if option not in without for word in (option, file)]

    def items(self, name: str) -> list[str]:
        """Return a participant's items as words."""
        return [f"{item}={path}" for item, path in self.sides[name].files.items()]

    def call(self, name: str, command: str, *words: str) -> int:
        """Run a command on the guest as a participant, and return its exit status."""
        return run([command, self.guest.url, *words, *self.options(name)])

    def sign(self) -> Path:
        """Have everybody sign, and return the folder with the consents."""
        folder = self.folder / "consents"
        folder.mkdir()
        for name in self.sides:
            words = ["--identity", str(self.folder / name), "--out", str(folder / f"{name}.json"), "-q"]
            assert run(["manifest", "sign", str(self.folder / "manifest.json"), *words]) == 0
        return folder

    def release_all(self) -> None:
        """Have everybody release, at the same time."""
        with ThreadPoolExecutor(len(self.sides)) as executor:
            calls = [executor.submit(self.call, name, "release", *self.items(name), "-q") for name in self.sides]
            assert [call.result(60) for call in calls] == [0] * len(calls)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A guest that nobody has locked yet."""
    with LiveGuest(World(edit=_long_lived)) as guest:
        yield Scene(guest=guest, folder=tmp_path)


def test_a_whole_session_by_commands(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """Sign, lock, verify, release, output and receipt verify all end with 0 and say what they did."""
    consents = scene.sign()
    assert scene.call("hospital-a", "lock", "--consents", str(consents)) == 0
    assert scene.call("hospital-a", "verify") == 0
    shown = capfd.readouterr()
    assert "would release  records-a, as hospital-a; nothing was released" in shown.out
    assert "channel evidence, on this very connection" in shown.out
    assert "SIMULATED PLATFORM" in shown.out
    assert "all 3 verified" in shown.out
    assert scene.call("hospital-a", "verify", "-o", "json") == 0
    verified = json.loads(capfd.readouterr().out)
    assert verified["channel"]["verdict"] == verified["certificate"]["verdict"] == "warning"
    assert verified["release"] == [{"name": "records-a", "kind": "data", "max_bytes": 1000000}]
    scene.release_all()
    saved, receipt = scene.folder / "model", scene.folder / "receipt.json"
    capfd.readouterr()
    words = ["model", "--save", str(saved), "--receipt", str(receipt), "-o", "json"]
    assert scene.call("analytics", "output", *words) == 0
    stated = json.loads(capfd.readouterr().out)
    assert (stated["participant"], stated["outcome"]) == ("analytics", "completed")
    assert saved.read_bytes() == b"model"
    for manifest in (str(scene.folder / "manifest.json"), scene.guest.world.manifest.hash.hex()):
        judge = ["--manifest", manifest, "--policy", str(scene.folder / "policy.toml")]
        judge += ["--simulated-root", str(scene.folder / "root.pem")]
        assert run(["receipt", "verify", str(receipt), *judge]) == 0
        assert "receipt of       analytics" in capfd.readouterr().out


def test_join_then_release_without_naming_files_again(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """After `join` a `release` without words sends what was committed to."""
    scene.guest.lock()
    for name in scene.sides:
        assert scene.call(name, "join", *scene.items(name), "-q") == 0
    for name in scene.sides:
        assert scene.call(name, "release") == 0
    assert "records-a: 9 bytes" in capfd.readouterr().err
    scene.guest.wait_for("completed")
    assert scene.call("analytics", "status", "-o", "json", "-q") == 0
    status = json.loads(capfd.readouterr().out)
    assert status["state"] == "completed"
    assert status["admitted"] == ["records-a", "records-b", "step-0", "step-1"]


def test_who_is_entitled_is_told_how_a_node_failed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`status` names the node that failed, and why, to the participant whose data alone reaches it, and to no other."""
    workers = ScriptedWorkers(failures={"step-0": "NODE_FUEL"})
    with LiveGuest(World(edit=_long_lived), workers=workers) as guest:
        scene = Scene(guest=guest, folder=tmp_path)
        guest.released().wait_for("failed")
        capfd.readouterr()
        for name, failures in (("hospital-a", {"step-0": "NODE_FUEL"}), ("hospital-b", {}), ("analytics", {})):
            assert scene.call(name, "status", "-o", "json", "-q") == 0
            assert json.loads(capfd.readouterr().out)["failures"] == failures
        assert scene.call("hospital-a", "status") == 0
        assert "NODE_FUEL: A component executed more instructions" in " ".join(capfd.readouterr().out.split())


def test_what_workers_lack_is_said_before_anything_is_signed(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """Isolation that the guest's log says is missing is shown by every command that decides for a person."""
    scene.guest.lock()
    assert scene.call("hospital-a", "verify") == 0
    assert "isolation      INCOMPLETE, without seccomp" in capfd.readouterr().out
    assert scene.call("hospital-a", "verify", "-o", "json") == 0
    assert json.loads(capfd.readouterr().out)["isolation_lacking"] == ["seccomp"]
    assert scene.call("hospital-a", "join", *scene.items("hospital-a"), "-o", "json") == 0
    joined = capfd.readouterr()
    assert "isolation of components: INCOMPLETE, without seccomp" in joined.err
    assert json.loads(joined.out)["isolation_lacking"] == ["seccomp"]


def test_the_salt_of_a_commitment_comes_from_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With its salt an item that the manifest commits to is joined with, and with another salt it is not."""
    plain = World()

    def edit(document) -> None:
        _long_lived(document)
        document["data"][0]["commitment"] = plain.commitment("records-a").hex()

    with LiveGuest(World(edit=edit)) as guest:
        scene = Scene(guest=guest, folder=tmp_path)
        guest.lock()
        for salt, status in ((bytes(32), 10), (plain.salt["records-a"], 0)):
            (tmp_path / "salt").write_text(strictjson.base64url(salt) + "\n")
            words = [*scene.items("hospital-a"), "--salt", f"records-a={tmp_path / 'salt'}", "-q"]
            assert scene.call("hospital-a", "join", *words) == status
    assert "ITEM_COMMITMENT_MISMATCH" in capfd.readouterr().err


def test_an_output_on_stdout_is_the_output_and_nothing_else(
    scene: Scene, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """`--save -` writes exactly the bytes."""
    scene.guest.lock()
    scene.release_all()
    capfdbinary.readouterr()
    assert scene.call("analytics", "output", "model", "--save", "-", "--keep") == 0
    assert capfdbinary.readouterr().out == b"model"


def test_a_withdrawal_is_the_end(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """After `withdraw` a release ends with 50, and the receipt says what happened."""
    scene.guest.lock()
    assert scene.call("hospital-b", "withdraw", "-q") == 0
    assert scene.call("hospital-a", "release", *scene.items("hospital-a"), "-q") == 50
    assert "LOG_STARTED" in capfd.readouterr().err
    assert scene.call("hospital-a", "output", "--receipt", str(scene.folder / "r.json"), "-q") == 0
    assert "withdrawn" in capfd.readouterr().out


def test_a_guest_that_is_not_locked(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """`verify` before the lock ends with 50 and says so."""
    assert scene.call("hospital-a", "verify") == 50
    assert "NOT_LOCKED" in capfd.readouterr().err


def test_a_refused_guest_in_json(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """`verify -o json` prints why a guest was refused, with every finding, and ends with that status."""
    (scene.folder / "policy.toml").write_text(POLICY + 'measurements = ["' + "ff" * 48 + '"]\n')
    scene.guest.lock()
    assert scene.call("hospital-a", "verify", "-o", "json") == 11
    refused = json.loads(capfd.readouterr().out)
    assert (refused["verdict"], refused["secure"]) == ("contraindicated", False)
    assert "policy.measurement" in {check["id"] for check in refused["checks"]}


def test_a_second_go_needs_the_word(scene: Scene, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A go for a second guest ends with 50, names `--again`, and is given with it."""
    with LiveGuest(scene.guest.world) as other:
        for guest in (scene.guest, other):
            guest.lock()
        assert scene.call("hospital-a", "join", *scene.items("hospital-a"), "-q") == 0
        (tmp_path / "root.pem").write_bytes(other.platform.root_pem)
        again = Scene(guest=other, folder=tmp_path)
        assert again.call("hospital-a", "join", *again.items("hospital-a"), "-q") == 50
        error = capfd.readouterr().err
        assert "GO_ALREADY_GIVEN" in error
        assert "--again" in error
        assert again.call("hospital-a", "join", *again.items("hospital-a"), "-q", "--again") == 0


def test_a_guest_of_another_root_is_not_authentic(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """Without the simulated root a simulated guest ends with 10."""
    scene.guest.lock()
    options = scene.options("hospital-a", without=("--simulated-root",))
    assert run(["verify", scene.guest.url, *options]) == 10
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    "words",
    [
        ["join", "GUEST"],
        ["join", "GUEST", "records-a"],
        ["join", "GUEST", "=x"],
        ["join", "GUEST", "records-a=x", "records-a=y"],
        ["join", "GUEST", "records-b=x"],
        ["join", "GUEST", "records-a=x", "--salt", "records-a=/nowhere"],
        ["join", "GUEST", "records-a=x", "--salt", "records-a=/dev/null"],
        ["join", "GUEST", "records-a=x", "--salt", "records-a=/proc/self/comm"],
        ["join", "GUEST", "records-a=x", "--salt", "records-b=/dev/null"],
        ["release", "GUEST", "records-a=x", "--at", "2026-01-01T00:00:00Z"],
        ["join", "GUEST", "records-a=x", "--at", "2026-01-01T00:00:00Z"],
        ["lock", "GUEST"],
        ["lock", "GUEST", "--consents", "/nowhere"],
        ["verify", "http://127.0.0.1:1"],
        ["verify", "https://127.0.0.1:1/path"],
        ["verify", "https://127.0.0.1:99999"],
        ["verify", "GUEST", "--manifest", "/nowhere"],
        ["verify", "GUEST", "--policy", "/nowhere"],
        ["output", "GUEST"],
        ["output", "GUEST", "evaluation"],
        ["output", "GUEST", "--save", "x"],
        ["output", "GUEST", "model", "--save", "x"],
    ],
)
def test_what_is_typed_wrong_is_a_usage_error(
    scene: Scene, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Wrong words end with 2 before anything is sent, and nothing is on stdout."""
    words = [scene.guest.url if word == "GUEST" else word for word in words]
    assert run([*words, *scene.options("hospital-a", without=tuple(words))]) == 2
    assert capfd.readouterr().out == ""


def test_simulated_roots_with_a_manifest_that_does_not_allow_them(
    scene: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    """Simulated roots beside such a manifest are a usage error."""

    def edit(document) -> None:
        set_at(document, "/platform/simulated", False)
        set_at(document, "/platform/products", ["Genoa"])

    (scene.folder / "manifest.json").write_bytes(World(edit=edit).raw)
    assert scene.call("hospital-a", "verify") == 2
    assert "does not allow a simulated platform" in capfd.readouterr().err


def test_keys_are_made_and_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`identity new` and `show` print the same entry, as TOML for an author or as JSON."""
    folder = str(tmp_path / "me")
    assert run(["identity", "new", folder, "--name", "hospital-a", "--consent", "p384"]) == 0
    made = capfd.readouterr().out
    assert made.startswith('[[participants]]\nname = "hospital-a"\n')
    assert run(["identity", "show", folder]) == 0
    assert capfd.readouterr().out == made
    assert run(["identity", "show", folder, "-o", "json"]) == 0
    assert json.loads(capfd.readouterr().out) == json.loads((tmp_path / "me" / "identity.json").read_text())
    assert run(["identity", "new", folder, "--name", "hospital-a"]) == 50
    assert run(["identity", "new", str(tmp_path / "x"), "--name", "../x"]) == 30
    assert run(["identity", "show", str(tmp_path / "nowhere")]) == 41


def test_only_participants_sign(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """Keys that the manifest does not know sign nothing."""
    assert run(["identity", "new", str(scene.folder / "x"), "--name", "hospital-a", "-q"]) == 0
    capfd.readouterr()
    assert run(["manifest", "sign", str(scene.folder / "manifest.json"), "--identity", str(scene.folder / "x")]) == 41
    assert capfd.readouterr().out == ""


def test_a_consent_is_the_statement_and_nothing_else(scene: Scene, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """`manifest sign` prints one canonical statement."""
    words = ["--identity", str(scene.folder / "hospital-a")]
    assert run(["manifest", "sign", str(scene.folder / "manifest.json"), *words]) == 0
    raw = capfdbinary.readouterr().out.removesuffix(b"\n")
    value = strictjson.parse_canonical(raw, document="statement", max_bytes=10_000)
    assert isinstance(value, dict)
    assert value["manifest"] == scene.guest.world.manifest.hash.hex()


def test_a_lock_without_everybodys_consent(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """Missing and foreign consents end with 10, and the guest stays unlocked."""
    consents = scene.sign()
    (consents / "analytics.json").unlink()
    assert scene.call("hospital-a", "lock", "--consents", str(consents)) == 10
    assert "CONSENTS_INCOMPLETE" in capfd.readouterr().err
    shutil.copy(consents / "hospital-a.json", consents / "analytics.json")
    assert scene.call("hospital-a", "lock", "--consents", str(consents)) == 10
    assert scene.guest.state == "unlocked"


def test_a_receipt_that_was_changed(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """`receipt verify` ends with 10 or 30 for a file in which anything is other than it was."""
    scene.guest.lock()
    assert scene.call("hospital-b", "withdraw", "-q") == 0
    receipt = scene.folder / "receipt.json"
    assert scene.call("hospital-a", "output", "--receipt", str(receipt), "-q") == 0
    judge = ["--manifest", str(scene.folder / "manifest.json"), "--policy", str(scene.folder / "policy.toml")]
    judge += ["--simulated-root", str(scene.folder / "root.pem"), "-q"]
    whole = receipt.read_bytes()
    for old, new, status in (
        (b'"withdrawn"', b'"completed"', 10),
        (b'"type":"withdraw"', b'"type":"run"', 30),
        (b'"participant":"hospital-b","seq"', b'"participant":"hospital-a","seq"', 10),
        (b'"schema"', b'"scheme"', 30),
    ):
        assert old in whole
        receipt.write_bytes(whole.replace(old, new))
        assert run(["receipt", "verify", str(receipt), *judge]) == status
    receipt.write_bytes(whole)
    assert run(["receipt", "verify", str(receipt), *judge, "--at", "2026-06-01T00:00:00Z"]) == 0
    assert run(["receipt", "verify", str(receipt), *judge, "--at", "yesterday"]) == 2
    capfd.readouterr()


def test_what_cannot_be_written_is_a_usage_error(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """A consent, keys or a receipt that cannot be written where they were wanted end with 2 and name the option."""
    nowhere, manifest = str(scene.folder / "no" / "x"), str(scene.folder / "manifest.json")
    assert run(["manifest", "sign", manifest, "--identity", str(scene.folder / "hospital-a"), "--out", nowhere]) == 2
    assert "--out" in capfd.readouterr().err
    assert run(["identity", "new", str(scene.folder / "root.pem" / "x"), "--name", "hospital-a"]) == 2
    assert "DIR" in capfd.readouterr().err
    scene.guest.lock()
    scene.release_all()
    assert scene.call("analytics", "output", "model", "--save", nowhere, "-q") == 2
    assert "--save" in capfd.readouterr().err
    assert scene.call("analytics", "output", "--receipt", nowhere, "-q") == 2
    assert "--receipt" in capfd.readouterr().err
    assert scene.call("analytics", "output", "model", "--save", str(scene.folder / "model"), "-q") == 0
