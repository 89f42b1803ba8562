"""Dollars of a million messages and requests, everything included but storage, which is told apart; Parley's and the naive version's.

The headline is for `A_SECOND` messages a second, each in another conversation: none of them share a write, and they are as many a month as
API Gateway's first price is for. The curve by use goes from a hobby to a large product, with what the stack costs idle, the same for both,
spread over its messages.
"""

from itertools import count
from statistics import median

from infra.prices import usd
from messaging.base.settings import settings
from ops import cost
from ops.bench import dollars
from ops.bench.deployed import Deployment, deployment
from ops.bench.dollars import Amounts, Traffic
from ops.bench.figures import Figure, Line, Part, Progress
from ops.bench.meter import size
from ops.bench.naive import FIRST, Naive
from ops.bench.stage import Group, Stage, Work, stage

A_SECOND = 100  # messages
VOLUMES = [round(10 ** (exponent / 2)) for exponent in range(8, 19)]  # messages a month
SIZES = (3, 10, 30, 100, 300, 500, 501, 1_000, 10_000, 100_000)  # of groups
TOGETHER = 100  # members up to which the naive worker gets several messages at once: beyond, one fills an invocation
WITH = {False: "without transaction_id", True: "with transaction_id"}
NAIVE = "naive version"
GOALS = {False: 3.7, True: 4.3}  # dollars, by whether there is a transaction_id
RATIO_GOAL = 0.55

Pairs = list[tuple[int, int]]  # of users who know each other; the first one writes
_transactions = count(1)


def measure(progress: Progress) -> Part:
    with stage(progress) as here:
        theirs, deployed = Naive(here.doing), deployment()
        traffic = Traffic(A_SECOND, deployed)
        here.doing("dollars of one-to-one messages")
        pairs = [here.acquainted() for _ in range(deployed.stream_batch)]
        figures = [*_messages(here, theirs, pairs, traffic), *_requests(here, traffic), _storage(here), _idle()]
        lines = {
            "cost by use": _by_use(here, theirs, pairs, deployed),
            "cost by group size": _by_group_size(here, theirs, pairs, traffic),
        }
    return Part("costs", figures, lines)


def _messages(here: Stage, theirs: Naive, pairs: Pairs, traffic: Traffic) -> list[Figure]:
    naive = dollars.a_million(naive_to_user(theirs, traffic))
    figures = []
    for transaction, goal in GOALS.items():
        amounts = to_user(here, pairs, traffic, transaction)
        each, which = dollars.a_million(amounts), WITH[transaction]
        figures += [
            Figure(f"A million one-to-one messages, {which}", each, "$", goal, naive, dollars.largest(amounts)),
            Figure(f"One-to-one messages {which}, to the naive version's", each / naive, "×", RATIO_GOAL, note="dollars"),
        ]
    return figures


def _by_use(here: Stage, theirs: Naive, pairs: Pairs, deployed: Deployment) -> list[Line]:
    """Evenly spread over the month, with the idle costs."""
    use = {name: Line(name, list(VOLUMES), []) for name in (*WITH.values(), NAIVE)}
    for volume in VOLUMES:
        here.doing(f"dollars of {volume:,} messages a month")
        traffic, idle = Traffic(volume / cost.MONTH_S, deployed), _idle().value / volume * 1e6
        for transaction, name in WITH.items():
            use[name].y.append(dollars.a_million(to_user(here, pairs, traffic, transaction)) + idle)
        use[NAIVE].y.append(dollars.a_million(naive_to_user(theirs, traffic)) + idle)
    return list(use.values())


def _idle() -> Figure:
    month = sum(position.usd for position in cost.bill(cost.Usage(messages=0)))
    return Figure("The stack with nothing to do, a month", month, "$", note="alarms, metrics, dashboard, secret, polling of the queue")


# --- one message, from the request into every inbox


def to_user(here: Stage, pairs: Pairs, traffic: Traffic, transaction: bool) -> Amounts:
    fields = [{"transaction_id": next(_transactions)} if transaction else {} for _ in range(traffic.records)]
    sent = [here.send(sender, [to], **each) for (sender, to), each in zip(pairs, fields, strict=False)]
    requests = dollars.total(*(dollars.request(work, traffic) for work in sent))
    delivery = dollars.invocation(here.deliver(here.world.stream()), traffic.deployed.worker, traffic.a_second / len(sent))
    return dollars.share(dollars.total(requests, delivery), len(sent))


