"""What an author can change about a refusal: a sentence for each, in terms of sources and builds.

>>> advice("COMPONENT_IMPORTS", "wasi:sockets/tcp@0.2.0").partition(":")[0]
'No component has a network'
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from twocvm_verifier.manifest import Profile
from twocvm_verifier.manifest.profiles import RUN_INTERFACE, allows

_NO_NETWORK: Final = (
    "No component has a network: take the calls out of the source; build Python with --stub-wasi, and JavaScript with "
    "the features http and fetch-event disabled."
)
_PACKAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "wasi:http": _NO_NETWORK,
        "wasi:sockets": _NO_NETWORK,
        "wasi:config": "There is no configuration: make it an item of data.",
        "wasi:keyvalue": "There is no store: files at the ports are all there is.",
        "wasi:nn": "There is no accelerator: compute it in the component.",
    }
)
_BY_CODE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "COMPONENT_COMPILED": "Give the .wasm file that your build made, not what `wasmtime compile` makes of it.",
        "COMPONENT_CORE_MODULE": "Build with `twocvm component build`, or make a component of it: wasm-tools component "
        "new, with the preview 1 adapter for an ordinary program.",
        "COMPONENT_DIGEST": "Each build that differs in a byte has another digest: put this one into the manifest, and "
        "have it signed again; or build from the sources that the manifest's digest is of.",
        "COMPONENT_ENTRY": "Export `wasi:cli/run` with its function `run: func() -> result`, or a function without "
        "parameters and without a result or with `result`.",
        "COMPONENT_TEXT": "Give the binary form (.wasm), not the text (.wat).",
        "COMPONENT_TOO_LARGE": "Leave out what it does not use: debugging information, names, modules that nothing "
        "imports.",
        "COMPONENT_TYPES": "Build it against the WIT of WASI 0.2.0 to 0.2.x as published, with nothing in it changed.",
        "COMPONENT_UNJUDGED": "Build with optimisation, so that there is less to compile; split very long functions.",
        "MALFORMED_COMPONENT": "Build without threads, 64-bit and several memories, exceptions, garbage collection and "
        "asynchronous calls.",
    }
)


def advice(code: str, name: str) -> str:
    """Return what an author can change, or nothing where the code says it all.

    Args:
        code: Of the code table.
        name: The import or export that it is about; empty where it is about the whole.
    """
    if code == "COMPONENT_EXPORTS":
        return _about_export(name)
    if code in ("COMPONENT_IMPORTS", "COMPONENT_PROFILE"):
        return _about_import(name)
    return _BY_CODE.get(code, "")


def _about_export(name: str) -> str:
    if name.partition("@")[0] == RUN_INTERFACE:
        return "The entry of a component with files is `wasi:cli/run@0.2.N`; manifest and build must have the same N."
    return "Export what the manifest lists and nothing else: change the world that it is built for, or the list."


def _about_import(name: str) -> str:
    package = name.partition("/")[0]
    if package in _PACKAGES:
        return _PACKAGES[package]
    if allows(Profile.FILES, name):
        return "A guest gives this one: list it in the manifest as it stands here, version and all."
    if package.startswith("wasi:"):
        return (
            "No guest gives this one. It comes in with the language's own library: build Python with --stub-wasi and "
            "JavaScript with every feature disabled, as `twocvm component build` does; WASI must be 0.2."
        )
    return "A guest gives nothing of its own but WASI: another component must export it, joined by a `call` channel."
