"""parley inbox"""

from functools import partial
from typing import Annotated

import typer

from messaging.base.settings import settings
from messaging.people import directory
from ops import rebuild, scan
from ops import stack as stacks
from ops.commands.common import App, Json, Stack, Yes, confirm, now_ms, tell, with_progress
from ops.console import err
from ops.rebuild import Rebuilt

inbox = typer.Typer(help="The conversation lists and read marks of users.", no_args_is_help=True)


@inbox.command("rebuild")
def inbox_rebuild(
    app: App,
    user: Annotated[int | None, typer.Option("--user", min=1, help="Only this user's conversations: needs no reading of the log.")] = None,
    yes: Yes = False,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Makes every row of the Inbox agree with the log, and makes rows anew that were lost. Safe at any time."""
    stacks.connect(stack)
    directory.app(app)
    groups = [item["entity_id"] for item in directory.listed(app, "group")]
    if user is None:
        total = scan.size(settings().messages_table)
        err.print(f"The whole log has to be read, whatever the app: {total}; and {len(groups)} groups with a row for each member.")
        confirm("Read it all?", yes)
        done = with_progress("Reading the log", total.items, lambda progress: rebuild.conversations(app, now_ms(), progress))
    else:
        directory.require(app, user, "user", "user")
        others = [item["entity_id"] for item in directory.listed(app, "user")]
        err.print(f"Two reads for each of {len(others)} users, one for each of {len(groups)} groups.")
        confirm("Read them?", yes)
        done = with_progress("Asking the log", len(others), partial(rebuild.conversations_of, app, user, others, now_ms()))
    if groups:
        done += with_progress("Groups", len(groups), lambda progress: _groups(app, groups, user, progress))
    told = f"{done.made} rows made anew, {done.moved} moved; every other one was right"
    tell({"made": done.made, "moved": done.moved}, as_json, told)


def _groups(app: str, groups: list[int], user: int | None, progress: rebuild.Progress) -> Rebuilt:
    done = Rebuilt()
    for group in groups:
        done += rebuild.group(app, group, user, now_ms())
        progress(1)
    return done
