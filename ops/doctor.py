"""Whether a Parley is well: what it is made of, whether that is what this checkout would deploy, and a message that is sent and arrives.

Each check tells what it found; what is red names the section of docs/operations.md that says what to do.
"""

import io
import json
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.catalog import FUNCTIONS
from infra.package import FUNCTIONS as SOURCES
from infra.package import LAMBDA_PYTHON
from messaging.base import clock, keys, store
from messaging.base.errors import ApiError
from ops import concurrency, dead_letters, keyring
from ops.concurrency import Demand
from ops.round_trip import round_trip, sweep

KEY_DAYS = 365  # a key that has signed for longer is told as due for rotation
OLDEST_JOB_S = 300  # on the fan-out queue: a job that waits longer is behind
DOWNLOAD_S = 60
TABLES = {"MessagesTable": keys.MESSAGES, "InboxTable": keys.INBOX, "DedupTable": keys.DEDUP, "DirectoryTable": keys.DIRECTORY}
EXPIRING = ("MessagesTable", "DedupTable")

State = Literal["ok", "note", "red"]


class Section(StrEnum):
    """Of docs/operations.md."""

    WELL = "Is it well?"
    DEPLOYMENT = "A deployment that failed"
    KEYS = "Rotating keys"
    STREAM = "A stuck stream"
    FANOUT = "Fan-out is behind"
    DEAD = "Dead letters"
    ALARMS = "Alarms"
    ERRORS = "Errors"
    THROTTLES = "Throttles"


class Finding(NamedTuple):
    """What a check found. `section` of docs/operations.md: what to do where it is not well."""

    state: State
    told: str
    section: Section | None = None


class Patient(NamedTuple):
    """What is looked at. `is_local`: an emulator that keeps no backups and expires nothing."""

    stack: str
    outputs: dict[str, str]
    api_url: str
    is_local: bool
    wait_s: float


Check = Callable[[Patient], Iterator[Finding]]


def checks() -> dict[str, Check]:
    """In the order in which they are made: what others depend on first."""
    return {
        "stack": _stack,
        "functions": _functions,
        "deployed code": _code,
        "dependencies": _layer,
        "tables": _tables,
        "signing keys": _keys,
        "event sources": _sources,
        "concurrency": _concurrency,
        "fan-out queue": _queue,
        "dead letters": _dead_letters,
        "alarms": _alarms,
        "round trip": _round_trip,
    }


def made(check: Check, patient: Patient) -> list[Finding]:
    """What a check finds; that it cannot be made is red too."""
    found = []
    try:
        for finding in check(patient):
            found.append(finding)  # noqa: PERF402 - what was found before an error counts
    except (BotoCoreError, ClientError, ApiError, OSError, LookupError, ValueError, zipfile.BadZipFile) as error:
        found.append(Finding("red", f"cannot be looked at: {error or type(error).__name__}", Section.WELL))
    return found


def _stack(patient: Patient) -> Iterator[Finding]:
    found = boto3.client("cloudformation").describe_stacks(StackName=patient.stack)["Stacks"][0]
    status = found["StackStatus"]
    changed = found.get("LastUpdatedTime", found["CreationTime"]).isoformat(timespec="seconds")
    well = status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")
    yield Finding("ok" if well else "red", f"{patient.stack} is {status} since {changed}", Section.DEPLOYMENT)


def _functions(patient: Patient) -> Iterator[Finding]:
    client, bad = boto3.client("lambda"), 0
    for row in FUNCTIONS:
        name = patient.outputs[f"{row.name.capitalize()}Function"]
        found = client.get_function_configuration(FunctionName=name)
        state, update = found.get("State", "Active"), found.get("LastUpdateStatus", "Successful")
        problems = [f"is {state}"] * (state not in ("Active", "Inactive")) + [f"update {update}"] * (update != "Successful")
        if found["Runtime"] != f"python{LAMBDA_PYTHON}":
            problems.append(f"runs on {found['Runtime']}, this checkout on python{LAMBDA_PYTHON}")
        for problem in problems:
            bad += 1
            yield Finding("red", f"{name} {problem}", Section.DEPLOYMENT)
    if not bad:
        yield Finding("ok", f"{len(FUNCTIONS)} functions active, python{LAMBDA_PYTHON}")


