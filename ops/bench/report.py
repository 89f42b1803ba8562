"""What a run of the benchmark found, as a table, as JSON, and as the figures of `docs/benchmarks.md`.

The document's words are written by hand; its figures stand between markers, `<!-- name -->` and `<!-- /name -->`, and are put there.
"""

import json
import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from os import cpu_count
from pathlib import Path
from typing import Any

from rich.table import Table

from ops.bench.figures import Figure, Line, Part

COLUMNS = ("what", "value", "unit", "goal", "met", "naive", "to naive")
X_WORDS: dict[tuple[str, float], str] = {
    ("start-up", 0): "imported",
    ("start-up", 1): "first request answered",
}  # what x stands for where it is no number
MET = {None: "", True: "✓", False: "✗"}


@dataclass(frozen=True)
class Report:
    """One run: when it began (ISO 8601, UTC), how long it took, on what, and what it found."""

    measured_at: str
    seconds: float
    machine: str
    parts: list[Part]

    @property
    def figures(self) -> list[Figure]:
        return [figure for part in self.parts for figure in part.figures]


def to_json(report: Report) -> str:
    return json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Report:
    fields: dict[str, Any] = json.loads(text)
    parts = [
        Part(
            part["name"],
            [Figure(**figure) for figure in part["figures"]],
            {name: [Line(**line) for line in lines] for name, lines in part["lines"].items()},
        )
        for part in fields.pop("parts")
    ]
    return Report(**fields, parts=parts)


def machine() -> str:
    """The processor as its system calls it, its cores, the system and the Python."""
    return f"{_processor()}, {cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return named[1].strip() if named else platform.processor() or platform.machine()


def number(value: float) -> str:
    """Three or four digits that say something: 1,234; 56.8; 0.912."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def row(figure: Figure) -> tuple[str, ...]:
    """Of the table: an empty string where there is nothing to say."""
    goal = "" if figure.goal is None else f"≤ {number(figure.goal)}"
    naive, ratio = ("", "") if figure.naive is None else (number(figure.naive), f"{number(figure.value / figure.naive)} ×")
    return figure.what, number(figure.value), figure.unit, goal, MET[figure.met], naive, ratio


def table(figures: Iterable[Figure]) -> Table:
    """For a screen."""
    found = Table(*COLUMNS[:1])
    for column in COLUMNS[1:]:
        found.add_column(column, justify="left" if column in ("unit", "met") else "right", no_wrap=True)
    for figure in figures:
        found.add_row(*row(figure))
    return found


def document(text: str, report: Report) -> str:
    """The document with this run's figures between its markers; ValueError where a marker is missing."""
    for name, told in _told(report):
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"no place for {name}: the document needs <!-- {name} --> and <!-- /{name} --> on lines of their own")
        text = pattern.sub(lambda found, told=told: found[1] + told + "\n" + found[2], text)  # type: ignore[misc]
    return text


def _told(report: Report) -> Iterator[tuple[str, str]]:
    """Name and text of every place in the document."""
    yield "run", _run(report)
    yield "goals", _markdown(COLUMNS, (row(figure) for figure in report.figures if figure.goal is not None or figure.naive is not None))
    for part in report.parts:
        figures = _markdown(("what", "value", "unit", "of what"), map(_noted, part.figures))
        yield part.name, "\n\n".join([figures, *(_points(name, lines) for name, lines in part.lines.items())])


def _run(report: Report) -> str:
    held = [figure.met for figure in report.figures if figure.met is not None]
    told = f"Measured on {report.measured_at[:10]} in {report.seconds / 60:.0f} minutes, on {report.machine}"
    return f"{told}: {sum(held)} of {len(held)} goals are met."


def _noted(figure: Figure) -> tuple[str, ...]:
    return figure.what, number(figure.value), figure.unit, figure.note


def _points(name: str, lines: Sequence[Line]) -> str:
    """What a plot's lines go through, folded away."""
    every = sorted({x for line in lines for x in line.x})
    head = [name, *(X_WORDS.get((name, x), number(x)) for x in every)]
    points = [(line.name, dict(zip(line.x, line.y, strict=True))) for line in lines]
    rows = ((line, *(number(y[x]) if x in y else "" for x in every)) for line, y in points)
    return f"<details><summary>{name}</summary>\n\n{_markdown(head, rows)}\n\n</details>"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruler = [":---" if at == 0 or column in ("unit", "met", "of what") else "---:" for at, column in enumerate(head)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *rows))
