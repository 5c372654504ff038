"""What the layers replace computes the same product, or is not told."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace

import pytest
from bench.evaluation import build
from bench.evaluation.build import KERNELS
from bench.evaluation.elsewhere.product import numbers, product, require_near, told
from bench.evaluation.judge import column_summary, unsound, verdict
from bench.evaluation.model import MissingError, Plan, Step
from bench.evaluation.process import Hosted, Request
from bench.evaluation.replaces import REPLACED, chapter, links, workloads
from bench.evaluation.replaces.report import NAME, over_native, over_runtime
from bench.evaluation.standard import STRICT, Kernel, native_library
from tests.support.evaluations import COMPARISON, absent, column, measured, runs


def test_other_pythons_have_the_kernels_numbers() -> None:
    """The same matrix and vector from the same seed, and the same digest of the product."""
    it = Kernel(
        name="a", title="", sources=(KERNELS / "whole_numbers.c",), request=Request(size=128, times=(3,)), steps=()
    )
    native = Hosted("native", native_library(it, build.PAPER[0]), it.request)
    (timing,) = native.sample()
    native.close()
    assert (timing.digest, timing.value) == told(product(*numbers(128, 1)))


def test_whole_numbers_fit_every_way() -> None:
    """No number of the product is beyond BFV's modulus or a 32-bit integer."""
    assert max(product(*numbers(128, 1))) < 65537


@pytest.mark.parametrize("off", [11.0, -11.0, float("nan")])
def test_result_further_off_is_refused(off: float) -> None:
    """A number may be off by the tolerance of the largest one, and one that is none is refused too."""
    want = [1.0, 1e7]
    require_near([10.0, 1e7], want, 1e-6)
    with pytest.raises(ValueError, match="of the largest off"):
        require_near([1.0 + off, 1e7], want, 1e-6)


def test_one_product_is_told_of_many() -> None:
    """A configuration whose samples have more products is told, and judged, by one of them."""
    fast = column("gcc", [1.0])
    fast = replace(fast, configuration=replace(fast.configuration, repeats=100))
    it = measured(columns=(fast, column("wasm", [1.0])))
    assert column_summary(it, fast, 0).median == 0.01
    assert verdict(it, COMPARISON).figure.median == pytest.approx(100)  # type: ignore[union-attr]
    assert unsound(fast, Step(name="work", units=1, unit="products", least_seconds=0.02), 0)


def test_each_way_is_compared_twice() -> None:
    """Over native and over the whole runtime; the reduced run has those that take seconds."""
    (whole,), (small,) = (tuple(workloads(Plan(reduced=each, fetches=False))) for each in (False, True))
    names = {each.name for each in whole.comparisons}
    assert {f(each.configuration.title) for f in (over_native, over_runtime) for each in REPLACED} <= names
    assert {offer.configuration.name for offer in small.offers} >= {*STRICT, "wasm", "runtime", "tenseal", "mpyc"}
    assert not any("openfhe" in offer.configuration.name for offer in small.offers)
    assert all(offer.configuration.repeats > 1 for offer in whole.offers if offer.configuration.name in STRICT)


def test_chapter_says_why_a_way_is_missing() -> None:
    """A way without a figure has its reason in its row."""
    it = measured({"gcc": [1.0]}, name=NAME, columns=(absent("tenseal", "it is not here"),))
    ways, *_ = chapter(runs(replace(it, comparisons=()))).parts
    (row,) = ways.rows  # type: ignore[union-attr]
    assert (row[1].text, row[1].note) == ("not measured", "it is not here")


def test_links_take_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not root, or has no iproute2, is told so before anything is made."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingError, match="take root"), links.namespaces():
        pytest.fail("they were made")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingError, match="iproute2"), links.namespaces():
        pytest.fail("they were made")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces take root and iproute2")
def test_namespaces_are_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made or not, nothing is left of them; made, the first party reaches the last, late."""
    # An evaluation may go on beside this test, with namespaces of its own.
    token = secrets.token_hex(3)
    monkeypatch.setattr(secrets, "token_hex", lambda _: token)
    # Where the kernel has no netem, they are made up to there.
    with suppress(MissingError), links.namespaces() as (first, *_):
        ping = ["ip", "netns", "exec", first, "python3", "-c", _REACH.format(links.address(2))]
        milliseconds = float(subprocess.run(ping, capture_output=True, text=True, check=True).stdout)
        assert milliseconds >= 2 * links.DELAY_MS
    assert not [name for name in _namespaces() if token in name]


# A connection that is refused has been there and back.
_REACH = """
import socket, time
start = time.monotonic()
try:
    socket.create_connection(("{}", 9), 5)
except ConnectionRefusedError:
    print((time.monotonic() - start) * 1000)
"""


def _namespaces() -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    return {line.split()[0] for line in listed.splitlines()}
