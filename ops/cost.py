"""What a month costs: how much of what AWS bills for each operation takes, times the prices of `prices.json`.

| Operation        | reads                                       | writes                                      |
|------------------|---------------------------------------------|---------------------------------------------|
| who asks         | half a unit, unless it was the same user in the same container within 30 s |  |
| send             | target or membership, newest number         | the message, one for each started KB        |
| transaction_id   |                                             | its record                                  |
| deliver, to user |                                             | both users' rows                            |
| deliver, to group| the member list (pushed)                    | head, the sender's row                      |
| fan-out, pushed  |                                             | each other member's row                     |
| unread           | the list, 4 KB a unit; each large group's head |                                          |
| history          | own row, the page, the other user's row     | the fetched mark, where something was new   |
| read receipt     |                                             | one row                                     |

Reads are consistent but for the first: one unit for each started 4 KB. A busy group costs less than this, because jobs that wait
together are merged.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from infra.prices import PRICES, usd
from ops.scan import READ_UNIT

MONTH_S = 30 * 86400
WRITE_UNIT = 1024  # bytes, AWS
ROW_BYTES = 200  # an Inbox row
MEMBER_BYTES = 40  # a member in the Directory's listing
ITEM_BYTES = 120  # of a message beside what it says: key, number, time, sender, nonce
OVERHEAD_BYTES = 100  # for each stored item, AWS
PAGE = 20  # messages of history
MEMBERS_PER_JOB, PUSH_LIMIT = 100, 500
REPLY_BYTES = {"send": 400, "unread": 350, "history": 450, "ack": 350}  # with headers, before what is in it
ENTRY_BYTES, VIEW_BYTES = 125, 560  # in a reply: a conversation of the list; a message beside what it says
LOG_BYTES = {"request": 195, "batch": 110}  # a line of an endpoint, and of a worker
ACCESS_LOG_BYTES = 110  # a line of API Gateway's, where it is asked for
MEMORY_MB, WORKER_MB = 512, 1536  # of an endpoint, and of deliver and fanout
LANES = 2  # in which a delivery's records come
# What Lambda bills are milliseconds: those of AWS calls one after another, and CPU, stretched as far as the memory buys less than a core.
# Only the Lambda lines depend on them; CloudWatch has yours.
CALL_MS = 5.0  # of an AWS call from a function in the same region: assumed
# On a full core, warm: of an invocation, mostly Lambda's runtime and assumed (`ops/bench/warm.py` measures 0.1 to 0.5 ms of ours); and of
# each AWS call through the SDK, as `ops/bench/warm.py` measures it.
REQUEST_CPU_MS, CALL_CPU_MS = 1.0, 0.7
VCPU_MB = 1769  # memory that buys a whole core: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
PARALLEL = 16  # calls side by side in one invocation
STREAM_BATCH, QUEUE_BATCH = 100, 10  # records and jobs per invocation at most
IDLE_POLLS = 5 * MONTH_S / 20  # receives by Lambda of a queue in a month: five pollers, 20 s each
KEYS_EVERY_S = 45  # a container reads the secret again
ENDPOINTS = 6
TRACED_SHARE, TRACED_PER_S = 0.05, 1  # X-Ray's default sampling
ALARMS, METRICS, DASHBOARDS = 25, 3, 1


@dataclass(frozen=True)
class Usage:
    """Of a month. `group_size` 2 is one-to-one; `transactions`: the share of messages that carry a transaction_id."""

    messages: int
    group_size: int = 2
    polls: int = 0
    pages: int = 0
    receipts: int = 0
    bytes: int = 200
    conversations: int = 20
    transactions: float = 1.0
    months_kept: int = 12
    own_key: bool = False
    traced: bool = False
    access_log: bool = False

    @property
    def pushed(self) -> bool:
        """Whether each member's row is written."""
        return 2 < self.group_size <= PUSH_LIMIT


class Units(NamedTuple):
    """DynamoDB units of one operation."""

    reads: float
    writes: float


class Position(NamedTuple):
    """A line of the bill: how much of what, at which price."""

    what: str
    amount: float
    usd: float


def units(usage: Usage) -> dict[str, Units]:
    """Of one message, poll, page and receipt; and of asking who asks, at most."""
    group, share = usage.group_size > 2, usage.transactions
    listing = ceil(usage.group_size * MEMBER_BYTES / READ_UNIT) if usage.pushed else 0
    heads = usage.conversations if usage.group_size > PUSH_LIMIT else 0
    return {
        "send": Units(2, ceil((usage.bytes + ITEM_BYTES) / WRITE_UNIT) + share),
        "deliver": Units(listing, 2),
        "fanout": Units(0, usage.group_size - 1 if usage.pushed else 0),
        "unread": Units(ceil(usage.conversations * ROW_BYTES / READ_UNIT) + heads, 0),
        "history": Units(1 + ceil(PAGE * (usage.bytes + ITEM_BYTES) / READ_UNIT) + (not group), 1),
        "ack": Units(0, 1),
        "who": Units(0.5, 0),
    }


