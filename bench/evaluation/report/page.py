"""The page itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Final

from bench.evaluation.chapter import Bars, Cell, Chapter, Plot, Table, ratio_cell, titled
from bench.evaluation.judge import verdicts
from bench.evaluation.machine import one_line
from bench.evaluation.runs import Run, Runs

from . import svg

_STYLE: Final = Path(__file__).with_name("page.css")
_HOLDS: Final = {True: ' class="holds"', False: ' class="missed"', None: ""}
_WHERE: Final = {"plain": "outside SEV-SNP", "snp": "in an SEV-SNP guest"}


def page(runs: Runs, chapters: Iterable[Chapter]) -> str:
    """Return the report, of at least one run."""
    return "".join(_page(runs, tuple(chapters)))


def _page(runs: Runs, chapters: tuple[Chapter, ...]) -> Iterator[str]:
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>What the two layers cost</title><style>{_STYLE.read_text()}</style></head><body><main>"
        "<h1>What the two layers cost</h1>"
        "<p>Times of the same work, natively, in a bare WebAssembly engine and in the whole runtime, each over the "
        "other. A ratio is the median's; below it are the mean with its propagated deviation, and the minimum's. "
        "Figures of the paper are marked P where it prints them and F where they were read off a figure.</p>"
    )
    yield from _warnings(runs)
    for run in runs.each:
        yield from _machine(run)
    for run in runs.each:
        yield from _table(_bounds(run))
    for chapter in chapters:
        yield from _chapter(chapter)
    yield "</main></body></html>\n"


def _warnings(runs: Runs) -> Iterator[str]:
    if runs.snp is None:
        yield (
            '<p class="warning">Nothing here was measured in an SEV-SNP guest: those columns are empty, and nothing '
            "here says what the outer layer costs. <code>make evaluation LABEL=snp</code> in such a guest fills them."
            "</p>"
        )
    if runs.plain and runs.snp and runs.plain.machine["cpu"] != runs.snp.machine["cpu"]:
        yield '<p class="warning">The two runs are of two processors: no ratio is told of one over the other.</p>'
    for run in runs.each:
        if run.reduced:
            yield (
                f'<p class="warning">The run {_WHERE[run.label]} was the reduced one: it shows that everything works, '
                "and its figures are of sizes too small to conclude anything from.</p>"
            )
        if later := [each for each in run.workloads if each.again]:
            shown = "; ".join(f"{each.title} ({each.again})" for each in later)
            yield f'<p class="warning">Measured again after the run {_WHERE[run.label]}: {escape(shown)}.</p>'
        if refused := sum(verdict.figure is None for each in run.workloads for verdict in verdicts(each)):
            yield (
                f'<p class="warning">{refused} ratios of the run {_WHERE[run.label]} are not told; in their place is '
                "why not.</p>"
            )


def _machine(run: Run) -> Iterator[str]:
    machine = run.machine
    rows = {
        "machine": one_line(machine),
        "caches": ", ".join(f"{name} {size} KiB" for name, size in machine["caches"].items()) or "unknown",
        "measured": f"{run.started} to {run.ended}, at commit {machine['commit']}",
        "samples": f"{run.label}.json, beside this page",
        "load before, after": " and ".join(_load(machine[name]) for name in ("load_before", "load_after")),
        "settings": _pairs(machine["settings"]),
        "tools": _pairs(machine["tools"]),
    }
    yield f"<h3>Measured {_WHERE[run.label]}</h3><dl>"
    yield from (f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows.items())
    yield "</dl>"


def _bounds(run: Run) -> Table:
    """Everything that this project holds itself to, before all that it is part of."""
    bounded = [(each, verdict) for each in run.workloads for verdict in verdicts(each) if verdict.comparison.at_most]
    held = sum(verdict.holds is True for _, verdict in bounded)
    missed = sum(verdict.holds is False for _, verdict in bounded)
    caption = (
        f"Bounds, {_WHERE[run.label]}: {held} hold, {missed} do not, {len(bounded) - held - missed} are not judged"
    )
    rows = (
        (
            Cell(text=titled(each, verdict.comparison.step)),
            Cell(text=verdict.comparison.name),
            ratio_cell(verdict),
            Cell(text=f"{verdict.comparison.at_most:g}"),
        )
        for each, verdict in bounded
    )
    return Table(caption=caption, head=("workload", "ratio of times", "here", "at most"), rows=tuple(rows))


def _load(averages: list[float]) -> str:
    return ", ".join(f"{each:.2f}" for each in averages)


def _pairs(found: dict[str, str]) -> str:
    return "; ".join(f"{name.replace('_', ' ')}: {text or 'unknown'}" for name, text in found.items())


def _chapter(chapter: Chapter) -> Iterator[str]:
    yield f"<section><h2>{escape(chapter.title)}</h2>"
    yield from (f"<p>{escape(text)}</p>" for text in chapter.paragraphs)
    for part in chapter.parts:
        match part:
            case Table():
                yield from _table(part)
            case Plot():
                yield _figure(part.caption, svg.plot(part))
            case Bars():
                yield _figure(part.caption, svg.bars(part))
    if chapter.conclusions:
        yield "<h3>What may be concluded, and what not</h3><ul>"
        yield from (f"<li>{escape(text)}</li>" for text in chapter.conclusions)
        yield "</ul>"
    yield "</section>"


def _figure(caption: str, drawing: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{drawing}</figure>"


def _table(table: Table) -> Iterator[str]:
    # It can be scrolled by keyboard too.
    yield f'<div class="wide" role="region" tabindex="0" aria-label="{escape(table.caption)}">'
    yield f"<table><caption>{escape(table.caption)}</caption><thead><tr>"
    yield from (f'<th scope="col">{escape(name)}</th>' for name in table.head)
    yield "</tr></thead><tbody>"
    for head, *cells in table.rows:
        yield f'<tr><th scope="row">{_content(head)}</th>'
        yield from (f"<td{_HOLDS[cell.holds]}>{_content(cell)}</td>" for cell in cells)
        yield "</tr>"
    yield "</tbody></table></div>"


def _content(cell: Cell) -> str:
    # A bound that is missed is said in words too, not by colour alone.
    text = f"{cell.text}, above" if cell.holds is False else cell.text
    return escape(text) + (f"<small>{escape(cell.note)}</small>" if cell.note else "")
