"""What the last run of the tests went through: histories, faults, interleavings, requests.

    python -m tests.counts            prints it
    python -m tests.counts --write    and puts it into docs/reliability.md

Tests say by `record_property` how much of what they did; pytest writes it to its JUnit report, one for each phase of `make test`.
"""

from collections import Counter
from typing import Annotated
from xml.etree import ElementTree

import typer

from infra.settings import ROOT
from ops.console import fail, out

REPORTS = ROOT / ".local" / "reports"
DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- counts -->", "<!-- /counts -->"


def counts() -> dict[str, int]:
    """Every property that is a number, added up over all tests of the last run; and how many tests there were."""
    found: Counter[str] = Counter()
    for path in sorted(REPORTS.glob("*.xml")):
        for case in ElementTree.parse(path).iter("testcase"):  # noqa: S314 – our own file
            found["tests"] += 1
            for each in case.iter("property"):
                found[each.attrib["name"]] += int(each.attrib["value"])
    if not found:
        fail("no report of a run yet: run `make test`")
    return dict(sorted(found.items()))


def table() -> str:
    rows = [f"| {name} | {count:,} |" for name, count in counts().items()]
    return "\n".join(["| what | how many |", "|---|---:|", *rows])


def main(write: Annotated[bool, typer.Option("--write", help="Put it into docs/reliability.md too.")] = False) -> None:
    """Prints what the last run of the tests went through."""
    told = table()
    out.print(told)
    if write:
        text = DOCUMENT.read_text()
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        DOCUMENT.write_text(f"{before}{BEGIN}\n{told}\n{END}{after}")


if __name__ == "__main__":
    typer.run(main)
