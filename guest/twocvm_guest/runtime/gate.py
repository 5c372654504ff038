"""Admission as the supervisor sees it: who is let in, decided by a worker that is thrown away.

The supervisor looks at length, digest and the first eight bytes, and parses nothing. A worker with limits of its own
compiles the component and compares it with the manifest; it answers with one of a few words, and leaves the compiled
form in a memory file that is sealed after its end and loaded by workers of that same node only.

Spec: component model binary format, "Component Definitions" (the preamble); core binary format 5.5.16.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from twocvm_verifier.errors import ComponentError, MalformedError
from twocvm_verifier.manifest import Component
from twocvm_verifier.manifest.graph import Node
from twocvm_verifier.manifest.profiles import WINDOWS_INTERFACE, allows

from .isolation import IsolationReport, new_uid, worker_folder
from .items import Item, memory_file, seal
from .live import Live
from .members import members_of
from .messages import Job, Member, Outcome, Work
from .process import WorkerError

MAX_COMPONENT_BYTES: Final = 64 << 20
# An 18 MB Python component takes 7 s and 371 MB; nothing that anybody wants to run takes these.
ADMISSION_SECONDS: Final = 60
ADMISSION_BYTES: Final = 1 << 30
MAX_COMPILED_BYTES: Final = 512 << 20
# Threads that compile in parallel reserve stacks and arenas that they hardly use.
_ADDRESS_SPACE_BYTES: Final = 8 << 30

_COMPONENT: Final = b"\0asm\x0d\x00\x01\x00"
_CORE_MODULE: Final = b"\0asm\x01\x00\x00\x00"
_COMPILED: Final = b"\x7fELF"

_CODES: Final = {
    Outcome.MALFORMED: "MALFORMED_COMPONENT",
    Outcome.IMPORTS: "COMPONENT_IMPORTS",
    Outcome.EXPORTS: "COMPONENT_EXPORTS",
    Outcome.TYPES: "COMPONENT_TYPES",
    Outcome.ENTRY: "COMPONENT_ENTRY",
    Outcome.CALLS: "COMPONENT_CALLS",
    Outcome.ISOLATION: "NODE_ISOLATION",
    Outcome.INTERNAL: "COMPONENT_UNJUDGED",
}


def refuse_by_its_looks(item: Item) -> None:
    """Refuse what is no component by its length and its first eight bytes.

    Raises:
        ComponentError: COMPONENT_TOO_LARGE, _CORE_MODULE, _COMPILED or _TEXT.
        MalformedError: Anything else that is not a component.
    """
    if item.size_bytes > MAX_COMPONENT_BYTES:
        raise _refusal("COMPONENT_TOO_LARGE", item.name, f"got {item.size_bytes} bytes")
    start = item.open().read(len(_COMPONENT))
    if start == _COMPONENT:
        return
    if start == _CORE_MODULE:
        raise _refusal("COMPONENT_CORE_MODULE", item.name, "got a core module")
    if start.startswith(_COMPILED):
        raise _refusal("COMPONENT_COMPILED", item.name, "got machine code")
    if start.lstrip().startswith((b"(", b";;")):
        raise _refusal("COMPONENT_TEXT", item.name, "got text")
    raise MalformedError("component", item.name, "does not begin as a component does")


def admit(
    component: Component, item: Item, *, calls: tuple[str, ...] = (), live: Live, isolation: IsolationReport
) -> Item:
    """Return the compiled form of a component that is what the manifest says; the caller closes it.

    Args:
        component: The manifest's entry.
        item: The bytes that its owner released.
        calls: Its imports that other components answer; their types are compared when the node is composed.
        live: Where the worker is counted.
        isolation: What the worker must have.

    Raises:
        ComponentError: It is not; the code says in which way.
        MalformedError: It is no component.
        EndedError: The runtime was wiped.
    """
    if item.sha256 != component.sha256:
        raise _refusal("COMPONENT_DIGEST", component.name, f"got SHA-256 {item.sha256.hex()}")
    refuse_by_its_looks(item)
    if foreign := [name for name in component.imports if name not in calls and not allows(component.profile, name)]:
        raise _refusal("COMPONENT_PROFILE", component.name, f"{foreign[0]} is not for profile {component.profile}")
    with contextlib.closing(item.duplicate(item.name)) as own:
        member = Member(
            imports=tuple(name for name in component.imports if name not in calls),
            calls=tuple((name, 0) for name in calls),
            asks_windows=WINDOWS_INTERFACE if WINDOWS_INTERFACE in component.imports else "",
        )
        job = Job(
            work=Work.ADMIT,
            component=own.fd,
            entry=component.entry,
            exports=component.exports,
            members=(member,),
            fuel=component.limits.fuel or 0,
        )
        return _compiled(job, component.name, live=live, isolation=isolation)


def compose(node: Node, items: Mapping[str, Item], *, live: Live, isolation: IsolationReport) -> Item:
    """Return the compiled form of a node of several components; the caller closes it.

    Args:
        node: As the manifest has it.
        items: The bytes of each member, admitted by itself; they stay the caller's, and nobody closes them meanwhile.
        live: Where the worker is counted.
        isolation: What the worker must have.

    Raises:
        ComponentError: COMPONENT_CALLS where one does not give what another takes of it.
        EndedError: The runtime was wiped.
    """
    job = Job(
        work=Work.COMPOSE,
        entry=node.entry.entry,
        members=members_of(node, components=items),
        fuel=node.limits.fuel or 0,
    )
    return _compiled(job, node.name, live=live, isolation=isolation)


def _compiled(job: Job, name: str, *, live: Live, isolation: IsolationReport) -> Item:
    """Have a job done that leaves a compiled form, and seal it."""
    compiled = memory_file(f"{name} compiled")
    try:
        outcome = work_on(replace(job, result=compiled), name, live=live, isolation=isolation)
        if outcome is not Outcome.DONE:
            raise refusal_of(outcome, name)
        seal(compiled)
        return Item(name=name, size_bytes=os.fstat(compiled).st_size, sha256=b"", fd=compiled)
    except BaseException:
        os.close(compiled)
        raise


def work_on(job: Job, name: str, *, live: Live, isolation: IsolationReport) -> Outcome:
    """Have a throw-away worker do what needs a compiler; return what it says.

    Args:
        job: What is to be done on which bytes; the worker's limits and identity are put in here.
        name: Whose bytes those are.
        live: Where the worker is counted.
        isolation: What the worker must have.

    Raises:
        ComponentError: COMPONENT_UNJUDGED where it took too much or ended otherwise; NODE_ISOLATION where the worker
            lacked what it was promised, and so was given nothing.
        EndedError: The runtime was wiped.
    """
    uid = new_uid()
    with worker_folder(isolation, uid) as scratch:
        limited = replace(
            job,
            uid=uid,
            scratch=scratch,
            promised=isolation.promised,
            keep=tuple({job.component, job.result, *(member.component for member in job.members)} - {-1}),
            address_space_bytes=_ADDRESS_SPACE_BYTES,
            data_bytes=ADMISSION_BYTES,
            file_bytes=MAX_COMPILED_BYTES,
            cpu_seconds=ADMISSION_SECONDS * (os.cpu_count() or 1),
        )
        with live.start() as worker:
            try:
                worker.shut_in(limited)
            except WorkerError as error:
                raise _refusal("NODE_ISOLATION", name, str(error)) from error
            try:
                return worker.go_on(seconds=ADMISSION_SECONDS)
            except WorkerError as error:
                raise _refusal("COMPONENT_UNJUDGED", name, str(error)) from error


def refusal_of(outcome: Outcome, name: str) -> ComponentError | MalformedError:
    """Return the error for what a worker said; what only a run can say is nonsense here."""
    code = _CODES.get(outcome, "COMPONENT_UNJUDGED")
    if code == "MALFORMED_COMPONENT":
        return MalformedError("component", name, "the engine does not take it")
    return _refusal(code, name, outcome.name.lower())


def _refusal(code: str, name: str, detail: str) -> ComponentError:
    return ComponentError(code, f"component {name!r}: {detail}")
