"""`twocvm` itself: help that costs nothing, its version, completion, and what happens when writing fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from twocvm_guest.main import COMMANDS, COMPLETION, Entry, run

COMMAND = [sys.executable, "-c", "from twocvm_guest.main import main; main()"]
EVERY = [
    (name, *inner)
    for name, entry in COMMANDS.items()
    for inner in ([()] if isinstance(entry, Entry) else [(), *((each,) for each in entry)])
]
# What takes long to import, and what no help needs.
HEAVY = {"rich", "cryptography", "OpenSSL", "fastapi", "uvicorn", "requests", "wasmtime", "cbor2"}


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `twocvm` as a process of its own."""
    return subprocess.run(
        [*COMMAND, *arguments], env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` ends with 0, on stdout alone, and names the command as it was called."""
    assert run([*words, "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"Usage: twocvm {' '.join(words)} [OPTIONS]")
    assert shown.err == ""


def test_help_imports_nothing_heavy() -> None:
    """The help of every command, one after the other, loads no library that takes long."""
    script = f"""
import sys
from twocvm_guest.main import run
for words in {EVERY!r}:
    assert run([*words, "--help"]) == 0
print(sorted({HEAVY!r} & sys.modules.keys()), file=sys.stderr)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stderr == "[]\n"


def test_the_version_is_the_distributions() -> None:
    """`--version` prints name and version, and nothing else."""
    assert call("--version").stdout == f"twocvm {version('twocvm')}\n"


def test_shells_complete_commands_and_options() -> None:
    """The script that a shell loads is printed, and it gets the names that begin as what was typed."""
    assert "complete -o default" in call(**{COMPLETION: "source_bash"}).stdout
    for typed, offered in (("twocvm ma", ["manifest"]), ("twocvm manifest s", ["show", "sign"])):
        words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), COMPLETION: "complete_bash"}
        assert call(**words).stdout.split() == offered


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line(unbuffered: str) -> None:
    """A result that cannot be written, at once or at the end, ends with 1 and one line, not with a traceback."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*COMMAND, "policy", "explain", "builtin"],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert re.fullmatch(r"No space left on device\n", ended.stderr)


@pytest.mark.parametrize(("closed", "expected"), [("<&-", True), (">&-", False), ("2>&-", True), (">&- 2>&-", False)])
def test_a_closed_stream_is_no_traceback(closed: str, *, expected: bool) -> None:
    """Whoever closes what a command reads or writes gets the rest of it, and nothing of Python's own."""
    script = f'"$@" {closed}'
    ended = subprocess.run(["sh", "-c", script, "sh", *COMMAND, "--version"], capture_output=True, check=False)
    assert (ended.returncode, bool(ended.stdout), ended.stderr) == (0, expected, b"")


@pytest.mark.parametrize(
    "words",
    [
        ["manifest", "hash", "/dev/zero"],
        ["policy", "check", "/dev/zero"],
        ["appraise", "--report", "/dev/zero"],
        ["receipt", "verify", "/dev/zero", "--manifest", "00" * 32, "--policy", "builtin"],
        ["guest", "serve", "--platform", "simulated", "--listen", "127.0.0.1:0", "--manifest", "/dev/zero"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_file_that_never_ends_is_malformed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Of such a file no more is read than of any document, and its parser refuses it."""
    assert run(words) == 30
    assert capsys.readouterr().out == ""
