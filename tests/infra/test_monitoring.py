"""What an operator is told: alarms over everything that can go wrong, each with its section of the runbook, and one dashboard."""

import json
import re
from typing import Any

import pytest

from infra import settings
from infra.settings import ROOT
from tests.infra.conftest import Variant
from tests.infra.template import ENDPOINTS, NAMES, QUEUES, TABLES, TOPIC, WORKERS, flat, function, only
from tests.synthesized import STAGES, resources

SECTIONS = {  # of docs/operations.md, by alarm
    "FanoutDead": "Dead letters",
    "DeliverDead": "Dead letters",
    "JobAge": "Fan-out is behind",
    "IteratorAge": "Delivery is behind",
    "Lag": "Delivery lag",
    "Http5xx": "Errors",
    "LoggedErrors": "Errors",
    "RefusedTokens": "Refused tokens",
    **{f"{name.capitalize()}Throttles": "Throttles" for name in NAMES},
    **{f"{table.capitalize()}{what}Throttle": "Throttles" for table in TABLES for what in ("Read", "Write")},
    "DirectoryListingWriteThrottle": "Throttles",
}
INSIGHTS_SOURCES = 50  # log groups of one query, AWS quota

each_stage = pytest.mark.parametrize("stage", STAGES)
each_alarm = pytest.mark.parametrize("name", SECTIONS)


def alarms(stage: str) -> dict[str, dict[str, Any]]:
    found = [each["Properties"] for each in resources(stage, "AWS::CloudWatch::Alarm").values()]
    return {each["AlarmName"].removeprefix(f"Parley-{stage}-"): each for each in found}


def dimensions(alarm: dict[str, Any]) -> dict[str, Any]:
    return {each["Name"]: each["Value"] for each in alarm["Dimensions"]}


def dashboard(stage: str) -> dict[str, Any]:
    return dict(json.loads(flat(only(stage, "AWS::CloudWatch::Dashboard")["DashboardBody"])))


def filters(stage: str) -> list[dict[str, Any]]:
    return [each["Properties"] for each in resources(stage, "AWS::Logs::MetricFilter").values()]


@each_stage
def test_every_alarm_names_its_section_of_the_runbook(stage: str) -> None:
    said = {name: each["AlarmDescription"] for name, each in alarms(stage).items()}
    assert set(said) == set(SECTIONS)
    for name, section in SECTIONS.items():
        assert f"docs/operations.md#{section.lower().replace(' ', '-')} ({section})" in said[name]


def test_the_runbook_has_every_section_that_an_alarm_names() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert set(SECTIONS.values()) <= set(headings)


@each_stage
@each_alarm
def test_an_alarm_is_told_when_it_comes_and_when_it_goes_and_not_by_silence(stage: str, name: str) -> None:
    alarm = alarms(stage)[name]
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": TOPIC}]
    assert alarm["TreatMissingData"] == "notBreaching"
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"


@each_stage
def test_every_queue_has_an_alarm(stage: str) -> None:
    watched = [json.dumps(dimensions(alarm)["QueueName"]) for alarm in alarms(stage).values() if "QueueName" in dimensions(alarm)]
    assert sorted(watched) == sorted(json.dumps({"Fn::GetAtt": [id, "QueueName"]}) for id in QUEUES.values())


@each_stage
@pytest.mark.parametrize(("name", "queue"), [("FanoutDead", "fanout_dead"), ("DeliverDead", "deliver_dead")])
def test_a_single_dead_letter_is_told(stage: str, name: str, queue: str) -> None:
    alarm = alarms(stage)[name]
    assert dimensions(alarm) == {"QueueName": {"Fn::GetAtt": [QUEUES[queue], "QueueName"]}}
    assert (alarm["MetricName"], alarm["Statistic"]) == ("ApproximateNumberOfMessagesVisible", "Maximum")
    assert (alarm["Threshold"], alarm["EvaluationPeriods"]) == (0, 1)


@each_stage
def test_what_waits_is_told_by_its_age(stage: str) -> None:
    chosen, found = settings.load(stage), alarms(stage)
    jobs, stream = found["JobAge"], found["IteratorAge"]
    assert (jobs["MetricName"], jobs["Threshold"]) == ("ApproximateAgeOfOldestMessage", chosen.alarm_job_age_seconds)
    assert (stream["MetricName"], stream["Threshold"]) == ("IteratorAge", chosen.alarm_lag_seconds * 1000)
    assert dimensions(stream) == {"FunctionName": function(stage, "deliver")["FunctionName"]}


