"""Deploys the functions of the catalog: one asset and one layer for all, for each its own role, log group and environment."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra import package
from infra.catalog import FUNCTIONS, TIMEOUT_S, WITH_RETENTION, Function
from infra.encryption import READ, SEND, WRITE, may_use
from infra.logs import log_group
from infra.queues import Queues
from infra.settings import Settings
from infra.tables import Tables


class Functions(Construct):
    """Every function of the table: its own role, its own log group, one asset and one layer for all."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        settings: Settings,
        key: kms.IKey | None,
        tables: Tables,
        queues: Queues,
        secret: secretsmanager.Secret,
    ) -> None:
        super().__init__(scope, id)
        self._settings, self._key, self._tables, self._queues, self._secret = settings, key, tables, queues, secret
        self.logs: dict[str, logs.LogGroup] = {}
        self._code = lambda_.Code.from_asset(str(package.asset(settings.target)))
        self._layer = lambda_.LayerVersion(
            self,
            "Dependencies",
            code=lambda_.Code.from_asset(str(package.layer(settings.target))),
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
            compatible_architectures=[lambda_.Architecture.ARM_64],
            removal_policy=RemovalPolicy.DESTROY,
        )
        bounded = settings.permissions_boundary
        self._boundary = iam.ManagedPolicy.from_managed_policy_name(self, "Boundary", bounded) if bounded else None
        self.by_name = {row.name: self._deploy(row) for row in FUNCTIONS}

    def _deploy(self, row: Function) -> lambda_.Function:
        settings, id = self._settings, row.name.capitalize()
        name = f"{settings.stack_name}-{row.name}"
        log = self.logs[row.name] = log_group(self, f"{id}Log", settings, f"/aws/lambda/{name}")
        role = iam.Role(self, f"{id}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"), permissions_boundary=self._boundary)
        role.add_to_policy(iam.PolicyStatement(actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[log.log_group_arn]))
        environment = self._environment(row, role)
        return lambda_.Function(
            self,
            id,
            function_name=name,
            code=self._code,
            handler=f"{row.module}.handler",
            layers=[self._layer],
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            memory_size=settings.endpoint_memory_mb if row.is_endpoint else settings.worker_memory_mb,
            timeout=Duration.seconds(TIMEOUT_S),
            tracing=lambda_.Tracing.ACTIVE if settings.tracing else lambda_.Tracing.DISABLED,
            logging_format=lambda_.LoggingFormat.JSON,
            system_log_level_v2=lambda_.SystemLogLevel.WARN,
            application_log_level_v2=lambda_.ApplicationLogLevel.INFO,
            log_group=log,
            role=role,
            environment=environment,
        )

    def _environment(self, row: Function, role: iam.Role) -> dict[str, str]:
        """Grants the row's actions, and names in the environment just what was granted."""
        settings, tables = self._settings, self._tables.by_name()
        grants = dict(row.tables)
        if settings.retention_days:
            for table, actions in WITH_RETENTION.get(row.name, {}).items():
                grants[table] = (*grants[table], *actions)
        environment = {
            "DEDUP_WINDOW_SECONDS": str(settings.dedup_window_hours * 3600),
            "RETENTION_SECONDS": str(settings.retention_days * 86400),
            "CONVERSATION_RATE_PER_SECOND": str(settings.conversation_rate_per_second),
            "CONVERSATION_BURST_MESSAGES": str(settings.conversation_burst_messages),
            "MESSAGE_LIMIT_BYTES": str(settings.message_limit_bytes),
            "REQUEST_LIMIT_BYTES": str(settings.request_limit_bytes),
            "USER_RATE_PER_SECOND": str(settings.user_rate_per_second),
            "USER_BURST": str(settings.user_burst),
            "PARTIAL_BATCHES": str(settings.partial_batches).lower(),
        }
        if settings.target == "aws":  # the local AWS has no TLS, and no /opt
            environment["AWS_CA_BUNDLE"] = f"/opt/{package.ROOTS}"
        for table, actions in grants.items():
            arn = tables[table].table_arn
            role.add_to_policy(iam.PolicyStatement(actions=[f"dynamodb:{action}" for action in actions], resources=[arn]))
            environment[f"{table.upper()}_TABLE"] = tables[table].table_name
        may_use(role, self._key, "dynamodb", WRITE if row.writes else READ)
        if row.is_endpoint:
            role.add_to_policy(iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=[self._secret.secret_arn]))
            may_use(role, self._key, "secretsmanager", ("Decrypt",))
            environment["TOKEN_SECRET"] = self._secret.secret_arn
            environment["TOKEN_MAX_DAYS"] = str(settings.token_max_days)
        if row.enqueues:
            role.add_to_policy(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[self._queues.fanout.queue_arn]))
            may_use(role, self._key, "sqs", SEND)
            environment["FANOUT_QUEUE_URL"] = self._queues.fanout.queue_url
        return environment
