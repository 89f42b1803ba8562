"""What is written down: as the functions' own logger writes it, in a process of its own."""

import json
import os
import re
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest

from infra.settings import ROOT
from messaging.base.telemetry import alias
from tests.infra.template import ENDPOINTS

LINE_BYTES = 200
REQUEST_ID = "11111111-2222-3333-4444-555555555555"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def written(script: str) -> list[str]:
    """The lines that a fresh process, traced as in Lambda, writes."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "functions"), "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"}
    program = f"import sys\nfrom messaging.base.telemetry import lag, logger\n{script}"
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def line(script: str) -> dict[str, Any]:
    (only,) = written(script)
    return dict(json.loads(only))


@pytest.mark.parametrize("operation", ENDPOINTS)
@pytest.mark.parametrize(("kid", "ms"), [("k1.1", 28_000), ("k6b03f2a4.1", 99)], ids=["the first key", "after a rotation"])
def test_the_line_of_a_success_is_at_most_200_bytes(operation: str, kid: str, ms: int) -> None:
    who = {"via": "http", "app": "demo", "kid": kid, "role": 2, "user": alias("f" * 32, 2**53 - 1)}
    extra = {"request_id": REQUEST_ID, "code": 200, "ms": ms, **who}
    (only,) = written(f"logger.info({operation!r}, extra={extra!r})")
    assert len(only.encode()) <= LINE_BYTES
    assert json.loads(only) == {"timestamp": json.loads(only)["timestamp"], "op": operation, **extra}


def test_a_user_has_one_name_in_the_log_for_each_app() -> None:
    names = {alias(secret, user) for secret in ("a" * 32, "b" * 32) for user in range(1, 1001)}
    assert len(names) == 2000
    assert alias("a" * 32, 7) == alias("a" * 32, 7)
    assert all(re.fullmatch("[0-9a-f]{8}", name) for name in names)


def test_lambda_understands_the_time_of_every_line_and_takes_one_without_a_level_for_info() -> None:
    told = line("logger.info('send')")
    assert "level" not in told
    assert RFC3339.fullmatch(told["timestamp"])
    assert abs(datetime.fromisoformat(told["timestamp"].replace("Z", "+00:00")).timestamp() - datetime.now().timestamp()) < 60


@pytest.mark.parametrize(("method", "level"), [("warning", "WARNING"), ("error", "ERROR"), ("critical", "CRITICAL")])
def test_a_line_above_info_says_so(method: str, level: str) -> None:
    told = line(f"logger.{method}('odd')")
    assert (told["level"], told["message"]) == (level, "odd")
    assert RFC3339.fullmatch(told["timestamp"])


def test_a_fault_is_one_line_at_error_level_with_its_traceback() -> None:
    told = line("try:\n    1 / 0\nexcept ZeroDivisionError:\n    logger.exception('unexpected', extra={'request_id': 'r'})")
    assert (told["level"], told["request_id"], told["exception_name"]) == ("ERROR", "r", "ZeroDivisionError")
    assert "line 4, in <module>\n" in told["exception"]
    assert told["exception"].endswith("\nZeroDivisionError\n")


@pytest.mark.parametrize(("since_ms", "lag_ms"), [(1_000, 500), (1_500, 0), (2_000, 0)], ids=["later", "at once", "by a clock ahead"])
def test_a_batch_tells_the_age_of_its_oldest_message_which_is_never_negative(since_ms: int, lag_ms: int) -> None:
    told = line(f"lag('deliver', 1_500, {since_ms}, records=3)")
    assert {**told, "timestamp": ""} == {"timestamp": "", "op": "deliver", "lag_ms": lag_ms, "records": 3}
