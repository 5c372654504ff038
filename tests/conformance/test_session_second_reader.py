"""The second reader on a whole session: batch, event log, statements, roster and receipt, from `docs/spec` alone.

A live guest runs a session to its end; then a participant that has no code of the product asks for everything, and
makes every hash and every statement again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from OpenSSL import SSL
from tests.support.attested_guest import tls_identity
from tests.support.guest import LiveGuest
from tests.support.manifests import World
from tests.support.second_reader import (
    answer,
    ask,
    b64url,
    binder,
    check,
    connected,
    evidence,
    exchange,
    jcs,
    key_hash,
    leaf_of,
    members_of,
    question,
    sha256,
)
from tests.support.slow_platform import SlowPlatform

ME = "analytics"
# SEC 2: the order of P-256.
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Guest(LiveGuest):
    """A guest whose session is completed, on a device that a test can hold."""

    def __init__(self) -> None:
        super().__init__(World(), device=self._device)

    def _device(self, platform: Any) -> SlowPlatform:
        self.slow = SlowPlatform(platform)
        return self.slow

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return "127.0.0.1", int(self.url.rpartition(":")[2])


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    """A guest at the end of a session that nobody has asked anything of yet."""
    with Guest() as running:
        running.released().wait_for("completed")
        yield running


@pytest.fixture
def tls(guest: Guest) -> Iterator[SSL.Connection]:
    """A participant's connection."""
    mine = tls_identity(ME)
    with connected(guest.address, key=mine.key, certificate=mine.certificate) as connection:
        yield connection


def manifest_hash(guest: Guest) -> bytes:
    """Return the manifest's hash (docs/spec/framing.md)."""
    return sha256(b"2cvm.manifest.v1\x00" + guest.world.raw)


def proven(guest: Guest, tls: SSL.Connection, nonce: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Return the report and the claims of a channel's evidence, checked."""
    members = evidence(exchange(tls, *question(nonce)))
    claims = {"ctx": b"2cvm/channel/v1", "nonce": nonce, "binder": binder(tls, nonce)}
    report = check(
        members, claims={**claims, "pubkey-hash": key_hash(leaf_of(tls)[1]), "manifest": manifest_hash(guest)}
    )
    return report, cbor2.loads(members["claims"][1])


def heads(report_id: bytes, events: list[dict[str, Any]]) -> list[bytes]:
    """Return the head after each number of events (docs/spec/log.md, 1)."""
    chain = [sha256(b"2cvm.log.v1\x00" + report_id)]
    for event in events:
        chain.append(sha256(b"2cvm.log.v1\x00" + chain[-1] + jcs(event)))
    return chain


def get(tls: SSL.Connection, path: str) -> Any:
    """Return the JSON of an answer, which is its own canonical form."""
    kind, body = exchange(tls, "GET", path)
    assert kind == "application/json"
    value = json.loads(body)
    assert jcs(value) == body
    return value


def signed(statement: dict[str, Any], *, label: bytes, keys: dict[str, str]) -> dict[str, Any]:
    """Verify a statement under the key that the manifest has for its participant, and return the signed object."""
    given = {name: value for name, value in statement.items() if name not in ("key", "signature")}
    spki, signature = b64url(statement["key"]), b64url(statement["signature"])
    assert sha256(spki).hex() == keys[given["participant"]]
    message, key = label + b"\x00" + jcs(given), load_der_public_key(spki)
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, message)
    else:
        half = len(signature) // 2
        r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
        hashed = hashes.SHA384() if half == 48 else hashes.SHA256()
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashed))
    return given


def test_log_leads_from_the_launch_to_the_proof(guest: Guest, tls: SSL.Connection) -> None:
    """The chain from this REPORT_ID over the served events ends in the head that the chip signed."""
    report, claims = proven(guest, tls, b"\x01" * 32)
    events = get(tls, "/v1/log")["events"]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert int.from_bytes(claims["events"], "big") == len(events)
    assert heads(report[0x140:0x160], events)[-1] == claims["log"]


def test_log_tells_of_the_consents_and_goes_that_were_signed(guest: Guest, tls: SSL.Connection) -> None:
    """Lock, goes and roster in the log are those of statements that verify under the manifest's own keys."""
    report, _ = proven(guest, tls, b"\x02" * 32)
    agreement, roster = get(tls, "/v1/manifest"), get(tls, "/v1/roster")
    events = get(tls, "/v1/log")["events"]
    assert jcs(agreement["manifest"]) == guest.world.raw
    keys = {entry["name"]: entry["consent"]["spki_sha256"] for entry in agreement["manifest"]["participants"]}
    manifest = manifest_hash(guest).hex()
    for consent in agreement["consents"]:
        given = signed(consent, label=b"2cvm.consent.v1", keys=keys)
        assert given == {"manifest": manifest, "participant": given["participant"]}
    lock = {"seq": 1, "type": "lock", "manifest": manifest, "consents": sha256(jcs(agreement["consents"])).hex()}
    assert events[1] == lock
    goes = [signed(go, label=b"2cvm.go.v1", keys=keys) for go in roster["goes"]]
    assert roster["complete"]
    assert [go["participant"] for go in goes] == sorted(keys)
    spki = leaf_of(tls)[1]
    for go in goes:
        assert (go["manifest"], go["report_id"]) == (manifest, report[0x140:0x160].hex())
        assert go["guest_spki_sha256"] == sha256(spki).hex()
    logged = {event["participant"]: event["sha256"] for event in events if event["type"] == "go"}
    assert logged == {go["participant"]: sha256(jcs(go)).hex() for go in goes}
    (digest,) = [event["digest"] for event in events if event["type"] == "roster"]
    assert digest == sha256(b"2cvm.roster.v1\x00" + jcs(goes)).hex()


