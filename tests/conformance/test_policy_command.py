"""`twocvm policy` as a person or a script meets it."""

from __future__ import annotations

import json

import pytest
from tests.support.amd import AT, fake_amd
from tests.support.azure import PCRS, FakeAzure

from twocvm_guest.main import run
from twocvm_verifier import Policy, framing, parse_policy
from twocvm_verifier.binding import NOT_LOCKED, LogPosition, cert_claims
from twocvm_verifier.clock import format_time
from twocvm_verifier.evidence import Evidence, encode_cbor, encode_json
from twocvm_verifier.snp.product import Product

SIMULATED = fake_amd(Product.SIMULATED)


@pytest.fixture
def shell(capsys):
    """Return a function that runs `twocvm` and gives exit status, standard output and standard error."""

    def call(*arguments):
        status = run(list(map(str, arguments)))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture
def evidence(tmp_path):
    """Return a function that writes a simulated report and gives the options that judge it."""

    def write(**fields):
        files = {"report": SIMULATED.report(**fields), "vek": SIMULATED.vcek(), "root": SIMULATED.chain()}
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        given = ["--vek", tmp_path / "vek", "--simulated-root", tmp_path / "root", "--at", format_time(AT)]
        return tmp_path / "report", [*given, "--chain", tmp_path / "root"]

    return write


def test_a_drafted_policy_accepts_its_evidence(shell, evidence, tmp_path):
    """From report to policy to verdict, and another guest is refused by it."""
    report, given = evidence()
    out = tmp_path / "policy.toml"
    assert shell("policy", "new", "--from-evidence", report, *given, "--out", out, "--name", "mine") == (0, "", "")
    assert parse_policy(out.read_text()).name == "mine"
    assert shell("appraise", "--report", report, *given, "--policy", out, "-q")[0] == 0
    report, given = evidence(measurement=bytes(48))
    status, _, err = shell("appraise", "--report", report, *given, "--policy", out, "-q")
    assert (status, err.split(":")[0]) == (11, "MEASUREMENT_MISMATCH")


def test_a_draft_of_a_paravisors_evidence_names_its_pcrs(shell, tmp_path):
    """From evidence as a guest sends it, JSON or CBOR, with its certificate inside; another start is refused by it."""
    azure, log = FakeAzure(), LogPosition(head=bytes(32), events=1)
    claims = cert_claims(spki_sha256=bytes(32), manifest=NOT_LOCKED, log=log)
    evidence, root = tmp_path / "evidence", tmp_path / "root"
    root.write_bytes(SIMULATED.chain())
    given = ["--simulated-root", root, "--at", format_time(AT)]

    def sent(pcrs):
        digest = framing.sha256(b"".join(pcrs))
        member = azure.bound_to(claims.report_data(), pcrs=pcrs, pcr_digest=digest)
        report = SIMULATED.report(report_data=azure.report_data())
        return Evidence(report=report, claims=claims.encode(), vek=SIMULATED.vcek(), azure=member)

    out = tmp_path / "policy.toml"
    for encode in (encode_json, encode_cbor):
        evidence.write_bytes(encode(sent(PCRS)))
        assert shell("policy", "new", "--from-evidence", evidence, *given, "--out", out) == (0, "", "")
        assert parse_policy(out.read_text()).pcrs["sha256"].named[4] == (PCRS[4],)
        assert "# None of them is the chip's word" in out.read_text()
    assert shell("appraise", "--report", evidence, *given, "--policy", out, "-q")[0] == 0
    evidence.write_bytes(encode_json(sent((*PCRS[:4], bytes(32), *PCRS[5:]))))
    status, _, err = shell("appraise", "--report", evidence, *given, "--policy", out, "-q")
    assert (status, err.split(":")[0]) == (11, "PCR_MISMATCH")
    assert f"PCR 4 is {PCRS[4].hex()}" in shell("policy", "explain", out)[1]
    assert "pcrs.sha256.others" in shell("policy", "check", out)[1]


