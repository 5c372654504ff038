"""What commands that release tell and watch, through the public command line alone, against a live guest."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.chaos import Wire
from tests.support.guest import ScriptedWorkers
from tests.support.manifests import World, set_at
from tests.support.sides import Side, release_all, sides
from tests.support.tampering import LyingGuest

from twocvm_guest.main import run

POLICY = 'name = "test"\nmax_crl_age_seconds = { unchecked = "these tests have no revocation list" }\n'
STRICT = 'name = "strict"\n'
NOTICE = "The host can recover much of the code of step-0, step-1"


def _long_lived(document) -> None:
    # Commands judge by the machine's own clock.
    set_at(document, "/not_after", "2100-01-01T00:00:00Z")


def _own_host(document) -> None:
    _long_lived(document)
    set_at(document, "/platform/operator", "analytics")


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LyingGuest]:
    """A locked guest, and the files and the empty store of everybody."""
    monkeypatch.setenv("TWOCVM_STORE", str(tmp_path / "store"))
    with LyingGuest(World(edit=_long_lived)) as locked:
        yield _prepared(locked, tmp_path)


def _prepared(guest: LyingGuest, folder: Path) -> LyingGuest:
    guest.lock()
    (folder / "manifest.json").write_bytes(guest.world.raw)
    (folder / "policy.toml").write_text(POLICY)
    (folder / "root.pem").write_bytes(guest.platform.root_pem)
    return guest


def _call(side: Side, folder: Path, command: str, *words: str, url: str = "", items: bool = True) -> int:
    named = [f"{name}={path}" for name, path in side.files.items()] if items else []
    options = ["--identity", str(side.identity.folder), "--manifest", str(folder / "manifest.json")]
    options += ["--policy", str(folder / "policy.toml"), "--simulated-root", str(folder / "root.pem")]
    return run([command, url or side.guest.url, *named, *words, *options])


def test_the_owner_of_code_is_told_before_it_leaves(
    guest: LyingGuest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`join` and `release` tell whoever owns components, on stderr, before a go; nobody else, and not with -q."""
    side = Side(guest, "analytics", tmp_path)
    joined = []
    guest.hooks["/v1/join"] = lambda: joined.append(NOTICE in capfd.readouterr().err)
    assert _call(side, tmp_path, "join") == 0
    assert joined == [True]
    assert _call(side, tmp_path, "release", "--wait", "0") == 40
    assert NOTICE in capfd.readouterr().err
    for who, words in (("analytics", ["--wait", "0", "-q"]), ("hospital-a", ["--wait", "0"])):
        assert _call(Side(guest, who, tmp_path), tmp_path, "release", *words) == 40
        assert "recover" not in capfd.readouterr().err


def test_who_operates_the_host_is_told_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A component's owner who is the host's operator by the manifest learns nothing from such a notice."""
    with LyingGuest(World(edit=_own_host)) as guest:
        assert _call(Side(_prepared(guest, tmp_path), "analytics", tmp_path), tmp_path, "join") == 0
    assert "recover" not in capfd.readouterr().err


def test_the_library_tells_whoever_asks(guest: LyingGuest, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The notice is a value with names; by default it is logged, and who raises in it prevents the go."""
    side = Side(guest, "analytics", tmp_path)
    with side.connect() as session:
        assert session.notice is not None
        assert (session.notice.components, session.notice.operator) == (("step-0", "step-1"), "external")

        def prevent(_notice) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            session.join(side.files, notify=prevent)
        assert session.log().goes == {}
        session.join(side.files)
    assert [record.name for record in caplog.records if NOTICE in record.message] == ["twocvm.sdk"]
    with Side(guest, "hospital-a", tmp_path).connect() as session:
        assert session.notice is None


