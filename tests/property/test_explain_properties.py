"""What `explain` says equals what every path says, and one more of anything never makes less of what flows."""

from __future__ import annotations

from typing import Final, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.manifests import Document
from tests.support.random_manifests import PEOPLE, Walked, another_channel, documents

from twocvm_verifier.manifest import parse_manifest
from twocvm_verifier.manifest.author import canonical_bytes
from twocvm_verifier.manifest.explain import Explanation, Knowledge, explain, lines
from twocvm_verifier.manifest.explain.facts import KNOWLEDGE_ORDER

EXAMPLES = settings(max_examples=40)
COALITIONS = st.tuples(st.sampled_from(PEOPLE), st.sets(st.sampled_from(PEOPLE)), st.booleans())


Coalition: TypeAlias = tuple[str, set[str], bool]
ALONE: Final[Coalition] = ("analytics", set(), False)


def _explained(document: Document, coalition: Coalition = ALONE) -> Explanation:
    me, companions, host = coalition
    return explain(parse_manifest(canonical_bytes(document)), me=me, companions=companions, host=host)


@EXAMPLES
@given(documents())
def test_reach_is_what_the_paths_say(document: Document) -> None:
    """Who sees an item, who it can reach and who never, and what outputs tell of, are what walking every path finds."""
    walked, explanation = Walked(document), _explained(document)
    for item in explanation.items:
        assert set(item.seen_by) == walked.seen_by(item.name)
        assert {reached.participant for reached in item.reaches} == walked.reached(item.name)
        assert {never.participant for never in item.never} == set(PEOPLE) - walked.reached(item.name)
        for reached in item.reaches:
            outputs = {
                name for name in walked.told_in(item.name) if reached.participant in walked.outputs[name]["recipients"]
            }
            assert set(reached.outputs) == outputs
            assert reached.max_bytes == sum(_most_bytes(walked.outputs[name]) for name in outputs)
    for way in explanation.ways:
        assert set(way.items) == {item for item in walked.items if way.output in walked.told_in(item)}
        assert way.max_bytes == _most_bytes(walked.outputs[way.output])


@EXAMPLES
@given(documents())
def test_code_is_what_the_paths_say(document: Document) -> None:
    """What each component sees, and in which outputs it has a part, are what walking every path finds."""
    walked, explanation = Walked(document), _explained(document)
    assert {code.component for code in explanation.code} >= {
        entry["name"] for entry in document["components"] if entry["name"] != "cleaner"
    }
    for code in explanation.code:
        sees = {sight.item for sight in code.sees}
        if code.filters:
            assert code.outputs == {code.filters}
            assert sees == {item for item in walked.items if code.filters in walked.told_in(item)}
        else:
            assert code.outputs == walked.made_from(f"component:{code.component}")
            assert sees == {item for item in walked.items if code.component in walked.seen_by(item)}
        assert all(sight.arrivals for sight in code.sees)


@EXAMPLES
@given(documents(), COALITIONS, st.sampled_from(["Simulated", "Genoa"]))
def test_what_a_coalition_learns_is_what_the_paths_say(document: Document, drawn: Coalition, product: str) -> None:
    """An item is told in exactly the outputs of the coalition that it reaches; own code and the host tell all of it."""
    document["platform"] |= {"simulated": product == "Simulated", "products": [product]}
    walked, explanation = Walked(document), _explained(document, drawn)
    members = set(explanation.coalition)
    operator = document["platform"]["operator"]
    assert explanation.host == (drawn[2] or operator in members)
    assert {drawn[0], *drawn[1]} <= members
    for exposure in explanation.learned.items:
        told = {
            name for name in walked.told_in(exposure.item) if members.intersection(walked.outputs[name]["recipients"])
        }
        assert set(exposure.outputs) == told
        assert exposure.max_bytes == sum(_most_bytes(walked.outputs[name]) for name in told)
        assert set(exposure.own_code) == {
            name for name in walked.seen_by(exposure.item) if walked.owner[name] in members
        }
        assert set(exposure.writes) | set(exposure.feeds) == {
            name for name in told for code in exposure.own_code if name in _has_a_part_in(walked, code)
        }
        expected = Knowledge.TRACES if explanation.host else Knowledge.OUTCOME
        expected = Knowledge.OUTPUTS if told else expected
        if explanation.host and (product == "Simulated" or exposure.own_code):
            expected = Knowledge.UNLIMITED
        assert exposure.traced == explanation.host
        assert exposure.knowledge is (Knowledge.OWN if walked.owner[exposure.item] in members else expected)


