"""What an operator is told when something stands in the way: one sentence that says what to do, and a non-zero exit."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from infra.settings import ROOT

OLD_PYTHON = """
import runpy, sys
sys.version_info = (3, 8, 18, "final", 0)
runpy.run_path("ops/bootstrap.py", run_name="__main__")
"""


def run(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr of a command that failed."""
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture
def home(tmp_path: Path) -> str:
    return str(tmp_path)


def test_a_taken_port_is_named_with_another_to_take(home: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = refusal(run("-m", "ops.local", "up", PARLEY_HOME=home, PARLEY_PORT=str(port)))
    assert told == f"parley: port {port} is taken by another program; choose another one: make up PARLEY_PORT={port + 1}"


def test_what_is_stored_is_not_served_on_another_port(home: str) -> None:
    Path(home, "port").write_text("4999")
    told = refusal(run("-m", "ops.local", "up", PARLEY_HOME=home, PARLEY_PORT="4998"))
    assert told == "parley: what is stored here belongs to port 4999: use PARLEY_PORT=4999, or `make reset` first"


@pytest.mark.parametrize("port", ["0", "99", "65536", "http", " "])
def test_a_port_that_is_none_is_refused_by_name(home: str, port: str) -> None:
    assert "PARLEY_PORT must be a port" in refusal(run("-m", "ops.local", "up", PARLEY_HOME=home, PARLEY_PORT=port))


def test_a_process_that_took_over_our_number_is_left_alone(home: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        Path(home, "aws.pid").write_text(f"{other.pid} 4566\n")
        done = run("-m", "ops.local", "down", PARLEY_HOME=home)
        assert (done.returncode, done.stderr) == (0, "the local AWS is not running\n")
        assert other.poll() is None
        other.communicate(b"\n")


def test_the_command_line_says_how_to_get_a_local_aws(home: str) -> None:
    assert "run `make up`" in refusal(run("-m", "ops.cli", "app", "list", PARLEY_HOME=home))


def test_an_old_python_is_told_what_is_missing(home: str) -> None:
    told = refusal(run("-c", OLD_PYTHON, PATH=""))
    assert told == "make: Python 3.11 or newer is needed, this is 3.8.18. Install one, or name one: PYTHON=/path/to/python3.12"


@pytest.mark.parametrize(
    ("stage", "why"), [("local", "`make up` deploys it"), ("nowhere", "no stage 'nowhere', there are local, dev, prod")]
)
def test_only_a_stage_for_aws_is_deployed_to_aws(stage: str, why: str) -> None:
    assert why in refusal(run("-m", "ops.deploy", stage))


NOBODY = {"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, "no AWS region: set AWS_REGION"),
        ({"AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "AWS does not know who you are"),
        ({"AWS_PROFILE": "nobody"}, "nobody"),
    ],
    ids=["no region", "no credentials", "no such profile"],
)
def test_who_cannot_deploy_is_told_before_the_checks_run(env: dict[str, str], why: str) -> None:
    assert why in refusal(run("-m", "ops.deploy", "dev", **NOBODY, **env))
