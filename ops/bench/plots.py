"""The plots of the benchmark: SVG, for light and for dark pages, the same bytes for the same figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ops.bench.figures import Line

INCHES = (9, 5)
LABEL_COLUMNS = 18  # characters of a label beside its line before it wraps
LABEL_ROW = 0.065  # of the plot's height, for each row of a label's text
YARDSTICKS = {"naive version", "bare Python", "smallest possible send", "send without bytecode"}  # what is not ours is grey
WORDS = ((1_000_000_000, "billion"), (1_000_000, "million"), (1_000, "thousand"))


@dataclass(frozen=True)
class Look:
    """Colours on a page of GitHub's; the background is the page's own."""

    text: str
    faint: str
    yardstick: str
    lines: tuple[str, ...]


LOOKS = {
    "light": Look("#1f2328", "#d1d9e0", "#818b98", ("#0969da", "#8250df", "#1a7f37", "#bc4c00", "#bf3989", "#9a6700", "#0a7ea4")),
    "dark": Look("#f0f6fc", "#3d444d", "#9198a1", ("#4493f8", "#ab7df8", "#3fb950", "#f0883e", "#db61a2", "#d29922", "#39c5cf")),
}


@dataclass(frozen=True)
class Plot:
    """A picture of the lines of one name. `bars`: each line is one."""

    name: str  # of the file
    lines: str
    title: str
    x: str
    y: str
    y_scale: Literal["linear", "log"] = "linear"
    y_text: Callable[[float], str] = "{:g}".format
    bars: bool = False


def words(number: float) -> str:
    """10000 → 10 thousand, on two lines."""
    size, word = next((each for each in WORDS if number >= each[0]), (1, ""))
    return f"{number / size:g}" + (f"\n{word}" if word else "")


def dollars(amount: float) -> str:
    return f"${amount:,.0f}" if amount >= 100 or amount == int(amount) else f"${amount:,.2f}"


def writes(count: float) -> str:
    return f"{count:.0f}" if count == int(count) else f"{count:.1f}"


PLOTS = (
    Plot("cost-by-use", "cost by use", "Dollars for a million messages, idle costs included", "messages a month", "", "log", dollars),
    Plot("cost-by-group-size", "cost by group size", "Dollars for a million group messages", "members of the group", "", "log", dollars),
    Plot(
        "start-up",
        "start-up",
        "CPU of a new container until its first answer",
        "milliseconds; in full colour: until its code is imported",
        "",
        bars=True,
    ),
    Plot("growth", "growth", "Billable units as a conversation grows", "messages in the conversation", "read and write units"),
    Plot("bursts", "bursts", "Writes for a message into one busy conversation", "messages offered a second", "writes", y_text=writes),
)


def draw(plot: Plot, lines: Sequence[Line], folder: Path) -> None:
    """`<folder>/<name>-light.svg` and `-dark.svg`."""
    for name, look in LOOKS.items():
        style: dict[Any, Any] = {
            "svg.hashsalt": plot.name,  # names inside the file are the same each time
            "svg.fonttype": "none",  # text as text: to be read and searched, in the page's own font, and a tenth of the bytes
            "font.size": 15,
            "text.color": look.text,
            "axes.labelcolor": look.text,
            "axes.edgecolor": look.faint,
            "xtick.color": look.text,
            "ytick.color": look.text,
            "grid.color": look.faint,
        }
        with rc_context(style):
            canvas = Canvas(figsize=INCHES)
            axes = canvas.add_subplot()
            axes.set_title(plot.title, loc="left", pad=16, fontsize=18, fontweight="bold")
            axes.set_xlabel(plot.x, labelpad=10)
            axes.set_ylabel(plot.y)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(length=0)
            if plot.bars:
                _bars(axes, lines, look)
            else:
                _lines(axes, plot, lines, look)
            canvas.savefig(folder / f"{plot.name}-{name}.svg", format="svg", metadata={"Date": None}, transparent=True, bbox_inches="tight")


def _lines(axes: Any, plot: Plot, lines: Sequence[Line], look: Look) -> None:
    """Lines over numbers that grow by factors, each with its name at its end."""
    axes.set_xscale("log")
    axes.set_yscale(plot.y_scale)
    lines = merged(lines)
    colours = _colours(lines, look)
    for line, colour in zip(lines, colours, strict=True):
        axes.plot(line.x, line.y, color=colour, linewidth=3, marker="o", markersize=6, clip_on=False)
    every = sorted({x for line in lines for x in line.x})
    decades = [x for x in every if f"{x:e}".startswith("1.000")]
    axes.xaxis.set_major_locator(FixedLocator(decades if len(decades) > 3 else every))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: words(x)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: plot.y_text(y)))
    if plot.y_scale == "linear":
        axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.autoscale_view()  # else the ends are where they were before the axes knew their lines
    texts = [fill(f"{line.name}: {plot.y_text(line.y[-1])}", LABEL_COLUMNS) for line in lines]
    ends = [axes.transAxes.inverted().transform(axes.transData.transform((line.x[-1], line.y[-1])))[1] for line in lines]
    for line, text, colour, place in zip(lines, texts, colours, apart(ends, [text.count("\n") + 1 for text in texts]), strict=True):
        axes.annotate(
            text, (line.x[-1], line.y[-1]), (1.03, place), textcoords="axes fraction", color=colour, va="center", linespacing=1.15
        )


def _bars(axes: Any, lines: Sequence[Line], look: Look) -> None:
    """A bar for each line, the first on top: pale up to its last value, in full colour up to its first."""
    for at, line in enumerate(lines):
        colour = look.yardstick if line.name in YARDSTICKS else look.lines[0]
        axes.barh(at, line.y[-1], color=colour, alpha=0.55, height=0.7)
        if len(line.y) > 1:
            axes.barh(at, line.y[0], color=colour, height=0.7)
        axes.annotate(f"{line.y[-1]:,.0f}", (line.y[-1], at), (6, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(lines)), [line.name for line in lines])
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _colours(lines: Sequence[Line], look: Look) -> list[str]:
    ours = iter(look.lines)
    return [look.yardstick if line.name in YARDSTICKS else next(ours) for line in lines]


def apart(places: Sequence[float], rows: Sequence[int]) -> list[float]:
    """Where labels of so many rows of text stand: in the order of their places (0 bottom, 1 top), near them, none over another."""
    found, order = list(places), sorted(range(len(places)), key=lambda at: places[at])

    def gap(one: int, other: int) -> float:
        return LABEL_ROW * (rows[one] + rows[other]) / 2

    for below, above in pairwise(order):
        found[above] = max(found[above], found[below] + gap(below, above))
    found[order[-1]] = min(found[order[-1]], max(1.0, *places))
    for above, below in pairwise(reversed(order)):
        found[below] = min(found[below], found[above] - gap(below, above))
    return found


def merged(lines: Sequence[Line]) -> list[Line]:
    """Lines that lie on each other become one with all their names."""
    names: dict[tuple[tuple[float, ...], tuple[float, ...]], list[str]] = {}
    for line in lines:
        names.setdefault((tuple(line.x), tuple(line.y)), []).append(line.name)
    return [Line(", ".join(of), list(x), list(y)) for (x, y), of in names.items()]
