"""The report says what was measured and what was not, and runs nothing in who reads it."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from bench.evaluation import __main__ as command
from bench.evaluation import attestation, classes, machine, record, table
from bench.evaluation.chapter import Bar, Bars, Cell, Chapter, Line, Plot, Point, Table, duration
from bench.evaluation.model import Comparison, Plan
from bench.evaluation.report.page import page
from bench.evaluation.report.scale import Axis
from bench.evaluation.runs import Measured, Runs
from bench.evaluation.standard import OVER_PAPERS
from tests.support.browser import visited
from tests.support.evaluations import absent, column, measured, run, runs

STEP = "one crossing a run"
LAYERS = Comparison(name=OVER_PAPERS, step=STEP, of=("wasm",), over=("gcc", "clang"))


class Tags(HTMLParser):
    """Collects tags, attributes and text; every tag that opens must close."""

    VOID = frozenset({"meta"})

    def __init__(self, document: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += attrs
        self.open += [] if tag in self.VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _page(of: Runs) -> Tags:
    return Tags(page(of, [classes.load(name).chapter(of) for name in classes.NAMES]))


def _layers(wasm: float) -> Measured:
    it = measured({"gcc": [1.0], "wasm": [wasm]}, name="arithmetic/product-512-crossing")
    return replace(it, steps=(replace(it.steps[0], name=STEP),), comparisons=(LAYERS,))


def test_the_page_is_whole_and_inert() -> None:
    """Every tag is closed, nothing runs, nothing is loaded, and what a machine calls itself is text."""
    found = _page(runs(measured({"gcc": [1.0, 1.2], "wasm": [1.5, 1.6]})))
    assert not found.open
    assert not found.seen & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in ("src", "href")]
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in found.attributes
    assert "A <chip> & more" in found.text


def test_the_page_begins_with_what_holds_and_what_does_not() -> None:
    """Every bound is told before all else, with a missed one said in words, and one without a ratio with its reason."""
    missed = measured({"gcc": [1.0], "wasm": [2.0]})
    text = _page(runs(missed, measured({"gcc": [1.0], "wasm": [1.5]}), measured({"wasm": [1.0]}))).text
    table_text, _, _ = text.partition("Arithmetic")
    assert "1 hold, 1 do not, 1 are not judged" in table_text
    assert "2.00, above" in table_text
    assert "no gcc" in table_text


def test_a_browser_loads_nothing_else(tmp_path: Path) -> None:
    """A real browser draws the page and asks its server for nothing more."""
    visit = visited(page(runs(_layers(2.0)), [classes.load("arithmetic").chapter(runs(_layers(2.0)))]), tmp_path)
    assert visit.asked == ()
    assert "<svg" in visit.document


def test_a_run_that_went_wrong_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    """Another result and a configuration that failed are named on standard error; a ratio that is not told is not."""
    assert command.ending(run(_layers(2.0), measured({"gcc": [1.0], "wasm": [1.0]}, others=1.0))) == 0
    assert "1 of 2 ratios are told" in capsys.readouterr().out
    failed = replace(absent("wasm", "it broke"), failed=True)
    other = measured({"gcc": [1.0]}, columns=(column("wasm", [1.0], digest="bb"),))
    assert command.ending(run(measured({"gcc": [1.0]}, columns=(failed,)), other)) == 1
    said = capsys.readouterr().err
    assert "a thing: by wasm failed: it broke" in said
    assert "its result differs" in said


def test_what_was_not_measured_inside_is_said() -> None:
    """Without a run in an SEV-SNP guest the page says so, and that nothing is said of that layer."""
    assert "Nothing here was measured in an SEV-SNP guest" in _page(runs(_layers(2.0))).text


def test_a_reduced_run_is_no_ground_for_conclusions() -> None:
    """The page says so."""
    assert "too small to conclude anything" in _page(Runs(plain=run(_layers(2.0), reduced=True), snp=None)).text


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (measured({"gcc": [1.0]}, columns=(column("wasm", [7.77], digest="bb"),)), "its result differs"),
        (measured({"gcc": [1e-9], "wasm": [7.77]}, least_seconds=1e-6), "the loop was removed"),
        (measured({"gcc": [1.0]}, columns=(column("wasm", [7.77], wall_end_ns=0),)), "a clock went back"),
        (measured({"gcc": [1.0], "wasm": [7.77]}, others=0.5), "the machine was under load"),
        (measured({"wasm": [7.77]}), "no gcc"),
    ],
)
def test_what_must_not_be_told_is_named_instead(broken: Measured, said: str) -> None:
    """Wherever a ratio must not be told, the page has the reason, and the ratio nowhere."""
    found = _page(runs(broken))
    assert said in found.text
    assert "1 ratios" in found.text
    assert not re.search(r"mean \d|min \d", found.text)


def test_the_outer_layer_is_told_of_one_processor_only() -> None:
    """With both runs it is the component's time inside over outside; of two processors there is no such ratio."""
    inside = run(_layers(3.0), label="snp", snp=True)
    both = _page(Runs(plain=run(_layers(2.0)), snp=inside)).text
    assert "1.50" in both
    assert "Nothing here was measured" not in both
    apart = _page(Runs(plain=run(_layers(2.0), cpu="another"), snp=inside)).text
    assert "1.50" not in apart
    assert "the two runs are of two processors" in apart


