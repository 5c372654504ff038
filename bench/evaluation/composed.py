"""Puts a kernel's component together with the one that it calls: for the bare engine here, in the runtime it does it.

The bare engine gets two composites. One exports the kernel's own functions and nothing of WASI is in it; the other is
what the runtime itself would make of the two, with the entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wasmtime import wat2wasm

from twocvm_guest.authoring.wrap import RUN, Call, Lift
from twocvm_guest.runtime.compose import compose, spliced
from twocvm_guest.runtime.engine import make_engine
from twocvm_guest.runtime.messages import Member

from .build import cached


def with_callee(caller: Path, callee: Path, *, calls: Sequence[Call], lifts: Sequence[Lift]) -> Path:
    """Return the composite of two components that exports what the caller does."""
    given = " ".join(f'(with "{call.name}" (func $of "{call.name}"))' for call in calls)
    exports = " ".join(f'(alias export $it "{lift.name}" (func ${lift.name}))' for lift in lifts)
    exports += " ".join(f'(export "{lift.name}" (func ${lift.name}))' for lift in lifts)
    shell = f"""(component (component $callee) (instance $of (instantiate $callee))
        (component $caller) (instance $it (instantiate $caller {given})) {exports})"""
    parts = [callee.read_bytes(), caller.read_bytes()]

    def make(out: Path) -> None:
        out.write_bytes(spliced(bytes(wat2wasm(shell)), parts))

    return cached([*parts, shell.encode()], ".composite.wasm", make)


def as_in_the_runtime(caller: Path, callee: Path, *, calls: Sequence[Call], imports: tuple[str, ...]) -> Path:
    """Return the composite that the runtime would make of the two: it exports the entry alone."""
    raws = [callee.read_bytes(), caller.read_bytes()]
    members = (Member(), Member(imports=imports, calls=tuple((call.name, 0) for call in calls), has_entry=True))

    def make(out: Path) -> None:
        out.write_bytes(compose(make_engine(counts_fuel=False, composed=True), members, raws, RUN))

    return cached([*raws, b"as in the runtime"], ".composite.wasm", make)
