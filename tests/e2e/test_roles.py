"""Each function's own role, grant by grant: with all of them its work is done, without any single one it fails somewhere."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from infra.catalog import FUNCTIONS
from messaging.base import keys, settings, store
from messaging.base.errors import Code
from messaging.conversations import dedup, inbox, membership, rules
from messaging.conversations.models import FanoutJob
from ops import local, stack
from tests.e2e import containers
from tests.e2e.conftest import DELIVERED_S, FANNED_OUT_S, Api, Person, eventually

Make = Callable[[int], list[Person]]
Grant = tuple[str, str]  # an action and a resource
TEXT, COMMAND = 0, 6
GONE_S = 120.0  # until a killed process is gone

# What Lambda does in the function's name, which the local AWS does without asking IAM, so that here nothing fails without it. That
# these grants are there, and no others, is in tests/infra/test_roles.py.
EXEMPT = {
    "logs:CreateLogStream": "Lambda begins a log stream for each container",
    "logs:PutLogEvents": "Lambda writes what the function prints",
    "dynamodb:DescribeStream": "Lambda's poller finds the shards of the stream",
    "dynamodb:ListStreams": "Lambda checks the role for it when the event source mapping is made",
    "dynamodb:GetShardIterator": "Lambda's poller finds its place in the stream",
    "dynamodb:GetRecords": "Lambda's poller reads the stream",
    "sqs:ReceiveMessage": "Lambda's poller takes jobs from the queue",
    "sqs:DeleteMessage": "Lambda's poller deletes the jobs that are done",
    "sqs:GetQueueAttributes": "Lambda's poller looks how the queue is set up",
    "dynamodb:DeleteItem": "a reservation is removed by who loses a race in a storm, which cannot be staged over HTTP",
    "sqs:SendMessage": "Lambda sets aside the records that could not be delivered",
}


ASKED = 10  # times at most until a function answers


class Failed(Exception):
    """A function could not do its work, and said so."""


@dataclass
class Role:
    """A function's role as it is in the live IAM."""

    name: str
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        iam = boto3.client("iam")
        assert iam.list_attached_role_policies(RoleName=self.name)["AttachedPolicies"] == []
        for policy in iam.list_role_policies(RoleName=self.name)["PolicyNames"]:
            self.policies[policy] = dict(iam.get_role_policy(RoleName=self.name, PolicyName=policy)["PolicyDocument"])

    @property
    def grants(self) -> list[Grant]:
        """Every action on every resource; each once, or removing one would leave the other."""
        found = [grant for document in self.policies.values() for statement in document["Statement"] for grant in pairs(statement)]
        assert len(set(found)) == len(found), found
        return found

    @contextmanager
    def without(self, *taken: Grant) -> Iterator[None]:
        """These grants less for a while; the others stay."""
        try:
            for policy, document in self.policies.items():
                left = [each for statement in document["Statement"] for each in pairs(statement) if each not in taken]
                statements = [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in left]
                self._put(policy, {**document, "Statement": statements})
            yield
        finally:
            for policy, document in self.policies.items():
                self._put(policy, document)

    def _put(self, policy: str, document: dict[str, Any]) -> None:
        boto3.client("iam").put_role_policy(RoleName=self.name, PolicyName=policy, PolicyDocument=json.dumps(document))


def pairs(statement: dict[str, Any]) -> list[Grant]:
    assert set(statement) == {"Effect", "Action", "Resource"}
    assert statement["Effect"] == "Allow"
    actions, resources = ([value] if isinstance(value, str) else value for value in (statement["Action"], statement["Resource"]))
    return list(product(actions, resources))


@dataclass
class Stage:
    """Alice, Bob, Carol, a group of the first two, and how to call a function for them as the app's administrator."""

    api: Api
    alice: int
    bob: int
    carol: int
    group: int

    def ask(self, verb: str, path: str, query: dict[str, Any] | None = None, body: Any = None, **headers: int) -> dict[str, Any]:
        """The envelope of a success; Failed where the function says that the fault is ours or the store's."""
        named = {"app_id": "demo", "access-token": self.api.app()["admin_token"], **{name: str(value) for name, value in headers.items()}}
        fields = {"body": json.dumps(body).encode()} if body is not None else {"fields": query or {}}
        envelope: dict[str, Any] = {}
        for _ in range(ASKED):
            envelope = json.loads(self.api.raw(verb, path, headers=named, **fields).data)
            if "code" in envelope:
                break
            time.sleep(0.2)  # that was the gateway's own answer, for a container that is no more
        if envelope["code"] in (Code.INTERNAL, Code.STORE_FAILED):
            raise Failed(envelope["message"])
        assert envelope["code"] == 200, envelope
        return envelope

    def say(self, target: int, type_: int = 1, path: str = "/message/send", **fields: Any) -> int:
        headers = fields.pop("headers", {})
        body = {"type": type_, "targets": [target], "content_type": TEXT, "content": "hello", "from_user_id": self.alice} | fields
        return int(self.ask("POST", path, body=body, **headers)["msg_ids"][0])

    def invoke(self, function: str, *records: dict[str, Any]) -> None:
        name = self.api.info["functions"][function]
        reply = boto3.client("lambda").invoke(FunctionName=name, Payload=json.dumps({"Records": records}).encode())
        result = json.load(reply["Payload"])
        if "FunctionError" in reply or result["batchItemFailures"]:
            raise Failed(result)


