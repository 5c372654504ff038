"""Components joined by `call`: one store, typed values, and admission of each by itself and of all together."""

from __future__ import annotations

import hashlib
import threading
from contextlib import closing

import pytest
import wasmtime
from tests.support.actor import ACTOR, ACTOR_IMPORTS, isolation, item, script, wat
from tests.support.bombs import RUN_OK
from tests.support.graphs import MEBIBYTE, Part, admitted, graph, run_graph
from tests.support.wat_calls import ADD_TYPE, ADDER, adder, caller, calls_adder, number, runs_another
from tests.support.wat_files import FILES_IMPORTS, RUN, files

from twocvm_guest.runtime import compose, engine
from twocvm_guest.runtime.messages import Member
from twocvm_guest.runtime.supervisor import Runtime
from twocvm_verifier.errors import ComponentError
from twocvm_verifier.manifest import Manifest

SUM = "(call $add (i64.const 40) (i64.const 2))"


def joined(main: Part, *others: tuple[str, Part], **options: object) -> tuple[Manifest, dict[str, Part]]:
    """A manifest in which `main` calls each of the others by the first interface that it exports."""
    parts = {"main": main} | dict(others)
    channels = [("call", f"{name}.{part.exports[0]}", f"main.{part.exports[0]}") for name, part in others]
    return graph(parts, channels, ["main.report"], **options), parts  # type: ignore[arg-type]


def told(main: Part, *others: tuple[str, Part]) -> int:
    """The number that `main` wrote when it was joined to the others and run."""
    ran = run_graph(*joined(main, *others), {})
    assert ran.failures == {}
    return number(ran.outputs["main.report"])


def test_a_call_returns_what_the_other_computes() -> None:
    """A function of another component is called with its types, and its result comes back."""
    assert told(calls_adder(SUM), ("adder", adder())) == 42


def test_an_exporter_may_give_more_than_is_taken() -> None:
    """What a component imports of another must be there; what else the other exports does not matter."""
    assert told(calls_adder(SUM), ("adder", adder(also="plus"))) == 42


TEXTS = "test:calls/texts@1.0.0"


def test_lists_and_strings_are_copied_from_memory_to_memory() -> None:
    """A string and a list of numbers arrive whole: the callee returns their lengths and the list's sum."""
    kind = '(func (param "text" string) (param "values" (list u64)) (result u64))'
    callee = wat(f"""(component
      (core module $m (memory (export "memory") 16) (global $heap (mut i32) (i32.const 64))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
          (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
          (global.set $heap (i32.add (global.get $heap) (local.get 3)))
          (i32.sub (global.get $heap) (local.get 3)))
        (func (export "weigh") (param i32 i32 i32 i32) (result i64) (local $sum i64)
          (local.set $sum (i64.extend_i32_u (i32.mul (local.get 1) (i32.const 1000000))))
          (block $end (loop $l (br_if $end (i32.eqz (local.get 3)))
            (local.set $sum (i64.add (local.get $sum) (i64.load (local.get 2))))
            (local.set 2 (i32.add (local.get 2) (i32.const 8)))
            (local.set 3 (i32.sub (local.get 3) (i32.const 1))) (br $l)))
          (local.get $sum)))
      (core instance $i (instantiate $m))
      (type $t {kind})
      (func $weigh (type $t) (canon lift (core func $i "weigh") (memory (core memory $i "memory"))
        (realloc (core func $i "realloc"))))
      (instance $x (export "weigh" (func $weigh))) (export "{TEXTS}" (instance $x)))""")
    main = caller(
        takes={TEXTS: f'(export "weigh" {kind})'},
        lowered=f'(core func $weigh (canon lower (func $"{TEXTS}" "weigh") (memory $mem)))',
        given={"weigh": "(param i32 i32 i32 i32) (result i64)"},
        core='(data (i32.const 128) "\\01\\00\\00\\00\\00\\00\\00\\00\\02\\00\\00\\00\\00\\00\\00\\00")',
        body="(call $weigh (i32.const 64) (i32.const 6) (i32.const 128) (i32.const 2))",
    )
    assert told(main, ("texts", Part(wasm=callee, exports=(TEXTS,)))) == 6_000_003


