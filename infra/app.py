"""The CDK app: one stack, of the stage that `cdk.json` or `-c stage=…` names; `-c retention_days=30` overrides one of its settings."""

import json
import os

from infra import settings


def main() -> None:
    context = json.loads(os.environ.get("CDK_CONTEXT_JSON", "{}"))
    given = settings.given(context)
    chosen = settings.load(**given)

    from aws_cdk import App  # starts Node: not for settings that are wrong

    from infra import checks
    from infra.stack import Parley

    app = App()
    checks.attach(app, Parley(app, chosen))
    app.synth()


if __name__ == "__main__":
    main()