def test_release_stays_and_watches(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`release --watch` comes back when the session has ended, and asks for fresh proofs until then."""
    workers = ScriptedWorkers()
    workers.may_end.clear()
    with LyingGuest(World(edit=_long_lived), workers=workers) as guest:
        everybody = release_all(_prepared(guest, tmp_path), tmp_path)
        proofs: list[str] = []

        def count() -> None:
            proofs.append("")
            if len(proofs) == 5:
                workers.may_end.set()

        guest.hooks["/.well-known/2cvm/attest"] = count
        words = ["--watch", "--proof-every", "0.05", "-o", "json"]
        assert _call(everybody["hospital-a"], tmp_path, "release", *words) == 0
    assert json.loads(capfd.readouterr().out)["state"] == "completed"
    assert len(proofs) >= 5


@pytest.mark.parametrize(("rule", "state"), [("withdraw", "withdrawn"), ("report", "locked")])
def test_a_failed_proof_ends_the_command(
    guest: LyingGuest, tmp_path: Path, rule: str, state: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A swapped guest ends a waiting `release` with 10, and the rule decides whether the session ends with it."""
    side = sides(guest, tmp_path)["hospital-a"]
    with LyingGuest(guest.world) as other, Wire(guest) as wire:
        other.lock()
        guest.hooks["/v1/join"] = lambda: wire.targets.append(other)
        words = ["--proof-every", "0.05", "--on-failed-proof", rule]
        assert _call(side, tmp_path, "release", *words, url=wire.url) == 10
    assert "GUEST_REPLACED" in capfd.readouterr().err
    assert guest.state == state


def test_what_is_no_interval_is_a_usage_error(guest: LyingGuest, tmp_path: Path) -> None:
    """A fresh proof cannot be asked for all the time or never, and a rule has a name."""
    side = Side(guest, "hospital-a", tmp_path)
    for interval in ("0", "-1", "nan", "inf", "1e300"):
        assert _call(side, tmp_path, "release", "--proof-every", interval) == 2
    for seconds in ("-1", "nan", "inf"):
        assert _call(side, tmp_path, "release", "--wait", seconds) == 2
    assert _call(side, tmp_path, "release", "--on-failed-proof", "hope") == 2
    assert _call(side, tmp_path, "release", "--held", "somebody-elses") == 2
    assert guest.count("POST /v1/join") == 0


def test_a_policy_that_demands_host_data(guest: LyingGuest, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`verify` under `require_host_data` ends with 11 for a guest that was not born locked."""
    (tmp_path / "policy.toml").write_text(POLICY + "require_host_data = true\n")
    assert _call(Side(guest, "hospital-a", tmp_path), tmp_path, "verify", items=False) == 11
    assert "HOST_DATA_MISMATCH" in capfd.readouterr().err


def test_a_receipt_years_later(guest: LyingGuest, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """For every outcome the one file is enough, offline: at its time by any rule, later as long as the rule allows."""
    side = Side(guest, "hospital-a", tmp_path)
    assert _call(side, tmp_path, "withdraw", items=False) == 0
    receipt = tmp_path / "receipt.json"
    assert _call(side, tmp_path, "output", "--receipt", str(receipt), items=False) == 0
    guest.stop()
    judge = ["receipt", "verify", str(receipt), "--simulated-root", str(tmp_path / "root.pem"), "--offline", "-q"]
    lenient, strict = tmp_path / "policy.toml", tmp_path / "strict.toml"
    strict.write_text(STRICT)
    manifest = guest.world.manifest.hash.hex()
    for policy, at, status in (
        (lenient, "2026-01-20T00:00:00Z", 0),
        (lenient, "2032-06-01T00:00:00Z", 0),
        (strict, "2026-01-20T00:00:00Z", 0),
        (strict, "2032-06-01T00:00:00Z", 40),
        (lenient, "2060-01-01T00:00:00Z", 10),
    ):
        words = ["--manifest", manifest, "--policy", str(policy), "--at", at]
        assert run([*judge, *words]) == status, (policy.name, at, capfd.readouterr().err)
    assert "withdrawn" in capfd.readouterr().out
