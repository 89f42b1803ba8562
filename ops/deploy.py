"""Deploys a stage to real AWS with the AWS profile in use: the checks first, then the same CDK app that `make up` deploys."""

import os
import subprocess
import sys
from typing import Annotated

import typer

from infra import package, settings
from infra.settings import ROOT
from ops import cdk, check
from ops.console import fail


def main(
    stage: Annotated[str | None, typer.Argument(help="A stage of cdk.json; its own choice where none is named.")] = None,
    bootstrap: Annotated[bool, typer.Option("--bootstrap", help="Prepare the account and region first; needed once.")] = False,
) -> None:
    """Checks, then `cdk deploy`."""
    chosen = settings.load(stage)
    if chosen.target != "aws":
        fail(f"stage {chosen.stage} is built for the local AWS: `make up` deploys it")
    check.run_steps(check.FAST, dict(os.environ))
    # Bytecode for the upload: with Lambda's Python on this machine, or fetched, a cold start does not compile.
    subprocess.run([package.UV, "python", "install", "--quiet", package.LAMBDA_PYTHON], check=False)
    env = cdk.environment(os.environ)
    command = [str(cdk.cli(env, ROOT / ".local" / "logs")), *cdk.APP, "-c", f"stage={chosen.stage}"]
    for action in ["bootstrap"] * bootstrap + ["deploy"]:
        failed = subprocess.run([*command, action], cwd=ROOT, env=env, check=False).returncode
        if failed:
            sys.exit(failed)


if __name__ == "__main__":
    typer.run(main)
