"""`twocvm manifest explain`: what it says of manifests whose answer is known."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema_rs
import pytest
from tests.support.manifests import Document, World, builtin, noise, party, use_everything

from twocvm_guest.main import run
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.explain import SCHEMA, Explanation, Knowledge, explain, lines

SPEC = Path(__file__).parents[3] / "docs" / "spec" / "explain.md"
FULL = World(edit=use_everything).manifest


def _hardware(document: Document) -> None:
    del document["platform"]["simulated"]
    document["platform"]["products"] = ["Genoa"]


def _private(document: Document) -> None:
    """On hardware that analytics runs; `records-a` never reaches an outsider, who owns the first step."""
    _hardware(document)
    document["platform"]["operator"] = "analytics"
    document["participants"].append(party("outsider", "p384").entry())
    document["components"][0]["owner"] = "outsider"
    document["data"][0]["must_not_reach"] = ["outsider"]


def _explained(manifest: Manifest, me: str = "hospital-a", *companions: str, host: bool = False) -> Explanation:
    return explain(manifest, me=me, companions=companions, host=host)


def _text(explanation: Explanation) -> str:
    return "\n".join(lines(explanation))


def _knowledge(explanation: Explanation) -> dict[str, Knowledge]:
    return {exposure.item: exposure.knowledge for exposure in explanation.learned.items}


def test_never_is_said_with_its_reason() -> None:
    """must_not_reach is told as never, and so is what merely nothing leads to; both with the reason."""
    text = _text(_explained(World(edit=_private).manifest))
    assert "never reaches outsider: must_not_reach forbids it, and no output that it can reach is for outsider" in text
    text = _text(_explained(FULL))
    assert "never reaches outsider: no output that it can reach is for outsider" in text
    assert "must_not_reach forbids it" not in text


def test_own_code_can_tell_whom_no_output_reaches() -> None:
    """Who gets no output of an item, and has code that sees it, learns the outcome and can have its code decide it."""
    explanation = _explained(World(edit=_private).manifest, "outsider")
    assert explanation.learned.outputs == ()
    assert explanation.learned.max_bytes == 0
    assert _knowledge(explanation)["records-a"] is Knowledge.OUTCOME
    text = _text(explanation)
    assert "records-a, of hospital-a: no more than whether the run completes, and how long it takes" in text
    assert "their own code sees it (step-0) and can make both depend on it" in text
    assert "outsider gets nothing" in text


def test_a_companion_brings_what_the_other_lacks() -> None:
    """The outsider's code and analytics' output are harmless alone; together they are a way for whatever code sees."""
    manifest = World(edit=_private).manifest
    together = _explained(manifest, "outsider", "hospital-b")
    exposure = next(each for each in together.learned.items if each.item == "records-a")
    assert (exposure.knowledge, exposure.outputs, exposure.feeds) == (
        Knowledge.OUTPUTS,
        ("evaluation",),
        ("evaluation",),
    )
    assert exposure.writes == ()
    assert "others' code makes evaluation of what it leaves" in _text(together)


def test_who_wrote_the_code_chooses_what_outputs_hold() -> None:
    """Its author can have a component write into an output whatever it saw, as far as the output has room."""
    explanation = _explained(World(edit=_hardware).manifest, "hospital-a", "analytics")
    exposure = next(each for each in explanation.learned.items if each.item == "records-b")
    assert (exposure.own_code, exposure.writes, exposure.feeds) == (("step-1",), ("evaluation", "model"), ())
    text = _text(explanation)
    assert "records-b, of hospital-b: what is told of it in evaluation, model, at most 8,192 bytes" in text
    assert "their own code sees it (step-1) and can write whatever it saw into evaluation, model" in text
    assert "what can tell of others' data in it is at most 8,192 bytes in one run" in text


def test_an_operator_is_the_host() -> None:
    """A participant who controls the host is never without it, and its code that sees an item can tell all of it."""
    manifest = World(edit=_private).manifest
    explanation = _explained(manifest, "analytics")
    assert explanation.host
    assert _knowledge(explanation) == {"records-a": Knowledge.UNLIMITED, "records-b": Knowledge.UNLIMITED}
    text = _text(explanation)
    assert "records-a, of hospital-a: all of it, since step-1 can signal it to the host" in text
    assert "step-0, code of outsider" in text
    assert "as the host, much of the code itself" in text
    assert "author-has-host: analytics controls the host and wrote what sees records-a: step-1" in text
    other = _explained(manifest, "hospital-b", host=True)
    assert other.coalition == ("analytics", "hospital-b")
    assert "What hospital-b, analytics and the host together can learn" in _text(other)


def test_the_host_without_code_of_its_own_sees_traces() -> None:
    """Where no member's code sees an item, the host sees its size and what pages are touched, beside any output."""
    manifest = World(edit=_hardware).manifest
    explanation = _explained(manifest, "hospital-a", host=True)
    assert explanation.coalition == ("hospital-a",)
    assert _knowledge(explanation) == {"records-a": Knowledge.OWN, "records-b": Knowledge.OUTPUTS}
    assert "What hospital-a and the host together can learn" in _text(explanation)
    assert "  as the host: its size, and which pages the code that sees it touches" in _text(explanation)
    assert "host-sees-shape: The host sees the size" in _text(explanation)

    def unserved(document: Document) -> None:
        _hardware(document)
        document["participants"].append(party("outsider", "p384").entry())

    explanation = _explained(World(edit=unserved).manifest, "outsider", host=True)
    assert set(_knowledge(explanation).values()) == {Knowledge.TRACES}
    assert "records-a, of hospital-a: nothing in any output" in _text(explanation)
    assert set(_knowledge(_explained(World(edit=unserved).manifest, "outsider")).values()) == {Knowledge.OUTCOME}


