"""The injector does to a call what it says, and only to the one that it is told."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from infra.catalog import FUNCTIONS
from tests.faults.injector import Injector, faults_of
from tests.faults.sdk import Crash, error

KEYS = {"RequestItems": {"One": {"Keys": [1, 2, 3], "ConsistentRead": True}, "Two": {"Keys": [4], "ConsistentRead": True}}}
ENTRIES = {"Entries": [{"Id": str(number)} for number in range(3)]}


class Aws:
    """Notes what reaches it."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []

    def __call__(self, **changed: Any) -> dict[str, Any]:
        self.got.append(changed)
        return {"reply": len(self.got)}


def struck(operation: str, request: dict[str, Any], fault: str) -> tuple[Any, Aws]:
    """What a call that a fault strikes is told, and what reaches AWS."""
    aws = Aws()
    try:
        return Injector({0: fault})(operation, request, aws), aws
    except (ClientError, ReadTimeoutError, Crash) as told:
        return told, aws


def test_a_crash_cannot_be_caught_as_an_exception_and_no_later_call_gets_through() -> None:
    assert not issubclass(Crash, Exception)
    aws, injector = Aws(), Injector({1: "crash after"})
    assert injector("PutItem", {}, aws) == {"reply": 1}
    for operation in ("PutItem", "GetItem", "Query"):
        with pytest.raises(Crash):
            injector(operation, {}, aws)
    assert len(aws.got) == 2
    injector.revive()
    assert injector("PutItem", {}, aws) == {"reply": 3}


@pytest.mark.parametrize(
    ("fault", "times"), [("crash before", 0), ("crash after", 1), ("timed out", 1), ("lost reply", 2), ("throttled", 0)]
)
def test_a_write_takes_effect_as_often_as_the_fault_says(fault: str, times: int) -> None:
    told, aws = struck("PutItem", {}, fault)
    assert len(aws.got) == times
    assert isinstance(told, BaseException) is (fault != "lost reply")


def test_a_reply_is_lost_even_if_it_was_a_refusal() -> None:
    asked = []

    def refuse(**changed: Any) -> None:
        asked.append(changed)
        raise error("ConditionalCheckFailedException")

    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        Injector({0: "lost reply"})("PutItem", {}, refuse)
    assert len(asked) == 2


def test_keys_that_are_left_unprocessed_are_told_and_not_read() -> None:
    told, aws = struck("BatchGetItem", KEYS, "some keys unprocessed")
    assert aws.got == [{"RequestItems": {"One": {"Keys": [1, 3], "ConsistentRead": True}}}]
    assert told["UnprocessedKeys"] == {"One": {"Keys": [2], "ConsistentRead": True}, "Two": {"Keys": [4], "ConsistentRead": True}}
    told, aws = struck("BatchGetItem", KEYS, "all keys unprocessed")
    assert (told, aws.got) == ({"Responses": {}, "UnprocessedKeys": KEYS["RequestItems"]}, [])


def test_entries_that_fail_are_told_and_not_queued() -> None:
    told, aws = struck("SendMessageBatch", ENTRIES, "some entries failed")
    assert aws.got == [{"Entries": [{"Id": "0"}, {"Id": "2"}]}]
    assert [failure["Id"] for failure in told["Failed"]] == ["1"]
    told, aws = struck("SendMessageBatch", ENTRIES, "all entries failed")
    assert ([failure["Id"] for failure in told["Failed"]], aws.got) == (["0", "1", "2"], [])


def test_only_reads_are_stale_and_only_writes_conflict() -> None:
    assert struck("Query", {}, "stale")[1].got == [{"stale": True}]
    reads, writes = ({fault.name for fault in faults_of(operation, {})} for operation in ("GetItem", "UpdateItem"))
    assert reads - writes == {"stale"}
    assert writes - reads == {"crash after", "conflict", "lost reply"}


def test_no_function_makes_a_transaction() -> None:
    """Which is why no enumeration meets one: a transaction would need an action that no role has."""
    actions = {action for row in FUNCTIONS for actions in row.tables.values() for action in actions}
    assert actions <= {"GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem"}
