"""How we talk to DynamoDB: independent calls side by side, batches that are asked for until they are complete."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, ParamValidationError, ReadTimeoutError

from messaging.base import store
from messaging.base.errors import ApiError, Code
from tests.faults.sdk import error, tampered
from tests.world import World

LONG_S = 5  # a deadlock ends here, and the test with it


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BACKOFF_S", (0, 0))


# --- parallel


def test_parallel_results_come_in_the_order_of_the_calls() -> None:
    ended = [threading.Event() for _ in range(4)]

    def call(at: int) -> int:
        if at + 1 < len(ended):
            assert ended[at + 1].wait(LONG_S)
        ended[at].set()
        return at

    assert store.parallel([partial(call, at) for at in range(len(ended))]) == [0, 1, 2, 3]


def test_nothing_in_parallel_is_no_work() -> None:
    assert store.parallel([]) == []


@pytest.mark.parametrize("failing", [0, 1])
def test_parallel_ends_only_when_every_call_has_ended(failing: int) -> None:
    failed, returned, still_alone = threading.Event(), threading.Event(), []

    def fails() -> None:
        failed.set()
        raise ValueError("first")

    def goes_on() -> None:
        assert failed.wait(LONG_S)
        still_alone.append(not returned.wait(0.05))

    calls: list[Callable[[], None]] = [goes_on, goes_on]
    calls.insert(failing, fails)
    with pytest.raises(ValueError, match="first"):
        store.parallel(calls)
    returned.set()
    assert still_alone == [True, True]


def test_of_several_errors_the_first_calls_one_is_raised() -> None:
    failed = threading.Event()

    def late() -> None:
        assert failed.wait(LONG_S)
        raise ValueError("of the first call")

    def early() -> None:
        failed.set()
        raise KeyError("of the second call")

    with pytest.raises(ValueError, match="of the first call"):
        store.parallel([late, early])
    failed.clear()
    with pytest.raises(ValueError, match="of the first call"):
        store.parallel([lambda: None, late, early])


def test_a_crash_in_another_thread_is_a_crash() -> None:
    def crash() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.parallel([lambda: None, crash])


# --- values


@pytest.mark.parametrize("value", [0, 1, -1, 2**53 - 1, "", "text", True, [1, "a"], {"a": 1}], ids=repr)
def test_a_value_comes_back_as_it_was_stored(value: object) -> None:
    back = store.unpack(store.pack({"value": value}))["value"]
    assert back == value
    assert type(back) is type(value)


def test_none_is_not_stored() -> None:
    assert store.pack({"a": None, "b": 1}) == {"b": {"N": "1"}}


# --- many items


def refs(count: int) -> list[store.Ref]:
    return [("Inbox", {"reader": f"demo#{number}", "conversation": 7}) for number in range(count)]


def fill(count: int) -> None:
    for table, key in refs(count):
        store.dynamodb().put_item(TableName=table, Item=store.pack({**key, "last_seq": int(str(key["reader"]).removeprefix("demo#"))}))


def last_seqs(items: list[store.Item | None]) -> list[int | None]:
    return [item["last_seq"] if item else None for item in items]


def test_many_items_come_in_the_order_asked_for_with_none_for_those_that_do_not_exist(world: World) -> None:
    fill(3)
    first, second, third, missing = refs(4)
    assert last_seqs(store.get_many([third, missing, first, second])) == [2, None, 0, 1]


def test_no_items_are_no_call(world: World) -> None:
    with world.calls() as calls:
        assert store.get_many([]) == []
    assert calls == []


def test_an_item_asked_for_twice_is_read_once_and_given_twice(world: World) -> None:
    fill(1)
    with world.calls() as calls:
        assert last_seqs(store.get_many(refs(1) * 2)) == [0, 0]
    assert [len(call.request["RequestItems"]["Inbox"]["Keys"]) for call in calls] == [1]


def test_more_than_a_hundred_items_take_one_call_a_hundred(world: World) -> None:
    fill(201)
    with world.calls() as calls:
        assert last_seqs(store.get_many(refs(201))) == list(range(201))
    assert sorted(len(call.request["RequestItems"]["Inbox"]["Keys"]) for call in calls) == [1, 100, 100]


def test_items_of_two_tables_are_read_consistently_in_one_call(world: World) -> None:
    alice = world.user("alice")
    fill(1)
    with world.calls() as calls:
        row, profile = store.get_many([*refs(1), ("Directory", {"entity": f"demo#{alice}", "facet": "profile"})])
    assert row == {"reader": "demo#0", "conversation": 7, "last_seq": 0}
    assert profile
    assert profile["what"] == "user"
    (call,) = calls
    assert [request["ConsistentRead"] for request in call.request["RequestItems"].values()] == [True, True]


def leaves(count: int) -> Callable[..., Any]:
    """DynamoDB that answers all but `count` keys of a batch, and those at another time."""

    def answer(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if operation != "BatchGetItem":
            return perform()
        left = {table: dict(wanted) for table, wanted in request["RequestItems"].items()}
        reply = perform()
        (table,) = left
        keys = left[table]["Keys"]
        if len(keys) <= count:
            return reply
        left[table]["Keys"] = keys[-count:]
        answered = [item for item in reply["Responses"][table] if not any(key.items() <= item.items() for key in keys[-count:])]
        return {**reply, "Responses": {table: answered}, "UnprocessedKeys": left}

    return answer


@pytest.mark.usefixtures("_hurried")
def test_keys_that_were_left_unprocessed_are_asked_for_again(world: World) -> None:
    fill(5)
    with world.calls() as calls, tampered(leaves(2)):
        assert last_seqs(store.get_many(refs(5))) == [0, 1, 2, 3, 4]
    assert [len(call.request["RequestItems"]["Inbox"]["Keys"]) for call in calls] == [5, 2]


@pytest.mark.usefixtures("_hurried")
def test_keys_that_are_left_for_ever_are_a_failure_of_the_store(world: World) -> None:
    rounds = []

    def answer(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        rounds.append(operation)
        return {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}

    with tampered(answer), pytest.raises(ApiError) as failure:
        store.get_many(refs(2))
    assert failure.value.code == Code.STORE_FAILED
    assert rounds == ["BatchGetItem"] * store.BATCH_GET_ROUNDS


# --- conditional writes, and what an error means


def put(value: str) -> store.Outcome:
    item = store.pack({"dedup_key": "demo#1", "digest": value})
    return store.attempt(store.dynamodb().put_item, TableName="Dedup", Item=item, ConditionExpression="attribute_not_exists(dedup_key)")


def test_a_conditional_write_that_is_refused_tells_what_was_there(world: World) -> None:
    assert put("first") == store.Outcome(True, {})
    assert put("second") == store.Outcome(False, {"dedup_key": "demo#1", "digest": "first"})


def test_a_write_that_fails_for_another_reason_is_no_refusal(world: World) -> None:
    def answer(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        raise error("ThrottlingException")

    with tampered(answer), pytest.raises(ClientError, match="Throttling"):
        put("first")


@pytest.mark.parametrize(
    "failure",
    [
        *(error(code) for code in sorted(store.THROTTLES)),
        error("InternalServerError", 500),
        error("ServiceUnavailable", 503),
        ReadTimeoutError(endpoint_url="https://x"),
        ConnectTimeoutError(endpoint_url="https://x"),
    ],
    ids=str,
)
def test_throttles_timeouts_and_5xx_are_the_stores(failure: Exception) -> None:
    assert store.is_outage(failure)


@pytest.mark.parametrize(
    "failure", [error("AccessDeniedException"), error("ValidationException"), error("ResourceNotFoundException"), KeyError("x")], ids=str
)
def test_everything_else_is_a_fault_of_ours(failure: Exception) -> None:
    assert not store.is_outage(failure)


def test_a_request_that_the_sdk_itself_refuses_is_a_fault_of_ours(world: World) -> None:
    with pytest.raises(ParamValidationError) as failure:
        store.dynamodb().get_item(TableName="Inbox", Key=5)  # type: ignore[arg-type]
    assert not store.is_outage(failure.value)


@pytest.mark.parametrize("attempt", [1, 3, 50])
def test_the_pause_before_an_attempt_grows_up_to_a_limit(monkeypatch: pytest.MonkeyPatch, attempt: int) -> None:
    bounds: list[tuple[float, float]] = []
    pauses: list[float] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    monkeypatch.setattr(store, "BACKOFF_S", (0.02, 1.0))
    monkeypatch.setattr("messaging.base.store.random.uniform", uniform)
    monkeypatch.setattr("messaging.base.store.time.sleep", pauses.append)
    store.backoff(attempt)
    assert bounds == [(0, min(1.0, 0.02 * 2**attempt))]
    assert pauses == [bounds[0][1]]
