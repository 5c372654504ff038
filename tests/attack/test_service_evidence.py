"""Every lie about a chip, told to the verifier service over HTTP: the right status, the right code, the right token.

A negative verdict is 200 with the verdict in the body and in a token that says so; what is malformed is 400, and has
neither. The list is that of the verifier's own tests; here it is seen that nothing is lost on the way.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.support.amd import (
    AT,
    P384_ORDER,
    PSS_WITH_TRAILER,
    borrowed_names,
    extension,
    fake_amd,
    mark_extension,
    pem,
    sign_report,
    signature_of,
    spki,
    validity,
    with_signature,
)
from tests.support.certtables import GUIDS, table
from tests.support.crls import ISSUER_SERIAL, NEXT_UPDATE, THIS_UPDATE, crl_of, fields_of
from tests.support.manifests import MEASUREMENT
from tests.support.served import Served, served
from tests.support.vectors import genuine_reports, negative_files, require_vectors

from twocvm_verifier import Policy, strictjson
from twocvm_verifier.snp.der import IA5_STRING, encode, encode_integer
from twocvm_verifier.snp.names import VekKind, amd_name
from twocvm_verifier.snp.product import Product

MILAN, GENOA, TURIN = (fake_amd(product) for product in (Product.MILAN, Product.GENOA, Product.TURIN))
SIMULATED, FORGER = fake_amd(Product.SIMULATED), borrowed_names(Product.MILAN)
DAY = timedelta(days=1)
R, S = signature_of(MILAN.report())
SIGNED = MILAN.report_fields().signed_part()
# One in each field that nothing but the signature refuses.
SIGNED_OFFSETS = (
    0x04, 0x08, 0x10, 0x20, 0x38, 0x40, 0x50, 0x90, 0xC0, 0xE0, 0x110, 0x140, 0x160, 0x1E0, 0x1E8, 0x1F0, 0x200,
)  # fmt: skip
Evidence = dict[str, bytes]


def good(**changes: bytes) -> Evidence:
    """Return evidence that is affirmed, with these pieces in the place of its own."""
    return {"report": MILAN.report(measurement=MEASUREMENT), "vek": MILAN.vcek(), "crl": crl_of(MILAN)} | changes


def report(amd: Any = MILAN, **fields: Any) -> Evidence:
    """Return evidence whose report, signed by the right chip, says something else."""
    return good(report=amd.report(**{"measurement": MEASUREMENT} | fields))


def flipped(raw: bytes, offset: int, bit: int = 1) -> bytes:
    """Return `raw` with one bit changed."""
    return raw[:offset] + bytes([raw[offset] ^ bit]) + raw[offset + 1 :]


def signed_as(r: int, s: int) -> Evidence:
    """Return evidence whose report has these numbers as its signature."""
    return good(report=with_signature(SIGNED, r, s))


def vek(changed: dict[str, bytes | None] | None = None, **fields: Any) -> Evidence:
    """Return evidence whose VCEK is another."""
    return good(vek=MILAN.vcek(changed=changed, **fields))


def revoking(**fields: Any) -> Evidence:
    """Return evidence with another revocation list."""
    return good(crl=crl_of(MILAN, **fields))


def of(amd: Any, **fields: Any) -> Evidence:
    """Return another product's evidence, with such a list."""
    return {"report": amd.report(measurement=MEASUREMENT), "vek": amd.vcek(), "crl": crl_of(amd, **fields)}


def turned(value: int) -> int:
    """Return a number's bytes read in the other order."""
    return int.from_bytes(value.to_bytes(48, "little"), "big")