def post(stage: Stage, operation: str) -> None:
    """Plain, with a group administrator's rights, to a group, idempotent, and into a slot that somebody else's message has taken."""
    say = partial(stage.say, path=f"/message/{operation}")
    taken = say(stage.bob, headers={"group_id": stage.group})
    say(stage.group, type_=2)
    once = time.time_ns() % keys.MAX_ID
    assert say(stage.bob, transaction_id=once) == say(stage.bob, transaction_id=once)
    meaning = {"type": 1, "targets": [stage.bob], "content_type": TEXT, **dict.fromkeys(rules.PARTS), "content": "hello"}
    reserved = keys.request("demo", stage.alice, operation, once + 1)
    dedup.reserve(reserved, rules.digest(meaning), {stage.bob: taken}, time.time_ns() // 1_000_000)
    assert say(stage.bob, transaction_id=once + 1) > taken
    with pytest.raises(AssertionError, match="'code': 10000"):  # not before its record was looked for
        say(keys.MAX_ID, transaction_id=once + 2)


def history(stage: Stage) -> None:
    stage.say(stage.bob)  # there is something that Bob has not fetched
    stage.ask("GET", "/message/conversation", {"opposite_id": stage.alice}, user_id=stage.bob)


def forget(stage: Stage) -> None:
    stage.say(stage.bob)
    stage.ask("DELETE", "/message/conversation", {"conversation_id": stage.alice}, user_id=stage.bob)


def ack(stage: Stage) -> None:
    stage.say(stage.bob)
    stage.ask("GET", "/message/ack", {"conversation_id": stage.alice}, user_id=stage.bob)


def unread(stage: Stage) -> None:
    """Of one conversation the log is asked for a sum, another is counted, as one that 0.1.0 has left; the group is read by its head."""
    place, left = inbox.ref("demo", stage.bob, stage.carol), inbox.ref("demo", stage.bob, stage.alice)
    read, *_ = (stage.say(stage.bob, content_type=ctype, from_user_id=stage.carol) for ctype in (TEXT, COMMAND, TEXT))
    newest = stage.say(stage.bob)
    for where, seq in ((place, read + 2), (left, newest)):
        assert eventually(lambda where=where: (store.get(where) or {}).get("last_seq"), lambda at, seq=seq: at == seq, DELIVERED_S) == seq  # type: ignore[misc]
    store.update(place, {"read_seq": read}, "attribute_exists(reader)")
    store.update(left, {"read_seq": newest - 1, "skip_seq": newest}, "attribute_exists(reader)", remove="skip_sum, tally")
    data = stage.ask("GET", "/message/unread", user_id=stage.bob)["data"]
    nums = {entry["conversation_id"]["uid"]: entry["num"] for entry in data}
    if (nums[stage.carol], nums[stage.alice]) != (1, 1) or (store.get(place) or {}).get("tally", {}).get("floor") != read:
        raise Failed(nums)


def deliver(stage: Stage) -> None:
    """Messages to a group, out of turn: the stream brings them too. The one in the middle is left to the log."""
    records = []
    for number in [stage.say(stage.group, type_=2) for _ in range(3)][::2]:
        log = {"conversation": keys.group("demo", stage.group).key, "msg_id": number}
        image = store.dynamodb().get_item(TableName=settings.settings().messages_table, Key=store.pack(log))["Item"]
        records.append({"eventName": "INSERT", "dynamodb": {"NewImage": image, "SequenceNumber": str(number)}})
    stage.invoke("deliver", *records)


def fanout(stage: Stage) -> None:
    job = FanoutJob(conversation=keys.group("demo", stage.group).key, last_seq=1, last_at=1, skip_seq=0, members=[stage.bob])
    stage.invoke("fanout", {"messageId": "1", "body": job.model_dump_json()})


WORK: dict[str, Callable[[Stage], None]] = {
    "send": partial(post, operation="send"),
    "notify": partial(post, operation="notify"),
    **{each.__name__: each for each in (history, forget, ack, unread, deliver, fanout)},
}


@pytest.fixture(scope="module")
def stage(api: Api, people: Make) -> Stage:
    alice, bob, carol = (person.user_id for person in people(3))
    group = membership.create("demo", alice, [bob], False, time.time_ns() // 1_000_000, None, lambda done: None)
    store.update(inbox.ref("demo", bob, group), {"by_head": True}, "attribute_exists(reader)")
    stage = Stage(api, alice, bob, carol, group)
    for content_type in (TEXT, COMMAND):
        newest = stage.say(bob, content_type=content_type, from_user_id=carol)
    place = inbox.ref("demo", bob, carol)
    assert eventually(lambda: (store.get(place) or {}).get("last_seq"), lambda seq: seq == newest, DELIVERED_S) == newest
    return stage


@pytest.fixture(scope="module")
def roles(api: Api) -> dict[str, Role]:
    return {name: Role(role) for name, role in local.roles(stack.read_outputs(api.info["stack"])).items()}


def test_a_role_is_refused_what_it_was_not_granted(api: Api, roles: dict[str, Role]) -> None:
    role = boto3.client("iam").get_role(RoleName=roles["fanout"].name)["Role"]["Arn"]
    given = boto3.client("sts").assume_role(RoleArn=role, RoleSessionName="fanout")["Credentials"]
    session = boto3.Session(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    with pytest.raises(ClientError, match="not authorized to perform: dynamodb:Scan"):
        session.client("dynamodb").scan(TableName=settings.settings().inbox_table)


def test_every_role_of_the_stack_is_looked_at_and_every_grant_is_tried_or_exempt(api: Api, roles: dict[str, Role]) -> None:
    pages = boto3.client("iam").get_paginator("list_roles").paginate()
    there = [role["RoleName"] for page in pages for role in page["Roles"] if role["RoleName"].startswith(f"{api.info['stack']}-Functions")]
    assert sorted(there) == sorted(role.name for role in roles.values())
    live = [grant for role in roles.values() for grant in role.grants]
    granted = [f"dynamodb:{action}" for row in FUNCTIONS for actions in row.tables.values() for action in actions]
    catalog = sum(action not in EXEMPT for action in granted) + sum(row.is_endpoint + row.enqueues for row in FUNCTIONS)
    assert len(live) == catalog + len([action for action, _ in live if action in EXEMPT])
    assert {action for action, _ in live} >= set(EXEMPT)
    anything = {action for action, resource in live if "*" in resource.removesuffix(":*")}  # a log group's ARN ends so
    assert anything == set()


@pytest.mark.parametrize("name", WORK)
def test_every_grant_is_needed(stage: Stage, roles: dict[str, Role], name: str) -> None:
    work, role = partial(WORK[name], stage), roles[name]
    spare = []
    work()
    for grant in role.grants:
        if grant[0] not in EXEMPT:
            with role.without(grant):
                if grant[0] == "secretsmanager:GetSecretValue":
                    forget_keys(name)
                if not fails(work):
                    spare.append(grant)
            if grant[0] == "secretsmanager:GetSecretValue":
                forget_keys(name)  # nor is it remembered for seconds that they could not be read
            work()
    assert spare == []


def test_without_what_is_exempt_everything_works_here(stage: Stage, roles: dict[str, Role]) -> None:
    """So what is said of those grants is so; and a grant that nothing needs would be found."""
    with ExitStack() as taken:
        for role in roles.values():
            taken.enter_context(role.without(*(grant for grant in role.grants if grant[0] in EXEMPT)))
        for name, work in WORK.items():
            assert not fails(partial(work, stage)), name
        newest, place = stage.say(stage.group, type_=2), inbox.ref("demo", stage.bob, stage.group)
        assert eventually(lambda: (store.get(place) or {}).get("last_seq"), lambda seq: seq == newest, FANNED_OUT_S) == newest


def fails(work: Callable[[], None]) -> bool:
    try:
        work()
    except Failed:
        return True
    return False


def forget_keys(name: str) -> None:
    """A container reads them when it starts, and then once in a while."""
    killed = [pid for pid in containers.running(name) if containers.kill(pid)]
    assert eventually(lambda: all(map(containers.gone, killed)), bool, GONE_S)
