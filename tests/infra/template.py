"""How the template tests name things: functions by the name in the catalog, what holds state by the logical id it must keep."""

from typing import Any

from infra.catalog import FUNCTIONS
from tests.synthesized import resources

# CloudFormation replaces a resource whose logical id changes: an empty table, a new secret, another URL. These never change.
TABLES = {
    "messages": "TablesMessages5F3A57D1",
    "inbox": "TablesInbox9AB2A288",
    "dedup": "TablesDedup8E2B96C8",
    "directory": "TablesDirectoryD82D92C0",
}
SECRET = "TokenKeysAAD69857"
QUEUES = {"fanout": "QueuesFanoutA1EBC093", "fanout_dead": "QueuesFanoutDeadDED042F7", "deliver_dead": "QueuesDeliverDead77D4CC1C"}
API = "ApiHttpApi4C294DC0"
TOPIC = "MonitoringAlarms66989066"  # its subscriptions have been confirmed by hand
KEY = "Key961B73FD"  # only where kms is own

ENDPOINTS = ("send", "notify", "history", "forget", "ack", "unread")
WORKERS = ("deliver", "fanout")
NAMES = ENDPOINTS + WORKERS
ROWS = {row.name: row for row in FUNCTIONS}


def function_id(stage: str, name: str) -> str:
    """The logical id of a function of the catalog."""
    handler = f"{ROWS[name].module}.handler"
    return next(id for id, resource in resources(stage, "AWS::Lambda::Function").items() if resource["Properties"]["Handler"] == handler)


def function(stage: str, name: str) -> dict[str, Any]:
    """The properties of a function of the catalog."""
    return properties(stage, "AWS::Lambda::Function", function_id(stage, name))


def properties(stage: str, type_: str, id: str) -> dict[str, Any]:
    return dict(resources(stage, type_)[id]["Properties"])


def only(stage: str, type_: str) -> dict[str, Any]:
    """The properties of the one resource of this type."""
    (resource,) = resources(stage, type_).values()
    return dict(resource["Properties"])


def arn(id: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [id, "Arn"]}


def flat(value: Any) -> str:
    """An intrinsic as one readable string: literals as they are, references in braces."""
    if isinstance(value, str):
        return value
    ((kind, body),) = value.items()
    if kind == "Fn::Join":
        separator, parts = body
        return str(separator).join(flat(part) for part in parts)
    return "{" + (body if isinstance(body, str) else ".".join(body)) + "}"
