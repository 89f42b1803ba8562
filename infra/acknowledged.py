"""What cdk-nag and checkov find and we keep, each with its reason. A test holds that every line here is still needed."""

SET_ASIDE = "it is where jobs and records are set aside: what is in it waits for an operator, whom an alarm calls"
PYTHON = "Python 3.13 is what the layer is locked, compiled and tested for, and is supported until 2029"
TOKENS = "the functions verify the token themselves: one hop less, refusals keep the envelope; hostile requests test every endpoint"
CALLERS = "an endpoint's caller sees it fail and repeats; what the workers fail at is set aside by their event sources, with an alarm"
ROTATION = "it holds several keys, which overlap while tokens live: the command line adds and retires them, a rotation function cannot"
ACCESS = "a function's line tells each request's operation, code and milliseconds, metrics what the gateway refused; access_log turns it on"
TRACING = "tracing in cdk.json turns it on; of a message it would be one of the larger costs, and a line a request tells its milliseconds"
TRACES = "X-Ray's two actions know no resource; a test holds that no other action has a wildcard"
REDRIVE = "SQS moves a job to the dead-letter queue after five attempts; a destination is for streams"
AWS_KEYS = "encrypted with a key that AWS manages, free of charge; kms in cdk.json chooses a customer-managed one, as prod does"
ALARM_WORDS = "carries the names of alarms and no data; CloudWatch can publish with a customer-managed key only, which kms chooses"
MAIL = "a mail that cannot be delivered is no reason to keep the alarm: the console shows it, and the mails of the others arrive"
FRONT_LOG = "the functions' lines have every request that gets through, the web ACL's what does not; a bucket of addresses is spared"
ANYWHERE = "users of a chat are anywhere; who may not come in from where is a rule for the web ACL"
NO_NETWORK = "talks to AWS services only, by IAM and TLS; a VPC would add endpoints to pay for and nothing to protect"
CONCURRENCY = "routes are throttled and the queue's mapping is capped; a reserved share is taken from all others, and new accounts have 10"
ENVIRONMENT = "holds names, numbers and switches, no secret (tested), encrypted by Lambda; an own key costs a KMS call at every start"

# cdk-nag: (path below the stack, rule, reason); whatever is below the path is meant, where there is such a path.
NAG = (
    ("Queues/DeliverDead", "AwsSolutions-SQS3", SET_ASIDE),
    ("Queues/FanoutDead", "Serverless-SQSRedrivePolicy", SET_ASIDE),
    ("Queues/DeliverDead", "Serverless-SQSRedrivePolicy", SET_ASIDE),
    ("TokenKeys", "AwsSolutions-SMG4", ROTATION),
    ("Functions", "AwsSolutions-IAM5[Resource::*]", TRACES),
    ("Functions", "Serverless-LambdaTracing", TRACING),
    ("Functions", "AwsSolutions-L1", PYTHON),
    ("Functions", "Serverless-LambdaLatestVersion", PYTHON),
    ("Functions", "Serverless-LambdaDLQ", CALLERS),
    ("Functions/Fanout", "Serverless-LambdaEventSourceMappingDestination", REDRIVE),
    ("Api/HttpApi", "AwsSolutions-APIG4", TOKENS),
    ("Api/Stage", "AwsSolutions-APIG1", ACCESS),
    ("Api/Stage", "Serverless-APIGWAccessLogging", ACCESS),
    ("Api/Front", "AwsSolutions-CFR1", ANYWHERE),
    ("Api/Front", "AwsSolutions-CFR3", FRONT_LOG),
    ("Monitoring/Alarms", "Serverless-SNSRedrivePolicy", MAIL),
)

# checkov: (type, rule, reason, whether only stages without a customer-managed key have it).
CHECKOV = (
    ("AWS::ApiGatewayV2::Stage", "CKV_AWS_95", ACCESS, False),
    ("AWS::Lambda::Function", "CKV_AWS_115", CONCURRENCY, False),
    ("AWS::Lambda::Function", "CKV_AWS_116", CALLERS, False),
    ("AWS::Lambda::Function", "CKV_AWS_117", NO_NETWORK, False),
    ("AWS::Lambda::Function", "CKV_AWS_173", ENVIRONMENT, False),
    ("AWS::SQS::Queue", "CKV_AWS_27", AWS_KEYS, True),
    ("AWS::SecretsManager::Secret", "CKV_AWS_149", AWS_KEYS, True),
    ("AWS::Logs::LogGroup", "CKV_AWS_158", AWS_KEYS, True),
    ("AWS::SNS::Topic", "CKV_AWS_26", ALARM_WORDS, True),
)
