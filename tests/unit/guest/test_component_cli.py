"""`twocvm component inspect|check`, as their author calls them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from tests.support.actor import ACTOR, ACTOR_IMPORTS, RUN, Stage, wat
from typer.testing import CliRunner, Result

from twocvm_guest.component_cli import app
from twocvm_verifier.errors import ComponentError, MalformedError


def call(*arguments: str | Path) -> Result:
    """The result of `twocvm component` with these arguments."""
    return CliRunner().invoke(app, ["component", *map(str, arguments)])


@pytest.fixture
def actor(tmp_path: Path) -> Path:
    """The actor as a file."""
    path = tmp_path / "actor.wasm"
    path.write_bytes(ACTOR)
    return path


def manifest(folder: Path, stage: Stage) -> Path:
    """The stage's manifest as a file."""
    path = folder / "manifest.json"
    path.write_bytes(stage.manifest.raw)
    return path


def test_inspect_shows_digest_profile_and_types(actor: Path) -> None:
    """The text form names digest, size and profile, and every function with its type in the words of WIT."""
    result = call("inspect", actor)
    assert result.exit_code == 0
    assert f"sha256   {hashlib.sha256(ACTOR).hexdigest()}" in result.stdout
    assert "profile  files" in result.stdout
    assert "    exit: func(status: result)" in result.stdout
    assert "    [method]descriptor.stat: func(self: borrow<descriptor>) -> result<descriptor-stat, error-code>" in (
        result.stdout
    )


def test_inspect_gives_the_names_a_manifest_needs(actor: Path) -> None:
    """The JSON form has exactly the imports and exports that the manifest must list."""
    found = json.loads(call("inspect", actor, "-o", "json").stdout)
    assert (tuple(found["imports"]), tuple(found["exports"])) == (ACTOR_IMPORTS, (RUN,))
    assert (found["profile"], found["size_bytes"]) == ("files", len(ACTOR))
    assert found["exports"][RUN] == {"run": "func() -> result"}


def test_inspect_knows_every_type(tmp_path: Path) -> None:
    """All kinds of types that a component can have are spelled as WIT spells them."""
    path = tmp_path / "types.wasm"
    path.write_bytes(
        wat("""(component
          (import "example:all/types@1.0.0" (instance
            (export "thing" (type $thing (sub resource)))
            (type $row (record (field "a" bool) (field "b" (option string))))
            (export "row" (type $row2 (eq $row)))
            (type $choice (variant (case "one" u8) (case "none")))
            (export "choice" (type $choice2 (eq $choice)))
            (export "use" (func (param "x" (list f64)) (param "y" (tuple s8 char)) (result (result $row2 (error u16)))))
            (export "make" (func (result (own $thing))))
            (export "take" (func (param "c" $choice2) (param "t" (borrow $thing))))))
          (import "plain" (func (param "n" s64)))
          (import "code" (core module)))""")
    )
    found = json.loads(call("inspect", path, "-o", "json").stdout)
    assert found["profile"] == ""
    assert found["imports"]["example:all/types@1.0.0"] == {
        "thing": "resource",
        "row": "record { a: bool, b: option<string> }",
        "choice": "variant { one(u8), none }",
        "use": "func(x: list<f64>, y: tuple<s8, char>) -> result<row, u16>",
        "make": "func() -> thing",
        "take": "func(c: choice, t: borrow<thing>)",
    }
    assert found["imports"]["plain"] == {"plain": "func(n: s64)"}
    assert found["imports"]["code"] == {"code": "module"}
    assert "none: it imports what no profile allows" in call("inspect", path).stdout


@pytest.mark.parametrize(("content", "error"), [(b"(component)", ComponentError), (b"garbage", MalformedError)])
def test_what_is_no_component_is_refused(tmp_path: Path, content: bytes, error: type[Exception]) -> None:
    """Text and garbage are refused with the error that admission gives."""
    path = tmp_path / "file.wasm"
    path.write_bytes(content)
    assert isinstance(call("inspect", path).exception, error)


def test_check_says_that_a_guest_admits(tmp_path: Path, actor: Path) -> None:
    """A component that is what the manifest says is admitted: exit 0, found by its digest or by its name."""
    path = manifest(tmp_path, Stage(inputs={"script": b""}))
    by_digest = call("check", actor, "--manifest", path)
    assert (by_digest.exit_code, by_digest.stdout) == (0, "actor: a guest admits it\n")
    by_name = call("check", actor, "--manifest", path, "--component", "actor", "-o", "json")
    assert json.loads(by_name.stdout) == {"component": "actor", "admitted": True, "problems": []}


def test_check_lists_every_difference(tmp_path: Path, actor: Path) -> None:
    """Every name too many and every name missing is listed, and the exit status is that of a refusal."""
    wrong = Stage(
        inputs={"script": b""},
        imports=("wasi:filesystem/types@0.2.3", *ACTOR_IMPORTS[1:]),
        exports=(RUN, "example:more/things@1.0.0"),
    )
    result = call("check", actor, "--manifest", manifest(tmp_path, wrong), "-o", "json")
    assert result.exit_code == 11
    problems = {(each["code"], each["detail"]) for each in json.loads(result.stdout)["problems"]}
    assert problems == {
        ("COMPONENT_IMPORTS", f"imports {ACTOR_IMPORTS[0]!r}, which the manifest does not list"),
        ("COMPONENT_IMPORTS", "imports no 'wasi:filesystem/types@0.2.3', which the manifest lists"),
        ("COMPONENT_EXPORTS", "exports no 'example:more/things@1.0.0', which the manifest lists"),
    }


def test_check_compares_types_as_admission_does(tmp_path: Path) -> None:
    """A component with the right names and a wrong type is refused with admission's own code."""
    content = wat(f"""(component
        (import "wasi:cli/exit@0.2.0" (instance (export "exit" (func (param "status" u32)))))
        (core module $main (func (export "run") (result i32) i32.const 0))
        (core instance $i (instantiate $main))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $interface (export "run" (func $run)))
        (export "{RUN}" (instance $interface)))""")
    path = tmp_path / "wrong.wasm"
    path.write_bytes(content)
    stage = Stage(wasm=content, imports=("wasi:cli/exit@0.2.0",), inputs={"script": b""})
    result = call("check", path, "--manifest", manifest(tmp_path, stage))
    assert result.exit_code == 11
    assert result.stdout.startswith("COMPONENT_TYPES: ")


def test_check_of_another_build_names_both_digests(tmp_path: Path) -> None:
    """A component that is not the manifest's build is told so when its name is given, and asked for it when not."""
    path = tmp_path / "other.wasm"
    path.write_bytes(wat("(component)"))
    document = manifest(tmp_path, Stage(inputs={"script": b""}))
    named = call("check", path, "--manifest", document, "--component", "actor")
    assert named.exit_code == 11
    assert named.stdout.startswith(f"COMPONENT_DIGEST: has SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
    assert "COMPONENT_ENTRY: has no entry" in named.stdout
    assert call("check", path, "--manifest", document).exit_code == 2
    assert call("check", path, "--manifest", document, "--component", "nobody").exit_code == 2


def test_a_component_comes_from_stdin(tmp_path: Path) -> None:
    """A dash stands for standard input, and what cannot be read is a usage error."""
    result = CliRunner().invoke(app, ["component", "inspect", "-", "-o", "json"], input=ACTOR)
    assert json.loads(result.stdout)["sha256"] == hashlib.sha256(ACTOR).hexdigest()
    for unreadable in (tmp_path, tmp_path / "nowhere"):
        assert call("inspect", unreadable).exit_code == 2
