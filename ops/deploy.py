"""Deploys a stage to real AWS with the AWS profile in use: the checks first, then the same CDK app that `make up` deploys."""

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated

import boto3
import typer
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra import package, settings
from infra.settings import ROOT
from ops import cdk, check, concurrency
from ops.concurrency import Demand
from ops.console import err, fail

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_lambda import LambdaClient

QUICK = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})  # seconds; somebody is waiting
NEVER_CREATED = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED")  # how a stack ends whose creation failed


def main(
    stage: Annotated[str | None, typer.Argument(help="A stage of cdk.json; its own choice where none is named.")] = None,
    bootstrap: Annotated[bool, typer.Option("--bootstrap", help="Prepare the account and region first; needed once.")] = False,
) -> None:
    """Checks, then `cdk deploy`."""
    chosen = settings.load(stage)
    if chosen.target != "aws":
        fail(f"stage {chosen.stage} is built for the local AWS: `make up` deploys it")
    session = _session()
    require_concurrency(session.client("lambda", config=QUICK), Demand(chosen.fanout_max_concurrency, chosen.deliver_lanes))
    check.run_steps(check.FAST, dict(os.environ), [check.TYPES])
    # Bytecode for the upload: with Lambda's Python on this machine, or fetched, a cold start does not compile.
    subprocess.run([package.UV, "python", "install", "--quiet", package.LAMBDA_PYTHON], check=False)
    if free_failed_creation(session.client("cloudformation", config=QUICK), chosen.stack_name):
        err.print(f"the first deployment of {chosen.stack_name} had failed: its remains are replaced")
    env = cdk.environment(os.environ)
    command = [str(cdk.cli(env, ROOT / ".local" / "logs")), *cdk.APP, "-c", f"stage={chosen.stage}"]
    for action in ["bootstrap"] * bootstrap + ["deploy"]:
        failed = subprocess.run([*command, action], cwd=ROOT, env=env, check=False).returncode
        if failed:
            sys.exit(failed)


def _session() -> boto3.Session:
    """Who deploys; asked before the checks, which take minutes."""
    try:
        session = boto3.Session()
        if not session.region_name:
            fail("no AWS region: set AWS_REGION, or a region in the profile that AWS_PROFILE names")
        session.client("sts", config=QUICK).get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        fail(f"AWS does not know who you are ({error}): set AWS_PROFILE, or log in with `aws sso login`")
    return session


def require_concurrency(client: "LambdaClient", demand: Demand) -> None:
    """SystemExit where the stage's workers could take all of the account's Lambda concurrency; asked before the checks, too."""
    try:
        has = concurrency.capacity(client)
    except (BotoCoreError, ClientError) as error:  # who deploys by CDK's roles may not be allowed to ask
        err.print(f"Lambda's concurrency in this account could not be looked at ({error}): parley doctor does, later")
        return
    state, told = concurrency.judged(demand, has)
    if state == "red":
        fail(told)
    if state == "note":
        err.print(told)


def free_failed_creation(client: "CloudFormationClient", stack: str) -> bool:
    """Lets CDK remove a stack whose very first deployment failed; False where there is none.

    Nothing was ever stored in it. Without this, its termination protection would hold it, and the deployment could never be repeated.
    """
    try:
        (found,) = client.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if "does not exist" in error.response["Error"]["Message"]:
            return False
        raise
    if found["StackStatus"] not in NEVER_CREATED:
        return False
    client.update_termination_protection(StackName=stack, EnableTerminationProtection=False)
    return True


if __name__ == "__main__":
    typer.run(main)
