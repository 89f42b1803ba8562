"""The catalog against the code: what each function is granted is what it calls, with nothing missing and nothing spare."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from infra.catalog import WITH_RETENTION
from messaging.base import store
from messaging.base.errors import Code
from messaging.conversations import log
from tests import world as worlds
from tests.infra.template import ENDPOINTS, NAMES, ROWS
from tests.world import Call, World

Use = tuple[str, str]  # table (or secret, or queue) and operation

TABLE_NAMES = {"Messages": "messages", "Inbox": "inbox", "Dedup": "dedup", "Directory": "directory"}
COMMAND = 6
DAY_S = 86_400


class Watch:
    """Collects what is called inside `with watch:`, as a container that has just started calls it."""

    def __init__(self, world: World) -> None:
        self.world, self.uses = world, set[Use]()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        worlds.forget_caches()
        with self.world.calls() as made:
            yield
        self.uses |= {use for call in made for use in uses(call)}


def uses(call: Call) -> list[Use]:
    request = call.request
    if call.operation == "BatchGetItem":
        return [(TABLE_NAMES[table], call.operation) for table in request["RequestItems"]]
    if "TableName" in request:
        return [(TABLE_NAMES[request["TableName"]], call.operation)]
    return [("queue" if "QueueUrl" in request else "secret", call.operation)]


def granted(name: str, retention: bool) -> set[Use]:
    row = ROWS[name]
    grants: set[Use] = {(table, action) for table, actions in row.tables.items() for action in actions}
    if retention:
        grants |= {(table, action) for table, actions in WITH_RETENTION.get(name, {}).items() for action in actions}
    if name in ENDPOINTS:
        grants.add(("secret", "GetSecretValue"))
    if row.enqueues:
        grants.add(("queue", "SendMessageBatch"))  # IAM calls it sqs:SendMessage
    return grants


def _post(world: World, watch: Watch, path: str, token: str, **body: Any) -> None:
    fields = {"type": 1, "content_type": 0, "content": "hello"} | body
    with watch():
        reply = world.call("POST", path, token, body=fields)
    assert reply["code"] == 200, reply


def _posting(world: World, watch: Watch, path: str, role: Callable[[int], str]) -> None:
    """Send and notify do the same calls: plain, idempotent, to a group, refused after a look at what was reserved, and with a reservation
    that somebody else's message took."""
    alice, bob = world.user("alice"), world.user("bob")
    group, token = world.group(alice, bob), role(alice)
    _post(world, watch, path, token, targets=[bob], from_user_id=alice)
    _post(world, watch, path, token, targets=[bob], from_user_id=alice, transaction_id=1)
    _post(world, watch, path, token, targets=[group], type=2, from_user_id=alice)
    with watch():
        refused = world.call("POST", path, token, body={"type": 1, "targets": [group], "content": "hello", "transaction_id": 3})
    assert refused["code"] == Code.UNKNOWN_USER
    crash, append = True, log.append

    def append_or_die(*arguments: Any, **reserved: Any) -> int | None:
        if crash:
            raise MemoryError
        return append(*arguments, **reserved)

    body = {"type": 1, "content_type": 0, "content": "late", "targets": [bob], "from_user_id": alice, "transaction_id": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "append", append_or_die)
        world.http("POST", path, token, body=body)
        crash = False
        world.send(bob, [alice])  # into the slot that was reserved
        _post(world, watch, path, token, **body)
    _refused(world, watch, path, token, body | {"transaction_id": 4})


def _refused(world: World, watch: Watch, path: str, token: str, body: dict[str, Any]) -> None:
    """A request that loses its only race, and removes what it had reserved."""
    (target,), sender, append = body["targets"], body["from_user_id"], log.append

    def overtaken(*arguments: Any, **reserved: Any) -> int | None:
        patch.setattr(log, "append", append)
        world.send(target, [sender])
        return append(*arguments, **reserved)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "append", overtaken)
        patch.setattr(log, "APPEND_ATTEMPTS", 1)
        with watch():
            reply = world.http("POST", path, token, body=body)
    assert reply["statusCode"] == 429


