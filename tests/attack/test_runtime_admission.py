"""What admission refuses, and with which code; nothing of a refused component is ever instantiated."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

import pytest
import wasmtime
from tests.support.actor import ACTOR, ACTOR_IMPORTS, RUN, Stage, isolation, item, staged, wat
from tests.support.bombs import RUN_OK, compile_bomb
from wasmtime import component as wasm

from twocvm_guest.runtime import gate
from twocvm_guest.runtime.supervisor import Runtime
from twocvm_verifier.errors import ComponentError, MalformedError, TwoCvmError
from twocvm_verifier.manifest import Component, Manifest


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """A manifest that lists the actor."""
    return Stage().manifest


@pytest.fixture
def runtime(manifest: Manifest) -> Iterator[Runtime]:
    """A runtime that has admitted nothing yet."""
    runtime = Runtime(manifest, isolation=isolation())
    yield runtime
    runtime.wipe()


def code_of(runtime: Runtime, content: bytes, entry: Component) -> str:
    """The code that admission refuses `content` with, under an entry that names its digest."""
    with pytest.raises(TwoCvmError) as caught:
        runtime.admit(dataclasses.replace(entry, sha256=hashlib.sha256(content).digest()), item("actor", content))
    assert isinstance(caught.value, ComponentError | MalformedError)
    return caught.value.code


def entry_of(manifest: Manifest, **fields: object) -> Component:
    """The actor's entry with other imports, exports or entry."""
    return dataclasses.replace(manifest.component("actor"), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (bytes(wasmtime.wat2wasm('(module (func (export "run")))')), "COMPONENT_CORE_MODULE"),
        (b"(component)", "COMPONENT_TEXT"),
        (b" \n ;; a comment\n(component)", "COMPONENT_TEXT"),
        (b"\x7fELF" + bytes(100), "COMPONENT_COMPILED"),
        (b"", "MALFORMED_COMPONENT"),
        (b"\0asm", "MALFORMED_COMPONENT"),
        (b"\0asm\x0d\0\x02\0", "MALFORMED_COMPONENT"),
        (b"\0asm\x0d\0\x01\0" + bytes(1000), "MALFORMED_COMPONENT"),
        (ACTOR[: len(ACTOR) // 2], "MALFORMED_COMPONENT"),
        (ACTOR + b"\0", "MALFORMED_COMPONENT"),
    ],
)
def test_what_is_no_component_is_refused(runtime: Runtime, manifest: Manifest, content: bytes, code: str) -> None:
    """Core modules, text, machine code, nothing, garbage and halves of components are refused by name."""
    assert code_of(runtime, content, manifest.component("actor")) == code


def test_the_engines_own_compiled_form_is_refused(runtime: Runtime, manifest: Manifest) -> None:
    """What the engine itself serialised is machine code, and never taken from outside."""
    engine = wasmtime.Engine()
    compiled = bytes(wasm.Component(engine, ACTOR).serialize())
    assert code_of(runtime, compiled, manifest.component("actor")) == "COMPONENT_COMPILED"


def test_a_hundred_megabytes_of_garbage_are_refused(runtime: Runtime, manifest: Manifest) -> None:
    """A file beyond the limit is refused by its length, even where it begins as a component does."""
    content = b"\0asm\x0d\0\x01\0" + bytes(100_000_000)
    assert code_of(runtime, content, manifest.component("actor")) == "COMPONENT_TOO_LARGE"


def test_another_component_than_the_manifests_is_refused(runtime: Runtime, manifest: Manifest) -> None:
    """A component with another SHA-256 than the manifest's is refused, however well it fits otherwise."""
    with pytest.raises(ComponentError) as caught:
        runtime.admit(manifest.component("actor"), item("actor", wat(f"(component {RUN_OK})")))
    assert caught.value.code == "COMPONENT_DIGEST"


@pytest.mark.parametrize(
    ("imports", "code"),
    [
        (ACTOR_IMPORTS[1:], "COMPONENT_IMPORTS"),
        (ACTOR_IMPORTS[:-1], "COMPONENT_IMPORTS"),
        ((*ACTOR_IMPORTS, "wasi:random/insecure@0.2.0"), "COMPONENT_IMPORTS"),
        (("wasi:filesystem/types@0.2.3", *ACTOR_IMPORTS), "COMPONENT_IMPORTS"),
    ],
)
def test_imports_are_exactly_the_manifests(
    runtime: Runtime, manifest: Manifest, imports: tuple[str, ...], code: str
) -> None:
    """An import that the manifest does not list, or lists and is not there, in any version, is refused."""
    assert code_of(runtime, ACTOR, entry_of(manifest, imports=imports)) == code


@pytest.mark.parametrize("exports", [(), (RUN, "example:more/things@1.0.0"), ("wasi:cli/run@0.2.1",)])
def test_exports_are_exactly_the_manifests(runtime: Runtime, manifest: Manifest, exports: tuple[str, ...]) -> None:
    """A missing export, one too many and one of another version are refused."""
    assert code_of(runtime, ACTOR, entry_of(manifest, exports=exports)) == "COMPONENT_EXPORTS"


@pytest.mark.parametrize(
    "interface",
    ["wasi:sockets/tcp@0.2.0", "wasi:sockets/instance-network@0.2.0", "wasi:http/outgoing-handler@0.2.0", "env"],
)
def test_a_component_that_reaches_for_a_network_is_refused(
    runtime: Runtime, manifest: Manifest, interface: str
) -> None:
    """Sockets, HTTP and interfaces of others are refused as imports, also where a manifest were to list them."""
    content = wat(f'(component (import "{interface}" (instance)) {RUN_OK})')
    assert code_of(runtime, content, entry_of(manifest, imports=())) == "COMPONENT_IMPORTS"
    assert code_of(runtime, content, entry_of(manifest, imports=(interface,))) == "COMPONENT_PROFILE"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("wasi:cli/exit@0.2.0", '(instance (export "exit" (func (param "status" u32))))'),
        ("wasi:cli/exit@0.2.0", '(instance (export "no-such-function" (func)))'),
        ("wasi:random/random@0.2.0", '(instance (export "get-random-u64" (func (result string))))'),
        ("wasi:cli/exit@0.2.0", "(func)"),
        ("wasi:io/error@0.2.0", "(core module)"),
    ],
)
def test_an_import_of_another_type_is_refused(runtime: Runtime, manifest: Manifest, name: str, kind: str) -> None:
    """An import with the right name has exactly the type that the runtime's interface has."""
    content = wat(f'(component (import "{name}" {kind}) {RUN_OK})')
    assert code_of(runtime, content, entry_of(manifest, imports=(name,))) == "COMPONENT_TYPES"


