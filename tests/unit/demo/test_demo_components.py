"""The demo's two components: the committed bytes, what they compute and what they refuse."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.bare_component import RUN_INTERFACE, BareComponent
from tests.support.demo_reference import compute

DEMO = Path(__file__).parents[3] / "examples" / "demo"
COMPONENTS = DEMO / "components"
FEATURES = DEMO / "data" / "hospital-a" / "features.csv"
DIAGNOSES = DEMO / "data" / "hospital-b" / "diagnoses.csv"

LARGEST_BYTES = 200_000
TOLERANCE = 1e-9

# Both classes among the patients of the training and of the test part.
PATIENTS = b"".join(b"p-%d,%d,%s\n" % (i, i * i % 7, b"malignant" if i % 3 else b"benign") for i in range(40))
TABLE = b"patient,size,diagnosis\n" + PATIENTS


@pytest.fixture(scope="module")
def join() -> BareComponent:
    """The committed join, compiled once."""
    return BareComponent(COMPONENTS / "join.wasm")


@pytest.fixture(scope="module")
def regression() -> BareComponent:
    """The committed regression, compiled once."""
    return BareComponent(COMPONENTS / "regression.wasm")


def run_join(join: BareComponent, features: bytes, diagnoses: bytes) -> bytes | None:
    """The joined table, or None where the component says that it failed."""
    with tempfile.TemporaryDirectory() as scratch:
        result = join.run(Path(scratch), {"features": features, "diagnoses": diagnoses}, ["table"])
    return None if result is None else result["table"]


def run_regression(regression: BareComponent, table: bytes) -> dict[str, bytes] | None:
    """Model and evaluation, or None where the component says that it failed."""
    with tempfile.TemporaryDirectory() as scratch:
        return regression.run(Path(scratch), {"table": table}, ["model", "evaluation"])


@pytest.mark.parametrize("name", ["join", "regression"])
def test_committed_component_is_small_and_has_its_digest(name: str) -> None:
    """A component that ships is the one whose digest ships, and small enough to be read in full."""
    content = (COMPONENTS / f"{name}.wasm").read_bytes()
    assert f"{hashlib.sha256(content).hexdigest()}  {name}.wasm" in (COMPONENTS / "SHA256SUMS").read_text().splitlines()
    assert len(content) < LARGEST_BYTES


@pytest.mark.parametrize("name", ["join", "regression"])
def test_component_reaches_files_and_nothing_else(name: str) -> None:
    """Neither component can ask for a clock, random numbers, arguments, standard streams or a network."""
    component = BareComponent(COMPONENTS / f"{name}.wasm")
    assert component.imports == {"wasi:filesystem/types@0.2.0", "wasi:filesystem/preopens@0.2.0"}
    assert component.exports == {RUN_INTERFACE}


def test_components_compute_what_numpy_computes(join: BareComponent, regression: BareComponent) -> None:
    """On the demo's data, coefficients and evaluation equal a direct computation to 1e-9."""
    table = run_join(join, FEATURES.read_bytes(), DIAGNOSES.read_bytes())
    assert table is not None
    result = run_regression(regression, table)
    assert result is not None
    model, evaluation = json.loads(result["model"]), json.loads(result["evaluation"])
    reference = compute(FEATURES, DIAGNOSES)
    assert tuple(model["coefficients"]) == reference.names
    np.testing.assert_allclose(list(model["coefficients"].values()), reference.coefficients, rtol=0, atol=TOLERANCE)
    assert model["intercept"] == pytest.approx(reference.intercept, abs=TOLERANCE)
    assert evaluation == pytest.approx(reference.evaluation, abs=TOLERANCE)


def test_join_keeps_the_patients_of_both_sides_in_order(join: BareComponent) -> None:
    """Only patients whom both sides know go on, sorted, whatever the order of the inputs."""
    features = b"patient,a,b\nz,1,2\nm,3,4\nb,5,6\n"
    diagnoses = b"patient,diagnosis\nb,benign\na,malignant\nz,malignant\n"
    expected = b"patient,a,b,diagnosis\nb,5,6,benign\nz,1,2,malignant\n"
    assert run_join(join, features, diagnoses) == expected


def test_join_of_strangers_is_an_empty_table(join: BareComponent) -> None:
    """Two sides without a common patient give a table with names alone."""
    joined = run_join(join, b"patient,a\nx,1\n", b"patient,diagnosis\ny,benign\n")
    assert joined == b"patient,a,diagnosis\n"


