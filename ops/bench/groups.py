"""Groups: what a message costs its sender and altogether whatever their size, and how a busy one shares its writes."""

from messaging.base.settings import settings
from ops.bench import dollars
from ops.bench.costs import A_SECOND
from ops.bench.delivery import by_lane
from ops.bench.deployed import Deployment, deployment
from ops.bench.dollars import Traffic
from ops.bench.figures import Figure, Line, Part, Progress
from ops.bench.meter import Metered
from ops.bench.naive import FIRST, Naive
from ops.bench.stage import Stage, Work, stage

SMALL, LARGE = 10, 10_000  # members: what the sender pays is compared
SIZES = (SMALL, 100, 500, 501, 1_000, LARGE, 100_000)
UNITS_GOAL = 4
BUSY_MEMBERS, BUSY_MESSAGES, BUSY_S = 200, 100, 10
BUSY_GOAL = 0.2  # Inbox writes for each member and message


def measure(progress: Progress) -> Part:
    sent: dict[int, Work] = {}
    whole: dict[int, Metered] = {}
    with stage(progress) as here:
        deployed = deployment()
        for members in SIZES:
            here.doing(f"a group of {members:,}")
            group = here.group(members)
            sent[members] = here.say(group.members[0], group.number)
            whole[members] = sent[members].metered + here.deliver(here.world.stream()).metered
            if jobs := here.world.jobs():
                whole[members] += here.fan_out(jobs).metered
        pulled = {members: whole[members] for members in SIZES if members > settings().push_limit_members}
        windows = {}
        for window_s in (deployed.window_s, 0):
            here.doing(f"a busy group, delivered every {window_s} s" if window_s else "a busy group, delivered one by one")
            windows[window_s] = _busy(here, window_s, deployed)

        theirs = Naive(here.doing)
        theirs.say(FIRST, "group", theirs.group(BUSY_MEMBERS))
        naive = theirs.deliver().metered.writes / BUSY_MEMBERS

    prices = {members: dollars.a_million(dollars.request(work, Traffic(A_SECOND, deployed))) for members, work in sent.items()}
    most = max(pulled.values(), key=lambda metered: metered.writes)
    told = f"{LARGE:,} members to {SMALL}"
    busy = f"Inbox writes for each member and message, {BUSY_MESSAGES} messages in {BUSY_S} s to {BUSY_MEMBERS}"
    figures = [
        Figure("A group message, its sender's dollars", prices[LARGE] / prices[SMALL], "×", 1.0, note=told),
        Figure("A group message, its sender's AWS calls", sent[LARGE].metered.calls / sent[SMALL].metered.calls, "×", 1.0, note=told),
        Figure("A group message, its sender's units", _units(sent[LARGE]) / _units(sent[SMALL]), "×", 1.0, note=told),
        Figure(
            "A message to a group above the push limit",
            most.writes,
            "write units",
            UNITS_GOAL,
            note=f"and {most.reads:g} read units; the most of {', '.join(f'{members:,}' for members in pulled)} members",
        ),
        Figure(busy, windows[deployed.window_s], "writes", BUSY_GOAL, naive, f"a window of {deployed.window_s} s"),
        Figure(busy, windows[0], "writes", note="no window: delivered one by one"),
    ]
    growth = [
        Line("sender, dollars a million", list(prices), list(prices.values())),
        Line("whole message, write units", list(whole), [metered.writes for metered in whole.values()]),
    ]
    return Part("groups", figures, {"growth with members": growth})


def _units(work: Work) -> float:
    return work.metered.reads + work.metered.writes


def _busy(here: Stage, window_s: int, deployed: Deployment) -> float:
    """Messages evenly spread, each from another member; the deliveries that the stream's mapping makes of them.

    A conversation is one partition of the log, so its records come through one shard, and through any of its lanes. A delivery takes what
    comes to its lane within the window from its first record on; its jobs are fanned out before the next one's come.
    """
    group = here.group(BUSY_MEMBERS)
    every_ms = BUSY_S * 1000 // BUSY_MESSAGES
    together = max(1, min(window_s * 1000 // every_ms, deployed.stream_batch))
    writes = 0
    for at in range(BUSY_MESSAGES):
        here.say(group.members[at % BUSY_MEMBERS], group.number)
        here.world.now_ms += every_ms
        if at % together == together - 1:
            for records in by_lane(here.world.stream(), deployed.lanes):
                here.deliver(records)
                writes += _inbox_writes(here)
                jobs = here.world.jobs()
                for first in range(0, len(jobs), deployed.queue_batch):
                    here.fan_out(jobs[first : first + deployed.queue_batch])
                    writes += _inbox_writes(here)
    return writes / BUSY_MESSAGES / BUSY_MEMBERS


def _inbox_writes(here: Stage) -> int:
    """Of what was observed last, the refused ones too."""
    return sum(charge.operation == "UpdateItem" and charge.table == settings().inbox_table for charge in here.meter.charges)
