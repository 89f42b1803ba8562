"""parley user"""

import json
import os
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext
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
from ops.console import err, fail, step

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
    yes: Yes = False,
    stack: Stack = None,
) -> None:
    """Everything held about one user, as JSON lines: profile, requests, conversations, messages."""
    stacks.connect(stack)
    directory.app(app)
    directory.require(app, user, "user", "user")
    total, requests = scan.size(settings().messages_table), scan.size(settings().dedup_table)
    err.print(f"The log of all apps is read for what concerns user {user} of {app}, {total}; and the requests of the last day, {requests}.")
    confirm("Read them?", yes)
    try:
        file = os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") if to else sys.stdout
    except OSError as error:
        fail(f"--to: {error}")
    with file if to else nullcontext():
        asked = with_progress("Reading requests", requests.items, lambda progress: list(personal.requests(app, user, progress)))
        found = with_progress("Reading the log", total.items, lambda progress: personal.conversations(app, user, progress))
        lines = with_progress("Exporting", len(found), lambda done: _write(personal.export(app, user, asked, found, now_ms(), done), file))
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
    with step("Looking whether anything stands in the way"):
        personal.require_erasable(app, user)
    total, requests = scan.size(settings().messages_table), scan.size(settings().dedup_table)
    err.print(
        f"What user {user} of {app} wrote becomes empty for everybody, and cannot be restored. `parley user export` hands it out before."
    )
    err.print(
        f"To find it, the log of all apps is read, {total}, and the requests of the last day, {requests}; each of theirs costs a write."
    )
    confirm(f"Erase user {user}?", yes)
    with step("Closing the account, leaving groups"):
        personal.close(app, user, now_ms())
    _settle()
    messages = with_progress("Erasing messages", total.items, lambda progress: personal.erase_messages(app, user, now_ms(), progress))
    with step("Looking for rows"):
        marks = inbox.rows(app, user)
    rows = with_progress("Erasing rows", len(marks), lambda progress: personal.erase_rows(app, user, marks, now_ms(), progress))
    forgotten = with_progress("Reading requests", requests.items, lambda progress: personal.forget_requests(app, user, progress))
    done = {"user_id": user, "messages": messages, "rows": rows, "requests": forgotten}
    tell(done, as_json, f"user {user} is erased: {messages} messages are empty, {rows} rows and {forgotten} requests are gone")


def _settle() -> None:
    """Until no token of the user is taken, and what they sent last is in the log. Also when repeating: who marked them first may have had
    another clock."""
    began = time.monotonic()

    def wait(progress: personal.Progress) -> None:
        waited = 0
        while (left := personal.SETTLED_S - (time.monotonic() - began)) > 0:
            time.sleep(min(WAIT_STEP_S, left))
            progress(int(time.monotonic() - began) - waited)
            waited = int(time.monotonic() - began)

    with_progress("Waiting until nothing of theirs is under way, seconds", round(personal.SETTLED_S), wait)
