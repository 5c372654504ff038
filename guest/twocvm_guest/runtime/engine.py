"""The WebAssembly engine as every worker sets it up: deny by default, no clock, no randomness, no network.

Compiling and running use one configuration, since compiled code is loaded only by the configuration that made it.
What is switched on is what ordinary toolchains emit; proposals that bring threads, garbage collection, 64-bit
memories or asynchronous calls are switched off, so that such a component is refused when it is compiled.

Runs in workers only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from wasmtime import Config, Engine, ExitTrap, Store, WasiConfig, WasmtimeError, _ffi
from wasmtime.component import Component, Func, Instance, Linker, LinkerInstance, Record, Variant

from . import memory
from .folders import Folders
from .messages import Job, Outcome

if TYPE_CHECKING:
    from .windows import Memories
    from .witness import Witness

# The stack of WebAssembly code, well inside the 8 MiB of the main thread that it runs on.
STACK_BYTES: Final = 1 << 20
INSTANCES: Final = 256
TABLES: Final = 64
TABLE_ELEMENTS: Final = 1_000_000
# More random numbers than this in one call are a mistake or an attack on the worker's memory.
_MAX_RANDOM_BYTES: Final = 1 << 16
_NANOSECONDS: Final = 1_000_000_000

_SWITCHED_OFF: Final = (
    *("wasm_threads", "shared_memory", "wasm_memory64", "wasm_exceptions", "wasm_gc"),
    *("gc_support", "wasm_function_references", "wasm_wide_arithmetic", "wasm_custom_page_sizes"),
    *("wasm_stack_switching", "wasm_component_model_map", "wasm_component_model_implements", "memory_init_cow"),
)


def make_engine(*, counts_fuel: bool, composed: bool = False, memories: Memories | None = None) -> Engine:
    """Return an engine; all but `memories` must be the same for compiling and running.

    Args:
        counts_fuel: Whether instructions are counted.
        composed: For several members: the engine's own code between them has the memories of both.
        memories: Where linear memories are made, if the engine is not to make them itself.
    """
    config = Config()
    for name in _SWITCHED_OFF:
        setattr(config, name, False)
    # The binding has no property for it yet.
    _ffi.wasmtime_config_wasm_component_model_async_set(config.ptr(), False)
    config.cranelift_opt_level = "speed"
    config.wasm_simd = True
    config.wasm_relaxed_simd_deterministic = True
    config.cranelift_nan_canonicalization = True
    config.max_wasm_stack = STACK_BYTES
    config.consume_fuel = counts_fuel
    config.wasm_multi_memory = composed
    if memories:
        memories.install(config)
    return Engine(config)


def load(engine: Engine, compiled: bytes) -> Component:
    """Return a component from its compiled form, which came out of this node's own admission.

    Raises:
        ValueError: The engine does not take it.
    """
    try:
        return Component.deserialize(engine, compiled)
    except WasmtimeError as error:
        raise ValueError("not a compiled component of this engine") from error


def run(
    engine: Engine, component: Component, job: Job, folders: Folders, figures: int, memories: Memories | None = None
) -> Outcome:
    """Instantiate the component, call its entry, and say how that ended.

    Args:
        engine: As it was compiled for.
        component: Loaded from its compiled form.
        job: Limits, entry and what stands behind clock and random.
        folders: The only files there are.
        figures: `/proc/self/statm`, open.
        memories: What makes the engine's memories, where a member has windows.
    """
    store = Store(engine)
    count = len(job.members)
    store.set_limits(job.memory_bytes, TABLE_ELEMENTS, INSTANCES * count, TABLES * count, memory.MEMORIES * count)
    if job.fuel:
        store.set_fuel(job.fuel)
    witness = _witness(job) if job.witness else None
    # Where nobody listens, all of it is taken and nothing kept, which is what `len` does. The engine's own way of
    # leading nowhere takes more at a time, so that a component could tell whether it is watched.
    store.set_wasi(_wasi(folders, witness.hear if witness else len))
    before = memory.usage(figures)
    outcome, cause = _ending(store, component, job, _linker(engine, job, memories))
    now = memory.usage(figures)
    if witness:
        fuel = job.fuel - store.get_fuel() if job.fuel else 0
        witness.tell(cause, fuel=fuel, memory_bytes=now.data_bytes - before.data_bytes)
    if outcome in (Outcome.EXIT, Outcome.TRAPPED) and memory.is_exhausted(before, now, memory_bytes=job.memory_bytes):
        return Outcome.MEMORY
    return outcome


def _ending(store: Store, component: Component, job: Job, linker: Linker) -> tuple[Outcome, WasmtimeError | None]:
    """Return how the component ended, and what the engine raised, if it did."""
    try:
        succeeded = _succeeded(_call(store, linker.instantiate(store, component), job.entry))
        return (Outcome.DONE if succeeded else Outcome.EXIT), None
    except ExitTrap as ending:
        return (Outcome.EXIT if ending.code else Outcome.DONE), ending
    except WasmtimeError as error:
        return _outcome_of(error), error


def _witness(job: Job) -> Witness:
    from .witness import Witness

    return Witness(job.witness)


def _wasi(folders: Folders, hear: Callable[[bytes], int]) -> WasiConfig:
    # No arguments, no environment, no network, nothing on standard input: the defaults of a new one.
    wasi = WasiConfig()
    wasi.stdout_custom = hear
    wasi.stderr_custom = hear
    for path, name, writable in folders.shown():
        # The binding's own default would be to let it write.
        wasi.preopen_dir(path, name, fs_mutable=writable)
    return wasi


def _linker(engine: Engine, job: Job, memories: Memories | None) -> Linker:
    linker = Linker(engine)
    imports = [name for member in job.members for name in member.imports]
    if any(name.startswith("wasi:") for name in imports):
        linker.allow_shadowing = True
        linker.add_wasip2()
    functions = _clocks(coarse=job.coarse_clock)
    if job.seed:
        functions |= _seeded(bytes.fromhex(job.seed))
    # Under the very name that the component imports, which stands before any other version of the interface.
    with linker.root() as root:
        for name in imports:
            if own := functions.get(name.partition("@")[0]):
                with root.add_instance(name) as instance:
                    _define(instance, own)
    if memories:
        from . import windows

        windows.define(linker, job.members, memories)
    return linker


def _define(instance: LinkerInstance, functions: Mapping[str, Callable[..., object]]) -> None:
    for name, function in functions.items():
        instance.add_func(name, function)


def _clocks(*, coarse: bool) -> dict[str, dict[str, Callable[..., object]]]:
    start = time.monotonic()

    def wall(_: object) -> Record:
        return _datetime(int(time.time()) if coarse else 0)

    def monotonic(_: object) -> int:
        return int(time.monotonic() - start) * _NANOSECONDS if coarse else 0

    return {
        "wasi:clocks/wall-clock": {"now": wall, "resolution": lambda _: _datetime(1)},
        "wasi:clocks/monotonic-clock": {
            "now": monotonic,
            "resolution": lambda _: _NANOSECONDS,
            "subscribe-instant": _no_waiting,
            "subscribe-duration": _no_waiting,
        },
    }


def _no_waiting(_: object, __: int) -> object:
    raise WasmtimeError("there is no time to wait for")


def _datetime(seconds: int) -> Record:
    value = Record()
    vars(value).update(seconds=seconds, nanoseconds=0)
    return value


def _seeded(seed: bytes) -> dict[str, dict[str, Callable[..., object]]]:
    from .seeded import Seeded

    source = Seeded(seed)

    def some(_: object, count: int) -> bytes:
        if count > _MAX_RANDOM_BYTES:
            raise WasmtimeError("too many random bytes in one call")
        return source.take(count)

    def number(_: object) -> int:
        return int.from_bytes(source.take(8), "little")

    return {
        "wasi:random/random": {"get-random-bytes": some, "get-random-u64": number},
        "wasi:random/insecure": {"get-insecure-random-bytes": some, "get-insecure-random-u64": number},
        "wasi:random/insecure-seed": {"insecure-seed": lambda store: (number(store), number(store))},
    }


def _call(store: Store, instance: Instance, entry: str) -> object:
    return entry_function(store, instance, entry)(store)


def entry_function(store: Store, instance: Instance, entry: str) -> Func:
    """Return the function that `entry` names: `run` of an interface, or a function of its own."""
    inside = instance.get_export_index(store, entry) if ":" in entry else None
    index = instance.get_export_index(store, "run", inside) if inside else instance.get_export_index(store, entry)
    function = instance.get_func(store, index) if index else None
    if function is None:
        raise WasmtimeError("the component has no such entry")
    return function


def _succeeded(result: object) -> bool:
    # `result` without payloads is the only result that admission lets an entry have.
    return result is None or (isinstance(result, Variant) and result.tag == "ok")


def _outcome_of(error: WasmtimeError) -> Outcome:
    # Only the last line, the cause: those before it hold names that the component's author chose.
    cause = str(error).rstrip().rpartition("\n")[2]
    if "call stack exhausted" in cause:
        return Outcome.STACK
    if "all fuel consumed" in cause:
        return Outcome.FUEL
    if "resource limit exceeded" in cause or "memory limits" in cause or "table limits" in cause:
        return Outcome.MEMORY
    return Outcome.TRAPPED
