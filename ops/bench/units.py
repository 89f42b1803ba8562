"""Billable units of each operation in its usual case, on the real handlers; and how long a line each one logs.

Usual: two users who write in turn and read what they get before they answer; messages of 80 characters; containers that are warm.
"""

import random
from base64 import b64decode

from infra.settings import ROOT
from messaging.conversations import inbox
from messaging.people import standing
from ops.bench.figures import Figure, Part, Progress
from ops.bench.naive import FIRST, Naive
from ops.bench.stage import Stage, Work, stage
from ops.cost import CALL_MS
from tests.world import APP

CONVERSATIONS, UNREAD = 100, 20  # of the user whose list is asked for; those with something unread
HISTORY = 60  # messages in a conversation: more than the largest page that is asked for
LINE_GOAL = 200  # bytes
PAGE, GZIP_GOAL = 50, 0.25  # messages; of the bytes of a page
GROUP = 10  # members of a small group


def measure(progress: Progress) -> Part:
    with stage(progress) as here:
        here.doing("units of each operation")
        figures = [*_messages(here), *_requests(here), *_group(here)]
        figures += _unread(here)
        figures += [_who(here), _log_line(here), _compressed(here)]
    return Part("units", figures)


def _messages(here: Stage) -> list[Figure]:
    one, other = here.acquainted()
    theirs = Naive(here.doing)
    theirs.user(FIRST)
    naive = theirs.say(FIRST + 1, "user", FIRST).metered + theirs.deliver().metered
    figures = []
    for which, fields, goal in (("without transaction_id", {}, 3), ("with transaction_id", {"transaction_id": 1}, 4)):
        sent, delivered = here.send(one, [other], **fields), here.deliver(here.world.stream())
        both = sent.metered + delivered.metered
        note = f"and {both.reads:g} read units; sending takes {_units(sent)}, delivering {_units(delivered)}"
        figures.append(
            Figure(f"80 characters to one user, into both inboxes, {which}", both.writes, "write units", goal, naive.writes, note)
        )
    here.send(other, [one])  # without having read what came
    late = here.deliver(here.world.stream())
    return [*figures, Figure("Delivering an answer of somebody who had not read what it answers", late.metered.writes, "write units")]


def _requests(here: Stage) -> list[Figure]:
    one, other = here.acquainted(HISTORY)
    number = here.world.send(one, [other])[0]
    here.world.drain()
    works = {
        "A page of 20 messages with something new in it": here.history(other, one),
        "A page of 20 messages": here.history(other, one),
        "A page of 50 messages": here.history(other, one, limit=50),
        "A read receipt": here.ack(other, one, number),
        "Deleting a conversation": here.delete(other, one),
    }
    figures = []
    for what, work in works.items():
        reads, writes = work.metered.reads, work.metered.writes
        note = f"and {writes:g} write units" if reads and writes else ""
        figures.append(Figure(what, reads or writes, "read units" if reads else "write units", note=note))
    return figures


def _group(here: Stage) -> list[Figure]:
    group = here.group(GROUP)
    here.say(group.members[0], group.number)
    delivered = here.deliver(here.world.stream())
    moved = here.fan_out(here.world.jobs())
    note = f"delivering takes {_units(delivered)} and {delivered.metered.sqs_requests} request of the queue"
    return [Figure(f"Fan-out of a message to a group of {GROUP}", moved.metered.writes, "write units", note=note)]


def _unread(here: Stage) -> list[Figure]:
    """The list of somebody with many conversations, against a plain query of its rows; then with own messages among those unread."""
    reader, writers = here.user(), []
    for at in range(CONVERSATIONS):
        here.doing(f"a list of {CONVERSATIONS} conversations")
        writers.append(writer := here.user())
        for sender, to in ((writer, reader), (reader, writer), (writer, reader)):
            number = here.world.send(sender, [to])[0]
            here.world.drain()
            if at >= UNREAD or number < 3:
                here.world.ack(to, sender, msg_id=number)
    _, plain = here.observe(lambda: inbox.rows(APP, reader))
    usual = here.unread(reader)
    if list(here.world.unread(reader).values()).count(1) != UNREAD:
        raise RuntimeError("the list does not tell what was sent")
    for writer in writers[:UNREAD]:
        here.world.send(reader, [writer])  # over what is unread
        here.world.drain()
        here.world.send(writer, [reader])
        here.world.drain()
    mixed = here.unread(reader)
    what = f"Unread of {CONVERSATIONS} conversations, {UNREAD} unread"
    return [
        Figure(f"{what}, to one query over the rows", _ratio(usual, plain), "×", 1.1, note=f"{_units(usual)}, the query {_units(plain)}"),
        Figure(f"{what}, own messages among them", _ratio(mixed, plain), "×", 1.1, note=f"{_units(mixed)}: none is looked for in the log"),
    ]


def _who(here: Stage) -> Figure:
    """What the caller's check adds to a request of somebody whom the container has not served a moment ago."""
    one, _ = here.acquainted()
    standing._revoked.clear()
    asked, known = here.unread(one), here.unread(one)
    reads, calls = asked.metered.reads - known.metered.reads, asked.metered.calls - known.metered.calls
    note = f"and {calls} call beside the first reads, {asked.round_trips - known.round_trips} round trips; within 30 s nothing"
    return Figure("Asking who calls", reads, "read units", 0.5, note=note)


def _log_line(here: Stage) -> Figure:
    """The longest that an endpoint prints where it succeeds; `CALL_MS` for each AWS call makes its milliseconds two digits."""
    one, other = here.acquainted()
    here.call_ms = round(CALL_MS)
    admin = here.world.admin()
    body = {"type": 1, "targets": [other], "content": "Your parcel is on its way"}
    works = {
        "send": here.send(one, [other], transaction_id=1),
        "notify": here.observe(lambda: here.world.call("POST", "/message/notify", admin, body=body))[1],
        "history": here.history(other, one),
        "ack": here.ack(other, one, 1),
        "unread": here.unread(other),
        "forget": here.delete(other, one),
    }
    here.call_ms = 0
    longest = max(works, key=lambda name: works[name].log_bytes)
    return Figure(
        "Log bytes of a successful request", works[longest].log_bytes, "bytes", LINE_GOAL, note=f"{longest}, the longest line of all"
    )


def _compressed(here: Stage) -> Figure:
    """A page of different messages, each some 80 characters of this project's own prose."""
    one, other = here.acquainted()
    words, rng = (ROOT / "README.md").read_text().split(), random.Random(1)
    for _ in range(PAGE):
        here.world.send(*rng.choice(((one, [other]), (other, [one]))), content=" ".join(rng.choices(words, k=14))[:80])
    sizes = {}
    for accepted in ("gzip", "identity"):
        query, headers = {"opposite_id": other, "limit": PAGE}, {"accept-encoding": accepted}
        reply = here.world.reply("GET", "/message/conversation", here.world.token(one), query=query, headers=headers)
        sizes[accepted] = len(b64decode(reply["body"]) if reply.get("isBase64Encoded") else reply["body"].encode())
    what, note = f"A page of {PAGE} messages, with gzip to without", f"{sizes['gzip']:,} bytes to {sizes['identity']:,}"
    return Figure(what, sizes["gzip"] / sizes["identity"], "×", GZIP_GOAL, note=note)


def _ratio(work: Work, other: Work) -> float:
    return work.metered.reads / other.metered.reads


def _units(work: Work) -> str:
    metered = work.metered
    return " and ".join(f"{count:g} {what}" for count, what in ((metered.reads, "read"), (metered.writes, "write")) if count) + " units"
