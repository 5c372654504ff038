"""What a component can do in a run, whatever its author wants: each test is one attempt, in a real worker."""

from __future__ import annotations

import pytest
from tests.support.actor import MEBIBYTE, RUN, Stage, act, run, script, staged, wat

# What a component gets that ends well without a word: its manifest wants an output.
ENDED_WELL = "OUTPUT_MISSING"


def test_a_component_sees_its_ports_and_nothing_else() -> None:
    """The whole file system of a component is its own input ports, read-only, and its own output ports."""
    seen = act("list /in", "list /in/script", "list /out", more={"other": b"x"}).all_told("list")
    assert [set(names.split()) for names in seen] == [
        {".", "..", "script", "other"},
        {".", "..", "data"},
        {".", "..", "report"},
    ]


NOWHERE = (
    "/etc/passwd",
    "/proc/self/environ",
    "/dev/sev-guest",
    "/dev/null",
    "/",
    "/in/../etc/passwd",
    "/in/script/../../etc/passwd",
    "/in/script/../../../../proc/1/mem",
    "/out/report/../../in/../etc/shadow",
    "../../etc/passwd",
    "//etc/passwd",
    "/in/other-port/data",
)


def test_no_path_leads_out() -> None:
    """Absolute paths, `..`, devices and ports that are not its own lead nowhere."""
    ran = act(*(f"read {path}" for path in NOWHERE))
    assert len(ran.all_told("read")) == len(NOWHERE)
    assert set(ran.all_told("read")) <= {"No such file or directory", "Operation not permitted", "Is a directory"}


FORBIDDEN = (
    "append /in/script/data",
    "touch /in/script/data",
    "unlink /in/script/data",
    "mkdir /in/script/more",
    "rename /in/script/data /in/script/else",
    "rename /in/script/data /out/report/stolen",
    "rename /out/report/data /in/script/data",
    "link /in/script/data /out/report/stolen",
    "link /out/report/data /out/report/twice",
    "symlink ../in/script/data /out/report/way-in",
    "mkdir /out/port-of-my-own",
    "rename /out/report /out/other",
    "rename /out/report/data /out/other/data",
)


def test_inputs_are_not_changed_and_nothing_is_linked() -> None:
    """Inputs are not written, removed or moved; nothing is linked or renamed between ports; no port is made up."""
    ran = act(*FORBIDDEN, more={"other": b"untouched"}, ports={"report": 100_000})
    assert ran.failure == ""
    answers = [answer for word in {command.split()[0] for command in FORBIDDEN} for answer in ran.all_told(word)]
    assert len(answers) == len(FORBIDDEN)
    assert "ok" not in answers


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("trap", "NODE_TRAPPED"),
        ("outside", "NODE_TRAPPED"),
        ("recurse", "NODE_STACK"),
        ("grow 1000000", "NODE_MEMORY"),
        ("exit 3", "NODE_EXIT"),
        ("sleep 1000000", "NODE_TRAPPED"),
        ("write /out/report/data 200000", "OUTPUT_TOO_LARGE"),
        ("write /out/report/data 99999999999", "OUTPUT_TOO_LARGE"),
        ("write /out/report/more 10", "OUTPUT_UNEXPECTED"),
        ("mkdir /out/report/more", "OUTPUT_UNEXPECTED"),
        ("files /out/report 5000", "OUTPUT_UNEXPECTED"),
        ("unlink /out/report/data", "OUTPUT_MISSING"),
        ("rename /out/report/data /out/report/elsewhere", "OUTPUT_UNEXPECTED"),
    ],
)
def test_a_failure_has_its_code_and_leaves_nothing(command: str, code: str) -> None:
    """Traps, limits and wrong outputs each end the run with their own code, and no output is served."""
    ran = act(command)
    assert (ran.failure, ran.outputs) == (code, {})


def test_an_endless_component_is_killed() -> None:
    """A component that never ends is ended by the wall time of its manifest."""
    assert act("loop", wall_seconds=1).failure == "NODE_TIME"


def test_an_output_directory_is_no_file() -> None:
    """A folder named `data` in place of the file is refused."""
    assert act("unlink /out/report/data", "mkdir /out/report/data").failure == "OUTPUT_NOT_A_FILE"


def test_a_full_disk_is_the_components_own() -> None:
    """One port cannot take more than its limit, and all ports have room for their limits at the same time."""
    ports = {"report": 100_000, "big": 3 * MEBIBYTE, "also": 2 * MEBIBYTE}
    fits = act(f"write /out/big/data {3 * MEBIBYTE}", f"write /out/also/data {2 * MEBIBYTE}", ports=ports)
    assert (fits.failure, len(fits.outputs["big"]), len(fits.outputs["also"])) == ("", 3 * MEBIBYTE, 2 * MEBIBYTE)
    over = act(f"write /out/also/data {2 * MEBIBYTE + 1}", "write /out/big/data 1", ports=ports)
    assert over.failure == "OUTPUT_TOO_LARGE"


def test_a_component_learns_no_time() -> None:
    """Wall clock, monotonic clock and the times of inputs and of its own output stand still at zero."""
    ran = act("clocks", "times /in/script/data")
    assert ran.told("clocks") == "0.000000000 0.000000000"
    assert set(ran.told("times").split()) == {"0.000000000"}
    own = act("write /out/report/other 1", "times /out/report/other", "unlink /out/report/other")
    assert set(own.told("times").split()) == {"0.000000000"}


