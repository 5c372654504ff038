"""What an author begins with, builds with, and is told."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import wasmtime
from tests.support.actor import ACTOR, isolation, item, wat
from typer.testing import CliRunner, Result
from wasmtime import component as wasm

from twocvm_guest.authoring import language
from twocvm_guest.authoring.advice import advice
from twocvm_guest.authoring.build import SDK, build
from twocvm_guest.authoring.language import Language, require_tool
from twocvm_guest.authoring.verdict import judge_alone
from twocvm_guest.authoring.wrap import Call, Lift, wrap
from twocvm_guest.component_cli import app
from twocvm_guest.main import run as twocvm
from twocvm_verifier.codes import CODES
from twocvm_verifier.errors import ComponentError, UnsupportedError

ROOT = Path(__file__).parents[3]
# A core module as the SDK's sources give it, with as many imports as its text has.
CORE = """(module {}
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
  (func (export "wasi:cli/run@0.2.0#run") (result i32) i32.const 0))"""
WINDOW = """#include "window.h"
bool run(void) {
    struct text item;
    return open_window("item", &item) && !read_port("/in/item/data", &(struct text){0}) &&
           write_port("/out/copy/data", item);
}
"""
WINDOWED = """
[[components]]
name = "looks"
limits = { memory_bytes = 16777216, wall_seconds = 10, output_bytes = 300000 }

[[data]]
name = "item"
max_bytes = 300000

[[channels]]
from = "data:item"
to = "component:looks.item"
kind = "window"
max_bytes = 300000

