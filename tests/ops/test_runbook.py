"""Every command line that the documents print is one that the command line takes, and every alarm has its section."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from infra.settings import ROOT
from ops import cli
from tests.synthesized import resources

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINES = [(path, line) for path in DOCUMENTS for line in re.findall(r"^(?:\$ )?\.venv/bin/parley ([^\n#]*)", path.read_text(), re.MULTILINE)]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def parsed(line: str) -> str:
    """The full name of the command that a line calls; an error where it does not take these options."""
    command: Any = typer.main.get_command(cli.main)
    words = shlex.split(line)
    context: Any = None
    name: str | None = "parley"
    while True:
        context = command.make_context(name, words, parent=context)
        if not isinstance(command, TyperGroup):
            return context.command_path
        name, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found, line
        command = found


def test_there_are_command_lines_in_the_documents() -> None:
    assert len(LINES) > 25


@pytest.mark.parametrize(("path", "line"), LINES, ids=[f"{path.name}: {line}" for path, line in LINES])
def test_a_command_line_is_taken(path: Path, line: str) -> None:
    assert parsed(line).startswith("parley ")


def test_every_command_for_an_operator_is_in_the_runbook() -> None:
    printed = {parsed(line) for path, line in LINES if path.name == "operations.md"}
    nouns = ("doctor", "keys list", "keys rotate", "keys retire", "dead-letters list", "dead-letters show", "dead-letters redrive")
    more = ("inbox rebuild", "user export", "user erase", "cost", "restore", "logs")
    assert {f"parley {name}" for name in (*nouns, *more)} <= printed


def test_every_alarm_names_a_section_of_the_runbook() -> None:
    told = [alarm["Properties"]["AlarmDescription"] for alarm in resources("prod", "AWS::CloudWatch::Alarm").values()]
    named = {match[1] for each in told if (match := re.search(r"docs/operations\.md#([a-z0-9-]+)", each))}
    assert len(told) > 10
    assert named <= anchors(RUNBOOK), named - anchors(RUNBOOK)


def test_every_link_within_the_runbook_leads_somewhere() -> None:
    linked = set(re.findall(r"\]\(#([a-z0-9-]+)\)", RUNBOOK))
    assert linked
    assert linked <= anchors(RUNBOOK), linked - anchors(RUNBOOK)
