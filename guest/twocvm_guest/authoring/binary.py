r"""The outermost structure of a WebAssembly binary: its sections, to take some away and to put others in.

Custom sections mean nothing to an engine. What they say, symbols of the source and versions of tools, would only add
bytes to audit and text that ends up in error messages.

>>> strip(MODULE_HEADER + b"\x00\x03\x01nx") == MODULE_HEADER
True

Spec: WebAssembly core binary format 5.5; component model binary format, "Component Definitions".
"""

from __future__ import annotations

from typing import Final

from twocvm_guest.runtime.sections import HEADER_BYTES, section, sections

MODULE_HEADER: Final = b"\0asm\x01\x00\x00\x00"
_COMPONENT_HEADER: Final = b"\0asm\x0d\x00\x01\x00"
_CUSTOM: Final = 0
# In a component; each of the first two holds a whole binary of its own.
_CORE_MODULE: Final = 1
_COMPONENT: Final = 4
_NAMES: Final = (10, 11)  # imports and exports


def strip(binary: bytes) -> bytes:
    """Return the same binary without custom sections, at every depth."""
    is_component = binary.startswith(_COMPONENT_HEADER)
    parts = [binary[:HEADER_BYTES]]
    for kind, body in sections(binary):
        if kind != _CUSTOM:
            kept = strip(body) if is_component and kind in (_CORE_MODULE, _COMPONENT) else body
            parts.append(section(kind, kept))
    return b"".join(parts)


def replace_first_module(component: bytes, module: bytes) -> bytes:
    """Return a component whose first core module is another one."""
    parts = [component[:HEADER_BYTES]]
    waiting = True
    for kind, body in sections(component):
        replaced = waiting and kind == _CORE_MODULE
        parts.append(section(kind, module if replaced else body))
        waiting = waiting and not replaced
    return b"".join(parts)


def rename(component: bytes, before: bytes, after: bytes) -> bytes:
    """Return a component whose imports and exports are in another namespace; both names are of one length.

    These sections have nothing but names and indices, and inside the component their names are not referred to.
    """
    parts = [component[:HEADER_BYTES]]
    for kind, body in sections(component):
        parts.append(section(kind, body.replace(before, after) if kind in _NAMES else body))
    return b"".join(parts)
