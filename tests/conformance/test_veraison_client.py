"""Project Veraison's own client, as released for Go, against `twocvm verifier serve`."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.support.service_process import serving

from twocvm_guest.platforms.simulated import SimulatedPlatform
from twocvm_verifier.binding import LogPosition, channel_claims
from twocvm_verifier.evidence import Evidence, encode_cbor, encode_json

SOURCE = Path(__file__).parent / "veraison"
JSON, CBOR, REQUEST = "application/cmw+json", "application/cmw+cbor", "application/vnd.2cvm.appraise+json"
# What base64 and base64url write differently.
OWN_NONCE = b"\xfb\xff\xfe" * 11


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The client, built from what its module's lock pins."""
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    built = tmp_path_factory.mktemp("veraison") / "client"
    build = ["go", "build", "-o", built, "."]
    ended = subprocess.run(build, cwd=SOURCE, capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"Veraison's client cannot be built here: {ended.stderr.strip().splitlines()[-1]}")
    return built


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Iterator[tuple[str, SimulatedPlatform]]:
    """A service that accepts one simulated platform, and that platform."""
    at = datetime.now(UTC) - timedelta(days=1)
    platform = SimulatedPlatform.create(host_data=bytes(32), measurement=b"m" * 48, at=at, latency_seconds=0)
    root = tmp_path_factory.mktemp("root") / "root.pem"
    root.write_bytes(platform.root_pem)
    with serving("--simulated-root", str(root)) as service:
        yield service.url, platform


def evidence_of(platform: SimulatedPlatform, nonce: bytes, media_type: str) -> bytes:
    """Return a platform's fresh evidence for a nonce; only that with claims is for a nonce of 32 bytes alone."""
    vek, chain = platform.vek(), platform.chain()
    if media_type == REQUEST:
        parts = {"report": platform.report(nonce.ljust(64, b"\x00")), "vek": vek, "chain": chain}
        written = {name: base64.urlsafe_b64encode(raw).rstrip(b"=").decode() for name, raw in parts.items()}
        return json.dumps({"evidence": written}).encode()
    log = LogPosition(head=bytes(32), events=1)
    claims = channel_claims(spki_sha256=b"k" * 32, manifest=bytes(32), log=log, nonce=nonce, binder=b"b" * 32)
    report = platform.report(claims.report_data())
    encode = {JSON: encode_json, CBOR: encode_cbor}[media_type]
    return encode(Evidence(report=report, claims=claims.encode(), vek=vek, chain=chain))


def run(program: Path, url: str, *asked: str, answer: Callable[[bytes], tuple[str, bytes]]) -> tuple[list[str], str]:
    """Run the client, answer its one question, and return what it was told of the session and its result."""
    command = [program, f"{url}/challenge-response/v1/newSession", *asked]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        question = json.loads(client.stdout.readline() or client.stderr.read())
        media_type, body = answer(bytes.fromhex(question["nonce"]))
        told = {"type": media_type, "value": base64.b64encode(body).decode()}
        out, err = client.communicate(json.dumps(told).encode() + b"\n", timeout=60)
    # It only writes of it where it could not delete the session.
    assert (client.returncode, err) == (0, b"")
    return question["accept"], json.loads(out)


def claims_of(url: str, token: str) -> dict[str, Any]:
    """Return what a token says, verified by the service's published keys."""
    keys = KeySet.import_key_set(requests.get(f"{url}/.well-known/jwks.json", timeout=10).json())
    return jwt.decode(token, keys, algorithms=["ES256"]).claims


def answered(claims: dict[str, Any]) -> bytes:
    """Return the nonce that a token is for."""
    text = claims["eat_nonce"]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("wrap", ["none", "json", "cbor"])
@pytest.mark.parametrize("media_type", [JSON, CBOR, REQUEST])
def test_veraisons_client_gets_a_result(program, simulated, wrap, media_type):
    """It finds all as it should: session, nonce, evidence of every type in every wrapper, result, deletion."""
    url, platform = simulated
    nonces: list[bytes] = []

    def answer(nonce: bytes) -> tuple[str, bytes]:
        nonces.append(nonce)
        return media_type, evidence_of(platform, nonce, media_type)

    accept, token = run(program, url, wrap, "size", "32", answer=answer)
    assert media_type in accept
    claims = claims_of(url, token)
    assert (answered(claims), len(nonces[0])) == (nonces[0], 32)
    # The best that there is for a simulated platform.
    assert (claims["2cvm.verdict"], claims["submods"]["cpu0"]["ear.status"]) == ("warning", "warning")


@pytest.mark.parametrize(
    ("asked", "size"), [(("size", "8"), 8), (("size", "64"), 64), (("nonce", OWN_NONCE.hex()), len(OWN_NONCE))]
)
def test_veraisons_client_reads_every_nonce(program, simulated, asked, size):
    """It takes the nonce out of the session, whatever its length and bits, as the service means it."""
    url, platform = simulated

    def answer(nonce: bytes) -> tuple[str, bytes]:
        assert len(nonce) == size
        return REQUEST, evidence_of(platform, nonce, REQUEST)

    claims = claims_of(url, run(program, url, "none", *asked, answer=answer)[1])
    assert claims["2cvm.verdict"] == "warning"
    assert asked[0] == "size" or answered(claims) == OWN_NONCE


def test_veraisons_client_is_told_that_evidence_is_bad(program, simulated):
    """Evidence for another nonce is a result as well, and it is a negative one."""
    url, platform = simulated

    def answer(nonce: bytes) -> tuple[str, bytes]:
        return JSON, evidence_of(platform, bytes(reversed(nonce)), JSON)

    claims = claims_of(url, run(program, url, "none", "size", "32", answer=answer)[1])
    assert claims["submods"]["cpu0"]["ear.status"] == "contraindicated"
