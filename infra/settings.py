"""The settings of `cdk.json`: the stage's own over the defaults, checked before anything is built."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

ROOT = Path(__file__).parent.parent
CDK_JSON = ROOT / "cdk.json"
LOG_RETENTION_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
MAX_MESSAGE_BYTES = 256 * 1024  # an item takes 400 KB, AWS limit; the rest of it is keys and numbers


class Settings(BaseModel):
    """One stage. Each name ends in its unit."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    stage: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,19}$")]
    target: Literal["aws", "local"]  # what the layer is built for: Lambda on arm64, or the interpreter that runs the local AWS
    keep_data: bool  # production: tables and keys outlive the stack, deletion protection is on
    dedup_window_hours: Annotated[int, Field(ge=1, le=24 * 365)]
    retention_days: Annotated[int, Field(ge=0, le=36500)]  # 0: messages are kept for ever
    message_limit_bytes: Annotated[int, Field(ge=1, le=MAX_MESSAGE_BYTES)]
    push_limit_members: Annotated[int, Field(ge=0, le=10_000)]
    throttle_rate_per_second: Annotated[int, Field(ge=1, le=10_000)]
    throttle_burst_requests: Annotated[int, Field(ge=1, le=5_000)]
    log_retention_days: int
    endpoint_memory_mb: Annotated[int, Field(ge=128, le=10_240)]
    worker_memory_mb: Annotated[int, Field(ge=128, le=10_240)]
    deliver_window_seconds: Annotated[int, Field(ge=0, le=300)]  # how long the stream gathers records before it delivers them
    fanout_max_concurrency: Annotated[int, Field(ge=2, le=1000)]  # so that a busy group leaves the account's concurrency to the endpoints
    partial_batches: bool  # false where the stream's poller ignores batchItemFailures, as the local one does

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if self.log_retention_days not in LOG_RETENTION_DAYS:
            raise ValueError(f"log_retention_days must be one of {', '.join(map(str, LOG_RETENTION_DAYS))}")
        if 0 < self.retention_days * 24 < self.dedup_window_hours:
            raise ValueError("retention_days must not be shorter than dedup_window_hours")
        return self

    @property
    def stack_name(self) -> str:
        return f"Parley-{self.stage}"


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
