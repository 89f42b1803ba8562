"""The stack as a whole: what must never be replaced, what it tells an operator, and that it can be deployed, again and again."""

import copy
import json
import os
import resource as usage
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from filelock import FileLock

from infra import settings
from tests.infra.template import API, KEY, NAMES, QUEUES, SECRET, TABLES, TOPIC, flat, function_id
from tests.synthesized import STAGES, synthesize, template

SYNTH_S = 30  # what a developer waits for a synth at most
BLOCKED = 97  # exit status of a process that tried to reach the network

STATEFUL = {
    **dict.fromkeys(TABLES.values(), "AWS::DynamoDB::GlobalTable"),
    **dict.fromkeys(QUEUES.values(), "AWS::SQS::Queue"),
    SECRET: "AWS::SecretsManager::Secret",
    API: "AWS::ApiGatewayV2::Api",
    TOPIC: "AWS::SNS::Topic",
}
OWN_KEY = {KEY: "AWS::KMS::Key"}

each_stage = pytest.mark.parametrize("stage", STAGES)


@each_stage
def test_what_holds_state_keeps_its_logical_id(stage: str) -> None:
    """A refactoring that renames one of these deploys an empty table, a new secret or another URL."""
    stateful = STATEFUL | (OWN_KEY if stage == "prod" else {})
    types = {*STATEFUL.values(), *OWN_KEY.values()}
    assert {id: each["Type"] for id, each in template(stage)["Resources"].items() if each["Type"] in types} == stateful


@each_stage
def test_nothing_that_holds_state_has_a_fixed_name_that_a_second_deployment_would_meet(stage: str) -> None:
    found = template(stage)["Resources"]
    fixed = {"TableName", "QueueName", "TopicName", "Name"}
    assert not [id for id in STATEFUL if id != API and fixed & set(found[id].get("Properties", {}))]


@each_stage
def test_nothing_that_a_stack_leaves_behind_blocks_the_next_deployment(stage: str) -> None:
    """What is retained, even by a first deployment that is rolled back, exists already under its fixed name."""
    kept = {id: each for id, each in template(stage)["Resources"].items() if each.get("DeletionPolicy", "").startswith("Retain")}
    assert bool(kept) is settings.load(stage).keep_data
    assert not {id: name for id, each in kept.items() if (name := each["Properties"].get("LogGroupName"))}


@each_stage
def test_the_outputs_name_what_an_operator_and_the_command_line_need(stage: str) -> None:
    outputs = {name: each["Value"] for name, each in template(stage)["Outputs"].items()}
    assert flat(outputs.pop("ApiUrl")) == f"https://{{{API}}}.execute-api.{{AWS::Region}}.{{AWS::URLSuffix}}/"
    chosen = settings.load(stage)
    assert outputs == {
        "ApiId": {"Ref": API},
        "TokenSecret": {"Ref": SECRET},
        "RetentionSeconds": str(chosen.retention_days * 86400),
        "PushLimitMembers": str(chosen.push_limit_members),
        "TokenMaxDays": str(chosen.token_max_days),
        **{f"{name.capitalize()}Table": {"Ref": id} for name, id in TABLES.items()},
        **{f"{name.capitalize()}Function": {"Ref": function_id(stage, name)} for name in NAMES},
        "FanoutQueueUrl": {"Ref": QUEUES["fanout"]},
        "FanoutDeadQueueUrl": {"Ref": QUEUES["fanout_dead"]},
        "DeliverDeadQueueUrl": {"Ref": QUEUES["deliver_dead"]},
    }


@each_stage
def test_no_secret_value_is_in_the_template(stage: str) -> None:
    assert "resolve:secretsmanager" not in json.dumps(template(stage))
    assert list(template(stage)["Parameters"]) == ["BootstrapVersion"]


class Synth(NamedTuple):
    """One run of the app, in a folder of its own, by processes that cannot reach a network or credentials."""

    template: dict[str, Any]
    processor_s: float