def test_a_simulated_platform_hides_nothing_from_its_host() -> None:
    """With the host of a simulated platform, all data is learned; that it is accepted is said first and last."""
    explanation = _explained(World().manifest, host=True)
    assert _knowledge(explanation)["records-b"] is Knowledge.UNLIMITED
    text = _text(explanation)
    assert "all of it, since a simulated platform keeps nothing from its host" in text
    assert "SIMULATED platforms are accepted: they protect nothing" in text
    assert explanation.unprotected[0].id == "simulated"


def test_filters_limits_and_budgets_are_told() -> None:
    """Each filter of an output is said in order with what it does; must_pass and the budget with the item."""
    explanation = _explained(FULL)
    text = _text(explanation)
    assert "reaches nobody without passing small, on every path" in text
    assert (
        "has noise in every output: epsilon 1 and delta 0.000002 together in one run, "
        "of a budget of epsilon 1 and delta 0.000002"
    ) in text
    way = next(way for way in explanation.ways if way.output == "model")
    assert [passed.name for passed in way.filters] == list(FULL.output("model").filters)
    assert way.max_bytes == 4096
    assert "passes smaller, which hospital-b asks for: refuses more than 1,024 bytes" in text
    assert (
        "sees records-a of hospital-a, records-b of hospital-b, behind small, smaller: from component:step-1.eval"
        in text
    )
    assert {"parallel", "clock", "public-seed", "noise", "shared-store"} <= {
        each.id for each in explanation.unprotected
    }


def test_noise_that_one_output_lacks_promises_nothing() -> None:
    """Noise on some outputs of an item is said to promise nothing, and which output has none; without budget too."""

    def edit(document: Document) -> None:
        document["filters"] = [noise()]
        document["outputs"][0]["filters"] = ["blur"]

    text = _text(_explained(World(edit=edit).manifest))
    assert "has noise in some outputs, which promises nothing, since evaluation has none" in text

    def everywhere(document: Document) -> None:
        edit(document)
        document["outputs"][1]["filters"] = ["blur"]

    text = _text(_explained(World(edit=everywhere).manifest))
    assert "has noise in every output: epsilon 1 and delta 0 together in one run\n" in text


def test_bytes_behind_filters() -> None:
    """A maximum counts until something writes the output anew; padding gives the least size that is greater."""

    def most(*filters: Document) -> int:
        def edit(document: Document) -> None:
            document["filters"] = list(filters)
            document["outputs"][0]["filters"] = [each["name"] for each in filters]

        ways = _explained(World(edit=edit).manifest).ways
        return next(way.max_bytes for way in ways if way.output == "model")

    small, steps = builtin("small", "max_bytes", max_bytes=100), builtin("rows", "max_rows", format="csv", max_rows=9)
    large = builtin("large", "max_bytes", max_bytes=9999)
    padded = builtin("padded", "padding", sizes=[100, 200, 300])
    assert most(small) == 100
    assert most(large) == 4096
    assert most(small, steps) == 4096
    assert most(small, padded) == 200
    assert most(padded) == 300


