"""parley env, invoke and logs: the deployed functions themselves."""

import json
import re
import shlex
import time
from pathlib import Path
from typing import Annotated

import boto3
import typer

from messaging.people import directory, tokens
from messaging.people.models import ADMIN, USER
from ops import stack as stacks
from ops.commands.common import Stack, now_ms
from ops.console import err, fail

POLL_S = 1.0  # between two looks at the logs


def env() -> None:
    """Prints shell variables of the local demo app: API, ADMIN, ALICE, BOB, CAROL, DAVE (tokens) and GROUP. Use: eval "$(parley env)"."""
    local = stacks.local()
    demo = local["apps"][0]
    variables = {"API": local["api_url"], "ADMIN": demo["admin_token"], "GROUP": demo["groups"][0]["group_id"]}
    variables |= {person["name"].upper(): person["token"] for person in demo["users"]}
    print("\n".join(f"export {name}={shlex.quote(str(value))}" for name, value in variables.items()))


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
