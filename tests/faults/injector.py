"""Every way in which one AWS call can go wrong, injected at the call by its number, below boto3.

What can strike depends on the call: `faults_of` names it, and `Injector.calls` tells afterwards which calls were made and what could
have struck each, so that a test enumerates faults, and pairs of faults, without knowing beforehand what a function does.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from botocore.exceptions import ReadTimeoutError

from tests.faults.sdk import Crash, error, with_ignored_refusal

Perform = Callable[..., Any]  # performs the call; with keywords instead of its own, or as a `stale` read
WRITES = ("PutItem", "UpdateItem", "DeleteItem")
READS = ("GetItem", "BatchGetItem", "Query")


class Fault(NamedTuple):
    """What happens instead of the call; `kills` the container."""

    name: str
    strike: Callable[[dict[str, Any], Perform], Any]
    kills: bool = False


class Struck(NamedTuple):
    """A call that was made, and what could strike there."""

    operation: str
    faults: tuple[str, ...]


def crash_before(request: dict[str, Any], perform: Perform) -> Any:
    raise Crash


def crash_after(request: dict[str, Any], perform: Perform) -> Any:
    with_ignored_refusal(perform)
    raise Crash


def throttled(request: dict[str, Any], perform: Perform) -> Any:
    raise error("ProvisionedThroughputExceededException")


def unavailable(request: dict[str, Any], perform: Perform) -> Any:
    raise error("InternalServerError", 500)


def conflict(request: dict[str, Any], perform: Perform) -> Any:
    raise error("TransactionConflictException")


def timed_out(request: dict[str, Any], perform: Perform) -> Any:
    with_ignored_refusal(perform)
    raise ReadTimeoutError(endpoint_url="https://aws")


def lost_reply(request: dict[str, Any], perform: Perform) -> Any:
    """The SDK repeats a call whose reply it never got: the function is told the second reply."""
    with_ignored_refusal(perform)
    return perform()


def stale(request: dict[str, Any], perform: Perform) -> Any:
    return perform(stale=True)


def some_keys_unprocessed(request: dict[str, Any], perform: Perform) -> Any:
    """Every second key is read."""
    read, left = _halves({table: wanted["Keys"] for table, wanted in request["RequestItems"].items()})
    asked = {table: {**request["RequestItems"][table], "Keys": keys} for table, keys in read.items() if keys}
    unread = {table: {**request["RequestItems"][table], "Keys": keys} for table, keys in left.items() if keys}
    return {**perform(RequestItems=asked), "UnprocessedKeys": unread}


def all_keys_unprocessed(request: dict[str, Any], perform: Perform) -> Any:
    return {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}


def some_entries_failed(request: dict[str, Any], perform: Perform) -> Any:
    """Every second message is queued."""
    queued, failed = request["Entries"][::2], request["Entries"][1::2]
    return {**perform(Entries=queued), "Failed": [{"Id": entry["Id"], "SenderFault": False} for entry in failed]}


def all_entries_failed(request: dict[str, Any], perform: Perform) -> Any:
    return {"Successful": [], "Failed": [{"Id": entry["Id"], "SenderFault": False} for entry in request["Entries"]]}


CRASHES = (Fault("crash before", crash_before, kills=True), Fault("crash after", crash_after, kills=True))
ANY = (CRASHES[0], Fault("throttled", throttled), Fault("unavailable", unavailable), Fault("timed out", timed_out))
OF_WRITES = (CRASHES[1], Fault("conflict", conflict), Fault("lost reply", lost_reply))
OF_READS = (Fault("stale", stale),)
PARTIAL = {
    "BatchGetItem": (Fault("some keys unprocessed", some_keys_unprocessed), Fault("all keys unprocessed", all_keys_unprocessed)),
    "SendMessageBatch": (
        CRASHES[1],
        Fault("lost reply", lost_reply),
        Fault("some entries failed", some_entries_failed),
        Fault("all entries failed", all_entries_failed),
    ),
}


def faults_of(operation: str, request: dict[str, Any]) -> Iterator[Fault]:
    """What can strike this call."""
    yield from ANY
    yield from PARTIAL.get(operation, ())
    if operation in WRITES:
        yield from OF_WRITES
    elif operation in READS:
        yield from OF_READS


class Injector:
    """Lets each fault of `plan` strike the call of its number, from 0 on; every other call goes through.

    After a crash no call gets through until `revive`: the container is gone, and a repeat finds another one.
    """

    def __init__(self, plan: Mapping[int, str] | None = None) -> None:
        self.plan = plan or {}
        self.calls: list[Struck] = []
        self._dead = False

    def revive(self) -> None:
        self._dead = False

    def __call__(self, operation: str, request: dict[str, Any], perform: Perform) -> Any:
        if self._dead:
            raise Crash
        faults = {fault.name: fault for fault in faults_of(operation, request)}
        wanted = self.plan.get(len(self.calls))
        self.calls.append(Struck(operation, tuple(faults)))
        if wanted is None:
            return perform()
        fault = faults[wanted]
        self._dead = fault.kills
        return fault.strike(request, perform)


def _halves(keys: dict[str, list[Any]]) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Every second key of all tables together, and the others."""
    halves: tuple[dict[str, list[Any]], dict[str, list[Any]]] = ({}, {})
    for at, (table, key) in enumerate((table, key) for table, wanted in keys.items() for key in wanted):
        halves[at % 2].setdefault(table, []).append(key)
    return halves