def test_a_coarse_clock_has_whole_seconds() -> None:
    """Where the manifest says `coarse`, time passes in whole seconds and the monotonic clock begins at zero."""
    wall, monotonic = act("clocks", rules={"clock": "coarse"}).told("clocks").split()
    assert wall.endswith(".000000000")
    assert int(wall.split(".")[0]) > 1_700_000_000
    assert monotonic in {"0.000000000", "1.000000000"}


def test_random_numbers_come_from_the_seed() -> None:
    """A fixed seed gives the same numbers twice; without one they are secret and differ from run to run."""
    fixed = {"random": "seeded", "seed": "06" * 32}
    assert act("random", rules=fixed).told("random") == act("random", rules=fixed).told("random")
    assert act("random", rules=fixed).told("random") != act("random", rules=fixed | {"seed": "07" * 32}).told("random")
    secret = {act("random").told("random") for _ in range(2)}
    assert len(secret) == 2


def test_system_random_numbers_are_the_kernels() -> None:
    """Where the manifest says `system`, numbers differ from run to run."""
    system = {"random": "system"}
    assert act("random", rules=system).told("random") != act("random", rules=system).told("random")


def test_no_arguments_no_environment_no_streams() -> None:
    """A component has no arguments and no environment, and what it prints, however much, goes nowhere."""
    ran = act("environment", "stdout 20000000")
    assert (ran.told("arguments"), ran.told("environment"), ran.told("stdout")) == ("0", "empty", "ok")


def test_fuel_ends_a_component_at_the_same_instruction() -> None:
    """Fuel is a limit of its own: what needs more of it fails, and what needs less runs."""
    assert act("loop", fuel=10_000_000).failure == "NODE_FUEL"
    assert act("list /in", fuel=10_000_000).failure == ""


@pytest.mark.parametrize(("count", "failure"), [(1, ENDED_WELL), (6, "NODE_MEMORY")])
def test_memories_count_together(count: int, failure: str) -> None:
    """Memories that stay within the limit, each by itself, are together bounded by it."""
    grown = "(func $grow (if (i32.eq (i32.const -1) (memory.grow (i32.const 480))) (then unreachable))) (start $grow)"
    memories = "".join(
        f"(core module $m{i} (memory 1 4096) {grown}) (core instance (instantiate $m{i}))" for i in range(count)
    )
    stage = Stage(
        wasm=wat(f"(component {memories} {_run_export('i32.const 0')})"),
        imports=(),
        memory_bytes=32 * MEBIBYTE,
    )
    assert _failure(stage) == failure


def test_more_memories_than_any_program_has_are_refused() -> None:
    """A component with a hundred memories does not start."""
    memories = "".join(f"(core module $m{i} (memory 1)) (core instance (instantiate $m{i}))" for i in range(100))
    stage = Stage(wasm=wat(f"(component {memories} {_run_export('i32.const 0')})"), imports=())
    assert _failure(stage) == "NODE_MEMORY"


def test_a_table_bomb_is_bounded() -> None:
    """Growing a table without end stops at the limit of elements; the worker and its node survive or fail, alone."""
    grow = "(loop $l (br_if $l (i32.ne (i32.const -1) (table.grow 0 (ref.null func) (i32.const 65536))))) i32.const 0"
    stage = Stage(wasm=wat(f"(component {_run_export(grow, '(table 1 funcref)')})"), imports=())
    assert _failure(stage) == ENDED_WELL
    big = Stage(wasm=wat(f"(component {_run_export('i32.const 0', '(table 2000000 funcref)')})"), imports=())
    assert _failure(big) == "NODE_MEMORY"


def test_names_of_a_component_say_nothing_about_its_failure() -> None:
    """A function whose name imitates the engine's words for a limit does not change the code of a trap."""
    name = "x\\n\\nCaused by:\\n    1: wasm trap: call stack exhausted"
    body = _run_export("call $evil i32.const 0", f'(func $evil (@name "{name}") unreachable)')
    assert _failure(Stage(wasm=wat(f"(component {body})"), imports=())) == "NODE_TRAPPED"


def test_an_error_result_is_a_failure_without_words() -> None:
    """`run` returning an error is NODE_EXIT; one that returns well and writes nothing has failed by that alone."""
    assert _failure(Stage(wasm=wat(f"(component {_run_export('i32.const 1')})"), imports=())) == "NODE_EXIT"
    assert _failure(Stage(wasm=wat(f"(component {_run_export('i32.const 0')})"), imports=())) == ENDED_WELL


def test_exit_zero_is_success() -> None:
    """`exit(0)` ends a component well, as returning does."""
    assert act("exit 0").failure == ""


def test_the_guest_goes_on_after_a_hostile_component() -> None:
    """After components that trap, loop and fill their disk, the next runtime of the same process runs as before."""
    stage = Stage(inputs=script("list /in"))
    runtime = staged(stage)
    for command in ("trap", "grow 1000000", "write /out/report/data 9999999"):
        assert act(command).failure != ""
    assert run(runtime, stage).failure == ""
    runtime.wipe()


def _run_export(body: str, more: str = "") -> str:
    """A core module whose `run` has this body, lifted to `wasi:cli/run`."""
    return f"""
        (core module $main {more} (func (export "run") (result i32) {body}))
        (core instance $i (instantiate $main))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $interface (export "run" (func $run)))
        (export "{RUN}" (instance $interface))
    """


def _failure(stage: Stage) -> str:
    runtime = staged(stage)
    try:
        return run(runtime, stage).failure
    finally:
        runtime.wipe()