def _sqlite(wasm: float) -> Measured:
    it = measured({"gcc": [1.0], "wasm": [wasm]}, name="memory/sqlite")
    steps = tuple(replace(it.steps[0], name=name) for name in ("insert", "point reads", "full scans"))
    columns = tuple(replace(each, samples=(each.samples[0] * 3,)) for each in it.columns)
    wanted = tuple(Comparison(name=OVER_PAPERS, step=each.name, of=("wasm",), over=("gcc", "clang")) for each in steps)
    return replace(it, steps=steps, columns=columns, comparisons=wanted)


def test_layers_on_memory_stand_beside_figure_9() -> None:
    """Outside there is the component over native; with a run inside, each layer over the other, for each step."""
    (table_outside,) = (each for each in _memory(runs(_sqlite(2.0))) if "figure 9" in each.caption)
    assert [row[1].text for row in table_outside.rows] == ["2.00", "", "", ""] * 3
    both = Runs(plain=run(_sqlite(2.0)), snp=run(_sqlite(3.0), label="snp", snp=True))
    found = {each.caption: each for each in _memory(both)}
    layers = next(each for caption, each in found.items() if "figure 9" in caption)
    assert [row[1].text for row in layers.rows] == ["2.00", "1.00", "1.50", "3.00"] * 3
    across = next(each for caption, each in found.items() if "each configuration over itself" in caption)
    assert [[cell.text for cell in row[1:]] for row in across.rows] == [["1.00", "1.50", ""]] * 3
    assert not [each for each in _memory(runs(_sqlite(2.0))) if "over itself" in each.caption]


def _memory(of: Runs) -> list[Table]:
    return [each for each in classes.load("memory").chapter(of).parts if isinstance(each, Table)]


def test_plots_have_every_point_with_its_numbers() -> None:
    """Each point and bar says its numbers, a group without a bar has none, and one number alone can be drawn."""
    line = Line(name="a & b", points=(Point(x=32, y=1.5, deviation=0.1), Point(x=1024, y=1.0)))
    one = Line(name="one", points=(Point(x=64, y=1.0),), dashed=True)
    bars = Bars(caption="bars", y_label="y", groups=("g", "h"), series=(("s", (Bar(height=2.0, deviation=0.5), None)),))
    lines = [Line(name=str(number), points=one.points) for number in range(5)]
    parts = (
        Plot(caption="p", x_label="x", y_label="y", lines=(line, one), x_log=True),
        Plot(caption="q", x_label="x", y_label="y", lines=tuple(lines), y_log=True),
        bars,
        Table(caption="t", head=("h",), rows=((Cell(text="x", holds=False),),)),
    )
    of = runs(measured({"gcc": [1.0]}))
    found = Tags(page(of, [Chapter(title="c", paragraphs=("p",), parts=parts, conclusions=())]))
    assert not found.open
    assert "a & b: 1.5 ± 0.1 at 32" in found.text
    assert "g, s: 2" in found.text
    assert "h, s" not in found.text


