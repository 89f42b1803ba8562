"""make bench: measures everything, prints one table, and writes docs/benchmarks.md, its plots, and all figures as benchmarks.json."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from infra.settings import ROOT
from ops.bench import report, runner
from ops.bench.figures import Part, Progress
from ops.bench.report import Report
from ops.console import err, fail, out

DOCUMENT, FIGURES, PLOTS = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks.json", ROOT / "docs" / "plots"
SHOWN_EVERY_S = 1.5  # where the output is no terminal; with what a silent part repeats no more than two seconds pass


def main(
    only: Annotated[str | None, typer.Option(help=f"One part, without writing anything: {', '.join(runner.PARTS)}.")] = None,
    redraw: Annotated[bool, typer.Option("--redraw", help="Document and plots from benchmarks.json, without measuring.")] = False,
) -> None:
    """Measures, prints, writes. Ends with 0 also where a goal is missed: the table says so."""
    if redraw:
        write(report.from_json(FIGURES.read_text()))
        return
    if only not in (None, *runner.PARTS):
        fail(f"no part {only!r}, there are {', '.join(runner.PARTS)}")
    started, measured_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    parts, failed = measure((only,) if only else runner.PARTS)
    found = Report(measured_at, time.monotonic() - started, report.machine(), parts)
    out.print(report.table(found.figures))
    if failed:
        fail(f"not measured: {', '.join(failed)}; nothing was written")
    if not only:
        FIGURES.write_text(report.to_json(found))
        write(found)


def measure(names: tuple[str, ...]) -> tuple[list[Part], list[str]]:
    """What each part measured, and the names of those that failed, whose errors are shown."""
    parts, failed = [], []
    for at, name in enumerate(names, 1):
        started = time.monotonic()
        try:
            with _shown(f"{at}/{len(names)} {name}") as progress:
                parts.append(runner.run(f"ops.bench.{name}", progress))
        except runner.Failed as error:
            failed.append(name)
            err.print(str(error), markup=False)
        err.print(
            f"{'[red]✗[/red]' if name in failed else '[green]✓[/green]'} {name} [dim]{time.monotonic() - started:.0f} s[/dim]", markup=True
        )
    return parts, failed


@contextmanager
def _shown(what: str) -> Iterator[Progress]:
    """Shows what is being measured: in one line of a terminal, else as lines, at least one every two seconds."""
    if err.is_terminal:
        with err.status(what, refresh_per_second=2) as status:  # drawing takes CPU, too
            yield lambda doing: status.update(f"{what} [dim]{escape(doing)}[/dim]")
        return
    shown = float("-inf")

    def progress(doing: str) -> None:
        nonlocal shown
        if time.monotonic() - shown > SHOWN_EVERY_S:
            shown = time.monotonic()
            err.print(f"… {what}: {doing}", markup=False)

    yield progress


def write(found: Report) -> None:
    DOCUMENT.write_text(report.document(DOCUMENT.read_text(), found))
    draw(found)
    err.print(f"[green]✓[/green] {DOCUMENT.relative_to(ROOT)} and {PLOTS.relative_to(ROOT)}", markup=True)


def draw(found: Report) -> None:
    from ops.bench import plots  # needs the group `bench`, which the table does not

    PLOTS.mkdir(exist_ok=True)
    for plot in plots.PLOTS:
        plots.draw(plot, next(part.lines[plot.lines] for part in found.parts if plot.lines in part.lines), PLOTS)


if __name__ == "__main__":
    typer.run(main)
