"""Evidence bundles: the same verdict years later, whole and strict, and nothing believed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.amd import AT, fake_amd
from tests.support.manifests import World
from tests.support.vectorfiles import ROOT, read
from tests.support.vectors import genuine_reports, require_vectors
from tools import make_vectors_bundle

from twocvm_verifier import Policy, Unchecked, amd_roots
from twocvm_verifier.advisories import shipped_advisories
from twocvm_verifier.bundle import MAX_BUNDLE_BYTES, Bundle, Case, bundle_of, judge, parse_bundle, rejudge
from twocvm_verifier.errors import BindingError, MalformedError, TwoCvmError
from twocvm_verifier.manifest.platform import BitDemand
from twocvm_verifier.result import Status, Verdict
from twocvm_verifier.snp.product import Product
from twocvm_verifier.strictjson import canonical

MILAN = fake_amd(Product.MILAN)
SIMULATED = fake_amd(Product.SIMULATED)
GENUINE = read(ROOT / "bundle" / "genuine.txt")
REQUIRED = ("schema", "judged_at", "report", "vek", "policy", "advisories", "result")


def case(**changes) -> Case:
    """Return a whole case that is accepted, with these changes."""
    whole = Case(
        report=MILAN.report(),
        vek=MILAN.vcek(),
        chain=MILAN.chain(),
        crl=None,
        manifest=None,
        policy=Policy.builtin(),
        advisories=shipped_advisories(),
        judged_at=AT,
    )
    return replace(whole, **changes)


def allow_simulation(document) -> None:
    """Let a manifest accept a simulated platform."""
    document["platform"] |= {"simulated": True, "products": ["Simulated"]}


def bundled(given: Case, *, amd=MILAN) -> bytes:
    """Return the bundle of a case."""
    return bundle_of(given, judge(given, roots=amd.roots())).encode()


def test_the_vector_is_what_is_made_and_judged():
    """The same bytes from the same evidence, today and in any year: accepted as a bundle, refused for DEBUG."""
    assert make_vectors_bundle.genuine() == GENUINE
    appraisal = rejudge(parse_bundle(GENUINE.payload), roots=amd_roots())
    assert {finding.code for finding in appraisal.findings} == {GENUINE.values["code"]}
    assert canonical(appraisal.to_json()) == canonical(json.loads(GENUINE.payload)["result"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"chain": None},
        {"crl": b"not a list"},
        {"report": MILAN.report(policy=0xB0000)},
        {"report": MILAN.report(chip_id=bytes(64))},
        {"policy": replace(Policy.builtin(), vmpl=Unchecked("a test"), measurements=(bytes(48),))},
        {"advisories": ()},
    ],
    ids=["whole", "no chain", "crl", "refused", "not authentic", "policy", "no advisories"],
)
def test_a_bundle_is_judged_again_byte_for_byte(changes):
    """Accepted, refused and not authentic alike; the file is its own canonical form."""
    given = case(**changes)
    raw = bundled(given)
    bundle = parse_bundle(raw)
    assert bundle.case == given
    assert bundle.encode() == raw
    again = rejudge(bundle, roots=MILAN.roots())
    assert bundle_of(bundle.case, again).encode() == raw


def test_genuine_evidence_is_bundled():
    """Every genuine report of the vectors, with its own chain's time, comes back the same."""
    require_vectors()
    for genuine in genuine_reports():
        given = case(report=genuine.report, vek=genuine.vek, chain=None, judged_at=genuine.at)
        raw = bundle_of(given, judge(given, roots=amd_roots())).encode()
        assert rejudge(parse_bundle(raw), roots=amd_roots()).authentic


def test_a_manifest_is_judged_with_the_evidence():
    """Its demands, HOST_DATA and its half of REPORT_DATA; the other half is a connection's, and over."""
    manifest = World(edit=allow_simulation).manifest
    measurement = manifest.platform.measurements[0]
    fields = {"version": 5, "measurement": measurement, "report_data": bytes(32) + manifest.hash}
    good = case(report=SIMULATED.report(**fields), vek=SIMULATED.vcek(), chain=None, manifest=manifest)
    raw = bundled(good, amd=SIMULATED)
    bundle = parse_bundle(raw)
    assert bundle.case.manifest.raw == manifest.raw
    appraisal = rejudge(bundle, roots=SIMULATED.roots())
    status = {check.id: check.status for check in appraisal.checks}
    assert status["binding.manifest"] is status["binding.host_data"] is Status.PASS
    assert status["manifest.platform.measurement"] is Status.PASS
    for wrong, code in (
        ({"report_data": manifest.hash + bytes(32)}, "REPORT_DATA_MISMATCH"),
        ({"host_data": b"x" * 32}, "HOST_DATA_MISMATCH"),
        ({"measurement": b"x" * 48}, "MEASUREMENT_MISMATCH"),
    ):
        refused = judge(replace(good, report=SIMULATED.report(**fields | wrong)), roots=SIMULATED.roots())
        assert code in {finding.code for finding in refused.findings}