def bill(usage: Usage) -> list[Position]:
    """The positions of a month, largest first."""
    return sorted((_position(*line) for line in _amounts(usage)), key=lambda position: -position.usd)


def _position(price: str, amount: float) -> Position:
    return Position(PRICES[price]["what"], amount, amount * usd(price))


def _amounts(usage: Usage) -> Iterator[tuple[str, float]]:
    sent = usage.messages
    calls = {"send": sent, "unread": usage.polls, "history": usage.pages, "ack": usage.receipts}
    requests = sum(calls.values())
    batches = sent / _together(sent / LANES, STREAM_BATCH)
    jobs = sent * ceil((usage.group_size - 1) / MEMBERS_PER_JOB) if usage.pushed else 0
    runs = jobs / _together(jobs, QUEUE_BATCH)
    invoked = {**calls, "deliver": batches, "fanout": runs}
    ms = milliseconds(usage, records=sent / (batches or 1), members=sent * (usage.group_size - 1) / (runs or 1))
    each = units(usage)
    counted = {**calls, "deliver": sent, "fanout": sent, "who": requests}

    yield "http_million", requests / 1e6
    yield "lambda_million", sum(invoked.values()) / 1e6
    memory = {name: WORKER_MB if name in ("deliver", "fanout") else MEMORY_MB for name in invoked}
    yield "lambda_gb_s_million", sum(invoked[name] * ms[name] * memory[name] for name in invoked) / 1000 / 1024 / 1e6
    yield "read_unit_million", sum(counted[name] * each[name].reads for name in each) / 1e6
    yield "write_unit_million", sum(counted[name] * each[name].writes for name in each) / 1e6
    stored = usage.months_kept * sent * (usage.bytes + ITEM_BYTES + OVERHEAD_BYTES) / 1e9
    yield "table_gb", stored
    yield "backup_gb", stored
    yield "sqs_million", ((sent if usage.pushed else 0) + 2 * runs + IDLE_POLLS) / 1e6
    yield "log_gb", (requests * (LOG_BYTES["request"] + ACCESS_LOG_BYTES * usage.access_log) + (batches + runs) * LOG_BYTES["batch"]) / 1e9
    if usage.traced:
        invocations = sum(invoked.values())
        yield "trace_million", min(invocations, TRACED_PER_S * MONTH_S * len(invoked) + TRACED_SHARE * invocations) / 1e6
    replies = {"unread": usage.conversations * ENTRY_BYTES, "history": PAGE * (VIEW_BYTES + usage.bytes)}
    yield "out_gb", sum(count * (REPLY_BYTES[name] + replies.get(name, 0)) for name, count in calls.items()) / 1e9
    containers = ENDPOINTS * ceil(requests / MONTH_S * ms["send"] / 1000)
    yield "secret_ten_thousand", min(requests, containers * MONTH_S / KEYS_EVERY_S) / 1e4
    yield "secret", 1
    yield "alarm", ALARMS
    yield "metric", METRICS
    yield "dashboard", DASHBOARDS
    if usage.own_key:
        yield "key", 1


def milliseconds(usage: Usage, records: float, members: float) -> dict[str, float]:
    """Billed for an invocation: of deliver with so many records, of fan-out with so many members."""
    share = usage.transactions
    in_turn = 4 if usage.pushed else 2  # who wrote, the head, the list, the jobs; or both users
    return {
        "send": billed_ms(3 + share, 2 + share),
        "unread": billed_ms(1, 1),
        "history": billed_ms(3, 2),
        "ack": billed_ms(1, 1),
        "deliver": billed_ms(in_turn * records, in_turn * ceil(records / PARALLEL), memory_mb=WORKER_MB),
        "fanout": billed_ms(members, ceil(members / PARALLEL), memory_mb=WORKER_MB),
    }


def billed_ms(calls: float, in_turn: float, cpu_ms: float | None = None, memory_mb: int = MEMORY_MB) -> float:
    """Of an invocation that makes so many AWS calls, so many of them one after another; `cpu_ms` on a full core where it was measured."""
    cpu = REQUEST_CPU_MS + CALL_CPU_MS * calls if cpu_ms is None else cpu_ms
    return ceil(in_turn * CALL_MS + cpu / min(1, memory_mb / VCPU_MB))


def _together(in_a_month: float, most: int) -> float:
    """How many come together within a second, evenly spread: that many share an invocation."""
    return min(max(in_a_month / MONTH_S, 1), most)
