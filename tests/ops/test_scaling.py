"""The page on scaling says what the code's numbers say, for every quota that binds."""

from typing import Any

import pytest

from infra import settings
from ops import scaling
from ops.scaling import DOCUMENT, USERS, Row, document, rows


def found(**overrides: Any) -> dict[str, Row]:
    return {row.what: row for row in rows(settings.load("prod", **overrides))}


def test_the_page_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    scaling.main(write=False)
    assert capsys.readouterr().out == DOCUMENT.read_text()


def test_a_page_without_a_place_for_the_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place for table"):
        document(DOCUMENT.read_text().replace("<!-- table -->", ""))


def test_every_quota_tells_where_it_binds_how_it_is_raised_and_what_comes_then() -> None:
    for row in found().values():
        assert len(row.cells) == len(scaling.COLUMNS)
        assert all((row.what, row.most, row.cells[2], row.raised, row.then))


@pytest.mark.parametrize("quota", ["requests", "sockets", "invocations", "table", "partition", "shard", "fan-out", "SQS", "callbacks"])
def test_nothing_that_binds_is_left_out(quota: str) -> None:
    assert any(quota in what for what in found())


def test_what_a_quota_carries_is_reckoned_by_hand() -> None:
    api = found()["API Gateway, requests"]
    assert api.messages == pytest.approx(10_000 / 3)  # one send, one list, half a page and half a receipt
    assert api.cells[3] == "4,800,000"  # at 20 messages a day, three times as many in the busiest hour
    assert api.cells[4] == f"{USERS * 60 / 86_400 * 3 / 10_000:.2g} ×"
    assert found()["Inbox, a table"].messages == pytest.approx(40_000 / 3)  # two rows, half a fetched mark, half a read one


def test_settings_move_what_they_bound() -> None:
    usual, one = found(), found(deliver_lanes=1, fanout_max_concurrency=100, throttle_rate_per_second=2000)
    changed = {what for what in usual if usual[what] != one[what]}
    assert {"the stream, one shard", "fan-out to groups of 500", "requests of one route (our setting)"} <= changed
    assert one["requests of one route (our setting)"].messages == 2 * usual["requests of one route (our setting)"].messages