COUNTERS = "test:calls/counters@1.0.0"
COUNTER_TYPES = """
    (export "counter" (type $c (sub resource)))
    (export "[constructor]counter" (func (param "start" u64) (result (own $c))))
    (export "[method]counter.bump" (func (param "self" (borrow $c)) (result u64)))
"""


def counters() -> Part:
    """A component with a resource: counters, of which all share one memory."""
    return Part(
        exports=(COUNTERS,),
        wasm=wat(f"""(component
      (type $counter (resource (rep i32)))
      (core func $new (canon resource.new $counter))
      (core module $m
        (import "r" "new" (func $new (param i32) (result i32)))
        (memory 1) (global $next (mut i32) (i32.const 8))
        (func (export "make") (param i64) (result i32)
          (i64.store (global.get $next) (local.get 0))
          (call $new (global.get $next))
          (global.set $next (i32.add (global.get $next) (i32.const 8))))
        (func (export "bump") (param i32) (result i64)
          (i64.store (local.get 0) (i64.add (i64.load (local.get 0)) (i64.const 1)))
          (i64.load (local.get 0))))
      (core instance $i (instantiate $m (with "r" (instance (export "new" (func $new))))))
      (func $make (param "start" u64) (result (own $counter)) (canon lift (core func $i "make")))
      (func $bump (param "self" (borrow $counter)) (result u64) (canon lift (core func $i "bump")))
      (component $shape
        (import "counter" (type $c (sub resource)))
        (import "make" (func $make (param "start" u64) (result (own $c))))
        (import "bump" (func $bump (param "self" (borrow $c)) (result u64)))
        (export $out "counter" (type $c))
        (export "[constructor]counter" (func $make) (func (param "start" u64) (result (own $out))))
        (export "[method]counter.bump" (func $bump) (func (param "self" (borrow $out)) (result u64))))
      (instance $x (instantiate $shape (with "counter" (type $counter)) (with "make" (func $make))
        (with "bump" (func $bump))))
      (export "{COUNTERS}" (instance $x)))"""),
    )


COUNTER_GIVEN = {"make": "(param i64) (result i32)", "bump": "(param i32) (result i64)"}
COUNTER_LOWERED = f"""
    (core func $make (canon lower (func $"{COUNTERS}" "[constructor]counter")))
    (core func $bump (canon lower (func $"{COUNTERS}" "[method]counter.bump")))
"""


def test_handles_of_resources_cross_calls() -> None:
    """A caller makes a resource of the callee's, holds its handle, and calls its methods."""
    main = caller(
        takes={COUNTERS: COUNTER_TYPES},
        lowered=COUNTER_LOWERED,
        given=COUNTER_GIVEN,
        core="(global $c (mut i32) (i32.const 0))",
        body="""(block (result i64) (global.set $c (call $make (i64.const 10)))
            (drop (call $bump (global.get $c))) (call $bump (global.get $c)))""",
    )
    assert told(main, ("counters", counters())) == 12


def test_a_forged_handle_traps() -> None:
    """A number that is no handle of the caller's traps, and the node fails."""
    main = caller(
        takes={COUNTERS: COUNTER_TYPES},
        lowered=COUNTER_LOWERED,
        given=COUNTER_GIVEN,
        body="(call $bump (i32.const 8))",
    )
    assert run_graph(*joined(main, ("counters", counters())), {}).failures == {"main": "NODE_TRAPPED"}


TICKS = "test:calls/ticks@1.0.0"
TICK = "(func (result u64))"


