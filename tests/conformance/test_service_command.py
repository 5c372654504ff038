"""`twocvm verifier serve` as strangers use it: `requests`, published media types and a stock JOSE library."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import KeySet

from twocvm_guest.main import run
from twocvm_guest.platforms.simulated import SimulatedPlatform

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from twocvm_guest.main import main; main()", "verifier", "serve"]
SESSION = "application/vnd.veraison.challenge-response-session+json"
REQUEST = "application/vnd.2cvm.appraise+json"


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the service on a free port, and end it as an init system does."""
    process = subprocess.Popen(
        [*COMMAND, "--offline", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on http://"), process.communicate(timeout=10)
        yield line.split()[-1], process
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, (out, err)
    assert "Traceback" not in err


def b64(data: bytes) -> str:
    """Return base64url without padding, as any client would write it."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def b64_bytes(text: str) -> bytes:
    """Return what base64url without padding writes."""
    from base64 import urlsafe_b64decode

    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified(url: str, token: str) -> dict[str, Any]:
    """Return a token's claims, verified through discovery and JWKS with a stock library."""
    issuer = requests.get(f"{url}/.well-known/openid-configuration", timeout=10).json()
    assert issuer["issuer"] == url
    keys = KeySet.import_key_set(requests.get(issuer["jwks_uri"], timeout=10).json())
    claims = jwt.decode(token, keys, algorithms=issuer["id_token_signing_alg_values_supported"]).claims
    jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": url}, aud={"essential": True, "value": "2cvm"}, exp={"essential": True}
    ).validate(claims)
    return claims


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Iterator[tuple[str, SimulatedPlatform]]:
    """A service that accepts one simulated platform, and that platform."""
    platform = SimulatedPlatform.create(
        host_data=bytes(32),
        measurement=b"m" * 48,
        at=datetime.now(UTC) - timedelta(days=1),
        latency_seconds=0,
    )
    root = tmp_path_factory.mktemp("root") / "root.pem"
    root.write_bytes(platform.root_pem)
    with serving("--simulated-root", str(root)) as (url, _):
        yield url, platform


def answer_of(platform: SimulatedPlatform, nonce: bytes) -> str:
    """Return a platform's evidence for a nonce, as a request."""
    report, vek = platform.report(nonce.ljust(64, b"\x00")), platform.vek()
    return json.dumps({"evidence": {"report": b64(report), "vek": b64(vek), "chain": b64(platform.chain())}})


def test_a_stranger_runs_the_whole_flow(simulated):
    """Discovery, a nonce, evidence for it, a result, its verification, and the session's end."""
    url, platform = simulated
    described = requests.get(f"{url}/.well-known/veraison/verification", timeout=10).json()
    assert REQUEST in described["media-types"]
    start = urljoin(url, described["api-endpoints"]["newChallengeResponseSession"])
    opened = requests.post(start, params={"nonceSize": 48}, headers={"Accept": SESSION}, timeout=10)
    assert (opened.status_code, opened.headers["content-type"]) == (201, SESSION)
    session = urljoin(opened.url, opened.headers["location"])
    nonce = b64_bytes(opened.json()["nonce"])
    assert len(nonce) == 48
    headers = {"Accept": SESSION, "Content-Type": REQUEST}
    complete = requests.post(session, data=answer_of(platform, nonce), headers=headers, timeout=10)
    assert (complete.status_code, complete.json()["status"]) == (200, "complete"), complete.text
    claims = verified(url, complete.json()["result"])
    assert b64_bytes(claims["eat_nonce"]) == nonce
    assert claims["eat_profile"] == "tag:github.com,2023:veraison/ear"
    assert (claims["submods"]["cpu0"]["ear.status"], claims["2cvm.verdict"]) == ("warning", "warning")
    assert requests.delete(session, timeout=10).status_code == 204
    gone = requests.get(session, headers={"Accept": SESSION}, timeout=10)
    assert (gone.status_code, gone.headers["content-type"]) == (404, "application/problem+json")


def test_a_crowd_over_http_gets_one_verdict(simulated):
    """Many who send the same evidence to the same session at once: one result, and conflicts."""
    url, platform = simulated
    opened = requests.post(f"{url}/challenge-response/v1/newSession", timeout=10)
    session, nonce = urljoin(opened.url, opened.headers["location"]), b64_bytes(opened.json()["nonce"])
    body = answer_of(platform, nonce)

    def submit(_: int) -> int:
        return requests.post(session, data=body, headers={"Content-Type": REQUEST}, timeout=30).status_code

    with ThreadPoolExecutor(8) as crowd:
        assert sorted(crowd.map(submit, range(8))) == [200] + [409] * 7


def test_what_is_asked_before_the_end_is_answered(simulated):
    """One that is told to stop answers what it has, and ends with 0 (`serving` asks)."""
    with serving() as (url, process):
        report = (ROOT / "examples/genuine/report.bin").read_bytes()
        vek = (ROOT / "examples/genuine/vcek.der").read_bytes()
        body = {"evidence": {"report": b64(report), "vek": b64(vek)}}
        answer = requests.post(f"{url}/v1/appraise", json=body, timeout=10)
        assert answer.json()["appraisal"]["code"] == "DEBUG_ALLOWED"
        assert verified(url, answer.json()["token"])["2cvm.verdict"] == "contraindicated"
        process.send_signal(signal.SIGINT)


def test_keys_policies_and_names_come_from_the_command_line(tmp_path):
    """The owner's key signs, the next one is published, a policy has its digest, and the issuer is as told."""
    files = [tmp_path / "now.pem", tmp_path / "next.pem"]
    for file in files:
        key = ec.generate_private_key(ec.SECP256R1())
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.chmod(0o600)
    policy = tmp_path / "policy.toml"
    policy.write_text('name = "second"\nmeasurements = { unchecked = "manifests name them" }\n')
    with serving(
        *("--listen", "[::1]:0", "--key", str(files[0]), "--next-key", str(files[1])),
        *("--also-policy", str(policy), "--federation", "sts.amazonaws.com", "--issuer", "https://verifier.example/"),
    ) as (url, _):
        assert url.startswith("http://[::1]:")
        told = requests.get(f"{url}/.well-known/openid-configuration", timeout=10).json()
        assert told["jwks_uri"] == "https://verifier.example/.well-known/jwks.json"
        assert len(requests.get(f"{url}/.well-known/jwks.json", timeout=10).json()["keys"]) == 2


def test_what_cannot_be_served_is_a_usage_error(tmp_path, capsys):
    """An address that is none or not loopback, a key that is not there, and a port that is taken."""
    for listen in ("localhost:80", "127.0.0.1:99999", "999.0.0.1:0", "127.0.0.1"):
        assert run(["verifier", "serve", "--offline", "--listen", listen]) == 2, listen
    assert run(["verifier", "serve", "--offline", "--policy", str(tmp_path / "none")]) == 2
    with serving() as (url, _):
        assert run(["verifier", "serve", "--offline", "--listen", url.removeprefix("http://")]) == 2
    assert "Address already in use" in capsys.readouterr().err


def test_what_would_be_unsafe_starts_nothing(tmp_path, capsys):
    """Another machine in clear, and a key that is not there: each with the name of its setting."""
    assert run(["verifier", "serve", "--offline", "--listen", "0.0.0.0:0"]) == 30
    assert "listen.tls_before" in capsys.readouterr().err
    assert run(["verifier", "serve", "--offline", "--key", str(tmp_path / "none")]) == 30
    assert "tokens.key" in capsys.readouterr().err


def test_an_owners_policy_that_decides_nothing_starts_nothing(tmp_path, capsys):
    """The owner is asked for a reason, too, as whoever puts a policy is."""
    policy = tmp_path / "policy.toml"
    policy.write_text('name = "all"\n')
    assert run(["verifier", "serve", "--offline", "--policy", str(policy)]) == 11
    assert f"POLICY_EMPTY: policies.default: '{policy}'" in capsys.readouterr().err


def test_a_key_with_a_keeper_does_not_end_with_the_process(tmp_path, capsys):
    """What is said of a service without a key is not said of one whose key somebody keeps."""
    settings = tmp_path / "verifier.toml"
    settings.write_text('[tokens]\nkeeper = "hsm:2"\n')
    assert run(["verifier", "serve", "--offline", "--config", str(settings)]) == 30
    said = capsys.readouterr().err
    assert "settings.tokens.keeper" in said
    assert "key-of-this-process" not in said


def test_a_key_that_others_can_read_starts_nothing(tmp_path, capsys):
    """The exit status and the code say why."""
    file = tmp_path / "key.pem"
    file.write_bytes(b"a secret")
    file.chmod(0o644)
    assert run(["verifier", "serve", "--offline", "--key", str(file)]) == 41
    assert capsys.readouterr().err.startswith("SIGNING_KEY_EXPOSED: ")


def test_without_the_extra_it_says_which():
    """A missing library ends with 20 and names the extra."""
    without = "import sys; sys.modules['fastapi'] = None; from twocvm_guest.main import main; main()"
    command = [sys.executable, "-c", without, "verifier", "serve", "--offline"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (20, "")
    assert "twocvm[service]" in ended.stderr


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("basenc")), reason="needs curl and basenc")
def test_the_readme_shows_what_happens():
    """The README's commands, run by a shell against a service, print what stands there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [block] = [text for text in re.findall(r"```console\n(.*?)```", readme, re.S) if "verifier serve" in text]
    first, *lines = block.splitlines()
    assert first == "$ twocvm verifier serve --listen 127.0.0.1:8080 &"
    script = "\n".join(line.removeprefix("$ ") for line in lines if line.startswith("$ "))
    shown = "\n".join(line for line in lines if not line.startswith("$ "))
    with serving() as (url, _):
        ended = subprocess.run(
            ["bash", "-euc", script.replace("http://127.0.0.1:8080", url)],
            cwd=ROOT,
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert ended.stdout.splitlines() == shown.splitlines()
