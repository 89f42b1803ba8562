"""Log groups, each with a retention."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.settings import LOG_RETENTION_DAYS, Settings

RETENTION = dict(zip(LOG_RETENTION_DAYS, (days for days in logs.RetentionDays if days != logs.RetentionDays.INFINITE), strict=True))


def log_group(scope: Construct, id: str, settings: Settings, name: str) -> logs.LogGroup:
    return logs.LogGroup(
        scope,
        id,
        log_group_name=name,
        retention=RETENTION[settings.log_retention_days],
        removal_policy=RemovalPolicy.DESTROY,  # a group left behind under its fixed name would block the next deployment
    )
