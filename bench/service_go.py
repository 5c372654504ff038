"""The verifier service against a Go net/http server around go-sev-guest, on the same evidence from the same client.

Compared is the processor time for a request, which is what the requests per second of a machine come from, and which
other work on the machine changes least. Theirs verifies, validates, and says yes; ours judges every check and every
known attack, says what came of each, and signs a token. The aim is 2, and is missed: see docs/verifier.md. It needs Go,
as `go_sev_guest` does, and says so where there is none.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

from bench.ratio import Ratio
from bench.service_cpu import MICROSECONDS, ask, cpu_seconds
from tests.support.amd import fake_amd
from tests.support.served import served

from twocvm_verifier import Policy
from twocvm_verifier.snp.product import Product

REQUESTS = 250
ROUNDS = 5
SOURCE = Path(__file__).parent / "go"


def run() -> Iterator[Ratio]:
    """Measure, and return the ratio."""
    if shutil.which("go") is None:
        print("skip the Go server: no Go on this machine")
        return
    with tempfile.TemporaryDirectory() as name:
        program = Path(name) / "program"
        build = ["go", "build", "-o", program, "./server"]
        built = subprocess.run(build, cwd=SOURCE, capture_output=True, text=True, check=False)
        if built.returncode:
            print(f"skip the Go server: it cannot be built here: {built.stderr.strip().splitlines()[-1]}")
            return
        yield _measure(program, Path(name))


def _measure(program: Path, folder: Path) -> Ratio:
    amd = fake_amd(Product.GENOA)
    vek = _written(amd.vcek())
    for name, raw in {"ark.der": amd.ark(), "ask.der": amd.ask()}.items():
        (folder / name).write_bytes(raw)
    ours, theirs = [], []
    with (
        subprocess.Popen([program, folder], stdout=subprocess.PIPE, text=True) as server,
        served(folder, policy=Policy.builtin()) as service,
    ):
        port = int(server.stdout.readline())
        for _ in range(ROUNDS):
            reports = [_written(amd.report(report_data=secrets.token_bytes(64))) for _ in range(REQUESTS)]
            bodies = [json.dumps({"evidence": {"report": report, "vek": vek}}).encode() for report in reports]
            for times, pid, at in ((ours, service.pid, service.port), (theirs, server.pid, port)):
                before = cpu_seconds(pid)
                ask(at, "/v1/appraise", bodies)
                times.append(cpu_seconds(pid) - before)
        server.terminate()
    each = [min(times) / REQUESTS * MICROSECONDS for times in (theirs, ours)]
    return Ratio(
        name="a request to a Go server around go-sev-guest / to ours",
        value=each[0] / each[1],
        detail=f"processor time, {each[0]:.0f} / {each[1]:.0f} us",
    )


def _written(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


if __name__ == "__main__":
    for ratio in run():
        print(ratio.line())
