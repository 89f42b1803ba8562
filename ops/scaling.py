"""At which load each quota of AWS binds, reckoned from the settings and from what operations take (`ops/cost.py`).

python -m ops.scaling            docs/scaling.md as the numbers of today make it
python -m ops.scaling --write    writes it

The words of the page are written by hand; what stands between its markers, `<!-- table -->` and `<!-- /table -->`, is put there.
"""

import re
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import typer

from infra.catalog import SHARDS
from infra.settings import ROOT, Settings, load
from messaging.conversations.membership import MAX_MEMBERS
from ops import cost
from ops.cost import Usage

DOCUMENT = ROOT / "docs" / "scaling.md"
STAGE = "prod"
USERS = 10**8  # up to which it is reckoned
# How people are assumed to use it.
MESSAGES_A_DAY, PEAK = 20, 3  # of one user; the busiest hour to the average one
PER_MESSAGE = {"send": 1.0, "unread": 1.0, "history": 0.5, "ack": 0.5}  # requests
CONNECTED = 0.1  # the share of users that hold a socket at the peak
# Quotas of an account in one region, as AWS sets them at first.
API_REQUESTS = 10_000  # a second, HTTP APIs, WebSocket APIs and callbacks to sockets together
# https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
CONNECTS, CONNECTION_S = 500, 115 * 60  # new sockets a second; a socket lives two hours at most, ours say good-bye before
CONCURRENCY = 1_000  # invocations at the same time: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
SCALING, SCALING_S = 1_000, 10  # more of them for each function within so many seconds
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
TABLE_UNITS = 40_000  # writes, and as many reads, of a table on demand a second
NEW_WRITES = 4_000  # of a new table a second; from then on twice the highest peak of the past
PARTITION_WRITES, PARTITION_READS = 1_000, 3_000  # units a second
IN_FLIGHT = (
    120_000  # messages that a standard queue has handed out: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/
)

A_SECOND = MESSAGES_A_DAY * PEAK / 86_400  # messages of one user at the peak
USAGE = Usage(messages=1)  # one-to-one, 200 bytes, with a transaction_id
COLUMNS = ("what", "at most", "binds at", "users", f"at {USERS:,} users", "to raise it", "and then")


class Row(NamedTuple):
    """A quota. `takes`: of it, for each message a second; None where it is not all messages together that meet it (`binds` says what)."""

    what: str
    most: str
    quota: float
    takes: float | None
    raised: str
    then: str
    binds: str = ""

    @property
    def messages(self) -> float:
        return self.quota / self.takes if self.takes else 0

    @property
    def cells(self) -> tuple[str, ...]:
        if not self.takes:
            return self.what, self.most, self.binds, "", "", self.raised, self.then
        share = USERS * A_SECOND / self.messages
        users = rounded(self.messages / A_SECOND)
        return (
            self.what,
            self.most,
            self.binds or f"{rounded(self.messages)} messages a second",
            users,
            f"{share:.2g} ×",
            self.raised,
            self.then,
        )


def rounded(value: float) -> str:
    """Two digits that say something."""
    return f"{float(f'{value:.2g}'):,.0f}"


