"""What every command has in common: its options, how it tells a result, how it shows that it is at work."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from messaging.base.clock import now_ms as now_ms
from messaging.base.keys import MAX_ID
from ops.console import err, fail, out

T = TypeVar("T")

Stack = Annotated[
    str | None, typer.Option("--stack", help="A deployed stack, reached with the usual AWS profile; without it: the local AWS.")
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
App = Annotated[str, typer.Option("--app", help="The app.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
ChosenId = Annotated[int | None, typer.Option("--id", min=1, max=MAX_ID, help="A number of your own choice.")]


def tell(value: Any, as_json: bool, text: str | None = None) -> None:
    """The result on stdout: as JSON, or as `text`, or as lines of name and value."""
    if as_json:
        print(json.dumps(value, ensure_ascii=False))
    elif text is not None:
        print(text)
    else:
        for name, each in value.items():
            print(f"{name:16} {', '.join(map(str, each)) if isinstance(each, list) else each}")


def tell_all(rows: list[dict[str, Any]], as_json: bool) -> None:
    """A list on stdout: a JSON array, or a table."""
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
    elif not rows:
        err.print("none")
    else:
        table = Table(*rows[0], box=None, pad_edge=False)
        for row in rows:
            table.add_row(*("" if value is None else escape(str(value)) for value in row.values()))
        out.print(table)


def when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def age(ms: int) -> str:
    """A span of time to the precision that an operator needs."""
    for unit, name in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min")):
        if ms >= 2 * unit:
            return f"{ms // unit} {name}"
    return f"{max(ms, 0) // 1000} s"


def confirm(question: str, yes: bool) -> None:
    """Goes on only with --yes or a yes."""
    try:
        if yes or typer.confirm(question, err=True):
            return
    except typer.Abort:
        pass
    fail("nothing done; --yes goes on without asking")


def with_progress(what: str, total: int, work: Callable[[Callable[[int], None]], T]) -> T:
    """Runs `work` with a progress bar on stderr; the bar is told how many more are done."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(what, total=total)
        return work(lambda done: progress.advance(task, done))


def profile_view(item: dict[str, Any], what: str) -> dict[str, Any]:
    """A listed or stored profile under the names of the command line."""
    view = {f"{what}_id": item["entity_id"]}
    if what == "user":
        view["name"] = item["title"]
    else:
        view |= {"owner_id": item["owner_id"], "history_visible": item["history_visible"]}
    return view | {"created_at": when(item["created_at"])}