@pytest.fixture(scope="session")
def offline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which every Python, Node and uv ends or fails as soon as it reaches out."""
    folder = tmp_path_factory.mktemp("offline")
    (folder / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def hook(event, args):\n"
        "    out = event in ('socket.connect', 'socket.getaddrinfo') or event == 'open' and '/.aws/' in str(args[0])\n"
        f"    if out: os._exit({BLOCKED})\n"
        "sys.addaudithook(hook)\n"
    )
    (folder / "offline.cjs").write_text(
        f"const end = () => process.exit({BLOCKED});\nrequire('net').Socket.prototype.connect = end;\nrequire('dns').lookup = end;\n"
    )
    return {"PYTHONPATH": str(folder), "NODE_OPTIONS": f"--require {folder / 'offline.cjs'}", "UV_OFFLINE": "1"}


@pytest.fixture(scope="session")
def synth(tmp_path_factory: pytest.TempPathFactory, offline: dict[str, str]) -> Callable[[str, int], Synth]:
    """Runs the app afresh, as attempt number `attempt`; one at a time, and once for all workers."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared

    def run(stage: str, attempt: int) -> Synth:
        where = shared / f"synth-{stage}-{attempt}"
        for other in STAGES:
            template(other)  # no other worker makes one meanwhile
        with FileLock(shared / "synth.lock"):
            if not where.exists():
                with pytest.MonkeyPatch.context() as patch:
                    for name, value in {**offline, "PYTHONHASHSEED": str(attempt)}.items():
                        patch.setenv(name, value)
                    before = processor_s()
                    synthesize(stage, where)
                    (where / "processor_s").write_text(str(processor_s() - before))
        made = json.loads((where / f"Parley-{stage}.template.json").read_text())
        return Synth(made, float((where / "processor_s").read_text()))

    return run


def processor_s() -> float:
    """Of ended child processes so far; the wall clock of a busy machine would say nothing."""
    spent = usage.getrusage(usage.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


@pytest.mark.parametrize("stage", ["local", "prod"])
def test_a_synth_needs_no_network_no_credentials_and_less_than_half_a_minute(synth: Callable[[str, int], Synth], stage: str) -> None:
    made = synth(stage, 1)
    assert set(made.template["Resources"]) >= set(STATEFUL)
    assert made.processor_s < SYNTH_S


def test_reaching_for_the_network_would_end_a_synth(offline: dict[str, str]) -> None:
    reach = [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"]
    assert subprocess.run(reach, env={**os.environ, **offline}, check=False).returncode == BLOCKED


def test_synthesizing_twice_gives_the_same_template_and_assets(synth: Callable[[str, int], Synth]) -> None:
    assert synth("local", 1).template == synth("local", 2).template


def test_a_stage_for_aws_comes_out_the_same_too(synth: Callable[[str, int], Synth]) -> None:
    again, before = copy.deepcopy(synth("prod", 1).template), copy.deepcopy(template("prod"))
    for made in (again, before):  # kept templates are made anew when the infrastructure changes, not with each line of a function
        for resource in made["Resources"].values():
            resource["Properties"].pop("Code", None)
            resource.get("Metadata", {}).clear()
    assert again == before


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"stage": "nowhere"}, "cdk.json: no stage 'nowhere', there are local, dev, prod"),
        ({"retention_days": "-1"}, "cdk.json, stage dev: retention_days: Input should be greater than or equal to 0 (got -1)"),
        (
            {"kms": "arn:aws:kms:eu-central-1:123456789012:alias/parley"},
            "cdk.json, stage dev: kms must be aws, own or the ARN of a KMS key (arn:aws:kms:region:account:key/id), "
            "not 'arn:aws:kms:eu-central-1:123456789012:alias/parley'",
        ),
        (
            {"cors_origins": '["*"]'},
            "cdk.json, stage dev: cors_origins: '*' is not an origin such as https://app.example.com",
        ),
        ({"domain_name": "chat.example.com"}, "cdk.json, stage dev: domain_name needs a certificate_arn"),
        (
            {"invokers": [{"principal": "events.amazonaws.com", "functions": ["notify"]}]},
            "cdk.json, stage dev: invokers: 0: events.amazonaws.com needs the source_arn of the one resource that it may invoke for",
        ),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_a_wrong_setting_ends_the_synth_with_that_one_sentence(tmp_path: Path, context: dict[str, Any], said: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        synthesize("dev", tmp_path, context)
    assert failed.value.returncode == 1
    assert failed.value.stderr == said + "\n"
    assert not list(tmp_path.iterdir())


def test_a_setting_of_the_command_line_is_checked_and_counts(tmp_path: Path) -> None:
    """Everything that `cdk -c` hands over is a string."""
    synthesize("dev", tmp_path, {"retention_days": "30", "alarms": "false"})
    made = json.loads((tmp_path / "Parley-dev.template.json").read_text())
    assert made["Outputs"]["RetentionSeconds"]["Value"] == str(30 * 86400)
    assert not [each for each in made["Resources"].values() if each["Type"] == "AWS::CloudWatch::Alarm"]