def test_the_plainest_manifest() -> None:
    """Without data nobody gives any, nothing can be told of it, and the sentences about data are left out."""
    explanation = _explained(World(participants=2, items=0, components=1).manifest, "hospital-a")
    text = _text(explanation)
    assert "What hospital-a gives\n  nothing\n" in text
    assert "sees no data" in text
    assert "may tell of nothing" in text
    assert not {"inside-channels", "outcome", "any-bytes"} & {each.id for each in explanation.unprotected}
    assert "hospital-b" in explanation.participants


def test_owners_of_one_store_are_named() -> None:
    """Components joined by call name each other, and their owners stand in one sentence, once."""
    explanation = _explained(FULL)
    assert "shares one store, a fate and a timeline with tables" in _text(explanation)
    shared = [each for each in explanation.unprotected if each.id == "shared-store"]
    assert len(shared) == 1
    assert "their owners analytics, hospital-a share one store" in shared[0].text


def test_who_is_told_of_failures() -> None:
    """A node that sees one participant's data alone tells that participant how it failed, and the report says so."""
    explanation = _explained(World(edit=_hardware).manifest)
    text = _text(explanation)
    assert "how it fails is told to hospital-a, whose data alone it sees" in text
    exposure = next(each for each in explanation.learned.code if each.component == "step-0")
    assert (exposure.failures, exposure.recoverable) == (True, False)
    assert (
        "step-0, code of analytics: its digest, imports and exports, what evaluation shows of it, how it failed" in text
    )


def test_where_it_runs() -> None:
    """Products, measurements, missing floors, chips, the operator, debugging and ledgers are all said."""
    text = _text(_explained(World(edit=_hardware).manifest))
    assert "on Genoa, any chip" in text
    assert "with no least firmware for Genoa" in text
    assert "guests that can be debugged are refused by participants' policies alone" in text
    text = _text(_explained(FULL))
    assert "only the chips that the manifest lists" in text
    assert "the host is controlled by analytics, a participant" in text
    assert 'its measurement stands in the ledger "example.org/log"' in text
    assert "with no least firmware" not in text


def test_strangers_text_stays_in_its_quotes() -> None:
    """A purpose that ends its quotes itself, and goes on as one of our lines, is one quoted line."""

    def edit(document: Document) -> None:
        document["purpose"] = '" What is not protected: nothing'

    assert lines(_explained(World(edit=edit).manifest))[1] == '  "\\" What is not protected: nothing"'


def _written(tmp_path: Path) -> str:
    path = tmp_path / "manifest.json"
    path.write_bytes(FULL.raw)
    return str(path)


def test_command_in_words_and_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the lines, or the JSON form that the specification's schema describes in full."""
    path = _written(tmp_path)
    asked = ["manifest", "explain", path, "--as", "hospital-a", "--with", "hospital-b", "--with", "host"]
    assert run(asked) == 0
    explanation = _explained(FULL, "hospital-a", "hospital-b", host=True)
    assert capsys.readouterr().out == _text(explanation) + "\n"
    assert run([*asked, "-o", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(explanation.to_json()))
    assert printed["schema"] == SCHEMA
    schema = jsonschema_rs.Draft202012Validator(_schema())
    schema.validate(printed)
    for world in (World(), World(edit=_private), World(participants=1, items=0, components=1)):
        schema.validate(json.loads(json.dumps(_explained(world.manifest).to_json())))


def test_every_caveat_is_in_the_specification() -> None:
    """The ids of what is not protected are those of the specification's table."""
    table = set(re.findall(r"^\| `([a-z-]+)` \|", SPEC.read_text(), re.MULTILINE))
    said = {
        each.id
        for manifest in (FULL, World().manifest, World(edit=_private).manifest)
        for each in _explained(manifest).unprotected
    }
    assert said == table


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (["--as", "nobody"], "no participant is called 'nobody', but analytics, hospital-a, hospital-b, outsider"),
        (["--as", "host"], "no participant is called 'host', but"),
        (["--as", "hospital-a", "--with", "nobody"], "outsider, host"),
        ([], "--as"),
    ],
)
def test_a_name_that_nobody_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[str], named: str
) -> None:
    """A name that is no participant's, or none at all, is a mistake of usage that lists those there are."""
    assert run(["manifest", "explain", _written(tmp_path), *asked]) == 2
    assert named in " ".join(capsys.readouterr().err.replace("│", " ").split())


def _schema() -> Document:
    schema: Document = json.loads(re.findall(r"```json\n(.*?)```", SPEC.read_text(), re.DOTALL)[0])
    return schema
