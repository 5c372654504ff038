"""The examples in C: the committed bytes, what they compute, held against others' code, and what they refuse."""

from __future__ import annotations

import csv
import hashlib
import json
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.bare_component import RUN_INTERFACE, BareComponent
from tools import make_example_data

from twocvm_guest.main import run as twocvm

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "components"
FEATURES = ROOT / "examples" / "demo" / "data" / "hospital-a" / "features.csv"
DIAGNOSES = ROOT / "examples" / "demo" / "data" / "hospital-b" / "diagnoses.csv"
BANKS = [EXAMPLES / "group-by" / f"bank-{side}.csv" for side in "ab"]
WEIGHTS = EXAMPLES / "inference" / "weights.csv"
SMALL_WEIGHTS = b"layer,unit,input,weight\n0,0,0,1.5\n0,0,bias,-1\n0,1,1,-2\n1,0,0,3\n1,0,1,1\n1,0,bias,0.5\n"


@pytest.fixture(scope="module")
def group_by() -> BareComponent:
    """The committed group-by, compiled once."""
    return BareComponent(EXAMPLES / "group-by.wasm")


@pytest.fixture(scope="module")
def inference() -> BareComponent:
    """The committed inference, compiled once."""
    return BareComponent(EXAMPLES / "inference.wasm")


def grouped(component: BareComponent, a: bytes, b: bytes) -> bytes | None:
    """The groups of two sides, or None where the component says that it failed."""
    with tempfile.TemporaryDirectory() as scratch:
        result = component.run(Path(scratch), {"a": a, "b": b}, ["groups"])
    return None if result is None else result["groups"]


def scored(component: BareComponent, weights: bytes, features: bytes) -> bytes | None:
    """The scores of a network, or None where the component says that it failed."""
    with tempfile.TemporaryDirectory() as scratch:
        result = component.run(Path(scratch), {"weights": weights, "features": features}, ["scores"])
    return None if result is None else result["scores"]


def rows(text: str) -> list[list[str]]:
    """The lines of a CSV text after the first."""
    return list(csv.reader(text.splitlines()))[1:]


@pytest.mark.parametrize("name", ["group-by", "inference"])
def test_a_committed_example_is_small_and_has_its_digest(name: str) -> None:
    """What ships is what its digest says, small, and reaches files and its author's own eyes, nothing else."""
    content = (EXAMPLES / f"{name}.wasm").read_bytes()
    assert f"{hashlib.sha256(content).hexdigest()}  {name}.wasm" in (EXAMPLES / "SHA256SUMS").read_text().splitlines()
    assert len(content) < 200_000
    component = BareComponent(EXAMPLES / f"{name}.wasm")
    allowed = ("cli/stderr", "filesystem/preopens", "filesystem/types", "io/error", "io/streams")
    assert component.imports == {f"wasi:{each}@0.2.0" for each in allowed}
    assert component.exports == {RUN_INTERFACE}


def test_the_data_is_what_its_program_makes() -> None:
    """Payments and weights are those of their program; arithmetic elsewhere may differ in the last digits."""
    generator = make_example_data.random.Random(20261122)
    for bank in BANKS:
        assert make_example_data.payments(generator, 200) == bank.read_text()
    made, committed = rows(make_example_data.network()), rows(WEIGHTS.read_text())
    assert [line[:3] for line in made] == [line[:3] for line in committed]
    np.testing.assert_allclose([float(x[3]) for x in made], [float(x[3]) for x in committed], rtol=1e-4, atol=1e-7)


def test_group_by_is_what_sqlite_computes(tmp_path, monkeypatch, capsys) -> None:
    """A local run of the example's manifest gives the groups of the same query in SQLite."""
    monkeypatch.chdir(tmp_path)
    local = ["run", "--local", str(EXAMPLES / "group-by" / "manifest.toml"), "--out", "out"]
    data = ["--data", f"payments-a={BANKS[0]}", "--data", f"payments-b={BANKS[1]}"]
    assert twocvm([*local, *data, "--component", f"group-by={EXAMPLES / 'group-by.wasm'}"]) == 0
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE payments (sector TEXT, amount REAL)")
        for bank in BANKS:
            database.executemany("INSERT INTO payments VALUES (?, ?)", rows(bank.read_text()))
        expected = database.execute(
            "SELECT sector, count(*), sum(amount), min(amount), max(amount) FROM payments GROUP BY sector ORDER BY 1"
        ).fetchall()
    database.close()
    found = rows((tmp_path / "out" / "groups").read_text())
    assert [line[0] for line in found] == [line[0] for line in expected]
    np.testing.assert_allclose(
        [[float(cell) for cell in line[1:]] for line in found], [line[1:] for line in expected], rtol=1e-12
    )
    assert "ended well" in capsys.readouterr().out


