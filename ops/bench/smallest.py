"""The least that a function can do and still make the calls that ours make: the yardstick of start-up.

Nothing but the standard library: a token is checked with `hmac`, calls are signed (SigV4) and made over one connection a service, one
after the other. Nothing is validated, nothing retried, no refusal told, no line logged: it is no alternative, it is what cannot be saved.
One function for each of ours, `send` to `fanout`; an event in, an envelope (a worker's: `batchItemFailures`) out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import os
import ssl
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # not even `typing` is imported
    from typing import Any

SERVICES = {
    "DynamoDB_20120810": ("dynamodb", "application/x-amz-json-1.0"),
    "secretsmanager": ("secretsmanager", "application/x-amz-json-1.1"),
}
DYNAMODB, SECRETS = SERVICES
_connections: dict[str, http.client.HTTPConnection] = {}
_cached: dict[str, Any] = {}


def forget_caches() -> None:
    """What it keeps between invocations."""
    _connections.clear()
    _cached.clear()


def call(target: str, operation: str, request: dict[str, Any]) -> Any:
    """One AWS call: `request` as its JSON protocol has it; the reply, whatever its status."""
    service, content_type = SERVICES[target]
    scheme, _, address = os.environ["AWS_ENDPOINT_URL"].partition("://")
    connection = _connections.get(service)
    if connection is None:
        context = ssl.create_default_context() if scheme == "https" else None
        connection = http.client.HTTPSConnection(address, context=context) if context else http.client.HTTPConnection(address)
        _connections[service] = connection
    body = json.dumps(request)
    headers = {
        "content-type": content_type,
        "host": address,
        "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
        "x-amz-security-token": os.environ["AWS_SESSION_TOKEN"],
        "x-amz-target": f"{target}.{operation}",
    }
    connection.request("POST", "/", body, {**headers, "authorization": _signature(service, headers, body)})
    return json.loads(connection.getresponse().read())


def _signature(service: str, headers: dict[str, str], body: str) -> str:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html"""
    names, stamp, region = ";".join(headers), headers["x-amz-date"], os.environ["AWS_REGION"]
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body.encode()).hexdigest()}"
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signed = hmac.digest(key, text.encode(), "sha256").hex()
    return f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, SignedHeaders={names}, Signature={signed}"


def _caller(event: dict[str, Any]) -> tuple[str, int]:
    """The app and the user of a token that is well signed, of a user who exists; app, keys and user are asked for once."""
    app = event["headers"]["app_id"]
    if app not in _cached:
        key = {"entity": {"S": app}, "facet": {"S": "profile"}}
        _cached[app] = call(DYNAMODB, "GetItem", {"TableName": os.environ["DIRECTORY_TABLE"], "Key": key, "ConsistentRead": True})["Item"]
    if "keys" not in _cached:
        _cached["keys"] = json.loads(call(SECRETS, "GetSecretValue", {"SecretId": os.environ["TOKEN_SECRET"]})["SecretString"])
    signed, _, signature = event["headers"]["access-token"].rpartition(".")
    head, payload = (json.loads(_decoded(part)) for part in signed.split("."))
    kid, generation = head["kid"].split(".")
    meaning = f"{app}#{generation}#{_cached[app]['nonce']['S']}"
    own = hmac.digest(_cached["keys"][kid].encode(), meaning.encode(), "sha256").hex()
    expected = hmac.digest(own.encode(), signed.encode(), "sha256")
    if not hmac.compare_digest(expected, _decoded(signature)) or payload["app"] != app or payload["exp"] < time.time():
        raise PermissionError(payload["sub"])
    user = f"{app}#{payload['sub']}"
    if user not in _cached:
        key = {"entity": {"S": user}, "facet": {"S": "profile"}}
        _cached[user] = call(DYNAMODB, "GetItem", {"TableName": os.environ["DIRECTORY_TABLE"], "Key": key})["Item"]
    return app, int(payload["sub"])


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def _reply(data: object, **fields: object) -> dict[str, Any]:
    return {"statusCode": 200, "body": json.dumps({"code": 200, "data": data, "message": None, **fields})}


def _marks(app: str, reader: int, number: int) -> Any:
    key = {"reader": {"S": f"{app}#{reader}"}, "conversation": {"N": str(number)}}
    return call(DYNAMODB, "GetItem", {"TableName": os.environ["INBOX_TABLE"], "Key": key, "ConsistentRead": True}).get("Item", {})


def _newest(conversation: str, limit: int = 1) -> Any:
    request = {
        "TableName": os.environ["MESSAGES_TABLE"],
        "KeyConditionExpression": "conversation = :c",
        "ExpressionAttributeValues": {":c": {"S": conversation}},
        "ScanIndexForward": False,
        "Limit": limit,
        "ConsistentRead": True,
    }
    return call(DYNAMODB, "Query", request)["Items"]


