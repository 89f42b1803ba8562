"""What is deployed, as far as its bill depends on it: read from the synthesized template of the stage that has the default settings."""

from dataclasses import dataclass, replace
from typing import Any

from ops.bench.meter import Index, Table
from tests.synthesized import resources
from tests.world import TABLES

STAGE = "dev"
# What API Gateway puts in for the variables of an access log, as long as usual.
USUAL = {
    "requestId": "JKJaXmPLvHcESHA=",
    "routeKey": "POST /message/send",
    "status": "200",
    "responseLatency": "25",
    "responseLength": "80",
}


@dataclass(frozen=True)
class Deployment:
    """Settings of the functions and of what invokes them."""

    memory_mb: int  # of each endpoint
    worker_mb: int  # of deliver and fanout
    traced: bool  # X-Ray samples the requests
    lanes: int  # batches of a shard that are delivered at the same time
    window_s: int  # for which a delivery waits for more records of its shard
    stream_batch: int  # records of a delivery at most
    queue_batch: int  # jobs of a fan-out at most
    access_line_bytes: int  # of the API's log, a request

    @property
    def worker(self) -> "Deployment":
        """As deliver and fanout run."""
        return replace(self, memory_mb=self.worker_mb)


def deployment() -> Deployment:
    functions = [one["Properties"] for one in resources(STAGE, "AWS::Lambda::Function").values() if "Parley" in _name(one)]
    workers = [function for function in functions if function["Handler"].startswith("workers.")]
    (memory_mb,) = {function["MemorySize"] for function in functions if function not in workers}
    (worker_mb,) = {function["MemorySize"] for function in workers}
    mappings = {id: one["Properties"] for id, one in resources(STAGE, "AWS::Lambda::EventSourceMapping").items()}
    (stream,) = (mapping for mapping in mappings.values() if "StartingPosition" in mapping)
    (queue,) = (mapping for mapping in mappings.values() if "StartingPosition" not in mapping)
    (api,) = resources(STAGE, "AWS::ApiGatewayV2::Stage").values()
    return Deployment(
        memory_mb=memory_mb,
        worker_mb=worker_mb,
        traced=any(function.get("TracingConfig", {}).get("Mode") == "Active" for function in functions),
        lanes=stream["ParallelizationFactor"],
        window_s=stream["MaximumBatchingWindowInSeconds"],
        stream_batch=stream["BatchSize"],
        queue_batch=queue["BatchSize"],
        access_line_bytes=line_bytes(api["Properties"].get("AccessLogSettings", {"Format": ""})["Format"]),
    )


def line_bytes(format: str) -> int:
    """Of a line of the access log; ValueError where it tells what has no usual value here."""
    for variable, value in USUAL.items():
        format = format.replace(f"$context.{variable}", value)
    if "$" in format:
        raise ValueError(f"not all that the access log tells has a usual value: {format}")
    return len(format.encode())


def _name(function: dict[str, Any]) -> str:
    return str(function["Properties"].get("FunctionName", ""))


def tables() -> dict[str, Table]:
    """The tables' keys and indexes."""
    found = {}
    for id, resource in resources(STAGE, "AWS::DynamoDB::GlobalTable").items():
        properties = resource["Properties"]
        key = _key(properties)
        indexes = (
            Index(_key(index), (*key, *_key(index), *index["Projection"].get("NonKeyAttributes", ())))
            for index in properties.get("GlobalSecondaryIndexes", ())
        )
        found[next(name for name in TABLES if id.startswith(f"Tables{name}"))] = Table(key, tuple(indexes))
    return found


def _key(schema: dict[str, Any]) -> tuple[str, ...]:
    return tuple(part["AttributeName"] for part in schema["KeySchema"])
