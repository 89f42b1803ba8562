"""The settings of `cdk.json`: the stage's own over the defaults, checked before anything is built."""

import difflib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from infra.catalog import FUNCTIONS, KEPT_DEAD_DAYS, STREAM_MAX_AGE_H

ROOT = Path(__file__).parent.parent
CDK_JSON = ROOT / "cdk.json"
ENDPOINTS = tuple(row.name for row in FUNCTIONS if row.is_endpoint)
ROUTES = tuple(route for row in FUNCTIONS for route in row.routes)
LOG_RETENTION_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
ARN = r"arn:aws[a-z-]*"
KMS_KEY = rf"{ARN}:kms:[a-z0-9-]+:[0-9]{{12}}:key/(mrk-[0-9a-f]{{32}}|[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})"
CERTIFICATE = rf"{ARN}:acm:[a-z0-9-]+:[0-9]{{12}}:certificate/[0-9a-f-]{{36}}"
WEB_ACL = rf"{ARN}:wafv2:us-east-1:[0-9]{{12}}:global/webacl/[A-Za-z0-9_-]+/[0-9a-f-]{{36}}"
IDENTITY = rf"{ARN}:iam::[0-9]{{12}}:(role|user)/[A-Za-z0-9+=,.@_/-]+|[0-9]{{12}}"
SERVICE = r"[a-z0-9.-]+\.amazonaws\.com"
SOURCE = rf"{ARN}:[a-z0-9-]+:[a-z0-9-]*:[0-9]{{12}}:[^*]+"
HOST = r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}"
POLICY_NAME = r"[A-Za-z0-9+=,.@_-]{1,128}"
ORIGIN = r"https?://[A-Za-z0-9.-]+(:[0-9]+)?"
EMAIL = r"[^@\s]+@[^@\s]+\.[^@\s]+"
UNDELIVERED_S = KEPT_DEAD_DAYS * 86_400 + STREAM_MAX_AGE_H * 3600  # how long a message may wait for its delivery to be redriven
MAX_MESSAGE_BYTES = 256 * 1024  # an item takes 400 KB, AWS limit; the rest of it is keys and numbers


STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
Rate = Annotated[int, Field(ge=1, le=10_000)]
Burst = Annotated[int, Field(ge=1, le=5_000)]


class Throttle(BaseModel):
    """What one route takes at most."""

    model_config = STRICT

    rate_per_second: Rate
    burst_requests: Burst


class Invoker(BaseModel):
    """Who else may invoke which endpoints: a role, user or account; or an AWS service on behalf of one resource."""

    model_config = STRICT

    principal: str
    functions: Annotated[list[str], Field(min_length=1)]  # by their names in the catalog: an entry opens no more than it names
    source_arn: str | None = None

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if re.fullmatch(SERVICE, self.principal):
            if not self.source_arn or not re.fullmatch(SOURCE, self.source_arn):
                raise ValueError(f"{self.principal} needs the source_arn of the one resource that it may invoke for")
        elif not re.fullmatch(IDENTITY, self.principal):
            raise ValueError("principal must be the ARN of a role or user, an account number, or a service such as events.amazonaws.com")
        elif self.source_arn:
            raise ValueError("only a service's principal takes a source_arn")
        if unknown := sorted(set(self.functions) - set(ENDPOINTS)):
            raise ValueError(f"functions: no endpoint {unknown[0]!r}, there are {', '.join(ENDPOINTS)}")
        return self


