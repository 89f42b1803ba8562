"""Other people's rules: cdk-nag (which runs at every synth), cfn-lint and checkov find nothing that is not acknowledged with a reason."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from infra import package, settings
from infra.acknowledged import CHECKOV, NAG
from infra.settings import ROOT
from tests.infra.conftest import Variant
from tests.synthesized import STAGES, template

BIN = Path(sys.executable).parent
REASON = 60  # characters: shorter is no reason

EVERYTHING: dict[str, Any] = {  # that can be asked for
    "alarm_emails": ["ops@example.com"],
    "domain_name": "chat.example.com",
    "certificate_arn": "arn:aws:acm:us-east-1:123456789012:certificate/12345678-90ab-cdef-1234-567890abcdef",
    "web_acl_arn": "arn:aws:wafv2:us-east-1:123456789012:global/webacl/parley/12345678-90ab-cdef-1234-567890abcdef",
    "cors_origins": ["https://app.example.com"],
    "throttle_routes": {"GET /message/unread": {"rate_per_second": 5, "burst_requests": 7}},
    "invokers": [
        {"principal": "arn:aws:iam::123456789012:role/orders", "functions": ["send"]},
        {
            "principal": "events.amazonaws.com",
            "source_arn": "arn:aws:events:eu-central-1:123456789012:rule/orders",
            "functions": ["notify"],
        },
    ],
    "retention_days": 30,
}

Finding = tuple[str, str]  # a resource's type and a rule


@pytest.fixture
def templates(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{stage}.json" for stage in STAGES]
    for stage, path in zip(STAGES, paths, strict=True):
        path.write_text(json.dumps(template(stage)))
    return paths


def test_cfn_lint_has_nothing_to_say_not_even_of_everything_that_can_be_asked_for(
    templates: list[Path], variant: Variant, tmp_path: Path
) -> None:
    templates.append(tmp_path / "everything.json")
    templates[-1].write_text(json.dumps(variant("prod", **EVERYTHING)))
    # W3005: CDK lets a resource wait by name too for what it refers to.
    command: list[str | Path] = [BIN / "cfn-lint", "--ignore-checks", "W3005", "--", *templates]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_checkov_finds_nothing_but_what_is_acknowledged_which_it_still_finds(templates: list[Path]) -> None:
    tool = [package.UV, "tool", "run", "--quiet", "--isolated", "--python", sys.executable]
    tool += ["--constraints", str(ROOT / "infra" / "checkov.txt"), "--from", "checkov", "checkov"]
    scan = ["--framework", "cloudformation", "--quiet", "--compact", "--skip-download", "--output", "json"]
    files = [part for path in templates for part in ("--file", str(path))]
    done = subprocess.run([*tool, *scan, *files], capture_output=True, text=True, check=False, cwd=templates[0].parent)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["resource_count"] > sum(len(template(stage)["Resources"]) for stage in STAGES) / 2
    found: dict[str, set[Finding]] = {stage: set() for stage in STAGES}
    for failed in report["results"]["failed_checks"]:
        found[Path(failed["file_path"]).stem].add((failed["resource"].rpartition(".")[0], failed["check_id"]))
    for stage in STAGES:
        own_key = settings.load(stage).kms != "aws"
        assert found[stage] == {(type_, rule) for type_, rule, _, without_key in CHECKOV if not (without_key and own_key)}


@pytest.fixture
def unacknowledged(variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """What cdk-nag would say of `prod`, traced and not, if nothing were acknowledged: the constructs, by rule."""
    monkeypatch.setattr("infra.checks.NAG", ())
    found = defaultdict(set)
    for seen in (False, True):
        with pytest.raises(RuntimeError, match="ValidationFailed"):
            variant("prod", **EVERYTHING, tracing=seen, access_log=seen)
        report = json.loads((tmp_path / "out" / "validation-report.json").read_text())
        assert [each["pluginName"] for each in report["pluginReports"]] == ["AwsSolutions", "Serverless"]
        violations: list[Any] = [violation for each in report["pluginReports"] for violation in each["violations"]]
        for each in violations:
            found[each["ruleName"]] |= {at["constructPath"].removeprefix("Parley-prod/") for at in each["violatingConstructs"]}
    return found


def test_cdk_nag_stops_a_synth_and_every_acknowledgement_is_still_needed(unacknowledged: dict[str, set[str]]) -> None:
    assert {rule for _, rule, _ in NAG} == set(unacknowledged)
    for path, rule, _ in NAG:
        assert [at for at in unacknowledged[rule] if at.startswith(f"{path}/")], (path, rule)


def test_every_acknowledgement_has_a_reason() -> None:
    assert all(len(row[2]) >= REASON for row in (*NAG, *CHECKOV))
    assert len({row[:2] for row in NAG}) == len(NAG)
    assert len({row[:2] for row in CHECKOV}) == len(CHECKOV)
