"""The command line on a Parley in process: `parley("keys", "list")` as an operator types it."""

import json
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import boto3
import pytest
from moto.secretsmanager.models import SecretsManagerBackend
from typer.testing import CliRunner

from messaging.base.errors import ApiError
from ops import cli, keyring, stack
from tests.world import World


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Parley = Callable[..., Said]


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto goes on reading the version that was born with the label AWSCURRENT, wherever the label is moved; AWS does not."""
    keyring._client.cache_clear()
    original = SecretsManagerBackend.update_secret_version_stage

    def moved(backend: Any, secret_id: str, version_stage: str, remove_from_version_id: str, move_to_version_id: str) -> Any:
        done = original(backend, secret_id, version_stage, remove_from_version_id, move_to_version_id)
        backend.secrets[secret_id].set_default_version_id(move_to_version_id)
        return done

    monkeypatch.setattr(SecretsManagerBackend, "update_secret_version_stage", moved)


@pytest.fixture
def outputs(world: World) -> dict[str, str]:
    """The outputs of the stack that the command line finds."""
    sqs = boto3.client("sqs")
    dead = {f"{name}DeadQueueUrl": sqs.create_queue(QueueName=f"{name}Dead")["QueueUrl"] for name in ("Fanout", "Deliver")}
    named = {output: os.environ[variable] for output, variable in stack.OUTPUTS.items() if variable in os.environ}
    return {**named, **dead, "DeliverFunction": "deliver", "FanoutFunction": "fanout"}


@pytest.fixture
def parley(outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Parley:
    """Runs a command on the world's Parley. What `run` would tell in one sentence counts as told on stderr."""
    monkeypatch.setattr(stack, "connect", lambda name: outputs)

    def run(*arguments: object, answer: str | None = None) -> Said:
        done = CliRunner().invoke(cli.main, [str(argument) for argument in arguments], input=answer)
        if isinstance(done.exception, ApiError):
            return Said(1, done.stdout, done.exception.message)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Said(done.exit_code, done.stdout, done.stderr)

    return run