def _ticker() -> Part:
    return Part(
        exports=(TICKS,),
        wasm=wat(f"""(component
      (core module $m (global $n (mut i64) (i64.const 0))
        (func (export "tick") (result i64)
          (global.set $n (i64.add (global.get $n) (i64.const 1))) (global.get $n)))
      (core instance $i (instantiate $m))
      (func $tick (result u64) (canon lift (core func $i "tick")))
      (instance $x (export "tick" (func $tick))) (export "{TICKS}" (instance $x)))"""),
    )


def _passes_on(name: str) -> Part:
    interface = f"test:calls/{name}@1.0.0"
    return Part(
        imports=(TICKS,),
        exports=(interface,),
        wasm=wat(f"""(component
      (import "{TICKS}" (instance $ticks (export "tick" {TICK})))
      (core func $tick (canon lower (func $ticks "tick")))
      (core module $m (import "t" "tick" (func $tick (result i64))) (export "pass" (func $tick)))
      (core instance $i (instantiate $m (with "t" (instance (export "tick" (func $tick))))))
      (func $pass (result u64) (canon lift (core func $i "pass")))
      (instance $x (export "pass" (func $pass))) (export "{interface}" (instance $x)))"""),
    )


def test_a_component_has_one_instance_however_many_call_it() -> None:
    """In a diamond of calls both sides reach the same instance: what one changed in it the other sees."""
    left, right = "test:calls/left@1.0.0", "test:calls/right@1.0.0"
    main = caller(
        takes=dict.fromkeys((left, right), f'(export "pass" {TICK})'),
        lowered=f"""(core func $l (canon lower (func $"{left}" "pass")))
            (core func $r (canon lower (func $"{right}" "pass")))""",
        given={"l": "(result i64)", "r": "(result i64)"},
        body="(i64.add (i64.mul (call $l) (i64.const 100)) (call $r))",
    )
    parts = {"main": main, "left": _passes_on("left"), "right": _passes_on("right"), "ticker": _ticker()}
    channels = [("call", f"ticker.{TICKS}", f"{side}.{TICKS}") for side in ("left", "right")]
    channels += [
        ("call", f"{name}.test:calls/{name}@1.0.0", f"main.test:calls/{name}@1.0.0") for name in ("left", "right")
    ]
    ran = run_graph(graph(parts, channels, ["main.report"]), parts, {})
    assert number(ran.outputs["main.report"]) == 102


def test_the_member_with_files_need_not_have_the_entry() -> None:
    """A pure entry calls a component that has files, which imports all of WASI that a C program does."""
    parts = {
        "starter": runs_another(),
        "actor": Part(wasm=ACTOR, imports=ACTOR_IMPORTS, exports=(RUN,), profile="files"),
    }
    channels = [("call", f"actor.{RUN}", f"starter.{RUN}"), ("file", "script", "actor.script")]
    ran = run_graph(graph(parts, channels, ["actor.report"]), parts, script("list /in"))
    assert (ran.failures, ran.outputs["actor.report"]) == ({}, b"arguments: 0\nlist: . .. script\n")


def test_twenty_members_share_a_node() -> None:
    """A chain of many components, each with a memory of its own, is one node."""
    names = [f"test:calls/step{number}@1.0.0" for number in range(20)]
    parts = {}
    for index, name in enumerate(names):
        before = names[index - 1] if index else ""
        given = (
            f'(import "{before}" (instance $b (export "step" {TICK}))) (core func $f (canon lower (func $b "step")))'
        )
        taken = '(import "b" "f" (func $f (result i64)))' if before else "(func $f (result i64) (i64.const 0))"
        put = '(with "b" (instance (export "f" (func $f))))' if before else ""
        text = f"""(component {given if before else ""}
          (core module $m {taken} (memory 1)
            (func (export "step") (result i64) (i64.add (call $f) (i64.const 1))))
          (core instance $i (instantiate $m {put}))
          (func $step (result u64) (canon lift (core func $i "step")))
          (instance $x (export "step" (func $step))) (export "{name}" (instance $x)))"""
        parts[f"step{index}"] = Part(wasm=wat(text), exports=(name,), imports=(before,) if before else ())
    last = names[-1]
    parts["main"] = caller(
        takes={last: f'(export "step" {TICK})'},
        lowered=f'(core func $step (canon lower (func $"{last}" "step")))',
        given={"step": "(result i64)"},
        body="(call $step)",
    )
    channels = [("call", f"step{index}.{name}", f"step{index + 1}.{name}") for index, name in enumerate(names[:-1])]
    channels.append(("call", f"step19.{last}", f"main.{last}"))
    ran = run_graph(graph(parts, channels, ["main.report"]), parts, {})
    assert number(ran.outputs["main.report"]) == 20


