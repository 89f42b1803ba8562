"""parley: apps, users, groups and tokens of a Parley, on the local AWS or, with --stack, on a deployed one; and what runs it."""

import typer
from botocore.exceptions import BotoCoreError, ClientError

from messaging.base.errors import ApiError, Code
from ops.commands import functions
from ops.commands.apps import app
from ops.commands.cost import cost_of
from ops.commands.dead_letters import letters
from ops.commands.doctor import check_up
from ops.commands.groups import group
from ops.commands.inbox import inbox
from ops.commands.keys import keys
from ops.commands.restore import restore_table
from ops.commands.tokens import token
from ops.commands.users import user
from ops.console import fail

main = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for name, commands in (
    ("app", app),
    ("user", user),
    ("group", group),
    ("token", token),
    ("keys", keys),
    ("dead-letters", letters),
    ("inbox", inbox),
):
    main.add_typer(commands, name=name)
for command in (functions.env, functions.invoke, functions.logs):
    main.command()(command)
main.command("doctor")(check_up)
main.command("cost")(cost_of)
main.command("restore")(restore_table)

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


if __name__ == "__main__":
    run()
