"""A program for the length of a `with`; that it ends with a parent that is killed, `test_image_boot_parts` shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.guest_process import gone
from tests.support.processes import wait_until

from twocvm_guest.child import Child


def started(said: Path, program: str) -> Child:
    """A Python program whose words go to a file."""
    with said.open("wb") as file:
        return Child((sys.executable, "-I", "-S", "-u", "-c", program), output=file, errors=file)


def test_program_is_told_to_end_and_may(tmp_path: Path) -> None:
    """At the end of the `with` it is asked first, so that it can wipe what it holds; then it is gone."""
    said = tmp_path / "said"
    program = "import signal, sys; signal.signal(15, lambda *_: sys.exit('wiped')); print('up'); signal.pause()"
    with started(said, program) as child:
        wait_until(lambda: said.read_text() == "up\n")
        assert child.wait_ended(0.0) is None
    assert said.read_text() == "up\nwiped\n"
    assert child.wait_ended(0.0) == 1
    assert gone({child.pid})


def test_program_reads_nothing_of_ours(tmp_path: Path) -> None:
    """Its standard input has nothing, whatever ours has."""
    ours, theirs = os.pipe()
    kept = os.dup(0)
    try:
        os.dup2(ours, 0)
        with started(tmp_path / "said", "import sys; print(len(sys.stdin.read()))") as child:
            assert child.wait_ended(20.0) == 0
    finally:
        os.dup2(kept, 0)
        for each in (ours, theirs, kept):
            os.close(each)
    assert (tmp_path / "said").read_text() == "0\n"


def test_program_ignores_no_more_signals_than_any_other(tmp_path: Path) -> None:
    """What starts it leaves no trace: it finds what every program finds that is started from here."""
    words = ("grep", "SigIgn", "/proc/self/status")
    with (tmp_path / "said").open("wb") as said, Child(words, output=said, errors=said) as child:
        assert child.wait_ended(20.0) == 0
    assert (tmp_path / "said").read_bytes() == subprocess.run(words, check=True, capture_output=True).stdout


def test_program_whose_parent_is_gone_already_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the parent was killed before the kernel was asked, the program finds another one and does nothing."""
    monkeypatch.setattr("os.getpid", lambda: 0)
    with started(tmp_path / "said", "print('begun')") as child:
        assert child.wait_ended(20.0) == 0
    assert (tmp_path / "said").read_text() == ""
