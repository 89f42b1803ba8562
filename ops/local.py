"""The local AWS: starts it, deploys the same CDK app to it that goes to AWS, and fills it with two demo apps.

Everything it keeps is under `.local` (or PARLEY_HOME): the state, the logs, the CDK CLI, `parley.json`.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import boto3
import typer

from infra import prices
from infra import settings as stage_settings
from infra.catalog import FUNCTIONS
from infra.settings import ROOT
from messaging.base import clock
from messaging.base.errors import ApiError
from messaging.conversations import membership
from messaging.people import directory, tokens
from messaging.people.models import ADMIN, USER
from ops import cdk, stack
from ops.console import err, fail, out, run, step

STAGE = "local"
START_S = 300  # until the local AWS answers
STOP_S = 300  # until it has saved its state
REDELIVERED_MS = 60_000  # how long before the stop a message may have been sent and not delivered
STREAM_BATCH = 100  # records per invocation of deliver
TOKEN_S = 30 * 86400  # how long the demo tokens are valid
DEMO = {"demo": ("alice", "bob", "carol", "dave"), "other": ("erin", "frank", "grace", "heidi")}

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)


@app.command()
def up() -> None:
    """Starts the local AWS, deploys to it, makes the demo apps, and says how to call it."""
    port = _port()
    endpoint = f"http://127.0.0.1:{port}"
    stack.use_local(endpoint)
    saved_at = _start(port, endpoint)
    _deploy(endpoint)
    name = stage_settings.load(STAGE).stack_name
    outputs = stack.read_outputs(name)
    _correct_policies(outputs)
    info = {
        "api_url": f"{endpoint}/_aws/execute-api/{outputs['ApiId']}",
        "aws_endpoint_url": endpoint,
        "region": stack.REGION,
        "stack": name,
        "functions": {row.name: outputs[f"{row.name.capitalize()}Function"] for row in FUNCTIONS},
    }
    _write(info)
    stack.connect(None)
    if saved_at:
        _redeliver(outputs, int(saved_at * 1000) - REDELIVERED_MS)
    with step("Demo apps, users, groups and tokens"):
        _write(info | {"apps": [_demo(app_id, names) for app_id, names in DEMO.items()]})
    _tell(json.loads(_file().read_text()))


@app.command()
def down() -> None:
    """Stops the local AWS; what it holds is kept."""
    pid = _running()
    if pid is None:
        err.print("the local AWS is not running")
        return
    with step("Saving the state and stopping the local AWS"):
        os.kill(pid, signal.SIGTERM)
        _wait(lambda: not _alive(pid), STOP_S, f"the local AWS (process {pid}) does not stop; its log: {_log()}")
        _pid_file().unlink(missing_ok=True)


@app.command()
def reset() -> None:
    """Stops the local AWS and wipes what it holds."""
    down()
    for name in ("state", "s3", "tmp", "parley.json", "deployed", "port"):
        path = stack.home() / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    err.print("the local AWS is empty; `make up` makes a new one")


def _port() -> int:
    text = os.environ.get("PARLEY_PORT", "4566")
    if not text.isdigit() or not 1024 <= int(text) <= 65535:
        fail(f"PARLEY_PORT must be a port from 1024 to 65535, not {text!r}")
    return int(text)


def _file() -> Path:
    return stack.home() / "parley.json"


def _pid_file() -> Path:
    return stack.home() / "aws.pid"


def _log() -> Path:
    return stack.home() / "logs" / "aws.log"


def _write(info: dict[str, Any]) -> None:
    _file().write_text(json.dumps(info, indent=2) + "\n")


def _alive(pid: int) -> bool:
    """Whether the process is there and is ours: after a restart of the machine the number may be somebody else's."""
    try:
        return b"ministack" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        pass
    if Path("/proc").is_dir():
        return False
    return "ministack" in subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False).stdout


