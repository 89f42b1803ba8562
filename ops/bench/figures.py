"""What the benchmark's parts hand to its report: figures, the goals that they are held to, and the lines of its plots."""

from collections.abc import Callable
from dataclasses import dataclass, field

Progress = Callable[[str], None]  # is told what is being measured now, at least every two seconds where that takes longer


@dataclass(frozen=True)
class Figure:
    """One line of the table. `goal`: at most so much; None for a figure that is told for what it says."""

    what: str
    value: float
    unit: str  # "×", "calls", "write units", "$ a million", "ms", "MB", "bytes", …
    goal: float | None = None
    naive: float | None = None  # the same of the naive version
    note: str = ""  # between what it is a ratio, or of which case it is: a few words

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
        return None if self.goal is None else self.value <= self.goal


@dataclass(frozen=True)
class Line:
    """One line of a plot: y over x."""

    name: str
    x: list[float]
    y: list[float]


@dataclass(frozen=True)
class Part:
    """What one module measured. `lines`: by the plot that they are for."""

    name: str
    figures: list[Figure]
    lines: dict[str, list[Line]] = field(default_factory=dict)
