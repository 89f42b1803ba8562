"""A worked example: an EventBridge rule and a Step Functions state machine that send messages by invoking the functions directly.

`python -m ops.cdk --app "python -m infra.example" deploy -c stage=dev` deploys it beside a Parley of that stage. When an order ships,
the rule notifies its customer, as the system; the state machine sends a message as a user and ends with the numbers it got. What each
is allowed, and nothing more: the rule to invoke `notify`, the machine's role to invoke `send`.
"""

from typing import Any

from aws_cdk import App, ArnFormat, CfnOutput, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct

from infra import settings

SOURCE = "shop.orders"
DETAIL_TYPE = "OrderShipped"
ATTEMPTS = 3  # of the state machine, where Lambda itself fails; a refusal is an answer, its code says what is wrong


class Example(Stack):
    """Beside the stack of a stage, in the same account and region."""

    def __init__(self, scope: Construct, parley: str) -> None:
        super().__init__(scope, f"{parley}-example", description="Parley: sending messages from EventBridge and Step Functions")
        rule = self._rule(self._function(f"{parley}-notify"))
        machine = self._machine(self._function(f"{parley}-send"))
        CfnOutput(self, "RuleArn", value=rule.attr_arn)
        CfnOutput(self, "StateMachineArn", value=machine.attr_arn)

    def _function(self, name: str) -> str:
        return self.format_arn(service="lambda", resource="function", resource_name=name, arn_format=ArnFormat.COLON_RESOURCE_NAME)

    def _rule(self, notify: str) -> events.CfnRule:
        """`{"app": …, "customer": …, "order": …}` of a shipped order becomes a system message to that customer."""
        told = {"type": 1, "targets": ["<customer>"], "content_type": 0, "content": "Order <order> is on its way"}
        rule = events.CfnRule(
            self,
            "Shipped",
            event_pattern={"source": [SOURCE], "detail-type": [DETAIL_TYPE]},
            targets=[
                events.CfnRule.TargetProperty(
                    id="notify",
                    arn=notify,
                    input_transformer=events.CfnRule.InputTransformerProperty(
                        input_paths_map={"app": "$.detail.app", "customer": "$.detail.customer", "order": "$.detail.order"},
                        input_template=self.to_json_string({"app_id": "<app>", "body": told}),
                    ),
                )
            ],
        )
        # The same as this entry of Parley's `invokers`:
        # {"principal": "events.amazonaws.com", "source_arn": <the rule's ARN>, "functions": ["notify"]}
        lambda_.CfnPermission(
            self,
            "ShippedMayNotify",
            action="lambda:InvokeFunction",
            function_name=notify,
            principal="events.amazonaws.com",
            source_arn=rule.attr_arn,
        )
        return rule

    def _machine(self, send: str) -> stepfunctions.CfnStateMachine:
        """Takes `{"app": …, "from": …, "to": [ids], "text": …, "id": …}`; what is repeated with one `id` is sent once."""
        role = iam.Role(self, "SenderRole", assumed_by=iam.ServicePrincipal("states.amazonaws.com"))
        role.add_to_policy(iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[send]))
        body: dict[str, Any] = {"type": 1, "content_type": 0, "targets.$": "$.to", "content.$": "$.text", "transaction_id.$": "$.id"}
        states: dict[str, Any] = {
            "Send": {
                "Type": "Task",
                "Resource": f"arn:{self.partition}:states:::lambda:invoke",
                "Parameters": {"FunctionName": send, "Payload": {"app_id.$": "$.app", "user_id.$": "$.from", "body": body}},
                "ResultSelector": {"code.$": "$.Payload.code", "message.$": "$.Payload.message", "envelope.$": "$.Payload"},
                "Retry": [{"ErrorEquals": ["States.TaskFailed"], "MaxAttempts": ATTEMPTS}],
                "Next": "Sent?",
            },
            "Sent?": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.code", "NumericEquals": 200, "Next": "Sent"}],
                "Default": "Refused",
            },
            "Sent": {"Type": "Pass", "OutputPath": "$.envelope.msg_ids", "End": True},
            "Refused": {"Type": "Fail", "Error": "Refused", "Cause": "Parley refused the message: see the output of Send"},
        }
        return stepfunctions.CfnStateMachine(
            self, "Sender", role_arn=role.role_arn, definition_string=self.to_json_string({"StartAt": "Send", "States": states})
        )


def main() -> None:
    app = App()
    Example(app, settings.load(app.node.try_get_context("stage")).stack_name)
    app.synth()


if __name__ == "__main__":
    main()
