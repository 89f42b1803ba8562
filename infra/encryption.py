"""The customer-managed key, where the settings ask for one: what it encrypts, and who may use it through which service."""

from typing import Any

from aws_cdk import CfnResource, Duration, RemovalPolicy, Stack, Tags
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra.settings import Settings

KEY = "{key}"  # stands for the key's ARN
DATA_KEY_S = 3600  # how long SQS uses one data key: at the default of 5 minutes, a busy queue pays for twelve times the KMS calls

# Everything that holds data, by its type: what is set on it. A property that is None is taken away.
ENCRYPTED: dict[str, dict[str, str | int | None]] = {
    "AWS::DynamoDB::GlobalTable": {"Replicas.0.SSESpecification.KMSMasterKeyId": KEY},
    "AWS::SQS::Queue": {"KmsMasterKeyId": KEY, "KmsDataKeyReusePeriodSeconds": DATA_KEY_S, "SqsManagedSseEnabled": None},
    "AWS::SecretsManager::Secret": {"KmsKeyId": KEY},
    "AWS::Logs::LogGroup": {"KmsKeyId": KEY},
    "AWS::SNS::Topic": {"KmsMasterKeyId": KEY},
}

ADMINISTER = (  # with the rights that IAM gives them; none of these reads what the key protects
    "CancelKeyDeletion",
    "DescribeKey",
    "DisableKey",
    "EnableKey",
    "EnableKeyRotation",
    "GetKeyPolicy",
    "GetKeyRotationStatus",
    "ListGrants",
    "ListResourceTags",
    "PutKeyPolicy",
    "RevokeGrant",
    "RotateKeyOnDemand",
    "ScheduleKeyDeletion",
    "TagResource",
    "UntagResource",
    "UpdateKeyDescription",
)
READ = ("Decrypt", "DescribeKey")
WRITE = (*READ, "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo")
SEND = ("Decrypt", "GenerateDataKey")  # to an encrypted queue or topic
VIA = ("dynamodb", "sqs", "secretsmanager")  # services that use the key with the rights of whoever calls them


def key_of(scope: Construct, settings: Settings) -> kms.IKey | None:
    """The stack's own key, an existing one (whose policy is its owner's), or None where AWS manages the keys."""
    if settings.kms == "aws":
        return None
    if settings.kms != "own":
        return kms.Key.from_key_arn(scope, "Key", settings.kms)
    key = kms.Key(
        scope,
        "Key",
        description=f"{settings.stack_name}: messages, queues, token keys and logs",
        enable_key_rotation=True,
        pending_window=Duration.days(30),  # without the key, what it encrypted is lost: the longest time to notice
        removal_policy=RemovalPolicy.RETAIN if settings.keep_data else RemovalPolicy.DESTROY,
        policy=iam.PolicyDocument(statements=_policy(Stack.of(scope), settings)),
    )
    Tags.of(key).add("parley", settings.stack_name)  # by which infra/policies/deploy.json tells it from everybody else's keys
    return key


def _policy(stack: Stack, settings: Settings) -> list[iam.PolicyStatement]:
    """Nobody uses the key but through a service, and that for this stack's resources or with rights of one's own."""
    account, region, name = stack.account, stack.region, settings.stack_name
    groups = [f"/aws/lambda/{name}-*", f"/aws/apigateway/{name}"]
    arns = [f"arn:{stack.partition}:logs:{region}:{account}:log-group:{group}" for group in groups]
    alarms = f"arn:{stack.partition}:cloudwatch:{region}:{account}:alarm:{name}-*"
    rows: list[tuple[str, iam.IPrincipal, tuple[str, ...], dict[str, Any]]] = [
        ("Administer", iam.AccountRootPrincipal(), ADMINISTER, {}),
        (
            "UseThroughServices",
            iam.AccountRootPrincipal(),
            (*WRITE, "CreateGrant"),  # DynamoDB keeps a grant for each table, made when the table is
            {"StringEquals": {"kms:CallerAccount": account, "kms:ViaService": [_via(stack, service) for service in VIA]}},
        ),
        ("Logs", iam.ServicePrincipal(f"logs.{region}.amazonaws.com"), WRITE, {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": arns}}),
        ("Alarms", iam.ServicePrincipal("cloudwatch.amazonaws.com"), SEND, {"ArnLike": {"aws:SourceArn": alarms}}),
    ]
    return [
        iam.PolicyStatement(
            sid=sid, principals=[principal], actions=[f"kms:{action}" for action in actions], resources=["*"], conditions=conditions
        )
        for sid, principal, actions, conditions in rows
    ]


def _via(stack: Stack, service: str) -> str:
    return f"{service}.{stack.region}.amazonaws.com"


def may_use(role: iam.IRole, key: kms.IKey | None, service: str, actions: tuple[str, ...]) -> None:
    """Lets a role use the key through one service; nothing where there is no key."""
    if key:
        via = {"StringEquals": {"kms:ViaService": _via(Stack.of(role), service)}}
        actions_ = [f"kms:{action}" for action in actions]
        role.add_to_principal_policy(iam.PolicyStatement(actions=actions_, resources=[key.key_arn], conditions=via))


def encrypt(stack: Stack, key: kms.IKey | None) -> None:
    """Encrypts everything in the stack that holds data: what is added later cannot be forgotten."""
    if key is None:
        return
    for construct in stack.node.find_all():
        if isinstance(construct, CfnResource):
            for path, value in ENCRYPTED.get(construct.cfn_resource_type, {}).items():
                if value is None:
                    construct.add_property_deletion_override(path)
                else:
                    construct.add_property_override(path, key.key_arn if value == KEY else value)