@pytest.mark.parametrize(
    "other",
    [
        adder(add_type='(func (param "a" s64) (param "b" u64) (result u64))'),
        adder(add_type='(func (param "a" u64) (param "c" u64) (result u64))'),
        Part(wasm=wat(f'(component (instance $x) (export "{ADDER}" (instance $x)))'), exports=(ADDER,)),
    ],
)
def test_members_that_do_not_fit_are_refused_with_the_last(other: Part) -> None:
    """Another type, another parameter's name or a missing function is refused when the last member comes, each time."""
    manifest, parts = joined(calls_adder(SUM), ("adder", other))
    runtime = Runtime(manifest, isolation=isolation())
    with closing(item("adder", parts["adder"].wasm)) as own:
        runtime.admit(manifest.component("adder"), own)
    for _ in range(2):
        with closing(item("main", parts["main"].wasm)) as own, pytest.raises(ComponentError) as caught:
            runtime.admit(manifest.component("main"), own)
        assert caught.value.code == "COMPONENT_CALLS"
        assert "add" not in str(caught.value)
    with pytest.raises(RuntimeError, match="main"):
        runtime.run({})
    runtime.wipe()


@pytest.mark.parametrize(
    ("wasi", "code"),
    [
        ('(import "wasi:cli/exit@0.2.0" (instance (export "exit" (func (param "x" u8)))))', "COMPONENT_TYPES"),
        ("", "COMPONENT_IMPORTS"),
    ],
)
def test_a_member_is_judged_by_itself_first(wasi: str, code: str) -> None:
    """A member's own imports of the runtime are compared when it comes, whatever becomes of its calls."""
    text = f'(component (import "{ADDER}" (instance (export "add" {ADD_TYPE}))) {wasi} {RUN_OK})'
    imports = (ADDER, "wasi:cli/exit@0.2.0")
    main = Part(wasm=wat(text), imports=imports, exports=(RUN,), entry=RUN, profile="files")
    manifest, parts = joined(main, ("adder", adder()))
    with pytest.raises(ComponentError) as caught:
        admitted(manifest, parts)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("body", "options", "code"),
    [
        ("(call $add (unreachable) (i64.const 1))", {}, "NODE_TRAPPED"),
        ("(block (result i64) (loop $l (drop (call $add (i64.const 1) (i64.const 1))) (br $l)) (unreachable))",
         {"fuel": 1_000_000}, "NODE_FUEL"),
        ("(block (result i64) (loop $l (drop (call $add (i64.const 1) (i64.const 1))) (br $l)) (unreachable))",
         {"wall_seconds": 1}, "NODE_TIME"),
    ],
)  # fmt: skip
def test_limits_hold_for_a_node_of_several(body: str, options: dict[str, int], code: str) -> None:
    """Traps, fuel and wall time end a composed node as they end any other."""
    manifest, parts = joined(calls_adder(body), ("adder", adder()), **options)
    assert run_graph(manifest, parts, {}).failures == {"main": code}