def _code(patient: Patient) -> Iterator[Finding]:
    client = boto3.client("lambda")
    found = {row.name: client.get_function(FunctionName=patient.outputs[f"{row.name.capitalize()}Function"]) for row in FUNCTIONS}
    if len({function["Configuration"]["CodeSha256"] for function in found.values()}) > 1:
        yield Finding("red", "the functions do not all run the same code", Section.DEPLOYMENT)
    archive = _download(found["send"]["Code"]["Location"])
    theirs = {name: archive.read(name) for name in archive.namelist() if name.endswith(".py")}
    ours = {path.relative_to(SOURCES).as_posix(): path.read_bytes() for path in SOURCES.rglob("*.py")}
    differing = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    if differing:
        told = f"{len(differing)} files differ from this checkout's, {differing[0]} among them: another release is deployed"
        yield Finding("note", told, Section.DEPLOYMENT)
    else:
        yield Finding("ok", f"that of this checkout, {version('parley')}")


def _layer(patient: Patient) -> Iterator[Finding]:
    client = boto3.client("lambda")
    layers = client.get_function_configuration(FunctionName=patient.outputs["SendFunction"]).get("Layers", [])
    archive = _download(client.get_layer_version_by_arn(Arn=layers[0]["Arn"])["Content"]["Location"])
    folders = {name.split("/")[1] for name in archive.namelist() if ".dist-info/" in name}
    theirs = dict(folder.removesuffix(".dist-info").rsplit("-", 1) for folder in folders)
    differing = [f"{name} {at} instead of {ours}" for name, at in sorted(theirs.items()) if (ours := _version(name)) != at]
    told = f"the layer has {', '.join(differing)}" if differing else f"those of the lock file, boto3 {theirs['boto3']}"
    yield Finding("note" if differing else "ok", told, Section.DEPLOYMENT if differing else None)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _download(url: str) -> zipfile.ZipFile:
    with urllib.request.urlopen(url, timeout=DOWNLOAD_S) as reply:  # noqa: S310 - Lambda's own address
        return zipfile.ZipFile(io.BytesIO(reply.read()))


def _tables(patient: Patient) -> Iterator[Finding]:
    client, bad = store.dynamodb(), 0
    for output, expected in TABLES.items():
        name = patient.outputs[output]
        found = client.describe_table(TableName=name)["Table"]
        partition, *sort = [key["AttributeName"] for key in sorted(found["KeySchema"], key=lambda key: key["KeyType"])]
        problems = []
        if found["TableStatus"] not in ("ACTIVE", "UPDATING"):
            problems.append(f"is {found['TableStatus']}")
        if (partition, sort) != (expected.partition, [expected.sort[0]] if expected.sort else []):
            problems.append(f"has the keys {partition} {' '.join(sort)}")
        if output == "MessagesTable" and found.get("StreamSpecification", {}).get("StreamViewType") != "NEW_IMAGE":
            problems.append("has no stream of new images: nothing is delivered")
        if not patient.is_local:  # the emulator reports neither
            if output in EXPIRING and _expires_by(name) != keys.EXPIRES_AT:
                problems.append(f"does not expire by {keys.EXPIRES_AT}")
            if not _recoverable(name):
                problems.append("cannot be restored to a point in time")
        for problem in problems:
            bad += 1
            yield Finding("red", f"{name} {problem}", Section.DEPLOYMENT)
    if not bad:
        told = "" if patient.is_local else ", point-in-time recovery on, expiry as it should be"
        yield Finding("ok", f"{len(TABLES)} tables active, the stream is on{told}")


def _expires_by(table: str) -> str | None:
    found = store.dynamodb().describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    return found.get("AttributeName") if found.get("TimeToLiveStatus") in ("ENABLED", "ENABLING") else None


def _recoverable(table: str) -> bool:
    found = store.dynamodb().describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    return found.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED"


def _keys(patient: Patient) -> Iterator[Finding]:
    found = keyring.read()  # a secret that is damaged or out of reach raises
    signing = next(key for key in found if key.signs)
    if not signing.since_ms:
        yield Finding("ok", f"{signing.kid} signs, the key that the stack was made with; {len(found)} in all")
        return
    days = (clock.now_ms() - signing.since_ms) / keyring.DAY_MS
    state: State = "note" if days > KEY_DAYS else "ok"
    yield Finding(state, f"{signing.kid} has signed for {days:.0f} days; {len(found)} keys in all", Section.KEYS)


def _sources(patient: Patient) -> Iterator[Finding]:
    client = boto3.client("lambda")
    for function in ("deliver", "fanout"):
        name = patient.outputs[f"{function.capitalize()}Function"]
        mappings = client.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
        section = Section.STREAM if function == "deliver" else Section.FANOUT
        if not mappings:
            yield Finding("red", f"nothing invokes {name}", section)
        for mapping in mappings:
            state = mapping["State"]
            result = mapping.get("LastProcessingResult", "no result yet")
            yield Finding("ok" if state in ("Enabled", "Updating") else "red", f"{name} is fed, {state}: {result}", section)


