"""Makes a component of a core module that speaks the component model's own ABI: no tool but the engine's text parser.

The module was compiled with `sdk/c`, so it knows six functions of WASI 0.2 and the two of windows, and calls them by
the canonical ABI. What it uses of them becomes the component's imports, and nothing else does. A function that takes
memory of the module needs the module's instance, which needs the function: as everywhere, a table of trampolines stands
between the two and is filled when both are there.

    core module  ->  trampolines  ->  table  <-  functions of WASI, lowered with the module's memory

Spec: component model, "Canonical ABI"; WASI 0.2.0 `filesystem`, `cli`, `io`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from twocvm_verifier.errors import ComponentError

from .binary import replace_first_module, strip

RUN: Final = "wasi:cli/run@0.2.0"
_ENTRY: Final = f"{RUN}#run"
_INITIALIZE: Final = "_initialize"
_NEEDED: Final = ("memory", "cabi_realloc")
# Where functions are imported from that belong to no interface.
_ROOT: Final = "$root"
_OPTIONS: Final = "(memory $memory) (realloc $realloc) string-encoding=utf8"
_LIFTED_ENTRY: Final = (
    f'(func $run (result (result)) (canon lift (core func $it "{_ENTRY}")))'
    f'(instance $entry (export "run" (func $run))) (export "{RUN}" (instance $entry))'
)

_ERROR: Final = "wasi:io/error@0.2.0"
_STREAMS: Final = "wasi:io/streams@0.2.0"
_STDERR: Final = "wasi:cli/stderr@0.2.0"
_TYPES: Final = "wasi:filesystem/types@0.2.0"
_PREOPENS: Final = "wasi:filesystem/preopens@0.2.0"
_WINDOWS: Final = "twocvm:window/windows@1.0.0"

# What each interface has, in the text format. `$error`, `$stream` and `$descriptor` are resources of those before it.
_INTERFACES: Final[Mapping[str, str]] = MappingProxyType(
    {
        _ERROR: """(import "wasi:io/error@0.2.0" (instance $io-error (export "error" (type (sub resource)))))
            (alias export $io-error "error" (type $error))""",
        _STREAMS: """(import "wasi:io/streams@0.2.0" (instance $streams
              (alias outer 1 $error (type $outer))
              (export "error" (type $own-error (eq $outer)))
              (export "output-stream" (type $output (sub resource)))
              (type $failure (variant (case "last-operation-failed" (own $own-error)) (case "closed")))
              (export "stream-error" (type $stream-error (eq $failure)))
              (export "[method]output-stream.blocking-write-and-flush" (func (param "self" (borrow $output))
                (param "contents" (list u8)) (result (result (error $stream-error)))))))
            (alias export $streams "output-stream" (type $stream))""",
        _STDERR: """(import "wasi:cli/stderr@0.2.0" (instance $stderr
              (alias outer 1 $stream (type $outer))
              (export "output-stream" (type $output (eq $outer)))
              (export "get-stderr" (func (result (own $output))))))""",
        _TYPES: """(import "wasi:filesystem/types@0.2.0" (instance $types
              (export "descriptor" (type $descriptor (sub resource)))
              (type $codes (enum "access" "would-block" "already" "bad-descriptor" "busy" "deadlock" "quota" "exist"
                "file-too-large" "illegal-byte-sequence" "in-progress" "interrupted" "invalid" "io" "is-directory"
                "loop" "too-many-links" "message-size" "name-too-long" "no-device" "no-entry" "no-lock"
                "insufficient-memory" "insufficient-space" "not-directory" "not-empty" "not-recoverable" "unsupported"
                "no-tty" "no-such-device" "overflow" "not-permitted" "pipe" "read-only" "invalid-seek"
                "text-file-busy" "cross-device"))
              (export "error-code" (type $error-code (eq $codes)))
              (type $path (flags "symlink-follow"))
              (export "path-flags" (type $path-flags (eq $path)))
              (type $open (flags "create" "directory" "exclusive" "truncate"))
              (export "open-flags" (type $open-flags (eq $open)))
              (type $modes (flags "read" "write" "file-integrity-sync" "data-integrity-sync" "requested-write-sync"
                "mutate-directory"))
              (export "descriptor-flags" (type $descriptor-flags (eq $modes)))
              (export "[method]descriptor.open-at" (func (param "self" (borrow $descriptor))
                (param "path-flags" $path-flags) (param "path" string) (param "open-flags" $open-flags)
                (param "flags" $descriptor-flags) (result (result (own $descriptor) (error $error-code)))))
              (export "[method]descriptor.read" (func (param "self" (borrow $descriptor)) (param "length" u64)
                (param "offset" u64) (result (result (tuple (list u8) bool) (error $error-code)))))
              (export "[method]descriptor.write" (func (param "self" (borrow $descriptor)) (param "buffer" (list u8))
                (param "offset" u64) (result (result u64 (error $error-code)))))))
            (alias export $types "descriptor" (type $descriptor))""",
        _PREOPENS: """(import "wasi:filesystem/preopens@0.2.0" (instance $preopens
              (alias outer 1 $descriptor (type $outer))
              (export "descriptor" (type $own-descriptor (eq $outer)))
              (export "get-directories" (func (result (list (tuple (own $own-descriptor) string)))))))""",
        _WINDOWS: """(import "twocvm:window/windows@1.0.0" (instance $windows
              (export "size" (func (param "port" string) (result u64)))
              (export "place" (func (param "port" string) (param "address" u32)))))""",
    }
)
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {_STREAMS: (_ERROR,), _STDERR: (_ERROR, _STREAMS), _PREOPENS: (_TYPES,)}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Function:
    """A function of WASI as `sdk/c` declares it: where it is, and its parameters and result in the core ABI."""

    interface: str
    instance: str
    name: str
    parameters: str
    result: str = ""

    @property
    def lowered(self) -> str:
        """What the shell lowers: a function of an instance, or one that the component imports by its plain name."""
        return f'{self.instance} "{self.name}"' if self.instance else f"$call-{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function of another component that the code calls, which C declares as an import of the module `$root`.

    Attributes:
        name: Plain, without an interface.
        type: In the component's text format: `(param "x" (list f64)) (result u64)`.
        parameters: In the core ABI, as WebAssembly's types: `i32 i32`.
        result: Likewise; empty for none.
    """

    name: str
    type: str
    parameters: str
    result: str = ""

    def as_function(self) -> _Function:
        """The same as a function of WASI is described."""
        return _Function(interface=_ROOT, instance="", name=self.name, parameters=self.parameters, result=self.result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """A function that the code exports under this very name, and that the component does too, with this type."""

    name: str
    type: str


_FUNCTIONS: Final = (
    _Function(interface=_STDERR, instance="$stderr", name="get-stderr", parameters="", result="i32"),
    _Function(
        interface=_STREAMS,
        instance="$streams",
        name="[method]output-stream.blocking-write-and-flush",
        parameters="i32 i32 i32 i32",
    ),
    _Function(
        interface=_TYPES,
        instance="$types",
        name="[method]descriptor.open-at",
        parameters="i32 i32 i32 i32 i32 i32 i32",
    ),
    _Function(interface=_TYPES, instance="$types", name="[method]descriptor.read", parameters="i32 i64 i64 i32"),
    _Function(interface=_TYPES, instance="$types", name="[method]descriptor.write", parameters="i32 i32 i32 i64 i32"),
    _Function(interface=_PREOPENS, instance="$preopens", name="get-directories", parameters="i32"),
    _Function(interface=_WINDOWS, instance="$windows", name="size", parameters="i32 i32", result="i64"),
    _Function(interface=_WINDOWS, instance="$windows", name="place", parameters="i32 i32 i32"),
)


def wrap(core: bytes, *, calls: Sequence[Call] = (), lifts: Sequence[Lift] = (), runs: bool = True) -> bytes:
    """Return the component of a core module, without names.

    Args:
        core: Compiled with `sdk/c`: it exports its memory, `cabi_realloc` and the entry.
        calls: What it calls of other components.
        lifts: What it exports beside the entry.
        runs: Whether it has the entry; not so for one that is only called.

    Raises:
        ComponentError: BUILD_FAILED; it imports what the SDK has not got, or lacks an export.
    """
    from wasmtime import Engine, Module, wat2wasm

    module = Module(Engine(), core)
    known = (*_FUNCTIONS, *(call.as_function() for call in calls))
    used = _used([(each.module, each.name or "") for each in module.imports], known)
    exports = {each.name for each in module.exports}
    needed = (*_NEEDED, *((_ENTRY,) if runs else ()), *(lift.name for lift in lifts))
    if lacking := [name for name in needed if name not in exports]:
        raise ComponentError(
            "BUILD_FAILED", f"the compiled module exports no {lacking[0]}: is `bool run(void)` defined?"
        )
    imported = "".join(f'(import "{call.name}" (func $call-{call.name} {call.type}))' for call in calls)
    lifted = "".join((*map(_lifted, lifts), *((_LIFTED_ENTRY,) if runs else ())))
    shell = "".join(("(component ", imported, *_shell(used, initializes=_INITIALIZE in exports), lifted, ")"))
    return strip(replace_first_module(bytes(wat2wasm(shell)), core))


def _used(imports: Iterable[tuple[str, str]], known: Sequence[_Function]) -> tuple[_Function, ...]:
    wanted = set(imports)
    if foreign := sorted(wanted - {(each.interface, each.name) for each in known}):
        module, name = foreign[0]
        raise ComponentError(
            "BUILD_FAILED",
            f"the code calls {module} {name}, which the SDK has not got: files and streams of the C library (fopen, "
            "printf) are not there; use ports.h, window.h, writer.h and say.h",
        )
    return tuple(each for each in known if (each.interface, each.name) in wanted)


def _shell(used: tuple[_Function, ...], *, initializes: bool) -> Iterator[str]:
    """Yield the component's text up to what it exports; the first module in it is to be replaced."""
    wanted = {name for each in used for name in (each.interface, *_NEEDS.get(each.interface, ()))}
    yield "(core module $main) "
    yield from (text for name, text in _INTERFACES.items() if name in wanted)
    yield _trampolines(used)
    yield "(core instance $shim (instantiate $trampolines)) (core instance $it (instantiate $main "
    for interface in dict.fromkeys(each.interface for each in used):
        functions = (
            f'(export "{each.name}" (func $shim "{number}"))'
            for number, each in enumerate(used)
            if each.interface == interface
        )
        yield f'(with "{interface}" (instance {"".join(functions)}))'
    yield '))(alias core export $it "memory" (core memory $memory))'
    yield '(alias core export $it "cabi_realloc" (core func $realloc))'
    for number, each in enumerate(used):
        yield f"(core func $f{number} (canon lower (func {each.lowered}) {_OPTIONS}))"
    lowered = "".join(f'(export "{number}" (func $f{number}))' for number in range(len(used)))
    yield f'(core instance (instantiate $filler (with "" (instance (export "t" (table $shim "t")) {lowered}))))'
    if initializes:
        yield f'(core module $starter (func $f (import "" "{_INITIALIZE}")) (start $f))'
        yield '(core instance (instantiate $starter (with "" (instance $it))))'


def _lifted(lift: Lift) -> str:
    name = lift.name
    return f'(func $lift-{name} {lift.type} (canon lift (core func $it "{name}") {_OPTIONS}))' + (
        f'(export "{name}" (func $lift-{name}))'
    )


def _trampolines(used: tuple[_Function, ...]) -> str:
    """Return a module that calls through a table, and the module that fills the table."""
    calls, fills = [], []
    for number, each in enumerate(used):
        kind = f"(param {each.parameters})" + (f"(result {each.result})" if each.result else "")
        arguments = "".join(f"(local.get {index})" for index in range(len(each.parameters.split())))
        calls.append(f'(func (export "{number}") {kind} (call_indirect {kind} {arguments} (i32.const {number})))')
        fills.append(f'(import "" "{number}" (func {kind}))')
    count, order = len(used), " ".join(map(str, range(len(used))))
    return (
        f'(core module $trampolines (table (export "t") {count} {count} funcref) {"".join(calls)})'
        f'(core module $filler (import "" "t" (table {count} {count} funcref)) {"".join(fills)} '
        f"(elem (i32.const 0) func {order}))"
    )
