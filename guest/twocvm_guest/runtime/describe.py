"""What a component imports and exports, with full types in the words of WIT, for its author to read."""

from __future__ import annotations

from wasmtime import Engine
from wasmtime.component import (
    BorrowType,
    Component,
    ComponentInstanceType,
    EnumType,
    FlagsType,
    FuncType,
    ListType,
    OptionType,
    OwnType,
    RecordType,
    ResourceType,
    ResultType,
    TupleType,
    VariantType,
)

Description = dict[str, dict[str, dict[str, str]]]


def describe(engine: Engine, component: Component) -> Description:
    """Return, for `imports` and `exports`, each name with its members and their types.

    An interface has its functions and resources as members; a thing that stands by itself has one, named as itself.
    """
    kinds = component.type
    return {
        "imports": {name: members_of(engine, name, extern.ty) for name, extern in kinds.imports(engine).items()},
        "exports": {name: members_of(engine, name, extern.ty) for name, extern in kinds.exports(engine).items()},
    }


class _Names:
    """The names that an interface gives to types of its own, so that each is spelled out once."""

    def __init__(self) -> None:
        self.resources: dict[str, ResourceType] = {}
        self.types: dict[str, str] = {}


def members_of(engine: Engine, name: str, kind: object) -> dict[str, str]:
    """Return what an import or export consists of; see `describe`."""
    names = _Names()
    if not isinstance(kind, ComponentInstanceType):
        return {name: _item(kind, names)}
    members = {member: extern.ty for member, extern in kind.exports(engine).items()}
    names.resources = {member: item for member, item in members.items() if isinstance(item, ResourceType)}
    described = {}
    for member, item in members.items():
        described[member] = _item(item, names)
        if not isinstance(item, (FuncType, ResourceType)) and "{" in described[member]:
            names.types[described[member]] = member
    return described


def _item(kind: object, names: _Names) -> str:
    if isinstance(kind, FuncType):
        parameters = ", ".join(f"{name}: {_type(of, names)}" for name, of in kind.params)
        result = kind.result
        return f"func({parameters})" + (f" -> {_type(result, names)}" if result is not None else "")
    if isinstance(kind, ResourceType):
        return "resource"
    return _type(kind, names)


def _type(kind: object, names: _Names) -> str:
    text = _spelled_out(kind, names)
    return names.types.get(text, text)


def _spelled_out(kind: object, names: _Names) -> str:
    def of(inner: object) -> str:
        return "_" if inner is None else _type(inner, names)

    match kind:
        case ListType():
            return f"list<{of(kind.element)}>"
        case OptionType():
            return f"option<{of(kind.payload)}>"
        case ResultType() if kind.ok is None and kind.err is None:
            return "result"
        case ResultType():
            return f"result<{of(kind.ok)}, {of(kind.err)}>"
        case TupleType():
            return f"tuple<{', '.join(map(of, kind.elements))}>"
        case RecordType():
            return "record { " + ", ".join(f"{name}: {of(field)}" for name, field in kind.fields) + " }"
        case VariantType():
            cases = (name if case is None else f"{name}({of(case)})" for name, case in kind.cases)
            return "variant { " + ", ".join(cases) + " }"
        case EnumType() | FlagsType():
            return f"{word_of(kind)} {{ {', '.join(kind.names)} }}"
        case OwnType():
            return _resource(kind.ty, names)
        case BorrowType():
            return f"borrow<{_resource(kind.ty, names)}>"
        case _:
            return word_of(kind)


def word_of(kind: object) -> str:
    """Return WIT's word for a type that has no parts, or for the kind of one that has."""
    # The classes are named as WIT names the types; only a core module has no name in WIT.
    return type(kind).__name__.removesuffix("Type").lower()


def _resource(kind: ResourceType, names: _Names) -> str:
    return next((name for name, known in names.resources.items() if known == kind), "resource")
