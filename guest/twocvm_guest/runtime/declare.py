"""Writes a component's imports down again as text, types and all, so that a shell around it can import the same.

A component that is nested in another is given what it imports by the one around it, which must itself say the full
types of what it hands on. Those are taken from the nested component, as the engine has read it, and written in the text
format. The engine compares them when it compiles the whole, so a mistake here is a refusal and nothing else.

Runs in throw-away workers only.

Spec: component model, "Component Definitions" (text format), WIT.md.
"""

from __future__ import annotations

from wasmtime import Engine
from wasmtime.component import (
    BorrowType,
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

from .describe import word_of


class Declarations:
    """The imports of one shell, as they are written one after the other.

    Args:
        engine: That has read the components.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._count = 0
        self._resources: list[tuple[ResourceType, str]] = []

    def instance(self, name: str, identifier: str, kind: ComponentInstanceType) -> str:
        """Return the text that imports an instance of type `kind` under `name`.

        Args:
            name: What the shell calls it.
            identifier: What the text calls it from here on, such as `$files`.
            kind: Its type, as a component's import has it: functions, resources and types of values.
        """
        body = _Body(self)
        for member, extern in kind.exports(self._engine).items():
            body.add(member, extern.ty)
        lines = [f'(import "{name}" (instance {identifier}', *body.lines, "))"]
        for member, resource in body.resources.items():
            self._resources.append((resource, alias := self.fresh()))
            lines.append(f'(alias export {identifier} "{member}" (type {alias}))')
        return "\n".join(lines)

    def fresh(self) -> str:
        """Return an identifier that was not used before."""
        self._count += 1
        return f"$t{self._count}"

    def resource(self, kind: ResourceType) -> str | None:
        """Return the identifier of a resource that an instance before has brought, if one has."""
        return next((identifier for known, identifier in self._resources if known == kind), None)


class _Body:
    """The inside of one instance type: its lines, and what it calls the types that it names."""

    def __init__(self, shell: Declarations) -> None:
        self.lines: list[str] = []
        self.resources: dict[str, ResourceType] = {}
        self._shell = shell
        self._identifiers: list[tuple[ResourceType, str]] = []
        self._named: dict[str, str] = {}

    def add(self, name: str, kind: object) -> None:
        """Write one export."""
        if isinstance(kind, FuncType):
            parameters = "".join(f' (param "{each}" {self._type(of)})' for each, of in kind.params)
            result = f" (result {self._type(kind.result)})" if kind.result is not None else ""
            self.lines.append(f'(export "{name}" (func{parameters}{result}))')
        elif isinstance(kind, ResourceType):
            self._add_resource(name, kind)
        else:
            self._add_type(name, kind)

    def _add_resource(self, name: str, kind: ResourceType) -> None:
        identifier = self._shell.fresh()
        if outer := self._shell.resource(kind):
            self.lines.append(f"(alias outer 1 {outer} (type {identifier}-is))")
            self.lines.append(f'(export "{name}" (type {identifier} (eq {identifier}-is)))')
        else:
            self.lines.append(f'(export "{name}" (type {identifier} (sub resource)))')
            self.resources[name] = kind
        self._identifiers.append((kind, identifier))

    def _add_type(self, name: str, kind: object) -> None:
        text, identifier = self._defined(kind), self._shell.fresh()
        self.lines.append(f'(type {identifier}-is {text}) (export "{name}" (type {identifier} (eq {identifier}-is)))')
        if text.startswith("("):
            # What has a name must be called by it from here on; numbers and strings need none.
            self._named[text] = identifier

    def _type(self, kind: object) -> str:
        text = self._defined(kind)
        return self._named.get(text, text)

    def _defined(self, kind: object) -> str:
        match kind:
            case ListType():
                return f"(list {self._type(kind.element)})"
            case OptionType():
                return f"(option {self._type(kind.payload)})"
            case ResultType():
                ok = f" {self._type(kind.ok)}" if kind.ok is not None else ""
                error = f" (error {self._type(kind.err)})" if kind.err is not None else ""
                return f"(result{ok}{error})"
            case TupleType():
                return f"(tuple {' '.join(map(self._type, kind.elements))})"
            case RecordType():
                fields = (f'(field "{name}" {self._type(of)})' for name, of in kind.fields)
                return f"(record {' '.join(fields)})"
            case VariantType():
                return f"(variant {' '.join(self._case(name, of) for name, of in kind.cases)})"
            case EnumType() | FlagsType():
                names = " ".join(f'"{name}"' for name in kind.names)
                return f"({word_of(kind)} {names})"
            case OwnType():
                return f"(own {self._resource(kind.ty)})"
            case BorrowType():
                return f"(borrow {self._resource(kind.ty)})"
            case _:
                return word_of(kind)

    def _case(self, name: str, kind: object) -> str:
        return f'(case "{name}")' if kind is None else f'(case "{name}" {self._type(kind)})'

    def _resource(self, kind: ResourceType) -> str:
        return next(identifier for known, identifier in self._identifiers if known == kind)
