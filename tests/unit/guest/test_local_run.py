"""A local run tells everything, is the guest's own runtime otherwise, and no guest can have what it has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.actor import ACTOR, ACTOR_IMPORTS, MEBIBYTE, Stage, act, isolation, item, run, script, staged, wat
from tests.support.wat_calls import ADDER, adder, calls_adder
from typer.testing import CliRunner, Result

from twocvm_guest.local.run import LocalRun, run_local
from twocvm_guest.local.show import as_json, lines
from twocvm_guest.local_cli import app
from twocvm_guest.runtime import messages
from twocvm_guest.runtime.supervisor import Runtime
from twocvm_verifier.codes import CODES

MANIFEST = """
[[components]]
name = "actor"
limits = { memory_bytes = 67108864, wall_seconds = 20, output_bytes = 100000 }

[[data]]
name = "script"
max_bytes = 1000

[[channels]]
from = "data:script"
to = "component:actor.script"
kind = "file"
max_bytes = 1000

[[outputs]]
name = "report"
from = "component:actor.report"
max_bytes = 100000
"""


def told(*commands: str, **options: Any) -> LocalRun:
    """How a local run of the actor went."""
    stage = Stage(inputs=script(*commands), **options)
    with ExitStack() as held:
        own = held.enter_context(closing(item("actor", ACTOR)))
        data = held.enter_context(closing(item("item-script", stage.inputs["script"])))
        ran = run_local(stage.manifest, components={"actor": own}, data={"item-script": data}, isolation=isolation())
        for each in ran.outputs.values():
            held.enter_context(closing(each))
    return ran


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a draft, its component beside it, and a script."""
    (tmp_path / "local.toml").write_text(MANIFEST)
    (tmp_path / "actor.wasm").write_bytes(ACTOR)
    (tmp_path / "script").write_text("stdout 3\nlist /in\n")
    return tmp_path


def call(folder: Path, *arguments: str | Path, data: str = "script") -> Result:
    """The result of `twocvm run --local` in a folder."""
    options = ["--local", str(folder / "local.toml"), "--data", f"script={folder / data}"]
    return CliRunner().invoke(app, [*options, *map(str, arguments)])


def test_everything_about_a_node_is_told() -> None:
    """Time, memory and fuel of a node that ended well are there, within its limits."""
    (node,) = told("list /in", fuel=10_000_000).nodes
    assert (node.name, node.code, node.fuel_limit) == ("actor", "", 10_000_000)
    assert node.told is not None
    assert node.told.has_ended
    assert 0 < node.told.fuel < node.fuel_limit
    assert 0 < node.told.memory_bytes <= node.memory_limit_bytes
    assert 0 < node.told.seconds < 20


def test_what_a_component_says_is_told_up_to_a_bound() -> None:
    """Stdout and stderr come in order, a pipe's worth at most, and what was dropped is counted."""
    ran = told("stdout 3")
    (node,) = ran.nodes
    assert ran.code == ""
    assert node.told is not None
    assert 0 < len(node.told.said) <= 1 << 16
    assert node.told.dropped_bytes > 0


@pytest.mark.parametrize(
    ("command", "code", "cause"),
    [
        ("trap", "NODE_TRAPPED", "unreachable"),
        ("outside", "NODE_TRAPPED", "out of bounds"),
        ("recurse", "NODE_STACK", "call stack exhausted"),
        ("grow 1048576", "NODE_MEMORY", ""),
        ("exit 3", "NODE_EXIT", ""),
    ],
)
def test_why_a_node_failed_is_told(command: str, code: str, cause: str) -> None:
    """Each kind of end has its code and what the engine says of it."""
    ran = told(command, memory_bytes=64 * MEBIBYTE)
    (node,) = ran.nodes
    assert (ran.code, node.code, dict(ran.outputs)) == (code, code, {})
    assert node.told is not None
    assert cause in node.told.cause
    assert (node.told.exit_code >= 0) == (code == "NODE_EXIT")
    assert CODES[code].meaning in "\n".join(lines(ran))


def test_a_node_that_was_ended_told_what_it_said_before() -> None:
    """A component that is killed leaves no figures, and the lines that it said until then."""
    (node,) = told("stdout 3", "loop", wall_seconds=1).nodes
    assert node.code == "NODE_TIME"
    assert node.told is not None
    assert not node.told.has_ended
    assert node.told.said


def test_the_same_outcome_with_a_witness_and_without() -> None:
    """Being watched changes nothing: outputs, their digests and failures are those of the guest's own runtime."""
    commands = ("list /in", "clocks", "stdout 3", "environment")
    ran, guest = told(*commands), act(*commands)
    assert ran.outputs["output-report"].sha256 == hashlib.sha256(guest.outputs["report"]).digest()
    assert told("trap").code == act("trap").failure


