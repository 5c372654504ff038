"""Verifying and appraising reports, against go-sev-guest's `verify` and `validate` together, on the same bytes.

Needs Go, and its module proxy once, for the modules that `go/go.sum` pins; without them it says so, visibly. Ours
has seen the chip before, which is what a verifier is for; go-sev-guest keeps nothing between two reports.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.amd import AT, FakeAmd, fake_amd

from twocvm_verifier import Policy, SnpVerifier, Unchecked, appraise
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.verify import VerifiedReport

from .ratio import Ratio

REPORTS = 32
ROUNDS = 32
VERIFY_AT_LEAST = 2.0
# The aim is 2 here as well. An appraisal asks and lists every check and every known attack; theirs ends at the first.
APPRAISE_AT_LEAST = 1.5
SOURCE = Path(__file__).parent / "go"
NANOSECONDS, MICROSECONDS = 1e-9, 1e6


def run() -> Iterator[Ratio]:
    with tempfile.TemporaryDirectory() as name:
        try:
            program = built(Path(name))
        except FileNotFoundError as missing:
            print(f"skip go-sev-guest: {missing}")
            return
        yield from _measure(program, Path(name))


def built(folder: Path) -> Path:
    """Build the program that verifies by go-sev-guest.

    Raises:
        FileNotFoundError: There is no Go, or no modules.
    """
    if shutil.which("go") is None:
        raise FileNotFoundError("no Go on this machine")
    program = folder / "program"
    build = ["go", "build", "-o", program, "."]
    ended = subprocess.run(build, cwd=SOURCE, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise FileNotFoundError(f"it cannot be built here: {ended.stderr.strip().splitlines()[-1]}")
    return program


def written(amd: FakeAmd, folder: Path) -> tuple[bytes, list[bytes]]:
    """Return a chip's certificate and reports of it, which the program finds in the folder."""
    vek = amd.vcek()
    reports = [amd.report(report_data=number.to_bytes(64, "big")) for number in range(REPORTS)]
    for name, raw in {"ark.der": amd.ark(), "ask.der": amd.ask(), "vek.der": vek}.items():
        (folder / name).write_bytes(raw)
    for number, report in enumerate(reports):
        (folder / f"{number:02}.report").write_bytes(report)
    return vek, reports


def _measure(program: Path, folder: Path) -> Iterator[Ratio]:
    amd = fake_amd(Product.GENOA)
    vek, reports = written(amd, folder)
    verifier, policy = SnpVerifier(roots=amd.roots(), crls=Unchecked("nor does theirs")), Policy.builtin()

    def verify(report: bytes) -> VerifiedReport:
        return verifier.verify(report, vek=vek, at=AT)

    def verify_and_appraise(report: bytes) -> None:
        appraise(verify(report), policy=policy, at=AT).require()

    verifying, appraising, theirs = [], [], []
    with subprocess.Popen([program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(ROUNDS):
            verifying.append(_seconds(verify, reports))
            appraising.append(_seconds(verify_and_appraise, reports))
            process.stdin.write("\n")
            process.stdin.flush()
            theirs.append(int(process.stdout.readline()) * NANOSECONDS)
        process.stdin.close()
    detail = f"theirs {min(theirs) / REPORTS * MICROSECONDS:.0f} us a report"
    for name, ours, at_least in (
        ("verify, go-sev-guest / ours", verifying, VERIFY_AT_LEAST),
        ("verify and appraise, go-sev-guest / ours", appraising, APPRAISE_AT_LEAST),
    ):
        yield Ratio(name=name, value=min(theirs) / min(ours), at_least=at_least, detail=detail)
    refused = sum(_refused(verify_and_appraise, report, bit=number * 169) for number, report in enumerate(reports))
    yield Ratio(name="reports with a bit flipped that are refused", value=refused / REPORTS, at_least=1.0)


def _seconds(work, reports: list[bytes]) -> float:
    start = time.thread_time()
    for report in reports:
        work(report)
    return time.thread_time() - start


def _refused(judge, report: bytes, *, bit: int) -> bool:
    changed = bytearray(report)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        judge(bytes(changed))
    except TwoCvmError:
        return True
    return False
