"""`twocvm appraise` with bundles, as a person or a script meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.amd import AT, fake_amd, pem
from tests.support.crls import crl_of
from tests.support.manifests import World
from tests.support.vectorfiles import ROOT, read

from twocvm_guest.main import run
from twocvm_verifier.clock import format_time
from twocvm_verifier.snp.product import Product
from twocvm_verifier.strictjson import canonical

GENUINE = Path(__file__).parents[2] / "examples" / "genuine"
SIMULATED = fake_amd(Product.SIMULATED)


@pytest.fixture
def shell(capsys):
    """Return a function that runs `twocvm appraise` and gives exit status, standard output and standard error."""

    def call(*arguments):
        status = run(["appraise", *map(str, arguments)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture
def evidence(tmp_path):
    """Return the options that judge simulated evidence, with everything that may come along."""
    world = World(edit=_allow_simulation)
    files = {
        "report": SIMULATED.report(report_data=bytes(32) + world.manifest.hash),
        "vek": pem(SIMULATED.vcek()),
        "chain": SIMULATED.chain(),
        "crl": crl_of(SIMULATED),
        "manifest": world.raw,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    given = [part for name in files for part in (f"--{name}", tmp_path / name)]
    return [*given, "--simulated-root", tmp_path / "chain", "--at", format_time(AT)]


def _allow_simulation(document):
    document["platform"] |= {"simulated": True, "products": ["Simulated"]}


def test_a_bundle_says_the_same_again(shell, evidence, tmp_path):
    """The same result, byte for byte, from the one file, with nothing else at hand but the root."""
    bundle = tmp_path / "bundle"
    status, out, _ = shell(*evidence, "--bundle-out", bundle, "-o", "json")
    assert (status, json.loads(out)["verdict"]) == (0, "warning")
    assert any(check["id"] == "binding.manifest" for check in json.loads(out)["checks"])
    for name in ("report", "vek", "crl", "manifest"):
        (tmp_path / name).unlink()
    root = tmp_path / "chain"
    assert shell("--bundle", bundle, "--simulated-root", root, "-o", "json") == (0, out, "")
    assert shell("--bundle", bundle)[0] == 10


def test_the_genuine_report_comes_back(shell, tmp_path):
    """The vector, judged again: authentic, refused for DEBUG, whatever the year."""
    bundle = tmp_path / "bundle"
    bundle.write_bytes(read(ROOT / "bundle" / "genuine.txt").payload)
    status, out, err = shell("--bundle", bundle, "-v")
    assert (status, err.split(":")[0]) == (11, "DEBUG_ALLOWED")
    assert "judged at 2026-11-22T00:00:00Z" in out
    assert "first: A made-up attack: snp is below 24" in out


def test_a_judge_brings_his_own_policy_and_time(shell, tmp_path):
    """Then the bundle's own verdict is not asked for, and his is given."""
    bundle, policy = tmp_path / "bundle", tmp_path / "policy"
    bundle.write_bytes(read(ROOT / "bundle" / "genuine.txt").payload)
    policy.write_text('guest_policy.unchecked = { debug = "an example" }\n')
    assert shell("--bundle", bundle, "--policy", policy, "-q")[0] == 0
    assert shell("--bundle", bundle, "--policy", "builtin", "-q")[0] == 11
    status, _, err = shell("--bundle", bundle, "--at", "2099-01-01T00:00:00Z", "-q")
    assert (status, err.split(":")[0]) == (10, "CHAIN_EXPIRED")


def test_a_changed_verdict_is_refused(shell, tmp_path):
    """Exit 10, and the error object for programs."""
    bundle = tmp_path / "bundle"
    value = json.loads(read(ROOT / "bundle" / "genuine.txt").payload)
    value["result"]["verdict"] = "affirming"
    bundle.write_bytes(canonical(value))
    status, out, err = shell("--bundle", bundle, "-o", "json")
    assert (status, err.split(":")[0]) == (10, "BUNDLE_VERDICT_DIFFERS")
    assert json.loads(out)["code"] == "BUNDLE_VERDICT_DIFFERS"


@pytest.mark.parametrize("content", [b"", b"{}", b"x" * (1 << 23)], ids=["empty", "object", "large"])
def test_what_is_no_bundle_is_malformed(shell, tmp_path, content):
    """Exit 30."""
    bundle = tmp_path / "bundle"
    bundle.write_bytes(content)
    assert shell("--bundle", bundle)[0] == 30


@pytest.mark.parametrize("name", ["report", "vek", "chain", "crl", "manifest"])
def test_a_bundle_has_its_own_evidence(shell, tmp_path, name):
    """Evidence beside a bundle is a usage error, and so is neither of both."""
    assert shell("--bundle", tmp_path / "bundle", f"--{name}", tmp_path / "file")[0] == 2
    assert shell("--vek", tmp_path / "file")[0] == 2


def test_malformed_evidence_makes_no_bundle(shell, tmp_path):
    """Where no rule can be asked, nothing is written."""
    report, bundle = tmp_path / "report", tmp_path / "bundle"
    report.write_bytes(bytes(3))
    assert shell("--report", report, "--vek", GENUINE / "vcek.der", "--bundle-out", bundle)[0] == 30
    assert not bundle.exists()


def test_a_bundle_may_go_to_standard_output(capsysbinary):
    """`-` is standard output, and the bundle stands there before the result, for a pipe that wants it alone: use -q."""
    arguments = ["--report", GENUINE / "report.bin", "--vek", GENUINE / "vcek.der", "--at", "2026-11-22T00:00:00Z"]
    status = run(["appraise", *map(str, arguments), "--bundle-out", "-", "-q"])
    out = capsysbinary.readouterr().out
    assert (status, out.startswith(b'{"advisories":')) == (11, True)
