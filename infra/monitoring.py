"""What an operator sees: metrics made of log lines, alarms that name their section of the runbook, one dashboard.

A metric filter costs the functions nothing. Who looks at the dashboard pays for what its log queries read, some cents a day of logs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aws_cdk import Aws, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.api import Api
from infra.catalog import FUNCTIONS
from infra.functions import Functions
from infra.prices import usd
from infra.queues import Queues
from infra.settings import Settings
from infra.tables import Tables

RUNBOOK = "docs/operations.md"
PERIOD_S = 300
ENDPOINTS = [row.name for row in FUNCTIONS if row.is_endpoint]
WORKERS = [row.name for row in FUNCTIONS if not row.is_endpoint]
# Our own lines, those of Lambda's runtime for what nobody has caught, and the platform's of a function that ran out of time.
ERROR_LINES = '{ $.level = "ERROR" || $.log_level = "ERROR" || $.record.status = "timeout" }'
REFUSED_LINES = "{ $.code = 10008 || $.code = 402 }"  # answers to tokens that are not, or no longer, good
JOB_REQUESTS = 3  # of SQS for each job: sent, received, deleted


@dataclass(frozen=True)
class Metric:
    """One CloudWatch metric, for an alarm and for the dashboard."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str
    label: str = ""


@dataclass(frozen=True)
class Alarm:
    """What is wrong once a metric is over a threshold in so many periods in a row. One metric each: the local AWS knows no sums."""

    id: str
    section: str  # of the runbook
    says: str
    metric: Metric
    threshold: int
    periods: int = 1