MALFORMED: dict[str, tuple[Callable[[], Evidence], str]] = {
    **{
        f"a report of {size} bytes": (lambda size=size: good(report=MILAN.report().ljust(size)[:size]), "REPORT")
        for size in (0, 1, 1183, 1185, 4000)
    },
    **{
        f"a report of version {version}": (
            lambda version=version: good(report=version.to_bytes(4, "little") + MILAN.report()[4:]),
            "REPORT",
        )
        for version in (0, 1, 2, 6, 2**32 - 1)
    },
    **{
        f"a reserved byte, {offset:#x}": (lambda offset=offset: good(report=flipped(MILAN.report(), offset)), "REPORT")
        for offset in (0x4C, 0x18B, 0x1EB, 0x1EF, 0x1F8, 0x29F, 0x2D0, 0x318, 0x49F)
    },
    "an unknown signature algorithm": (lambda: report(signature_algo=2), "REPORT"),
    "an unknown signing key": (lambda: report(flags=2 << 2), "REPORT"),
    "an unknown VMPL": (lambda: report(vmpl=4), "REPORT"),
    "an unknown bit of the policy": (lambda: report(policy=0x30000 | 1 << 26), "REPORT"),
    "a policy without its fixed bit": (lambda: report(policy=0x10000), "REPORT"),
    "R above its width": (lambda: signed_as(R + (P384_ORDER << 190), S), "REPORT"),
    "no certificate": (lambda: good(vek=b""), "VEK"),
    "junk for a certificate": (lambda: good(vek=b"junk"), "VEK"),
    "PEM in DER's place": (lambda: good(vek=pem(MILAN.vcek())), "VEK"),
    "trailing bytes": (lambda: vek(trailing=b"\x00"), "VEK"),
    "unused bits in the signature": (lambda: vek(unused_bits=4), "VEK"),
    "an outer algorithm of its own": (lambda: vek(outer_algorithm=PSS_WITH_TRAILER), "VEK"),
    "an oversize certificate": (lambda: vek(trailing=bytes(4096)), "VEK"),
    "a serial number": (lambda: vek(serial=encode_integer(1)), "VEK"),
    "another subject": (lambda: vek(subject=amd_name("VCEK")), "VEK"),
    "an RSA key": (lambda: vek(spki=spki(MILAN.keys.ask)), "VEK"),
    "a window that ends before it begins": (lambda: vek(validity=b"0"), "VEK"),
    "an unknown extension": (lambda: vek({"99": extension("99", b"x")}), "VEK"),
    "a critical extension": (lambda: vek({"1": extension("1", encode_integer(0), critical=True)}), "VEK"),
    "a simulated mark on one of AMD's": (lambda: vek({"mark": mark_extension()}), "VEK"),
    "no HWID": (lambda: vek({"4": None}), "VEK"),
    "a doubled HWID": (lambda: vek({"4": extension("4", MILAN.chip_id) * 2}), "VEK"),
    "a HWID in a wrapping": (lambda: vek({"4": extension("4", b"\x04\x40" + MILAN.chip_id)}), "VEK"),
    "an operator on a VCEK": (lambda: vek({"5": extension("5", encode(IA5_STRING, b"x"))}), "VEK"),
    "an unknown product": (lambda: vek({"2": extension("2", encode(IA5_STRING, b"Rome"))}), "VEK"),
    "a level that is missing": (lambda: vek({"3.8": None}), "VEK"),
    "a level that is negative": (lambda: vek({"3.8": extension("3.8", b"\x02\x01\xdb")}), "VEK"),
    "a level above 255": (lambda: vek({"3.8": extension("3.8", encode_integer(256))}), "VEK"),
    "a level that stands there twice": (lambda: vek({"3.8": extension("3.8", encode_integer(219)) * 2}), "VEK"),
    "a chain that is none": (lambda: good(chain=b"junk"), "CHAIN"),
    "a chain of one": (lambda: good(chain=pem(MILAN.ask())), "CHAIN"),
    "a chain of three": (lambda: good(chain=MILAN.chain() + pem(MILAN.ark())), "CHAIN"),
}  # fmt: skip
REFUSED: dict[str, tuple[Callable[[], Evidence], str]] = {
    **{
        f"a bit of the report at {offset:#x}": (
            lambda offset=offset: good(report=flipped(MILAN.report(version=5), offset)),
            "REPORT_SIGNATURE",
        )
        for offset in SIGNED_OFFSETS
    },
    "a relabelled version": (lambda: good(report=b"\x04" + MILAN.report()[1:]), "REPORT_SIGNATURE"),
    "R and S exchanged": (lambda: signed_as(S, R), "REPORT_SIGNATURE"),
    "R of zero": (lambda: signed_as(0, S), "REPORT_SIGNATURE"),
    "S of zero": (lambda: signed_as(R, 0), "REPORT_SIGNATURE"),
    "R and S of zero": (lambda: signed_as(0, 0), "REPORT_SIGNATURE"),
    "R at the order": (lambda: signed_as(P384_ORDER, S), "REPORT_SIGNATURE"),
    "S above the order": (lambda: signed_as(R, 2**384 - 1), "REPORT_SIGNATURE"),
    "the other byte order": (lambda: signed_as(turned(R), turned(S)), "REPORT_SIGNATURE"),
    "another chip's signature": (lambda: good(report=sign_report(SIGNED, FORGER.keys.vek)), "REPORT_SIGNATURE"),
    "a platform that does not sign": (lambda: report(flags=7 << 2), "REPORT_UNSIGNED"),
    "a VLEK's report with a VCEK": (lambda: report(flags=1 << 2), "SIGNING_KEY_MISMATCH"),
    "a VCEK's report with a VLEK": (lambda: good(vek=MILAN.vlek()), "SIGNING_KEY_MISMATCH"),
    "another chip's VEK": (lambda: vek({"4": extension("4", bytes(64))}), "CHIP_ID_MISMATCH"),
    "a masked chip id": (lambda: report(chip_id=bytes(64)), "CHIP_ID_MISMATCH"),
    **{
        f"another TCB's VEK, {arc} {step:+}": (
            lambda arc=arc, level=level, step=step: vek({arc: extension(arc, encode_integer(level + step))}),
            "VEK_TCB_MISMATCH",
        )
        for arc, level in (("3.1", 4), ("3.2", 0), ("3.3", 24), ("3.8", 219))
        for step in (1, -1)
        if level + step >= 0
    },
    "another product's VEK": (lambda: good(vek=GENOA.vcek()), "PRODUCT_MISMATCH"),
    "another product's report": (lambda: good(report=GENOA.report()), "PRODUCT_MISMATCH"),
    "a Turin report with a Milan VEK": (lambda: good(report=TURIN.report()), "PRODUCT_MISMATCH"),
    "another product's intermediate": (lambda: good(chain=GENOA.chain()), "CHAIN_INTERMEDIATE_UNKNOWN"),
    "an ASVK beside a VCEK": (lambda: good(chain=MILAN.chain(VekKind.VLEK)), "CHAIN_INTERMEDIATE_UNKNOWN"),
    "an ASVK above a VCEK": (
        lambda: vek(issuer=amd_name("SEV-VLEK-Milan"), signer=MILAN.keys.asvk),
        "VEK_KIND_MISMATCH",
    ),
    "an ASK above a VLEK": (
        lambda: good(
            report=MILAN.report(flags=1 << 2), vek=MILAN.vlek(issuer=amd_name("SEV-Milan"), signer=MILAN.keys.ask)
        ),
        "VEK_KIND_MISMATCH",
    ),
    "a forger's AMD": (lambda: good(report=FORGER.report(), vek=FORGER.vcek()), "VEK_SIGNATURE"),
    "a forger's AMD that brings its root": (
        lambda: good(report=FORGER.report(), vek=FORGER.vcek(), chain=FORGER.chain()),
        "CHAIN_ROOT_UNKNOWN",
    ),
    "a forger's root beside a genuine chip": (lambda: good(chain=FORGER.chain()), "CHAIN_ROOT_UNKNOWN"),
    "a simulated platform": (lambda: good(report=SIMULATED.report(), vek=SIMULATED.vcek()), "CHAIN_ISSUER_UNKNOWN"),
    "another issuer": (lambda: vek(issuer=amd_name("SEV-Rome")), "CHAIN_ISSUER_UNKNOWN"),
    "another salt": (lambda: vek(salt_bytes=32), "VEK_SIGNATURE"),
    "signed by the root": (lambda: vek(signer=MILAN.keys.ark), "VEK_SIGNATURE"),
    "an ended certificate": (lambda: vek(validity=validity(AT - 400 * DAY, AT - DAY)), "CHAIN_EXPIRED"),
    "a certificate of tomorrow": (lambda: vek(validity=validity(AT + DAY, AT + 400 * DAY)), "CHAIN_NOT_YET_VALID"),
    "debugging": (lambda: report(policy=0xB0000), "DEBUG_ALLOWED"),
    "migration": (lambda: report(policy=0x70000), "MIGRATION_ALLOWED"),
    "another measurement": (lambda: report(measurement=bytes(48)), "MEASUREMENT_MISMATCH"),
    "another VMPL": (lambda: report(vmpl=1), "VMPL_REFUSED"),
    "asked for by the host": (lambda: report(vmpl=0xFFFFFFFF), "VMPL_REFUSED"),
    "firmware that can be rolled back": (lambda: report(committed_version=(6, 55, 1)), "FIRMWARE_PROVISIONAL"),
}  # fmt: skip
# What was revoked once stays so, for everybody: what is sent first, and what is refused for it afterwards.
REVOKED: tuple[tuple[Callable[[], Evidence], Callable[[], Evidence]], ...] = (
    (lambda: revoking(revoked=(ISSUER_SERIAL,), number=10), good),
    (
        lambda: of(GENOA, revoked=(ISSUER_SERIAL,), this_update=AT - 9 * DAY, next_update=AT - DAY),
        lambda: of(GENOA, number=9),
    ),
)
# At rest a list that cannot be used is as if there were none, and is warned of by its own code.
WARNED: dict[str, tuple[Callable[[], Evidence], str]] = {
    "no list": (lambda: {name: piece for name, piece in good().items() if name != "crl"}, "CRL_MISSING"),
    # Each of another product, for the newest that was seen of one counts from then on.
    "an ended list": (lambda: of(GENOA, this_update=AT - 9 * DAY, next_update=AT - DAY), "CRL_STALE"),
    "a list of tomorrow": (lambda: of(TURIN, this_update=AT + DAY, next_update=AT + 9 * DAY), "CRL_NOT_YET_VALID"),
    "a flipped list": (lambda: good(crl=flipped(crl_of(MILAN), len(crl_of(MILAN)) - 9)), "CRL_SIGNATURE"),
    "another signer's list": (lambda: good(crl=crl_of(FORGER)), "CRL_SIGNATURE"),
    "another product's list": (lambda: good(crl=crl_of(GENOA, number=1)), "CRL_MISSING"),
    "a simulated platform's list": (lambda: good(crl=crl_of(SIMULATED)), "CRL_ISSUER_UNKNOWN"),
    "junk for a list": (lambda: good(crl=b"junk"), "MALFORMED_CRL"),
    "a list with unused bits": (lambda: good(crl=replace(fields_of(MILAN), unused_bits=4).der()), "MALFORMED_CRL"),
    "a list with another salt": (lambda: good(crl=replace(fields_of(MILAN), salt_bytes=32).der()), "CRL_SIGNATURE"),
}  # fmt: skip