def test_axes_have_round_marks() -> None:
    """Marks are at powers of two or at round numbers, all on the axis; an axis over one number has a length."""
    assert [mark.text for mark in Axis.over([1 << 10, 1 << 16], log=True).marks()][-1] == "64 Ki"
    assert [mark.text for mark in Axis.over([0.0, 1.0], from_zero=True).marks()][:2] == ["0", "0.5"]
    for axis in (Axis.over([3.0]), Axis.over([0.0]), Axis.over([]), Axis.over([5.0], log=True)):
        assert axis.most > axis.least
        assert all(0 <= mark.share <= 1 for mark in axis.marks())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (1.5, "1.5 s"), (0.002, "2 ms"), (3e-6, "3 µs"), (4e-9, "4 ns"), (5e-11, "0.05 ns")],
)
def test_durations_have_a_unit_that_suits_them(seconds: float, text: str) -> None:
    """From seconds to parts of a nanosecond."""
    assert duration(seconds) == text


def test_the_table_is_put_where_readme_has_its_marks(tmp_path: Path) -> None:
    """The machine is named, what was not measured has no figure, and the rest of the file stays as it was."""
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    made = table.markdown(runs(_layers(2.0)))
    table.into(readme, made)
    table.into(readme, made)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "A <chip> & more" in text
    assert f"at commit {'0' * 12}." in text
    assert f"at commit {'0' * 12}; 1 workloads again later" in table.markdown(
        runs(replace(_layers(2.0), again="later"))
    )
    assert text.count(table.BEGIN) == 1
    readme.write_text("nothing")
    with pytest.raises(ValueError, match="no place"):
        table.into(readme, made)


def test_no_table_is_made_of_a_reduced_run() -> None:
    """What says nothing is not put into README."""
    with pytest.raises(ValueError, match="whole run"):
        table.markdown(Runs(plain=run(reduced=True), snp=None))


@pytest.mark.parametrize("plan", [Plan(reduced=True, fetches=False), Plan(reduced=False, fetches=False)])
def test_what_is_told_is_what_is_measured(plan: Plan) -> None:
    """Workloads have names of their own and of their class, and the table's rows are of workloads that there are."""
    found = [(name, each) for name in classes.NAMES for each in classes.load(name).workloads(plan)]
    names = [each.name for _, each in found]
    assert len(set(names)) == len(names)
    assert all(each.name.startswith(f"{name}/") for name, each in found)
    there = {(each.name, wanted.name, wanted.step) for _, each in found for wanted in each.comparisons}
    for each in (each for _, each in found):
        assert {wanted.step for wanted in each.comparisons} <= {step.name for step in each.steps}
    if not plan.reduced:
        assert {ratio for row in table.ROWS for ratio in row.ratios} <= there
        wholes = {name for name, comparison, _ in there if comparison in table.WHOLE_COLUMNS.values()}
        assert {f"{name}-whole" for name in table.WHOLE} == {name for name in wholes if name.endswith("-whole")}


def test_a_label_that_this_machine_is_not_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SEV-SNP columns are filled in an SEV-SNP guest only."""
    monkeypatch.setattr(command.machine, "is_snp_guest", lambda: False)
    monkeypatch.setattr("sys.argv", ["evaluation", "--out", str(tmp_path), "run", "--reduced", "--label", "snp"])
    assert command.main() == 2
    assert "no SEV-SNP guest" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("others", "lines"), [(0.0, 3), (0.9, 2)])
def test_a_walk_on_a_loaded_machine_is_not_drawn(others: float, lines: int) -> None:
    """Beside the paper's two lines there is one of a calm run, and none of a disturbed one."""
    walked = measured({"gcc": [1.0]}, name="memory/list-4096", others=others)
    parts = classes.load("memory").chapter(runs(walked)).parts
    [walks] = [each for each in parts if isinstance(each, Plot) and each.caption.startswith("One step along a list")]
    assert len(walks.lines) == lines


def test_what_would_be_lost_is_not_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing takes an hour for a place that it cannot be kept in, or takes the place of a run that has more."""
    monkeypatch.setattr("sys.argv", ["evaluation", "--out", str(Path(__file__)), "run", "--only", "peers"])
    assert command.main() == 2
    assert "File exists" in capsys.readouterr().err
    record.write(run(_layers(2.0)), tmp_path / "plain.json")
    kept = (tmp_path / "plain.json").read_bytes()
    monkeypatch.setattr("sys.argv", ["evaluation", "--out", str(tmp_path), "run", "--only", "peers"])
    assert command.main() == 2
    assert "which would be lost" in capsys.readouterr().err
    assert (tmp_path / "plain.json").read_bytes() == kept


@pytest.mark.parametrize("words", [("report",), ("table",), ("again",), ("run", "--only", "peers")])
def test_what_is_no_run_is_said_and_left(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody else's file in the place of a run is named, and stays."""
    (tmp_path / "plain.json").write_bytes(b"\xff")
    monkeypatch.setattr("sys.argv", ["evaluation", "--out", str(tmp_path), *words])
    assert command.main() == 2
    assert "plain.json is no run that this version wrote" in capsys.readouterr().err
    assert (tmp_path / "plain.json").read_bytes() == b"\xff"


