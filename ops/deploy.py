"""Deploys a stage to real AWS with the AWS profile in use: the checks first, then the same CDK app that `make up` deploys."""

import os
import subprocess
import sys
from typing import Annotated

import typer

from infra import settings
from infra.settings import ROOT
from ops import cdk, check
from ops.console import fail


def main(stage: Annotated[str | None, typer.Argument(help="A stage of cdk.json; its own choice where none is named.")] = None) -> None:
    """Checks, then `cdk deploy`."""
    chosen = settings.load(stage)
    if chosen.target != "aws":
        fail(f"stage {chosen.stage} is built for the local AWS: `make up` deploys it")
    check.run_steps(check.FAST, dict(os.environ))
    env = cdk.environment(os.environ)
    command = [cdk.cli(env, ROOT / ".local" / "logs"), "deploy", *cdk.APP, "-c", f"stage={chosen.stage}"]
    sys.exit(subprocess.run([str(part) for part in command], cwd=ROOT, env=env, check=False).returncode)


if __name__ == "__main__":
    typer.run(main)
