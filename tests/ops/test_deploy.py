"""Deploying again what could not be deployed: a stack whose creation failed does not stand in the way, any other is left alone."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import NoCredentialsError
from botocore.stub import Stubber

from ops import check, deploy
from ops.deploy import free_failed_creation

NAME = "Parley-prod"


@pytest.fixture
def aws() -> Iterator[tuple[Any, Stubber]]:
    client = boto3.client("cloudformation")
    with Stubber(client) as answers:
        yield client, answers
        answers.assert_no_pending_responses()


def described(status: str) -> dict[str, Any]:
    return {"Stacks": [{"StackName": NAME, "CreationTime": "2026-11-25T12:00:00Z", "StackStatus": status}]}


@pytest.mark.parametrize("status", ["CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"])
def test_the_protection_of_a_stack_that_was_never_created_is_taken_away(aws: tuple[Any, Stubber], status: str) -> None:
    client, answers = aws
    answers.add_response("describe_stacks", described(status), {"StackName": NAME})
    answers.add_response("update_termination_protection", {}, {"StackName": NAME, "EnableTerminationProtection": False})
    assert free_failed_creation(client, NAME) is True


@pytest.mark.parametrize(
    "status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"]
)
def test_a_stack_that_holds_data_keeps_its_protection(aws: tuple[Any, Stubber], status: str) -> None:
    client, answers = aws
    answers.add_response("describe_stacks", described(status), {"StackName": NAME})
    assert free_failed_creation(client, NAME) is False


def test_a_first_deployment_finds_nothing_in_its_way(aws: tuple[Any, Stubber]) -> None:
    client, answers = aws
    answers.add_client_error("describe_stacks", "ValidationError", f"Stack with id {NAME} does not exist")
    assert free_failed_creation(client, NAME) is False


def test_who_is_not_known_to_aws_is_told_before_the_checks_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise NoCredentialsError

    def checks(*_: Any) -> None:
        raise AssertionError("the checks ran")

    monkeypatch.setattr(check, "run_steps", checks)
    monkeypatch.setattr(BaseClient, "_make_api_call", unknown)
    with pytest.raises(SystemExit):
        deploy.main("dev")
    assert "AWS does not know who you are" in capsys.readouterr().err
