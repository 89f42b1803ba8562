"""How much one sender may send: beyond it they are refused, wherever they write, and nobody else is."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from messaging.conversations import limits
from messaging.people import directory
from ops.bench import deployed
from ops.bench.meter import Meter
from tests import world as worlds
from tests.fast_world import FastWorld, fast_world

RATE, BURST = 20, 600  # units a second, and at once
OWED = BURST // limits.OWED_SHARE
CROWD = [2000 + n for n in range(500)]


@pytest.fixture
def fast() -> Iterator[FastWorld]:
    with fast_world(USER_RATE_PER_SECOND=str(RATE), USER_BURST=str(BURST)) as world:
        for number in (1001, 1002, 1003, *CROWD):
            world.user(number=number)
        yield world


class Container:
    """What one of several containers knows of the senders."""

    def __init__(self) -> None:
        self.known: dict[str, limits.Account] = {}

    def __enter__(self) -> None:
        limits.forget()
        limits._accounts.update(self.known)

    def __exit__(self, *_: object) -> None:
        self.known = dict(limits._accounts)
        limits.forget()


def code(world: FastWorld, targets: list[int], sender: int = 1001, **fields: Any) -> int:
    body = {"type": 1, "targets": targets, "content": "hello"} | fields
    return int(json.loads(world.http("POST", "/message/send", world.token(sender), body=body)["body"])["code"])


def calls(world: FastWorld, run: Callable[[], Any]) -> list[tuple[str, str]]:
    """The AWS calls of a request, each with the table it goes to."""
    made: list[tuple[str, str]] = []

    def watch(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        tables = [request["TableName"]] if "TableName" in request else list(request.get("RequestItems", {}))
        made.extend((operation, table) for table in tables)
        return perform()

    world.injector = watch
    try:
        run()
    finally:
        world.injector = None
    return [(operation, table) for operation, table in made if operation != "GetSecretValue"]


def limited(world: FastWorld) -> list[dict[str, Any]]:
    return [row for row in world.rows("Dedup") if "digest" not in row]


def test_what_exceeds_the_burst_is_refused_for_that_user_alone_wherever_they_write(fast: FastWorld) -> None:
    assert code(fast, CROWD) == 200
    assert code(fast, CROWD[:100]) == 200
    assert code(fast, [1002]) == code(fast, [1003]) == 50004
    assert code(fast, [1003], sender=1002) == 200
    fast.now_ms += 1000
    assert [code(fast, [1002]) for _ in range(RATE + 1)] == [200] * RATE + [50004]


def test_a_user_who_types_pays_no_call_and_no_unit_for_it(fast: FastWorld) -> None:
    code(fast, [1002])
    for _ in range(200):
        made = calls(fast, lambda: code(fast, [1002]))
        made = [each for each in made if each != ("GetItem", "Directory")]  # the app's item, twice a minute
        assert sorted(made) == [("BatchGetItem", "Directory"), ("PutItem", "Messages"), ("Query", "Messages")]
        fast.now_ms += 5000
    assert limited(fast) == []


def test_a_heavy_sender_pays_one_write_a_request_at_most(fast: FastWorld) -> None:
    code(fast, CROWD[:100])
    for _ in range(4):
        made = calls(fast, lambda: code(fast, CROWD[:100]))
        assert made.count(("UpdateItem", "Dedup")) == 1
    (item,) = limited(fast)
    assert item["dedup_key"] == "demo#1001"


def test_all_containers_share_one_limit(fast: FastWorld) -> None:
    containers = [Container() for _ in range(10)]
    taken = 0
    for _ in range(10):
        for container in containers:
            with container:
                taken += 50 * (code(fast, CROWD[:50]) == 200)
    assert BURST <= taken <= BURST + 10 * OWED


def test_many_containers_together_let_through_little_more_than_the_rate(fast: FastWorld) -> None:
    containers, seconds = [Container() for _ in range(20)], 60
    taken, start = 0, fast.now_ms
    for round_ in range(6 * seconds):
        for container in containers[round_ % 2 :: 2]:
            with container:
                taken += code(fast, [1002]) == 200
        fast.now_ms = start + round_ * 1000 // 6
    assert taken <= BURST + RATE * seconds * (1 + len(containers) / 100) + len(containers) * OWED


def test_who_is_over_the_limit_is_refused_from_memory(fast: FastWorld) -> None:
    code(fast, CROWD)
    code(fast, CROWD[:100])
    assert code(fast, CROWD) == 50004
    before = fast.snapshot()
    assert calls(fast, lambda: code(fast, CROWD)) == []
    assert fast.snapshot() == before


def test_a_refusal_does_not_count(fast: FastWorld) -> None:
    for _ in range(20):
        assert code(fast, [*CROWD[:499], 777_777]) == 10000
    code(fast, CROWD)
    for _ in range(20):
        assert code(fast, CROWD) == 50004
    assert code(fast, CROWD[:100]) == 200


def test_what_lost_too_many_races_does_not_count(fast: FastWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("messaging.conversations.log.APPEND_ATTEMPTS", 1)

    def overtaken(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        if operation == "PutItem" and request["TableName"] == "Messages":
            fast.injector = None
            fast.post(1002, [1001])
            fast.injector = overtaken
        return perform()

    for _ in range(OWED):
        fast.injector = overtaken
        assert code(fast, [1002]) == 50004
    fast.injector = None
    assert limits._accounts["demo#1001"].owed == 0
    assert code(fast, CROWD) == code(fast, CROWD[:100]) == 200


def test_a_unit_is_one_target_and_started_4_kib(fast: FastWorld) -> None:
    assert [limits.units(3, size) for size in (0, 1, 4096, 4097, 32_768)] == [3, 3, 3, 6, 24]
    assert code(fast, CROWD[:73], content="x" * 4096 * 7) == 200  # 511 units
    assert code(fast, CROWD[:89]) == 200
    assert code(fast, [1002]) == 50004


def test_what_is_larger_than_the_burst_waits_until_it_is_full(fast: FastWorld) -> None:
    large = {"targets": CROWD[:100], "content": "x" * 20_000}  # 500 units
    huge = {"targets": CROWD[:64], "content": "x" * 32_768 * 1}  # 512 units
    with_most = {"targets": CROWD[:500], "content": "x" * 4_097}  # 1,000 units
    assert code(fast, **with_most) == 200
    assert code(fast, **large) == code(fast, **huge) == code(fast, **with_most) == 50004
    fast.now_ms += 1000 * 1000 // RATE - 1
    assert code(fast, **with_most) == 50004
    fast.now_ms += 1
    assert code(fast, **with_most) == 200


def test_a_finished_request_is_answered_to_who_is_over_the_limit(fast: FastWorld) -> None:
    assert code(fast, CROWD, transaction_id="big") == 200
    assert code(fast, CROWD[:100]) == 200
    assert code(fast, [1002]) == 50004
    assert code(fast, CROWD, transaction_id="big") == 200
    assert len(fast.rows("Messages")) == 600


def test_repeats_do_not_count(fast: FastWorld) -> None:
    for _ in range(BURST + 2):
        assert fast.post(1001, [1002], transaction_id=5)["msg_ids"] == [1]
    assert fast.post(1001, [1003])["code"] == 200


def test_admins_and_aws_services_are_limited_per_app_where_the_operator_says_so(fast: FastWorld) -> None:
    body = {"type": 1, "targets": CROWD, "content": "news"}
    event = {"app_id": "demo", "body": body}
    assert {fast.direct("notify", event)["code"] for _ in range(3)} == {200}
    directory.limit_sends("demo", 10, 600)
    worlds.cold()
    assert fast.direct("notify", event)["code"] == 200
    assert fast.direct("send", event)["code"] == 50004
    reply = fast.http("POST", "/message/notify", fast.admin(), body=body)
    assert (reply["statusCode"], json.loads(reply["body"])["code"]) == (429, 50004)
    assert code(fast, [1002]) == 200
    directory.limit_sends("demo", 0, 600)
    worlds.cold()
    assert fast.direct("notify", event)["code"] == 200


def test_the_containers_of_a_limited_app_know_of_each_other_within_a_second(fast: FastWorld) -> None:
    directory.limit_sends("demo", 1, 600)
    worlds.cold()
    containers, taken, event = (
        [Container() for _ in range(50)],
        0,
        {"app_id": "demo", "body": {"type": 1, "targets": [1002], "content": "x"}},
    )
    for _ in range(20):
        for container in containers:
            with container:
                taken += fast.direct("notify", event)["code"] == 200
        fast.now_ms += 1000
    assert 600 <= taken <= 600 + 20 + len(containers)


def test_a_container_remembers_so_many_senders_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    limits.forget()
    monkeypatch.setattr(limits, "REMEMBERED", 3)
    for number in range(10):
        limits.spend(limits.Limit(f"demo#{number}", RATE, BURST), 1, 1_000_000)
    assert list(limits._accounts) == ["demo#7", "demo#8", "demo#9"]
    limits.forget()


def test_a_request_that_is_too_large_is_refused_before_anything_is_read(fast: FastWorld) -> None:
    code(fast, [1002])
    assert calls(fast, lambda: code(fast, CROWD[:65], content="x" * 32_768)) == []
    assert code(fast, CROWD[:65], content="x" * 32_768) == 50003
    assert code(fast, CROWD[:64], content="x" * 32_768) == 200


def test_a_refused_batch_has_read_no_log(fast: FastWorld) -> None:
    code(fast, [1002])
    made = calls(fast, lambda: code(fast, [1002, 1003, 777_777]))
    assert made == [("BatchGetItem", "Directory")]


def test_repeating_a_large_batch_costs_next_to_nothing(fast: FastWorld) -> None:
    fields: dict[str, Any] = {"content": "x" * 4_096, "transaction_id": 1}
    assert code(fast, CROWD, **fields) == 200
    before = fast.rows("Messages")
    assert code(fast, CROWD, **fields) == 200  # looks at what is there once
    meter = Meter(fast.aws.perform, deployed.tables())
    fast.injector = meter
    codes = {code(fast, CROWD, **fields) for _ in range(100)}
    fast.injector = None
    assert codes == {200}
    assert fast.rows("Messages") == before
    assert meter.total.writes == 0
    assert meter.total.reads <= 100 * 5
