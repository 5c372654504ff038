"""Whether a component is what its manifest says: compiled and inspected, never instantiated.

Imports and exports must be exactly the manifest's, by name. Imports must be of the very types that the runtime's own
interfaces have; the engine's linker compares them, in a store that may have no instances, so that it gets no further.
The entry must be a function that takes nothing and returns nothing or a `result` without payloads.

Runs in throw-away workers only, for the supervisor parses nothing of a participant's. The list of what a profile may
import is the manifest's own rule (`twocvm_verifier.manifest.profiles`): a manifest that breaks it is never locked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wasmtime import Engine, Store, WasiConfig, WasmtimeError
from wasmtime.component import Component, ComponentInstanceType, FuncType, Linker, ResultType

from .messages import Job, Outcome

# What the engine says when a component is linked and could be instantiated, but for the store's limit of 0 instances.
_STOPPED: Final = "resource limit exceeded: instance count"


def compile_component(engine: Engine, raw: bytes) -> Component | None:
    """Return the compiled component, or None where the bytes are none that this engine takes.

    The caller has looked at the first bytes: the engine itself would also take text.
    """
    try:
        return Component(engine, raw)
    except WasmtimeError:
        return None


def judge(engine: Engine, component: Component, job: Job) -> Outcome:
    """Return DONE where the component's imports, exports and entry are the job's, else what is not."""
    imports = component.type.imports(engine)
    exports = component.type.exports(engine)
    if set(imports) != set(job.imports):
        return Outcome.IMPORTS
    if set(exports) != set(job.exports):
        return Outcome.EXPORTS
    if not _links(engine, component):
        return Outcome.TYPES
    return Outcome.DONE if is_entry(engine, exports, job.entry) else Outcome.ENTRY


def is_entry(engine: Engine, exports: Mapping[str, object], entry: str) -> bool:
    """Return whether the export of that name, or its function `run` where it is an interface, can be called."""
    extern = exports.get(entry)
    kind = getattr(extern, "ty", None)
    if ":" in entry and isinstance(kind, ComponentInstanceType):
        kind = getattr(kind.exports(engine).get("run"), "ty", None)
    if not isinstance(kind, FuncType) or kind.params:
        return False
    result = kind.result
    return result is None or (isinstance(result, ResultType) and result.ok is None and result.err is None)


def _links(engine: Engine, component: Component) -> bool:
    linker = Linker(engine)
    linker.add_wasip2()
    store = Store(engine)
    store.set_limits(instances=0)
    store.set_wasi(WasiConfig())
    try:
        linker.instantiate(store, component)
    except WasmtimeError as error:
        return str(error).startswith(_STOPPED)
    # Nothing in it to instantiate, so nothing has run.
    return True