def _concurrency(patient: Patient) -> Iterator[Finding]:
    if patient.is_local:
        yield Finding("ok", "the local AWS has no limit")
        return
    client = boto3.client("lambda")
    fed = {
        name: client.list_event_source_mappings(FunctionName=patient.outputs[f"{name.capitalize()}Function"])["EventSourceMappings"][0]
        for name in ("deliver", "fanout")
    }
    demand = Demand(fed["fanout"]["ScalingConfig"]["MaximumConcurrency"], fed["deliver"].get("ParallelizationFactor", 1))
    state, told = concurrency.judged(demand, concurrency.capacity(client))
    yield Finding(state, told, Section.THROTTLES if state != "ok" else None)


def _queue(patient: Patient) -> Iterator[Finding]:
    url = patient.outputs["FanoutQueueUrl"]
    waiting, oldest_s = dead_letters.count(url), _oldest_s(url.rpartition("/")[2])
    told = f"{waiting} jobs" + (f", the oldest of the last minutes {oldest_s:.0f} s" if oldest_s is not None else "")
    yield Finding("red" if oldest_s and oldest_s > OLDEST_JOB_S else "ok", told, Section.FANOUT)


def _oldest_s(queue: str) -> float | None:
    """The age of the oldest job within the last ten minutes; None where nothing was measured, as on the local AWS."""
    now = datetime.now(UTC)
    client: Any = boto3.client("cloudwatch")
    points = client.get_metric_statistics(
        Namespace="AWS/SQS",
        MetricName="ApproximateAgeOfOldestMessage",
        Dimensions=[{"Name": "QueueName", "Value": queue}],
        StartTime=now - timedelta(minutes=10),
        EndTime=now,
        Period=60,
        Statistics=["Maximum"],
    )["Datapoints"]
    return max(points, key=lambda point: point["Timestamp"])["Maximum"] if points else None


def _dead_letters(patient: Patient) -> Iterator[Finding]:
    for queue in ("Deliver", "Fanout"):
        waiting = dead_letters.count(patient.outputs[f"{queue}DeadQueueUrl"])
        told = f"{waiting} of {queue.lower()}" + (", parley dead-letters show tells more" if waiting else "")
        yield Finding("red" if waiting else "ok", told, Section.DEAD)


def _alarms(patient: Patient) -> Iterator[Finding]:
    pages = boto3.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=patient.stack)
    resources = [row for page in pages for row in page["StackResourceSummaries"]]
    names = [row["PhysicalResourceId"] for row in resources if row["ResourceType"] == "AWS::CloudWatch::Alarm"]
    client, ringing = boto3.client("cloudwatch"), []
    for at in range(0, len(names), 100):  # names per call, AWS quota
        ringing += client.describe_alarms(AlarmNames=names[at : at + 100], StateValue="ALARM")["MetricAlarms"]
    for alarm in ringing:
        yield Finding("red", f"{alarm['AlarmName']}: {alarm.get('StateReason', 'in alarm')}", Section.ALARMS)
    if not ringing:
        yield Finding("ok", f"none of {len(names)} rings" if names else "this stage has none")


def _round_trip(patient: Patient) -> Iterator[Finding]:
    swept = sweep()
    if swept:
        yield Finding("note", f"removed what {swept} earlier round trips had left behind", Section.WELL)
    answered, delivered = round_trip(_post(patient.api_url), patient.wait_s)
    if answered != "":
        yield Finding("red", f"a message could not be sent: {answered}", Section.ERRORS)
    elif delivered is None:
        yield Finding("red", f"a message was stored and did not arrive within {patient.wait_s:.0f} s", Section.STREAM)
    else:
        yield Finding("ok", f"a message was sent, and in the recipient's list {delivered:.1f} s later")


def _post(api_url: str) -> Callable[[str, dict[str, str], dict[str, Any] | None], dict[str, Any]]:
    """Calls the API over HTTP; with a body it is a POST. The envelope, or one that says why there is none."""

    def call(path: str, headers: dict[str, str], body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(api_url.rstrip("/") + path, data, headers)  # noqa: S310 - the stack's own address
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
                return dict(json.load(reply))
        except urllib.error.HTTPError as error:
            return {"code": error.code, "message": f"HTTP {error.code} {error.read(200)!r}"}
        except (OSError, ValueError) as error:
            return {"code": 0, "message": str(error)}

    return call