def owners_policy() -> Policy:
    """Return a policy that names the guest."""
    return replace(Policy.builtin(), name="names a guest", measurements=(MEASUREMENT,))


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Served]:
    """A service of its own process that trusts our AMD."""
    with served(tmp_path_factory.mktemp("served"), policy=owners_policy()) as running:
        yield running


@pytest.fixture(scope="module")
def listless(tmp_path_factory) -> Iterator[Served]:
    """Another, which never saw a list that counts."""
    with served(tmp_path_factory.mktemp("listless"), policy=owners_policy()) as running:
        yield running


def ask(service: Served, evidence: Evidence, **members: Any) -> requests.Response:
    """Ask for a judgement, as a stranger."""
    pieces = {name: base64.urlsafe_b64encode(raw).rstrip(b"=").decode() for name, raw in evidence.items()}
    return requests.post(f"{service.url}/v1/appraise", json={"evidence": pieces} | members, timeout=20)


def claims_of(service: Served, token: str) -> dict[str, Any]:
    """Return what a token says, verified by the published keys."""
    keys = KeySet.import_key_set(requests.get(f"{service.url}/.well-known/jwks.json", timeout=10).json())
    return dict(jwt.decode(token, keys, algorithms=["ES256"]).claims)


def test_what_the_lies_differ_from_is_affirmed(service):
    """Evidence without a lie is affirmed, so that each refusal below is for the one thing that it changes."""
    answer = ask(service, good()).json()
    assert answer["appraisal"]["verdict"] == "affirming"
    assert claims_of(service, answer["token"])["2cvm.verdict"] == "affirming"


