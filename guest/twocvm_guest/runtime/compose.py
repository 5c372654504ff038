"""Makes one component of the members of a node, so that calls between them stay inside WebAssembly.

The composite is a shell around the members' own bytes, which stand in it unchanged. The shell imports what the members
may have of the runtime, instantiates each member once, callees first, gives each what it imports, and exports the
entry. It is written as text with an empty component in place of each member, and the members are put in afterwards.
Whether a member fits what it is given, type for type, the engine decides when it compiles the composite.

Runs in throw-away workers only.

Spec: component model binary format, "Component Definitions".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from wasmtime import Engine, wat2wasm
from wasmtime.component import Component, ComponentInstanceType

from .declare import Declarations
from .messages import Member
from .sections import HEADER_BYTES, section, sections
from .windows import MARK, windows_of

_MARK: Final = f"""
    (import "{MARK}" (func $mark (param "member" u32)))
    (core func $marking (canon lower (func $mark)))
    (core instance $marks (export "mark" (func $marking)))"""

_COMPONENT_SECTION: Final = 4


def compose(engine: Engine, members: Sequence[Member], raws: Sequence[bytes], entry: str) -> bytes:
    """Return the composite of a node's members.

    Args:
        engine: Reads the members that import something of the runtime.
        members: Callees before their callers; exactly one has the entry.
        raws: The bytes of each.
        entry: What the composite exports.
    """
    declarations = Declarations(engine)
    lines = ["(component"]
    for index, member in enumerate(members):
        if member.imports:
            lines += _imports(engine, declarations, index, Component(engine, raws[index]), member)
    marks = any(member.asks_windows for member in members)
    lines += [_MARK] if marks else []
    for index, member in enumerate(members):
        lines += _instance(index, member, marks=marks)
    owner = next(index for index, member in enumerate(members) if member.has_entry)
    lines += [_exported(owner, entry, "entry"), f'(export "{entry}" ({_sort(entry)} $entry)))']
    return spliced(bytes(wat2wasm("\n".join(lines))), raws)


def spliced(shell: bytes, parts: Sequence[bytes]) -> bytes:
    """Return the shell with each of its nested components, in their order, replaced by one of `parts`.

    Raises:
        ValueError: It has another number of nested components.
    """
    rest = list(reversed(parts))
    out = bytearray(shell[:HEADER_BYTES])
    for kind, content in sections(shell):
        if kind == _COMPONENT_SECTION and not rest:
            raise ValueError("shell: more nested components than parts")
        out += section(kind, rest.pop() if kind == _COMPONENT_SECTION else content)
    if rest:
        raise ValueError("shell: fewer nested components than parts")
    return bytes(out)


def without_calls(engine: Engine, component: Component, member: Member) -> Component:
    """Return a component that imports what a member does of the runtime, and does nothing."""
    lines = _imports(engine, Declarations(engine), 0, component, member)
    return Component(engine, bytes(wat2wasm(f"(component {' '.join(lines)})")))


def _imports(
    engine: Engine, declarations: Declarations, index: int, component: Component, member: Member
) -> Iterator[str]:
    """Write what the shell imports of the runtime for one member."""
    for name, extern in component.type.imports(engine).items():
        # Admission has seen that each is an interface of the runtime's.
        if name in member.imports and isinstance(extern.ty, ComponentInstanceType):
            own = windows_of(index) if name == member.asks_windows else name
            yield declarations.instance(own, f"$import-{index}-{member.imports.index(name)}", extern.ty)


def _instance(index: int, member: Member, *, marks: bool) -> Iterator[str]:
    """Write one member, what it is given, and its instance."""
    if marks:
        yield (
            f'(core module $marker-{index} (import "" "mark" (func $mark (param i32)))'
            f" (func $start i32.const {index} call $mark) (start $start))"
            f'(core instance (instantiate $marker-{index} (with "" (instance $marks))))'
        )
    given = [f'(with "{name}" (instance $import-{index}-{number}))' for number, name in enumerate(member.imports)]
    for number, (name, callee) in enumerate(member.calls):
        yield _exported(callee, name, f"call-{index}-{number}")
        given.append(f'(with "{name}" ({_sort(name)} $call-{index}-{number}))')
    yield f"(component $member-{index})"
    yield f"(instance $of-{index} (instantiate $member-{index} {' '.join(given)}))"


def _exported(member: int, name: str, identifier: str) -> str:
    return f'(alias export $of-{member} "{name}" ({_sort(name)} ${identifier}))'


def _sort(name: str) -> str:
    """Return what a name of WIT stands for: an interface is an instance, a plain name is a function."""
    return "instance" if ":" in name else "func"