# Fails where its standard error takes more at a time than a stream with a listener does.
LISTENS = """(component
  (import "wasi:io/error@0.2.0" (instance $io-error (export "error" (type (sub resource)))))
  (alias export $io-error "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer 1 $error (type $o)) (export "error" (type $own (eq $o)))
    (export "output-stream" (type $output (sub resource)))
    (type $f (variant (case "last-operation-failed" (own $own)) (case "closed")))
    (export "stream-error" (type $se (eq $f)))
    (export "[method]output-stream.check-write"
      (func (param "self" (borrow $output)) (result (result u64 (error $se)))))))
  (alias export $streams "output-stream" (type $stream))
  (import "wasi:cli/stderr@0.2.0" (instance $stderr
    (alias outer 1 $stream (type $o)) (export "output-stream" (type $os (eq $o)))
    (export "get-stderr" (func (result (own $os))))))
  (core module $memory (memory (export "m") 1))
  (core instance $mi (instantiate $memory))
  (core func $check (canon lower (func $streams "[method]output-stream.check-write") (memory (core memory $mi "m"))))
  (core func $get (canon lower (func $stderr "get-stderr")))
  (core module $main
    (import "" "check" (func $check (param i32 i32))) (import "" "get" (func $get (result i32)))
    (import "" "m" (memory 1))
    (func (export "run") (result i32)
      (call $check (call $get) (i32.const 16)) (i64.gt_u (i64.load (i32.const 24)) (i64.const 8192))))
  (core instance $it (instantiate $main
    (with "" (instance (export "check" (func $check)) (export "get" (func $get)) (export "m" (memory $mi "m"))))))
  (func $run (result (result)) (canon lift (core func $it "run")))
  (instance $entry (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $entry)))"""


def test_a_component_cannot_tell_whether_it_is_watched() -> None:
    """Its streams take as much at a time in a guest, where nobody listens, as where somebody does."""
    wasm = wat(LISTENS)
    imports = ("wasi:cli/stderr@0.2.0", "wasi:io/error@0.2.0", "wasi:io/streams@0.2.0")
    stage = Stage(wasm=wasm, imports=imports)
    runtime = staged(stage)
    in_guest = run(runtime, stage).failure
    runtime.wipe()
    with closing(item("actor", wasm)) as own:
        ran = run_local(stage.manifest, components={"actor": own}, data={}, isolation=isolation())
    # It ends well by its own account, and leaves no output.
    assert (in_guest, ran.code) == ("OUTPUT_MISSING", "OUTPUT_MISSING")


def test_the_guests_runtime_has_no_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    """No job of the runtime that guests make has a witness, and the runtime takes no argument that could give one."""
    witnesses = []
    encode = messages.encode_job

    def noting(job: messages.Job) -> bytes:
        witnesses.append(job.witness)
        return encode(job)

    monkeypatch.setattr(messages, "encode_job", noting)
    assert act("stdout 3").failure == ""
    assert set(witnesses) == {()}
    assert Runtime.__init__.__kwdefaults__ is None
    assert set(Runtime.__init__.__annotations__) == {"manifest", "isolation", "return"}


