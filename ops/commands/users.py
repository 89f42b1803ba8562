"""parley user"""

import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TextIO

import typer

from messaging.base.settings import settings
from messaging.base.telemetry import alias
from messaging.conversations import inbox
from messaging.people import directory
from ops import personal, scan
from ops import stack as stacks
from ops.commands.common import App, ChosenId, Json, Stack, Yes, confirm, now_ms, profile_view, tell, tell_all, with_progress
from ops.console import err, fail

UserId = Annotated[int, typer.Option("--user", min=1, help="The user's id.")]
WAIT_STEP_S = 0.5

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
    secret = directory.app(app)["nonce"]
    tell_all([profile_view(item, "user") | _in_log(secret, item["entity_id"]) for item in directory.listed(app, "user")], as_json)


@user.command("show")
def user_show(user_id: int, app: App, stack: Stack = None, as_json: Json = False) -> None:
    """One user, and the groups that the user is in."""
    stacks.connect(stack)
    secret = directory.app(app)["nonce"]
    item = directory.require(app, user_id, "user", "user")
    joined = [row["conversation"] for row in inbox.rows(app, user_id) if inbox.belongs(row)]
    tell(profile_view(item, "user") | _in_log(secret, user_id) | {"groups": joined}, as_json)


def _in_log(secret: str, user_id: int) -> dict[str, str]:
    """Under which name the functions' log lines tell of a user."""
    return {"in_log": alias(secret, user_id)}


@user.command("export")
def user_export(
    app: App,
    user: UserId,
    to: Annotated[Path | None, typer.Option("--to", help="A new file, readable by you alone; standard output otherwise.")] = None,
    stack: Stack = None,
) -> None:
    """Everything held about one user, as JSON lines: profile, requests, conversations, messages."""
    stacks.connect(stack)
    directory.app(app)
    directory.require(app, user, "user", "user")
    found = personal.conversations(app, user)
    if to is None:
        lines = with_progress("Exporting", len(found), lambda done: _write(personal.export(app, user, found, now_ms(), done), sys.stdout))
    else:
        try:
            file = os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
        except OSError as error:
            fail(f"--to: {error}")
        with file:
            lines = with_progress("Exporting", len(found), lambda done: _write(personal.export(app, user, found, now_ms(), done), file))
    err.print(f"{lines} lines, {len(found)} conversations")


def _write(lines: Iterable[personal.Line], file: TextIO) -> int:
    count = 0
    for line in lines:
        print(json.dumps(line, ensure_ascii=False), file=file)
        count += 1
    return count


@user.command("erase")
def user_erase(app: App, user: UserId, yes: Yes = False, stack: Stack = None, as_json: Json = False) -> None:
    """Erases one user for good: profile, what they wrote, memberships, read marks. Repeat it where it was cut short."""
    stacks.connect(stack)
    directory.app(app)
    rows = personal.conversations(app, user)
    owned = personal.owned(app, user)
    requests = scan.size(settings().dedup_table)
    err.print(
        f"User {user} of {app}, in {len(rows)} conversations. What they wrote there becomes empty for everybody, and cannot be restored."
    )
    if owned:
        err.print(f"They own group {', '.join(map(str, owned))}: it stays, with their number as its owner.")
    err.print(f"The requests of the last day have to be read for theirs: {requests}. `parley user export` hands out what is held before.")
    confirm(f"Erase user {user}?", yes)
    settled_ms = personal.close(app, user, now_ms())
    _wait_until(settled_ms)
    erased = with_progress("Erasing messages", len(rows), lambda progress: personal.erase(app, user, now_ms(), progress))
    with_progress("Reading requests", requests.items, lambda progress: personal.forget_requests(app, user, progress))
    tell({"user_id": user, "conversations": len(rows), "messages": erased}, as_json, f"user {user} is erased, {erased} messages are empty")


def _wait_until(settled_ms: int) -> None:
    """Until no token of the user is taken, and what they sent last is in the log."""
    left_s = (settled_ms - now_ms()) / 1000
    if left_s <= 0:
        return

    def wait(progress: personal.Progress) -> None:
        waited = 0
        while (left := settled_ms - now_ms()) > 0:
            time.sleep(min(WAIT_STEP_S, left / 1000))
            done = int(left_s - max(0, settled_ms - now_ms()) / 1000)
            progress(done - waited)
            waited = done

    with_progress("Waiting until nothing of theirs is under way, seconds", round(left_s), wait)
