"""Whole runs whose outputs and fuel must be the same on every machine, and how each ended here."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.actor import ACTOR, ACTOR_IMPORTS, isolation, item, script
from tests.support.graphs import Part, graph, run_admitted
from tests.support.wat_calls import adder, calls_adder
from tests.support.wat_files import FILES_IMPORTS, RUN, files

from twocvm_guest.runtime.supervisor import Runtime
from twocvm_verifier.manifest.graph import Node

RECORDED: Final = Path(__file__).parents[1] / "vectors" / "runtime" / "outcomes.json"
EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "demo"
_FUEL: Final = 100_000_000_000


class CountingRuntime(Runtime):
    """A runtime that learns how much fuel each node used, as only a run on one's own data may."""

    _told: dict[str, tuple[int, int, int, int]]

    def fuel(self) -> dict[str, int]:
        """Return what each node used."""
        used = {}
        for name, (said, saying, told, telling) in self._told.items():
            used[name] = json.loads(os.read(told, 1 << 16))["fuel"]
            for descriptor in (said, saying, told, telling):
                os.close(descriptor)
        return used

    def _witness(self, node: Node) -> tuple[int, ...]:
        pipes = (*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC), *os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
        vars(self).setdefault("_told", {})[node.name] = pipes
        return (pipes[1], pipes[3])


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run."""

    parts: Mapping[str, Part]
    channels: list[tuple[str, str, str]]
    outputs: list[str]
    data: Mapping[str, bytes] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)


def outcome(case: Case) -> dict[str, dict[str, Any]]:
    """Run a case; return the SHA-256 of each output and the fuel of each node."""
    manifest = graph(case.parts, case.channels, case.outputs, fuel=_FUEL, max_bytes=4 << 20, **case.rules)
    runtime = CountingRuntime(manifest, isolation=isolation())
    for component in manifest.components:
        with closing(item(component.name, case.parts[component.name].wasm)) as own:
            runtime.admit(component, own)
    ran = run_admitted(runtime, manifest, case.data)
    runtime.wipe()
    if ran.failures:
        raise RuntimeError(ran.failures)
    digests = {port: hashlib.sha256(content).hexdigest() for port, content in sorted(ran.outputs.items())}
    return {"outputs": digests, "fuel": dict(sorted(runtime.fuel().items()))}


def _demo() -> Case:
    def part(name: str) -> Part:
        wasm = (EXAMPLES / "components" / f"{name}.wasm").read_bytes()
        return Part(wasm=wasm, imports=FILES_IMPORTS, exports=(RUN,), entry=RUN, profile="files")

    (features,) = (EXAMPLES / "data" / "hospital-a").glob("*.csv")
    (diagnoses,) = (EXAMPLES / "data" / "hospital-b").glob("*.csv")
    return Case(
        parts={"join": part("join"), "regression": part("regression")},
        channels=[
            ("file", "features", "join.features"),
            ("file", "diagnoses", "join.diagnoses"),
            ("file", "join.table", "regression.table"),
        ],
        outputs=["join.table", "regression.evaluation", "regression.model"],
        data={"features": features.read_bytes(), "diagnoses": diagnoses.read_bytes()},
    )


def _actor() -> Case:
    commands = ("random", "clocks", "times /in/script/data", "list /in", "environment", "write /out/more/data 5000")
    actor = Part(wasm=ACTOR, imports=ACTOR_IMPORTS, exports=(RUN,), entry=RUN, profile="files")
    return Case(
        parts={"actor": actor},
        channels=[("file", "script", "actor.script")],
        outputs=["actor.report", "actor.more"],
        data=script(*commands),
        rules={"seed": "07" * 32},
    )


def _identities() -> Case:
    body = """(i64.store (i32.const 96) (call $identity (i32.const 128) (i32.const 10)))
        (call $write (i32.const 64) (i32.const 11) (i32.const 96) (i32.const 8)) (i32.const 0)"""
    wasm = files(core='(data (i32.const 64) "report/data") (data (i32.const 128) "table/data")', run=body)
    main = Part(wasm=wasm, imports=FILES_IMPORTS, exports=(RUN,), entry=RUN, profile="files")
    return Case(
        parts={"main": main},
        channels=[("file", "table", "main.table")],
        outputs=["main.report"],
        data={"table": b"1"},
    )


def _calls() -> Case:
    body = """(call $many)"""
    many = """(func $many (result i64) (local $n i64) (loop $l
        (local.set $n (call $add (local.get $n) (i64.const 3)))
        (br_if $l (i64.lt_u (local.get $n) (i64.const 30000)))) (local.get $n))"""
    main = calls_adder(body, core=many)
    interface = main.imports[0]
    return Case(
        parts={"main": main, "adder": adder()},
        channels=[("call", f"adder.{interface}", f"main.{interface}")],
        outputs=["main.report"],
    )


def _floats() -> Case:
    # A sequence that runs through infinities and NaNs of every origin, in scalars and in lanes, relaxed ones too.
    mix = """(func $mix (result i64) (local $n i32) (local $x f64) (local $v v128) (local $h i64)
      (local.set $x (f64.const 0.1))
      (loop $l
        (local.set $x (f64.div (f64.sub (f64.mul (local.get $x) (f64.const 1e200)) (f64.sqrt (local.get $x)))
          (f64.sub (f64.convert_i32_u (local.get $n)) (f64.const 7))))
        (local.set $v (f32x4.relaxed_madd (local.get $v) (f32x4.splat (f32.demote_f64 (local.get $x)))
          (f32x4.splat (f32.const 0.5))))
        (local.set $v (i8x16.relaxed_swizzle (local.get $v)
          (v128.const i32x4 0x0f0e0d0c 0x03020100 0x80818283 0x07060504)))
        (local.set $h (i64.add (i64.rotl (local.get $h) (i64.const 5)) (i64.xor (i64.reinterpret_f64 (local.get $x))
          (i64.xor (i64x2.extract_lane 0 (local.get $v)) (i64x2.extract_lane 1 (local.get $v))))))
        (if (i32.eqz (i32.rem_u (local.get $n) (i32.const 5))) (then (local.set $x (f64.const 1.5))))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $n) (i32.const 1000))))
      (local.get $h))"""
    body = """(i64.store (i32.const 96) (call $mix))
        (call $write (i32.const 64) (i32.const 11) (i32.const 96) (i32.const 8)) (i32.const 0)"""
    wasm = files(core=f'(data (i32.const 64) "report/data") {mix}', run=body)
    main = Part(wasm=wasm, imports=FILES_IMPORTS, exports=(RUN,), entry=RUN, profile="files")
    return Case(parts={"main": main}, channels=[], outputs=["main.report"])


CASES: Final[Mapping[str, Callable[[], Case]]] = {
    "actor": _actor,
    "calls": _calls,
    "demo": _demo,
    "floats": _floats,
    "identities": _identities,
}
