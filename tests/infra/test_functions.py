"""The functions: how each one runs, what it is told, and where it logs."""

import re
from typing import Any

import pytest

from infra import settings
from infra.settings import ROOT, Settings
from tests.infra.conftest import Variant
from tests.infra.template import ENDPOINTS, KEY, NAMES, QUEUES, ROWS, SECRET, TABLES, WORKERS, arn, function, properties
from tests.synthesized import STAGES, resources

GATEWAY_TIMEOUT_S = 29
NAME_LENGTH = 64  # of a Lambda function, AWS limit

each = [pytest.mark.parametrize("stage", STAGES), pytest.mark.parametrize("name", NAMES)]


def each_function(test: Any) -> Any:
    for mark in each:
        test = mark(test)
    return test


@pytest.mark.parametrize("stage", STAGES)
def test_the_functions_are_those_of_the_catalog_one_for_each_module(stage: str) -> None:
    handlers = sorted(each["Properties"]["Handler"] for each in resources(stage, "AWS::Lambda::Function").values())
    assert handlers == sorted(f"{row.module}.handler" for row in ROWS.values())
    modules = {
        f"{path.parent.name}.{path.stem}" for folder in ("endpoints", "workers") for path in (ROOT / "functions" / folder).glob("[!_]*.py")
    }
    assert {row.module for row in ROWS.values()} == modules


@each_function
def test_a_function_runs_python_3_13_on_arm64_with_one_layer(stage: str, name: str) -> None:
    found = function(stage, name)
    assert found["Runtime"] == "python3.13"
    assert found["Architectures"] == ["arm64"]
    (layer,) = found["Layers"]
    offered = properties(stage, "AWS::Lambda::LayerVersion", layer["Ref"])
    assert (offered["CompatibleRuntimes"], offered["CompatibleArchitectures"]) == (["python3.13"], ["arm64"])


@each_function
def test_a_function_has_the_memory_of_the_settings_and_a_timeout_that_its_caller_waits_for(stage: str, name: str) -> None:
    chosen, found = settings.load(stage), function(stage, name)
    assert found["MemorySize"] == (chosen.endpoint_memory_mb if name in ENDPOINTS else chosen.worker_memory_mb)
    assert 0 < found["Timeout"] < GATEWAY_TIMEOUT_S


@each_function
def test_a_function_logs_json_without_the_platforms_chatter_into_a_group_of_its_own(stage: str, name: str) -> None:
    logging = {other: dict(function(stage, other)["LoggingConfig"]) for other in NAMES}
    groups = {other: logging[other].pop("LogGroup")["Ref"] for other in NAMES}
    assert logging[name] == {"LogFormat": "JSON", "SystemLogLevel": "WARN", "ApplicationLogLevel": "INFO"}
    assert groups[name] in resources(stage, "AWS::Logs::LogGroup")
    assert groups[name] not in [group for other, group in groups.items() if other != name]


@pytest.mark.parametrize("stage", STAGES)
def test_every_log_group_has_the_retention_of_the_settings(stage: str) -> None:
    groups = [each["Properties"] for each in resources(stage, "AWS::Logs::LogGroup").values()]
    assert len(groups) == len(NAMES) + 1  # and the access log's
    assert {group["RetentionInDays"] for group in groups} == {settings.load(stage).log_retention_days}
    assert [group.get("KmsKeyId") for group in groups] == [arn(KEY) if stage == "prod" else None] * len(groups)


@each_function
def test_a_function_is_told_the_names_of_what_it_may_touch_and_no_other(stage: str, name: str) -> None:
    row = ROWS[name]
    expected = {f"{table.upper()}_TABLE": {"Ref": TABLES[table]} for table in row.tables}
    if name in ENDPOINTS:
        expected["TOKEN_SECRET"] = {"Ref": SECRET}
    if row.enqueues:
        expected["FANOUT_QUEUE_URL"] = {"Ref": QUEUES["fanout"]}
    if name == "deliver":
        expected["DELIVER_DEAD_QUEUE_URL"] = {"Ref": QUEUES["deliver_dead"]}
    told = function(stage, name)["Environment"]["Variables"]
    assert {variable: value for variable, value in told.items() if isinstance(value, dict)} == expected


@each_function
def test_no_variable_holds_a_secret_only_numbers_switches_a_path_and_references(stage: str, name: str) -> None:
    told = function(stage, name)["Environment"]["Variables"]
    literals = {variable: value for variable, value in told.items() if not isinstance(value, dict)}
    assert all(re.fullmatch(r"[0-9]{1,12}|true|false|/opt/roots\.pem", value) for value in literals.values()), literals


@each_function
def test_the_limits_of_the_settings_reach_the_function_in_its_own_units(stage: str, name: str) -> None:
    chosen, told = settings.load(stage), function(stage, name)["Environment"]["Variables"]
    assert told["DEDUP_WINDOW_SECONDS"] == str(chosen.dedup_window_hours * 3600)
    assert told["RETENTION_SECONDS"] == str(chosen.retention_days * 86400)
    assert told["MESSAGE_LIMIT_BYTES"] == str(chosen.message_limit_bytes)
    assert told["REQUEST_LIMIT_BYTES"] == str(chosen.request_limit_bytes)
    assert (told["USER_RATE_PER_SECOND"], told["USER_BURST"]) == (str(chosen.user_rate_per_second), str(chosen.user_burst))
    assert told["PARTIAL_BATCHES"] == ("true" if chosen.partial_batches else "false")


@pytest.mark.parametrize("name", ENDPOINTS + WORKERS)
def test_the_longest_stage_name_still_makes_a_function_name_that_lambda_takes(name: str) -> None:
    longest = Settings.model_validate({**settings.load("dev").model_dump(), "stage": "s" * 20})
    assert len(f"{longest.stack_name}-{name}") <= NAME_LENGTH
    with pytest.raises(ValueError, match="stage"):
        Settings.model_validate({**settings.load("dev").model_dump(), "stage": "s" * 21})


@each_function
def test_a_function_is_named_after_its_stack(stage: str, name: str) -> None:
    assert function(stage, name)["FunctionName"] == f"Parley-{stage}-{name}"


@pytest.mark.parametrize(("tracing", "mode"), [(False, "Disabled"), (True, "Active")])
def test_every_function_is_traced_where_that_is_asked_for(variant: Variant, tracing: bool, mode: str) -> None:
    functions = [each for each in variant("dev", tracing=tracing)["Resources"].values() if each["Type"] == "AWS::Lambda::Function"]
    assert {each["Properties"].get("TracingConfig", {"Mode": "Disabled"})["Mode"] for each in functions} == {mode}
    assert len(functions) == len(ROWS)