@pytest.mark.parametrize(
    ("signature", "core"),
    [
        ('(param "x" u32) (result (result))', "(param i32) (result i32)"),
        ("(result u32)", "(result i32)"),
        ("(result (result u32))", "(result i32)"),
    ],
)
def test_an_entry_of_another_type_is_refused(runtime: Runtime, manifest: Manifest, signature: str, core: str) -> None:
    """An entry that takes something, or returns more than success or failure, is refused."""
    content = wat(f"""(component
        (core module $main (memory (export "memory") 1) (func (export "run") {core} i32.const 0))
        (core instance $i (instantiate $main))
        (func $run {signature} (canon lift (core func $i "run") (memory (core memory $i "memory"))))
        (instance $interface (export "run" (func $run)))
        (export "{RUN}" (instance $interface)))""")
    assert code_of(runtime, content, entry_of(manifest, imports=())) == "COMPONENT_ENTRY"


def test_an_entry_that_is_no_function_is_refused(runtime: Runtime, manifest: Manifest) -> None:
    """An entry interface without `run` is refused, and so is an entry that is a type."""
    content = wat(f'(component (instance $empty) (export "{RUN}" (instance $empty)))')
    assert code_of(runtime, content, entry_of(manifest, imports=())) == "COMPONENT_ENTRY"


@pytest.mark.parametrize(
    "module",
    [
        "(memory i64 1)",
        "(memory 1 1 shared)",
        "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))",
        "(memory 1) (memory 1)",
        "(type (struct (field i32)))",
        "(tag (param i32))",
        "(type $f (func)) (func (param (ref $f)))",
    ],
)
def test_proposals_that_are_switched_off_are_refused(runtime: Runtime, manifest: Manifest, module: str) -> None:
    """64-bit and shared memories, threads, garbage collection and exceptions do not compile here."""
    content = wat(f"(component (core module {module}) {RUN_OK})")
    assert code_of(runtime, content, entry_of(manifest, imports=())) == "MALFORMED_COMPONENT"


def test_nothing_runs_at_admission(runtime: Runtime, manifest: Manifest) -> None:
    """A component whose start function never ends is admitted at once: admission instantiates nothing."""
    endless = "(core module $e (func $s (loop $l br $l)) (start $s)) (core instance (instantiate $e))"
    content = wat(f"(component {endless} {RUN_OK})")
    entry = entry_of(manifest, imports=(), sha256=hashlib.sha256(content).digest())
    runtime.admit(entry, item("actor", content))


def test_a_compile_bomb_ends_with_its_worker(
    runtime: Runtime, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that compiles for minutes costs its worker's time, and the next component is admitted as before."""
    monkeypatch.setattr(gate, "ADMISSION_SECONDS", 1)
    bomb = compile_bomb(20_000)
    assert code_of(runtime, bomb, entry_of(manifest, imports=())) == "COMPONENT_UNJUDGED"
    monkeypatch.undo()
    staged(Stage()).wipe()


def test_a_compiler_without_memory_ends_with_its_worker(
    runtime: Runtime, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A component that needs more memory to compile than a worker gets is refused, and the guest goes on."""
    monkeypatch.setattr(gate, "ADMISSION_BYTES", 8 << 20)
    bomb = compile_bomb(20_000)
    assert code_of(runtime, bomb, entry_of(manifest, imports=())) == "COMPONENT_UNJUDGED"