def test_memories_of_all_members_together_are_bounded() -> None:
    """Members that each take what one may have meet the limit of their node's worker."""
    fill = f"(memory.fill (i32.const 0) (i32.const 1) (i32.const {48 * MEBIBYTE}))"
    hogs = "".join(
        f"(core module $m{number} (memory {48 * 16}) (func $touch {fill}) (start $touch))"
        f"(core instance (instantiate $m{number}))"
        for number in range(6)
    )
    parts = {"main": calls_adder(SUM), "adder": adder(beside=hogs)}
    manifest = graph(parts, [("call", f"adder.{ADDER}", f"main.{ADDER}")], ["main.report"])
    assert run_graph(manifest, parts, {}).failures == {"main": "NODE_MEMORY"}


def test_the_composite_holds_its_members_as_they_are() -> None:
    """Each member's own bytes stand in the composite, so that their digests can be found in it again."""
    main, other = calls_adder(SUM), adder()
    members = (Member(), Member(imports=FILES_IMPORTS, calls=((ADDER, 0),), has_entry=True))
    composite = compose.compose(engine.make_engine(counts_fuel=False), members, (other.wasm, main.wasm), RUN)
    for part in (main, other):
        place = composite.find(part.wasm)
        found = composite[place : place + len(part.wasm)]
        assert hashlib.sha256(found).digest() == hashlib.sha256(part.wasm).digest()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_shell_has_as_many_places_as_parts(count: int) -> None:
    """Splicing more or fewer parts than a shell has places is refused."""
    shell = bytes(wasmtime.wat2wasm("(component (component) (component))"))
    with pytest.raises(ValueError, match="nested components"):
        compose.spliced(shell, [adder().wasm] * count)


def test_members_may_come_at_the_same_time() -> None:
    """Whichever member is the last, the node is composed once all are there."""
    manifest, parts = joined(calls_adder(SUM), ("adder", adder()))
    runtime = Runtime(manifest, isolation=isolation())
    failed: list[Exception] = []

    def admit(name: str) -> None:
        try:
            with closing(item(name, parts[name].wasm)) as own:
                runtime.admit(manifest.component(name), own)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test fails with it
            failed.append(error)

    threads = [threading.Thread(target=admit, args=(name,), daemon=True) for name in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert runtime.run({}).completed
    runtime.wipe()


def test_a_wipe_drops_members_that_wait_for_others() -> None:
    """After a wipe no member that came is left, and none is taken any more."""
    manifest, parts = joined(calls_adder(SUM), ("adder", adder()))
    runtime = Runtime(manifest, isolation=isolation())
    with closing(item("adder", parts["adder"].wasm)) as own:
        runtime.admit(manifest.component("adder"), own)
    runtime.wipe()
    with closing(item("main", parts["main"].wasm)) as own, pytest.raises(ComponentError) as caught:
        runtime.admit(manifest.component("main"), own)
    assert caught.value.code == "RUN_WIPED"


def test_a_plain_function_can_be_called() -> None:
    """A call by a plain name is of a function that stands by itself."""
    giver = wat("""(component (core module $m (func (export "give") (result i64) (i64.const 7)))
        (core instance $i (instantiate $m)) (func (export "give") (result u64) (canon lift (core func $i "give"))))""")
    main = Part(
        wasm=files(
            imports='(import "give" (func $give (result u64)))',
            lowered='(core func $g (canon lower (func $give))) (core instance $calls (export "give" (func $g)))',
            given='(with "calls" (instance $calls))',
            imported='(import "calls" "give" (func $give (result i64)))',
            core='(data (i32.const 64) "report/data")',
            run="""(i64.store (i32.const 96) (call $give))
                (call $write (i32.const 64) (i32.const 11) (i32.const 96) (i32.const 8)) (i32.const 0)""",
        ),
        imports=("give", *FILES_IMPORTS),
        exports=(RUN,),
        entry=RUN,
        profile="files",
    )
    assert told(main, ("giver", Part(wasm=giver, exports=("give",)))) == 7
