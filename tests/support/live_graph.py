"""What live workers can reach, read from the kernel and from the code that they load, while a manifest runs.

    run = watched(manifest, {"main": wasm}, {"table": b"..."}, holds=True)
    run.channels                # {"data:table -> component:main.table file", ...}, as found in the workers
    run.workers                 # everything that was found in each

Every worker of a runtime is looked at when it says that it has shut itself in and, if its code holds (`held`), in the
middle of its run. Nothing is taken from the manifest but the names of components by their digests: which components a
worker has is told by the code that it loads, and where a file or a window comes from by what it holds. So no two items
or ports may hold the same, and no two components be the same file.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import wasmtime
from tests.support import processes
from tests.support.actor import isolation, item
from tests.support.graphs import Part
from tests.support.wat_files import FILES_IMPORTS, RUN, files
from wasmtime.component import Component

from twocvm_guest.runtime import engine
from twocvm_guest.runtime.live import Live
from twocvm_guest.runtime.messages import Job, Outcome, Work
from twocvm_guest.runtime.process import Worker
from twocvm_guest.runtime.supervisor import Runtime
from twocvm_guest.runtime.windows import Memories
from twocvm_verifier.manifest import Manifest

_HELD: Final = b"0"
_GO: Final = b"1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one worker can reach at one moment.

    Attributes:
        mounts: Where each mount is, with its kind and whether it can be written to.
        root: What lies at the root.
        inputs: The content of every file below `/in`, by its path there.
        outputs: Every path below `/out`.
        opened: What every descriptor is: `null`, `socket`, `statm`, `anonymous`, `in`, `out`, or the content of a
            memory file; anything else as the kernel names it.
        shared: Memory files that are mapped so that others see what is written.
    """

    mounts: Mapping[str, tuple[str, bool]]
    root: tuple[str, ...]
    inputs: Mapping[str, bytes]
    outputs: tuple[str, ...]
    opened: Mapping[int, bytes | str]
    shared: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Seen:
    """One worker: its job, and what was seen of it.

    Attributes:
        job: As it was sent.
        ready: When it had shut itself in.
        running: In the middle of its run, where its code holds.
        left: What it left at each port, when it had ended.
        result: The code that it made, when it had ended; empty where that was not its work.
    """

    job: Job
    ready: Sight
    running: Sight | None = None
    left: dict[str, bytes] = field(default_factory=dict)
    result: bytes = b""


class WatchedLive(Live):
    """Starts real workers, and has each looked at."""

    def __init__(self, *, holds: bool) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self._holds = holds

    @contextmanager
    def start(self) -> Iterator[Any]:
        """Start a worker that is looked at."""
        with super().start() as worker:
            yield _WatchedWorker(worker, self.seen, holds=self._holds)


