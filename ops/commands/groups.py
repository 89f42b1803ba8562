"""parley group"""

import re
from typing import Annotated, Any

import typer

from messaging.conversations import membership
from messaging.people import directory
from ops import stack as stacks
from ops.commands.common import App, ChosenId, Json, Stack, now_ms, profile_view, tell, tell_all, with_progress
from ops.console import fail

GroupId = Annotated[int, typer.Option("--group", help="The group's id.")]
Members = Annotated[list[int] | None, typer.Option("--member", help="A user's id; may be given many times.")]
MembersFrom = Annotated[typer.FileText | None, typer.Option("--members-from", help="A file with user ids, - for standard input.")]

group = typer.Typer(help="Groups of an app, up to 10,000 members.", no_args_is_help=True)


def ids(members: list[int] | None, file: Any) -> list[int]:
    """The user ids of --member and --members-from."""
    words = re.split(r"[\s,]+", file.read().strip()) if file else []
    wrong = [word for word in words if not re.fullmatch(r"[1-9][0-9]{0,15}", word)]
    if wrong:
        fail(f"--members-from: {wrong[0]!r} is not a user id; the file holds ids between spaces, commas or line ends")
    return [*(members or []), *map(int, words)]


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
        "Adding members", len(members), lambda progress: membership.create(app, owner, members, history_visible, now_ms(), id, progress)
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
    joined = with_progress("Adding members", len(members), lambda progress: membership.join(app, group, members, now_ms(), progress))
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
    with_progress("Removing members", len(members), lambda progress: membership.leave(app, group, members, now_ms(), progress))
    tell({"group_id": group, "left": members}, as_json, f"{len(members)} left")


@group.command("transfer")
def group_transfer(
    app: App,
    group: GroupId,
    to: Annotated[int, typer.Option("--to", help="The member who becomes the owner.")],
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Makes a member the owner; who was it stays a member."""
    stacks.connect(stack)
    membership.transfer(app, group, to)
    tell({"group_id": group, "owner_id": to}, as_json, f"user {to} owns group {group}")


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
