"""How an operation grows with what is stored: 10² to 10⁶ messages in its conversation, 10 to 10³ conversations in a list.

The messages are there as appending leaves them, put directly; then the real handlers run. CPU is the functions' own, above boto3,
without that of the store.
"""

import gc
from collections.abc import Callable
from itertools import count

from messaging.base import keys
from ops.bench import unread
from ops.bench.figures import Figure, Line, Part, Progress
from ops.bench.stage import Stage, Work, stage
from tests.world import APP

MESSAGES = (10**2, 10**3, 10**4, 10**5, 10**6)
CONVERSATIONS = (10, 30, 100, 300, 1000)
FIRST_COPY = 1_000_001  # of the numbers of conversations that are copies of another
GOAL = 1.05
REPEATS = 40  # of each operation for its CPU; the least counts
REPORT_EVERY = 100_000  # messages

_transactions = count(1)
Operation = Callable[[Stage, int, int], Work]  # asked by the first of two users, in the conversation with the second
OPERATIONS: dict[str, Operation] = {
    "send": lambda here, one, other: here.send(one, [other]),
    "send with transaction_id": lambda here, one, other: here.send(one, [other], transaction_id=next(_transactions)),
    "delivery": lambda here, one, other: _delivery(here, one, other),
    "newest page": lambda here, one, other: here.history(one, other),
    "page in the middle": lambda here, one, other: here.history(one, other, msg_id_start=here.newest(one, other) // 2),
    "unread": lambda here, one, other: here.unread(one),
    "read receipt": lambda here, one, other: here.ack(one, other, here.newest(one, other)),
    "deletion": lambda here, one, other: here.delete(one, other),  # the last one: it hides what there was
}


def measure(progress: Progress) -> Part:
    with stage(progress) as here:
        works, cpu_ms = _by_messages(here)
        gc.unfreeze()
        lists = _by_conversations(here)
    least, most = MESSAGES[0], MESSAGES[-1]
    units = {name: _units(sizes[most]) / _units(sizes[least]) for name, sizes in works.items()}
    calls = {name: sizes[most].metered.calls / sizes[least].metered.calls for name, sizes in works.items()}
    cpu = {name: sizes[most] / sizes[least] for name, sizes in cpu_ms.items()}
    told = "10⁶ messages in the conversation, to 10²"
    figures = [
        Figure(f"Units of any operation, {told}", max(units.values()), "×", GOAL, note=f"the most of {', '.join(units)}"),
        Figure(f"AWS calls of any operation, {told}", max(calls.values()), "×", GOAL, note="of the same"),
        Figure(
            f"CPU of any operation, {told}",
            max(cpu.values()),
            "×",
            note=f"{max(cpu, key=lambda name: cpu[name])}; the functions' own, least of {REPEATS}",
        ),
    ]
    each = {number: work.metered.reads / number for number, work in lists.items()}
    figures.append(
        Figure(
            "Unread, for each conversation of 10³",
            each[CONVERSATIONS[-1]],
            "read units",
            note=f"of {CONVERSATIONS[0]}: {each[CONVERSATIONS[0]]:g}",
        )
    )
    figures += unread.figures(progress)
    alike: dict[tuple[float, ...], list[str]] = {}  # operations on the same line of the plot
    for name, sizes in works.items():
        alike.setdefault(tuple(map(_units, sizes.values())), []).append(name)
    by_messages = [Line(", ".join(names), list(MESSAGES), list(curve)) for curve, names in sorted(alike.items(), reverse=True)]
    by_conversations = [Line("unread, read units", list(lists), [work.metered.reads for work in lists.values()])]
    return Part("growth", figures, {"growth": by_messages, "growth with conversations": by_conversations})


def _by_messages(here: Stage) -> tuple[dict[str, dict[int, Work]], dict[str, dict[int, float]]]:
    """What each operation took, and its CPU in ms, by the number of messages."""
    one, other = here.acquainted()
    works: dict[str, dict[int, Work]] = {name: {} for name in OPERATIONS}
    cpu_ms: dict[str, dict[int, float]] = {name: {} for name in OPERATIONS}
    for messages in MESSAGES:
        _fill(here, one, other, messages)
        for name, operation in OPERATIONS.items():
            here.doing(f"{name} of {messages:,} messages")
            spent = []
            for _ in range(REPEATS):
                work = operation(here, one, other)
                spent.append(here.cpu_ms)
                works[name].setdefault(messages, work)
                here.world.drain()
            cpu_ms[name][messages] = min(spent)
    return works, cpu_ms


def _fill(here: Stage, one: int, other: int, messages: int) -> None:
    """As many messages as that, all of them read by both."""
    log, conversation = here.world.aws.tables["Messages"], keys.between(APP, one, other).key
    newest = here.newest(one, other)
    pattern = log[conversation, newest]
    for number in range(newest + 1, messages):
        log[conversation, number] = {**pattern, "msg_id": {"N": str(number)}}
        if number % REPORT_EVERY == 0:
            here.doing(f"a conversation of {number:,} messages")
    gc.freeze()  # a function does not hold its conversations in memory: collecting garbage must not look at them
    here.world.send(one, [other])
    here.world.drain()
    for reader, writer in ((one, other), (other, one)):
        here.world.ack(reader, writer)


def _by_conversations(here: Stage) -> dict[int, Work]:
    """The list of a user with so many conversations, by copies of the row of one."""
    works = {}
    rows = here.world.aws.tables["Inbox"]
    one, other = here.acquainted()
    row = rows[keys.entity(APP, one), other]
    for conversations in CONVERSATIONS:
        here.doing(f"a list of {conversations:,} conversations")
        for number in range(FIRST_COPY, FIRST_COPY + conversations - 1):
            rows[keys.entity(APP, one), number] = {**row, "conversation": {"N": str(number)}}
        works[conversations] = here.unread(one)
    return works


def _delivery(here: Stage, one: int, other: int) -> Work:
    here.world.send(one, [other])
    return here.deliver(here.world.stream())


def _units(work: Work) -> float:
    return work.metered.reads + work.metered.writes