@pytest.mark.parametrize(
    "features",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"patient,a\nx,1", id="no line feed at the end"),
        pytest.param(b"patient,a\nx,1,2\n", id="too many cells"),
        pytest.param(b"patient,a\nx\n", id="too few cells"),
        pytest.param(b"patient,a\nx,\n", id="empty cell"),
        pytest.param(b"patient,a\n\nx,1\n", id="empty line"),
        pytest.param(b"patient,a\r\nx,1\r\n", id="carriage return"),
        pytest.param(b'patient,a\nx,"1"\n', id="quotes"),
        pytest.param(b"patient,a\nx,\x00\n", id="zero byte"),
        pytest.param("patient,a\nx,é\n".encode(), id="not ASCII"),
        pytest.param(b"patient,a\nx,1\nx,2\n", id="patient twice"),
        pytest.param(b"patient,a,a\nx,1,2\n", id="column twice"),
        pytest.param(b"name,a\nx,1\n", id="no patients"),
        pytest.param(b"patient,a\nx," + b"1" * 64 + b"\n", id="cell too long"),
        pytest.param(b"patient" + b"".join(b",c%d" % i for i in range(256)) + b"\n", id="too many columns"),
    ],
)
def test_join_refuses_a_malformed_table(join: BareComponent, features: bytes) -> None:
    """A table that is not strictly one fails the whole component: nothing is guessed."""
    assert run_join(join, features, b"patient,diagnosis\nx,benign\n") is None


def test_component_fails_without_its_input(join: BareComponent) -> None:
    """A missing port is a failure, never a trap or an empty result."""
    with tempfile.TemporaryDirectory() as scratch:
        assert join.run(Path(scratch), {"features": b"patient,a\nx,1\n"}, ["table"]) is None


@pytest.mark.parametrize("number", [b"nan", b"inf", b"0x10", b"1e999", b"1e", b"--1", b"1.2.3", b"1 ", b"."])
def test_regression_refuses_what_is_not_a_finite_number(regression: BareComponent, number: bytes) -> None:
    """A cell that is not a finite decimal number fails the component."""
    assert run_regression(regression, TABLE) is not None
    assert run_regression(regression, TABLE + b"more," + number + b",benign\n") is None


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(TABLE.replace(b"benign", b"malignant"), id="one class"),
        pytest.param(TABLE + b"more,1,perhaps\n", id="unknown diagnosis"),
        pytest.param(b"patient,diagnosis\nx,benign\n", id="no features"),
        pytest.param(TABLE.replace(b"diagnosis", b"outcome"), id="no diagnosis"),
        pytest.param(b"patient,size,diagnosis\n", id="no patients"),
    ],
)
def test_regression_refuses_a_table_without_an_answer(regression: BareComponent, table: bytes) -> None:
    """Where no model can be fitted or judged, the component fails."""
    assert run_regression(regression, table) is None


def test_constant_feature_has_no_weight(regression: BareComponent) -> None:
    """A feature that is the same for everybody gets the coefficient 0 instead of a division by zero."""
    table = TABLE.replace(b"size", b"size,same").replace(b",malignant", b",4.2,malignant")
    result = run_regression(regression, table.replace(b",benign", b",4.2,benign"))
    assert result is not None
    assert json.loads(result["model"])["coefficients"]["same"] == pytest.approx(0, abs=TOLERANCE)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, len(TABLE) - 1), removed=st.integers(0, 20), inserted=st.binary(max_size=20))
def test_regression_never_traps(regression: BareComponent, position: int, removed: int, inserted: bytes) -> None:
    """A damaged table gives a result or a failure; a trap would be raised here."""
    damaged = TABLE[:position] + inserted + TABLE[position + removed :]
    result = run_regression(regression, damaged)
    assert result is None or json.loads(result["model"])["kind"] == "logistic-regression"


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 200), removed=st.integers(0, 20), inserted=st.binary(max_size=20))
def test_join_never_traps(join: BareComponent, position: int, removed: int, inserted: bytes) -> None:
    """A damaged table gives a table or a failure; a trap would be raised here."""
    damaged = TABLE[:position] + inserted + TABLE[position + removed :]
    joined = run_join(join, damaged, b"patient,other\np-1,1\np-2,2\n")
    assert joined is None or joined.endswith(b"\n")
