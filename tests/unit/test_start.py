"""What a container does when it starts: its clients are made then, and nothing else is asked of anybody."""

import subprocess
import sys

import pytest

from infra.catalog import FUNCTIONS, Function
from infra.settings import ROOT
from tests.conftest import ENVIRONMENT

MADE = """
import importlib, socket, sys
socket.socket.connect = socket.socket.connect_ex = None  # whoever tries fails
importlib.import_module(sys.argv[1])
clients = {"dynamodb": ("base.store", "dynamodb"), "secretsmanager": ("people.tokens", "_secrets"), "sqs": ("conversations.queue", "_sqs")}
for name, (module, make) in clients.items():
    module = sys.modules.get(f"messaging.{module}")
    if module and getattr(module, make).cache_info().currsize:
        print(name)
"""


def made(module: str, **environment: str) -> set[str]:
    """The clients that there are once the module is imported."""
    env = {**ENVIRONMENT, **environment, "PYTHONPATH": str(ROOT / "functions")}
    done = subprocess.run([sys.executable, "-c", MADE, module], env=env, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("row", FUNCTIONS, ids=lambda row: row.name)
def test_lambda_finds_the_clients_made_before_the_first_request(row: Function) -> None:
    wanted = {"dynamodb"} | ({"secretsmanager"} if row.is_endpoint else set()) | ({"sqs"} if row.enqueues else set())
    assert made(row.module, AWS_LAMBDA_FUNCTION_NAME=row.name) == wanted


def test_elsewhere_importing_makes_none() -> None:
    assert made("endpoints.send") == set()
