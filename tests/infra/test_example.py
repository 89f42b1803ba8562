"""The worked example's state machine, as its definition says: which answers it sends again, and where nothing is lost."""

import json
from typing import Any

import pytest
from aws_cdk import App
from aws_cdk.assertions import Match, Template

from infra.example import GIVEN_UP_S, Example


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.from_stack(Example(App(), "Parley-dev"))


def machine(template: Template) -> dict[str, Any]:
    (found,) = template.find_resources("AWS::StepFunctions::StateMachine").values()
    parts = found["Properties"]["DefinitionString"]["Fn::Join"][1]
    return dict(json.loads("".join(part if isinstance(part, str) else "ref" for part in parts)))


@pytest.mark.parametrize(("code", "leads_to"), [(200, "Sent"), (20000, "Later"), (50004, "Later"), (10000, "Refused"), (50002, "Refused")])
def test_what_cannot_be_taken_now_is_sent_again_and_a_refusal_ends_it(template: Template, code: int, leads_to: str) -> None:
    states = machine(template)["States"]
    told = states["Sent?"]
    assert next((choice["Next"] for choice in told["Choices"] if choice["NumericEquals"] == code), told["Default"]) == leads_to
    assert states["Later"]["Next"] == machine(template)["StartAt"]
    assert {states[name]["ResultPath"] for name in ("Send", "Notify")} == {"$.reply"}  # beside the input, which is sent again as it was


def test_it_gives_up_before_a_transaction_id_is_forgotten(template: Template) -> None:
    assert machine(template)["TimeoutSeconds"] == GIVEN_UP_S < 24 * 3600


def test_an_event_that_could_not_start_it_is_kept(template: Template) -> None:
    template.has_resource_properties("AWS::Events::Rule", {"Targets": [Match.object_like({"DeadLetterConfig": Match.any_value()})]})
    assert set(template.find_resources("AWS::SQS::Queue"))
