"""What `make bench` tells: every figure in its place, the goals that are missed, and a document that cannot drift from its figures."""

import json
import sys
import textwrap
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from infra.settings import ROOT
from ops.bench import __main__ as bench
from ops.bench import report, runner
from ops.bench.figures import Figure, Line, Part
from ops.bench.report import Report

MET = Figure("Writes of a send", 1.0, "writes", goal=1.4, naive=4.0, note="to one user")
MISSED = Figure("Start-up of send", 1234.5, "ms", goal=1000.0)
TOLD = Figure("A page", 0.9125, "$")
FOUND = Report(
    "2026-11-23T10:00:00+00:00",
    125.0,
    "a machine",
    [
        Part("costs", [MET, TOLD], {"by use": [Line("ours", [10, 10_000], [0.5, 2.0]), Line("theirs", [10], [3.0])]}),
        Part("startup", [MISSED]),
    ],
)
IN_WORDS = {2: "two", 3: "three", 4: "four"}  # measured anew, it may be a little more or less
PLACES = "".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in ("run", "goals", "costs", "startup"))


@pytest.mark.parametrize(
    ("figure", "row"),
    [
        (MET, ("Writes of a send", "1", "writes", "≤ 1.40", "✓", "4", "0.25 ×")),
        (MISSED, ("Start-up of send", "1,234", "ms", "≤ 1,000", "✗", "", "")),
        (TOLD, ("A page", "0.912", "$", "", "", "", "")),
    ],
)
def test_a_row_tells_value_goal_and_naive_version(figure: Figure, row: tuple[str, ...]) -> None:
    assert report.row(figure) == row


@pytest.mark.parametrize(("value", "told"), [(0, "0"), (3, "3"), (0.0456, "0.0456"), (1.4, "1.40"), (56.78, "56.8"), (1234.5, "1,234")])
def test_a_number_has_the_digits_that_say_something(value: float, told: str) -> None:
    assert report.number(value) == told


def test_a_goal_is_met_at_its_bound() -> None:
    assert Figure("x", 1.4, "×", goal=1.4).met is True
    assert Figure("x", 1.41, "×", goal=1.4).met is False


def test_json_keeps_every_figure() -> None:
    assert report.from_json(report.to_json(FOUND)) == FOUND


def test_the_document_says_which_goals_are_met() -> None:
    told = report.document(PLACES, FOUND)
    assert "Measured on 2026-11-23 in 2 minutes, on a machine: 1 of 2 goals are met." in told
    goals = told[told.index("<!-- goals -->") : told.index("<!-- /goals -->")]
    assert "| Writes of a send | 1 | writes | ≤ 1.40 | ✓ | 4 | 0.25 × |" in goals
    assert "| Start-up of send | 1,234 | ms | ≤ 1,000 | ✗ |  |  |" in goals
    assert "A page" not in goals


def test_the_document_has_each_part_at_its_place() -> None:
    told = report.document(PLACES, FOUND)
    costs = told[told.index("<!-- costs -->") : told.index("<!-- /costs -->")]
    assert "| Writes of a send | 1 | writes | to one user |" in costs
    assert "| by use | 10 | 10,000 |" in costs
    assert "| theirs | 3 |  |" in costs
    assert "Start-up" not in costs


def test_words_and_figures_of_another_run_are_kept_apart() -> None:
    older = report.document(f"Before.\n{PLACES}After.\n", Report("2025-01-01T00:00:00+00:00", 60, "another", FOUND.parts[:1]))
    newer = report.document(older, FOUND)
    assert newer.startswith("Before.\n")
    assert newer.endswith("After.\n")
    assert "2025" not in newer
    assert newer == report.document(newer, FOUND)


def test_a_part_without_a_place_in_the_document_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place for startup"):
        report.document(PLACES.replace("<!-- startup -->", ""), FOUND)


def test_every_part_has_a_place_in_the_document() -> None:
    text = bench.DOCUMENT.read_text()
    for name in ("run", "goals", *runner.PARTS):
        assert text.count(f"<!-- {name} -->\n") == text.count(f"<!-- /{name} -->\n") == 1


def test_the_document_tells_the_figures_of_the_last_run() -> None:
    text = bench.DOCUMENT.read_text()
    assert report.document(text, report.from_json(bench.FIGURES.read_text())) == text


# --- running


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules can be measured; `ops.bench.<name>` there are a few of our own making."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def part(folder: Path, name: str, body: str) -> str:
    source = f"""
        import os, time
        from ops.bench.figures import Figure, Part

        def measure(progress):
            {body}
    """
    (folder / f"{name}.py").write_text(textwrap.dedent(source))
    return name


