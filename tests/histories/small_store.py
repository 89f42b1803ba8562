"""The four calls that sending makes, on plain dicts that are cheap to branch; any other call or condition is an error.

Held to the full in-process AWS, reply by reply, in `test_appending.py`.
"""

from typing import Any

from messaging import store

Tables = dict[tuple[str, ...], dict[str, Any]]  # (table, key …) → item, as DynamoDB writes it


def identity(table: str, item: dict[str, Any]) -> tuple[str, ...]:
    names = {"Messages": ("conversation", "msg_id"), "Dedup": ("dedup_key",), "Directory": ("entity", "facet")}[table]
    return (table, *(next(iter(item[name].values())) for name in names))


def perform(tables: Tables, operation: str, request: dict[str, Any]) -> tuple[Tables, Any]:
    """The tables after the call, and what the caller is told."""
    if operation == "BatchGetItem":
        responses = {
            table: [tables[place] for key in wanted["Keys"] if (place := identity(table, key)) in tables]
            for table, wanted in request["RequestItems"].items()
        }
        return tables, {"Responses": responses, "UnprocessedKeys": {}}
    if operation == "Query":
        assert request["KeyConditionExpression"] == "conversation = :c"
        assert (request["ScanIndexForward"], request["Limit"], request["ConsistentRead"]) == (False, 1, True)
        log = [item for item in tables.values() if item.get("conversation") == request["ExpressionAttributeValues"][":c"]]
        newest = sorted(log, key=lambda item: int(item["msg_id"]["N"]))[-1:]
        names = request["ProjectionExpression"].split(", ")
        return tables, {"Items": [{name: item[name] for name in names} for item in newest]}
    if operation == "PutItem":
        assert request["ConditionExpression"] in (
            "attribute_not_exists(conversation)",
            "attribute_not_exists(dedup_key) OR expires_at <= :now",
        )
        place = identity(request["TableName"], request["Item"])
        if place in tables:
            return tables, refused(tables[place])
        return {**tables, place: request["Item"]}, {}
    assert operation == "UpdateItem"
    assert request["ConditionExpression"] == "digest = :digest AND slots.#target = :old"
    assert request["UpdateExpression"] == "SET slots.#target = :new"
    place, values = identity(request["TableName"], request["Key"]), request["ExpressionAttributeValues"]
    target, record = request["ExpressionAttributeNames"]["#target"], tables[place]
    slots = record["slots"]["M"]
    if (record["digest"], slots[target]) != (values[":digest"], values[":old"]):
        return tables, refused(record)
    return {**tables, place: {**record, "slots": {"M": {**slots, target: values[":new"]}}}}, {}


def refused(item: dict[str, Any]) -> Exception:
    answer: Any = {"Error": {"Code": "ConditionalCheckFailedException", "Message": ""}, "Item": item}
    return store.dynamodb().exceptions.ConditionalCheckFailedException(answer, "")
