"""Results on stdout, everything else on stderr; bars only where a person watches."""

import json
import os
import pty
import subprocess
import sys

import pytest

from twocvm_sdk.cli.printing import Printer, table
from twocvm_verifier.shell import OutputForm

_SCRIPT = """
from twocvm_verifier.shell import OutputForm
from twocvm_sdk.cli.printing import Printer

with Printer(form=OutputForm.TEXT).transfers() as progress:
    for sent in (0, 500, 1000):
        progress("records-a", sent, 1000)
"""


def _tell(printer: Printer) -> None:
    with printer.transfers() as progress:
        for sent in (0, 500, 1000, 1000):
            progress("records-a", sent, 1000)


def test_plain_lines_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there is one line for each transfer, on stderr."""
    _tell(Printer(form=OutputForm.TEXT))
    assert capsys.readouterr() == ("", "records-a: 1000 bytes\n")


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Asked to be quiet, nothing but the result is printed."""
    printer = Printer(form=OutputForm.TEXT, quiet=True)
    _tell(printer)
    printer.say("something")
    printer.result({"a": 1}, "text")
    assert capsys.readouterr() == ("text\n", "")


def test_a_bar_where_a_person_watches() -> None:
    """On a terminal transfers are shown as bars, on stderr alone."""
    master, slave = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", _SCRIPT], stdout=subprocess.PIPE, stderr=slave) as process:
        os.close(slave)
        shown = b""
        try:
            while part := os.read(master, 4096):
                shown += part
        except OSError:  # the terminal's other end is closed
            pass
        assert process.communicate()[0] == b""
    os.close(master)
    assert b"records-a" in shown
    assert b"\x1b[" in shown


def test_results_in_json_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    """In JSON the result is one document."""
    Printer(form=OutputForm.JSON).result({"names": ("a", "b")}, "text")
    assert json.loads(capsys.readouterr().out) == {"names": ["a", "b"]}


def test_a_table_is_aligned() -> None:
    """Names stand in a column as wide as the longest."""
    assert table({"a": "1", "long": "2"}) == "a     1\nlong  2"
