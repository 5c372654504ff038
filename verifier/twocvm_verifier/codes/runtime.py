"""Codes of components, workers and runs."""

from __future__ import annotations

from typing import Final

from .table import MALFORMED, REFUSED, UNSUPPORTED, Code, malformed

_RUNTIME: Final = "docs/runtime.md"
_AUTHORS: Final = "docs/components.md"


def _item(http_status: int, meaning: str) -> Code:
    return Code(exit_status=REFUSED, http_status=http_status, meaning=meaning, spec="docs/spec/manifest.md")


def _component(meaning: str) -> Code:
    return Code(exit_status=REFUSED, http_status=422, meaning=meaning, spec=_RUNTIME)


def _node(meaning: str) -> Code:
    # Never an answer of the guest: a run tells `completed` or `failed`, and more only to who is entitled to it.
    return Code(exit_status=REFUSED, http_status=500, meaning=meaning, spec=_RUNTIME)


CODES: Final[dict[str, Code]] = {
    "ITEM_TOO_LARGE": _item(413, "An item or output is longer than the manifest allows. Nothing of it was kept."),
    # Admission of a component.
    "MALFORMED_COMPONENT": malformed(
        "The file is not a WebAssembly component that this engine takes. Build it as a component, without proposals "
        "that are switched off (threads, 64-bit memories, garbage collection, asynchronous calls).",
        _RUNTIME,
    ),
    "COMPONENT_CALLS": _component(
        "The components that `call` joins do not fit: one does not export what another imports of it, with the same "
        "types. Build them against the same WIT."
    ),
    "COMPONENT_COMPILED": _component("The file is compiled code, which is never taken. Send the component itself."),
    "COMPONENT_CORE_MODULE": _component("The file is a core module. Wrap it as a component (an adapter does it)."),
    "COMPONENT_DIGEST": _component("The file is not the one whose SHA-256 the manifest names."),
    "COMPONENT_ENTRY": _component(
        "The entry is not a function without parameters whose result is nothing or `result`. Mend the component or "
        "name another entry."
    ),
    "COMPONENT_EXPORTS": _component(
        "The component's exports are not exactly those that the manifest lists. `twocvm component check` names them."
    ),
    "COMPONENT_IMPORTS": _component(
        "The component's imports are not exactly those that the manifest lists. `twocvm component check` names them."
    ),
    "COMPONENT_PROFILE": _component(
        "The manifest lists an import that the component's profile does not allow. Build it without that interface."
    ),
    "COMPONENT_TEXT": _component("The file is WebAssembly text. Send the binary form."),
    "COMPONENT_TOO_LARGE": _component("The component is longer than any guest takes (64 MiB). Build it smaller."),
    "COMPONENT_TYPES": _component(
        "An import has the right name and another type than the runtime's interface. Rebuild against WASI 0.2."
    ),
    "COMPONENT_UNJUDGED": _component(
        "Compiling the component took more time or memory than a guest gives, or ended the compiler. Split very long "
        "functions."
    ),
    # Building one; no guest does.
    "BUILD_FAILED": Code(
        exit_status=MALFORMED,
        http_status=500,
        meaning="The folder has not exactly one main file, or the compiler refuses it; its own words then stand above.",
        spec=_AUTHORS,
    ),
    "TOOLCHAIN_MISSING": Code(
        exit_status=UNSUPPORTED,
        http_status=500,
        meaning="What builds components of this language is not installed, or not in the version that gives the same "
        "bytes everywhere. Run the command that is named.",
        spec=_AUTHORS,
    ),
    # How a node of a run failed.
    "NODE_DIED": _node("The worker of a node ended without saying how, or said what no worker says."),
    "NODE_EXIT": _node("A component ended with an error status of its own."),
    "NODE_FUEL": _node("A component executed more instructions than the manifest's fuel allows."),
    "NODE_INTERNAL": _node("The runtime itself failed at this node. That is a fault of ours."),
    "NODE_ISOLATION": _node("A worker did not get the isolation that this machine gave before; nothing was run in it."),
    "NODE_MEMORY": _node("A component needed more memory, tables or instances than the manifest's limits allow."),
    "NODE_STACK": _node("A component's calls were nested too deeply."),
    "NODE_TIME": _node("A component ran longer than the manifest's wall time allows, and was ended."),
    "NODE_TRAPPED": _node("A component trapped: it did what WebAssembly forbids, or gave up."),
    "OUTPUT_MISSING": _node("A component ended well and left no file `data` at one of its ports."),
    "OUTPUT_NOT_A_FILE": _node("What a component left at a port is not one regular file with one name."),
    "OUTPUT_TOO_LARGE": _node("A component wrote more than the manifest allows at a port, or at all ports together."),
    "OUTPUT_UNEXPECTED": _node("A component left something besides the one file `data` at one of its ports."),
    "RUN_WIPED": _node("The run was ended from outside: a participant withdrew, or the session expired."),
}
