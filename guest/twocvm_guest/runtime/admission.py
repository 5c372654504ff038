"""Whether a component is what its manifest says: compiled and inspected, never instantiated.

Imports and exports must be exactly the manifest's, by name. Imports must be of the very types that the runtime's own
interfaces have; the engine's linker compares them, in a store that may have no instances, so that it gets no further.
The entry must be a function that takes nothing and returns nothing or a `result` without payloads.

Runs in throw-away workers only, for the supervisor parses nothing of a participant's. The list of what a profile may
import is the manifest's own rule (`twocvm_verifier.manifest.profiles`): a manifest that breaks it is never locked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from wasmtime import Engine, Store, WasiConfig, WasmtimeError
from wasmtime.component import Component, ComponentInstanceType, FuncType, Linker, ResultType

from .describe import members_of
from .messages import Job, Member, Outcome

# What the engine says when a component is linked and could be instantiated, but for the store's limit of 0 instances.
_STOPPED: Final = "resource limit exceeded: instance count"
# What stands behind `docs/spec/window.md`; the linker would let functions of Python have any type.
_WINDOWS: Final = {"size": "func(port: string) -> u64", "place": "func(port: string, address: u32)"}


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
    (member,) = job.members
    if set(imports) != {*member.imports, *(name for name, _ in member.calls)}:
        return Outcome.IMPORTS
    if set(exports) != set(job.exports):
        return Outcome.EXPORTS
    if not _asks_rightly(engine, imports, member) or not _links_alone(engine, component, member):
        return Outcome.TYPES
    return Outcome.DONE if not job.entry or is_entry(engine, exports, job.entry) else Outcome.ENTRY


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


def links(engine: Engine, component: Component, members: Sequence[Member]) -> bool:
    """Return whether everything that the component imports of the engine's own has the type that it has there.

    Args:
        engine: That compiled it.
        component: One that calls no other, or the composite of several.
        members: What it consists of.
    """
    linker = Linker(engine)
    linker.add_wasip2()
    if any(member.asks_windows for member in members):
        from . import windows

        windows.define(linker, members, windows.Memories())
    store = Store(engine)
    store.set_limits(instances=0)
    store.set_wasi(WasiConfig())
    try:
        linker.instantiate(store, component)
    except WasmtimeError as error:
        return str(error).startswith(_STOPPED)
    # Nothing in it to instantiate, so nothing has run.
    return True


def _links_alone(engine: Engine, component: Component, member: Member) -> bool:
    """Return the same of a member by itself, whatever the types are of what it calls."""
    if not member.calls:
        return links(engine, component, (member,))
    from .compose import without_calls

    try:
        alone = without_calls(engine, component, member)
    except WasmtimeError:
        return False
    # Its windows are as a shell would import them, of which there is none without other members.
    return links(engine, alone, (member, Member()))


def _asks_rightly(engine: Engine, imports: Mapping[str, object], member: Member) -> bool:
    """Return whether the component knows windows by the types that they have."""
    kind = getattr(imports.get(member.asks_windows), "ty", None)
    return kind is None or members_of(engine, member.asks_windows, kind).items() <= _WINDOWS.items()