def to_group(here: Stage, groups: list[Group], traffic: Traffic) -> Amounts:
    sent = [here.say(group.members[0], group.number) for group in groups]
    parts = [dollars.request(work, traffic) for work in sent]
    batches = traffic.a_second / len(sent)
    parts.append(dollars.invocation(here.deliver(here.world.stream()), traffic.deployed.worker, batches))
    jobs, most = here.world.jobs(), traffic.deployed.queue_batch
    runs = [jobs[at : at + most] for at in range(0, len(jobs), most)]
    for run in runs:
        parts += [dollars.polled(run), dollars.invocation(here.fan_out(run), traffic.deployed.worker, batches * len(runs))]
    return dollars.share(dollars.total(*parts), len(sent))


def naive_to_user(theirs: Naive, traffic: Traffic) -> Amounts:
    theirs.user(FIRST)
    return _naive(theirs, traffic, "user", FIRST, traffic.records)


def naive_to_group(theirs: Naive, traffic: Traffic, members: int) -> Amounts:
    return _naive(theirs, traffic, "group", theirs.group(members), traffic.records if members <= TOGETHER else 1)


def _naive(theirs: Naive, traffic: Traffic, kind: str, target: int, messages: int) -> Amounts:
    parts: list[Amounts] = []
    for sender in range(FIRST + 1, FIRST + 1 + messages):
        work = theirs.say(FIRST if kind == "group" else sender, kind, target)
        parts += [dollars.invocation(work, traffic.deployed, traffic.a_second), {"rest_million": 1 / 1e6, "out_gb": work.reply_bytes / 1e9}]
    parts.append(dollars.invocation(theirs.deliver(), traffic.deployed, traffic.a_second / messages))
    return dollars.share(dollars.total(*parts), messages)


# --- what else there is


def _by_group_size(here: Stage, theirs: Naive, pairs: Pairs, traffic: Traffic) -> list[Line]:
    """Two members are a one-to-one conversation. Each message goes to another group.

    Above the push limit those other groups are small ones: `groups.py` measures that the size makes no difference there.
    """
    ours, naive = Line("Parley", [2], []), Line(NAIVE, [2], [])
    ours.y.append(dollars.a_million(to_user(here, pairs, traffic, False)))
    naive.y.append(dollars.a_million(naive_to_user(theirs, traffic)))
    limit = settings().push_limit_members
    for members in SIZES:
        here.doing(f"dollars of messages to a group of {members:,}")
        groups = [here.group(members), *(here.group(min(members, limit + 1)) for _ in range(traffic.records - 1))]
        for line, amounts in ((ours, to_group(here, groups, traffic)), (naive, naive_to_group(theirs, traffic, members))):
            line.x.append(members)
            line.y.append(dollars.a_million(amounts))
    return [ours, naive]


def _requests(here: Stage, traffic: Traffic) -> list[Figure]:
    """Of the reading endpoints, on a conversation of 60 messages that both sides have read."""
    alice, bob = here.acquainted(60)
    number = here.world.send(alice, [bob])[0]
    here.world.drain()
    works = {
        "pages of 20 messages": here.history(bob, alice),
        "pages of 50 messages": here.history(bob, alice, limit=50),
        "read receipts": here.ack(bob, alice, number),
        "deletions": here.delete(bob, alice),
        "unread lists of 20 conversations": _list_of_20(here),
    }
    priced = {what: dollars.request(work, traffic) for what, work in works.items()}
    return [Figure(f"A million {what}", dollars.a_million(amounts), "$", note=dollars.largest(amounts)) for what, amounts in priced.items()]


def _list_of_20(here: Stage) -> Work:
    reader = here.user()
    for at in range(20):
        writer = here.user()
        here.world.send(writer, [reader])
        here.world.drain()
        if at % 5:
            here.world.ack(reader, writer)
    return here.unread(reader)


def _storage(here: Stage) -> Figure:
    """With its overhead and the copy for recovery; a reservation lives a day of the month."""
    message, reservation = (
        median(size(item) + cost.OVERHEAD_BYTES for item in here.world.aws.tables[name].values()) for name in ("Messages", "Dedup")
    )
    each = message * 1e6 / 1e9 * (usd("table_gb") + usd("backup_gb"))
    note = f"{message:.0f} bytes each; its reservation {reservation:.0f}, for a day"
    return Figure("Keeping a million messages for a month", each, "$", note=note)