[[outputs]]
name = "copy"
from = "component:looks.copy"
max_bytes = 300000
"""
PREOPENS = '(import "wasi:filesystem/preopens@0.2.0" "get-directories" (func (param i32)))'
STDERR = '(import "wasi:cli/stderr@0.2.0" "get-stderr" (func (result i32)))'


def call(*arguments: str | Path) -> Result:
    """The result of `twocvm component` with these arguments."""
    return CliRunner().invoke(app, ["component", *map(str, arguments)])


def core(imports: str = "", more: str = "") -> bytes:
    """A core module with these imports and further fields."""
    return bytes(wasmtime.wat2wasm(CORE.format(imports).removesuffix(")") + more + ")"))


def imports_of(component: bytes) -> set[str]:
    """The names of everything that a component imports."""
    engine = wasmtime.Engine()
    return set(wasm.Component(engine, component).type.imports(engine))


def needs(tool: Language, folder: Path) -> None:
    """Skip, visibly, where the tool of a language is not installed."""
    try:
        require_tool(tool, folder)
    except UnsupportedError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        ("", set()),
        (PREOPENS, {"filesystem/preopens", "filesystem/types"}),
        (STDERR, {"cli/stderr", "io/streams", "io/error"}),
    ],
)
def test_a_module_gets_the_imports_that_it_uses(imports: str, expected: set[str]) -> None:
    """What a module does not call is not imported, but for the types that its functions are about."""
    assert imports_of(wrap(core(imports))) == {f"wasi:{name}@0.2.0" for name in expected}


def test_a_wrapped_module_runs_after_it_was_initialised() -> None:
    """The entry can be called, and what the module does first has been done by then."""
    module = """(module
      (memory (export "memory") 1) (global $ready (mut i32) i32.const 1)
      (func (export "_initialize") i32.const 0 global.set $ready)
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
      (func (export "wasi:cli/run@0.2.0#run") (result i32) global.get $ready))"""
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    component = wasm.Component(engine, wrap(bytes(wasmtime.wat2wasm(module))))
    instance = wasm.Linker(engine).instantiate(store, component)
    index = instance.get_export_index(store, "run", instance.get_export_index(store, "wasi:cli/run@0.2.0"))
    assert index is not None
    function = instance.get_func(store, index)
    assert function is not None
    assert function(store).tag == "ok"


@pytest.mark.parametrize(
    ("module", "word"),
    [
        (core('(import "wasi_snapshot_preview1" "fd_write" (func))'), "fd_write"),
        (bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1))')), "cabi_realloc"),
    ],
)
def test_a_module_that_the_sdk_does_not_know_is_refused(module: bytes, word: str) -> None:
    """What the SDK has not got is refused when it is built, with its name."""
    with pytest.raises(ComponentError, match=word) as caught:
        wrap(module)
    assert caught.value.code == "BUILD_FAILED"


def test_a_module_calls_and_is_called_by_plain_names() -> None:
    """What a module calls of others, and exports beside its entry, its component has with the types that are told."""
    takes = '(import "$root" "twice" (func $twice (param i32 i32) (result i64)))'
    asks = """(data (i32.const 8) "\\02\\00\\00\\00\\00\\00\\00\\00")
      (func (export "ask") (result i64) i32.const 8 i32.const 1 call $twice)"""
    module = CORE.format(takes).removesuffix(")") + asks + ")"
    call = Call(name="twice", type='(param "numbers" (list u64)) (result u64)', parameters="i32 i32", result="i64")
    built = wrap(wat(module), calls=[call], lifts=[Lift(name="ask", type="(result u64)")], runs=False)
    engine = wasmtime.Engine()
    component = wasm.Component(engine, built)
    assert set(component.type.exports(engine)) == {"ask"}
    store, linker = wasmtime.Store(engine), wasm.Linker(engine)
    with linker.root() as root:
        root.add_func("twice", lambda _, numbers: 2 * numbers[0])
    ask = linker.instantiate(store, component).get_func(store, "ask")
    assert ask is not None
    assert ask(store) == 4
    with pytest.raises(ComponentError, match="BUILD_FAILED"):
        wrap(wat(module), calls=[call], lifts=[Lift(name="tell", type="")])


@pytest.mark.parametrize("lang", list(Language))
def test_a_new_folder_has_what_its_readme_says(tmp_path: Path, lang: Language) -> None:
    """Source, sample, manifest, README and test are there, and no placeholder is left in them."""
    result = call("new", tmp_path / "my-part", "--lang", lang)
    assert result.exit_code == 0
    names = {path.name for path in (tmp_path / "my-part").iterdir()}
    assert names >= {lang.source, "manifest.toml", "numbers.csv", "README.md", "test_component.py"}
    texts = "".join(path.read_text() for path in (tmp_path / "my-part").iterdir())
    assert "@name@" not in texts
    assert "@source@" not in texts
    assert "@memory@" not in texts
    assert lang.setup in (tmp_path / "my-part" / "README.md").read_text()


@pytest.mark.parametrize("name", ["Upper", "with space", "1st", "taken"])
def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path, name: str) -> None:
    """A name that no manifest takes, and a folder that is there already, are refused and nothing is written."""
    (tmp_path / "taken").mkdir()
    assert call("new", tmp_path / name).exit_code == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]


@pytest.mark.parametrize("name", ["1st", "a" * 64])
def test_a_refused_name_says_the_whole_rule(tmp_path: Path, name: str) -> None:
    """Digits and lower case letters are not enough: the first is a letter, and there are not too many."""
    said = " ".join(call("new", tmp_path / name).stderr.split())
    assert "want a lower case letter, then lower case letters, digits and -, at most 63 in all" in said


def test_a_folder_without_a_main_file_is_refused(tmp_path: Path) -> None:
    """None of the main files, or two of them, say nothing about the language."""
    for _ in range(2):
        error = call("build", tmp_path).exception
        assert getattr(error, "code", "") == "BUILD_FAILED"
        (tmp_path / "component.c").touch()
        (tmp_path / "component.py").touch()


def test_a_missing_tool_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a tool is missing, or is another version, the refusal has the command that installs the right one."""
    monkeypatch.setattr(language, "ZIGLANG", "0.0.0")
    with pytest.raises(UnsupportedError, match=r"pip install ziglang==0\.0\.0") as caught:
        require_tool(Language.C, tmp_path)
    assert (caught.value.code, caught.value.exit_status) == ("TOOLCHAIN_MISSING", 20)
    monkeypatch.setattr(language.importlib.metadata, "version", _no_package)
    with pytest.raises(UnsupportedError, match="got none"):
        require_tool(Language.PYTHON, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match=r"node: got none"):
        require_tool(Language.JS, tmp_path)
    (tmp_path / "node").write_text("#!/bin/sh\n")
    (tmp_path / "node").chmod(0o755)
    with pytest.raises(UnsupportedError, match="npm install --prefix"):
        require_tool(Language.JS, tmp_path)


def _no_package(name: str) -> str:
    raise language.importlib.metadata.PackageNotFoundError(name)


def test_c_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    """Two builds in different places are equal, have no names of this machine in them, and are admitted."""
    needs(Language.C, tmp_path)
    for place in ("one", "two"):
        call("new", tmp_path / place / "my-part")
        assert call("build", tmp_path / place / "my-part").exit_code == 0
    content = (tmp_path / "one" / "my-part" / "my-part.wasm").read_bytes()
    assert content == (tmp_path / "two" / "my-part" / "my-part.wasm").read_bytes()
    assert str(tmp_path).encode() not in content
    assert call("check", tmp_path / "one" / "my-part" / "my-part.wasm").stdout == "my-part.wasm: a guest admits it\n"


