"""Composites and windows without a worker's walls: what the shell declares, who is who, and what admission compares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.actor import ACTOR, ACTOR_IMPORTS, item, wat
from tests.support.bombs import RUN_OK
from tests.support.graphs import MEBIBYTE, Part
from tests.support.wat_calls import ADD_TYPE, ADDER, adder, caller, calls_adder, number, runs_another
from tests.support.wat_files import FILES_IMPORTS, RUN
from tests.support.wat_windows import pure_reader, sum_of, window_reader
from wasmtime.component import Component

from twocvm_guest.runtime import admission, compose, engine
from twocvm_guest.runtime.folders import Folders
from twocvm_guest.runtime.messages import Job, Member, Outcome, Work
from twocvm_guest.runtime.windows import Memories
from twocvm_verifier.manifest.profiles import WINDOWS_INTERFACE

READS = "test:windows/reads@1.0.0"
SUM_ALL = "(call $sum (call $lay) (i32.mul (memory.size) (i32.const 65536)))"


@pytest.fixture
def figures() -> Iterator[int]:
    """This process's own memory figures."""
    descriptor = os.open("/proc/self/statm", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def ran(folder: Path, figures: int, component: bytes, members: tuple[Member, ...]) -> tuple[Outcome, bytes]:
    """How running a component here ended, and what it wrote to its port `report`."""
    folders = Folders(inputs=[], outputs=["report"], output_bytes=0, scratch=str(folder))
    folders.use_scratch()
    memories = Memories() if any(member.asks_windows for member in members) else None
    made = engine.make_engine(counts_fuel=False, composed=len(members) > 1, memories=memories)
    job = Job(work=Work.RUN, entry=RUN, members=members, memory_bytes=16 * MEBIBYTE)
    outcome = engine.run(made, Component(made, component), job, folders, figures, memories)
    report = folder / "out" / "report" / "data"
    return outcome, report.read_bytes() if report.exists() else b""


def test_a_window_is_laid_by_the_worker_itself(tmp_path: Path, figures: int) -> None:
    """One component reads a window of more than a page, grows its memory before, and is told what is there."""
    content = os.urandom(100_000 * 8)
    with closing(item("table", content)) as table:
        windows = (("table", table.fd, table.size_bytes),)
        member = Member(imports=(WINDOWS_INTERFACE, *FILES_IMPORTS), asks_windows=WINDOWS_INTERFACE, windows=windows)
        outcome, report = ran(tmp_path, figures, window_reader(SUM_ALL).wasm, (member,))
    assert (outcome, number(report)) == (Outcome.DONE, sum_of(content))


@pytest.mark.parametrize(
    "body",
    [
        "(block (result i64) (call $place (i32.const 80) (i32.const 5) (i32.const 1)) (i64.const 0))",
        "(block (result i64) (call $place (i32.const 85) (i32.const 5) (i32.const 0)) (i64.const 0))",
        "(block (result i64) (drop (call $room (i32.const 60000))) (unreachable))",
        "(i64.extend_i32_u (i32.load (i32.const 0x7fffffff)))",
    ],
)
def test_misuse_of_a_window_traps_in_the_worker(tmp_path: Path, figures: int, body: str) -> None:
    """A wrong address, a wrong port, memory beyond the limit and a load outside are traps, here as behind walls."""
    with closing(item("table", b"1")) as table:
        windows = (("table", table.fd, table.size_bytes),)
        member = Member(imports=(WINDOWS_INTERFACE, *FILES_IMPORTS), asks_windows=WINDOWS_INTERFACE, windows=windows)
        assert ran(tmp_path, figures, window_reader(body).wasm, (member,)) == (Outcome.TRAPPED, b"")


def test_a_window_that_the_kernel_refuses_traps(tmp_path: Path, figures: int) -> None:
    """Where a mapping fails, the component traps and the worker goes on to say so."""
    read, write = os.pipe()
    os.close(write)
    windows = (("table", read, 8),)
    member = Member(imports=(WINDOWS_INTERFACE, *FILES_IMPORTS), asks_windows=WINDOWS_INTERFACE, windows=windows)
    assert ran(tmp_path, figures, window_reader(SUM_ALL).wasm, (member,)) == (Outcome.TRAPPED, b"")
    os.close(read)


def test_each_member_has_its_own_memory_and_windows(tmp_path: Path, figures: int) -> None:
    """In a composite the runtime is told whose memories come next, and a window lies in its own member's."""
    main = caller(
        takes={READS: '(export "read" (func (result u64)))'},
        lowered=f'(core func $l (canon lower (func $"{READS}" "read")))',
        given={"l": "(result i64)"},
        body="(call $l)",
    )
    content = os.urandom(4096)
    with closing(item("table", content)) as table:
        reader = Member(
            imports=(WINDOWS_INTERFACE,),
            asks_windows=WINDOWS_INTERFACE,
            windows=(("table", table.fd, table.size_bytes),),
        )
        members = (reader, Member(imports=FILES_IMPORTS, calls=((READS, 0),), has_entry=True))
        made = engine.make_engine(counts_fuel=False, composed=True)
        composite = compose.compose(made, members, (pure_reader(READS, SUM_ALL).wasm, main.wasm), RUN)
        assert admission.links(made, Component(made, composite), members)
        outcome, report = ran(tmp_path, figures, composite, members)
    assert (outcome, number(report)) == (Outcome.DONE, sum_of(content))


def test_a_shell_declares_all_of_wasi_that_a_c_program_imports() -> None:
    """Every interface of the actor, with its resources, variants and flags, is handed on through the shell."""
    members = (Member(imports=ACTOR_IMPORTS), Member(calls=((RUN, 0),), has_entry=True))
    made = engine.make_engine(counts_fuel=False, composed=True)
    composite = compose.compose(made, members, (ACTOR, runs_another().wasm), "go")
    component = Component(made, composite)
    assert set(component.type.imports(made)) == set(ACTOR_IMPORTS)
    assert set(component.type.exports(made)) == {"go"}
    assert admission.links(made, component, members)


def judged(part: Part, *, runtime: tuple[str, ...] | None = None) -> Outcome:
    """What admission says of a part by itself, of which all but `runtime` is answered by others."""
    own = FILES_IMPORTS if runtime is None else runtime
    calls = tuple((name, 0) for name in part.imports if name not in own)
    asks = WINDOWS_INTERFACE if WINDOWS_INTERFACE in own else ""
    member = Member(imports=own, calls=calls, asks_windows=asks)
    made = engine.make_engine(counts_fuel=False)
    component = admission.compile_component(made, part.wasm)
    assert component is not None
    job = Job(work=Work.ADMIT, entry=part.entry, exports=part.exports, members=(member,))
    return admission.judge(made, component, job)


def test_a_member_is_judged_whatever_it_calls() -> None:
    """A member is admitted by what it imports of the runtime alone, and one that nobody starts needs no entry."""
    assert judged(calls_adder("(call $add (i64.const 1) (i64.const 1))")) is Outcome.DONE
    assert judged(adder(), runtime=()) is Outcome.DONE
    assert judged(window_reader(SUM_ALL), runtime=(WINDOWS_INTERFACE, *FILES_IMPORTS)) is Outcome.DONE


@pytest.mark.parametrize(
    ("runtime", "kind"),
    [
        ("wasi:cli/exit@0.2.0", '(instance (export "exit" (func (param "x" u8))))'),
        ("wasi:cli/exit@0.2.0", '(instance (export "exit" (core module)))'),
        (WINDOWS_INTERFACE, '(instance (export "size" (func)))'),
    ],
)
def test_a_member_with_wrong_types_of_its_own_is_refused(runtime: str, kind: str) -> None:
    """What a member takes of the runtime has the runtime's types, also where it calls others."""
    text = f'(component (import "{ADDER}" (instance (export "add" {ADD_TYPE}))) (import "{runtime}" {kind}) {RUN_OK})'
    part = Part(wasm=wat(text), imports=(ADDER, runtime), exports=(RUN,), entry=RUN)
    assert judged(part, runtime=(runtime,)) is Outcome.TYPES
