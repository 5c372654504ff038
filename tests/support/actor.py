"""Runs real components in real workers: one that does what a script tells it to, and any other.

ran = act("write /out/report/data 10", "loop", wall_seconds=1)      # a command a line, see actor.c
ran.failure                                                          # "NODE_TIME", or "" where it completed
ran.told("read")                                                     # what the command found, from the report

runtime = staged(stage(wasm=..., inputs={"script": b"..."}, ports={"report": 1000}))   # admitted, not run yet
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import wasmtime
from tests.support.manifests import Document, World

from twocvm_guest.runtime.isolation import IsolationReport, probe
from twocvm_guest.runtime.items import Item, ItemWriter
from twocvm_guest.runtime.run import RunResult
from twocvm_guest.runtime.supervisor import Runtime
from twocvm_verifier.manifest import Manifest

COMPONENTS: Final = Path(__file__).parents[1] / "vectors" / "components"
ACTOR: Final = (COMPONENTS / "actor.wasm").read_bytes()
RUN: Final = "wasi:cli/run@0.2.0"
ACTOR_IMPORTS: Final = tuple(
    f"wasi:{name}@0.2.0"
    for name in (
        *("cli/environment", "cli/exit", "cli/stderr", "cli/stdin", "cli/stdout", "cli/terminal-input"),
        *("cli/terminal-output", "cli/terminal-stderr", "cli/terminal-stdin", "cli/terminal-stdout"),
        *("clocks/monotonic-clock", "clocks/wall-clock", "filesystem/preopens", "filesystem/types", "io/error"),
        *("io/poll", "io/streams", "random/random"),
    )
)
MEBIBYTE: Final = 1 << 20


@cache
def isolation() -> IsolationReport:
    """What this machine gives, asked once."""
    return probe()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One component and everything that its manifest says of it."""

    wasm: bytes = ACTOR
    imports: tuple[str, ...] = ACTOR_IMPORTS
    exports: tuple[str, ...] = (RUN,)
    entry: str = RUN
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=lambda: {"report": 100_000})
    memory_bytes: int = 64 * MEBIBYTE
    wall_seconds: int = 20
    fuel: int = 0
    rules: Mapping[str, Any] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        """A valid manifest with this component as its only node."""
        return World(participants=2, items=1, components=1, edit=self._edit).manifest

    def _edit(self, document: Document) -> None:
        owner, other = (entry["name"] for entry in document["participants"])
        limits = {
            "memory_bytes": self.memory_bytes,
            "wall_seconds": self.wall_seconds,
            "output_bytes": sum(self.ports.values()),
        }
        document["components"] = [
            {
                "name": "actor",
                "owner": owner,
                "sha256": hashlib.sha256(self.wasm).hexdigest(),
                "profile": "files",
                "entry": self.entry,
                "imports": list(self.imports),
                "exports": list(self.exports),
                "limits": limits | ({"fuel": self.fuel} if self.fuel else {}),
            }
        ]
        size = max([len(content) for content in self.inputs.values()], default=0) + 1
        document["data"] = [
            {"name": f"item-{port}", "owner": other, "media_type": "text/plain", "max_bytes": size}
            for port in self.inputs
        ]
        document["channels"] = [
            {"from": f"data:item-{port}", "to": f"component:actor.{port}", "kind": "file", "max_bytes": size}
            for port in self.inputs
        ]
        document["outputs"] = [
            {"name": f"output-{port}", "from": f"component:actor.{port}", "recipients": [owner], "max_bytes": size}
            for port, size in self.ports.items()
        ]
        document["rules"] |= self.rules
        for where, name in ((document, "data"), (document, "channels"), (document["components"][0], "imports")):
            if not where[name]:
                del where[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a run of one component went: the failure's code or nothing, and what each port held."""

    failure: str
    outputs: Mapping[str, bytes]

    def told(self, command: str) -> str:
        """What the actor's report says of a command that was given once."""
        (only,) = self.all_told(command)
        return only

    def all_told(self, command: str) -> list[str]:
        """What the actor's report says of a command each time that it was given."""
        lines = self.outputs["report"].decode().splitlines()
        return [line.partition(": ")[2] for line in lines if line.startswith(f"{command}:")]


def item(name: str, content: bytes) -> Item:
    """Return an item that holds `content`."""
    writer = ItemWriter(name, max_bytes=len(content))
    writer.write(content)
    return writer.seal()


def staged(stage: Stage, *, report: IsolationReport | None = None) -> Runtime:
    """Return a runtime that has admitted the stage's component."""
    runtime = Runtime(stage.manifest, isolation=report or isolation())
    with closing(item("actor", stage.wasm)) as own:
        runtime.admit(stage.manifest.component("actor"), own)
    return runtime


def run(runtime: Runtime, stage: Stage) -> Ran:
    """Run what was staged."""
    inputs = {f"item-{port}": item(port, content) for port, content in stage.inputs.items()}
    result: RunResult = runtime.run(inputs)
    outputs = {name.removeprefix("output-"): each.open().read() for name, each in result.outputs.items()}
    for each in (*result.outputs.values(), *inputs.values()):
        each.close()
    return Ran(failure=result.failures.get("actor", "" if result.completed else "RUN_WIPED"), outputs=outputs)


def script(*commands: str) -> dict[str, bytes]:
    """Return the input that tells the actor what to do."""
    return {"script": "\n".join(commands).encode()}


def act(*commands: str, more: Mapping[str, bytes] | None = None, **options: Any) -> Ran:
    """Admit the actor, let it act, and take everything away again."""
    stage = Stage(inputs=script(*commands) | (more or {}), **options)
    runtime = staged(stage)
    try:
        return run(runtime, stage)
    finally:
        runtime.wipe()


def wat(text: str) -> bytes:
    """Return the binary form of a component written as text."""
    return bytes(wasmtime.wat2wasm(text))
