"""parley token"""

from typing import Annotated

import typer

from messaging.base import store
from messaging.people import directory, standing, tokens
from messaging.people.models import ADMIN, USER
from ops import stack as stacks
from ops.commands.common import App, Json, Stack, now_ms, tell, tell_all, when
from ops.console import fail

TOKEN_S = 7 * 86400  # how long a token is valid unless said otherwise

token = typer.Typer(help="Access tokens.", no_args_is_help=True)


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
    text = tokens.issue(app, user_id, role, expires_in, now_ms())
    tell({"token": text, "user_id": user_id, "expires_at": when(now_ms() + expires_in * 1000)}, as_json, text)


@token.command("revoke")
def token_revoke(
    app: App, user: Annotated[int, typer.Option("--user", help="Whose tokens.")], stack: Stack = None, as_json: Json = False
) -> None:
    """Refuses, within a minute, every token that this user was given before now."""
    stacks.connect(stack)
    directory.app(app)
    since = directory.revoke(app, user, now_ms())
    told = f"every token of user {user} issued before now is refused within a minute"
    tell({"user_id": user, "revoked_before": when(since)}, as_json, told)


@token.command("list")
def token_list(app: App, stack: Stack = None, as_json: Json = False) -> None:
    """Whose tokens were revoked, and when; every user is read for it. Valid tokens are not stored anywhere: they are their holders'."""
    stacks.connect(stack)
    item = directory.app(app)
    users = [user["entity_id"] for user in directory.listed(app, "user")]
    profiles = store.get_many([directory.ref(app, user_id) for user_id in users])
    since = {user_id: directory.revoked_ms(item, profile or {}, user_id) for user_id, profile in zip(users, profiles, strict=True)}
    tell_all([{"user_id": user_id, "revoked_before": when(ms)} for user_id, ms in since.items() if ms], as_json)


@token.command("show")
def token_show(text: Annotated[str, typer.Argument(metavar="TOKEN")], app: App, stack: Stack = None, as_json: Json = False) -> None:
    """What a token says and whether it is good for this app."""
    stacks.connect(stack)
    item = directory.app(app)
    claims = tokens.verify(text, item, now_ms(), {})
    standing.confirm(item, claims)
    view = {"app_id": claims.app, "user_id": int(claims.sub), "role": "admin" if claims.role == ADMIN else "user"}
    tell(view | {"issued_at": when(round(claims.iat * 1000)), "expires_at": when(round(claims.exp * 1000))}, as_json)