@each_stage
def test_the_lag_is_made_of_the_lines_that_the_workers_write(stage: str) -> None:
    alarm = alarms(stage)["Lag"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == (f"Parley-{stage}", "Lag", "Maximum")
    assert (alarm["EvaluationPeriods"], alarm["Threshold"]) == (2, settings.load(stage).alarm_lag_seconds * 1000)
    made = [each for each in filters(stage) if each["MetricTransformations"][0]["MetricName"] == "Lag"]
    assert {(each["FilterPattern"], each["MetricTransformations"][0]["MetricValue"]) for each in made} == {
        ("{ $.lag_ms >= 0 }", "$.lag_ms")
    }
    assert [each["LogGroupName"] for each in made] == [function(stage, name)["LoggingConfig"]["LogGroup"] for name in WORKERS]


@each_stage
def test_every_function_counts_the_errors_that_it_logs(stage: str) -> None:
    counted = [each for each in filters(stage) if each["MetricTransformations"][0]["MetricName"] == "Errors"]
    assert sorted(each["LogGroupName"]["Ref"] for each in counted) == sorted(
        function(stage, name)["LoggingConfig"]["LogGroup"]["Ref"] for name in NAMES
    )
    assert {each["FilterPattern"] for each in counted} == {'{ $.level = "ERROR" || $.log_level = "ERROR" || $.record.status = "timeout" }'}
    alarm = alarms(stage)["LoggedErrors"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == (f"Parley-{stage}", "Errors", "Sum")


@each_stage
def test_every_endpoint_counts_the_tokens_that_it_refuses(stage: str) -> None:
    counted = [each for each in filters(stage) if each["MetricTransformations"][0]["MetricName"] == "RefusedTokens"]
    assert [each["LogGroupName"] for each in counted] == [function(stage, name)["LoggingConfig"]["LogGroup"] for name in ENDPOINTS]
    assert {each["FilterPattern"] for each in counted} == {"{ $.code = 10008 || $.code = 402 }"}
    alarm = alarms(stage)["RefusedTokens"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == (f"Parley-{stage}", "RefusedTokens", "Sum")
    assert alarm["Threshold"] == settings.load(stage).alarm_refused_tokens


@each_stage
def test_throttles_of_every_function_table_and_index_are_told(stage: str) -> None:
    told = {(alarm["MetricName"], json.dumps(dimensions(alarm))) for alarm in alarms(stage).values() if "Throttle" in alarm["MetricName"]}
    assert told == {
        *(("Throttles", json.dumps({"FunctionName": f"Parley-{stage}-{name}"})) for name in NAMES),
        *((f"{what}ThrottleEvents", json.dumps({"TableName": {"Ref": id}})) for id in TABLES.values() for what in ("Read", "Write")),
        ("WriteThrottleEvents", json.dumps({"TableName": {"Ref": TABLES["directory"]}, "GlobalSecondaryIndexName": "listing"})),
    }


@each_stage
def test_only_cloudwatch_tells_and_only_over_tls(stage: str) -> None:
    deny, allow = only(stage, "AWS::SNS::TopicPolicy")["PolicyDocument"]["Statement"]
    assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert (allow["Effect"], allow["Principal"], allow["Action"]) == ("Allow", {"Service": "cloudwatch.amazonaws.com"}, "sns:Publish")
    assert allow["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


@each_stage
def test_the_dashboard_shows_what_an_operator_asks_for_without_overlaps(stage: str) -> None:
    widgets = dashboard(stage)["widgets"]
    titles = " ".join(each["properties"]["title"] for each in widgets).lower()
    for shown in (
        "traffic",
        "codes",
        "latency",
        "lag from append to inbox",
        "oldest fan-out job",
        "dead letters",
        "throttles",
        "capacity",
        "cost",
    ):
        assert shown in titles
    places = {(each["x"], each["y"]) for each in widgets}
    assert len(places) == len(widgets)
    assert all(each["x"] + each["width"] <= 24 for each in widgets)


@each_stage
def test_the_dashboards_queries_read_the_functions_log_groups(stage: str) -> None:
    queries = [each["properties"]["query"] for each in dashboard(stage)["widgets"] if each["type"] == "log"]
    groups = {f"/aws/lambda/Parley-{stage}-{name}" for name in NAMES}
    assert queries
    for query in queries:
        sources = re.findall(r"SOURCE '([^']+)'", query)
        assert set(sources) <= groups
        assert len(sources) <= INSIGHTS_SOURCES


@each_stage
def test_the_cost_estimate_adds_up_every_metric_beside_it(stage: str) -> None:
    (cost,) = [each["properties"] for each in dashboard(stage)["widgets"] if "Cost" in each["properties"]["title"]]
    *metrics, (total,) = cost["metrics"]
    assert sorted(re.findall(r"m\d+", total["expression"])) == sorted(metric[-1]["id"] for metric in metrics)
    assert cost["period"] == 3600
    memory_gb = settings.load(stage).endpoint_memory_mb / 1024
    durations = [metric[-1]["id"] for metric in metrics if metric[1] == "Duration"]
    assert len(durations) == len(NAMES)
    assert f"FILL({durations[0]}, 0) * {13.3334e-6 / 1000 * memory_gb:.4g}" in total["expression"]


def test_alarms_can_be_switched_off_and_addresses_told(variant: Variant) -> None:
    silent = variant("dev", alarms=False)["Resources"].values()
    assert not {each["Type"] for each in silent} & {"AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard", "AWS::SNS::Topic"}
    told = variant("dev", alarm_emails=["ops@example.com"])["Resources"].values()
    (subscription,) = [each["Properties"] for each in told if each["Type"] == "AWS::SNS::Subscription"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.com")
