"""`twocvm appraise` as a person or a script meets it: exit status, standard output, standard error."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.amd import AT, borrowed_names, fake_amd, pem

from twocvm_guest.main import run
from twocvm_verifier.clock import format_time
from twocvm_verifier.snp.product import Product

GENUINE = Path(__file__).parents[2] / "examples" / "genuine"
SIMULATED = fake_amd(Product.SIMULATED)
WHEN = format_time(AT)
MEASUREMENT = bytes(range(48)).hex()


class Shell:
    """Runs the command in this process and keeps what it printed."""

    def __init__(self, capsys, folder: Path) -> None:
        self._capsys = capsys
        self._folder = folder

    def file(self, name: str, content: bytes | str) -> str:
        """Write a file and return its path."""
        path = self._folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit status, standard output and standard error of one call."""
        status = run(["appraise", *arguments])
        printed = self._capsys.readouterr()
        return status, printed.out, printed.err

    def simulated(self, *arguments: str, report: bytes | None = None) -> tuple[int, str, str]:
        """Judge simulated evidence, whose root is given, at a time when it is valid."""
        return self(
            "--report",
            self.file("report.bin", SIMULATED.report() if report is None else report),
            "--vek",
            self.file("vcek.der", SIMULATED.vcek()),
            "--simulated-root",
            self.file("root.pem", SIMULATED.chain()),
            "--at",
            WHEN,
            *arguments,
        )


@pytest.fixture
def shell(capsys, tmp_path, monkeypatch):
    """The command, and a folder for its files; nothing is found elsewhere."""
    monkeypatch.setenv("TWOCVM_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TWOCVM_KDS", "http://127.0.0.1:1")
    return Shell(capsys, tmp_path)


def genuine(*arguments: str) -> list[str]:
    """Return the arguments that judge the report that ships with the project."""
    return ["--report", str(GENUINE / "report.bin"), "--vek", str(GENUINE / "vcek.der"), *arguments]


def test_shipped_report_is_authentic_and_refused_for_debug(shell):
    """Exit 11: the result on standard output, the refusal and what to do about it on standard error."""
    status, out, err = shell(*genuine("--at", "2026-11-22T00:00:00Z", "--offline"))
    assert status == 11
    assert "Milan chip, report version 2, VCEK: authentic" in out
    assert "DEBUG_ALLOWED" in out
    assert "  open: badram, breakfast, cipherleaks, entrysign, " in out
    assert "no CRL of Milan is at hand" in out
    assert err.startswith("DEBUG_ALLOWED: ")


def test_result_object_of_the_shipped_report(shell):
    """The whole result as JSON, with every check."""
    status, out, _ = shell(*genuine("--at", "2026-11-22T00:00:00Z", "-o", "json"))
    result = json.loads(out)
    assert status == 11
    assert (result["schema"], result["verdict"], result["secure"]) == (
        "twocvm/appraisal/v1",
        "contraindicated",
        False,
    )
    failed = [check for check in result["checks"] if check["status"] == "fail"]
    assert [(check["id"], check["expected"], check["actual"]) for check in failed] == [
        ("policy.guest_policy.debug", "clear", "set")
    ]
    assert result["facts"]["reported_tcb"]["microcode"] == 68
    assert (result["judged_at"], result["valid_until"]) == ("2026-11-22T00:00:00Z", "2033-08-28T16:41:28Z")
    assert {piece["kind"] for piece in result["collateral"]} == {"vcek", "ask", "ark"}


def test_evidence_that_is_not_authentic(shell):
    """Exit 10: the rules that broke, and facts that are nobody's word."""
    status, out, err = shell(*genuine("--at", "2020-01-01T00:00:00Z", "-o", "json"))
    result = json.loads(out)
    assert (status, result["verdict"], result["collateral"]) == (10, "contraindicated", [])
    assert [check["code"] for check in result["checks"] if check["status"] == "fail"] == ["CHAIN_NOT_YET_VALID"]
    assert "facts" in result
    assert err.startswith("CHAIN_NOT_YET_VALID")
    status, out, _ = shell(*genuine("--at", "2020-01-01T00:00:00Z"))
    assert (status, "not authentic" in out, "nobody vouches" in out) == (10, True, True)


def test_malformed_evidence(shell):
    """Exit 30, and the result object says which part is malformed."""
    short = shell.file("short.bin", bytes(1183))
    status, out, err = shell("--report", short, "--vek", str(GENUINE / "vcek.der"), "-o", "json", "--at", WHEN)
    assert status == 30
    assert json.loads(out) == {
        "schema": "twocvm/appraisal/v1",
        "verdict": "error",
        "secure": False,
        "code": "MALFORMED_REPORT",
        "detail": "report.length: got 1183 bytes, want 1184",
        "platform": "unknown",
        "checks": [],
        "levels": [],
        "advisories": [],
        "facts": {},
        "collateral": [],
        "valid_until": WHEN,
        "judged_at": WHEN,
    }
    assert err.startswith("MALFORMED_REPORT: ")
    status, out, _ = shell("--report", short, "--vek", str(GENUINE / "vcek.der"))
    assert (status, out) == (30, "")


