"""parley: apps, users, groups and tokens of a Parley, on the local AWS or, with --stack, on a deployed one."""

import json
import re
import shlex
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from messaging import directory, groups, inbox, tokens
from messaging.errors import ApiError, Code
from messaging.keys import MAX_ID
from messaging.models import ADMIN, USER
from ops import stack as stacks
from ops.console import err, fail, out

TOKEN_S = 7 * 86400  # how long a token is valid unless said otherwise
POLL_S = 1.0  # between two looks at the logs
T = TypeVar("T")

Stack = Annotated[
    str | None, typer.Option("--stack", help="A deployed stack, reached with the usual AWS profile; without it: the local AWS.")
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
App = Annotated[str, typer.Option("--app", help="The app.")]
GroupId = Annotated[int, typer.Option("--group", help="The group's id.")]
ChosenId = Annotated[int | None, typer.Option("--id", min=1, max=MAX_ID, help="A number of your own choice.")]
Members = Annotated[list[int] | None, typer.Option("--member", help="A user's id; may be given many times.")]
MembersFrom = Annotated[typer.FileText | None, typer.Option("--members-from", help="A file with user ids, - for standard input.")]

main = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app = typer.Typer(help="Tenants: nothing of one app is visible to another.", no_args_is_help=True)
user = typer.Typer(help="Users of an app.", no_args_is_help=True)
group = typer.Typer(help="Groups of an app, up to 10,000 members.", no_args_is_help=True)
token = typer.Typer(help="Access tokens.", no_args_is_help=True)
for name, commands in (("app", app), ("user", user), ("group", group), ("token", token)):
    main.add_typer(commands, name=name)

HINTS = {
    Code.UNKNOWN_APP: "parley app list shows what there is, parley app create makes one",
    Code.UNKNOWN_USER: "parley user list shows who there is, parley user create makes one",
    Code.UNKNOWN_GROUP: "parley group list shows what there is",
    Code.USER_EXISTS: "leave out --id to get the next free one",
    Code.NOT_A_MEMBER: "parley group show lists the members",
}


def run() -> None:
    """The entry point: what goes wrong is one sentence that says what to do."""
    try:
        main()
    except ApiError as error:
        hint = HINTS.get(error.code)
        fail(error.message + (f" ({hint})" if hint else ""))
    except (BotoCoreError, ClientError) as error:
        fail(f"AWS: {error}")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


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
            table.add_row(*(escape(str(value)) for value in row.values()))
        out.print(table)


def when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def with_progress(what: str, total: int, work: Callable[[Callable[[int], None]], T]) -> T:
    """Runs `work` with a progress bar on stderr; the bar is told how many more are done."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(what, total=total)
        return work(lambda done: progress.advance(task, done))


def ids(members: list[int] | None, file: Any) -> list[int]:
    """The user ids of --member and --members-from."""
    words = re.split(r"[\s,]+", file.read().strip()) if file else []
    wrong = [word for word in words if not re.fullmatch(r"[1-9][0-9]{0,15}", word)]
    if wrong:
        fail(f"--members-from: {wrong[0]!r} is not a user id; the file holds ids between spaces, commas or line ends")
    return [*(members or []), *map(int, words)]


def profile_view(item: dict[str, Any], what: str) -> dict[str, Any]:
    """A listed or stored profile under the names of the command line."""
    view = {f"{what}_id": item["entity_id"]}
    if what == "user":
        view["name"] = item["title"]
    else:
        view |= {"owner_id": item["owner_id"], "history_visible": item["history_visible"]}
    return view | {"created_at": when(item["created_at"])}


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
    tell(app_view(item) | {"revoked_users": [int(user_id) for user_id in item["revoked"]]}, as_json)


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


@group.command("create")
def group_create(
    app: App,
    owner: Annotated[int, typer.Option("--owner", help="The owner's user id; a member too.")],
    member: Members = None,
    members_from: MembersFrom = None,
    history_visible: Annotated[bool, typer.Option("--history-visible", help="New members see what was said before.")] = False,
    id: ChosenId = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Makes a group; the id is the last line on stdout."""
    stacks.connect(stack)
    members = sorted({owner, *ids(member, members_from)})
    group_id = with_progress(
        "Adding members", len(members), lambda progress: groups.create(app, owner, members, history_visible, now_ms(), id, progress)
    )
    tell({"group_id": group_id, "owner_id": owner, "members": len(members)}, as_json, str(group_id))


@group.command("add")
def group_add(
    app: App,
    group: GroupId,
    member: Members = None,
    members_from: MembersFrom = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Makes users members; who is one already stays as before."""
    stacks.connect(stack)
    members = sorted(set(ids(member, members_from)))
    joined = with_progress("Adding members", len(members), lambda progress: groups.join(app, group, members, now_ms(), progress))
    tell({"group_id": group, "joined": joined}, as_json, f"{len(joined)} joined, {len(members) - len(joined)} were members already")


@group.command("remove")
def group_remove(
    app: App,
    group: GroupId,
    member: Members = None,
    members_from: MembersFrom = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Ends memberships."""
    stacks.connect(stack)
    members = sorted(set(ids(member, members_from)))
    with_progress("Removing members", len(members), lambda progress: groups.leave(app, group, members, now_ms(), progress))
    tell({"group_id": group, "left": members}, as_json, f"{len(members)} left")


@group.command("list")
def group_list(app: App, stack: Stack = None, as_json: Json = False) -> None:
    """Every group of an app."""
    stacks.connect(stack)
    directory.app(app)
    tell_all([profile_view(item, "group") for item in directory.listed(app, "group")], as_json)


@group.command("show")
def group_show(group_id: int, app: App, stack: Stack = None, as_json: Json = False) -> None:
    """One group and its members."""
    stacks.connect(stack)
    directory.app(app)
    item = directory.require(app, group_id, "group", "group")
    tell(profile_view(item, "group") | {"members": directory.members(app, group_id)}, as_json)


@token.command("create")
def token_create(
    app: App,
    user: Annotated[int | None, typer.Option("--user", min=1, help="Whose token.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="An administrator's token.")] = False,
    expires_in: Annotated[int, typer.Option("--expires-in", help="Seconds; negative to try out expiry.")] = TOKEN_S,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Makes a token; it is the last line on stdout."""
    if (user is None) == (not admin):
        fail("say whose token: either --user ID or --admin")
    stacks.connect(stack)
    item, role = directory.app(app), ADMIN if admin else USER
    user_id = user or item["admin_id"]
    directory.require(app, user_id, "user", "user")
    text = tokens.issue(app, user_id, role, expires_in, now_ms())
    tell({"token": text, "user_id": user_id, "expires_at": when(now_ms() + expires_in * 1000)}, as_json, text)


@token.command("revoke")
def token_revoke(
    app: App, user: Annotated[int, typer.Option("--user", help="Whose tokens.")], stack: Stack = None, as_json: Json = False
) -> None:
    """Refuses, within a minute, every token that this user was given before now."""
    stacks.connect(stack)
    directory.app(app)
    since = now_ms()
    directory.revoke(app, user, since)
    told = f"every token of user {user} issued before now is refused within a minute"
    tell({"user_id": user, "revoked_before": when(since)}, as_json, told)


@token.command("list")
def token_list(app: App, stack: Stack = None, as_json: Json = False) -> None:
    """Whose tokens were revoked, and when. Valid tokens are not stored anywhere: they are their holders'."""
    stacks.connect(stack)
    revoked = directory.app(app)["revoked"]
    tell_all([{"user_id": int(user_id), "revoked_before": when(ms)} for user_id, ms in sorted(revoked.items())], as_json)


@token.command("show")
def token_show(text: Annotated[str, typer.Argument(metavar="TOKEN")], app: App, stack: Stack = None, as_json: Json = False) -> None:
    """What a token says and whether it is good for this app."""
    stacks.connect(stack)
    claims = tokens.verify(text, app, directory.app(app)["revoked"], now_ms())
    view = {"app_id": claims.app, "user_id": int(claims.sub), "role": "admin" if claims.role == ADMIN else "user"}
    tell(view | {"issued_at": when(round(claims.iat * 1000)), "expires_at": when(round(claims.exp * 1000))}, as_json)


@main.command()
def env() -> None:
    """Prints shell variables of the local demo app: API, ADMIN, ALICE, BOB, CAROL, DAVE (tokens) and GROUP. Use: eval "$(parley env)"."""
    local = stacks.local()
    demo = local["apps"][0]
    variables = {"API": local["api_url"], "ADMIN": demo["admin_token"], "GROUP": demo["groups"][0]["group_id"]}
    variables |= {person["name"].upper(): person["token"] for person in demo["users"]}
    print("\n".join(f"export {name}={shlex.quote(str(value))}" for name, value in variables.items()))


@main.command()
def invoke(
    function: Annotated[str, typer.Argument(help="send, notify, history, forget, ack, unread, deliver or fanout.")],
    event: Annotated[Path, typer.Argument(help="A file with the event, such as those in events/.", exists=True, dir_okay=False)],
    stack: Stack = None,
) -> None:
    """Invokes a deployed function with an event and prints the reply.

    `<token of 1001>` in an event, or `<token of admin>`, becomes a token that is good for an hour.
    """
    outputs = stacks.connect(stack)
    name = outputs.get(f"{function.capitalize()}Function")
    if name is None:
        known = [output.removesuffix("Function").lower() for output in outputs if output.endswith("Function")]
        fail(f"no function {function!r}, there are {', '.join(sorted(known))}")
    try:
        payload = json.loads(event.read_text())
    except ValueError as error:
        fail(f"{event} is not JSON: {error}")
    headers = payload.get("headers", {}) if isinstance(payload, dict) else {}
    if wanted := re.fullmatch(r"<token of (\w+)>", headers.get("access-token", "")):
        app_id = headers["app_id"]
        role, user_id = (ADMIN, directory.app(app_id)["admin_id"]) if wanted[1] == "admin" else (USER, int(wanted[1]))
        headers["access-token"] = tokens.issue(app_id, user_id, role, 3600, now_ms())
    reply = boto3.client("lambda").invoke(FunctionName=name, Payload=json.dumps(payload).encode())
    print(json.dumps(json.load(reply["Payload"]), ensure_ascii=False, indent=2))
    if "FunctionError" in reply:
        fail(f"{name} failed; parley logs shows why")


@main.command()
def logs(
    stack: Stack = None,
    since: Annotated[int, typer.Option("--since", help="How many seconds back to begin.")] = 60,
    follow: Annotated[bool, typer.Option(help="Go on until interrupted.")] = True,
) -> None:
    """Follows the logs of all functions."""
    outputs = stacks.connect(stack)
    names = {value for output, value in outputs.items() if output.endswith("Function")}
    client = boto3.client("logs")
    seen: set[str] = set()
    start = now_ms() - since * 1000
    err.print(f"the logs of {len(names)} functions" + (", Ctrl-C ends" if follow else ""))
    try:
        while True:
            events = []
            for name in names:
                pages = client.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}", startTime=start)
                events += [(event["timestamp"], name, event) for page in pages for event in page["events"]]
            for _, name, event in sorted(events, key=lambda each: each[:2]):
                id = event.get("eventId") or f"{name} {event['timestamp']} {event['message']}"  # the local AWS gives none
                if id not in seen:
                    seen.add(id)
                    print(f"{name.rpartition('-')[2]:8} {event['message'].rstrip()}", flush=True)
            if not follow:
                return
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    run()