def _move(app: str, reader: int, number: int, **marks: int) -> Any:
    request = {
        "TableName": os.environ["INBOX_TABLE"],
        "Key": {"reader": {"S": f"{app}#{reader}"}, "conversation": {"N": str(number)}},
        "UpdateExpression": "SET " + ", ".join(f"{mark} = :{mark}" for mark in marks),
        "ExpressionAttributeValues": {f":{mark}": {"N": str(value)} for mark, value in marks.items()},
    }
    return call(DYNAMODB, "UpdateItem", request)


def _between(app: str, one: int, other: int) -> str:
    return f"{app}#user#{min(one, other)}#{max(one, other)}"


def _post(event: dict[str, Any], as_system: bool) -> dict[str, Any]:
    app, sender = _caller(event)
    body = json.loads(event["body"])
    target = body["targets"][0]
    key = {"entity": {"S": f"{app}#{target}"}, "facet": {"S": "profile"}}
    call(DYNAMODB, "BatchGetItem", {"RequestItems": {os.environ["DIRECTORY_TABLE"]: {"Keys": [key], "ConsistentRead": True}}})
    conversation = f"{app}#system#{target}" if as_system else _between(app, sender, target)
    newest = _newest(conversation)
    number = int(newest[0]["msg_id"]["N"]) + 1 if newest else 1
    item = {
        "conversation": {"S": conversation},
        "msg_id": {"N": str(number)},
        "sent_at": {"N": str(time.time_ns() // 1_000_000)},
        "sender": {"N": "0" if as_system else str(sender)},
        "ctype": {"N": str(body["content_type"])},
        "written_by": {"S": os.urandom(16).hex()},
        "content": {"S": body["content"]},
    }
    condition = "attribute_not_exists(conversation)"
    call(DYNAMODB, "PutItem", {"TableName": os.environ["MESSAGES_TABLE"], "Item": item, "ConditionExpression": condition})
    return _reply(True, msg_ids=[number])


def send(event: dict[str, Any], context: object) -> dict[str, Any]:
    return _post(event, as_system=False)


def notify(event: dict[str, Any], context: object) -> dict[str, Any]:
    return _post(event, as_system=True)


def history(event: dict[str, Any], context: object) -> dict[str, Any]:
    app, reader = _caller(event)
    query = event["queryStringParameters"]
    number = int(query["opposite_id"])
    marks = _marks(app, reader, number)
    items = _newest(_between(app, reader, number), int(query["limit"]))
    opposite = _marks(app, number, reader)
    views = [{name: next(iter(value.values())) for name, value in item.items()} for item in items]
    return _reply({"messages": views, "read": [marks.get("read_seq"), opposite.get("read_seq")]})


def ack(event: dict[str, Any], context: object) -> dict[str, Any]:
    app, reader = _caller(event)
    query = event["queryStringParameters"]
    _move(app, reader, int(query["conversation_id"]), read_seq=int(query["msg_id"]), device_sn=int(query["device_sn"]))
    return _reply(True)


def forget(event: dict[str, Any], context: object) -> dict[str, Any]:
    app, reader = _caller(event)
    number = int(event["queryStringParameters"]["conversation_id"])
    _marks(app, reader, number)
    newest = _newest(_between(app, reader, number)) + _newest(f"{app}#group#{number}")
    upto = int(newest[0]["msg_id"]["N"])
    _move(app, reader, number, cut_seq=upto, read_seq=upto)
    return _reply(True)


def unread(event: dict[str, Any], context: object) -> dict[str, Any]:
    app, reader = _caller(event)
    request = {
        "TableName": os.environ["INBOX_TABLE"],
        "KeyConditionExpression": "reader = :r",
        "ExpressionAttributeValues": {":r": {"S": f"{app}#{reader}"}},
        "ConsistentRead": True,
    }
    rows = call(DYNAMODB, "Query", request)["Items"]
    return _reply([{"uid": row["conversation"]["N"], "last": row.get("last_seq"), "read": row.get("read_seq")} for row in rows])


def deliver(event: dict[str, Any], context: object) -> dict[str, Any]:
    for record in event["Records"]:
        image = record["dynamodb"]["NewImage"]
        app, _, *users = image["conversation"]["S"].split("#")
        for reader, number in (users, users[::-1]):
            _move(app, int(reader), int(number), last_seq=int(image["msg_id"]["N"]), last_at=int(image["sent_at"]["N"]))
    return {"batchItemFailures": []}


def fanout(event: dict[str, Any], context: object) -> dict[str, Any]:
    for record in event["Records"]:
        job = json.loads(record["body"])
        app, _, group = job["conversation"].split("#")
        for member in job["members"]:
            _move(app, member, int(group), last_seq=job["last_seq"], last_at=job["last_at"])
    return {"batchItemFailures": []}
