"""The measure of delivery: that it finds a shard that does not keep up, and takes the time of what it models."""

from dataclasses import replace
from typing import Any

import pytest

from ops import cost
from ops.bench import delivery
from ops.bench.delivery import Load, by_lane, carried, lags
from ops.bench.deployed import Deployment
from workers import deliver

SMALL = Deployment(memory_mb=512, worker_mb=512, traced=False, lanes=1, window_s=0, stream_batch=100, queue_batch=10, access_line_bytes=0)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "RECORDS", 300)
    monkeypatch.setattr(delivery, "SECONDS", 2)


def test_a_lane_carries_what_its_share_of_a_core_allows() -> None:
    cpu_s = (2 * 100 * cost.CALL_CPU_MS + cost.REQUEST_CPU_MS) / 1000 / (512 / cost.VCPU_MB)  # of a batch: two rows for each record
    assert carried(Load(SMALL)) == pytest.approx(100 / cpu_s, rel=0.15)


def test_lanes_and_memory_carry_more() -> None:
    one = carried(Load(SMALL))
    assert carried(Load(replace(SMALL, worker_mb=1024))) > 1.8 * one
    assert carried(Load(replace(SMALL, lanes=3))) > 2 * one


def test_a_lonely_message_waits_for_the_poll_and_the_window() -> None:
    assert 0.1 < sum(found := lags(Load(SMALL))) / len(found) < 0.25
    assert sum(windowed := lags(Load(replace(SMALL, window_s=1)))) / len(windowed) > 0.5


def test_an_app_that_sends_more_than_a_shard_carries_is_seen_in_the_lag_of_others() -> None:
    alone, beside = lags(Load(SMALL)), lags(Load(SMALL, every_s=1))
    assert len(alone) == len(beside) == 2 * delivery.A_SECOND
    assert beside[-1] > 2 * alone[-1]


def test_the_same_load_gives_the_same_lags() -> None:
    assert lags(Load(SMALL)) == lags(Load(SMALL))


def test_what_fails_stops_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise ValueError

    monkeypatch.setattr(deliver, "_deliver", broken)
    with pytest.raises(RuntimeError, match="not everything was delivered"):
        lags(Load(SMALL))


def test_one_item_is_always_in_the_same_lane_and_no_record_is_lost() -> None:
    records = [delivery._record("demo#user#1#2", number, 1, 0) for number in range(50)]
    batches = by_lane(records * 2, 4)
    assert len(batches) == 4
    assert sum(map(len, batches)) == 100
    numbers = [{record["dynamodb"]["SequenceNumber"] for record in batch} for batch in batches]
    assert sum(map(len, numbers)) == 50
