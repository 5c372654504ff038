"""Fuzzing misses no parser, begins with what is accepted, and its targets still say what a finding is."""

from __future__ import annotations

import ast
import random
import sys
from pathlib import Path

import pytest
from tools import fuzz
from tools.fuzz_seeds import seeds
from tools.fuzz_targets import INNER, NAMES, TARGETS, OtherSpellingError, Target, selector, try_selected

ROOT = Path(__file__).parents[3]
VERIFIER = ROOT / "verifier" / "twocvm_verifier"
SEEDS = seeds()
MUTATIONS = 25


def parsers() -> set[str]:
    """Return every function of the verifier package that reads bytes or text: `parse`, `parse_...`, `from_...`."""
    found = set()
    for path in VERIFIER.rglob("*.py"):
        module = ".".join(path.relative_to(VERIFIER).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and (node.name + "_").startswith(("parse_", "from_")):
                found.add(f"{module}.{node.name}")
    return found


def test_every_parser_is_fuzzed():
    """Who writes a parser adds it to `tools/fuzz_targets.py`, by itself or as a part of another."""
    fuzzed = {name.split(" ")[0] for name in TARGETS}
    assert sorted(parsers() - fuzzed - set(INNER)) == []
    assert set(INNER.values()) <= set(TARGETS)


def test_every_target_begins_with_something():
    """Without a seed, fuzzing would not come past a signature or a length."""
    assert set(SEEDS) == set(TARGETS)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_targets_accept_their_seeds_and_survive_what_is_near(name):
    """Each seed is accepted, and nothing near it is a finding; fuzzing asks the same for longer."""
    dice = random.Random(name)  # noqa: S311 - which byte is changed is no secret
    for seed in SEEDS[name]:
        assert TARGETS[name](seed), seed
        for _ in range(MUTATIONS):
            changed = bytearray(seed or b"\x00")
            changed[dice.randrange(len(changed))] ^= dice.randrange(1, 256)
            TARGETS[name](bytes(changed[: dice.choice([len(changed), dice.randrange(len(changed) + 1)])]))


def test_another_spelling_is_a_finding():
    """A parser that accepts what it would write in another way is found out, and so is a foreign error."""
    with pytest.raises(OtherSpellingError):
        Target(parse=bytes.strip, write=bytes)(b" x")
    with pytest.raises(ZeroDivisionError):
        Target(parse=lambda data: 1 // len(data))(b"")


def test_the_first_byte_chooses():
    """Every target has a byte of its own; other bytes, and none, choose nothing."""
    assert [try_selected(selector(name) + SEEDS[name][0]) for name in NAMES] == [True] * len(TARGETS)
    assert not try_selected(b"")
    assert not try_selected(b"\xff")


def test_a_machine_without_the_fuzzer_says_so(monkeypatch, capsys):
    """Nothing is left out silently."""
    monkeypatch.setattr(fuzz.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["fuzz"])
    assert fuzz.main() == 0
    assert "nothing is fuzzed" in capsys.readouterr().err


def test_a_finding_can_be_tried_again(tmp_path, monkeypatch, capsys):
    """With a file alone the tool says what the target makes of that input now."""
    file = tmp_path / "crash"
    file.write_bytes(selector("clock.parse_time") + b"2026-01-01T00:00:00Z")
    monkeypatch.setattr(sys, "argv", ["fuzz", str(file)])
    assert fuzz.main() == 0
    assert capsys.readouterr().out == "clock.parse_time: accepted\n"
