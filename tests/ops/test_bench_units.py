"""What the benchmark says of units and dollars is what the functions do, priced by the list; and the naive version works."""

import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from infra.api import ACCESS_LOG
from infra.prices import usd
from messaging.base import store
from messaging.conversations import membership
from ops import cost
from ops.bench import costs, dollars, growth
from ops.bench import groups as bench_groups
from ops.bench.deployed import Deployment, deployment, line_bytes, tables
from ops.bench.dollars import Traffic
from ops.bench.meter import Metered
from ops.bench.naive import FIRST, Naive
from ops.bench.stage import THREADS, Doing, Stage, Trips, Work, stage

UNTRACED = Deployment(
    memory_mb=cost.VCPU_MB,
    worker_mb=cost.VCPU_MB,
    traced=False,
    lanes=1,
    window_s=1,
    stream_batch=100,
    queue_batch=10,
    access_line_bytes=100,
)


def ignored(what: str) -> None:
    pass


@pytest.fixture
def here() -> Iterator[Stage]:
    with stage(ignored) as found:
        yield found


@pytest.fixture
def naive(here: Stage) -> Naive:
    return Naive(Doing(ignored))


# --- the stage


@pytest.mark.parametrize(("calls", "each", "trips"), [(1, 1, 1), (2, 1, 1), (THREADS, 1, 1), (THREADS + 1, 1, 2), (2, 3, 3), (0, 1, 0)])
def test_independent_calls_lie_side_by_side_as_far_as_there_are_threads(calls: int, each: int, trips: int) -> None:
    line = Trips(now=5)

    def call() -> None:
        line.now += each

    line.side_by_side([call] * calls)
    assert line.now == 5 + trips


def test_the_calls_of_a_send_are_metered_and_put_in_line(here: Stage) -> None:
    one, other = here.acquainted()
    work = here.send(one, [other], transaction_id=1)
    assert (work.metered.calls, work.round_trips) == (len(here.meter.charges), 3)
    assert work.metered.writes == 2
    assert 100 < work.log_bytes <= 200
    assert work.reply_bytes > len('{"code":200,"data":true,"message":null,"msg_ids":[5]}')


def test_a_copied_member_is_one_like_those_who_joined(here: Stage) -> None:
    group = here.group(6)
    for writer in (group.members[0], group.members[-1]):
        here.say(writer, group.number)
        here.world.drain()
    nums = [here.world.num(member, group.number) for member in group.members]
    assert nums == [1, 2, 2, 2, 2, 1]  # nobody counts their own


def test_members_beyond_what_the_product_allows_read_the_head_like_all_others(here: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "MAX_MEMBERS", 600)
    group = here.group(700)
    here.say(group.members[0], group.number)
    here.deliver(here.world.stream())
    assert here.world.jobs() == []
    assert {here.world.num(group.members[at], group.number) for at in (1, 2, 3, 599, 600, 699)} == {1}


def test_what_is_refused_is_not_measured(here: Stage) -> None:
    with pytest.raises(RuntimeError, match="20002"):
        here.history(here.user(), here.group(3).number)


def test_the_meter_knows_every_table_and_the_index_of_the_directory() -> None:
    assert {name: len(table.indexes) for name, table in tables().items()} == {"Messages": 0, "Inbox": 0, "Dedup": 0, "Directory": 1}
    assert "title" in tables()["Directory"].indexes[0].holds
    assert "last_seq" not in tables()["Directory"].indexes[0].holds


# --- units


@pytest.mark.parametrize(("fields", "units"), [({}, 3), ({"transaction_id": 7}, 4)])
def test_a_message_takes_three_write_units_into_both_inboxes_and_a_fourth_with_a_transaction_id(
    here: Stage, fields: dict[str, int], units: int
) -> None:
    one, other = here.acquainted()
    both = here.send(one, [other], **fields).metered + here.deliver(here.world.stream()).metered
    assert both.writes == units


