"""The owner's documents in replicas that share a Redis, put by an admin over mutual TLS, as processes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import requests
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import load_pem_x509_certificate
from tests.support.redis_server import redis_server
from tests.support.service_process import new_key, self_signed, serving

from twocvm_guest.platforms.simulated import SimulatedPlatform
from twocvm_verifier.policy import policy_of_document
from twocvm_verifier.strictjson import base64url

MEASUREMENT = "6d" * 48
GENERATIONS = 20


def policy(number: int) -> dict[str, object]:
    """Return a policy's document."""
    return {"name": f"policy {number}", "measurements": [MEASUREMENT]}


def test_replicas_have_one_library(tmp_path):
    """What one took another judges by; of many who move a name at both at once, one does."""
    at = datetime.now(UTC) - timedelta(days=1)
    platform = SimulatedPlatform.create(
        host_data=bytes(32), measurement=bytes.fromhex(MEASUREMENT), at=at, latency_seconds=0
    )
    (tmp_path / "root").write_bytes(platform.root_pem)
    token = tmp_path / "token"
    token.write_text("sha256:" + hashlib.sha256(b"t" * 43).hexdigest())
    token.chmod(0o600)
    admin = {"Authorization": f"Bearer {'t' * 43}"}
    with redis_server(tmp_path, "--save", "") as redis, ExitStack() as stack:
        settings = {
            "STATE_STORE": "redis",
            "STATE_REDIS": redis.url,
            "POLICIES_DOCUMENTS": "redis",
            "POLICIES_ADMIN_TOKEN": token,
            "POLICIES_DEFAULT_NAME": "main",
            "TOKENS_KEY": new_key(tmp_path / "key.pem"),
            "COLLATERAL_SIMULATED_ROOT": tmp_path / "root",
            "LIMITS_BURST": 10_000,
        }
        replicas = [stack.enter_context(serving(settings=settings)).url for _ in range(2)]

        def put(place: int, number: int, **condition: str) -> requests.Response:
            named = {name.replace("_", "-"): value for name, value in condition.items()}
            url = f"{replicas[place % 2]}/v1/policies/main"
            return requests.put(url, json=policy(number), headers=admin | named, timeout=30)

        tag = put(0, 0).headers["etag"]
        with ThreadPoolExecutor(8) as crowd:
            raced = list(crowd.map(lambda number: put(number, number, If_Match=tag), range(1, GENERATIONS)))
        assert Counter(answer.status_code for answer in raced) == {200: 1, 412: GENERATIONS - 2}
        (winner,) = (answer for answer in raced if answer.ok)
        evidence = {
            "report": base64url(platform.report(bytes(64))),
            "vek": base64url(platform.vek()),
            "chain": base64url(platform.chain()),
        }
        for url in replicas:
            pointed = requests.get(f"{url}/v1/policies/main", headers=admin, timeout=10)
            assert pointed.headers["etag"] == winner.headers["etag"]
            steps = requests.get(f"{url}/v1/policies/main/history", headers=admin, timeout=10).json()["revisions"]
            assert len(steps) == 2
            judged = requests.post(f"{url}/v1/appraise", json={"evidence": evidence}, timeout=30).json()["appraisal"]
            assert judged["policy"]["sha256"] == policy_of_document(pointed.json()).sha256.hex()
            assert judged["policy"]["sha256"] == winner.json()["sha256"]
        redis.stop()
        for url in replicas:
            refused = requests.post(f"{url}/v1/appraise", json={"evidence": evidence}, timeout=30)
            assert (refused.status_code, refused.json()["code"]) == (503, "DOCUMENTS_UNREACHABLE")


def test_an_admin_over_mutual_tls(tmp_path):
    """The certificate that the handshake proved is the admin; another of the same authority is none."""
    certificate, key = self_signed(tmp_path, "localhost")
    mine, my_key = self_signed(tmp_path, "admin")
    other, other_key = self_signed(tmp_path, "other")
    authority = tmp_path / "authority.pem"
    authority.write_bytes(mine.read_bytes() + other.read_bytes())
    fingerprint = load_pem_x509_certificate(mine.read_bytes()).fingerprint(hashes.SHA256()).hex()
    settings = {
        "LISTEN_CERTIFICATE": certificate,
        "LISTEN_KEY": key,
        "LISTEN_CLIENT_CA": authority,
        "POLICIES_ADMIN_CERTIFICATES": fingerprint,
        "POLICIES_DOCUMENTS": "folder",
        "POLICIES_FOLDER": tmp_path / "documents",
    }
    with serving(settings=settings) as service:
        url = f"https://localhost:{service.port}/v1/policies/main"
        for shown, status in (((mine, my_key), 201), ((other, other_key), 401), (None, 401)):
            given = None if shown is None else tuple(map(str, shown))
            answer = requests.put(url, json=policy(0), cert=given, verify=str(certificate), timeout=10)
            assert answer.status_code == status, answer.text
    (history,) = (tmp_path / "documents/policies/names").iterdir()
    assert json.loads(history.read_text())["by"] == f"certificate {fingerprint[:32]}"
    with serving(settings=settings) as service:
        again = requests.get(
            f"https://localhost:{service.port}/v1/policies/main",
            cert=(str(mine), str(my_key)),
            verify=str(certificate),
            timeout=10,
        )
        assert again.json()["name"] == "policy 0"
