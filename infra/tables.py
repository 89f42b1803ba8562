"""The four tables. Their keys are those that the functions build: one definition, imported."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from infra.settings import Settings
from messaging.base import keys

ATTRIBUTE = {"S": dynamodb.AttributeType.STRING, "N": dynamodb.AttributeType.NUMBER}


class Tables(Construct):
    """Messages, Inbox, Dedup and Directory: on demand, encrypted, recoverable to any second of 35 days."""

    def __init__(self, scope: Construct, id: str, settings: Settings) -> None:
        super().__init__(scope, id)
        self._settings = settings
        new_images = {"dynamo_stream": dynamodb.StreamViewType.NEW_IMAGE}
        self.messages = self._table("Messages", keys.MESSAGES, time_to_live_attribute=keys.EXPIRES_AT, **new_images)
        self.inbox = self._table("Inbox", keys.INBOX)
        self.dedup = self._table("Dedup", keys.DEDUP, time_to_live_attribute=keys.EXPIRES_AT)
        self.directory = self._table("Directory", keys.DIRECTORY)
        self.directory.add_global_secondary_index(
            index_name="listing",
            partition_key=_attribute(keys.LISTING.partition, "S"),
            sort_key=_attribute(*keys.LISTING.sort) if keys.LISTING.sort else None,
            # A group's head moves with its messages: what the index does not hold, it need not be written for.
            projection_type=dynamodb.ProjectionType.INCLUDE,
            non_key_attributes=["what", "title", "owner_id", "history_visible", "admin_id", "created_at"],
        )

    def by_name(self) -> dict[str, dynamodb.TableV2]:
        return {"messages": self.messages, "inbox": self.inbox, "dedup": self.dedup, "directory": self.directory}

    def _table(self, id: str, table: keys.Table, **options: object) -> dynamodb.TableV2:
        stage, encryption = self._settings, dynamodb.TableEncryptionV2
        keep = stage.keep_data
        return dynamodb.TableV2(
            self,
            id,
            partition_key=_attribute(table.partition, "S"),
            sort_key=_attribute(*table.sort) if table.sort else None,
            billing=dynamodb.Billing.on_demand(),
            # Of AWS's own keys the one that is free: uses of the account's `aws/dynamodb` are billed. `infra.encryption` sets another one.
            # The local AWS makes a table anew, and empty, when this changes: there it stays as it was.
            encryption=encryption.dynamo_owned_key() if stage.kms == "aws" and stage.target == "aws" else encryption.aws_managed_key(),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(point_in_time_recovery_enabled=True),
            deletion_protection=keep,
            removal_policy=RemovalPolicy.RETAIN if keep else RemovalPolicy.DESTROY,
            **options,  # type: ignore[arg-type]
        )


def _attribute(name: str, type_: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=ATTRIBUTE[type_])