def test_inference_is_what_numpy_computes(tmp_path, monkeypatch, capsys) -> None:
    """A local run of the example's manifest gives numpy's scores, and they tell malignant from benign."""
    monkeypatch.chdir(tmp_path)
    local = ["run", "--local", str(EXAMPLES / "inference" / "manifest.toml"), "--out", "out", "-o", "json"]
    data = ["--data", f"weights={WEIGHTS}", "--data", f"features={FEATURES}"]
    assert twocvm([*local, *data, "--component", f"inference={EXAMPLES / 'inference.wasm'}"]) == 0
    fuel = json.loads(capsys.readouterr().out)["nodes"][0]["fuel"]
    hidden, bias, last, end = np.zeros((8, 30)), np.zeros(8), np.zeros(8), 0.0
    for layer, unit, position, weight in rows(WEIGHTS.read_text()):
        if layer == "0" and position == "bias":
            bias[int(unit)] = float(weight)
        elif layer == "0":
            hidden[int(unit), int(position)] = float(weight)
        elif position == "bias":
            end = float(weight)
        else:
            last[int(position)] = float(weight)
    patients = rows(FEATURES.read_text())
    inputs = np.array([[float(cell) for cell in line[1:]] for line in patients])
    expected = 1 / (1 + np.exp(-(np.maximum(inputs @ hidden.T + bias, 0) @ last + end)))
    found = {name: float(score) for name, score in rows((tmp_path / "out" / "scores").read_text())}
    assert list(found) == [line[0] for line in patients]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-9, atol=1e-12)
    diagnosed = {name: diagnosis == "malignant" for name, diagnosis in rows(DIAGNOSES.read_text()) if name in found}
    assert np.mean([diagnosed[name] == (found[name] > 0.5) for name in diagnosed]) > 0.95
    assert twocvm([*local, *data, "--component", f"inference={EXAMPLES / 'inference.wasm'}"]) == 0
    assert json.loads(capsys.readouterr().out)["nodes"][0]["fuel"] == fuel > 0


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(b"", b"k,v\n", id="empty"),
        pytest.param(b"k,v\nx,1", b"k,v\n", id="no line feed at the end"),
        pytest.param(b"k,v\nx,nan\n", b"k,v\n", id="not finite"),
        pytest.param(b"k,v\nx,1,2\n", b"k,v\n", id="too many cells"),
        pytest.param(b"k,v,w\nx,1,2\n", b"k,v,w\n", id="three columns"),
        pytest.param(b"k,v\nx,1\n", b"k,w\nx,1\n", id="other names"),
        pytest.param(b"k,v\nx,1\n", b"j,v\nx,1\n", id="other key"),
    ],
)
def test_group_by_refuses_what_is_no_table(group_by: BareComponent, a: bytes, b: bytes) -> None:
    """Two sides that are not both strictly tables of the same columns fail the component, in either order."""
    assert grouped(group_by, a, b) is None
    assert grouped(group_by, b, a) is None


def test_group_by_of_nothing_is_a_table_of_names(group_by: BareComponent) -> None:
    """Sides without rows give names alone; order and side of the rows change nothing."""
    assert grouped(group_by, b"k,v\n", b"k,v\n") == b"k,count,sum,minimum,maximum\n"
    one, other = b"k,v\nb,2\na,0.1\nb,-1\n", b"k,v\na,0.2\n"
    assert grouped(group_by, one, other) == grouped(group_by, other, one)


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param(SMALL_WEIGHTS + b"2,0,0,1\n", id="a third layer"),
        pytest.param(SMALL_WEIGHTS + b"0,64,0,1\n", id="a unit too many"),
        pytest.param(SMALL_WEIGHTS + b"0,0,64,1\n", id="an input too many"),
        pytest.param(SMALL_WEIGHTS + b"1,1,0,1\n", id="two scores"),
        pytest.param(SMALL_WEIGHTS + b"0,0,0.5,1\n", id="half an input"),
        pytest.param(SMALL_WEIGHTS + b"0,-1,0,1\n", id="a negative unit"),
        pytest.param(SMALL_WEIGHTS + b"0,0,0,inf\n", id="not finite"),
        pytest.param(SMALL_WEIGHTS + b"0,0,5,1\n", id="more inputs than features"),
        pytest.param(b"layer,unit,weight\n0,0,1\n", id="three columns"),
        pytest.param(b"", id="empty"),
    ],
)
def test_inference_refuses_weights_that_are_none(inference: BareComponent, weights: bytes) -> None:
    """Weights that do not make a network of its form, for these features, fail the component."""
    features = b"name,x,y\np,1,2\nq,-1,-0.5\n"
    assert scored(inference, SMALL_WEIGHTS, features) is not None
    assert scored(inference, weights, features) is None


@pytest.mark.parametrize("features", [b"", b"name,x\np,1\n", b"name,x,y\np,1,z\n", b"name,x,y\np,1,1e999\n"])
def test_inference_refuses_features_that_are_none(inference: BareComponent, features: bytes) -> None:
    """Features of another width, or that are no finite numbers, fail the component."""
    assert scored(inference, SMALL_WEIGHTS, features) is None


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, len(SMALL_WEIGHTS) - 1), removed=st.integers(0, 20), inserted=st.binary(max_size=20))
def test_inference_never_traps(inference: BareComponent, position: int, removed: int, inserted: bytes) -> None:
    """Damaged weights give scores or a failure; a trap would be raised here."""
    damaged = SMALL_WEIGHTS[:position] + inserted + SMALL_WEIGHTS[position + removed :]
    result = scored(inference, damaged, b"name,x,y\np,1,2\n")
    assert result is None or result.startswith(b"name,score\np,")


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 30), removed=st.integers(0, 20), inserted=st.binary(max_size=20))
def test_group_by_never_traps(group_by: BareComponent, position: int, removed: int, inserted: bytes) -> None:
    """A damaged side gives groups or a failure; a trap would be raised here."""
    side = b"k,v\na,1\nb,2.5\na,-3\nc,1e300\n"
    result = grouped(group_by, side[:position] + inserted + side[position + removed :], b"k,v\na,1e308\n")
    assert result is None or result.startswith(b"k,count,sum")
