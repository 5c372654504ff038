"""`docs/walkthrough.md`, executed as it stands there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "walkthrough.md"
PATIENCE_SECONDS = 120.0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What the page takes for granted: the command, and where the demo's files are."""
    tools = tmp_path / "bin"
    tools.mkdir()
    command = tools / "twocvm"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from twocvm_guest.main import main; main()" "$@"\n')
    command.chmod(0o755)
    return {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path), "DEMO": str(ROOT / "examples" / "demo")}


def test_the_page_is_a_whole_session(tmp_path: Path, environment: dict[str, str]) -> None:
    """Every command of the page ends as the page says, the table is joined, and the guest has ended."""
    script = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL))
    folder = tmp_path / "walk"
    folder.mkdir()
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, said = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        # Also what the page started: a guest whose session did not end.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == 0, said
    assert "walkthrough is valid" in printed
    assert "would release  diagnoses, as hospital-b; nothing was released" in printed
    assert "TOO_LATE: guest: answered 409\n" in said
    assert printed.count("outcome          completed") == 5
    table = (folder / "table.csv").read_text().splitlines()
    assert table[0].startswith("patient,radius_mean")
    assert len(table) == 1 + 512
    assert (folder / "guest.log").read_text().splitlines()[0].startswith("this platform is simulated")