@pytest.mark.parametrize("lie", MALFORMED)
def test_what_is_malformed_has_no_verdict(service, lie):
    """Bytes that are not what they claim to be are 400 with their code, without a token."""
    evidence, code = MALFORMED[lie]
    answer = ask(service, evidence())
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.json()["code"] == f"MALFORMED_{code}"


@pytest.mark.parametrize("lie", REFUSED)
def test_a_lie_is_refused_in_body_and_token(service, lie):
    """Each is 200, contraindicated, with its code among those that failed, and the token says the same."""
    assert_refused(service, *REFUSED[lie])


def test_what_a_list_said_is_not_forgotten(tmp_path):
    """An older list is of no use after a newer one, and whatever was revoked once, in force or not, stays refused."""
    with served(tmp_path, policy=owners_policy()) as own:
        newest = crl_of(MILAN, number=9, this_update=THIS_UPDATE, next_update=AT + DAY)
        assert ask(own, good(crl=newest)).json()["appraisal"]["verdict"] == "affirming"
        own.later(2 * 86_400)
        older = ask(own, good(crl=crl_of(MILAN, number=3, next_update=NEXT_UPDATE))).json()["appraisal"]
        assert "CRL_ROLLED_BACK" in {check["code"] for check in older["checks"] if check["status"] == "warn"}
        own.later(0)
        for lie, later in REVOKED:
            assert_refused(own, lie, "CHAIN_REVOKED")
            assert_refused(own, later, "CHAIN_REVOKED")


