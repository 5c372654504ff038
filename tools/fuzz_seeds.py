"""Where fuzzing begins: for each target, bytes that it accepts."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any
from uuid import UUID

import cbor2
from tests.support import corims
from tests.support.amd import AT, fake_amd
from tests.support.azure import FakeAzure, hcl_report
from tests.support.crls import ISSUER_SERIAL, crl_of
from tests.support.manifests import AT as SESSION_AT
from tests.support.manifests import World
from tests.support.sessions import PaperSession
from tests.support.vectorfiles import ROOT, read

from twocvm_guest.tls import build_certificate
from twocvm_verifier import Policy, evidence
from twocvm_verifier.advisories import shipped_advisories
from twocvm_verifier.binding import cert_claims, channel_claims
from twocvm_verifier.bundle import Case, bundle_of, judge
from twocvm_verifier.collateral import archive
from twocvm_verifier.manifest.consentkeys import spki_der
from twocvm_verifier.manifest.statements import Withdraw, sign_statement
from twocvm_verifier.policy.writing import policy_toml
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.strictjson import Json, base64url, canonical

NONCE = bytes(range(32))


def seeds() -> dict[str, list[bytes]]:
    """Return what each target begins with; a target that is missing here begins with nothing."""
    return _of_hardware() | _of_reference_values() | _of_azure() | _of_sessions() | _of_text()


def _of_hardware() -> dict[str, list[bytes]]:
    chips = [fake_amd(product) for product in Product]
    milan, simulated = fake_amd(Product.MILAN), fake_amd(Product.SIMULATED)
    return {
        "snp.report.parse_report": [chip.report(version=version) for chip in chips for version in (2, 3, 5)],
        "snp.vek.parse_vek": [chip.vcek() for chip in chips] + [milan.vlek()],
        "snp.roots.parse_chain": [milan.chain(), milan.chain(VekKind.VLEK)],
        "snp.roots.simulated_roots": [simulated.chain()],
        "snp.crl.parse_crl": [crl_of(milan), crl_of(milan, revoked=(ISSUER_SERIAL,))],
        "snp.certtable.parse_cert_table": [bytes(24), _table(milan.vcek())],
        "snp.tcb.parse_tcb": [milan.tcb],
    }


def _of_reference_values() -> dict[str, list[bytes]]:
    triple = corims.triple(
        {641: corims.digest(), 647: corims.svn(3), 7: corims.raw_value(bytes(8), b"\x01" + bytes(7))}
    )
    raw = corims.corim(triple)
    values = {"measurements": ["00" * 48], "vmpl": [0]}
    return {
        "corim.comid.parse_comid": [corims.comid(triple)],
        "corim.envelope.parse_corim": [raw],
        "corim.document.parse_reference_values": [raw, canonical({"values": values})],
        "policy.reference.parse_values": [canonical(values)],
        "service.mirror.parse_vcek_request": [
            b"Milan/" + b"0a" * 64 + b"?blSPL=4&teeSPL=00&snpSPL=24&ucodeSPL=219",
            b"Turin/" + b"0a" * 8 + b"?fmcSPL=1&blSPL=4&teeSPL=00&snpSPL=24&ucodeSPL=219",
        ],
        "strictcbor.parse_tagged": [raw, corims.comid(triple)],
    }


def _of_azure() -> dict[str, list[bytes]]:
    azure = FakeAzure()
    report = fake_amd(Product.MILAN).report(report_data=azure.report_data())
    member = azure.member(extra_data=NONCE)
    return {
        "azure.hcl.parse_hcl": [hcl_report(report, azure.runtime)],
        "azure.member.parse_member": [member.encode()],
        "azure.quote.parse_quote": [member.quote.raw],
        "azure.runtime.parse_runtime": [azure.runtime],
    }


def _of_sessions() -> dict[str, list[bytes]]:
    world = World()
    session = PaperSession(world)
    file = session.file("analytics")
    shared = {"spki_sha256": session.spki_sha256, "manifest": world.manifest.hash, "log": session.log.position}
    claims = [cert_claims(**shared), channel_claims(**shared, nonce=NONCE, binder=NONCE)]
    brought = session.evidence(claims[0])
    consent, go = session.consents[0], session.goes[0]
    party = world.party(world.names[0])
    withdrawal = sign_statement(
        party.consent_key,
        Withdraw(manifest=world.manifest.hash, participant=party.name, report_id=session.report_id),
    )
    return {
        "binding.parse_claims": [each.encode() for each in claims],
        "bundle.parse_bundle": [_bundle(world)],
        "dsse.parse_envelope": [canonical(file.receipt.to_json()["receipt"])],
        "eventlog.parse_log": [session.log.encode()],
        "evidence.from_json": [evidence.encode_json(brought)],
        "evidence.parse_cbor": [evidence.encode_cbor(brought)],
        "evidence.parse_json": [evidence.encode_json(brought)],
        "manifest.author.from_json": [world.raw],
        "manifest.consentkeys.parse_spki": [spki_der(world.party(name).consent_key) for name in world.names],
        "manifest.parse.parse_manifest": [world.raw, World(participants=2, components=1).raw],
        "service.evidence_forms.parse_presented": [canonical(_presented(brought))],
        "service.audit.checkpoint.parse_checkpoint": [
            f"e30.{base64url(canonical({'head': '00' * 32, 'log': '01' * 32, 'seq': 0}))}.AA".encode()
        ],
        "service.audit.record.parse_record": [
            line for line in read(ROOT / "audit" / "whole.txt").payload.splitlines() if line.endswith(b"}")
        ],
        "service.addresses.parse_address": [b"127.0.0.1:8443", b"[::1]:0"],
        "service.wrappers.parse_wrapped": [cbor2.dumps(["application/cmw+json", b"{}", 4], canonical=True)],
        "service.requests.parse_nonce": [base64url(NONCE).encode(), b"AAAAAAAAAAA="],
        "service.requests.parse_request": [canonical(_request(world, brought))],
        "manifest.roster.parse_statements": [canonical([each.to_json() for each in session.goes])],
        "manifest.statements.parse_statement_file Consent": [canonical(consent.to_json())],
        "manifest.statements.parse_statement_file Go": [canonical(go.to_json())],
        "manifest.statements.parse_statement_file Withdraw": [canonical(withdrawal.to_json())],
        "ratls.certificate.parse_certificate": [build_certificate(session.key, brought)],
        "receipt.parse_receipt": [file.receipt.encode()],
        "receipt_body.parse_body": [session.body(name).payload() for name in world.names],
        "receipt_file.parse_receipt_file": [file.encode()],
        "strictcbor.parse": [evidence.encode_cbor(brought), claims[0].encode()],
        "strictjson.parse": [world.raw],
        "strictjson.parse_canonical": [world.raw, session.log.encode()],
    }


def _presented(brought: evidence.Evidence) -> Json:
    return {"report": base64url(brought.report), "vek": base64url(brought.vek)}


def _request(world: World, brought: evidence.Evidence) -> Json:
    return {
        "evidence": {"cmw": evidence.to_json(brought)},
        "manifest": json.loads(world.raw),
        "policy": {"name": "a seed"},
        "expected_report_data": "00" * 64,
        "nonce": base64url(NONCE),
        "audience": "2cvm",
    }


def _of_text() -> dict[str, list[bytes]]:
    folder, world = resources.files("twocvm_verifier.advisories") / "data", World()
    advisories = [each.read_bytes() for each in folder.iterdir() if each.name.endswith(".toml")]
    return {
        "advisories.document.parse_advisory": advisories,
        "clock.parse_time": [f"{SESSION_AT:%Y-%m-%dT%H:%M:%SZ}".encode()],
        "collateral.archive.parse_archive": [_archive()],
        "manifest.author.from_toml": [_toml(world.document)],
        "policy.document.parse_policy": [policy_toml(Policy.builtin()).encode()],
        "snp.launch.parse_launch_prefix": [b"snp-launch-v1:" + b":".join([b"0a" * 48] * 3)],
        "strictjson.parse_base64url": [base64url(NONCE).encode()],
    }


def _toml(document: dict[str, Any]) -> bytes:
    return "".join(f"{key} = {_toml_value(value)}\n" for key, value in document.items()).encode()


def _toml_value(value: Any) -> str:  # noqa: ANN401 - whatever a document holds
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml_value(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return json.dumps(value)


def _table(vek: bytes) -> bytes:
    vcek = UUID("63da758d-e664-4564-adc5-f4b93be8accd").bytes_le
    return vcek + (48).to_bytes(4, "little") + len(vek).to_bytes(4, "little") + bytes(24) + vek


def _archive() -> bytes:
    vcek = Path(__file__).parents[1] / "examples" / "genuine" / "vcek.der"
    lists: dict[str, Json] = {"vcek_crls": [], "vlek_crls": []}
    return canonical({"schema": archive.SCHEMA, "vceks": [base64url(vcek.read_bytes())], **lists})


def _bundle(world: World) -> bytes:
    milan = fake_amd(Product.MILAN)
    case = Case(
        report=milan.report(),
        vek=milan.vcek(),
        chain=milan.chain(),
        crl=crl_of(milan),
        manifest=world.manifest,
        policy=Policy.builtin(),
        advisories=shipped_advisories()[:2],
        judged_at=AT,
    )
    return bundle_of(case, judge(case, roots=milan.roots())).encode()