class Settings(BaseModel):
    """One stage. A name ends in its unit where there is one."""

    model_config = STRICT

    stage: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,19}$")]
    target: Literal["aws", "local"]  # what the layer is built for: Lambda on arm64, or the interpreter that runs the local AWS
    keep_data: bool  # production: tables and keys outlive the stack, deletion protection is on
    dedup_window_hours: Annotated[int, Field(ge=1, le=24 * 365)]
    retention_days: Annotated[int, Field(ge=0, le=36500)]  # 0: messages are kept for ever
    message_limit_bytes: Annotated[int, Field(ge=1, le=MAX_MESSAGE_BYTES)]
    token_max_days: Annotated[int, Field(ge=1, le=36500)]  # from a token's `iat` to its `exp`; what is longer is refused
    request_limit_bytes: Annotated[int, Field(ge=1, le=500 * MAX_MESSAGE_BYTES)]  # of text, times the targets it goes to
    push_limit_members: Annotated[int, Field(ge=0, le=10_000)]
    # Small messages into one conversation, lost races included; a large one counts as its write units of the 1,000 that a partition
    # takes in a second. 0: no limit.
    conversation_rate_per_second: Annotated[int, Field(ge=0, le=1000)]
    conversation_burst_messages: Annotated[
        int, Field(ge=0, le=10_000)
    ]  # that one sender may send at once beyond that rate; all: twice as many
    user_rate_per_second: Annotated[int, Field(ge=0, le=10_000)]  # units (a target and started 4 KiB) of one user; 0: no limit
    user_burst: Annotated[int, Field(ge=1, le=1_000_000)]  # units that may come at once beyond that rate
    throttle_rate_per_second: Rate  # of each route that is not named in throttle_routes
    throttle_burst_requests: Burst
    throttle_routes: dict[str, Throttle]  # "GET /message/unread" → its own limits
    log_retention_days: int
    endpoint_memory_mb: Annotated[int, Field(ge=128, le=10_240)]
    worker_memory_mb: Annotated[int, Field(ge=128, le=10_240)]
    deliver_lanes: Annotated[int, Field(ge=1, le=10)]  # batches of one shard of the stream that are delivered at the same time
    deliver_window_seconds: Annotated[int, Field(ge=0, le=300)]  # how long the stream gathers records before it delivers them
    fanout_max_concurrency: Annotated[int, Field(ge=2, le=1000)]  # so that a busy group leaves the account's concurrency to the endpoints
    kms: str  # aws: keys that AWS manages; own: a key of the stack; or the ARN of a key that there is, in the same region
    alarms: bool  # alarms, their topic and the dashboard: some 6 dollars a month
    alarm_emails: list[str]  # who is told; each has to confirm once
    alarm_lag_seconds: Annotated[int, Field(ge=1, le=86_400)]  # from append to inbox, and how far the stream is behind
    alarm_job_age_seconds: Annotated[int, Field(ge=1, le=86_400)]  # of the oldest fan-out job
    alarm_errors: Annotated[int, Field(ge=1)]  # in five minutes
    alarm_throttles: Annotated[int, Field(ge=1)]  # in five minutes
    alarm_refused_tokens: Annotated[int, Field(ge=1)]  # answers 10008 and 402 in five minutes
    cors_origins: list[str]  # web pages that may call the API; none: CORS is off
    domain_name: str  # the API's own name, or none
    certificate_arn: str  # for domain_name: of the stack's region, or of us-east-1 with a web_acl_arn
    web_acl_arn: str  # a WAF in CloudFront, which is then put in front of the API under domain_name, or none
    invokers: list[Invoker]  # who may invoke the endpoints directly, beside those of this account whose own policy lets them
    permissions_boundary: str  # a managed policy that bounds what the functions' roles may do, by its name, or none
    access_log: bool  # of API Gateway, a second line for each request; `parley cost --access-log` says what for
    tracing: bool  # by X-Ray, with its default sampling; `parley cost --tracing` says what for
    partial_batches: bool  # false where the stream's poller ignores batchItemFailures, as the local one does

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if self.log_retention_days not in LOG_RETENTION_DAYS:
            raise ValueError(f"log_retention_days must be one of {', '.join(map(str, LOG_RETENTION_DAYS))}")
        if 0 < self.retention_days * 24 < self.dedup_window_hours:
            raise ValueError("retention_days must not be shorter than dedup_window_hours")
        if 0 < self.retention_days * 86_400 <= UNDELIVERED_S:
            days = UNDELIVERED_S / 86_400
            raise ValueError(f"retention_days must be 0 or more than {days:g}: until then a dead letter may still deliver the message")
        if self.request_limit_bytes < self.message_limit_bytes:
            raise ValueError("request_limit_bytes must not be less than message_limit_bytes: no message of that size could be sent")
        if unknown := sorted(set(self.throttle_routes) - set(ROUTES)):
            raise ValueError(f"throttle_routes: no route {unknown[0]!r}, there are {', '.join(ROUTES)}")
        if self.kms not in ("aws", "own") and not re.fullmatch(KMS_KEY, self.kms):
            raise ValueError(f"kms must be aws, own or the ARN of a KMS key (arn:aws:kms:region:account:key/id), not {self.kms!r}")
        for name, pattern, wanted in TEXTS:
            value = getattr(self, name)
            wrong = [each for each in (value if isinstance(value, list) else filter(None, [value])) if not re.fullmatch(pattern, each)]
            if wrong:
                raise ValueError(f"{name}: {wrong[0]!r} is not {wanted}")
        if self.domain_name and not self.certificate_arn:
            raise ValueError("domain_name needs a certificate_arn")
        if self.certificate_arn and not self.domain_name:
            raise ValueError("certificate_arn is for a domain_name")
        if self.web_acl_arn and not self.domain_name:
            raise ValueError("web_acl_arn needs a domain_name: under CloudFront's own names clients may use TLS older than 1.2")
        return self

    @property
    def stack_name(self) -> str:
        return f"Parley-{self.stage}"


