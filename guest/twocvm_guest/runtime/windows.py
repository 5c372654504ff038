"""Windows: items laid over a component's own memory, without a copy.

A component imports `twocvm:window/windows@1.0.0` (`docs/spec/window.md`) and says where in its memory it wants an item.
The item's sealed memory file is mapped there, privately: the component may write to what it sees and changes nothing
but its own copy of the pages that it writes to. Memories are therefore made here, where their places in the process are
known, and not by the engine; their reservations and guards are as the engine asks for them.

Runs in workers only, and only where a node has windows.

Spec: mmap(2), MAP_PRIVATE; wasmtime C API, `wasmtime_memory_creator`.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from wasmtime import Config, WasmtimeError, _ffi
from wasmtime.component import Linker

from . import syscalls
from .messages import Member

# What the shell of a composite imports besides WASI: a function that is told which member is instantiated next, and for
# each member that has windows an interface of its own, so that it is known who asks and whose memory is whose.
MARK: Final = "mark"
# WebAssembly's pages, in which a window is laid: every machine's own pages divide them.
PAGE_BYTES: Final = 1 << 16

_READ_WRITE: Final = mmap.PROT_READ | mmap.PROT_WRITE
_RESERVED: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | syscalls.MAP_NORESERVE
# Pointers of the C library's kind; their classes are made when they are needed and have no names.
_Pointer: TypeAlias = Any
_NO_FINALIZER: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def windows_of(member: int) -> str:
    """Return the name under which a shell imports the windows of its member of that number."""
    return f"windows-{member}"


def define(linker: Linker, members: Sequence[Member], memories: Memories) -> None:
    """Put into a linker what a node's component imports on account of windows."""
    composed = len(members) > 1
    with linker.root() as root:
        if composed:
            root.add_func(MARK, lambda _, member: memories.begin(member))
        for index, member in enumerate(members):
            if not member.asks_windows:
                continue
            with root.add_instance(windows_of(index) if composed else member.asks_windows) as instance:
                for name, function in Windows(memories, index, member.windows).functions().items():
                    instance.add_func(name, function)


@dataclass(slots=True)
class _Memory:
    """A linear memory: where it is, and how much of it the component has."""

    base: int
    reserved_bytes: int
    size_bytes: int
    member: int


class Memories:
    """Makes every linear memory of an engine, and knows whose each is.

    Memories are made while their member is instantiated, one member after the other, and none is given back before the
    worker ends.
    """

    def __init__(self) -> None:
        self._all: list[_Memory] = []
        self._member = 0
        # Held for as long as the engine may call them.
        self._get_memory = _ffi.wasmtime_memory_get_callback_t(self._get)
        self._grow_memory = _ffi.wasmtime_memory_grow_callback_t(self._grow)
        new_memory = _ffi.wasmtime_new_memory_callback_t(self._new)
        self._creator = _ffi.wasmtime_memory_creator_t(None, new_memory, _NO_FINALIZER())

    def install(self, config: Config) -> None:
        """Have an engine of this configuration ask here for memory."""
        _ffi.wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(self._creator))

    def begin(self, member: int) -> None:
        """Count every memory from now on as the member's of that number."""
        self._member = member

    def of(self, member: int) -> _Memory:
        """Return the one memory that a member has.

        Raises:
            WasmtimeError: It has none, or several, so that an address alone does not say where.
        """
        own = [memory for memory in self._all if memory.member == member]
        if len(own) != 1:
            raise WasmtimeError(f"a component that has windows has one memory, not {len(own)}")
        return own[0]

    def _new(self, _: object, __: object, minimum: int, *rest: _Pointer) -> int:
        _, reserved, guard, result = rest
        try:
            start = syscalls.map_memory(0, guard + reserved + guard, protection=0, flags=_RESERVED)
            syscalls.protect_memory(start + guard, minimum, _READ_WRITE)
        except OSError:
            return _error(b"no room for a memory")
        self._all.append(_Memory(start + guard, reserved, minimum, self._member))
        made = _ffi.wasmtime_linear_memory(len(self._all), self._get_memory, self._grow_memory, _NO_FINALIZER())
        result[0] = made
        return 0

    def _get(self, number: int, size: _Pointer, most: _Pointer) -> int:
        memory = self._all[number - 1]
        size[0], most[0] = memory.size_bytes, memory.reserved_bytes
        return memory.base

    def _grow(self, number: int, size_bytes: int) -> int:
        memory = self._all[number - 1]
        try:
            if size_bytes > memory.reserved_bytes:
                return _error(b"more than was reserved")
            added = size_bytes - memory.size_bytes
            syscalls.protect_memory(memory.base + memory.size_bytes, added, _READ_WRITE)
        except OSError:
            return _error(b"no more memory")
        memory.size_bytes = size_bytes
        return 0


class Windows:
    """The windows of one member, as the functions that it imports.

    Args:
        memories: Where the member's memory is found.
        member: Its number.
        items: Port, descriptor and size in bytes of each.
    """

    def __init__(self, memories: Memories, member: int, items: Sequence[tuple[str, int, int]]) -> None:
        self._memories = memories
        self._member = member
        self._items = {port: (descriptor, size) for port, descriptor, size in items}

    def functions(self) -> Mapping[str, Callable[..., object]]:
        """Return what stands behind the interface."""
        return {"size": self._size, "place": self._place}

    def _size(self, _: object, port: str) -> int:
        return self._item(port)[1]

    def _place(self, _: object, port: str, address: int) -> None:
        descriptor, size = self._item(port)
        memory = self._memories.of(self._member)
        room = -(-size // PAGE_BYTES) * PAGE_BYTES
        if address % PAGE_BYTES or address + room > memory.size_bytes:
            raise WasmtimeError("a window lies on whole pages of the component's memory")
        try:
            _lay(memory.base + address, descriptor, size, room)
        except OSError as error:
            raise WasmtimeError("the window could not be laid") from error

    def _item(self, port: str) -> tuple[int, int]:
        if port not in self._items:
            raise WasmtimeError("no window at such a port")
        return self._items[port]


def _lay(start: int, descriptor: int, size: int, room: int) -> None:
    """Map the item, and nothing but zeros behind it in its last page."""
    covered = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    fixed = mmap.MAP_PRIVATE | syscalls.MAP_FIXED
    if covered:
        syscalls.map_memory(start, covered, protection=_READ_WRITE, flags=fixed, descriptor=descriptor)
    if room > covered:
        flags = fixed | mmap.MAP_ANONYMOUS
        syscalls.map_memory(start + covered, room - covered, protection=_READ_WRITE, flags=flags)


def _error(text: bytes) -> int:
    return ctypes.cast(_ffi.wasmtime_error_new(text), ctypes.c_void_p).value or 0
