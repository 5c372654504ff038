"""What leaves a production machine beside its attested port: words of a closed list, whatever goes wrong.

The first process and an agent run here as they do in the image, with a file in the serial line's place. Everything that
they, their children and their errors write is compared with the list in `docs/spec/events.md`.
"""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.guest_process import GuestProcess, acting_world

from twocvm_guest.image.command_line import CommandLineError
from twocvm_guest.image.init import report
from twocvm_guest.image.init.report import Code, code_of
from twocvm_guest.image.init.unmeasured import InputError
from twocvm_verifier.codes import CODES, platforms

SPEC = Path(__file__).parents[2] / "docs" / "spec" / "events.md"
PACKAGES = tuple(Path(__file__).parents[2] / name for name in ("certs", "verifier", "sdk", "guest"))
SECRET = "psst-the-patient-is-alice"
STAGES = (
    "main.unmeasured.require_plain_start",
    "main.parse_command_line",
    "main.kernel.load_modules",
    "main.payload.attach",
    "main.mounts.mount",
    "main.firewall.close_to_all_but",
    "main.network.connect",
    "main.kernel.settle",
    "main.unmeasured.find_ignored",
    "main.agent.run",
)
FAILURES = (
    ("CommandLineError", Code.COMMAND_LINE),
    ("InputError", Code.HOST_INPUT),
    ("PayloadError", Code.PAYLOAD),
    ("OSError", Code.MACHINE),
    ("MemoryError", Code.MACHINE),
    ("RecursionError", Code.MACHINE),
    ("OtherError", Code.MACHINE),
)


