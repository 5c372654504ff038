"""A software TPM set up as Azure's paravisor sets up its vTPM, over a simulated chip or one of a test's own.

with AzureVtpm(folder, make_report) as vtpm, closing(vtpm.platform()) as platform:
    platform.quote(bytes(64))
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from tests.support.azure import hcl_report, runtime_data

from twocvm_guest.platforms.azure import ATTESTATION_KEY, HCL_REPORT_INDEX, AzurePlatform
from twocvm_guest.platforms.device import Pause
from twocvm_guest.platforms.tpm import Tpm
from twocvm_verifier import framing

MakeReport = Callable[[bytes], bytes]
"""Makes the paravisor's report from REPORT_DATA."""


def require_swtpm() -> None:
    """Skip the test, and say why, where there is no software TPM or nothing to set it up with."""
    for program in ("swtpm", "tpm2_nvdefine"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here: install swtpm and tpm2-tools")


class AzureVtpm:
    """A running software TPM with an HCL report and an attestation key where Azure has them.

    Args:
        folder: Where its state and its socket are.
        make_report: Makes the paravisor's report.

    Attributes:
        socket: Where it is; it has one client at a time.
    """

    def __init__(self, folder: Path, make_report: MakeReport) -> None:
        self._folder = folder
        self._make_report = make_report
        self.socket = folder / "tpm"

    def __enter__(self) -> Self:
        state = self._folder / "state"
        state.mkdir()
        self._process = subprocess.Popen(
            [
                *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}"),
                *("--server", f"type=unixio,path={self.socket}"),
                *("--ctrl", f"type=unixio,path={self.socket}.ctrl", "--flags", "startup-clear,not-need-init"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()
        self._tool("createprimary", "-C", "e", "-g", "sha256", "-G", "rsa2048:rsassa-sha256:null", "-c", "ak.ctx",
                   "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign")  # fmt: skip
        self._tool("evictcontrol", "-C", "o", "-c", "ak.ctx", f"{ATTESTATION_KEY:#x}")
        self._tool("readpublic", "-c", f"{ATTESTATION_KEY:#x}", "-f", "pem", "-o", "ak.pem")
        self.key = load_pem_public_key((self._folder / "ak.pem").read_bytes())
        assert isinstance(self.key, rsa.RSAPublicKey)
        runtime = runtime_data(self.key)
        self.write(hcl_report(self._make_report(framing.sha256(runtime) + bytes(32)), runtime, padding_bytes=0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def write(self, content: bytes) -> None:
        """Put something where the HCL report is read."""
        (self._folder / "hcl").write_bytes(content)
        index = f"{HCL_REPORT_INDEX:#x}"
        with suppress(subprocess.CalledProcessError):
            self._tool("nvundefine", "-C", "o", index)
        self._tool("nvdefine", "-C", "o", "-s", str(len(content)), "-a", "ownerread|ownerwrite|authread", index)
        self._tool("nvwrite", "-C", "o", "-i", "hcl", index)

    def extend(self, pcr: int) -> None:
        """Extend a PCR, as a guest's kernel does."""
        self._tool("pcrextend", f"{pcr}:sha256={'ab' * 32}")

    def connect(self) -> int:
        """Return a file that is the TPM, as the kernel's device is one."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.socket))
        return connection.detach()

    def tpm(self, *, pause: Pause = time.sleep) -> Tpm:
        """Return the guest's own client of it; it has one client at a time."""
        return Tpm(self.connect(), name="swtpm", pause=pause)

    def platform(self) -> AzurePlatform:
        """Return a guest's platform on it."""
        tpm = self.tpm()
        try:
            return AzurePlatform(tpm)
        except BaseException:
            tpm.close()
            raise

    def _tool(self, name: str, *arguments: str) -> None:
        environment = os.environ | {"TPM2TOOLS_TCTI": f"swtpm:path={self.socket}"}
        subprocess.run(
            [f"tpm2_{name}", *arguments], check=True, capture_output=True, cwd=self._folder, env=environment, timeout=20
        )

    def _wait(self) -> None:
        for _ in range(500):
            if self.socket.exists():
                return
            time.sleep(0.01)
        raise TimeoutError("swtpm did not start")
