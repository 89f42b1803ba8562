"""parley keys"""

from typing import Annotated

import typer

from ops import keyring
from ops import stack as stacks
from ops.commands.common import Json, Stack, now_ms, tell, tell_all, when

keys = typer.Typer(help="The keys that sign access tokens.", no_args_is_help=True)

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


@keys.command("rotate")
def keys_rotate(stack: Stack = None, as_json: Json = False) -> None:
    """Adds a key that signs from now on. Tokens of the others stay valid."""
    stacks.connect(stack)
    key = keyring.rotate(now_ms())
    told = f"{key.kid} signs from now on; tokens of the other keys stay valid until these are retired"
    tell({"kid": key.kid, "since": when(key.since_ms)}, as_json, told)


@keys.command("retire")
def keys_retire(
    kid: Annotated[str | None, typer.Argument(help="The oldest key unless said otherwise.")] = None,
    longest_token_days: LongestDays = LONGEST_DAYS,
    force: Annotated[bool, typer.Option("--force", help="A leaked key: whoever holds a token of it has to log in again.")] = False,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Removes a key, once no token of it can be valid any more."""
    stacks.connect(stack)
    removed = keyring.retire(now_ms(), longest_token_days, kid, force)
    tell({"kid": removed}, as_json, f"{removed} is gone: within a minute, what it has signed is refused")
