"""parley user"""

import typer

from messaging import directory, inbox
from ops import stack as stacks
from ops.commands.common import App, ChosenId, Json, Stack, now_ms, profile_view, tell, tell_all

user = typer.Typer(help="Users of an app.", no_args_is_help=True)


@user.command("create")
def user_create(
    name: str,
    app: App,
    id: ChosenId = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Makes a user; the id is the last line on stdout."""
    stacks.connect(stack)
    item = directory.create(app, "user", now_ms(), id, title=name)
    tell(profile_view(item, "user"), as_json, str(item["entity_id"]))


@user.command("list")
def user_list(app: App, stack: Stack = None, as_json: Json = False) -> None:
    """Every user of an app."""
    stacks.connect(stack)
    directory.app(app)
    tell_all([profile_view(item, "user") for item in directory.listed(app, "user")], as_json)


@user.command("show")
def user_show(user_id: int, app: App, stack: Stack = None, as_json: Json = False) -> None:
    """One user, and the groups that the user is in."""
    stacks.connect(stack)
    directory.app(app)
    item = directory.require(app, user_id, "user", "user")
    joined = [row["conversation"] for row in inbox.rows(app, user_id) if inbox.belongs(row)]
    tell(profile_view(item, "user") | {"groups": joined}, as_json)
