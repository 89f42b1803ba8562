"""Pure decisions: which marks a delivery moves, what is unread, what may be sent."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messaging.base.errors import ApiError, Code
from messaging.conversations import rules
from messaging.conversations.rules import COMMAND, TEXT, Marks, News, Skip

EXAMPLES = 500
seqs = st.integers(0, 12)


@st.composite
def deliveries(draw: st.DrawFn) -> News:
    last = draw(st.integers(1, 12))
    own = tuple(Skip(seq) for seq in sorted(draw(st.sets(st.integers(1, last)))))
    return News(last, last * 10, draw(st.integers(0, last).map(command)), own)


def command(seq: int) -> Skip:
    """The sum is about what one of that number may be."""
    return Skip(seq, seq // 2, 1, True) if seq else Skip()


def fan_outs() -> st.SearchStrategy[News]:
    return deliveries().map(lambda news: News(news.last_seq, news.last_at, news.skip))


marks = st.builds(
    lambda last, read, fetched, skip, cut, join: Marks(last, last * 10, read, fetched, skip, cut, join, uncounted=skip // 2),
    *[seqs] * 6,
)


def moved(news: News, before: Marks) -> Marks:
    skip_sum = {"seq": before.skip_seq, "uncounted": before.uncounted, "chain": before.chain}
    row = {name: getattr(before, name) for name in before.__slots__}
    return rules.marks_of({**row, "skip_sum": skip_sum, **rules.moves(news, before)})


@settings(max_examples=EXAMPLES)
@given(deliveries(), marks)
def test_a_delivery_never_moves_a_mark_back(news: News, before: Marks) -> None:
    marks_ = {name: value for name, value in rules.moves(news, before).items() if name in rules.WATERMARKS}
    assert all(value > getattr(before, name) for name, value in marks_.items() if name != "last_at")
    assert moved(news, before).last_at >= before.last_at


@settings(max_examples=EXAMPLES)
@given(deliveries(), marks)
def test_a_repeated_delivery_moves_nothing(news: News, before: Marks) -> None:
    after = moved(news, before)
    assert after.last_seq == max(before.last_seq, news.last_seq)
    assert not rules.moves(News(news.last_seq, news.last_at, news.skip), after)


@settings(max_examples=EXAMPLES)
@given(fan_outs(), fan_outs(), fan_outs())
def test_merging_fan_outs_takes_the_newest_of_each_in_any_order(one: News, two: News, three: News) -> None:
    assert one.merge(two) == two.merge(one)
    assert one.merge(two).merge(three) == one.merge(two.merge(three))
    assert one.merge(one) == one


@settings(max_examples=EXAMPLES)
@given(fan_outs(), fan_outs(), marks)
def test_two_fan_outs_at_once_are_as_one_after_the_other(one: News, two: News, before: Marks) -> None:
    assert moved(one.merge(two), before) == moved(two, moved(one, before)) == moved(one, moved(two, before))


def skipped(seq: int, uncounted: int = 0) -> dict[str, Any]:
    return {"skip_seq": seq, "skip_sum": {"seq": seq, "uncounted": uncounted, "chain": 1}}


@pytest.mark.parametrize(
    ("before", "news", "expected"),
    [
        (Marks(), News(1, 10), {"last_seq": 1, "last_at": 10}),
        (Marks(), News(1, 10, own=(Skip(1),)), {"last_seq": 1, "last_at": 10, "read_seq": 1}),
        (Marks(1, 10), News(2, 20, own=(Skip(2),)), {"last_seq": 2, "last_at": 20, "own": [2], **skipped(2)}),
        (Marks(1, 10), News(2, 20, own=(Skip(2, 1, 1, True),)), {"last_seq": 2, "last_at": 20, **skipped(2, 1)}),
        (Marks(1, 10, read_seq=1), News(3, 30, own=(Skip(2), Skip(3))), {"last_seq": 3, "last_at": 30, "read_seq": 3}),
        (Marks(4, 40, join_seq=4), News(5, 50, own=(Skip(5),)), {"last_seq": 5, "last_at": 50, "read_seq": 5}),
        (Marks(1, 10), News(2, 20, command(2)), {"last_seq": 2, "last_at": 20, **skipped(2, 1)}),
        (Marks(9, 90), News(8, 80, command(8)), skipped(8, 4)),
        (Marks(9, 90, read_seq=9), News(8, 80, own=(Skip(8),)), {}),
        (Marks(9, 90), News(8, 80), {}),
        (Marks(9, 90, skip_seq=9, own=(7, 9)), News(8, 80, own=(Skip(8),)), {"own": [7, 8, 9]}),
        (Marks(9, 90, skip_seq=9, own=(8, 9)), News(8, 80, own=(Skip(8),)), {}),
        (Marks(9, 90, read_seq=7, skip_seq=8, own=(5, 7, 8)), News(9, 90, own=(Skip(9),)), {"own": [8, 9], **skipped(9)}),
        (Marks(9, 90, skip_seq=9, count_seq=8), News(8, 80, own=(Skip(8),)), {}),
        (
            Marks(8, 80, skip_seq=7, count_seq=7, chain=8),
            News(9, 90, command(9)),
            {"last_seq": 9, "last_at": 90, "count_seq": 7, **skipped(9, 4)},
        ),
        (Marks(9, 90, skip_seq=9, uncounted=1, chain=9), News(8, 80, command(8)), {"count_seq": 8}),
        (
            Marks(8, 80, skip_seq=8, uncounted=1, chain=8),
            News(9, 90, command(9)),
            {"last_seq": 9, "last_at": 90, "count_seq": 8, **skipped(9, 4)},
        ),
    ],
    ids=[
        "the first message",
        "one's own first message is read",
        "one's own message after an unread one is remembered",
        "one's own command is in the sum",
        "one's own messages after read ones are read",
        "one's own first message in a group is read",
        "a command does not count",
        "an old command may still be news",
        "one's own message, read already",
        "an older message",
        "one's own message may come late",
        "one's own message, once more",
        "what is read need not be remembered",
        "what is counted in the log need not be remembered",
        "what was skipped without a word is left to the log",
        "an old command of another chain is left to the log",
        "and one that is known already",
    ],
)
def test_what_a_delivery_changes_of_a_row(before: Marks, news: News, expected: dict[str, Any]) -> None:
    assert rules.moves(news, before) == expected


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        (Marks(), 0),
        (Marks(last_seq=3), 3),
        (Marks(last_seq=3, read_seq=2), 1),
        (Marks(last_seq=3, cut_seq=3), 0),
        (Marks(last_seq=5, join_seq=4), 1),
        (Marks(last_seq=5, read_seq=7), 0),
        (Marks(last_seq=5, read_seq=3, skip_seq=3), 2),
        (Marks(last_seq=5, read_seq=3, skip_seq=4), None),
        (Marks(last_seq=5, read_seq=5, skip_seq=6), 0),
        (Marks(last_seq=5, read_seq=1, cut_seq=2, join_seq=3), 2),
    ],
)
def test_unread_is_one_subtraction_unless_something_after_the_floor_does_not_count(marks: Marks, expected: int | None) -> None:
    assert rules.unread(marks) == expected


@pytest.mark.parametrize(
    ("msg_id", "expected"), [(2, "READ"), (3, "READ"), (4, "DELIVERED"), (5, "DELIVERED"), (6, "UNREAD")], ids=lambda value: str(value)
)
def test_a_message_is_read_before_it_is_delivered_before_it_is_unread(msg_id: int, expected: str) -> None:
    assert rules.status(msg_id, Marks(read_seq=3, fetched_seq=5)) == expected


@pytest.mark.parametrize(
    ("row", "head", "count_seq"),
    [((9, 9), (5, 2, 0), 5), ((5, 2), (9, 9, 0), 5), ((9, 2), (5, 2, 4), 4), ((5, 2), (9, 2, 7), 7)],
    ids=["the head's is older", "the row's is older", "the head leaves some to the log", "more than the row knows of"],
)
def test_a_head_and_a_row_leave_both_their_older_chains_to_the_log(
    row: tuple[int, int], head: tuple[int, int, int], count_seq: int
) -> None:
    (seq, chain), (head_seq, head_chain, counted) = row, head
    both = rules.with_head(Marks(9, 90, skip_seq=seq, chain=chain), Marks(9, 90, skip_seq=head_seq, chain=head_chain, count_seq=counted))
    assert (both.skip_seq, both.chain, both.count_seq) == (9, max(chain, head_chain), count_seq)


def test_only_marks_that_lie_ahead_are_moved() -> None:
    assert rules.ahead({"read_seq": 3, "cut_seq": 3}, Marks(read_seq=3, cut_seq=2)) == {"cut_seq": 3}


def test_the_marks_of_a_row_leave_its_other_attributes_alone() -> None:
    assert rules.marks_of({"reader": "demo#7", "chat": "user", "read_seq": 3}) == Marks(read_seq=3)


parts = st.fixed_dictionaries({name: st.none() | st.text(max_size=3) for name in ("content", "attachment")})


@settings(max_examples=EXAMPLES)
@given(parts, parts)
def test_a_digest_is_equal_exactly_for_equal_requests(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (rules.digest(one) == rules.digest(other)) == (one == other)


def test_a_digest_does_not_depend_on_the_order_of_the_fields() -> None:
    assert rules.digest({"a": 1, "b": 2}) == rules.digest({"b": 2, "a": 1})


def test_a_digest_keeps_a_number_and_its_spelling_apart() -> None:
    assert rules.digest({"targets": [1]}) != rules.digest({"targets": ["1"]})


NOTHING: dict[str, str | None] = dict.fromkeys(rules.PARTS)


@pytest.mark.parametrize("content", [None, ""])
def test_a_text_needs_a_content(content: str | None) -> None:
    with pytest.raises(ApiError, match="content") as refusal:
        rules.require_sendable(rules.TEXT, NOTHING | {"content": content, "attachment": "a"}, 100)
    assert refusal.value.code == Code.BAD_PARAMETER


@pytest.mark.parametrize("ctype", rules.WITH_ATTACHMENT)
@pytest.mark.parametrize("attachment", [None, ""])
def test_media_need_an_attachment(ctype: int, attachment: str | None) -> None:
    with pytest.raises(ApiError, match="attachment") as refusal:
        rules.require_sendable(ctype, NOTHING | {"content": "c", "attachment": attachment}, 100)
    assert refusal.value.code == Code.BAD_PARAMETER


@pytest.mark.parametrize("ctype", [rules.LOCATION, rules.COMMAND, rules.FORWARD])
def test_other_types_may_be_empty(ctype: int) -> None:
    rules.require_sendable(ctype, NOTHING, 100)


def test_the_limit_counts_the_utf_8_bytes_of_all_four_strings() -> None:
    full = dict.fromkeys(rules.PARTS, "é" * 5)
    rules.require_sendable(rules.TEXT, full, 40)
    with pytest.raises(ApiError, match="40 bytes") as refusal:
        rules.require_sendable(rules.TEXT, full, 39)
    assert refusal.value.code == Code.MESSAGE_TOO_LARGE


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([], 0), ([5], 1), ([11], 1), ([5, 5], 2), ([5, 6], 1), ([11, 1], 1), ([1, 1, 9], 2)],
    ids=str,
)
def test_a_page_holds_what_fits_and_at_least_one_message(sizes: list[int], expected: int) -> None:
    assert rules.fitting(sizes, budget=10) == expected


@pytest.mark.parametrize(
    ("before", "chain", "ctype", "after"),
    [
        (0, 1, TEXT, (0, 1)),
        (0, 1, COMMAND, (1, 1)),
        (4, 3, TEXT, (4, 3)),
        (4, 3, COMMAND, (5, 3)),
        (None, 3, TEXT, (0, 7)),
        (None, 1, COMMAND, (1, 7)),
    ],
)
def test_a_chain_sums_up_commands_and_begins_anew_where_the_sum_before_is_not_known(
    before: int | None, chain: int, ctype: int, after: tuple[int, int]
) -> None:
    assert rules.next_uncounted(before, chain, 7, ctype) == after
