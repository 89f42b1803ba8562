"""The estimate counts what the code really asks of the store, and stands on prices whose source is named."""

import pytest

from infra.prices import PRICES
from ops import cost
from ops.cost import Usage
from tests.ops.conftest import Parley
from tests.synthesized import resources
from tests.world import Call, World


def metered(calls: list[Call]) -> tuple[float, float]:
    """Read and write units of calls on items that are small: one a key (half a one weakly), one a page of a query, one a write."""
    reads, writes = 0.0, 0.0
    for call in calls:
        if call.operation == "BatchGetItem":
            reads += sum(len(table["Keys"]) for table in call.request["RequestItems"].values())
        elif call.operation in ("GetItem", "Query"):
            reads += 1 if call.request.get("ConsistentRead") else 0.5
        elif call.operation in ("PutItem", "UpdateItem"):
            writes += 1
    return reads, writes


def estimated(operation: str, **usage: float) -> tuple[float, float]:
    found = cost.units(Usage(messages=1, **usage))  # type: ignore[arg-type]
    return tuple(found[operation])


@pytest.mark.parametrize("transactions", [0, 1])
def test_a_send_to_a_user_takes_what_is_estimated(world: World, alice: int, bob: int, transactions: int) -> None:
    world.unread(alice)  # the app, and who sends, is in memory
    with world.calls() as calls:
        world.send(alice, [bob], transaction_id=5 if transactions else None)
    assert metered(calls) == estimated("send", transactions=transactions)
    records = world.stream()
    with world.calls() as calls:
        world.deliver(records)
    assert metered(calls) == estimated("deliver")


@pytest.mark.parametrize("members", [3, 5])
def test_a_message_to_a_group_takes_what_is_estimated(world: World, alice: int, bob: int, members: int) -> None:
    group = world.group(alice, bob, *(world.user() for _ in range(members - 2)))
    world.unread(alice)
    with world.calls() as calls:
        world.say(alice, group)
    assert metered(calls) == estimated("send", transactions=0, group_size=members)
    records = world.stream()
    with world.calls() as calls:
        world.deliver(records)
    assert metered(calls) == estimated("deliver", group_size=members)
    jobs = world.jobs()
    with world.calls() as calls:
        world.fan_out(jobs)
    assert metered(calls) == estimated("fanout", group_size=members)


def test_reading_takes_what_is_estimated(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    with world.calls() as calls:
        world.unread(bob)
    assert metered(calls) == tuple(map(sum, zip(estimated("unread"), estimated("who"), strict=True)))
    with world.calls() as calls:
        world.unread(bob)
    assert metered(calls) == estimated("unread")
    with world.calls() as calls:
        world.history(bob, alice)
    reads, writes = metered(calls)
    pages_beyond_the_first = estimated("history")[0] - 3
    assert (reads + pages_beyond_the_first, writes) == estimated("history")
    with world.calls() as calls:
        world.ack(bob, alice, msg_id=1)
    assert metered(calls) == estimated("ack")


def test_a_large_group_costs_its_senders_and_its_readers_heads_instead_of_rows() -> None:
    pushed, pulled = (sum(each.usd for each in cost.bill(Usage(messages=10**6, group_size=size))) for size in (500, 501))
    assert pulled < pushed / 10


def test_ten_times_the_messages_cost_about_ten_times_as_much() -> None:
    small, large = (sum(each.usd for each in cost.bill(Usage(messages=count, pages=count, receipts=count))) for count in (10**8, 10**9))
    assert 8 < large / small < 10.5


def test_what_a_stack_has_whatever_is_sent_is_what_the_template_has() -> None:
    assert len(resources("prod", "AWS::CloudWatch::Alarm")) == cost.ALARMS
    assert len(resources("prod", "AWS::CloudWatch::Dashboard")) == cost.DASHBOARDS
    filters = resources("prod", "AWS::Logs::MetricFilter").values()
    names = {each["MetricName"] for one in filters for each in one["Properties"]["MetricTransformations"]}
    assert len(names) == cost.METRICS


def test_every_price_has_a_source_and_a_name() -> None:
    priced = {name: price for name, price in PRICES.items() if isinstance(price, dict)}
    assert len(priced) > 10
    assert all(price["source"].startswith("https://aws.amazon.com/") and price["usd"] > 0 and price["what"] for price in priced.values())


def test_the_command_adds_up(parley: Parley) -> None:
    told = parley("cost", "--messages", 1_000_000, "--group-size", 10, "--polls", 5_000_000, "--json").json
    assert sum(position["usd"] for position in told["positions"]) == pytest.approx(told["total_usd"])
    assert told["usd_per_million_messages"] == pytest.approx(told["total_usd"])
    text = parley("cost", "--messages", 1_000_000, "--group-size", 10, "--polls", 5_000_000)
    assert f"{told['total_usd']:,.2f}" in text.out
    assert PRICES["as_of"] in text.err
