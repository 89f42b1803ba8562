"""The yardstick: what a competent team writes at first. Real code, on the same in-process AWS, under the same meter.

A REST API; Powertools' idempotency on every send; an atomic counter for each conversation, which gives the numbers; and a worker on the
stream that writes a row for each member and message and counts up what is unread. It is spared what would only make it dearer: an
authorizer, an index by activity, an access log.
"""

import io
import json
import time
from collections.abc import Callable
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

from messaging.base import keys, store
from ops.bench import meter
from ops.bench.meter import Meter
from ops.bench.stage import CONTENT, GATEWAY_HEADERS, Doing, Work
from tests.fast_aws import FastAws
from tests.faults.sdk import tampered

SCHEMAS = {
    "Idempotency": keys.Table("id"),
    "Users": keys.Table("user"),
    "Members": keys.Table("group", ("user", "N")),
    "Conversations": keys.Table("conversation"),
    "Messages": keys.Table("conversation", ("msg_id", "N")),
    "Inbox": keys.Table("user", ("conversation", "S")),
}
FIRST = 1001  # of the users
REQUEST_ID = "11111111-2222-3333-4444-555555555555"
# What Lambda logs of each invocation unless it is told not to: https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
PLATFORM_LINES = (
    f"START RequestId: {REQUEST_ID} Version: $LATEST",
    f"END RequestId: {REQUEST_ID}",
    f"REPORT RequestId: {REQUEST_ID}\tDuration: 25.43 ms\tBilled Duration: 26 ms\tMemory Size: 512 MB\tMax Memory Used: 95 MB\t",
)


class Context:
    """What Lambda hands to a handler beside the event."""

    aws_request_id = REQUEST_ID
    function_name = "chat-send"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:chat-send"

    def get_remaining_time_in_millis(self) -> int:
        return 28_000


