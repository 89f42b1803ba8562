"""The local AWS has the alarms and the dashboard of the template, and the functions write what their metrics are made of."""

import json
from collections.abc import Callable
from typing import Any

import boto3

from tests.e2e.conftest import DELIVERED_S, Api, Person, eventually
from tests.infra.test_monitoring import SECTIONS

LINE_BYTES = 200
Make = Callable[[int], list[Person]]


def lines(api: Api, name: str, since_ms: int) -> list[str]:
    group = f"/aws/lambda/{api.info['functions'][name]}"
    pages = boto3.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since_ms)
    return [line for page in pages for event in page["events"] if (line := event["message"].strip()).startswith("{")]


def test_the_same_alarms_and_dashboard_are_deployed(api: Api) -> None:
    cloudwatch, name = boto3.client("cloudwatch"), api.info["stack"]
    found = {alarm["AlarmName"] for page in cloudwatch.get_paginator("describe_alarms").paginate() for alarm in page["MetricAlarms"]}
    assert {alarm for alarm in found if alarm.startswith(f"{name}-")} == {f"{name}-{alarm}" for alarm in SECTIONS}
    assert json.loads(cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"])["widgets"]


def test_a_request_leaves_one_short_line_and_its_delivery_one_with_the_lag(api: Api, people: Make) -> None:
    alice, bob = people(2)
    api.send(alice.token, [bob.user_id])
    (sent_at,) = (message["timestamp"] for message in api.history(bob.token, alice.user_id))
    eventually(lambda: api.unread(bob.token), bool, DELIVERED_S)

    def told(name: str, since_ms: int) -> list[dict[str, Any]]:
        return [json.loads(line) for line in lines(api, name, since_ms)]

    (line,) = eventually(lambda: lines(api, "send", sent_at - 1000)[-1:], bool, DELIVERED_S)
    assert len(line.encode()) <= LINE_BYTES
    assert set(json.loads(line)) == {"timestamp", "op", "request_id", "app", "code", "ms", "via", "kid", "role", "user"}
    delivered = eventually(lambda: [each for each in told("deliver", sent_at) if "lag_ms" in each], bool, DELIVERED_S)
    assert all(0 <= each["lag_ms"] < DELIVERED_S * 1000 for each in delivered)