def estimated(here: Stage, name: str) -> tuple[Metered, cost.Units]:
    """What an operation is metered, and what `ops/cost.py` says of it."""
    one, other = here.acquainted()
    usage = cost.Usage(messages=1, conversations=1, transactions=1 if name == "transaction" else 0)
    content = {"content": "x" * usage.bytes}
    for _ in range(cost.PAGE):
        here.world.send(one, [other], **content)
    here.world.drain()
    calls: dict[str, Callable[[], Work]] = {
        "send": partial(here.send, one, [other], **content),
        "transaction": partial(here.send, one, [other], **content, transaction_id=1),
        "history": partial(here.history, other, one),
        "ack": partial(here.ack, other, one, here.newest(one, other)),
        "unread": partial(here.unread, other),
    }
    if name == "deliver":
        calls["send"]()
        calls["deliver"] = partial(here.deliver, here.world.stream())
    return calls[name]().metered, cost.units(usage)["send" if name == "transaction" else name]


@pytest.mark.parametrize("name", ["send", "transaction", "deliver", "history", "ack", "unread"])
def test_the_estimate_of_a_bill_counts_the_units_that_are_metered(here: Stage, name: str) -> None:
    metered, told = estimated(here, name)
    assert (metered.reads, metered.writes) == told


@pytest.mark.parametrize("members", [10, 500, 501])
def test_the_estimate_counts_the_units_of_a_group_message_that_are_metered(here: Stage, members: int) -> None:
    group = here.group(members)
    told = cost.units(cost.Usage(messages=1, group_size=members, transactions=0))
    here.say(group.members[0], group.number)
    delivered = here.deliver(here.world.stream()).metered
    assert (delivered.reads, delivered.writes) == told["deliver"]
    assert here.fan_out(here.world.jobs()).metered.writes == told["fanout"].writes


def test_a_busy_group_shares_its_writes_only_with_a_window(here: Stage) -> None:
    assert bench_groups._busy(here, 1, deployment()) <= 0.2
    assert bench_groups._busy(here, 0, deployment()) >= 1


def test_growth_is_measured_on_conversations_that_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "MESSAGES", (100, 1000))
    monkeypatch.setattr(growth, "REPEATS", 1)
    part = growth.measure(ignored)
    assert {name for line in part.lines["growth"] for name in line.name.split(", ")} == set(growth.OPERATIONS)
    assert all(line.x == [100, 1000] and min(line.y) >= 1 for line in part.lines["growth"])
    assert part.figures[0].met


# --- dollars


def test_a_request_is_priced_position_by_position() -> None:
    work = Work(Metered(reads=2, writes=3, sqs_requests=1, calls=4), round_trips=2, reply_bytes=1000, log_bytes=200)
    billed_ms = math.ceil(2 * cost.CALL_MS + cost.REQUEST_CPU_MS + 4 * cost.CALL_CPU_MS)
    assert dollars.billed_ms(work, UNTRACED, None) == billed_ms
    by_hand = {
        "http_million": 1e-6,
        "lambda_million": 1e-6,
        "lambda_gb_s_million": billed_ms / 1000 * cost.VCPU_MB / 1024 / 1e6,
        "read_unit_million": 2e-6,
        "write_unit_million": 3e-6,
        "sqs_million": 1e-6,
        "log_gb": 300e-9,
        "out_gb": 1000e-9,
        "secret_ten_thousand": 2 / cost.KEYS_EVERY_S / 100 / 1e4,  # 100 a second of 15 ms each: two containers
        "trace_million": 0,
    }
    amounts = dollars.request(work, Traffic(100, UNTRACED))
    assert amounts == pytest.approx(by_hand)
    assert dollars.a_million(amounts) == pytest.approx(sum(amount * usd(name) for name, amount in by_hand.items()) * 1e6)


def test_half_a_core_doubles_the_cpu_time_and_not_the_waiting() -> None:
    work = Work(Metered(calls=2), round_trips=2, reply_bytes=0, log_bytes=0)
    half = Deployment(**{**vars(UNTRACED), "memory_mb": cost.VCPU_MB / 2})
    assert dollars.billed_ms(work, UNTRACED, cpu_ms=8) == 18
    assert dollars.billed_ms(work, half, cpu_ms=8) == 26