def assert_refused(service: Served, evidence: Callable[[], Evidence], code: str) -> None:
    """See that evidence gets a negative verdict with a code, told in the body and in the token."""
    answer = ask(service, evidence())
    assert answer.status_code == 200, answer.text
    appraisal = answer.json()["appraisal"]
    assert (appraisal["verdict"], appraisal["secure"]) == ("contraindicated", False)
    assert code in {check["code"] for check in appraisal["checks"] if check["status"] == "fail"}
    said = claims_of(service, answer.json()["token"])
    assert (said["2cvm.verdict"], said["sub"]) == ("contraindicated", "2cvm:contraindicated")
    assert said["submods"]["cpu0"]["ear.status"] == "contraindicated"


@pytest.mark.parametrize("lie", WARNED)
def test_a_list_of_no_use_is_warned_of(listless, lie):
    """Without a list that counts nothing is affirmed, and the warning says what is wrong with the one that came."""
    evidence, code = WARNED[lie]
    appraisal = ask(listless, evidence()).json()["appraisal"]
    assert appraisal["verdict"] == "warning"
    assert code in {check["code"] for check in appraisal["checks"] if check["status"] == "warn"}


@pytest.mark.parametrize("unsound", ["overlap", "unterminated", "length"])
def test_a_hosts_table_that_is_none(service, unsound):
    """A table whose entries overlap, or that has no end, is malformed."""
    raw = table({GUIDS["vcek"]: MILAN.vcek(), GUIDS["intermediate"]: MILAN.ask()})
    broken = {
        "overlap": raw[:16] + (60).to_bytes(4, "little") + raw[20:],
        "unterminated": raw[:48],
        "length": raw[:20] + (1 << 30).to_bytes(4, "little") + raw[24:],
    }[unsound]
    answer = ask(service, {"report": MILAN.report(), "cert_table": broken})
    assert (answer.status_code, answer.json()["code"]) == (400, "MALFORMED_CERT_TABLE")


@pytest.mark.parametrize("path", negative_files(), ids=lambda path: path.name)
def test_evidence_that_others_tampered_with(path, tmp_path):
    """Published forgeries, beside a genuine chip's other half, are refused by a service that trusts AMD."""
    require_vectors()
    from tests.support.verifier_service import service as in_process

    from twocvm_verifier.snp.roots import amd_roots

    raw = path.read_bytes()
    with in_process(roots=amd_roots()) as client:
        for vector in genuine_reports()[::10]:
            pair = (
                {"report": raw, "vek": vector.vek} if path.suffix == ".bin" else {"report": vector.report, "vek": raw}
            )
            pieces = {name: strictjson.base64url(piece) for name, piece in pair.items()}
            answer = client.post("/v1/appraise", json={"evidence": pieces})
            assert answer.status_code in (200, 400)
            if answer.status_code == 200:
                assert answer.json()["appraisal"]["verdict"] == "contraindicated"
            else:
                assert answer.json()["code"] in ("MALFORMED_REPORT", "MALFORMED_VEK")