@EXAMPLES
@given(documents(), COALITIONS, st.sampled_from([*PEOPLE, "host"]))
def test_one_member_more_learns_no_less(document: Document, drawn: Coalition, more: str) -> None:
    """Adding anybody to a coalition takes nothing away from what it learns, of data and of code."""
    me, companions, host = drawn
    for product in ("Simulated", "Genoa"):
        document["platform"] |= {"simulated": product == "Simulated", "products": [product]}
        less = _explained(document, drawn).learned
        larger = _explained(document, (me, companions | ({more} - {"host"}), host or more == "host"))
        greater = larger.learned
        assert set(less.outputs) <= set(greater.outputs)
        for before, after in zip(less.items, greater.items, strict=True):
            assert KNOWLEDGE_ORDER.index(before.knowledge) <= KNOWLEDGE_ORDER.index(after.knowledge)
            assert before.max_bytes <= after.max_bytes
            for name in ("outputs", "own_code"):
                assert set(getattr(before, name)) <= set(getattr(after, name))
            assert {*before.writes, *before.feeds} <= {*after.writes, *after.feeds}
            assert set(before.writes) <= set(after.writes)
        code = {each.component: each for each in greater.code}
        for before in less.code:
            after = code.get(before.component)
            # What is missing there has become the coalition's own.
            assert after is None or set(before.outputs) <= set(after.outputs)
            assert after is None or (before.failures <= after.failures and before.recoverable <= after.recoverable)
        owners = {each.component: each.owner for each in less.code}
        assert all(owners[name] in larger.coalition for name in owners.keys() - code.keys())


@EXAMPLES
@given(st.data())
def test_one_channel_more_reaches_no_less(data: st.DataObject) -> None:
    """Adding a channel takes nobody and nothing away from what an item reaches, and gives no participant a never."""
    document = data.draw(documents())
    before, after = _explained(document), _explained(another_channel(data.draw, document))
    for less, more in zip(before.items, after.items, strict=True):
        assert set(less.seen_by) <= set(more.seen_by)
        reached = {each.participant: each for each in more.reaches}
        for each in less.reaches:
            assert set(each.outputs) <= set(reached[each.participant].outputs)
            assert each.max_bytes <= reached[each.participant].max_bytes
        assert {each.participant for each in more.never} <= {each.participant for each in less.never}


@EXAMPLES
@given(documents(), COALITIONS)
def test_words_name_everybody(document: Document, drawn: Coalition) -> None:
    """The lines say of every item of `me` who gets it and who never does, by name."""
    explanation = _explained(document, drawn)
    text = "\n".join(lines(explanation))
    for item in explanation.items:
        if item.owner == explanation.me:
            own = text.partition(f"\n  {item.name}, which is data")[2]
            for reached in item.reaches:
                assert f"can reach {reached.participant}, in " in own
            for never in item.never:
                assert f"never reaches {never.participant}: " in own


def _has_a_part_in(walked: Walked, component: str) -> set[str]:
    made = walked.made_from(f"component:{component}")
    if component == "cleaner":
        made |= {name for name, output in walked.outputs.items() if "cleaned" in output.get("filters", ())}
    return made


def _most_bytes(output: Document) -> int:
    chain = tuple(output.get("filters", ()))
    # 100 as every output has it; `small` refuses more than 50, `cleaned` may leave 100 again, `padded` fills up.
    return {(): 100, ("small",): 50, ("small", "padded"): 64}.get(chain, 100)