@pytest.mark.parametrize(("a_second", "share"), [(0.01, 1), (1, 1), (2, 0.525), (100, 0.0595)])
def test_xray_samples_the_first_of_a_second_and_a_twentieth_of_the_others(a_second: float, share: float) -> None:
    traced = Deployment(**{**vars(UNTRACED), "traced": True})
    work = Work(Metered(), 0, 0, 0)
    assert dollars.invocation(work, traced, a_second)["trace_million"] == pytest.approx(share / 1e6)
    assert dollars.invocation(work, UNTRACED, a_second)["trace_million"] == 0


@pytest.mark.parametrize(("a_second", "records"), [(0.004, 1), (4, 1), (100, 25), (10_000, 100)])
def test_a_delivery_holds_what_its_shard_gets_within_the_window(a_second: float, records: int) -> None:
    assert Traffic(a_second, UNTRACED).records == records


def test_a_delivery_of_many_costs_each_message_less(here: Stage) -> None:
    pairs = [here.acquainted() for _ in range(50)]
    alone, together = (costs.to_user(here, pairs, Traffic(a_second, UNTRACED), False) for a_second in (4, 200))
    assert [each["write_unit_million"] for each in (alone, together)] == pytest.approx([3e-6, 3e-6])
    assert together["lambda_million"] == pytest.approx(1.02e-6)
    assert alone["lambda_million"] == pytest.approx(2e-6)


def test_what_is_deployed_is_read_from_the_template() -> None:
    found = deployment()
    assert found.memory_mb >= 128
    assert (found.stream_batch, found.queue_batch) == (100, 10)
    assert (found.traced, found.access_line_bytes) == (False, 0)


def test_a_line_of_the_access_log_is_as_long_as_its_usual_values_make_it() -> None:
    assert line_bytes(json.dumps(ACCESS_LOG)) > len(json.dumps(dict.fromkeys(ACCESS_LOG, "")))
    with pytest.raises(ValueError, match="identity"):
        line_bytes('{"id":"$context.requestId","ip":"$context.identity.sourceIp"}')


# --- the naive version


def test_the_naive_version_numbers_messages_and_counts_what_is_unread(naive: Naive) -> None:
    group = naive.group(4)
    for _ in range(3):
        naive.say(FIRST, "group", group)
    naive.deliver()
    rows: list[Any] = [store.unpack(item) for item in naive.aws.tables["Inbox"].values()]
    assert {row["user"]: (row["unread"], row["last_msg_id"]) for row in rows} == {
        f"u{FIRST}": (0, 3),
        **{f"u{FIRST + at}": (3, 3) for at in (1, 2, 3)},
    }
    assert [place[1] for place in naive.aws.tables["Messages"]] == [1, 2, 3]


def test_the_naive_version_is_idempotent(naive: Naive) -> None:
    naive.user(FIRST)
    first = naive.say(FIRST + 1, "user", FIRST, transaction_id=9)
    again = naive.say(FIRST + 1, "user", FIRST, transaction_id=9)
    assert len(naive.aws.tables["Messages"]) == 1
    assert (first.metered.writes, again.metered.writes) == (4, 1)


def test_the_naive_version_refuses_whom_it_does_not_know(naive: Naive) -> None:
    with pytest.raises(RuntimeError, match="not found"):
        naive.say(FIRST + 1, "user", FIRST)


def test_the_naive_version_pays_for_each_member_and_message(naive: Naive) -> None:
    for members in (3, 30):
        for messages in (1, 5):
            group = naive.group(members)
            for _ in range(messages):
                assert naive.say(FIRST, "group", group).metered == Metered(reads=0.5, writes=4, calls=5)
            delivered = naive.deliver()
            assert delivered.metered.writes == members * messages
            assert delivered.round_trips == delivered.metered.calls