def test_a_filter_that_refuses_is_named(folder: Path) -> None:
    """An output that a guest would hand to nobody is not written, nor left from before, and the filter is named."""
    limited = (
        '\nfilters = ["small"]\n\n[[filters]]\nname = "small"\nbuiltin = "max_bytes"\nparameters = { max_bytes = 1 }\n'
    )
    (folder / "local.toml").write_text(MANIFEST.rstrip() + limited)
    (folder / "out").mkdir()
    (folder / "out" / "report").write_text("what an earlier run left")
    result = call(folder, "--out", folder / "out", "-o", "json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["outcome"], found["code"]) == (11, "failed", "FILTER_TOO_LARGE")
    assert found["refused"] == {"report/small": "FILTER_TOO_LARGE"}
    assert list((folder / "out").iterdir()) == []
    assert "filter report/small: refused, FILTER_TOO_LARGE" in call(folder).stdout


def test_the_command_writes_outputs_and_says_how_it_went(folder: Path) -> None:
    """A draft is completed, run, and its outputs are written under their names."""
    result = call(folder, "--out", folder / "out")
    assert result.exit_code == 0
    assert "actor: ended well" in result.stdout
    assert result.stdout.endswith("completed\n")
    assert b"list: . .. script" in (folder / "out" / "report").read_bytes()
    found = json.loads(call(folder, "-o", "json").stdout)
    assert found["outputs"]["report"]["bytes"] == (folder / "out" / "report").stat().st_size
    assert found["nodes"][0]["measured"]


def test_what_a_component_says_cannot_move_the_terminal(folder: Path) -> None:
    """Control characters of a component are spelled out."""
    from twocvm_guest.local.show import plain

    assert plain("a\x1b[2J\tb\x07") == "a\\x1b[2J\tb\\x07"


def test_a_node_behind_a_failed_one_is_not_run(folder: Path) -> None:
    """Where a run ends early, the nodes that never started are said to be just that."""
    second = MANIFEST.replace('"actor"', '"second"').partition("[[data]]")[0]
    wired = (
        '[[channels]]\nfrom = "component:actor.report"\nto = "component:second.script"\nkind = "file"\nmax_bytes = 10\n'
    )
    text = MANIFEST.replace("component:actor.report", "component:second.report") + second + wired
    (folder / "local.toml").write_text(text)
    (folder / "script").write_text("exit 3")
    result = call(folder, "--component", f"second={folder / 'actor.wasm'}")
    assert result.exit_code == 11
    assert "second: not run" in result.stdout
    assert "  exit status 1" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--data", "other=x"), id="unknown data"),
        pytest.param(("--component", "other=x"), id="unknown component"),
        pytest.param(("--component", "actor"), id="no file"),
        pytest.param(("--component", "actor=/nowhere"), id="missing file"),
        pytest.param(("--data", "script=x"), id="a name twice"),
        pytest.param(("--out", "/dev/null/x"), id="no folder"),
    ],
)
def test_a_wrong_option_is_a_usage_error(folder: Path, arguments: tuple[str, ...]) -> None:
    """Names that the manifest has not got, files that are not there and folders that cannot be are said."""
    assert call(folder, *arguments).exit_code == 2


def test_missing_data_is_a_usage_error(folder: Path) -> None:
    """Every data item must be given."""
    result = CliRunner().invoke(app, ["--local", str(folder / "local.toml")])
    assert result.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"components": 7, "participants": 7, "rules": 7}',
        '{"components": [7, {"name": 7}, {"name": "../x"}], "participants": [7]}',
    ],
)
def test_a_document_that_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    """Whatever it holds, the manifest's own rules refuse it, and no file beside it is looked for."""
    (folder / "local.toml").write_text(text if text.startswith("{") else "x = 1")
    error = call(folder).exception
    assert getattr(error, "code", "") == "MALFORMED_MANIFEST"


def test_a_whole_manifest_runs_as_it_is(folder: Path) -> None:
    """Nothing is filled in where a digest is given: a component that imports more is refused as a guest refuses it."""
    stage = Stage(inputs=script("list /in"), imports=ACTOR_IMPORTS[1:])
    (folder / "local.toml").write_bytes(stage.manifest.raw)
    (folder / "script").write_text("list /in")
    options = ["--local", str(folder / "local.toml"), "--data", f"item-script={folder / 'script'}"]
    error = CliRunner().invoke(app, options).exception
    assert getattr(error, "code", "") == "COMPONENT_IMPORTS"


CALLS = f"""
[[components]]
name = "asks"
limits = {{ memory_bytes = 67108864, wall_seconds = 20, output_bytes = 8 }}

[[components]]
name = "answers"
limits = {{ memory_bytes = 67108864, wall_seconds = 20, output_bytes = 8 }}

[[channels]]
from = "component:answers.{ADDER}"
to = "component:asks.{ADDER}"
kind = "call"

[[outputs]]
name = "sum"
from = "component:asks.report"
max_bytes = 8
"""


def test_components_joined_by_a_call_are_completed_and_run(tmp_path: Path) -> None:
    """A draft of a node of two: each gets its own profile and entry, and the node is told of by its name."""
    (tmp_path / "local.toml").write_text(CALLS)
    (tmp_path / "answers.wasm").write_bytes(adder().wasm)
    (tmp_path / "asks.wasm").write_bytes(calls_adder("(call $add (i64.const 40) (i64.const 2))").wasm)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["--local", str(tmp_path / "local.toml"), "--out", str(out)])
    assert result.exit_code == 0
    assert "asks: ended well" in result.stdout
    assert int.from_bytes((out / "sum").read_bytes(), "little") == 42


def test_the_json_form_has_every_member() -> None:
    """A run for programs says of each node all that is known, also where it was not measured."""
    found: Mapping[str, Any] = as_json(told("loop", wall_seconds=1))
    (node,) = found["nodes"]
    assert (node["measured"], node["exit_code"], node["code"]) == (False, -1, "NODE_TIME")
