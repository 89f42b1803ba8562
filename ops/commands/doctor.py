"""parley doctor"""

import json
from typing import Annotated

import typer
from rich.markup import escape

from ops import doctor
from ops import stack as stacks
from ops.commands.common import Json, Stack
from ops.console import err, out

MARKS = {"ok": "[green]✓[/green]", "note": "[yellow]![/yellow]", "red": "[red]✗[/red]"}
RUNBOOK = "docs/operations.md"


def check_up(
    wait: Annotated[float, typer.Option("--wait", min=1, help="Seconds that a message may take to arrive.")] = 30,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Looks whether everything is well, and sends a message to see; what is red comes with what to do. Exit code 1 if anything is."""
    outputs = stacks.connect(stack)
    local = None if stack else stacks.local()
    name = stack or str(local and local["stack"])
    api_url = str(local["api_url"]) if local else outputs["ApiUrl"]
    patient = doctor.Patient(name, outputs, api_url, local is not None, wait)
    rows = []
    for what, check in doctor.checks().items():
        with err.status(f"{what} …"):
            if not err.is_terminal and not as_json:
                err.print(f"… {what}")
            found = doctor.made(check, patient)
        for finding in found:
            todo = f" → {RUNBOOK}, “{finding.section}”" if finding.state != "ok" and finding.section else ""
            rows.append({"check": what, "state": finding.state, "told": finding.told, "section": finding.section if todo else None})
            if not as_json:
                out.print(f"{MARKS[finding.state]} {what}: {escape(finding.told)}{escape(todo)}", markup=True)
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
    if any(row["state"] == "red" for row in rows):
        raise typer.Exit(1)