def test_a_part_runs_in_a_process_of_its_own(parts: Path) -> None:
    name = part(parts, "some_part", "return Part('p', [Figure('process', os.getpid(), '')])")
    one, other = (runner.run(name, lambda doing: None).figures[0].value for _ in range(2))
    assert one != other
    assert name not in sys.modules


def test_what_a_part_says_is_shown(parts: Path) -> None:
    said: list[str] = []
    runner.run(part(parts, "telling_part", "progress('half way'); return Part('p', [])"), said.append)
    assert "half way" in said


def test_a_silent_part_shows_that_it_is_alive(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "HEARTBEAT_S", 0.05)
    said: list[str] = []
    runner.run(part(parts, "silent_part", "progress('thinking'); time.sleep(0.5); return Part('p', [])"), said.append)
    assert said.count("thinking") == 1
    assert any(words.startswith("thinking (") for words in said)


@pytest.mark.parametrize(
    ("body", "why"), [("raise RuntimeError('no gauge')", "no gauge"), ("os._exit(7)", "ended with 7")], ids=["an error", "a death"]
)
def test_a_part_that_fails_says_why(parts: Path, body: str, why: str) -> None:
    with pytest.raises(runner.Failed, match=why):
        runner.run(part(parts, "failing_part", body), lambda doing: None)


class Docs:
    """A documentation of our own, and what a run of the command said."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str = "") -> None:
        self.document, self.figures, self.plots = folder / "benchmarks.md", folder / "benchmarks.json", folder / "plots"
        self.document.write_text(PLACES)
        monkeypatch.setattr(bench, "ROOT", folder)
        for name, path in (("DOCUMENT", self.document), ("FIGURES", self.figures), ("PLOTS", self.plots)):
            monkeypatch.setattr(bench, name, path)
        monkeypatch.setattr(runner, "PARTS", ("costs", "startup"))
        self.drawn: list[Report] = []
        monkeypatch.setattr(bench, "draw", self.drawn.append)

        def run(module: str, progress: object) -> Part:
            if module == f"ops.bench.{failing}":
                raise runner.Failed("it broke")
            return next(part for part in FOUND.parts if module == f"ops.bench.{part.name}")

        monkeypatch.setattr(runner, "run", run)

    def bench(self, *arguments: str) -> int:
        app = typer.Typer()
        app.command()(bench.main)
        return CliRunner().invoke(app, arguments).exit_code


def test_a_missed_goal_is_no_failure_and_everything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = Docs(tmp_path, monkeypatch)
    assert docs.bench() == 0
    assert report.from_json(docs.figures.read_text()).parts == FOUND.parts
    assert "1 of 2 goals are met" in docs.document.read_text()
    assert [drawn.parts for drawn in docs.drawn] == [FOUND.parts]


def test_a_part_that_fails_makes_the_run_fail_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = Docs(tmp_path, monkeypatch, failing="startup")
    assert docs.bench() == 1
    assert docs.document.read_text() == PLACES
    assert not docs.figures.exists()
    assert not docs.drawn


def test_one_part_alone_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = Docs(tmp_path, monkeypatch)
    assert docs.bench("--only", "costs") == 0
    assert docs.document.read_text() == PLACES
    assert docs.bench("--only", "nothing") == 1


def test_redrawing_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = Docs(tmp_path, monkeypatch, failing="costs")
    docs.figures.write_text(report.to_json(FOUND))
    assert docs.bench("--redraw") == 0
    assert docs.document.read_text() == report.document(PLACES, FOUND)
    assert json.loads(docs.figures.read_text())["machine"] == "a machine"


def test_the_readme_tells_what_was_measured() -> None:
    found = {figure.what: figure for figure in report.from_json((ROOT / "docs" / "benchmarks.json").read_text()).figures}
    without, with_id = (found[f"A million one-to-one messages, {which} transaction_id"] for which in ("without", "with"))
    assert without.naive
    assert with_id.naive
    told = [
        f"One-to-one messages cost ${without.value:.2f} a million",
        f"with a `transaction_id` ${with_id.value:.2f}",
        f"{without.value / without.naive:.2f} and {with_id.value / with_id.naive:.2f} of what",
        f"some {IN_WORDS[round(found['Start-up CPU of send, to the smallest function making its calls'].value)]} times the CPU",
        f"${found['The stack with nothing to do, a month'].value:.2f} a month",
    ]
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert [words for words in told if words not in readme] == []