@pytest.mark.parametrize(("offline", "code"), [([], "FETCH_FAILED"), (["--offline"], "VEK_MISSING")])
def test_missing_vek_cannot_be_judged(shell, offline, code):
    """Exit 40: not a refusal, and the report must still be a report."""
    status, out, err = shell("--report", str(GENUINE / "report.bin"), "-o", "json", *offline)
    assert (status, json.loads(out)["code"]) == (40, code)
    assert err.startswith(code)
    assert shell("--report", shell.file("x", b"no report"), *offline)[0] == 30


def test_evidence_is_accepted(shell):
    """Exit 0, with a measurement that the policy names; simulated evidence never without its warning."""
    policy = shell.file("policy.toml", f'measurements = ["{MEASUREMENT}"]\nvmpl = [0]\n')
    status, out, err = shell.simulated("--policy", policy, "-o", "json")
    result = json.loads(out)
    assert (status, err) == (0, "")
    assert (result["verdict"], result["secure"], result["platform"]) == ("warning", False, "simulated")
    status, out, _ = shell.simulated("--policy", policy)
    assert (status, "SIMULATED PLATFORM, nothing is protected" in out) == (0, True)


def test_policy_file_decides(shell):
    """A policy file with a finding refuses; a policy that is malformed is exit 30."""
    strict = shell.file("strict.toml", 'products = ["Genoa"]\n')
    assert shell.simulated("--policy", strict)[0] == 11
    assert shell.simulated("--policy", shell.file("bad.toml", "unknown = 1\n"))[0] == 30
    assert shell.simulated("--policy", shell.file("latin.toml", b'name = "\xff"\n'))[0] == 30
    assert shell.simulated("--policy", "builtin")[0] == 0


def test_simulated_evidence_needs_its_root(shell):
    """Without the explicit root it is not authentic, and a root of AMD's names is no simulated one."""
    report, vek = shell.file("r", SIMULATED.report()), shell.file("v", SIMULATED.vcek())
    assert shell("--report", report, "--vek", vek, "--at", WHEN)[0] == 10
    amd = shell.file("amd.pem", fake_amd(Product.MILAN).chain())
    assert shell("--report", report, "--vek", vek, "--at", WHEN, "--simulated-root", amd)[0] == 10
    other = shell.file("other.pem", borrowed_names(Product.SIMULATED).chain())
    assert shell("--report", report, "--vek", vek, "--at", WHEN, "--simulated-root", other)[0] == 10


def test_chain_is_compared(shell):
    """The right chain changes nothing, another is refused, and junk is malformed."""
    assert shell.simulated("--chain", shell.file("chain.pem", SIMULATED.chain()))[0] == 0
    assert shell.simulated("--chain", shell.file("other.pem", borrowed_names(Product.SIMULATED).chain()))[0] == 10
    assert shell.simulated("--chain", shell.file("junk.pem", "junk"))[0] == 30


def test_vek_may_be_pem(shell):
    """People keep certificates in either form; two in one file are none."""
    one = pem((GENUINE / "vcek.der").read_bytes())
    arguments = ["--report", str(GENUINE / "report.bin"), "--at", "2026-11-22T00:00:00Z", "--vek"]
    assert shell(*arguments, shell.file("vcek.pem", one))[0] == 11
    assert shell(*arguments, shell.file("two.pem", one + one))[0] == 30
    assert shell(*arguments, shell.file("cut.pem", one[:200]))[0] == 30


def test_quiet_and_verbose(shell):
    """One line, or every check."""
    quiet = shell.simulated("-q")[1]
    assert quiet.count("\n") == 1
    assert "verdict: warning" in quiet
    assert "snp.report.signature" not in shell.simulated()[1]
    assert "snp.report.signature" in shell.simulated("-v")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--at", "yesterday"],
        ["--at", "2026-11-22"],
        ["--report", "/does/not/exist"],
        ["--policy", "/does/not/exist"],
        ["-o", "yaml"],
        ["--unknown"],
    ],
)
def test_wrong_use_is_exit_2(shell, arguments):
    """Wrong options and missing files are usage errors, not verdicts."""
    status, out, err = shell(*genuine(*arguments))
    assert (status, out) == (2, "")
    assert err


def test_report_from_standard_input(shell, monkeypatch):
    """A dash reads standard input."""
    stream = io.TextIOWrapper(io.BytesIO((GENUINE / "report.bin").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    status, _, _ = shell("--report", "-", "--vek", str(GENUINE / "vcek.der"), "--at", "2026-11-22T00:00:00Z")
    assert status == 11


def test_the_installed_command(tmp_path):
    """The console script itself, from another folder, judges by the machine's clock."""
    script = Path(sys.executable).with_name("twocvm")
    if not script.exists():
        pytest.skip("the console script is not installed beside this Python")
    done = subprocess.run(
        [script, "appraise", *genuine("-q")], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout.strip()) == (11, "verdict: contraindicated")