def test_a_draft_goes_to_standard_output_and_warns(shell, evidence):
    """The policy alone on standard output; what the evidence itself does not meet on standard error."""
    report, given = evidence(policy=0xB0000)
    status, out, err = shell("policy", "new", "--from-evidence", report, *given)
    assert status == 0
    assert parse_policy(out).guest_policy.forbidden & 1 << 19
    assert out.startswith("# Drafted from one Simulated report")
    assert "does not meet it: DEBUG_ALLOWED" in err


def test_only_authentic_evidence_makes_a_policy(shell, evidence, tmp_path):
    """Without the certificate 40, with a report that was changed 10, and nothing is written."""
    report, given = evidence()
    out = tmp_path / "policy.toml"
    status, _, err = shell("policy", "new", "--from-evidence", report, "--out", out)
    assert (status, err.split(":")[0]) == (40, "VEK_MISSING")
    changed = bytearray(report.read_bytes())
    changed[0x90] ^= 1
    report.write_bytes(changed)
    assert shell("policy", "new", "--from-evidence", report, *given, "--out", out)[0] == 10
    assert not out.exists()


def test_check_says_what_is_open(shell, evidence, tmp_path):
    """By field, with the reason, and whether its author wrote it; exit 0 for a policy that decides something."""
    file = tmp_path / "policy.toml"
    file.write_text('name = "ours"\nmeasurements = { unchecked = "the manifest pins them" }\n')
    status, out, err = shell("policy", "check", file)
    assert (status, err) == (0, "")
    assert "measurements\n  open on purpose: the manifest pins them" in out
    assert "nothing is said, and the built-in policy" in out
    status, out, _ = shell("policy", "check", file, "-o", "json")
    result = json.loads(out)
    assert (status, result["schema"], result["sound"]) == (0, "twocvm/policy-check/v1", True)
    assert {"field": "measurements", "reason": "the manifest pins them", "by_default": False} in result["open"]


@pytest.mark.parametrize("text", ["", 'name = "empty"', 'platform_info.required = ["ecc_en"]'])
def test_check_refuses_a_policy_that_decides_nothing(shell, tmp_path, text):
    """Exit 11, in text and as JSON, with what to do about it."""
    file = tmp_path / "policy.toml"
    file.write_text(text)
    status, out, err = shell("policy", "check", file)
    assert (status, err.split(":")[0]) == (11, "POLICY_EMPTY")
    assert "measurements" in out
    status, out, _ = shell("policy", "check", file, "-o", "json")
    assert (status, json.loads(out)["sound"]) == (11, False)


def test_explain_says_every_demand(shell):
    """Field by field, with the digest that results name."""
    status, out, _ = shell("policy", "explain", "builtin")
    assert status == 0
    assert f"builtin   sha256 {Policy.builtin().sha256.hex()}" in out
    assert "\nguest_policy: What the guest was launched" in out
    assert "migrate_ma must be clear, debug must be clear" in out
    status, out, _ = shell("policy", "explain", "builtin", "-o", "json")
    assert {"field", "about", "demands"} == set(json.loads(out)[0])


@pytest.mark.parametrize("command", ["check", "explain"])
def test_what_is_no_policy_is_malformed(shell, tmp_path, command):
    """Exit 30 for text that is no policy, 2 for a file that is not there."""
    file = tmp_path / "policy.toml"
    for content in (b"measurements = []", b"\xff"):
        file.write_bytes(content)
        assert shell("policy", command, file)[0] == 30
    assert shell("policy", command, tmp_path / "none")[0] == 2


def test_a_file_that_cannot_be_written_is_a_usage_error(shell, evidence, tmp_path):
    """Exit 2, and the name of the file."""
    report, given = evidence()
    status, _, err = shell("policy", "new", "--from-evidence", report, *given, "--out", tmp_path / "no" / "where")
    assert status == 2
    assert "No such file" in err
