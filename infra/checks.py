"""cdk-nag at every synth: what its packs AwsSolutions and Serverless find stops it, unless it is acknowledged with a reason."""

from aws_cdk import Acknowledgment, App, Stack, Validations
from cdk_nag import AwsSolutionsChecks, ServerlessChecks
from constructs import IConstruct

from infra.acknowledged import NAG


def attach(app: App, stack: Stack) -> None:
    Validations.of(app).add_plugins(AwsSolutionsChecks(app), ServerlessChecks(app))
    for path, rule, reason in NAG:
        construct: IConstruct | None = stack
        for id in path.split("/"):
            construct = construct and construct.node.try_find_child(id)
        pack = rule.partition("-")[0]
        if construct:
            Validations.of(construct).acknowledge(Acknowledgment(id=f"{pack}::{rule}", reason=reason))
