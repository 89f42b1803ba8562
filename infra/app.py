"""The CDK app: one stack, of the stage that `cdk.json` or `-c stage=…` names."""

from aws_cdk import App

from infra import settings
from infra.stack import Parley


def main() -> None:
    app = App()
    Parley(app, settings.load(app.node.try_get_context("stage")))
    app.synth()


if __name__ == "__main__":
    main()