def test_a_window_is_opened_from_c(tmp_path: Path) -> None:
    """A component that opens a window reads the item there, of no page, one and several, and no file is at its port."""
    needs(Language.C, tmp_path)
    (tmp_path / "component.c").write_text(WINDOW)
    (tmp_path / "looks.wasm").write_bytes(build(tmp_path))
    (tmp_path / "manifest.toml").write_text(WINDOWED)
    for content in (b"", b"x" * 65536, b"a" + bytes(200_000) + b"z"):
        (tmp_path / "item").write_bytes(content)
        local = ["run", "--local", str(tmp_path / "manifest.toml"), "--data", f"item={tmp_path / 'item'}"]
        assert twocvm([*local, "--out", str(tmp_path / "out")]) == 0
        assert (tmp_path / "out" / "copy").read_bytes() == content


def test_a_source_that_does_not_compile_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The compiler's words are on standard error, and the refusal has its code."""
    needs(Language.C, tmp_path)
    (tmp_path / "component.c").write_text("bool run(void) { return nothing; }")
    with pytest.raises(ComponentError) as caught:
        build(tmp_path)
    assert (caught.value.code, caught.value.exit_status) == ("BUILD_FAILED", 30)
    said = capfd.readouterr()
    assert "component.c" in said.err
    assert said.out == ""


def test_a_file_of_the_folder_stands_before_the_sdks(tmp_path: Path) -> None:
    """An author may bring another version of a file of the SDK."""
    needs(Language.C, tmp_path)
    shutil.copy(ROOT / "examples" / "demo" / "components" / "join" / "component.c", tmp_path)
    plain = build(tmp_path)
    (tmp_path / "writer.c").write_text((SDK / "c" / "writer.c").read_text().replace("4 -", "8 -").replace("2 *", "3 *"))
    assert build(tmp_path) != plain


def test_a_component_by_itself_is_judged_as_a_guest_would(tmp_path: Path) -> None:
    """Without a manifest, what no manifest could allow is refused, each with what to change."""
    path = tmp_path / "it.wasm"
    path.write_bytes(
        wat("""(component
          (import "wasi:http/outgoing-handler@0.2.0" (instance))
          (import "wasi:cli/environment@0.3.0" (instance))
          (import "local:things/other@1.0.0" (instance)))""")
    )
    result = call("check", path)
    assert result.exit_code == 11
    assert result.stdout.count("COMPONENT_PROFILE: ") == 3
    assert "No component has a network" in result.stdout
    assert "WASI must be 0.2" in result.stdout
    assert "joined by a `call` channel" in result.stdout
    assert "COMPONENT_ENTRY: exports no wasi:cli/run" in result.stdout


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (ACTOR, ""),
        (wat("(component)"), ""),
        (wat("(module)"), "COMPONENT_CORE_MODULE"),
        (b"(component)", "COMPONENT_TEXT"),
        (b"garbage!", "MALFORMED_COMPONENT"),
        (
            wat("""(component (import "wasi:cli/exit@0.2.0" (instance (export "exit" (func (param "status" u32)))))
              (core module $main (func (export "run") (result i32) i32.const 0)) (core instance $i (instantiate $main))
              (func $run (result (result)) (canon lift (core func $i "run")))
              (instance $interface (export "run" (func $run)))
              (export "wasi:cli/run@0.2.0" (instance $interface)))"""),
            "COMPONENT_TYPES",
        ),
    ],
)
def test_every_refusal_says_what_to_change(content: bytes, code: str) -> None:
    """Each refusal that a component by itself can get has a sentence of advice."""
    own = item("it", content)
    found = judge_alone(own, isolation=isolation())
    own.close()
    assert [each.code for each in found] == ([code] if code else [])
    assert all(each.advice for each in found)


@pytest.mark.parametrize(
    "code", [code for code in CODES if code.startswith("COMPONENT_") or code == "MALFORMED_COMPONENT"]
)
def test_no_refusal_of_admission_is_without_words(code: str) -> None:
    """What an author reads of a refusal is its advice, or the meaning of its code, and never nothing."""
    assert advice(code, "wasi:io/poll@0.2.0") or CODES[code].meaning


@pytest.mark.parametrize(
    ("code", "name", "word"),
    [
        ("COMPONENT_IMPORTS", "wasi:io/poll@0.2.9", "list it in the manifest"),
        ("COMPONENT_IMPORTS", "wasi:sockets/tcp@0.2.0", "--stub-wasi"),
        ("COMPONENT_EXPORTS", "wasi:cli/run@0.2.3", "the same N"),
        ("COMPONENT_EXPORTS", "exports", "Export what the manifest lists"),
    ],
)
def test_advice_is_about_the_name(code: str, name: str, word: str) -> None:
    """The same code has other advice for another name."""
    assert word in advice(code, name)


def test_the_sdk_is_what_the_package_ships() -> None:
    """Every language has its files, and their digests differ from each other: no copy of one file is kept twice."""
    files = [path for path in SDK.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    digests = {hashlib.sha256(path.read_bytes()).digest() for path in files}
    assert len(digests) == len(files) >= 10
