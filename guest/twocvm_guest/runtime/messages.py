"""What supervisor and worker say to each other, over one socket that keeps messages apart.

The supervisor sends a `Job` with the descriptors that it names, in as many pieces as it takes. The worker shuts itself
in and sends `Ready`: what it is kept in and, for a run, the descriptor of `/out`. Only then, told to go on, does it
touch a participant's bytes; and from then on it is believed nothing but one `Outcome`: eight bytes, of which one says
what happened. Whatever else comes is nonsense, and a failure.

>>> parse_outcome(encode_outcome(Outcome.TRAPPED)) is Outcome.TRAPPED
True
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

# What the kernel takes as one message, of bytes and of descriptors (253), with room to spare.
MAX_PIECE_BYTES: Final = 1 << 16
MAX_DESCRIPTORS: Final = 250
MAX_READY_BYTES: Final = 1 << 13
GO_ON: Final = b"go"
# A job comes in pieces, of which each begins with one of these.
MORE: Final = b"+"
LAST: Final = b"."

_OUTCOME: Final = struct.Struct("=6sBB")
_MARK: Final = b"2cvm\x00o"


class Work(enum.Enum):
    """What a worker is for."""

    PROBE = "probe"
    ADMIT = "admit"
    COMPOSE = "compose"
    INSPECT = "inspect"
    RUN = "run"
    FILTER = "filter"


class Outcome(enum.Enum):
    """How a worker's work ended. The supervisor has a code of the code table for each."""

    DONE = 0
    # Admission.
    MALFORMED = 1
    IMPORTS = 2
    EXPORTS = 3
    TYPES = 4
    ENTRY = 5
    CALLS = 6
    # A run.
    TRAPPED = 16
    STACK = 17
    MEMORY = 18
    FUEL = 19
    EXIT = 20
    # A filter (`filters/`).
    LENGTH = 24
    NOT_OF_FORMAT = 25
    ROWS = 26
    SCHEMA = 27
    GROUP = 28
    VALUE = 29
    # Ours.
    ISOLATION = 32
    INTERNAL = 33


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One component of a node, as the node's workers see it.

    Attributes:
        imports: What it is given by the runtime, and nothing else.
        calls: What it is given by other members: the import, and the number of the member that exports it.
        asks_windows: The one of its imports that windows are behind; empty where it has none.
        windows: Port, descriptor and size in bytes of each item that it can have laid over its memory.
        has_entry: Whether it is the one whose entry is called.
        component: Descriptor of its bytes, where they are to be composed.
    """

    imports: tuple[str, ...] = ()
    calls: tuple[tuple[str, int], ...] = ()
    asks_windows: str = ""
    windows: tuple[tuple[str, int, int], ...] = ()
    has_entry: bool = False
    component: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work. A member that the work has no use for keeps its default.

    Attributes:
        work: What is to be done.
        uid: The identity to take, if this is root.
        scratch: A folder for a worker without a mount namespace; else empty.
        promised: Names of the features without which the worker must not go on.
        keep: Descriptors handed over besides the control socket.
        address_space_bytes: For admission, of the whole process; for a run, beyond what the process has when it begins.
        data_bytes: Writable memory, likewise.
        file_bytes: The longest file that may be written.
        cpu_seconds: Processor time of the whole process.
        component: Descriptor of the component (admission), of its compiled form (run), or of what a filter is to do.
        source: Descriptor of the output that a filter reads.
        result: Descriptor of a memory file for the compiled form, the description, or what a filter leaves.
        library: The module of `filters` that a filter needs beside the common ones; empty for none.
        inputs: Port, descriptor and size in bytes of each input.
        outputs: The output ports.
        output_bytes: Of all outputs together.
        entry: The export that is called.
        exports: What it must export, and nothing else.
        members: For admission, the one component; else all of the node, callees before their callers.
        memory_bytes: Of one linear memory; all together are bounded by `data_bytes`.
        fuel: Instructions, or 0 where they are not counted.
        coarse_clock: Whether time passes in whole seconds; else it stands still.
        seed: 32 bytes in hex, or empty where random numbers are the kernel's.
        witness: For a run on one's own data alone (`twocvm run --local`): a pipe for what the component says and one
            for how it ended. No guest's worker ever has them.
    """

    work: Work
    uid: int = -1
    scratch: str = ""
    promised: tuple[str, ...] = ()
    keep: tuple[int, ...] = ()
    address_space_bytes: int = 0
    data_bytes: int = 0
    file_bytes: int = 0
    cpu_seconds: int = 0
    component: int = -1
    source: int = -1
    result: int = -1
    library: str = ""
    inputs: tuple[tuple[str, int, int], ...] = ()
    outputs: tuple[str, ...] = ()
    output_bytes: int = 0
    entry: str = ""
    exports: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    memory_bytes: int = 0
    fuel: int = 0
    coarse_clock: bool = False
    seed: str = ""
    witness: tuple[int, ...] = ()


def encode_job(job: Job) -> bytes:
    """Return the job as a worker is told it."""
    return json.dumps(asdict(job) | {"work": job.work.value}).encode()


def pieces(raw: bytes, descriptors: tuple[int, ...]) -> Iterator[tuple[bytes, tuple[int, ...]]]:
    """Yield the messages that an encoded job and its descriptors go in."""
    size = MAX_PIECE_BYTES - len(MORE)
    count = max(-(-len(raw) // size), -(-len(descriptors) // MAX_DESCRIPTORS))
    for each in range(count):
        part = raw[each * size : (each + 1) * size]
        mark = LAST if each == count - 1 else MORE
        yield mark + part, descriptors[each * MAX_DESCRIPTORS : (each + 1) * MAX_DESCRIPTORS]


def parse_job(raw: bytes) -> Job:
    """Return the job of a message of the supervisor, which a worker believes."""
    fields: dict[str, Any] = json.loads(raw)
    members = tuple(Member(**_tuples(member)) for member in fields["members"])
    return Job(**_tuples(fields) | {"work": Work(fields["work"]), "members": members})


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a JSON object with each array in it, and each array in that, as a tuple."""
    return {
        name: tuple(tuple(each) if isinstance(each, list) else each for each in value)
        if isinstance(value, list)
        else value
        for name, value in fields.items()
    }


def encode_ready(reasons: dict[str, str]) -> bytes:
    """Return the message of a worker that is shut in: each feature's name, and why it has it not, or nothing."""
    return json.dumps(reasons).encode()


def encode_outcome(outcome: Outcome) -> bytes:
    """Return the eight bytes that end a worker's work."""
    return _OUTCOME.pack(_MARK, outcome.value, 0)


def parse_outcome(raw: bytes) -> Outcome:
    """Return the outcome that a worker, which may be anybody's by now, states.

    Raises:
        ValueError: The bytes are none.
    """
    if len(raw) != _OUTCOME.size:
        raise ValueError("not an outcome")
    mark, value, reserved = _OUTCOME.unpack(raw)
    if mark != _MARK or reserved != 0:
        raise ValueError("not an outcome")
    return Outcome(value)
