"""Wrong settings stop before anything is built, with one sentence that names the setting."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra import settings

LONGEST = 250  # characters that still read as one sentence


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
        ("retention_days", {"retention_days": 1, "dedup_window_hours": 48}),
        ("retenton_days", {"retenton_days": 7}),
        ("keep_data", {"keep_data": "yes"}),
        ("keep_data", {"keep_data": 1}),
        ("target", {"target": "arm"}),
        ("log_retention_days", {"log_retention_days": 2}),
        ("message_limit_bytes", {"message_limit_bytes": 400 * 1024}),
        ("endpoint_memory_mb", {"endpoint_memory_mb": 64}),
        ("throttle_rate_per_second", {"throttle_rate_per_second": 0}),
        ("dedup_window_hours", {"dedup_window_hours": 0}),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_in_one_sentence(setting: str, overrides: dict[str, Any]) -> None:
    said = refusal(**overrides)
    assert names(said) >= {setting}
    assert "stage dev" in said
    assert "\n" not in said
    assert len(said) <= LONGEST
    assert not names(said) & (set(settings.Settings.model_fields) - set(overrides) - {setting, "stage"})


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
    assert settings.load("dev", retention_days=1, dedup_window_hours=24).retention_days == 1
    assert settings.load("dev", retention_days=0, dedup_window_hours=48).retention_days == 0


def test_a_stage_overrides_the_defaults_and_keeps_the_rest() -> None:
    dev, prod = settings.load("dev"), settings.load("prod")
    assert (dev.keep_data, prod.keep_data) == (False, True)
    assert dev.dedup_window_hours == prod.dedup_window_hours == 24
    assert settings.load().stage == "dev"