def as_first_process(program: str, line: Path) -> str:
    """Run a program with the first process's output in production, and return what it wrote to its line."""
    head = f"""
        import os, sys
        from pathlib import Path
        from twocvm_guest.image.command_line import CommandLineError, Variant
        from twocvm_guest.image.init import main, report
        from twocvm_guest.image.init.payload import PayloadError
        from twocvm_guest.image.init.unmeasured import InputError
        class OtherError(ValueError): pass
        report.LINE = {str(line)!r}
        say = main.open_output(Variant.PRODUCTION)
        """
    line.touch()
    words = (sys.executable, "-c", dedent(head) + dedent(program))
    done = subprocess.run(words, capture_output=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == (b"", b"")
    return line.read_text()


def test_list_is_the_specifications() -> None:
    """`docs/spec/events.md` has each code in a row, and no other."""
    assert re.findall(r"^\| `([A-Z_]+)` \|", SPEC.read_text(), re.MULTILINE) == list(Code)


def test_whatever_fails_only_a_code_leaves(tmp_path: Path) -> None:
    """Each step of the first process fails in each way, with a secret in its error; one code is written for each."""
    line = tmp_path / "line"
    said = as_first_process(
        f"""
        def nothing(*_, **__): return ()
        def failing(error):
            def fail(*_, **__): raise error({SECRET!r})
            return fail
        for stage in {STAGES!r}:
            for name in {[name for name, _ in FAILURES]!r}:
                for each in {STAGES!r}:
                    owner, _, function = each.rpartition(".")
                    setattr(eval(owner), function, nothing)
                net = type("Network", (), dict(port=1))
                main.parse_command_line = lambda *_: type("Launch", (), dict(network=net, payload="p"))
                main._COMMAND_LINE = Path(os.devnull)
                owner, _, function = stage.rpartition(".")
                setattr(eval(owner), function, failing(eval(name)))
                main.tell_failure(lambda: main.make_and_serve(Variant.PRODUCTION, say), say)
                print({SECRET!r}); print({SECRET!r}, file=sys.stderr, flush=True)
        raise RuntimeError({SECRET!r})
        """,
        line,
    )
    wanted = [code for stage in STAGES for _, code in FAILURES for code in _made(stage, code)]
    assert said.splitlines() == [f"twocvm {code}" for code in wanted]


def _made(stage: str, code: Code) -> tuple[Code, ...]:
    return (Code.MADE, code) if stage == "main.agent.run" else (code,)


# An agent's end, and the code for it.
ENDINGS = (
    ("sys.exit(0)", Code.ENDED),
    ("sys.exit(10)", Code.ENDED_NOT_AUTHENTIC),
    ("sys.exit(20)", Code.ENDED_UNSUPPORTED),
    ("sys.exit(40)", Code.ENDED_CANNOT_JUDGE),
    ("sys.exit(77)", Code.ENDED_FAILED),
    (f"sys.exit({SECRET!r})", Code.ENDED_FAILED),
    (f"raise RuntimeError({SECRET!r})", Code.ENDED_FAILED),
    (f"threading.Thread(target=lambda: 1 / 0, name={SECRET!r}).start()", Code.ENDED),
    ("os.kill(os.getpid(), signal.SIGKILL)", Code.ENDED_KILLED),
    ("faulthandler.enable(); os.abort()", Code.ENDED_KILLED),
    ("os.execv('/none', ['x'])", Code.ENDED_FAILED),
)


def test_whatever_the_agent_does_only_a_code_leaves(tmp_path: Path) -> None:
    """It prints, fails, dumps its stack or is killed, and so does a child of its own: one code is written."""
    line = tmp_path / "line"
    said = as_first_process(
        f"""
        main.agent.kernel.give_up_capabilities = lambda: None
        for end, _ in {[(end, "") for end, _ in ENDINGS]!r}:
            shout = "import faulthandler, os, signal, sys, threading\\n"
            shout += "os.fork() or os._exit(9)\\n"
            shout += "for name in ('/dev/stdout', '/dev/stderr'): open(name, 'w').write({SECRET!r})\\n"
            shout += "print({SECRET!r}, flush=True); os.write(2, b{SECRET!r})\\n"
            main.agent.command = lambda *_: (sys.executable, "-c", shout + end)
            say("ended", status=main.agent.run(Variant.PRODUCTION, 1, say))
        """,
        line,
    )
    assert said.splitlines() == [f"twocvm {code}" for _, code in ENDINGS]


anything = st.none() | st.integers() | st.text() | st.builds(OSError, st.integers(), st.text())


@given(
    st.sampled_from(["made", "ready", "refused", "ended", "probed"]) | st.text(),
    st.dictionaries(st.sampled_from(["error", "status", "root", "ignored"]), anything),
)
def test_no_fact_becomes_more_than_a_code(event: str, facts: dict[str, object]) -> None:
    """Whatever an event is called and says: a code of the list, or nothing."""
    assert code_of(event, facts) in {None, *Code}


def test_errors_have_their_codes() -> None:
    """What the host gave too much is told from what it wrote wrong, and both from the machine."""
    assert code_of("refused", {"error": InputError("x")}) is Code.HOST_INPUT
    assert code_of("refused", {"error": CommandLineError("x")}) is Code.COMMAND_LINE
    assert code_of("refused", {"error": "x"}) is Code.MACHINE
    assert code_of("ended", {}) is Code.ENDED_FAILED


def test_refusals_of_a_machine_have_their_own_codes() -> None:
    """Whatever a device or the isolation refuses ends the agent with a status that is told from an error of its own."""
    refusals = [*platforms.CODES, "NO_PLATFORM", "ISOLATION_INCOMPLETE"]
    for name in refusals:
        assert code_of("ended", {"status": CODES[name].exit_status}) not in {None, Code.ENDED, Code.ENDED_FAILED}
    assert code_of("ended", {"status": 1}) is Code.ENDED_FAILED


def test_line_that_is_not_there_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without a serial line, or with one that takes nothing, changes nothing."""
    for line in (tmp_path / "none", Path("/dev/full"), tmp_path):
        monkeypatch.setattr(report, "LINE", str(line))
        report.to_host("made")
    monkeypatch.setattr(report, "LINE", str(tmp_path / "line"))
    (tmp_path / "line").touch()
    report.to_host("probed", memory=SECRET)
    report.to_host("made", ignored=[SECRET])
    assert (tmp_path / "line").read_text() == "twocvm MADE\n"


def test_nothing_else_in_the_image_speaks_to_the_host() -> None:
    """No module opens a console, a terminal or the kernel's log but the first process's report."""
    spoken = re.compile(r"/dev/(?:console|kmsg|tty|hvc|port)|import syslog")
    found = {
        path.name
        for package in PACKAGES
        for path in package.rglob("*.py")
        if "build" not in path.parts and spoken.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"main.py", "report.py"}


def test_nothing_that_a_session_said_is_written_by_its_guest(tmp_path: Path) -> None:
    """Components print a secret and trap, clients send junk: on a machine without an image its output is fixed too."""
    secret = f"{SECRET}-{secrets.token_hex(8)}"
    with GuestProcess(tmp_path) as guest:
        _junk(guest.facts["listen"])
        commands = ["read /in/records-a/data", f"mkdir /out/report/{secret}", "stdout 100000", "trap"]
        side = guest.side(acting_world(guest.measurement, commands=commands, secret=secret.encode()))
        side.released()
        assert side.wait_for("failed", "completed") == "failed"
        _junk(guest.facts["listen"])
        guest.terminate()
        said = b"".join(stream.read() for stream in (guest.process.stdout, guest.process.stderr) if stream)
    lines = said.decode().splitlines()
    assert lines[0] == "this platform is simulated: it proves nothing and protects nothing from this machine"
    assert all(line.startswith("workers run without ") for line in lines[1:])
    assert SECRET not in said.decode()


def _junk(url: str) -> None:
    host, _, port = url.removeprefix("https://").rpartition(":")
    for junk in (b"GET / HTTP/1.1\r\n\r\n", SECRET.encode() * 999, b"\x16\x03\x01\xff\xff" + SECRET.encode(), b""):
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=5) as stream:
            stream.sendall(junk)
            stream.shutdown(socket.SHUT_WR)
            stream.recv(1000)
