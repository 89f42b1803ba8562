"""parley restore"""

from enum import StrEnum
from typing import Annotated

import typer

from ops import restore, scan
from ops import stack as stacks
from ops.commands.common import Json, Stack, Yes, confirm, now_ms, tell, with_progress
from ops.console import err


class Kind(StrEnum):
    messages = "messages"
    inbox = "inbox"
    directory = "directory"


def restore_table(
    table: Annotated[Kind, typer.Argument(help="Which of the stack's tables has lost something.")],
    source: Annotated[str, typer.Option("--from", help="The table that AWS has restored to a point in time.")],
    yes: Yes = False,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Brings back what a table has lost from a restored copy; what is there stays. Safe at any time."""
    stacks.connect(stack)
    total = scan.size(source)
    err.print(f"Every item of {source} is read, and tried to be put: {total}, and a write for each.")
    confirm("Bring back what is missing?", yes)
    done = with_progress("Restoring", total.items, lambda progress: restore.restore(table, source, now_ms(), progress))
    tell(done._asdict(), as_json, f"{done.put} items brought back, {done.moved} rows moved; every other one was there")