class Naive:
    """The two functions, with their clients; `say` and `deliver` invoke them and tell what that took.

    To be made on the `stage`, which has the SDK's settings. Members and users are 1001, 1002, …
    """

    def __init__(self, doing: Doing) -> None:
        self._doing = doing
        self.aws = FastAws({}, SCHEMAS)
        self._dynamodb = boto3.client("dynamodb")
        tables = {name: meter.Table((table.partition, *(table.sort or ())[:1])) for name, table in SCHEMAS.items()}
        self._meter = Meter(self.aws.perform, tables)
        self._printed = io.StringIO()
        self._logger = Logger(service="chat", stream=self._printed, level="INFO")
        self._handlers: dict[str, Callable[[Any, Any], Any]] = {
            "send": idempotent(
                persistence_store=DynamoDBPersistenceLayer(table_name="Idempotency", boto3_client=self._dynamodb),
                config=IdempotencyConfig(event_key_jmespath="powertools_json(body).transaction_id", raise_on_no_idempotency_key=True),
            )(self._logger.inject_lambda_context(self._send)),
            "deliver": self._logger.inject_lambda_context(self._deliver),
        }
        self._sent = self._streamed = 0

    # --- the functions

    def _send(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        request = json.loads(event["body"])
        sender, target = event["requestContext"]["authorizer"]["user"], request["target"]
        if request["type"] == "group":
            known = self._dynamodb.get_item(TableName="Members", Key=store.pack({"group": f"g{target}", "user": sender}))
            conversation = f"g{target}"
        else:
            known = self._dynamodb.get_item(TableName="Users", Key=store.pack({"user": f"u{target}"}))
            conversation = f"{min(sender, target)}#{max(sender, target)}"
        if "Item" not in known:
            return {"statusCode": 404, "body": json.dumps({"error": "not found"})}
        counted = self._dynamodb.update_item(
            TableName="Conversations",
            Key=store.pack({"conversation": conversation}),
            UpdateExpression="ADD last_msg_id :one",
            ExpressionAttributeValues=store.pack({":one": 1}),
            ReturnValues="UPDATED_NEW",
        )
        message = {
            "conversation": conversation,
            "msg_id": int(counted["Attributes"]["last_msg_id"]["N"]),
            "sender": sender,
            "content": request["content"],
            "sent_at": time.time_ns() // 1_000_000,
        }
        self._dynamodb.put_item(TableName="Messages", Item=store.pack(message))
        self._logger.info("message sent", extra={"conversation": conversation, "msg_id": message["msg_id"]})
        headers = {"content-type": "application/json"}
        return {"statusCode": 200, "headers": headers, "body": json.dumps({"msg_id": message["msg_id"]})}

    def _deliver(self, event: dict[str, Any], context: Any) -> None:
        for record in event["Records"]:
            message = store.unpack(record["dynamodb"]["NewImage"])
            for member in self._members(message["conversation"]):
                own = member == message["sender"]
                self._dynamodb.update_item(
                    TableName="Inbox",
                    Key=store.pack({"user": f"u{member}", "conversation": message["conversation"]}),
                    UpdateExpression="SET last_msg_id = :id, last_at = :at ADD unread :one",
                    ExpressionAttributeValues=store.pack({":id": message["msg_id"], ":at": message["sent_at"], ":one": 0 if own else 1}),
                )
        self._logger.info("delivered", extra={"records": len(event["Records"])})

    def _members(self, conversation: str) -> list[int]:
        if not conversation.startswith("g"):
            return [int(user) for user in conversation.split("#")]
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName="Members",
            KeyConditionExpression="#group = :g",
            ExpressionAttributeNames={"#group": "group"},
            ExpressionAttributeValues=store.pack({":g": conversation}),
        )
        return [int(item["user"]["N"]) for page in pages for item in page["Items"]]

    # --- measuring

    def group(self, size: int) -> int:
        """A group of so many members."""
        for user in range(FIRST, FIRST + size):
            self._doing.still()
            self.aws.perform("PutItem", {"TableName": "Members", "Item": store.pack({"group": f"g{size}", "user": user})})
        return size

    def user(self, user: int) -> None:
        self.aws.perform("PutItem", {"TableName": "Users", "Item": store.pack({"user": f"u{user}", "name": "somebody"})})

    def say(self, sender: int, type_: str, target: int, transaction_id: int | None = None) -> Work:
        """A request of its own, unless it says which one it repeats."""
        self._sent += 1
        body = {"type": type_, "target": target, "content": CONTENT, "transaction_id": transaction_id or f"new-{self._sent}"}
        event = {"requestContext": {"authorizer": {"user": sender}}, "body": json.dumps(body)}
        reply, work = self._invoke("send", event)
        if reply["statusCode"] != 200:
            raise RuntimeError(f"the naive send was refused: {reply}")
        headers = sum(len(f"{name}: {value}\r\n") for name, value in reply["headers"].items())
        return work._replace(reply_bytes=len(GATEWAY_HEADERS) + headers + len(reply["body"]))

    def deliver(self) -> Work:
        """Of what was sent since the last time, as one batch."""
        records = self.aws.records[self._streamed :]
        self._streamed += len(records)
        return self._invoke("deliver", {"Records": records})[1]

    def _invoke(self, name: str, event: dict[str, Any]) -> tuple[Any, Work]:
        """Its calls lie one after another."""
        self._meter.charges.clear()
        self._printed.seek(0)
        self._printed.truncate()
        with tampered(self._answer):
            reply = self._handlers[name](event, Context())
        lines = [*self._printed.getvalue().splitlines(), *PLATFORM_LINES]
        return reply, Work(self._meter.total, self._meter.total.calls, 0, sum(len(line.encode()) for line in lines))

    def _answer(self, operation: str, request: dict[str, Any], perform: object) -> Any:
        self._doing.still()
        return self._meter(operation, request, lambda: self.aws.perform(operation, request))
