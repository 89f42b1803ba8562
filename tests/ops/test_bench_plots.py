"""The plots: the same bytes for the same figures, for light and dark pages, and readable where lines meet."""

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ops.bench import plots
from ops.bench.figures import Line
from ops.bench.plots import LOOKS, Plot

LINES = [Line("ours", [10, 1_000, 100_000], [1, 2, 3]), Line("naive version", [10, 1_000, 100_000], [2, 40, 900])]
COST = Plot("cost", "cost", "What it costs", "messages", "", "log", plots.dollars)
BARS = Plot("start", "start", "Start-up", "ms", "", bars=True)


@pytest.mark.parametrize("plot", [COST, BARS], ids=lambda plot: plot.name)
def test_a_plot_is_drawn_for_light_and_dark_pages_alike_each_time(plot: Plot, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        plots.draw(plot, LINES, folder)
    assert sorted(path.name for path in first.iterdir()) == [f"{plot.name}-dark.svg", f"{plot.name}-light.svg"]
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 – our own file


@pytest.mark.parametrize("look", LOOKS)
def test_a_page_has_colours_of_its_own(look: str, tmp_path: Path) -> None:
    plots.draw(COST, LINES, tmp_path)
    svg = (tmp_path / f"cost-{look}.svg").read_text()
    (other,) = LOOKS.keys() - {look}
    assert LOOKS[look].text in svg
    assert LOOKS[look].yardstick in svg
    assert LOOKS[other].text not in svg


@pytest.mark.parametrize(
    ("number", "told"), [(5, "5"), (1_000, "1\nthousand"), (10_000, "10\nthousand"), (2_500_000, "2.5\nmillion"), (10**9, "1\nbillion")]
)
def test_large_numbers_are_told_in_words(number: int, told: str) -> None:
    assert plots.words(number) == told


@pytest.mark.parametrize("places", [[0.5, 0.5, 0.5], [0.99, 1.0, 0.98], [0.0, 0.01, 0.02], [0.1, 0.9, 0.5]])
def test_labels_never_cover_each_other_and_keep_their_order(places: list[float]) -> None:
    found = plots.apart(places, [2, 2, 2])
    order = sorted(range(3), key=lambda at: places[at])
    assert sorted(range(3), key=lambda at: found[at]) == order
    assert all(found[above] - found[below] >= 2 * plots.LABEL_ROW - 1e-9 for below, above in pairwise(order))
    assert max(found) <= 1


def test_labels_that_have_room_stay_where_they_are() -> None:
    assert plots.apart([0.1, 0.9, 0.5], [1, 1, 1]) == [0.1, 0.9, 0.5]


def test_lines_on_each_other_become_one() -> None:
    one, same, other = (Line(name, [1, 2], [3, y]) for name, y in (("a", 4), ("b", 4), ("c", 5)))
    assert plots.merged([one, same, other]) == [Line("a, b", [1, 2], [3, 4]), other]
