"""Wrong settings stop before anything is built, with one sentence that names the setting."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra import settings

ROLE = "arn:aws:iam::123456789012:role/x"
LONGEST = 280  # characters that still read as one sentence
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-90ab-cdef-1234-567890abcdef"
WEB_ACL = "arn:aws:wafv2:us-east-1:123456789012:global/webacl/parley/12345678-90ab-cdef-1234-567890abcdef"


def refusal(stage: str | None = "dev", **overrides: Any) -> str:
    with pytest.raises(SystemExit) as stopped:
        settings.load(stage, **overrides)
    return str(stopped.value)


def names(said: str) -> set[str]:
    return set(re.findall(r"[a-z_]+", said))


@pytest.mark.parametrize(
    ("setting", "overrides"),
    [
        ("retention_days", {"retention_days": -1}),
        ("retention_days", {"retention_days": "7"}),
        ("retention_days", {"retention_days": 7.5}),
        ("retention_days", {"retention_days": None}),
        ("retention_days", {"retention_days": 20, "dedup_window_hours": 481}),
        ("retention_days", {"retention_days": 14}),
        ("request_limit_bytes", {"request_limit_bytes": 0}),
        ("user_rate_per_second", {"user_rate_per_second": -1}),
        ("user_burst", {"user_burst": 0}),
        ("retenton_days", {"retenton_days": 7}),
        ("keep_data", {"keep_data": "yes"}),
        ("keep_data", {"keep_data": 1}),
        ("target", {"target": "arm"}),
        ("log_retention_days", {"log_retention_days": 2}),
        ("message_limit_bytes", {"message_limit_bytes": 400 * 1024}),
        ("endpoint_memory_mb", {"endpoint_memory_mb": 64}),
        ("throttle_rate_per_second", {"throttle_rate_per_second": 0}),
        ("dedup_window_hours", {"dedup_window_hours": 0}),
        ("kms", {"kms": "mine"}),
        ("kms", {"kms": ""}),
        ("kms", {"kms": "arn:aws:s3:::bucket"}),
        ("kms", {"kms": "arn:aws:kms:eu-central-1:123456789012:alias/parley"}),
        ("kms", {"kms": "arn:aws:kms:eu-central-1:123456789012:key/1234"}),
        ("alarm_emails", {"alarm_emails": ["ops"]}),
        ("alarm_lag_seconds", {"alarm_lag_seconds": 0}),
        ("cors_origins", {"cors_origins": ["*"]}),
        ("cors_origins", {"cors_origins": ["https://app.example.com/"]}),
        ("cors_origins", {"cors_origins": "https://app.example.com"}),
        ("domain_name", {"domain_name": "https://chat.example.com", "certificate_arn": CERTIFICATE}),
        ("certificate_arn", {"domain_name": "chat.example.com"}),
        ("certificate_arn", {"domain_name": "chat.example.com", "certificate_arn": "arn:aws:iam::123456789012:role/x"}),
        ("certificate_arn", {"certificate_arn": CERTIFICATE}),
        ("web_acl_arn", {"web_acl_arn": WEB_ACL}),
        ("web_acl_arn", {"web_acl_arn": WEB_ACL.replace("us-east-1", "eu-central-1")}),
        ("invokers", {"invokers": [{"principal": "*", "functions": ["send"]}]}),
        ("invokers", {"invokers": [{"principal": "events.amazonaws.com", "functions": ["send"]}]}),
        ("invokers", {"invokers": [{"principal": ROLE, "source_arn": "arn:aws:x:y:123456789012:z", "functions": ["send"]}]}),
        ("invokers", {"invokers": [{"principal": ROLE}]}),
        ("invokers", {"invokers": [{"principal": ROLE, "functions": []}]}),
        ("invokers", {"invokers": [{"principal": ROLE, "functions": ["deliver"]}]}),
        ("invokers", {"invokers": ["arn:aws:iam::123456789012:role/x"]}),
        ("throttle_routes", {"throttle_routes": {"GET /nowhere": {"rate_per_second": 1, "burst_requests": 1}}}),
        ("throttle_routes", {"throttle_routes": {"GET /message/ack": {"rate_per_second": 0, "burst_requests": 1}}}),
        ("throttle_routes", {"throttle_routes": {"GET /message/ack": {"rate_per_second": 1}}}),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_in_one_sentence(setting: str, overrides: dict[str, Any]) -> None:
    said = refusal(**overrides)
    assert names(said) >= {setting}
    assert "stage dev" in said
    assert "\n" not in said
    assert len(said) <= LONGEST
    assert not names(said) & (set(settings.Settings.model_fields) - set(overrides) - {setting, "stage", "domain_name"})


def test_the_context_of_the_command_line_overrides_settings_and_the_cdks_own_is_left_alone() -> None:
    context = {**json.loads(settings.CDK_JSON.read_text())["context"], "stage": "prod", "retention_days": "30", "cors_origins": "[]"}
    cdks = {"aws:cdk:enable-path-metadata": True, "@aws-cdk/core:bootstrapQualifier": "parley", "availability-zones:account=1:region=x": []}
    assert settings.given(context | cdks) == {"stage": "prod", "retention_days": 30, "cors_origins": []}


@pytest.mark.parametrize(("name", "hint"), [("retention_day", "did you mean retention_days?"), ("zzz", "there are access_log, alarm_")])
def test_a_setting_of_the_command_line_that_is_none_is_refused(name: str, hint: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(f"-c {name}: no such setting, {hint}")):
        settings.given({"stage": "dev", name: "1"})


@pytest.mark.parametrize("stage", ["production", "", "Dev", "dev "])
def test_an_unknown_stage_is_refused_with_those_that_there_are(stage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cdk_json = json.loads(settings.CDK_JSON.read_text())
    cdk_json["context"]["stage"] = stage  # what counts where no stage is named
    (tmp_path / "cdk.json").write_text(json.dumps(cdk_json))
    monkeypatch.setattr(settings, "CDK_JSON", tmp_path / "cdk.json")
    for said in (refusal(None), refusal(stage)):
        assert repr(stage) in said
        assert all(known in said for known in ("local", "dev", "prod"))
        assert "\n" not in said


def test_a_setting_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cdk_json = json.loads(settings.CDK_JSON.read_text())
    del cdk_json["context"]["defaults"]["push_limit_members"]
    (tmp_path / "cdk.json").write_text(json.dumps(cdk_json))
    monkeypatch.setattr(settings, "CDK_JSON", tmp_path / "cdk.json")
    said = refusal()
    assert "push_limit_members" in names(said)
    assert len(said) <= LONGEST


def test_retention_may_be_as_long_as_the_dedup_window_or_switched_off() -> None:
    assert settings.load("dev", retention_days=15, dedup_window_hours=15 * 24).retention_days == 15
    assert settings.load("dev", retention_days=0, dedup_window_hours=48).retention_days == 0


def test_a_message_outlives_the_dead_letter_that_may_still_deliver_it() -> None:
    assert "14.5" in refusal(retention_days=14)
    assert settings.load("dev", retention_days=15).retention_days == 15


def test_a_request_may_be_as_large_as_one_message() -> None:
    assert "message_limit_bytes" in refusal(request_limit_bytes=32_767)
    assert settings.load("dev", request_limit_bytes=32_768).request_limit_bytes == 32_768


def test_a_stage_overrides_the_defaults_and_keeps_the_rest() -> None:
    dev, prod = settings.load("dev"), settings.load("prod")
    assert (dev.keep_data, prod.keep_data) == (False, True)
    assert dev.dedup_window_hours == prod.dedup_window_hours == 24
    assert settings.load().stage == "dev"


@pytest.mark.parametrize(
    "key",
    [
        "aws",
        "own",
        "arn:aws:kms:eu-central-1:123456789012:key/12345678-90ab-cdef-1234-567890abcdef",
        "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-1234567890abcdef1234567890abcdef",
    ],
)
def test_a_key_is_that_of_aws_the_stacks_own_or_an_existing_one(key: str) -> None:
    assert settings.load("prod", kms=key).kms == key


def test_production_has_its_own_key_alarms_and_protected_data() -> None:
    prod = settings.load("prod")
    assert (prod.kms, prod.alarms, prod.keep_data) == ("own", True, True)