class Monitoring(Construct):
    """Metric filters, alarms, their topic, and the dashboard."""

    def __init__(
        self, scope: Construct, id: str, settings: Settings, tables: Tables, queues: Queues, functions: Functions, api: Api
    ) -> None:
        super().__init__(scope, id)
        self._settings, self._name = settings, settings.stack_name
        self._tables = {name: table.table_name for name, table in tables.by_name().items()}
        self._queues = {name: getattr(queues, name).queue_name for name in ("fanout", "fanout_dead", "deliver_dead")}
        self._api = api.id
        for name, log in functions.logs.items():
            self._count(f"{name.capitalize()}Errors", log, ERROR_LINES, "Errors", "1")
            if name in WORKERS:
                self._count(f"{name.capitalize()}Lag", log, "{ $.lag_ms >= 0 }", "Lag", "$.lag_ms")
            else:
                self._count(f"{name.capitalize()}Refused", log, REFUSED_LINES, "RefusedTokens", "1")
        topic = self._topic()
        for alarm in self._alarms():
            self._raise(alarm, topic)
        cloudwatch.CfnDashboard(self, "Dashboard", dashboard_name=self._name, dashboard_body=Stack.of(self).to_json_string(self._body()))

    # --- metrics

    def _count(self, id: str, log: logs.LogGroup, pattern: str, metric: str, value: str) -> None:
        """Of every line that matches, its value as a metric in the stack's own namespace."""
        logs.CfnMetricFilter(
            self,
            id,
            log_group_name=log.log_group_name,
            filter_pattern=pattern,
            metric_transformations=[
                logs.CfnMetricFilter.MetricTransformationProperty(metric_namespace=self._name, metric_name=metric, metric_value=value)
            ],
        )

    def _own(self, name: str, statistic: str, label: str = "") -> Metric:
        return Metric(self._name, name, (), statistic, label or name)

    def _function(self, name: str, metric: str, statistic: str = "Sum") -> Metric:
        return Metric("AWS/Lambda", metric, (("FunctionName", f"{self._name}-{name}"),), statistic, name)

    def _queue(self, name: str, metric: str, statistic: str = "Maximum") -> Metric:
        return Metric("AWS/SQS", metric, (("QueueName", self._queues[name]),), statistic, name)

    def _http(self, metric: str, statistic: str = "Sum", label: str = "") -> Metric:
        return Metric("AWS/ApiGateway", metric, (("ApiId", self._api),), statistic, label or metric)

    def _table(self, name: str, metric: str, index: str = "") -> Metric:
        dimensions = (("TableName", self._tables[name]), *([("GlobalSecondaryIndexName", index)] if index else []))
        return Metric("AWS/DynamoDB", metric, dimensions, "Sum", f"{name} {index}".strip())

    def _throttles(self) -> list[Metric]:
        tables = [self._table(table, f"{what}ThrottleEvents") for table in self._tables for what in ("Read", "Write")]
        return [
            *(self._function(row.name, "Throttles") for row in FUNCTIONS),
            *tables,
            self._table("directory", "WriteThrottleEvents", "listing"),
        ]

    # --- alarms

    def _alarms(self) -> list[Alarm]:
        chosen, visible = self._settings, "ApproximateNumberOfMessagesVisible"
        late_s, job_s = chosen.alarm_lag_seconds, chosen.alarm_job_age_seconds
        job_age, stream_age = self._queue("fanout", "ApproximateAgeOfOldestMessage"), self._function("deliver", "IteratorAge", "Maximum")
        refused = self._own("RefusedTokens", "Sum")
        late = f"for ten minutes, batches reach the inbox more than {late_s} s after their messages were sent"
        rows = [
            Alarm("FanoutDead", "Dead letters", "fan-out jobs failed five times", self._queue("fanout_dead", visible), 0),
            Alarm("DeliverDead", "Dead letters", "stream records were given up", self._queue("deliver_dead", visible), 0),
            Alarm("JobAge", "Fan-out is behind", f"the oldest fan-out job has waited for more than {job_s} s", job_age, job_s),
            Alarm("IteratorAge", "Delivery is behind", f"the stream is read more than {late_s} s late", stream_age, late_s * 1000),
            Alarm("Lag", "Delivery lag", late, self._own("Lag", "Maximum"), late_s * 1000, periods=2),
            Alarm("Http5xx", "Errors", "requests end with HTTP 5xx", self._http("5xx"), chosen.alarm_errors),
            Alarm("LoggedErrors", "Errors", "functions log errors", self._own("Errors", "Sum"), chosen.alarm_errors),
            Alarm("RefusedTokens", "Refused tokens", "unusually many tokens are refused", refused, chosen.alarm_refused_tokens),
        ]
        for metric in self._throttles():
            what = "".join(word[0].upper() + word[1:] for word in f"{metric.label} {metric.name.removesuffix('Events')}".split())
            says = f"AWS throttles {metric.label}"
            rows.append(Alarm(what, "Throttles", says, metric, chosen.alarm_throttles))
        return rows

    def _topic(self) -> sns.Topic:
        topic = sns.Topic(self, "Alarms", enforce_ssl=True)
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
        for address in self._settings.alarm_emails:
            topic.add_subscription(subscriptions.EmailSubscription(address))
        return topic

    def _raise(self, alarm: Alarm, topic: sns.Topic) -> None:
        """Silence is good news: an idle stack has no data, and no alarm."""
        metric = alarm.metric
        cloudwatch.CfnAlarm(
            self,
            alarm.id,
            alarm_name=f"{self._name}-{alarm.id}",
            alarm_description=f"{alarm.says}. What to do: {RUNBOOK}#{alarm.section.lower().replace(' ', '-')} ({alarm.section})",
            namespace=metric.namespace,
            metric_name=metric.name,
            dimensions=[cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value) for name, value in metric.dimensions],
            period=PERIOD_S,
            statistic=metric.statistic,
            comparison_operator="GreaterThanThreshold",
            threshold=alarm.threshold,
            evaluation_periods=alarm.periods,
            treat_missing_data="notBreaching",
            alarm_actions=[topic.topic_arn],
            ok_actions=[topic.topic_arn],
        )

    # --- the dashboard

    def _body(self) -> dict[str, Any]:
        """Two graphs a row, in the order in which one looks when something is wrong."""
        ages = [self._queue("fanout", "ApproximateAgeOfOldestMessage"), self._function("deliver", "IteratorAge", "Maximum")]
        dead = [self._queue(name, "ApproximateNumberOfMessagesVisible") for name in ("fanout_dead", "deliver_dead")]
        units = [self._table(table, f"Consumed{what}CapacityUnits") for table in self._tables for what in ("Read", "Write")]
        lags = [self._own("Lag", stat, f"Lag {stat}") for stat in ("p50", "p99", "Maximum")]
        graphs = [
            _graph(
                "Traffic: requests and invocations", [self._http("Count"), *(self._function(row.name, "Invocations") for row in FUNCTIONS)]
            ),
            self._query("Codes", ENDPOINTS, "filter ispresent(code) | stats count(*) as answers by code, bin(5m) as time", "bar"),
            _graph("Latency at the API, ms", [self._http("Latency", stat, f"Latency {stat}") for stat in ("p50", "p95", "p99")]),
            self._query(
                "Latency by operation, ms", ENDPOINTS, "filter ispresent(ms) | stats pct(ms, 50), pct(ms, 99), count(*) by op", "table"
            ),
            _graph("Delivery lag from append to inbox, ms", lags),
            _graph("Age: oldest fan-out job, s; stream, ms", ages),
            _graph("Dead letters", dead),
            _graph("Errors: HTTP 4xx and 5xx, logged", [self._http("4xx"), self._http("5xx"), self._own("Errors", "Sum")]),
            _graph("Refused tokens: answers 10008 and 402", [self._own("RefusedTokens", "Sum")]),
            _graph("Throttles", self._throttles()),
            _graph("Capacity: DynamoDB units", units),
            self._cost(),
            self._query(
                "Latest errors", [row.name for row in FUNCTIONS], "filter level = 'ERROR' | fields @timestamp, message, exception", "table"
            ),
        ]
        return {"widgets": [_placed(graph, number) for number, graph in enumerate(graphs)]}

    def _query(self, title: str, names: Iterable[str], query: str, view: str) -> dict[str, Any]:
        sources = " | ".join(f"SOURCE '/aws/lambda/{self._name}-{name}'" for name in names)
        return {"type": "log", "properties": {"title": title, "region": Aws.REGION, "view": view, "query": f"{sources} | {query}"}}

    def _cost(self) -> dict[str, Any]:
        """Dollars an hour, from what was used in it; logs, storage and data out come on top."""
        memory_gb = {True: self._settings.endpoint_memory_mb / 1024, False: self._settings.worker_memory_mb / 1024}
        parts = [
            (_million("http"), self._http("Count")),
            (JOB_REQUESTS * _million("sqs"), self._queue("fanout", "NumberOfMessagesSent", "Sum")),
        ]
        for row in FUNCTIONS:
            parts.append((_million("lambda"), self._function(row.name, "Invocations")))
            parts.append((_million("lambda_gb_s") / 1000 * memory_gb[row.is_endpoint], self._function(row.name, "Duration")))
        for table in self._tables:
            parts.append((_million("write_unit"), self._table(table, "ConsumedWriteCapacityUnits")))
            parts.append((_million("read_unit"), self._table(table, "ConsumedReadCapacityUnits")))
        parts.append((_million("write_unit"), self._table("directory", "ConsumedWriteCapacityUnits", "listing")))
        total = " + ".join(f"FILL(m{number}, 0) * {price:.4g}" for number, (price, _) in enumerate(parts))
        graph = _graph("Cost estimate: requests, functions, tables, queue; dollars an hour", [metric for _, metric in parts], 3600)
        for number, metric in enumerate(graph["properties"]["metrics"]):
            metric[-1] |= {"id": f"m{number}", "visible": False}
        graph["properties"]["metrics"].append([{"expression": total, "label": "dollars an hour", "id": "cost"}])
        return graph


def _million(position: str) -> float:
    """Dollars for one of what is priced by the million."""
    return usd(f"{position}_million") / 1e6


def _graph(title: str, metrics: Iterable[Metric], period_s: int = PERIOD_S) -> dict[str, Any]:
    lines = [
        [
            metric.namespace,
            metric.name,
            *(part for dimension in metric.dimensions for part in dimension),
            {"stat": metric.statistic, "label": f"{metric.label} {metric.name}" if metric.label != metric.name else metric.name},
        ]
        for metric in metrics
    ]
    return {
        "type": "metric",
        "properties": {"title": title, "region": Aws.REGION, "period": period_s, "view": "timeSeries", "metrics": lines},
    }


def _placed(widget: dict[str, Any], number: int) -> dict[str, Any]:
    return {**widget, "x": 12 * (number % 2), "y": 6 * (number // 2), "width": 12, "height": 6}
