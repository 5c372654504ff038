"""`twocvm verifier serve` as a process of its own, with settings of the test's.

with serving("--workers", "2", settings={"STATE_STORE": "redis"}) as service:
    requests.get(f"{service.url}/livez")
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from twocvm_guest.main import main; main()", "verifier", "serve", "--offline"]


@dataclass(frozen=True, kw_only=True)
class Served:
    """A service that answers.

    Attributes:
        url: Where.
        process: The process that was started.
    """

    url: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.url.rsplit(":", 1)[1])

    def workers(self) -> list[int]:
        """The processes that it started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [int(pid) for pid in children.split()]


def started(*arguments: str, settings: Mapping[str, object] | None = None) -> subprocess.Popen[str]:
    """Start the service; `settings` are its variables, without what they all begin with."""
    variables = {f"TWOCVM_VERIFIER_{name}": str(value) for name, value in (settings or {}).items()}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | variables,
    )


@contextmanager
def serving(*arguments: str, settings: Mapping[str, object] | None = None) -> Iterator[Served]:
    """Run the service, and end it as an init system does; it has to end well."""
    process = started(*arguments, settings=settings)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on http"), process.communicate(timeout=10)
        yield Served(url=line.split()[-1], process=process)
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, (out, err)
    assert "Traceback" not in err, err


def new_key(file: Path) -> Path:
    """Write a key that signs tokens, and return its file."""
    key = ec.generate_private_key(ec.SECP256R1())
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)
    return file


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a self-signed certificate for localhost and its key, and return both files."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private.chmod(0o600)
    return chain, private
