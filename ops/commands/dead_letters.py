"""parley dead-letters"""

from enum import StrEnum
from typing import Annotated, Any

import typer

from messaging.base import keys
from messaging.base.settings import settings
from ops import dead_letters, scan
from ops import stack as stacks
from ops.commands.common import Json, Stack, Yes, age, confirm, now_ms, tell_all, when, with_progress
from ops.console import err, fail

letters = typer.Typer(help="What could not be delivered: see it, deliver it once more.", no_args_is_help=True)

SAMPLE = 100  # letters looked at for the oldest one
SHOWN_MEMBERS = 10
SHOWN_KEY = 60  # characters of what cannot be read
ONE_BATCH = 10  # letters redriven without --all, to see whether the cause is gone


class Queue(StrEnum):
    deliver = "deliver"
    fanout = "fanout"


Queues = Annotated[Queue | None, typer.Option("--queue", help="Only this one of the two.")]


def _chosen(queue: Queue | None, outputs: dict[str, str]) -> list[tuple[Queue, str]]:
    return [(each, outputs[f"{each.capitalize()}DeadQueueUrl"]) for each in Queue if queue in (None, each)]


@letters.command("list")
def letters_list(queue: Queues = None, stack: Stack = None, as_json: Json = False) -> None:
    """How many there are in each queue, and how old the oldest is."""
    outputs, rows = stacks.connect(stack), []
    for each, url in _chosen(queue, outputs):
        with err.status(f"Looking at {each}"):
            total = dead_letters.count(url)
            oldest = dead_letters.look(url, SAMPLE)[:1] if total else []
        rows.append({"queue": str(each), "letters": total, "oldest": age(now_ms() - oldest[0].sent_ms) if oldest else None})
    tell_all(rows, as_json)


@letters.command("show")
def letters_show(
    queue: Queues = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many letters at most.")] = 20,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Which conversations and members are waiting, and since when. Never what was said."""
    outputs, rows = stacks.connect(stack), []
    for each, url in _chosen(queue, outputs):
        total = min(dead_letters.count(url), limit)
        if total:
            found = with_progress(f"Reading {each}", total, lambda progress, url=url: dead_letters.look(url, limit, progress))  # type: ignore[misc]
            rows += [_job_view(letter) if each == Queue.fanout else _place_view(letter) for letter in found]
    tell_all(rows, as_json)


def _job_view(letter: dead_letters.Letter) -> dict[str, Any]:
    if job := letter.job:
        conversation = keys.parse(job.conversation)
        more = len(job.members) - SHOWN_MEMBERS
        who = ", ".join(map(str, job.members[:SHOWN_MEMBERS])) + (f" and {more} more" if more > 0 else "")
        what = f"app {conversation.app_id}, group {conversation.low} up to message {job.last_seq}, sent {when(job.last_at)}, for {who}"
    else:
        what = "no fan-out job"
    return {"queue": "fanout", "since": when(letter.sent_ms), "what": what}


def _place_view(letter: dead_letters.Letter) -> dict[str, Any]:
    place, spoiled = letter.place, letter.unreadable
    if spoiled and spoiled.message:
        conversation, msg_id = spoiled.message
        what = f"a record that cannot be read: {_called(conversation)}, message {msg_id}"
    elif spoiled:
        what = f"a record that cannot be read, {spoiled.sequence} in the stream, of no message"
    elif place is None:
        what = "no place in a stream"
    elif (found := dead_letters.messages_at(place)) is not None:
        newest: dict[str, int] = {}
        for conversation, msg_id in found:
            newest[conversation] = max(msg_id, newest.get(conversation, 0))
        what = "; ".join(f"{_called(conversation)} up to message {msg_id}" for conversation, msg_id in sorted(newest.items()))
    else:
        window = f"{when(round(place.first_at.timestamp() * 1000))} to {when(round(place.last_at.timestamp() * 1000))}"
        what = f"{place.records} records from {window}; they have left the stream, the log has the messages"
    return {"queue": "deliver", "since": when(letter.sent_ms), "what": what or "nothing to deliver"}


def _called(key: str) -> str:
    """A conversation in words."""
    try:
        conversation = keys.parse(key)
    except ValueError:
        return f"no conversation ({key[:SHOWN_KEY]!r})"
    who = " and ".join(map(str, conversation.users())) if conversation.kind == "user" else str(conversation.low)
    return f"app {conversation.app_id}, {conversation.kind} {who}"


@letters.command("redrive")
def letters_redrive(
    queue: Queues = None,
    every: Annotated[bool, typer.Option("--all", help="All of them; otherwise ten, to see whether they get through now.")] = False,
    yes: Yes = False,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Delivers once more. Harmless at any time: what has arrived meanwhile stays as it is."""
    outputs, rows = stacks.connect(stack), []
    left: list[str] = []
    for each, url in _chosen(queue, outputs):
        total = dead_letters.count(url)
        most = total if every else min(total, ONE_BATCH)
        if not most:
            rows.append({"queue": str(each), "redriven": 0, "left": 0})
            continue

        def work(progress: dead_letters.Progress, each: Queue = each, url: str = url, most: int = most) -> dead_letters.Done:
            if each == Queue.fanout:
                return dead_letters.redrive_jobs(url, outputs["FanoutQueueUrl"], most, progress)
            return dead_letters.redrive_records(url, outputs["DeliverFunction"], most, progress)

        done = with_progress(f"Redriving {each}", most, work)
        if done.trimmed:
            done = _from_log(url, outputs["DeliverFunction"], done, yes)
        left += done.left
        rows.append({"queue": str(each), "redriven": done.redriven, "left": max(total - done.redriven, len(done.left))})
    tell_all(rows, as_json)
    if left:
        fail(f"{len(left)} could not be redriven: {', '.join(sorted(set(left)))}; parley logs shows more")


def _from_log(url: str, function: str, done: dead_letters.Done, yes: bool) -> dead_letters.Done:
    """Those whose records have left the stream: the whole log has to be read for the messages of that time."""
    table = settings().messages_table
    total = scan.size(table)
    err.print(f"{len(done.trimmed)} letters are about records that have left the stream: the log has to be read, {total}")
    confirm("Read the log?", yes)
    found = with_progress(
        "Reading the log", total.items, lambda progress: dead_letters.redrive_from_log(url, function, done.trimmed, progress)
    )
    return dead_letters.Done(done.redriven + found.redriven, done.left + found.left, [])
