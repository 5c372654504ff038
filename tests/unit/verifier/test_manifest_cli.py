"""`twocvm manifest`, as a person runs it."""

from __future__ import annotations

import copy
import io
import json
import sys
from pathlib import Path

import pytest
from tests.support.manifests import Document, World

from twocvm_guest.main import run

WORLD = World()


@pytest.fixture
def valid(tmp_path: Path) -> str:
    """A canonical manifest's file."""
    path = tmp_path / "manifest.json"
    path.write_bytes(WORLD.raw)
    return str(path)


def _authored(tmp_path: Path, document: Document) -> str:
    path = tmp_path / "authored.json"
    path.write_text(json.dumps(document, indent=2))
    return str(path)


def test_new_writes_canonical_bytes(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """An authored document becomes exactly the canonical bytes, in a file or on stdout."""
    source, out = _authored(tmp_path, WORLD.document), tmp_path / "out.json"
    assert run(["manifest", "new", source, "--out", str(out)]) == 0
    assert out.read_bytes() == WORLD.raw
    capsysbinary.readouterr()
    assert run(["manifest", "new", source]) == 0
    written = capsysbinary.readouterr()
    assert written.out == WORLD.raw
    assert WORLD.manifest.hash.hex().encode() in written.err


def test_new_draws_a_salt(tmp_path: Path) -> None:
    """Two manifests from one document without a salt have two hashes."""
    document = {key: member for key, member in WORLD.document.items() if key != "salt"}
    source, outs = _authored(tmp_path, document), [tmp_path / "1", tmp_path / "2"]
    for out in outs:
        assert run(["manifest", "new", source, "--out", str(out)]) == 0
    assert outs[0].read_bytes() != outs[1].read_bytes()


def test_new_takes_toml(tmp_path: Path) -> None:
    """A document that is not JSON is TOML."""
    source, out = tmp_path / "authored.toml", tmp_path / "out.json"
    document = copy.deepcopy(WORLD.document)
    rules = document.pop("rules")
    lines = [f"{key} = {json.dumps(member)}" for key, member in document.items() if isinstance(member, str | int)]
    tables = [
        f"[[{key}]]\n" + "\n".join(f"{name} = {_toml(value)}" for name, value in member.items())
        for key, members in document.items()
        if isinstance(members, list)
        for member in members
    ]
    platform = "[platform]\n" + "\n".join(f"{name} = {_toml(value)}" for name, value in document["platform"].items())
    source.write_text(
        "\n".join([*lines, *tables, platform, f"[rules]\ndeadline_seconds = {rules['deadline_seconds']}"])
    )
    assert run(["manifest", "new", str(source), "--out", str(out)]) == 0
    assert out.read_bytes() == WORLD.raw


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(member)}" for key, member in value.items()) + "}"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def test_new_refuses_with_the_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A document that is not valid is not written, and every reason is told."""
    source, out = _authored(tmp_path, WORLD.document | {"name": "X", "extra": 1}), tmp_path / "out.json"
    assert run(["manifest", "new", source, "--out", str(out)]) == 30
    assert not out.exists()
    told = capsys.readouterr().err
    assert "MALFORMED_MANIFEST" in told
    assert "/extra" in told
    assert "name" in told


def test_hash(valid: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The hash is printed alone, so that it can be compared and passed on."""
    assert run(["manifest", "hash", valid]) == 0
    assert capsys.readouterr().out == WORLD.manifest.hash.hex() + "\n"


def test_hash_from_stdin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A dash is stdin."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(WORLD.raw)))
    assert run(["manifest", "hash", "-"]) == 0
    assert capsys.readouterr().out.strip() == WORLD.manifest.hash.hex()


def test_check_accepts(valid: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A valid manifest is said to be one, to people and to programs."""
    assert run(["manifest", "check", valid]) == 0
    assert capsys.readouterr().out == "test-study is valid\n"
    assert run(["manifest", "check", valid, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"valid": True, "hash": WORLD.manifest.hash.hex(), "problems": []}


def test_check_lists_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each problem is one line, and one object for programs; the exit status is that of a malformed document."""
    path = tmp_path / "bad.json"
    path.write_bytes(World(edit=lambda document: document.update(name="X", extra=1)).raw)
    assert run(["manifest", "check", str(path)]) == 30
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert run(["manifest", "check", str(path), "-o", "json"]) == 30
    result = json.loads(capsys.readouterr().out)
    assert (result["valid"], result["code"]) == (False, "MALFORMED_MANIFEST")
    assert {problem["pointer"] for problem in result["problems"]} == {"/extra", "/name"}


def test_check_takes_toml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An author can check a TOML document before it is made canonical; what is not UTF-8 is refused."""
    path = tmp_path / "authored.toml"
    path.write_text("version = 2\n")
    assert run(["manifest", "check", str(path)]) == 30
    assert "/version" in capsys.readouterr().out
    path.write_bytes(b"\xff")
    assert run(["manifest", "check", str(path)]) == 30


def test_check_demands_canonical_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON that is not canonical is not what anybody signs."""
    path = tmp_path / "loose.json"
    path.write_bytes(WORLD.raw + b"\n")
    assert run(["manifest", "check", str(path)]) == 30
    assert "canonical" in capsys.readouterr().out


def test_unsupported_is_20(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A manifest with a filter of a later version ends with the status of what is unsupported."""
    path = tmp_path / "later.json"
    later = {"name": "noise", "owner": "analytics", "builtin": "laplace", "parameters": {"epsilon": 1}}
    path.write_bytes(World(edit=lambda document: document.update(filters=[later])).raw)
    assert run(["manifest", "check", str(path)]) == 20
    assert "UNSUPPORTED_FILTER" in capsys.readouterr().err


def test_show(valid: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Participants, data and outputs are shown; programs get the manifest itself."""
    assert run(["manifest", "show", valid]) == 0
    text = capsys.readouterr().out
    assert "records-a, of hospital-a" in text
    assert "Outputs" in text
    assert run(["manifest", "show", valid, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"] == json.loads(WORLD.raw)


def test_show_warns_of_simulated_platforms_where_they_are_accepted(
    tmp_path: Path, valid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest that accepts them says so to whoever reads it, and no other manifest does."""
    hardware = tmp_path / "hardware.json"
    edit = {"simulated": False, "products": ["Milan"]}
    hardware.write_bytes(World(edit=lambda document: document["platform"].update(edit)).manifest.raw)
    warned = []
    for path in (valid, str(hardware)):
        assert run(["manifest", "show", path]) == 0
        warned.append("SIMULATED platforms are accepted" in capsys.readouterr().out)
    assert warned == [True, False]


def test_diff(tmp_path: Path, valid: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The places that differ are printed; nothing is printed for the same manifest."""
    other = tmp_path / "other.json"
    other.write_bytes(World(edit=lambda document: document.update(purpose="Another")).raw)
    assert run(["manifest", "diff", valid, str(other)]) == 0
    assert capsys.readouterr().out == 'purpose: "A test" -> "Another"\n'
    assert run(["manifest", "diff", valid, str(other), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"place": "purpose", "before": '"A test"', "after": '"Another"'}]
    assert run(["manifest", "diff", valid, valid]) == 0
    assert capsys.readouterr().out == ""


def test_files_that_cannot_be_read_or_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there, or a place where none can be, is a mistake of usage."""
    assert run(["manifest", "hash", str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err
    source = _authored(tmp_path, WORLD.document)
    assert run(["manifest", "new", source, "--out", str(tmp_path / "no" / "such" / "folder")]) == 2