def send(world: World, watch: Watch) -> None:
    _posting(world, watch, "/message/send", world.token)


def notify(world: World, watch: Watch) -> None:
    _posting(world, watch, "/message/notify", lambda user: world.admin())


def _get(world: World, watch: Watch, verb: str, path: str, reader: int, **query: Any) -> None:
    token = world.token(reader)
    with watch():
        reply = world.call(verb, path, token, query=query)
    assert reply["code"] == 200, reply


def history(world: World, watch: Watch) -> None:
    alice, bob = world.user("alice"), world.user("bob")
    world.send(alice, [bob])
    world.drain()
    _get(world, watch, "GET", "/message/conversation", bob, opposite_id=alice)


def forget(world: World, watch: Watch) -> None:
    alice, bob = world.user("alice"), world.user("bob")
    _get(world, watch, "DELETE", "/message/conversation", bob, conversation_id=alice)
    world.send(alice, [bob])
    _get(world, watch, "DELETE", "/message/conversation", bob, conversation_id=alice)


def ack(world: World, watch: Watch) -> None:
    alice, bob = world.user("alice"), world.user("bob")
    _get(world, watch, "GET", "/message/ack", bob, conversation_id=alice)
    world.send(alice, [bob])
    _get(world, watch, "GET", "/message/ack", bob, conversation_id=alice)


def unread(world: World, watch: Watch) -> None:
    os.environ["PUSH_LIMIT_MEMBERS"] = "2"
    worlds.forget_caches()
    alice, bob, carol = world.user("alice"), world.user("bob"), world.user("carol")
    world.say(alice, world.group(alice, bob, carol))  # read by its head
    for writer in (alice, carol):
        world.send(writer, [bob])
        world.send(writer, [bob], content_type=COMMAND)
        world.send(writer, [bob], content_type=COMMAND)
    world.drain()
    world.ack(bob, alice, msg_id=2)  # the message after it tells the sum there
    row = world.row(bob, carol) or {}
    row.pop("skip_sum")  # as 0.1.0 left it: the log is counted
    store.dynamodb().put_item(TableName="Inbox", Item=store.pack(row))
    _get(world, watch, "GET", "/message/unread", bob)


def deliver(world: World, watch: Watch) -> None:
    alice, bob = world.user("alice"), world.user("bob")
    world.send(alice, [bob])
    world.say(alice, world.group(alice, bob))
    world.send(alice, [bob])
    *records, last = world.stream()
    with watch():
        assert world.deliver([last]) == {"batchItemFailures": []}  # before the first one, as another lane may
        assert world.deliver(records) == {"batchItemFailures": []}


def fanout(world: World, watch: Watch) -> None:
    alice, bob = world.user("alice"), world.user("bob")
    world.say(alice, world.group(alice, bob))
    world.deliver(world.stream())
    jobs = world.jobs()
    assert jobs
    with watch():
        assert world.fan_out(jobs) == {"batchItemFailures": []}


SCENARIOS = {each.__name__: each for each in (send, notify, history, forget, ack, unread, deliver, fanout)}


@pytest.mark.parametrize("retention", [False, True], ids=["kept for ever", "with retention"])
@pytest.mark.parametrize("name", NAMES)
def test_a_function_calls_all_that_it_is_granted_and_nothing_else(world: World, name: str, retention: bool) -> None:
    os.environ["RETENTION_SECONDS"] = str(30 * DAY_S if retention else 0)
    watch = Watch(world)
    SCENARIOS[name](world, watch)
    assert watch.uses == granted(name, retention)


def test_a_call_that_is_not_granted_would_be_seen(world: World) -> None:
    watch = Watch(world)
    with watch(), suppress(store.dynamodb().exceptions.ResourceNotFoundException):
        store.dynamodb().delete_item(TableName="Inbox", Key=store.pack({"reader": "demo#1", "conversation": 2}))
    assert watch.uses - granted("fanout", False) == {("inbox", "DeleteItem")}
