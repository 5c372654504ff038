"""The engine as workers set it up, here without their walls: outcomes, clocks, random numbers, comparison of types."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.actor import ACTOR, ACTOR_IMPORTS, RUN, wat
from wasmtime.component import Component

from twocvm_guest.runtime import admission, engine, memory
from twocvm_guest.runtime.describe import describe
from twocvm_guest.runtime.folders import Folders
from twocvm_guest.runtime.items import ItemWriter
from twocvm_guest.runtime.messages import Job, Member, Outcome, Work
from twocvm_guest.runtime.seeded import Seeded

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def compiled() -> bytes:
    """The actor's compiled form."""
    made = engine.make_engine(counts_fuel=False)
    component = admission.compile_component(made, ACTOR)
    assert component is not None
    return bytes(component.serialize())


@pytest.fixture
def figures() -> Iterator[int]:
    """This process's own memory figures."""
    descriptor = os.open("/proc/self/statm", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def job(*, imports: tuple[str, ...] = ACTOR_IMPORTS, **members: object) -> Job:
    """A run's job with generous limits."""
    plain = {"entry": RUN, "exports": (RUN,), "memory_bytes": 64 * MEBIBYTE, "members": (Member(imports=imports),)}
    return Job(work=Work.RUN, **plain | members)  # type: ignore[arg-type]


def acted(folder: Path, compiled: bytes, figures: int, *commands: str, **members: object) -> tuple[Outcome, str]:
    """What running the actor's compiled form here gave, and its report."""
    writer = ItemWriter("script", max_bytes=10_000)
    writer.write("\n".join(commands).encode())
    item = writer.seal()
    folders = Folders(
        inputs=[("script", item.fd, item.size_bytes)], outputs=["report"], output_bytes=0, scratch=str(folder)
    )
    folders.use_scratch()
    made = engine.make_engine(counts_fuel=False)
    outcome = engine.run(made, engine.load(made, compiled), job(**members), folders, figures)
    item.close()
    report = folder / "out" / "report" / "data"
    return outcome, report.read_text() if report.exists() else ""


@pytest.mark.parametrize(
    ("command", "outcome"),
    [
        ("list /in", Outcome.DONE),
        ("exit 0", Outcome.DONE),
        ("exit 3", Outcome.EXIT),
        ("trap", Outcome.TRAPPED),
        ("outside", Outcome.TRAPPED),
        ("sleep 1", Outcome.TRAPPED),
        ("recurse", Outcome.STACK),
        ("grow 1000000", Outcome.MEMORY),
    ],
)
def test_every_ending_has_its_outcome(
    tmp_path: Path, compiled: bytes, figures: int, command: str, outcome: Outcome
) -> None:
    """Returning, exiting, trapping, nesting too deeply and growing without end are each told apart."""
    assert acted(tmp_path, compiled, figures, command)[0] is outcome


def test_inputs_have_no_times_and_cannot_be_written(tmp_path: Path, compiled: bytes, figures: int) -> None:
    """A copied input has a time of zero, is read-only, and is not writable for the component."""
    outcome, report = acted(tmp_path, compiled, figures, "append /in/script/data", "read /in/script/data")
    assert outcome is Outcome.DONE
    assert "append: ok" not in report
    copied = (tmp_path / "in" / "script" / "data").stat()
    assert (copied.st_mtime_ns, copied.st_mode & 0o777) == (0, 0o444)
    assert (tmp_path / "in" / "script").stat().st_mtime_ns == 0


@pytest.mark.parametrize(("coarse", "zero"), [(False, True), (True, False)])
def test_clocks_stand_still_or_are_coarse(
    tmp_path: Path, compiled: bytes, figures: int, *, coarse: bool, zero: bool
) -> None:
    """A frozen wall clock is zero, a coarse one is not; neither has a part of a second."""
    _, report = acted(tmp_path, compiled, figures, "clocks", coarse_clock=coarse)
    wall = report.splitlines()[-1].split()[1]
    assert wall.endswith(".000000000")
    assert wall.startswith("0.") is zero


def test_a_seed_decides_random_numbers(tmp_path: Path, compiled: bytes, figures: int) -> None:
    """The component's random bytes are the seed's own stream."""
    _, report = acted(tmp_path, compiled, figures, "random", seed="07" * 32)
    assert report.splitlines()[-1] == f"random: {Seeded(bytes.fromhex('07' * 32)).take(16).hex()}"


@given(seed=st.binary(min_size=32, max_size=32), counts=st.lists(st.integers(min_value=0, max_value=200), max_size=6))
def test_a_seeded_stream_does_not_depend_on_how_it_is_taken(seed: bytes, counts: list[int]) -> None:
    """Taking a stream in pieces gives the same bytes as taking it at once."""
    source = Seeded(seed)
    assert b"".join(source.take(count) for count in counts) == Seeded(seed).take(sum(counts))


def test_too_many_random_bytes_at_once_trap(tmp_path: Path, figures: int) -> None:
    """A single call for more random bytes than any program needs traps, instead of filling the worker's memory."""
    text = f"""(component
        (import "wasi:random/random@0.2.0" (instance $r
            (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
        (core module $libc (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0))
        (core instance $l (instantiate $libc))
        (core func $f (canon lower (func $r "get-random-bytes") (memory (core memory $l "memory"))
            (realloc (core func $l "realloc"))))
        (core module $main (import "r" "f" (func $f (param i64 i32)))
            (func (export "run") (result i32) (call $f (i64.const 70000) (i32.const 0)) i32.const 0))
        (core instance $i (instantiate $main (with "r" (instance (export "f" (func $f))))))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $interface (export "run" (func $run)))
        (export "{RUN}" (instance $interface)))"""
    made = engine.make_engine(counts_fuel=False)
    task = job(imports=("wasi:random/random@0.2.0",), seed="00" * 32)
    assert engine.run(made, Component(made, wat(text)), task, _no_ports(tmp_path), figures) is Outcome.TRAPPED


def test_fuel_is_counted_where_the_engine_was_made_for_it(tmp_path: Path, figures: int) -> None:
    """A loop without end is ended by its fuel."""
    made = engine.make_engine(counts_fuel=True)
    component = Component(made, wat(f"(component {_export('(loop $l br $l) i32.const 0')})"))
    task = job(imports=(), fuel=100_000)
    assert engine.run(made, component, task, _no_ports(tmp_path), figures) is Outcome.FUEL


def test_a_compiled_form_of_another_engine_is_refused() -> None:
    """Bytes that are no compiled form, and one of another configuration, are `ValueError`."""
    made = engine.make_engine(counts_fuel=True)
    with pytest.raises(ValueError, match="compiled"):
        engine.load(made, b"\x7fELF")
    other = Component(engine.make_engine(counts_fuel=False), wat("(component)")).serialize()
    with pytest.raises(ValueError, match="compiled"):
        engine.load(made, bytes(other))


@pytest.mark.parametrize(
    ("text", "members", "outcome"),
    [
        ("(component {ok})", {"imports": ()}, Outcome.DONE),
        ("(component {ok})", {"imports": ("wasi:cli/exit@0.2.0",)}, Outcome.IMPORTS),
        ("(component)", {"imports": ()}, Outcome.EXPORTS),
        (
            '(component (import "wasi:cli/exit@0.2.0" (instance (export "exit" (func (param "x" u8))))) {ok})',
            {"imports": ("wasi:cli/exit@0.2.0",)},
            Outcome.TYPES,
        ),
        ("(component {ok})", {"imports": (), "entry": "other"}, Outcome.ENTRY),
    ],
)
def test_a_component_is_compared_with_its_manifest(text: str, members: dict[str, object], outcome: Outcome) -> None:
    """Imports, exports, types and entry are compared in this order, and each difference has its outcome."""
    made = engine.make_engine(counts_fuel=False)
    component = admission.compile_component(made, wat(text.replace("{ok}", _export("i32.const 0"))))
    assert component is not None
    assert admission.judge(made, component, job(**members)) is outcome


def test_garbage_does_not_compile() -> None:
    """Bytes that begin as a component and are none give nothing."""
    assert admission.compile_component(engine.make_engine(counts_fuel=False), b"\0asm\x0d\0\x01\0garbage") is None


def test_the_actor_is_described_in_full() -> None:
    """Every import of the actor has members with types, and its export is `run`."""
    made = engine.make_engine(counts_fuel=False)
    found = describe(made, Component(made, ACTOR))
    assert set(found["imports"]) == set(ACTOR_IMPORTS)
    assert found["exports"] == {RUN: {"run": "func() -> result"}}


def test_memory_figures_grow_with_memory(figures: int) -> None:
    """Writable memory rises by what was taken, and explains a failure only where that is most of the limit."""
    before = memory.usage(figures)
    # A mapping of its own: an array could lie where something freed has left room.
    with mmap.mmap(-1, 32 * MEBIBYTE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as taken:
        after = memory.usage(figures)
        assert after.data_bytes - before.data_bytes >= len(taken)
    assert memory.is_exhausted(before, after, memory_bytes=32 * MEBIBYTE)
    assert not memory.is_exhausted(before, after, memory_bytes=64 * MEBIBYTE)


def test_folders_without_a_place_are_refused() -> None:
    """Where there is neither a mount nor a scratch folder, there is nothing to go on in."""
    with pytest.raises(OSError, match="no scratch folder"):
        Folders(inputs=[], outputs=[], output_bytes=0, scratch="").use_scratch()


def test_an_item_shorter_than_it_was_said_to_be_is_refused(tmp_path: Path) -> None:
    """Copying an input ends with an error where the item ends early, instead of waiting for more."""
    writer = ItemWriter("short", max_bytes=10)
    writer.write(b"123")
    item = writer.seal()
    folders = Folders(inputs=[("short", item.fd, 10)], outputs=[], output_bytes=0, scratch=str(tmp_path))
    with pytest.raises(OSError, match="shorter"):
        folders.use_scratch()
    item.close()


def _no_ports(scratch: Path) -> Folders:
    folders = Folders(inputs=[], outputs=[], output_bytes=0, scratch=str(scratch))
    folders.use_scratch()
    return folders


def _export(body: str) -> str:
    return f"""
        (core module $main (func (export "run") (result i32) {body}))
        (core instance $i (instantiate $main))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $interface (export "run" (func $run)))
        (export "{RUN}" (instance $interface))
    """
