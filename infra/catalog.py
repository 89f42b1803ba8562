"""Which function there is, how it is reached, and exactly what it may touch. One loop (`functions.py`) deploys this table."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

KEPT_DEAD_DAYS = 14  # of dead letters, SQS maximum
STREAM_MAX_AGE_H = 12  # half of what a stream keeps: time to redrive
SHARDS = 4  # of the stream of a new table on demand, one for each partition: it takes 4,000 writes a second; more as it grows
TIMEOUT_S = 28  # of every function: API Gateway gives up after 29 s, and a worker's batch takes a second or two

TableName = Literal["messages", "inbox", "dedup", "directory"]
READING = ("GetItem", "BatchGetItem", "Query")
Grants: TypeAlias = dict[TableName, tuple[str, ...]]  # DynamoDB actions on each table


@dataclass(frozen=True)
class Function:
    """One row: a module of `functions/`, the routes that lead to it, and the DynamoDB actions that it may use on each table."""

    name: str
    module: str
    tables: Grants
    routes: tuple[str, ...] = ()
    enqueues: bool = False  # may put jobs on the fan-out queue

    @property
    def is_endpoint(self) -> bool:
        return bool(self.routes)

    @property
    def writes(self) -> bool:
        return any(action not in READING for actions in self.tables.values() for action in actions)


POSTING: Grants = {
    "messages": ("Query", "BatchGetItem", "PutItem"),
    "inbox": ("BatchGetItem",),
    "dedup": (
        "BatchGetItem",
        "PutItem",
        "UpdateItem",
        "DeleteItem",
    ),  # more than as in 0.1.0: while a stack is updated, its code runs on this
    "directory": ("GetItem", "BatchGetItem"),
}
MARKING: Grants = {"messages": ("Query",), "inbox": ("GetItem", "UpdateItem"), "directory": ("GetItem",)}

FUNCTIONS = (
    Function("send", "endpoints.send", POSTING, ("POST /message/send", "PUT /message/send")),
    Function("notify", "endpoints.notify", POSTING, ("POST /message/notify", "PUT /message/notify")),
    Function("history", "endpoints.history", MARKING, ("GET /message/conversation",)),
    Function("forget", "endpoints.forget", MARKING, ("DELETE /message/conversation",)),
    Function("ack", "endpoints.ack", MARKING, ("GET /message/ack",)),
    Function(
        "unread",
        "endpoints.unread",
        {"messages": ("BatchGetItem", "Query"), "inbox": ("Query", "UpdateItem"), "directory": ("GetItem", "BatchGetItem")},
        ("GET /message/unread",),
    ),
    Function(
        "deliver",
        "workers.deliver",
        {"messages": ("Query",), "inbox": ("UpdateItem",), "directory": ("UpdateItem", "Query")},
        enqueues=True,
    ),
    Function("fanout", "workers.fanout", {"inbox": ("UpdateItem",)}),
)

# Only where messages expire: the newest number is then what the watermarks say.
WITH_RETENTION: dict[str, Grants] = {
    **{name: {"inbox": ("BatchGetItem",), "directory": ("BatchGetItem",)} for name in ("forget", "ack")},
    **{name: {"directory": ("Query",)} for name in ("send", "notify")},  # the members of a group, whose marks are asked then
}