def test_simulated_evidence_needs_its_root_again():
    """A bundle brings no root: under AMD's it is not what it says."""
    given = case(report=SIMULATED.report(), vek=SIMULATED.vcek(), chain=None)
    raw = bundled(given, amd=SIMULATED)
    assert rejudge(parse_bundle(raw), roots=SIMULATED.roots()).verdict is Verdict.WARNING
    with pytest.raises(BindingError) as caught:
        rejudge(parse_bundle(raw), roots=amd_roots())
    assert caught.value.code == "BUNDLE_VERDICT_DIFFERS"


WHOLE = json.loads(bundled(case()))


@pytest.mark.parametrize("name", REQUIRED)
def test_every_required_member_is_needed(name):
    """Without one of them it is no bundle."""
    with pytest.raises(MalformedError) as caught:
        parse_bundle(canonical({key: value for key, value in WHOLE.items() if key != name}))
    assert caught.value.code == "MALFORMED_BUNDLE"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"schema": "twocvm/bundle/v2"}, "MALFORMED_BUNDLE"),
        ({"more": 1}, "MALFORMED_BUNDLE"),
        ({"judged_at": "yesterday"}, "MALFORMED_BUNDLE"),
        ({"judged_at": 3}, "MALFORMED_BUNDLE"),
        ({"report": "A="}, "MALFORMED_BUNDLE"),
        ({"vek": 3}, "MALFORMED_BUNDLE"),
        ({"chain": []}, "MALFORMED_BUNDLE"),
        ({"crl": "*"}, "MALFORMED_BUNDLE"),
        ({"result": []}, "MALFORMED_BUNDLE"),
        ({"advisories": {}}, "MALFORMED_BUNDLE"),
        ({"advisories": [3]}, "MALFORMED_ADVISORY"),
        ({"advisories": WHOLE["advisories"][:1] * 2}, "MALFORMED_ADVISORY"),
        ({"policy": {}}, "MALFORMED_BUNDLE"),
        ({"policy": {"vmpl": 7}}, "MALFORMED_POLICY"),
        ({"policy": "builtin"}, "MALFORMED_POLICY"),
        ({"manifest": {}}, "MALFORMED_MANIFEST"),
        ({"manifest": "x"}, "MALFORMED_MANIFEST"),
        ({"report": "AAAA"}, "MALFORMED_REPORT"),
        ({"vek": "AAAA"}, "MALFORMED_VEK"),
    ],
    ids=str,
)
def test_members_keep_their_own_rules(change, code):
    """Each member that is not of its form is refused, by the code of its format."""
    with pytest.raises(MalformedError) as caught:
        rejudge(parse_bundle(canonical(WHOLE | change)), roots=MILAN.roots())
    assert caught.value.code == code


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", canonical(WHOLE) + b"\n", json.dumps(WHOLE).encode(), b"[]", b"x" * (MAX_BUNDLE_BYTES + 1)],
    ids=["empty", "cut", "new line", "white space", "array", "large"],
)
def test_other_bytes_are_no_bundle(raw):
    """Only canonical bytes, and not too many."""
    with pytest.raises(MalformedError) as caught:
        parse_bundle(raw)
    assert caught.value.code == "MALFORMED_BUNDLE"


JSON = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.text("abc=", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "name", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.sampled_from([*WHOLE, "crl", "manifest", "new"]), JSON)
def test_reading_is_total(name, value):
    """Whatever a member is, the answer is a verdict or a refusal of ours."""
    raw = canonical(WHOLE | {name: value})
    try:
        again = rejudge(parse_bundle(raw), roots=MILAN.roots())
    except TwoCvmError:
        return
    assert bundle_of(parse_bundle(raw).case, again).encode() == raw


@given(st.binary(max_size=200))
def test_bytes_are_read_totally(raw):
    """Any bytes are a bundle or refused as malformed."""
    with pytest.raises(MalformedError):
        parse_bundle(raw)


@pytest.mark.parametrize("result", [{"verdict": "affirming"}, {"verdict": ["x" * 100]}, {}])
def test_another_result_is_refused_in_few_words(result):
    """What a bundle claims is shown quoted and short."""
    with pytest.raises(BindingError) as caught:
        rejudge(Bundle(case=case(), result=canonical(result)), roots=MILAN.roots())
    assert caught.value.code == "BUNDLE_VERDICT_DIFFERS"
    assert len(caught.value.detail) < 140


def test_a_policy_that_cannot_be_written_makes_no_bundle():
    """A policy of the program's own that leaves DEBUG open without a reason has no document."""
    given = case(policy=replace(Policy.builtin(), guest_policy=BitDemand(required=0, forbidden=0)))
    with pytest.raises(ValueError, match="cannot be written"):
        bundled(given)
