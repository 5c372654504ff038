"""The ports of a component: `/in/PORT/data` and `/out/PORT/data`, and a line for its author to read.

Runs inside the component; the modules that it imports are made by componentize-py from `world.wit`. Python's own
`open` and `print` lead nowhere here.
"""

import traceback

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import preopens, stderr, types

_READ_BYTES = 1 << 20
_WRITE_BYTES = 1 << 20
_SAY_BYTES = 4096  # What the stream takes at once.


class Component(exports.Run):
    """A component whose work is `compute`; an exception there is its failure, and its author can read which."""

    def run(self) -> None:
        """Do the work: `wasi:cli/run`."""
        try:
            self.compute()
        except Exception as error:
            say(_story(error))
            raise Err(None) from error

    def compute(self) -> None:
        """Read the inputs, write the outputs."""
        raise NotImplementedError


def read_port(port: str) -> bytes:
    """Return what lies at an input port."""
    file = _open(f"/in/{port}/data", types.OpenFlags(0), types.DescriptorFlags.READ)
    parts = []
    size = 0
    at_end = False
    while not at_end:
        part, at_end = file.read(_READ_BYTES, size)
        parts.append(part)
        size += len(part)
        at_end = at_end or not part
    return b"".join(parts)


def write_port(port: str, content: bytes) -> None:
    """Leave the content of an output port; once for each."""
    flags = types.OpenFlags.CREATE | types.OpenFlags.EXCLUSIVE
    file = _open(f"/out/{port}/data", flags, types.DescriptorFlags.WRITE)
    written = 0
    while written < len(content):
        written += file.write(content[written : written + _WRITE_BYTES], written)


def say(text: str) -> None:
    """Say something to `twocvm run --local`; in a guest it leads nowhere."""
    line = (text.rstrip("\n") + "\n").encode()
    stream = stderr.get_stderr()
    for start in range(0, len(line), _SAY_BYTES):
        stream.blocking_write_and_flush(line[start : start + _SAY_BYTES])


def _story(error: Exception) -> str:
    # Without the lines themselves: looking for them in files is what traps here.
    where = [f"  {frame.f_code.co_filename}:{line}" for frame, line in traceback.walk_tb(error.__traceback__)]
    return "\n".join([*where, f"{type(error).__name__}: {error}"])


def _open(path: str, open_flags: types.OpenFlags, flags: types.DescriptorFlags) -> types.Descriptor:
    for folder, name in preopens.get_directories():
        if path.startswith(f"{name}/"):
            return folder.open_at(types.PathFlags(0), path[len(name) + 1 :], open_flags, flags)
    raise FileNotFoundError(path)
