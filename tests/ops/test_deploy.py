"""Deploying again what could not be deployed: a stack whose creation failed does not stand in the way, any other is left alone."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import NoCredentialsError
from botocore.stub import Stubber

from ops import check, deploy
from ops.concurrency import Capacity, Demand, judged
from ops.deploy import free_failed_creation, require_concurrency

NAME = "Parley-prod"


@pytest.fixture
def aws(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Stubber]]:
    """A client that answers what it was told, all of it and nothing else: of CloudFormation, or of the service that a test names."""
    client = boto3.client(getattr(request, "param", "cloudformation"))
    with Stubber(client) as answers:
        yield client, answers
        answers.assert_no_pending_responses()


of_lambda = pytest.mark.parametrize("aws", ["lambda"], indirect=True)


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


# --- concurrency


def limits(limit: int, free: int) -> dict[str, Any]:
    return {"AccountLimit": {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": free}}


@of_lambda
@pytest.mark.parametrize("free", [10, 58])
def test_workers_that_could_take_all_of_the_accounts_concurrency_are_not_deployed(
    aws: tuple[Any, Stubber], capsys: pytest.CaptureFixture[str], free: int
) -> None:
    client, answers = aws
    answers.add_response("get_account_settings", limits(1000, free))
    with pytest.raises(SystemExit):
        require_concurrency(client, Demand(fanout=50, lanes=2))
    said = capsys.readouterr().err
    assert all(
        word in said
        for word in ("fan-out may take 50", "delivery 8", f"of {free}", "1000 in all", "nothing is left", "fanout_max_concurrency")
    )


@of_lambda
@pytest.mark.parametrize(("free", "told"), [(116, ""), (100, "lower fanout_max_concurrency to 42"), (59, "only 1 are left")])
def test_workers_that_leave_something_are_deployed_with_a_word_where_it_is_less_than_half(
    aws: tuple[Any, Stubber], capsys: pytest.CaptureFixture[str], free: int, told: str
) -> None:
    client, answers = aws
    answers.add_response("get_account_settings", limits(free, free))
    require_concurrency(client, Demand(fanout=50, lanes=2))
    said = " ".join(capsys.readouterr().err.split())
    assert (told in said, bool(said)) == (True, bool(told))


@of_lambda
def test_what_may_not_be_asked_stops_no_deployment(aws: tuple[Any, Stubber], capsys: pytest.CaptureFixture[str]) -> None:
    client, answers = aws
    answers.add_client_error("get_account_settings", "AccessDeniedException")
    require_concurrency(client, Demand(fanout=50, lanes=2))
    assert "could not be looked at" in capsys.readouterr().err


def test_in_a_new_account_both_bounds_have_to_be_lowered() -> None:
    state, told = judged(Demand(fanout=50, lanes=2), Capacity(10, 10))
    assert state == "red"
    assert "lower fanout_max_concurrency and deliver_lanes" in told


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
