"""parley app"""

from typing import Annotated, Any

import typer

from messaging.people import directory
from ops import stack as stacks
from ops.commands.common import Json, Stack, now_ms, tell, tell_all, when

MAX_RATE, MAX_BURST = 100_000, 10_000_000  # units

app = typer.Typer(help="Tenants: nothing of one app is visible to another.", no_args_is_help=True)


def app_view(item: dict[str, Any]) -> dict[str, Any]:
    return {"app_id": item["entity"], "admin_id": item["admin_id"], "created_at": when(item["created_at"])}


@app.command("create")
def app_create(name: Annotated[str, typer.Argument(metavar="APP")], stack: Stack = None, as_json: Json = False) -> None:
    """Makes an app and its administrator."""
    stacks.connect(stack)
    item = directory.create_app(name, now_ms())
    tell(app_view(item), as_json, name)


@app.command("list")
def app_list(stack: Stack = None, as_json: Json = False) -> None:
    """Every app."""
    stacks.connect(stack)
    tell_all([app_view(item) for item in directory.listed(None, "app")], as_json)


@app.command("show")
def app_show(name: Annotated[str, typer.Argument(metavar="APP")], stack: Stack = None, as_json: Json = False) -> None:
    """One app."""
    stacks.connect(stack)
    item = directory.app(name)
    newest = item.get(directory.NEWEST_KEY, 0)
    good = {"key": newest, "oldest_key": item.get(directory.OLDEST_KEY, "the stack's own, as in 0.1.0")}
    tell(app_view(item) | good | {name: item[name] for name in ("send_rate", "send_burst") if name in item}, as_json)


@app.command("limit")
def app_limit(
    name: Annotated[str, typer.Option("--app", help="The app.")],
    rate: Annotated[int, typer.Option(min=0, max=MAX_RATE, help="Units a second; 0: no limit. A unit is one target and started 4 KiB.")],
    burst: Annotated[int, typer.Option(min=1, max=MAX_BURST, help="Units that may come at once beyond that.")] = 600,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """How much an app's administrators and AWS services may send together; from within a minute on."""
    stacks.connect(stack)
    directory.limit_sends(name, rate, burst)
    tell({"app_id": name, "send_rate": rate, "send_burst": burst}, as_json)
