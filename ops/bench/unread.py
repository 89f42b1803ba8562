"""What an unread list costs with much unread in it that does not count, and where messages expire: the first time, and from then on.

The messages are there as appending leaves them, put directly; then the real handlers run. CPU is the functions' own, above boto3.
"""

from collections.abc import Iterator

from messaging.base import keys
from messaging.conversations.rules import COMMAND
from ops.bench.figures import Figure, Progress
from ops.bench.stage import Stage, Work, stage
from tests.world import APP

LISTED = 20  # conversations in the list
UNREAD = (10**2, 10**5)
EXPIRING = (10**3, 10**5)
OWN = 100  # messages of the reader's own among those of each conversation, and as many COMMANDs
LARGE = "x" * 32_768  # the longest text
GOAL = 3  # read units a conversation
CPU_GOAL_MS = 1000
RETENTION = {"RETENTION_SECONDS": str(30 * 86_400)}
MANY = 100_000  # conversations of one user
PAGE = 20


def figures(progress: Progress) -> Iterator[Figure]:
    """Of lists in which a COMMAND lies before the read mark and after it: nothing but the log knows the sum at the mark."""
    for content, size in (("x" * 80, "80 characters"), (LARGE, "32 KiB")):
        for unread in UNREAD if content is not LARGE else UNREAD[:1]:
            yield from _with_commands(progress, unread, content, size)
    for unread in EXPIRING:
        with stage(progress, **RETENTION) as here:
            reader, writers = _listed(here, unread, "x" * 80, expiring=True)
            yield from _told(here, reader, len(writers), f"{unread:,} after the mark in each, a third of them expired")
    yield _many(progress)


def _with_commands(progress: Progress, unread: int, content: str, size: str) -> Iterator[Figure]:
    with stage(progress) as here:
        reader, writers = _listed(here, unread, content)
        yield from _told(
            here, reader, len(writers), f"{unread:,} after the mark in each, of {size}, COMMANDs and {OWN // 2} own among them"
        )


def _told(here: Stage, reader: int, conversations: int, what: str) -> Iterator[Figure]:
    first = here.unread(reader)
    cpu_ms = here.cpu_ms
    again = here.unread(reader)
    note = f"the first list after the mark has moved: {_each(first, conversations):g}, and {first.metered.writes:g} write units in all"
    yield Figure(f"A conversation in a list of {conversations}: {what}", _each(again, conversations), "read units", GOAL, note=note)
    if conversations == LISTED:
        yield Figure(
            f"CPU of that list: {what}", max(cpu_ms, here.cpu_ms), "ms", CPU_GOAL_MS, note="the dearer of the first and the second"
        )


def _each(work: Work, conversations: int) -> float:
    return work.metered.reads / conversations


def _listed(here: Stage, unread: int, content: str, expiring: bool = False) -> tuple[int, list[int]]:
    """A reader, and those who wrote to them: the first conversation message by message, the others as copies of it."""
    reader, writer = here.user(), here.user()
    others = [here.user() for _ in range(LISTED - 1)]
    for content_type in (COMMAND, 0, COMMAND, 0):
        here.world.send(writer, [reader], content_type=content_type, content=content)
        here.world.drain()
    here.world.ack(reader, writer, msg_id=2)
    for at in range(OWN):
        here.doing.still()
        here.world.send(
            *((reader, [writer]) if at % 2 else (writer, [reader])), content_type=COMMAND if at % 4 == 0 else 0, content=content
        )
        here.world.drain()
    _fill(here, reader, writer, unread, expiring)
    log, rows = here.world.aws.tables["Messages"], here.world.aws.tables["Inbox"]
    messages = [log[place] for place in log.partition(keys.between(APP, reader, writer).key)]
    row = rows[keys.entity(APP, reader), writer]
    for other in others:
        here.doing(f"a list of {LISTED} conversations with {unread:,} unread each")
        key = keys.between(APP, reader, other).key
        for message in messages if unread <= UNREAD[0] or expiring else messages[:OWN]:  # nothing beyond is asked for
            log[key, int(message["msg_id"]["N"])] = {**message, "conversation": {"S": key}}
        rows[keys.entity(APP, reader), other] = {**row, "conversation": {"N": str(other)}}
    return reader, [writer, *others]


def _fill(here: Stage, reader: int, writer: int, unread: int, expiring: bool) -> None:
    """Messages up to so many; `expiring`: over 45 days, so that a third has expired in the end."""
    log, key = here.world.aws.tables["Messages"], keys.between(APP, reader, writer).key
    newest = here.newest(reader, writer)
    pattern = log[key, newest]
    for at in range(newest + 1, unread):
        here.world.now_ms += 45 * 86_400_000 // unread if expiring else 0
        log[key, at] = {**pattern, "msg_id": {"N": str(at)}, "sent_at": {"N": str(here.world.now_ms)}}
    here.world.send(writer, [reader], content=pattern["content"]["S"])
    here.world.drain()


def _many(progress: Progress) -> Figure:
    """A page of the list of somebody with very many conversations."""
    with stage(progress) as here:
        one, other = here.acquainted()
        rows = here.world.aws.tables["Inbox"]
        row = rows[keys.entity(APP, one), other]
        for number in range(1_000_001, 1_000_000 + MANY):
            rows[keys.entity(APP, one), number] = {**row, "conversation": {"N": str(number)}}
        here.doing(f"a page of a list of {MANY:,}")
        work = here.request("GET", "/message/unread", one, query={"limit": PAGE})
        note = f"each page reads every row; {here.cpu_ms:,.0f} ms of CPU above boto3"
        return Figure(f"A page of {PAGE} of a list of {MANY:,} conversations", work.metered.reads, "read units", note=note)
