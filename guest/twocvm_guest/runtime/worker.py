"""A worker process: shuts itself in, does one piece of work on one component, says how it went, and ends.

Started by `process.py` with one socket and the descriptors that its job names. Everything that it needs is imported
before it shuts itself in, for afterwards there is no file to import from.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import resource
import socket
from typing import TYPE_CHECKING

from . import admission, confine, engine, filetimes, memory, messages, seccomp
from .describe import describe
from .features import Feature
from .folders import Folders
from .messages import Job, Outcome, Work

if TYPE_CHECKING:
    from wasmtime import Engine

    from .windows import Memories

_DESCRIPTORS = 256
_PROCESSES = 64
_CHUNK_BYTES = 1 << 26
# What a run gets only when its code is loaded, after the supervisor was told of everything else.
_LAST = (Feature.SYSTEM_CALL_FILTER, Feature.FILE_TIMES_HIDDEN)


def main(descriptor: int) -> None:
    """Do the work that comes over the socket `descriptor`; never returns."""
    confine.die_with_parent()
    confine.end_first()
    control, job = _receive(socket.socket(fileno=descriptor))
    descriptor = control.fileno()
    if job.seed:
        importlib.import_module(".seeded", __package__)
    if job.witness:
        importlib.import_module(".witness", __package__)
    if job.work is not Work.RUN and any(member.calls for member in job.members):
        importlib.import_module(".compose", __package__)
    if any(member.asks_windows for member in job.members):
        importlib.import_module(".windows", __package__)
    if job.work is Work.FILTER:
        importlib.import_module("twocvm_guest.filters.work")
    if job.library:
        importlib.import_module(f"twocvm_guest.filters.{job.library}")
    notes = confine.Notes()
    folders = Folders(inputs=job.inputs, outputs=job.outputs, output_bytes=job.output_bytes, scratch=job.scratch)
    figures = confine.enter(notes, uid=job.uid, folders=folders)
    confine.limit(notes, _limits(job, notes))
    # The inputs were copied; their own descriptors are not needed any more.
    confine.seal_off(notes, keep={descriptor, figures, *_kept(job)})
    if job.work is Work.PROBE:
        _narrow(notes)
    _say_ready(control, job, notes, folders)
    if os.read(descriptor, len(messages.GO_ON)) != messages.GO_ON:
        os._exit(1)
    os.write(descriptor, messages.encode_outcome(_work(job, notes, folders, figures)))
    os._exit(0)


def _receive(control: socket.socket) -> tuple[socket.socket, Job]:
    """Take the job and its descriptors, and give these the numbers that the job calls them by."""
    raw, received, mark = b"", [], messages.MORE
    while mark == messages.MORE:
        piece, descriptors, _, _ = socket.recv_fds(control, messages.MAX_PIECE_BYTES, messages.MAX_DESCRIPTORS)
        mark, raw = piece[:1], raw + piece[1:]
        received += descriptors
    job = messages.parse_job(raw)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # First out of the way of all the numbers that are wanted, then each to its own.
    above = max(job.keep, default=0) + 1
    moved = [fcntl.fcntl(each, fcntl.F_DUPFD, above) for each in (control.detach(), *received)]
    for number, each in zip(job.keep, moved[1:], strict=True):
        os.dup2(each, number)
    return socket.socket(fileno=moved[0]), job


def _kept(job: Job) -> set[int]:
    members = {member.component for member in job.members}
    windows = {descriptor for member in job.members for _, descriptor, _ in member.windows}
    return ({job.component, job.source, job.result, *job.witness} | members | windows) - {-1}


def _work(job: Job, notes: confine.Notes, folders: Folders, figures: int) -> Outcome:
    try:
        if job.work is Work.RUN:
            return _run(job, notes, folders, figures)
        if job.work is Work.FILTER:
            return _filter(job, notes, figures)
        return Outcome.DONE if job.work is Work.PROBE else _admit(job, figures)
    except (OSError, MemoryError, ValueError):
        return Outcome.INTERNAL


def _run(job: Job, notes: confine.Notes, folders: Folders, figures: int) -> Outcome:
    memories = _memories(job)
    made = engine.make_engine(counts_fuel=job.fuel > 0, composed=len(job.members) > 1, memories=memories)
    component = engine.load(made, _content(job.component))
    reserved = len(job.members) * memory.MEMORIES * memory.RESERVATION_BYTES
    memory.bound(
        memory.usage(figures),
        address_space_bytes=reserved + job.memory_bytes + memory.HOST_BYTES,
        data_bytes=job.memory_bytes + memory.HOST_BYTES,
    )
    # From here on nothing may be imported, and no new code can be mapped.
    _narrow(notes)
    if any(feature.value in job.promised and not notes.has(feature) for feature in _LAST):
        return Outcome.ISOLATION
    return engine.run(made, component, job, folders, figures, memories)


def _filter(job: Job, notes: confine.Notes, figures: int) -> Outcome:
    from twocvm_guest.filters.work import apply

    memory.bound(memory.usage(figures), address_space_bytes=job.address_space_bytes, data_bytes=job.data_bytes)
    _narrow(notes)
    if any(feature.value in job.promised and not notes.has(feature) for feature in _LAST):
        return Outcome.ISOLATION
    try:
        return apply(job.component, job.source, job.result)
    except MemoryError:
        return Outcome.MEMORY


def _memories(job: Job) -> Memories | None:
    if not any(member.asks_windows for member in job.members):
        return None
    from .windows import Memories

    return Memories()


def _admit(job: Job, figures: int) -> Outcome:
    memory.bound(memory.usage(figures), address_space_bytes=job.address_space_bytes, data_bytes=job.data_bytes)
    made = engine.make_engine(counts_fuel=job.fuel > 0, composed=len(job.members) > 1)
    if job.work is Work.COMPOSE:
        return _compose(made, job)
    component = admission.compile_component(made, _content(job.component))
    if component is None:
        return Outcome.MALFORMED
    if job.work is Work.INSPECT:
        _write(job.result, json.dumps(describe(made, component)).encode())
        return Outcome.DONE
    outcome = admission.judge(made, component, job)
    if outcome is Outcome.DONE:
        _write(job.result, component.serialize())
    return outcome


def _compose(made: Engine, job: Job) -> Outcome:
    from .compose import compose

    raws = [_content(member.component) for member in job.members]
    composite = compose(made, job.members, raws, job.entry)
    component = admission.compile_component(made, composite)
    # Each member compiles by itself; so what does not fit is what one gives and another takes.
    if component is None or not admission.links(made, component, job.members):
        return Outcome.CALLS
    _write(job.result, component.serialize())
    return Outcome.DONE


def _limits(job: Job, notes: confine.Notes) -> dict[int, int]:
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
        resource.RLIMIT_FSIZE: job.file_bytes,
        resource.RLIMIT_CPU: job.cpu_seconds,
    }
    if notes.has(Feature.OWN_UID) or notes.has(Feature.USER_NAMESPACE):
        # Else it would count every process of whoever runs the guest.
        limits[resource.RLIMIT_NPROC] = _PROCESSES
    return limits


def _narrow(notes: confine.Notes) -> None:
    notes.attempt(Feature.SYSTEM_CALL_FILTER, lambda: seccomp.install(seccomp.Stage.RUNNING))
    notes.attempt(Feature.FILE_TIMES_HIDDEN, filetimes.hide)


def _say_ready(control: socket.socket, job: Job, notes: confine.Notes, folders: Folders) -> None:
    reasons = {feature.value: reason for feature, reason in notes.reasons.items()}
    message = messages.encode_ready(reasons)
    if job.work is Work.RUN:
        outputs = folders.open_outputs()
        socket.send_fds(control, [message], [outputs])
        os.close(outputs)
    else:
        os.write(control.fileno(), message)


def _content(descriptor: int) -> bytes:
    parts: list[bytes] = []
    position = 0
    while part := os.pread(descriptor, _CHUNK_BYTES, position):
        parts.append(part)
        position += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _write(descriptor: int, content: bytes | bytearray) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