def test_receipt_is_what_the_specification_makes_of_the_session(guest: Guest, tls: SSL.Connection) -> None:
    """The statement, made again from manifest, roster, log and output, is the one that key and chip signed."""
    report, _ = proven(guest, tls, b"\x03" * 32)
    served, events, goes = get(tls, "/v1/receipt"), get(tls, "/v1/log")["events"], get(tls, "/v1/roster")["goes"]
    kind, output = exchange(tls, "GET", "/v1/outputs/model")
    assert kind == "application/octet-stream"
    spki = leaf_of(tls)[1]
    envelope = served["receipt"]
    statement = base64.b64decode(envelope["payload"], validate=True)
    expected = _statement(guest, report, spki, events=events, goes=goes, output=output)
    assert json.loads(statement) == expected
    assert statement == jcs(expected)

    pae = b"DSSEv1 28 application/vnd.in-toto+json %d " % len(statement) + statement
    (signature,) = envelope["signatures"]
    assert (signature["keyid"], envelope["payloadType"]) == (sha256(spki).hex(), "application/vnd.in-toto+json")
    raw = base64.b64decode(signature["sig"], validate=True)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    assert len(raw) == 64
    assert s <= P256_ORDER // 2
    load_der_public_key(spki).verify(encode_dss_signature(r, s), pae, ec.ECDSA(hashes.SHA256()))

    members = members_of(served["evidence"])
    claims = {"ctx": b"2cvm/receipt/v1", "pubkey-hash": key_hash(spki), "manifest": manifest_hash(guest)}
    receipt_report = check(members, claims={**claims, "statement": sha256(pae)})
    received = cbor2.loads(members["claims"][1])
    head = heads(report[0x140:0x160], events)[-1]
    assert (received["log"], received["events"]) == (head, len(events).to_bytes(8, "big"))
    for start, size in ((0x008, 8), (0x090, 48), (0x0C0, 32), (0x140, 32), (0x1A0, 64)):
        assert receipt_report[start : start + size] == report[start : start + size]


def test_batch_proves_each_of_its_connections(guest: Guest) -> None:
    """Connections that ask while the device works share one report, and each path leads from its leaf to the root."""
    nonces = [bytes([number]) * 32 for number in range(10, 16)]
    with ExitStack() as stack:
        tls = [stack.enter_context(connected(guest.address)) for _ in nonces]
        with guest.slow.held():
            ask(tls[0], *question(nonces[0]))
            guest.slow.wait_until_called()
            for connection, nonce in zip(tls[1:], nonces[1:], strict=True):
                ask(connection, *question(nonce))
            _until_waiting(guest, len(nonces) - 1)
        given = [evidence(answer(connection)) for connection in tls]
        assert "path" not in given[0]
        reports = set()
        for connection, nonce, members in zip(tls[1:], nonces[1:], given[1:], strict=True):
            kind, path = members["path"]
            assert kind == "application/octet-stream"
            assert path
            node = sha256(b"\x00" + nonce + binder(connection, nonce))
            for start in range(0, len(path), 33):
                side, sibling = path[start], path[start + 1 : start + 33]
                node = sha256(b"\x01" + (node + sibling if side else sibling + node))
            claims = {"ctx": b"2cvm/batch/v1", "root": node, "manifest": manifest_hash(guest)}
            reports.add(check(members, claims={**claims, "pubkey-hash": key_hash(leaf_of(connection)[1])}))
    assert len(reports) == 1


def _until_waiting(guest: Guest, count: int) -> None:
    for _ in range(1000):
        if len(guest.guest.agent._broker._callers) >= count:
            return
        guest.stopping.wait(0.01)
    raise TimeoutError(f"want {count} who wait for the device")


def _statement(
    guest: Guest, report: bytes, spki: bytes, *, events: list[Any], goes: list[Any], output: bytes
) -> dict[str, Any]:
    """Make the statement of docs/spec/receipt.md, 2."""
    manifest = json.loads(guest.world.raw)
    commitments = {name: value for go in goes for name, value in go["items"].items()}
    (roster,) = [event["digest"] for event in events if event["type"] == "roster"]
    (own,) = (one for one in manifest["outputs"] if ME in one["recipients"])
    made = {
        "name": own["name"],
        "sha256": sha256(output).hex(),
        "bytes": len(output),
        "filters": own.get("filters", []),
    }
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "urn:2cvm:receipt:v1",
        "subject": [
            {"name": "manifest", "digest": {"sha256": sha256(guest.world.raw).hex()}},
            {"name": f"output:{own['name']}", "digest": {"sha256": sha256(output).hex()}},
        ],
        "predicate": {
            "participant": ME,
            "report_id": report[0x140:0x160].hex(),
            "manifest": manifest_hash(guest).hex(),
            "guest_spki_sha256": sha256(spki).hex(),
            "roster": roster,
            "components": sorted(
                ({"name": one["name"], "sha256": one["sha256"]} for one in manifest["components"]),
                key=lambda one: one["name"],
            ),
            "inputs": sorted(
                (
                    {"name": one["name"], "participant": one["owner"], "commitment": commitments[one["name"]]}
                    for one in manifest["data"]
                ),
                key=lambda one: one["name"],
            ),
            "outputs": [made],
            "other_outputs": sorted(one["name"] for one in manifest["outputs"] if one != own),
            "outcome": "completed",
            "log": {"head": heads(report[0x140:0x160], events)[-1].hex(), "events": len(events)},
        },
    }
