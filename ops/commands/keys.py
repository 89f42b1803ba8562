"""parley keys"""

from typing import Annotated

import typer

from messaging.people import directory, tokens
from ops import keyring
from ops import stack as stacks
from ops.commands.common import App, Json, Stack, now_ms, tell, tell_all, when
from ops.console import fail

keys = typer.Typer(help="The keys that sign access tokens: the stack's, and those of each app that are made of them.", no_args_is_help=True)

OfApp = Annotated[str | None, typer.Option("--app", help="This app's key, instead of the stack's.")]

LongestDays = Annotated[
    int, typer.Option("--longest-token-days", min=1, help="The longest life of any token that you or your own backends issue.")
]
LONGEST_DAYS = 30  # `make up` makes its demo tokens for 30 days, `parley token create` its tokens for 7


@keys.command("list")
def keys_list(longest_token_days: LongestDays = LONGEST_DAYS, stack: Stack = None, as_json: Json = False) -> None:
    """Every key, oldest first: since when it signs, and from when on it can be retired. Never the keys themselves."""
    stacks.connect(stack)
    rows = []
    for key in keyring.read():
        good_from = keyring.retirable_ms(key, longest_token_days)
        rows.append(
            {
                "kid": key.kid,
                "signs": key.signs,
                "since": when(key.since_ms) if key.since_ms else None,
                "until": when(key.until_ms) if key.until_ms else None,
                "retire_after": when(good_from) if good_from else None,
            }
        )
    tell_all(rows, as_json)


@keys.command("show")
def keys_show(app: App, stack: Stack = None, as_json: Json = False) -> None:
    """The key with which the app's own backend signs tokens. It is a secret, and good for this app alone."""
    stacks.connect(stack)
    key = tokens.signing_key(directory.app(app))
    tell({"kid": key.kid, "key": key.value, "alg": tokens.ALGORITHM}, as_json)


@keys.command("rotate")
def keys_rotate(app: OfApp = None, stack: Stack = None, as_json: Json = False) -> None:
    """Adds a key that signs from now on. Tokens of the others stay valid."""
    stacks.connect(stack)
    if app:
        generation = keyring.rotate_app(app)
        told = (
            f"{app} has key {generation} from now on, `parley keys show` shows it; tokens of the others stay valid until these are retired"
        )
        tell({"app_id": app, "generation": generation}, as_json, told)
        return
    key = keyring.rotate(now_ms())
    told = f"{key.kid} signs from now on; tokens of the other keys stay valid until these are retired"
    tell({"kid": key.kid, "since": when(key.since_ms)}, as_json, told)


@keys.command("retire")
def keys_retire(
    kid: Annotated[str | None, typer.Argument(help="The oldest key unless said otherwise.")] = None,
    longest_token_days: LongestDays = LONGEST_DAYS,
    app: OfApp = None,
    force: Annotated[bool, typer.Option("--force", help="A leaked key: whoever holds a token of it has to log in again.")] = False,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Removes a key, once no token of it can be valid any more. With --app: all of its keys but the one that signs, at once."""
    stacks.connect(stack)
    if app:
        if kid:
            fail("say either which key of the stack, or --app")
        generation = keyring.retire_app(app)
        told = f"only key {generation} of {app} is left: within a minute, what the others have signed is refused"
        tell({"app_id": app, "generation": generation}, as_json, told)
        return
    removed = keyring.retire(now_ms(), longest_token_days, kid, force)
    tell({"kid": removed}, as_json, f"{removed} is gone: within a minute, what it has signed is refused")
