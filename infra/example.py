"""A worked example: an EventBridge rule and a Step Functions state machine that send messages by invoking the functions directly.

`python -m ops.cdk --app "python -m infra.example" deploy -c stage=dev` deploys it beside a Parley of that stage. When an order ships,
the rule starts the machine, which notifies the customer as the system; given a sender, the machine sends as that user instead. What each
is allowed, and nothing more: the rule to start the machine, and the machine to invoke `send` and `notify`.

Nothing is lost and nothing doubled: an event that comes twice has the same id, which is the message's `transaction_id`; what Parley cannot
take just now (20000, 50004) is sent again later, for an hour; what it refuses ends as a failed execution with the reason in it, and an
event that could not start the machine in the queue beside the rule.
"""

from typing import Any

from aws_cdk import App, ArnFormat, CfnOutput, Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct

from infra import settings

SOURCE = "shop.orders"
DETAIL_TYPE = "OrderShipped"
ATTEMPTS = 3  # of the state machine, where Lambda itself fails
AGAIN = (20000, 50004)  # codes that say: later. The store failed, or too many requests
AGAIN_S = 30  # seconds between two attempts then
GIVEN_UP_S = 3600  # seconds for all of it; well within the 24 hours for which a transaction_id is remembered


class Example(Stack):
    """Beside the stack of a stage, in the same account and region."""

    def __init__(self, scope: Construct, parley: str) -> None:
        super().__init__(scope, f"{parley}-example", description="Parley: sending messages from EventBridge and Step Functions")
        machine = self._machine(self._function(f"{parley}-send"), self._function(f"{parley}-notify"))
        rule = self._rule(machine)
        CfnOutput(self, "RuleArn", value=rule.attr_arn)
        CfnOutput(self, "StateMachineArn", value=machine.attr_arn)

    def _function(self, name: str) -> str:
        return self.format_arn(service="lambda", resource="function", resource_name=name, arn_format=ArnFormat.COLON_RESOURCE_NAME)

    def _rule(self, machine: stepfunctions.CfnStateMachine) -> events.CfnRule:
        """`{"app": …, "customer": …, "order": …}` of a shipped order becomes a system message to that customer."""
        role = iam.Role(self, "RuleRole", assumed_by=iam.ServicePrincipal("events.amazonaws.com"))
        role.add_to_policy(iam.PolicyStatement(actions=["states:StartExecution"], resources=[machine.attr_arn]))
        failed = sqs.Queue(self, "NotStarted", retention_period=Duration.days(14), enforce_ssl=True)
        told = {"app": "<app>", "to": ["<customer>"], "text": "Order <order> is on its way", "id": "<id>"}
        rule = events.CfnRule(
            self,
            "Shipped",
            event_pattern={"source": [SOURCE], "detail-type": [DETAIL_TYPE]},
            targets=[
                events.CfnRule.TargetProperty(
                    id="notify",
                    arn=machine.attr_arn,
                    role_arn=role.role_arn,
                    dead_letter_config=events.CfnRule.DeadLetterConfigProperty(arn=failed.queue_arn),
                    input_transformer=events.CfnRule.InputTransformerProperty(
                        input_paths_map={"app": "$.detail.app", "customer": "$.detail.customer", "order": "$.detail.order", "id": "$.id"},
                        input_template=self.to_json_string(told),
                    ),
                )
            ],
        )
        failed.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("events.amazonaws.com")],
                actions=["sqs:SendMessage"],
                resources=[failed.queue_arn],
                conditions={"ArnEquals": {"aws:SourceArn": rule.attr_arn}},
            )
        )
        return rule

    def _machine(self, send: str, notify: str) -> stepfunctions.CfnStateMachine:
        """Takes `{"app": …, "to": [ids], "text": …, "id": …}`, and `"from"` where a user sends. One `id` is one message."""
        role = iam.Role(self, "SenderRole", assumed_by=iam.ServicePrincipal("states.amazonaws.com"))
        role.add_to_policy(iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[send, notify]))
        states = {
            "From whom?": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.from", "IsPresent": True, "Next": "Send"}],
                "Default": "Notify",
            },
            "Send": self._call(send, {"user_id.$": "$.from"}),
            "Notify": self._call(notify, {}),
            "Sent?": {
                "Type": "Choice",
                "Choices": [
                    {"Variable": "$.reply.code", "NumericEquals": 200, "Next": "Sent"},
                    *({"Variable": "$.reply.code", "NumericEquals": code, "Next": "Later"} for code in AGAIN),
                ],
                "Default": "Refused",
            },
            "Later": {"Type": "Wait", "Seconds": AGAIN_S, "Next": "From whom?"},
            "Sent": {"Type": "Pass", "OutputPath": "$.reply.envelope.msg_ids", "End": True},
            "Refused": {"Type": "Fail", "Error": "Refused", "Cause": "Parley refused the message: see the output of the state before"},
        }
        definition = {"StartAt": "From whom?", "TimeoutSeconds": GIVEN_UP_S, "States": states}
        return stepfunctions.CfnStateMachine(self, "Sender", role_arn=role.role_arn, definition_string=self.to_json_string(definition))

    def _call(self, function: str, who: dict[str, str]) -> dict[str, Any]:
        """A state that invokes a function; its reply, whatever it says, is put beside the input, so that the same can be sent again."""
        body = {"type": 1, "content_type": 0, "targets.$": "$.to", "content.$": "$.text", "transaction_id.$": "$.id"}
        return {
            "Type": "Task",
            "Resource": f"arn:{self.partition}:states:::lambda:invoke",
            "Parameters": {"FunctionName": function, "Payload": {"app_id.$": "$.app", "body": body, **who}},
            "ResultPath": "$.reply",
            "ResultSelector": {"code.$": "$.Payload.code", "message.$": "$.Payload.message", "envelope.$": "$.Payload"},
            "Retry": [{"ErrorEquals": ["States.TaskFailed"], "MaxAttempts": ATTEMPTS, "BackoffRate": 2, "JitterStrategy": "FULL"}],
            "Next": "Sent?",
        }


def main() -> None:
    app = App()
    Example(app, settings.load(app.node.try_get_context("stage")).stack_name)
    app.synth()


if __name__ == "__main__":
    main()