TEXTS = (
    ("alarm_emails", EMAIL, "an e-mail address"),
    ("cors_origins", ORIGIN, "an origin such as https://app.example.com"),
    ("domain_name", HOST, "the name of a host"),
    ("permissions_boundary", POLICY_NAME, "the name of a managed policy"),
    ("certificate_arn", CERTIFICATE, "the ARN of an ACM certificate"),
    ("web_acl_arn", WEB_ACL, "the ARN of a web ACL of CloudFront (global, in us-east-1)"),
)


def load(stage: str | None = None, **overrides: Any) -> Settings:
    """The settings of a stage (`cdk.json`'s own choice where none is named); SystemExit with one sentence where they are wrong."""
    context = json.loads(CDK_JSON.read_text())["context"]
    stage = stage or context["stage"]
    if stage not in context["stages"]:
        raise SystemExit(f"cdk.json: no stage {stage!r}, there are {', '.join(context['stages'])}")
    try:
        return Settings.model_validate({**context["defaults"], **context["stages"][stage], "stage": stage, **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        setting = "".join(f"{at}: " for at in first["loc"])
        got = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
        raise SystemExit(f"cdk.json, stage {stage}: {setting}{first['msg'].removeprefix('Value error, ')}{got}") from None


def given(context: dict[str, Any]) -> dict[str, Any]:
    """The settings among the CDK's context (`-c name=value`); SystemExit for a name that is none. CDK's own names hold `:` or `/`."""
    ours = {name: value for name, value in context.items() if not re.search("[:/]", name) and name not in ("stage", "stages", "defaults")}
    if unknown := sorted(set(ours) - set(Settings.model_fields)):
        near = difflib.get_close_matches(unknown[0], Settings.model_fields, 1)
        hint = f", did you mean {near[0]}?" if near else f", there are {', '.join(sorted(Settings.model_fields))}"
        raise SystemExit(f"-c {unknown[0]}: no such setting{hint}")
    stage = {"stage": context["stage"]} if "stage" in context else {}
    return stage | {name: _value(value) for name, value in ours.items()}


def _value(text: Any) -> Any:
    """A setting of the command line, where everything is a string: numbers, switches and lists are given as JSON."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text