class _WatchedWorker:
    """A worker, with somebody who looks at it between its steps."""

    def __init__(self, worker: Worker, everybody: list[Seen], *, holds: bool) -> None:
        self._worker = worker
        self._everybody = everybody
        self._holds = holds

    @property
    def outputs(self) -> int:
        return self._worker.outputs

    def shut_in(self, job: Job) -> object:
        said = self._worker.shut_in(job)
        # The process that was started waits for the one that does the work, in a namespace of its own.
        started = self._worker._process.pid
        self._process = (processes.descendants(started) or [started])[-1]
        self._seen = Seen(job=job, ready=sight(self._process))
        self._everybody.append(self._seen)
        return said

    def go_on(self, *, seconds: float) -> Outcome:
        job = self._seen.job
        looking = threading.Thread(target=self._look)
        if holds := job.work is Work.RUN and self._holds:
            looking.start()
        outcome = self._worker.go_on(seconds=seconds)
        if holds:
            looking.join()
        if job.work in (Work.ADMIT, Work.COMPOSE):
            self._seen.result = Path(f"/proc/self/fd/{job.result}").read_bytes()
        for port in job.outputs:
            with open(f"/proc/self/fd/{self.outputs}/{port}/data", "rb") as file:
                self._seen.left[port] = file.read()
        return outcome

    def _look(self) -> None:
        held = [Path(f"/proc/{self._process}/root/out/{port}/data") for port in self._seen.job.outputs]
        processes.wait_until(
            lambda: all(path.exists() and path.read_bytes()[:1] == _HELD for path in held), seconds=18.0
        )
        self._seen.running = sight(self._process)
        for path in held:
            with path.open("r+b", buffering=0) as file:
                file.write(_GO)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWorker:
    """One worker that ran participants' code.

    Attributes:
        components: The names of its components, callees before their callers.
        ports: The ports that it could leave something at, as the manifest writes them.
        seen: What was seen of it.
    """

    components: tuple[str, ...]
    ports: frozenset[str]
    seen: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a run was found to be.

    Attributes:
        channels: Every way into a worker, as `SOURCE -> TARGET KIND`.
        workers: Those that ran participants' code, in the order of their start.
        others: Those that admitted, composed, or were built-in filters.
    """

    channels: frozenset[str]
    workers: tuple[FoundWorker, ...]
    others: tuple[Seen, ...]


def watched(manifest: Manifest, components: Mapping[str, bytes], data: Mapping[str, bytes], *, holds: bool) -> Found:
    """Admit, run and filter in real workers, and say what was found.

    Args:
        manifest: What is in force.
        components: The components' files, by name.
        data: What the items hold, by name.
        holds: Whether all components are `held` ones.
    """
    live = WatchedLive(holds=holds)
    runtime = Runtime(manifest, isolation=isolation())
    runtime._live = live
    inputs = {name: item(name, content) for name, content in data.items()}
    try:
        for component in manifest.components:
            with closing(item(component.name, components[component.name])) as own:
                runtime.admit(component, own)
        ran = runtime.run(inputs)
        assert ran.completed, ran.failures
        left = runtime.filter(ran.outputs)
        assert left.completed, left.failures
        for each in (*ran.outputs.values(), *left.outputs.values(), *inputs.values()):
            each.close()
    finally:
        runtime.wipe()
    return _found(live.seen, {hashlib.sha256(wasm).digest(): name for name, wasm in components.items()}, data)


def _found(everybody: Sequence[Seen], name_of: Mapping[bytes, str], data: Mapping[str, bytes]) -> Found:
    code: dict[bytes, tuple[str, ...]] = {}
    source_of = {content: f"data:{name}" for name, content in data.items()}
    channels: set[str] = set()
    workers = []
    for seen in everybody:
        job = seen.job
        if job.work is Work.ADMIT:
            code[seen.result] = (name_of[_sha256(seen, job.component)],)
        elif job.work is Work.COMPOSE:
            code[seen.result] = tuple(name_of[_sha256(seen, member.component)] for member in job.members)
        elif job.work is Work.RUN:
            components = code[content(seen, job.component)]
            channels |= set(_ways_in(seen, components, source_of))
            reader = _with_files(seen, components)
            ports = {f"component:{reader}.{port}": written for port, written in seen.left.items()}
            source_of |= {written: port for port, written in ports.items()}
            workers.append(FoundWorker(components=components, ports=frozenset(ports), seen=seen))
    others = tuple(seen for seen in everybody if seen.job.work is not Work.RUN)
    return Found(channels=frozenset(channels), workers=tuple(workers), others=others)


def _ways_in(seen: Seen, components: Sequence[str], source_of: Mapping[bytes, str]) -> Iterator[str]:
    for path, content_ in seen.ready.inputs.items():
        port = path.removesuffix("/data")
        yield f"{source_of[content_]} -> component:{_with_files(seen, components)}.{port} file"
    for member, name in zip(seen.job.members, components, strict=True):
        for port, descriptor, _ in member.windows:
            yield f"{source_of[content(seen, descriptor)]} -> component:{name}.{port} window"
        for interface, callee in member.calls:
            yield f"component:{components[callee]}.{interface} -> component:{name}.{interface} call"


def _with_files(seen: Seen, components: Sequence[str]) -> str:
    """Return the one component of a worker that is given files."""
    (name,) = (
        name
        for member, name in zip(seen.job.members, components, strict=True)
        if any(each.startswith("wasi:filesystem/") for each in member.imports)
    )
    return name


def _sha256(seen: Seen, descriptor: int) -> bytes:
    return hashlib.sha256(content(seen, descriptor)).digest()


def sight(process: int) -> Sight:
    """Look at a process through the kernel; again, if it closed a descriptor meanwhile, as it does once when ready."""
    with suppress(FileNotFoundError):
        return _sight(process)
    return _sight(process)


def _sight(process: int) -> Sight:
    root = Path(f"/proc/{process}/root")
    lines = [line.split() for line in Path(f"/proc/{process}/mountinfo").read_text().splitlines()]
    inputs = [path for path in (root / "in").rglob("*") if not path.is_dir()]
    outputs = (root / "out").rglob("*")
    maps = Path(f"/proc/{process}/maps").read_text().splitlines()
    return Sight(
        mounts={line[4]: (line[line.index("-") + 1], "rw" in line[5].split(",")) for line in lines},
        root=tuple(sorted(os.listdir(root))),
        inputs={str(path.relative_to(root / "in")): path.read_bytes() for path in inputs},
        outputs=tuple(sorted(str(path.relative_to(root / "out")) for path in outputs)),
        opened={descriptor: _kind(process, descriptor) for descriptor in processes.descriptors(process)},
        shared=tuple(line for line in maps if "memfd:" in line and line.split()[1].endswith("s")),
    )


def content(seen: Seen, descriptor: int) -> bytes:
    """Return what a memory file holds that a worker had open when it was ready."""
    found = seen.ready.opened[descriptor]
    assert isinstance(found, bytes)
    return found


def imports_of(seen: Seen) -> set[str]:
    """Return what the code asks for that a worker of a node loads: by name, from its own descriptor."""
    made = engine.make_engine(counts_fuel=seen.job.fuel > 0, composed=len(seen.job.members) > 1)
    return set(engine.load(made, content(seen, seen.job.component)).type.imports(made))


def answers(seen: Seen, interface: str, function: str) -> bool:
    """Return whether the linker that a worker makes for its job has a function, whatever its type.

    A component that asks for it with another type is refused for the type, or not at all where the function takes any,
    and not because nothing is there. WASI is there whole: what of it a component gets is what `imports_of` says.
    """
    memories = Memories() if any(member.asks_windows for member in seen.job.members) else None
    made = engine.make_engine(counts_fuel=False, composed=len(seen.job.members) > 1, memories=memories)
    linker = engine._linker(made, seen.job, memories)
    unlikely = '(func (param "twocvm-probe" (list char)))'
    asks = Component(made, f'(component (import "{interface}" (instance (export "{function}" {unlikely}))))')
    try:
        linker.instantiate(wasmtime.Store(made), asks)
    except wasmtime.WasmtimeError as error:
        return "implementation is missing" not in str(error)
    return True


def held(
    ports: Sequence[str],
    *,
    name: str,
    imports: str = "",
    lowered: str = "",
    imported: str = "",
    given: str = "",
    before: str = "",
    takes: Iterable[str] = (),
) -> Part:
    """A component that writes what it is called and the port's name to each port, and then waits for a `1` there.

    Args:
        ports: Where it leaves something; at least one.
        name: What it is called in the manifest.
        imports: As for `files`.
        lowered: Likewise.
        imported: Likewise.
        given: Likewise.
        before: What it does first.
        takes: The names of what it imports besides files.
    """
    data, acts, at = [], [], 64
    for port in ports:
        path, text = f"{port}/data", _HELD.decode() + f" from {name} at {port}"
        data.append(f'(data (i32.const {at}) "{path}{text}")')
        where = f"(i32.const {at}) (i32.const {len(path)})"
        acts.append((where, f"(call $write {where} (i32.const {at + len(path)}) (i32.const {len(text)}))"))
        at += len(path) + len(text)
    waits = "".join(
        f"""(local.set $file (call $open (i32.const 12) {where} (i32.const 0) (i32.const 1)))
        (loop $again (call $heap-to (i32.const 32768))
          (call $read-at (local.get $file) (i64.const 1) (i64.const 0) (i32.const 16))
          (br_if $again (i32.ne (i32.load8_u (i32.load (i32.const 20))) (i32.const 49))))"""
        for where, _ in acts
    )
    return Part(
        wasm=files(
            imports=imports, lowered=lowered, imported=imported, given=given, core=" ".join(data),
            run=f"(local $file i32) {before} {' '.join(act for _, act in acts)} {waits} (i32.const 0)",
        ),
        imports=(*takes, *FILES_IMPORTS), exports=(RUN,), entry=RUN, profile="files",
    )  # fmt: skip


def _kind(process: int, descriptor: int) -> bytes | str:
    path = Path(f"/proc/{process}/fd/{descriptor}")
    target = str(path.readlink())
    if target == "/dev/null":
        return "null"
    if target.startswith("/memfd:"):
        return path.read_bytes()
    if target.endswith("/statm"):
        return "statm"
    for kind in ("socket", "anon_inode"):
        if target.startswith(f"{kind}:"):
            return kind
    device = path.stat().st_dev
    for name in ("in", "out"):
        if device == os.stat(f"/proc/{process}/root/{name}").st_dev:
            return name
    return target