def _running() -> int | None:
    try:
        pid = int(_pid_file().read_text().split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    return pid if _alive(pid) else None


def _answers(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=10) as reply:  # noqa: S310
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _wait(until: Any, seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        if time.monotonic() > deadline:
            fail(otherwise)
        time.sleep(0.1)


def _start(port: int, endpoint: str) -> float | None:
    """Starts the local AWS unless it is running; returns when the state that it begins with was saved (s), None where it begins empty."""
    pid = _running()
    if pid and _pid_file().read_text().split()[1:] == [str(port)]:
        _wait(lambda: _answers(endpoint), START_S, f"the local AWS (process {pid}) does not answer; its log: {_log()}")
        err.print(f"[green]✓[/green] The local AWS is running on {endpoint}")
        return None
    # Queue addresses hold the port, so what was stored under one port does not work under another.
    made_for = stack.home() / "port"
    if made_for.exists() and made_for.read_text() != str(port):
        fail(f"what is stored here belongs to port {made_for.read_text()}: use PARLEY_PORT={made_for.read_text()}, or `make reset` first")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            fail(f"port {port} is taken by another program; choose another one: make up PARLEY_PORT={port + 1}")
    saved_at = _forget_stream_positions()
    with step(f"Starting the local AWS on {endpoint}"):
        home = stack.home()
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        made_for.write_text(str(port))
        _log().parent.mkdir(parents=True, exist_ok=True)
        # Its functions inherit this environment: nothing of the user's is in it.
        env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | {
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_REGION": stack.REGION,
            "MINISTACK_ACCOUNT_ID": stack.ACCOUNT,
            "PERSIST_STATE": "1",
            "STATE_DIR": str(home / "state"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(home / "s3"),
            "TMPDIR": str(home / "tmp"),
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "LAMBDA_EXECUTOR": "local",
            "LOG_LEVEL": "WARNING",
            "AUTH": "true",  # each function may do what its own role allows, and no more, as on AWS
        }
        with _log().open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ministack"],
                env=env,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _pid_file().write_text(f"{process.pid} {port}\n")

        def answers() -> bool:
            if process.poll() is not None:
                fail(f"the local AWS did not start (exit {process.returncode}); its log: {_log()}")
            return _answers(endpoint)

        _wait(answers, START_S, f"the local AWS does not answer after {START_S} s; its log: {_log()}")
    return saved_at


def _forget_stream_positions() -> float | None:
    """The local AWS saves how far a stream was read but not the stream: without this, it would wait for as many new records again."""
    path = stack.home() / "state" / "lambda.json"
    if not path.exists():
        return None
    saved_at, state = path.stat().st_mtime, json.loads(path.read_text())
    state["payload"]["dynamodb_stream_positions"]["data"] = {}
    path.write_text(json.dumps(state))
    return saved_at


def _redeliver(outputs: dict[str, str], since_ms: int) -> None:
    """Delivers the latest messages again, which is harmless: those that were still in the stream when it was stopped are in no stream."""
    pages = (
        boto3.client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=outputs["MessagesTable"],
            FilterExpression="sent_at > :since",
            ExpressionAttributeValues={":since": {"N": str(since_ms)}},
        )
    )
    items = [item for page in pages for item in page["Items"]]
    records = [{"eventName": "INSERT", "dynamodb": {"NewImage": item, "SequenceNumber": str(at)}} for at, item in enumerate(items)]
    for at in range(0, len(records), STREAM_BATCH):
        payload = json.dumps({"Records": records[at : at + STREAM_BATCH]}).encode()
        boto3.client("lambda").invoke(FunctionName=outputs["DeliverFunction"], Payload=payload)


def _fingerprint() -> str:
    """Of everything that a deployment depends on."""
    digest = hashlib.sha256(sys.version.encode())
    files = [
        ROOT / "cdk.json",
        ROOT / "uv.lock",
        prices.PATH,
        *sorted((ROOT / "functions").rglob("*.py")),
        *sorted((ROOT / "infra").rglob("*.py")),
    ]
    for path in files:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _deploy(endpoint: str) -> None:
    deployed, fingerprint = stack.home() / "deployed", _fingerprint()
    if deployed.exists() and deployed.read_text() == fingerprint and stack.exists(stage_settings.load(STAGE).stack_name):
        err.print("[green]✓[/green] Deployed already, nothing changed")
        return
    env, logs = cdk.environment(stack.local_env(endpoint)), stack.home() / "logs"
    cli = cdk.cli(env, logs)
    cloud = [*cdk.APP, "-c", f"stage={STAGE}", "--output", str(stack.home() / "cdk.out")]
    run("cdk bootstrap", [cli, "bootstrap", f"aws://{stack.ACCOUNT}/{stack.REGION}", *cloud], env, logs / "bootstrap.log", ROOT)
    _open_assets()
    run("cdk deploy", [cli, "deploy", "--require-approval", "never", "--progress", "events", *cloud], env, logs / "deploy.log", ROOT)
    deployed.write_text(fingerprint)


def _open_assets() -> None:
    """The bucket that `cdk bootstrap` makes turns away who comes without TLS, which the local AWS does not have."""
    boto3.client("s3").delete_bucket_policy(Bucket=stack.read_outputs("CDKToolkit")["BucketName"])


def _correct_policies(outputs: dict[str, str]) -> None:
    """What the local AWS makes of three policies is not what AWS makes of them; the roles stay as narrow as they are there."""
    secret, iam, sqs = outputs["TokenSecret"], boto3.client("iam"), boto3.client("sqs")
    secret_arn = boto3.client("secretsmanager").describe_secret(SecretId=secret)["ARN"]
    sqs.meta.events.register("before-send.sqs", _as_if_by_tls)
    queues = [outputs[f"{name}QueueUrl"] for name in ("Fanout", "FanoutDead", "DeliverDead")]
    fanout_arn = sqs.get_queue_attributes(QueueUrl=queues[0], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    for role in roles(outputs).values():
        for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document: Any = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
            before = json.dumps(document)
            for statement in document["Statement"]:
                grant = statement["Action"], statement["Resource"]
                if grant == ("secretsmanager:GetSecretValue", secret):  # `Ref` of a secret: its ARN on AWS, here its name
                    statement["Resource"] = secret_arn
                elif grant == ("sqs:SendMessage", fanout_arn):  # on AWS, which knows no other name for it, this covers batches
                    statement["Action"] = "sqs:SendMessageBatch"
            if json.dumps(document) != before:
                iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
    for url in queues:  # they turn away who comes without TLS: here that is everybody
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})


def roles(outputs: dict[str, str]) -> dict[str, str]:
    """The name of each function's role."""
    named = {row.name: f"{row.name.capitalize()}Function" for row in FUNCTIONS}
    functions = {name: outputs[output] for name, output in named.items() if output in outputs}  # an older release has fewer
    read = boto3.client("lambda").get_function_configuration
    return {name: read(FunctionName=function)["Role"].rpartition("/")[2] for name, function in functions.items()}


def _as_if_by_tls(request: Any, **_: object) -> None:
    """What a proxy that ends TLS says; a queue's policy holds for the administrator too."""
    request.headers["x-forwarded-proto"] = "https"


def _demo(app_id: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The demo app as it is, or made anew."""
    try:
        admin_id = directory.app(app_id)["admin_id"]
    except ApiError:
        admin_id = directory.create_app(app_id, clock.now_ms())["admin_id"]
    users = {user["title"]: user["entity_id"] for user in directory.listed(app_id, "user")}
    for name in names:
        if name not in users:
            users[name] = directory.create(app_id, "user", clock.now_ms(), title=name)["entity_id"]
    members = [users[name] for name in names[:3]]
    found = [group["entity_id"] for group in directory.listed(app_id, "group")]
    group_id = found[0] if found else membership.create(app_id, members[0], members, False, clock.now_ms(), None, lambda done: None)
    return {
        "app_id": app_id,
        "admin_token": tokens.issue(app_id, admin_id, ADMIN, TOKEN_S, clock.now_ms()),
        "users": [
            {"user_id": users[name], "name": name, "token": tokens.issue(app_id, users[name], USER, TOKEN_S, clock.now_ms())}
            for name in names
        ],
        "groups": [{"group_id": group_id, "owner_id": members[0], "member_ids": directory.members(app_id, group_id)}],
    }


def curl_lines(info: dict[str, Any]) -> list[str]:
    """Alice sends Bob a message, Bob sees that he has one unread, Bob reads it: as lines for a shell."""
    demo, url = info["apps"][0], info["api_url"]
    alice, bob = demo["users"][:2]
    body = json.dumps({"type": 1, "targets": [bob["user_id"]], "content_type": 0, "content": "Hello Bob"})

    def curl(who: dict[str, Any], path: str, more: str = "") -> str:
        return f"curl -s{more} '{url}{path}' -H 'app_id: {demo['app_id']}' -H 'access-token: {who['token']}'"

    return [
        curl(alice, "/message/send", " -X POST") + f" -d '{body}'",
        curl(bob, "/message/unread"),
        curl(bob, f"/message/conversation?opposite_id={alice['user_id']}"),
    ]


def _tell(info: dict[str, Any]) -> None:
    """What to do next."""
    demo = info["apps"][0]
    out.print(f"\n[bold]Parley is up:[/bold] {info['api_url']}\n", markup=True)
    out.print(f"Admin token of {demo['app_id']}:\n{demo['admin_token']}\n", markup=False)
    for user in demo["users"][:2]:
        out.print(f"Token of {user['name']} ({user['user_id']}):\n{user['token']}\n", markup=False)
    out.print("Alice sends Bob a message, Bob sees that he has one unread, Bob reads it:\n")
    for line in curl_lines(info):
        out.print(line + "\n", markup=False)
    out.print(f"The other tokens, ids and function names: {_file()}", markup=False)


if __name__ == "__main__":
    app()