def rows(chosen: Settings) -> Iterator[Row]:
    requests = sum(PER_MESSAGE.values())
    units = cost.units(USAGE)
    ms = cost.milliseconds(USAGE, records=cost.STREAM_BATCH / 2, members=0)
    busy = sum(PER_MESSAGE[name] * ms[name] for name in PER_MESSAGE) / 1000 + ms["deliver"] / 1000 / (cost.STREAM_BATCH / 2)
    inbox = units["deliver"].writes + PER_MESSAGE["history"] * units["history"].writes + PER_MESSAGE["ack"] * units["ack"].writes
    writer = writes_a_second(chosen)  # of one container
    pushed, limit = chosen.push_limit_members - 1, chosen.push_limit_members
    callbacks = 2 * CONNECTED  # both sides, where they are connected
    route, tables, regions = (
        "`throttle_rate_per_second`",
        "Service Quotas, DynamoDB",
        "a stage in another region, or one for each large tenant",
    )

    yield Row(
        "requests of one route (our setting)",
        f"{chosen.throttle_rate_per_second:,} a second",
        chosen.throttle_rate_per_second,
        1,
        route,
        "the next line",
    )
    yield Row(
        "API Gateway, requests", f"{API_REQUESTS:,} a second", API_REQUESTS, requests, "Service Quotas, API Gateway: throttle rate", regions
    )
    yield Row(
        "API Gateway, requests and callbacks to sockets",
        f"{API_REQUESTS:,} a second",
        API_REQUESTS,
        requests + callbacks,
        "the same quota",
        regions,
    )
    yield Row(
        "API Gateway, new sockets",
        f"{CONNECTS} a second",
        CONNECTS * CONNECTION_S,
        CONNECTED / A_SECOND,
        "Service Quotas, API Gateway: new connections",
        regions,
        f"{rounded(CONNECTS * CONNECTION_S)} users connected",
    )
    yield Row(
        "Lambda, invocations at the same time", f"{CONCURRENCY:,}", CONCURRENCY, busy, "Service Quotas, Lambda (tens of thousands)", regions
    )
    step = SCALING / (ms["send"] / 1000)
    yield Row(
        "Lambda, how fast a function grows",
        f"{SCALING:,} more in {SCALING_S} s",
        0,
        None,
        "fixed; provisioned concurrency before a known rush",
        "clients wait and repeat, as they do on 50004",
        f"{rounded(step)} messages a second more within {SCALING_S} s",
    )
    yield Row(
        "Inbox, a new table",
        f"{NEW_WRITES:,} writes a second",
        NEW_WRITES,
        inbox,
        "by itself to twice its peak; warm throughput before a launch",
        "the next line",
    )
    yield Row("Inbox, a table", f"{TABLE_UNITS:,} writes a second", TABLE_UNITS, inbox, tables, regions)
    yield Row(
        "Messages, a table", f"{TABLE_UNITS:,} writes a second", TABLE_UNITS, units["send"].writes - USAGE.transactions, tables, regions
    )
    yield Row(
        "one conversation, a partition",
        f"{PARTITION_WRITES:,} writes a second",
        0,
        None,
        "fixed by AWS; ours by `conversation_rate_per_second`",
        "more rooms: people cannot read so fast",
        f"{chosen.conversation_rate_per_second} small messages a second in it (our setting)",
    )
    yield Row(
        "one user's Inbox, a partition",
        f"{PARTITION_WRITES:,} writes a second",
        0,
        None,
        "fixed",
        f"a lower `push_limit_members`: groups are read by their head ({limit} members now)",
        f"{PARTITION_WRITES:,} deliveries a second to one user",
    )
    yield Row(
        "the head of a large group, a partition",
        f"{PARTITION_READS:,} reads a second",
        0,
        None,
        "fixed",
        f"{MAX_MEMBERS:,} members are our limit: each may ask every {rounded(MAX_MEMBERS / PARTITION_READS)} s",
        f"{PARTITION_READS:,} lists a second of its members",
    )
    per_shard = chosen.deliver_lanes * writer / units["deliver"].writes
    yield Row(
        "the stream, one shard",
        f"{chosen.deliver_lanes} lanes, {rounded(per_shard)} records a second",
        0,
        None,
        "`deliver_lanes` (10), `worker_memory_mb`",
        f"nothing: a shard is a partition and gets {PARTITION_WRITES:,}; a table has {SHARDS} at first and more as it grows",
        f"{rounded(min(per_shard, PARTITION_WRITES))} messages a second of what falls to it",
    )
    yield Row(
        f"fan-out to groups of {limit}",
        f"{chosen.fanout_max_concurrency} invocations",
        0,
        None,
        "`fanout_max_concurrency` (1,000), as far as Lambda's limit lets it",
        "the next line",
        f"{rounded(chosen.fanout_max_concurrency * writer / pushed)} messages a second to such groups",
    )
    yield Row(
        f"the Inbox of groups of {limit}",
        f"{TABLE_UNITS:,} writes a second",
        0,
        None,
        tables,
        "a lower `push_limit_members`: a message then costs the head alone",
        f"{rounded(TABLE_UNITS / pushed)} messages a second to such groups",
    )
    yield Row(
        "SQS, jobs handed out",
        f"{IN_FLIGHT:,}",
        0,
        None,
        "fixed; requests to a standard queue have no limit",
        "nothing: fan-out bounds it",
        f"never: {chosen.fanout_max_concurrency} invocations hold {chosen.fanout_max_concurrency * cost.QUEUE_BATCH} jobs",
    )


def writes_a_second(chosen: Settings) -> float:
    """Of one container of a worker: its share of a core is what it waits for."""
    return 1000 / (cost.CALL_CPU_MS / min(1, chosen.worker_memory_mb / cost.VCPU_MB))


def document(text: str) -> str:
    """The page with today's numbers; ValueError where a marker is missing."""
    for name, told in (("assumed", _assumed()), ("table", _table(rows(load(STAGE))))):
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"no place for {name}: the page needs <!-- {name} --> and <!-- /{name} --> on lines of their own")
        text = pattern.sub(lambda found, told=told: f"{found[1]}{told}\n{found[2]}", text)  # type: ignore[misc]
    return text


def _assumed() -> str:
    requests = ", ".join(f"{count:g} of {name}" for name, count in PER_MESSAGE.items())
    each = sum(PER_MESSAGE.values())
    return (
        f"A user sends {MESSAGES_A_DAY} messages a day, the busiest hour is {PEAK} times the average one: {USERS:,} users send\n"
        f"{rounded(USERS * A_SECOND)} a second then. A message comes with {each:g} requests ({requests}) and is one-to-one,\n"
        f"of {USAGE.bytes} bytes, with a `transaction_id`. {CONNECTED:.0%} of the users hold a socket at the peak. "
        f"Settings are those of stage {STAGE}."
    )


def _table(found: Iterator[Row]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells for row in found)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(write: Annotated[bool, typer.Option("--write", help="Into docs/scaling.md instead of printing it.")] = False) -> None:
    """docs/scaling.md with the numbers of today."""
    text = document(DOCUMENT.read_text())
    if write:
        DOCUMENT.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    typer.run(main)
