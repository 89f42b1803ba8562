"""Where the command line works: the local AWS by default, or a deployed stack by its name and the usual AWS profile."""

import json
import os
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.settings import ROOT
from messaging.base import clock, settings
from ops.console import fail

REGION = "us-east-1"  # of the local AWS
ACCOUNT = "000000000000"
OUTPUTS = {  # a stack output → what the functions' own code reads from its environment
    "MessagesTable": "MESSAGES_TABLE",
    "InboxTable": "INBOX_TABLE",
    "DedupTable": "DEDUP_TABLE",
    "DirectoryTable": "DIRECTORY_TABLE",
    "TokenSecret": "TOKEN_SECRET",
    "FanoutQueueUrl": "FANOUT_QUEUE_URL",
    "RetentionSeconds": "RETENTION_SECONDS",
    "PushLimitMembers": "PUSH_LIMIT_MEMBERS",
    "TokenMaxDays": "TOKEN_MAX_DAYS",  # not of 0.1.0
}


def home() -> Path:
    """Where the local AWS keeps everything: `.local`, or what PARLEY_HOME names."""
    return Path(os.environ.get("PARLEY_HOME") or ROOT / ".local").resolve()


def local_env(endpoint: str) -> dict[str, str]:
    """This environment for programs that talk to the local AWS: no AWS account, profile or setting of the user's gets near it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))}
    return env | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def use_local(endpoint: str) -> None:
    """From here on, every AWS client of this process talks to the local AWS."""
    env = local_env(endpoint)
    os.environ.clear()
    os.environ.update(env)


def local() -> dict[str, Any]:
    """What `make up` has written of the local AWS."""
    try:
        return dict(json.loads((home() / "parley.json").read_text()))
    except FileNotFoundError:
        fail("no local AWS here yet: run `make up`, or name a deployed stack with --stack")


def connect(stack: str | None) -> dict[str, str]:
    """Chooses the stack and lets the functions' own code work on it; returns the stack's outputs."""
    if stack is None:
        here = local()
        use_local(here["aws_endpoint_url"])
        stack = str(here["stack"])
    outputs = read_outputs(stack)
    os.environ.update({variable: outputs[output] for output, variable in OUTPUTS.items() if output in outputs})
    settings.settings.cache_clear()
    return outputs


def exists(stack: str) -> bool:
    """Whether the stack is there; the local AWS loses it when it is killed instead of stopped."""
    try:
        boto3.client("cloudformation").describe_stacks(StackName=stack)
    except ClientError:
        return False
    return True


def read_outputs(stack: str) -> dict[str, str]:
    try:
        client = boto3.client("cloudformation")
        clock.watch(client.meta.events)  # a laptop's clock may be off, too
        found = client.describe_stacks(StackName=stack)["Stacks"][0]
    except (BotoCoreError, ClientError) as error:
        hint = "is the local AWS running? `make up` starts it" if "AWS_ENDPOINT_URL" in os.environ else "check --stack and your AWS profile"
        fail(f"cannot read stack {stack}: {error} ({hint})")
    return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
