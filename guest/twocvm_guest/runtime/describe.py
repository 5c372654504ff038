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
        "imports": {name: _members(engine, name, extern.ty) for name, extern in kinds.imports(engine).items()},
        "exports": {name: _members(engine, name, extern.ty) for name, extern in kinds.exports(engine).items()},
    }


def _members(engine: Engine, name: str, kind: object) -> dict[str, str]:
    if not isinstance(kind, ComponentInstanceType):
        return {name: _item(kind, {})}
    members = {member: extern.ty for member, extern in kind.exports(engine).items()}
    resources = {member: item for member, item in members.items() if isinstance(item, ResourceType)}
    return {member: _item(item, resources) for member, item in members.items()}


def _item(kind: object, resources: dict[str, ResourceType]) -> str:
    if isinstance(kind, FuncType):
        parameters = ", ".join(f"{name}: {_type(of, resources)}" for name, of in kind.params)
        result = kind.result
        return f"func({parameters})" + (f" -> {_type(result, resources)}" if result is not None else "")
    if isinstance(kind, ResourceType):
        return "resource"
    return _type(kind, resources)


def _type(kind: object, resources: dict[str, ResourceType]) -> str:
    def of(inner: object) -> str:
        return "_" if inner is None else _type(inner, resources)

    match kind:
        case ListType():
            return f"list<{of(kind.element)}>"
        case OptionType():
            return f"option<{of(kind.payload)}>"
        case ResultType():
            return f"result<{of(kind.ok)}, {of(kind.err)}>"
        case TupleType():
            return f"tuple<{', '.join(map(of, kind.elements))}>"
        case RecordType():
            return "record { " + ", ".join(f"{name}: {of(field)}" for name, field in kind.fields) + " }"
        case VariantType():
            return "variant { " + ", ".join(f"{name}({of(case)})" for name, case in kind.cases) + " }"
        case EnumType():
            return "enum { " + ", ".join(kind.names) + " }"
        case FlagsType():
            return "flags { " + ", ".join(kind.names) + " }"
        case OwnType():
            return _resource(kind.ty, resources)
        case BorrowType():
            return f"borrow<{_resource(kind.ty, resources)}>"
        case _:
            # Types without parts have classes named as WIT names them; a core module has none in WIT.
            return type(kind).__name__.removesuffix("Type").lower()


def _resource(kind: ResourceType, resources: dict[str, ResourceType]) -> str:
    return next((name for name, known in resources.items() if known == kind), "resource")
