"""From the log to the Inbox: the stream, the fan-out queue, and where what failed is set aside."""

import json
from typing import Any

import pytest

from infra import settings
from tests.infra.template import KEY, QUEUES, TABLES, arn, function, function_id, properties
from tests.synthesized import STAGES, resources

DAY_S = 86_400
STREAM_KEEPS_S = DAY_S  # of DynamoDB Streams, AWS quota
RECEIVES = 5

each_stage = pytest.mark.parametrize("stage", STAGES)
each_queue = pytest.mark.parametrize("name", QUEUES)


def queue(stage: str, name: str) -> dict[str, Any]:
    return properties(stage, "AWS::SQS::Queue", QUEUES[name])


def mapping(stage: str, name: str) -> dict[str, Any]:
    """The event source mapping of a worker."""
    mappings = [each["Properties"] for each in resources(stage, "AWS::Lambda::EventSourceMapping").values()]
    (found,) = [each for each in mappings if each["FunctionName"] == {"Ref": function_id(stage, name)}]
    return dict(found)


@each_stage
@each_queue
def test_a_queue_is_encrypted_and_refuses_who_does_not_use_tls(stage: str, name: str) -> None:
    encryption = {field: value for field, value in queue(stage, name).items() if field.startswith(("Kms", "SqsManaged"))}
    own_key = {"KmsMasterKeyId": arn(KEY), "KmsDataKeyReusePeriodSeconds": 3600}
    assert encryption == (own_key if stage == "prod" else {"SqsManagedSseEnabled": True})
    policies = [each["Properties"] for each in resources(stage, "AWS::SQS::QueuePolicy").values()]
    (policy,) = [each for each in policies if each["Queues"] == [{"Ref": QUEUES[name]}]]
    assert policy["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Deny",
            "Principal": {"AWS": "*"},
            "Action": "sqs:*",
            "Resource": arn(QUEUES[name]),
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    ]


@each_stage
def test_a_job_is_handed_out_again_only_when_its_worker_cannot_be_at_it_any_more(stage: str) -> None:
    assert queue(stage, "fanout")["VisibilityTimeout"] >= 6 * function(stage, "fanout")["Timeout"]


@each_stage
def test_a_job_is_set_aside_after_five_attempts(stage: str) -> None:
    redrive = queue(stage, "fanout")["RedrivePolicy"]
    assert redrive == {"deadLetterTargetArn": arn(QUEUES["fanout_dead"]), "maxReceiveCount": RECEIVES}


@each_stage
@pytest.mark.parametrize("name", ["fanout_dead", "deliver_dead"])
def test_what_failed_is_kept_for_two_weeks_and_fails_no_further(stage: str, name: str) -> None:
    assert queue(stage, name)["MessageRetentionPeriod"] == 14 * DAY_S
    assert "RedrivePolicy" not in queue(stage, name)


@each_stage
def test_a_job_has_days_left_when_it_is_set_aside(stage: str) -> None:
    """SQS counts a set-aside message's age from when it was first sent: the two queues must not end on the same day."""
    assert queue(stage, "fanout")["MessageRetentionPeriod"] <= queue(stage, "fanout_dead")["MessageRetentionPeriod"] - 7 * DAY_S


@each_stage
def test_deliver_gets_what_is_new_in_the_log_from_its_beginning(stage: str) -> None:
    found = mapping(stage, "deliver")
    assert found["EventSourceArn"] == {"Fn::GetAtt": [TABLES["messages"], "StreamArn"]}
    assert found["StartingPosition"] == "TRIM_HORIZON"
    assert [json.loads(each["Pattern"]) for each in found["FilterCriteria"]["Filters"]] == [{"eventName": ["INSERT"]}]
    assert found["MaximumBatchingWindowInSeconds"] == settings.load(stage).deliver_window_seconds
    assert found.get("Enabled", True) is True


@each_stage
def test_a_shard_has_the_lanes_of_the_settings_and_its_worker_the_memory_to_carry_a_thousand_records_a_second(stage: str) -> None:
    """1,000 a second is all that a partition writes. The local poller knows no lanes."""
    chosen = settings.load(stage)
    assert mapping(stage, "deliver")["ParallelizationFactor"] == chosen.deliver_lanes
    assert chosen.deliver_lanes * chosen.worker_memory_mb >= 2 * 1536 or stage == "local"
    assert mapping(stage, "deliver")["BatchSize"] <= 100  # what fails comes again with all of its batch


@each_stage
def test_a_record_that_cannot_be_delivered_holds_up_the_others_for_a_while_only(stage: str) -> None:
    found = mapping(stage, "deliver")
    assert found["BisectBatchOnFunctionError"] is True
    assert 1 <= found["MaximumRetryAttempts"] <= 100  # -1 would be for ever
    assert 0 < found["MaximumRecordAgeInSeconds"] <= STREAM_KEEPS_S // 2  # as long again to fetch it from the stream
    assert found["DestinationConfig"] == {"OnFailure": {"Destination": arn(QUEUES["deliver_dead"])}}


@each_stage
def test_deliver_reports_single_records_where_the_poller_listens(stage: str) -> None:
    reports = mapping(stage, "deliver").get("FunctionResponseTypes", [])
    assert reports == ([] if stage == "local" else ["ReportBatchItemFailures"])
    assert function(stage, "deliver")["Environment"]["Variables"]["PARTIAL_BATCHES"] == ("true" if reports else "false")


@each_stage
def test_fanout_takes_jobs_as_they_come_and_reports_single_ones(stage: str) -> None:
    found = mapping(stage, "fanout")
    assert found["EventSourceArn"] == arn(QUEUES["fanout"])
    assert found["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert 1 <= found["BatchSize"] <= 10  # more would need a batching window
    assert found.get("MaximumBatchingWindowInSeconds", 0) == 0
    assert found.get("Enabled", True) is True


@each_stage
def test_nothing_else_feeds_a_function(stage: str) -> None:
    mappings = resources(stage, "AWS::Lambda::EventSourceMapping").values()
    assert sorted(each["Properties"]["FunctionName"]["Ref"] for each in mappings) == sorted(
        [function_id(stage, "deliver"), function_id(stage, "fanout")]
    )