def test_a_machine_without_git_measures_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the commit is not known."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert command._commit() == "unknown"


def test_the_python_is_told_and_not_where_it_lies() -> None:
    """Two machines with the same Python say the same of it, wherever each has it."""
    told = machine.python()
    assert platform.python_version() in told
    assert told.endswith(hashlib.sha256(Path(sys.executable).read_bytes()).hexdigest())
    assert str(Path(sys.executable).parent) not in told


def test_what_is_under_a_paravisor_is_an_snp_guest_too() -> None:
    """On Azure a guest has no device of its own, and is one all the same."""
    assert machine.is_snp_guest(lambda: (True, "usable"))
    assert machine.is_snp_guest(lambda: (False, "none")) is Path("/dev/sev-guest").exists()


@pytest.mark.parametrize(
    ("names", "said"),
    [(["arithmetic/at-all"], "there is no arithmetic/at-all"), ([], "of another processor")],
)
def test_nothing_is_measured_again_that_does_not_belong(
    names: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A workload that the run has not, another machine's run, or no run at all."""
    monkeypatch.setattr("sys.argv", ["evaluation", "--out", str(tmp_path), "again", *names])
    assert command.main() == 2
    assert "there is no run" in capsys.readouterr().err
    record.write(run(_layers(2.0), **({"cpu": machine.cpu()} if names else {})), tmp_path / "plain.json")
    before = (tmp_path / "plain.json").read_bytes()
    assert command.main() == 2
    assert said in capsys.readouterr().err
    assert (tmp_path / "plain.json").read_bytes() == before


def test_what_was_disturbed_is_measured_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It takes its old place, with when and at which commit; what was told stays, and the page says what is newer."""
    loud, calm, gone = (
        measured({"gcc": [1.0], "wasm": [2.0]}, name=f"attestation/{name}", others=others)
        for name, others in (("at-once-1", 0.9), ("calm-1", 0.0), ("gone-1", 0.0))
    )
    one = attestation._at_once(1, Plan(reduced=True))
    monkeypatch.setattr(command.classes, "NAMES", ("attestation",))
    monkeypatch.setattr(attestation, "workloads", lambda _: (one, replace(one, name="attestation/calm-1")))
    record.write(run(loud, calm, gone, reduced=True, cpu=machine.cpu()), tmp_path / "plain.json")
    monkeypatch.setattr("sys.argv", ["evaluation", "--out", str(tmp_path), "again"])
    assert command.main() == 0
    now = record.read(tmp_path / "plain.json")
    assert [each.name for each in now.workloads] == ["attestation/at-once-1", "attestation/calm-1"]
    assert now.workloads[1] == calm
    assert now.workloads[0].again.split(", at commit ")[1]
    assert now.workloads[0].column("direct").samples  # type: ignore[union-attr]
    assert "Measured again" in (tmp_path / "report.html").read_text()
    assert "-- 1 at once" in capsys.readouterr().out


def test_a_report_is_made_again_of_what_was_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The JSON alone gives the page and the table; without one there is nothing to make."""
    monkeypatch.setattr("sys.argv", ["evaluation", "--out", str(tmp_path), "report"])
    assert command.main() == 2
    record.write(run(_layers(2.0)), tmp_path / "plain.json")
    assert command.main() == 0
    assert "What the two layers cost" in (tmp_path / "report.html").read_text()
    monkeypatch.setattr("sys.argv", ["evaluation", "--out", str(tmp_path), "table"])
    capsys.readouterr()
    assert command.main() == 0
    assert "times the best strict native" in capsys.readouterr().out
    assert json.loads((tmp_path / "plain.json").read_bytes())["schema"] == record.SCHEMA
