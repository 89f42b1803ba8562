"""One stack: tables, queues, functions, their event sources, the API, and what an operator needs to know of them."""

import hashlib
from typing import cast

from aws_cdk import CfnOutput, Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.api import Api
from infra.catalog import STREAM_MAX_AGE_H
from infra.encryption import encrypt, key_of, may_use
from infra.functions import Functions
from infra.monitoring import Monitoring
from infra.queues import Queues
from infra.settings import Settings
from infra.tables import Tables

STREAM_BATCH = 100  # records per delivery
STREAM_RETRIES = 100  # outlives a store that is out for a while; then a record that cannot be delivered stops holding up its shard
QUEUE_BATCH = 10  # jobs per fan-out; more would need a waiting time
# Changing how the secret is generated makes CloudFormation generate it anew: every token, and every key added since, would be lost.
FIRST_KEY = "k1"  # `kid` of the key that the stack is born with
KEY_LENGTH = 64  # characters of A-Z a-z 0-9: 380 bits for HS256


class Parley(Stack):
    def __init__(self, scope: Construct, settings: Settings) -> None:
        super().__init__(scope, settings.stack_name, description="Parley: a messaging backend", termination_protection=settings.keep_data)
        key = key_of(self, settings)
        tables = Tables(self, "Tables", settings)
        queues = Queues(self, "Queues")
        secret = secretsmanager.Secret(
            self,
            "TokenKeys",
            description="Keys that sign access tokens: `current` names the one in use, every other field is a key by its kid",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template=f'{{"current": "{FIRST_KEY}"}}',
                generate_string_key=FIRST_KEY,
                password_length=KEY_LENGTH,
                exclude_punctuation=True,
            ),
            removal_policy=RemovalPolicy.RETAIN if settings.keep_data else RemovalPolicy.DESTROY,
        )
        deployed = Functions(self, "Functions", settings, key, tables, queues, secret)
        functions = deployed.by_name
        self._stream_to(functions["deliver"], settings, tables, queues)
        self._queue_to(functions["fanout"], settings, queues, key)
        self._invoked_by(functions, settings)
        api = Api(self, "Api", settings, functions)
        if settings.alarms:
            Monitoring(self, "Monitoring", settings, tables, queues, deployed, api)
        encrypt(self, key)

        self._output("ApiUrl", api.url)
        self._output("ApiId", api.id)
        for name, table in tables.by_name().items():
            self._output(f"{name.capitalize()}Table", table.table_name)
        for name, function in functions.items():
            self._output(f"{name.capitalize()}Function", function.function_name)
        self._output("TokenSecret", secret.secret_arn)
        self._output("FanoutQueueUrl", queues.fanout.queue_url)
        self._output("FanoutDeadQueueUrl", queues.fanout_dead.queue_url)
        self._output("DeliverDeadQueueUrl", queues.deliver_dead.queue_url)
        self._output("RetentionSeconds", str(settings.retention_days * 86400))
        self._output("PushLimitMembers", str(settings.push_limit_members))
        self._output("TokenMaxDays", str(settings.token_max_days))

    def _output(self, id: str, value: str) -> None:
        CfnOutput(self, id, value=value)

    def _stream_to(self, deliver: lambda_.Function, settings: Settings, tables: Tables, queues: Queues) -> None:
        stream_arn = tables.messages.table_stream_arn
        reads = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
        deliver.add_to_role_policy(iam.PolicyStatement(actions=[f"dynamodb:{action}" for action in reads], resources=[stream_arn or ""]))
        # CDK's own destination would grant two actions more than setting aside takes.
        deliver.add_to_role_policy(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[queues.deliver_dead.queue_arn]))
        deliver.add_environment("DELIVER_DEAD_QUEUE_URL", queues.deliver_dead.queue_url)  # for what it cannot read itself
        mapping = deliver.add_event_source_mapping(
            "Stream",
            event_source_arn=stream_arn,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=STREAM_BATCH,
            parallelization_factor=settings.deliver_lanes,
            max_batching_window=Duration.seconds(settings.deliver_window_seconds),
            bisect_batch_on_error=True,
            retry_attempts=STREAM_RETRIES,
            max_record_age=Duration.hours(STREAM_MAX_AGE_H),
            report_batch_item_failures=settings.partial_batches,
            filters=[lambda_.FilterCriteria.filter({"eventName": lambda_.FilterRule.is_equal("INSERT")})],
        )
        source, to = cast(lambda_.CfnEventSourceMapping, mapping.node.default_child), lambda_.CfnEventSourceMapping
        failed = to.OnFailureProperty(destination=queues.deliver_dead.queue_arn)
        source.destination_config = to.DestinationConfigProperty(on_failure=failed)

    def _queue_to(self, fanout: lambda_.Function, settings: Settings, queues: Queues, key: kms.IKey | None) -> None:
        reads = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
        fanout.add_to_role_policy(iam.PolicyStatement(actions=[f"sqs:{action}" for action in reads], resources=[queues.fanout.queue_arn]))
        if fanout.role:
            may_use(fanout.role, key, "sqs", ("Decrypt",))
        fanout.add_event_source_mapping(
            "Queue",
            event_source_arn=queues.fanout.queue_arn,
            batch_size=QUEUE_BATCH,
            max_concurrency=settings.fanout_max_concurrency,
            report_batch_item_failures=True,
        )

    def _invoked_by(self, functions: dict[str, lambda_.Function], settings: Settings) -> None:
        """The endpoints only: what a worker is handed comes from its event source and from nowhere else."""
        for invoker in settings.invokers:
            id = "Invoker" + hashlib.sha256(f"{invoker.principal} {invoker.source_arn}".encode()).hexdigest()[:8]
            for name in invoker.functions:
                lambda_.CfnPermission(
                    self,
                    f"{name.capitalize()}{id}",
                    action="lambda:InvokeFunction",
                    function_name=functions[name].function_arn,
                    principal=invoker.principal,
                    source_arn=invoker.source_arn,
                )
