"""POST|PUT /message/send."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from messaging.base import settings
from messaging.conversations.models import MAX_TARGETS
from tests.endpoints.refusals import assert_refused
from tests.world import World

LARGEST = 2**53 - 1
INT64 = 2**63 - 1
LIMIT = 32 * 1024  # bytes of content, attachment, config and ext together
NO_INTEGERS: list[Any] = [True, False, 1.0, 1.5, "", "one", "1.0", "1e0", "0x1", "١", [], [1], {}]
NO_IDS: list[Any] = [*NO_INTEGERS, 0, -1, LARGEST + 1, "0", "-1", str(LARGEST + 1), "9" * 30, 10**30]


def _dedup_rows(world: World) -> int:
    return len(world.rows("Dedup"))


# --- storing and numbering


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_a_message_is_in_both_histories_and_unread_for_the_recipient(world: World, alice: int, bob: int, verb: str) -> None:
    assert world.post(alice, [bob], verb=verb, content="hi") == {"code": 200, "data": True, "message": None, "msg_ids": [1]}
    assert world.contents(alice, bob) == world.contents(bob, alice) == ["hi"]
    world.drain()
    assert world.unread(bob) == {alice: 1}
    assert world.unread(alice) == {bob: 0}


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_a_group_message_is_stored_once_and_unread_for_every_other_member(
    world: World, alice: int, bob: int, carol: int, verb: str
) -> None:
    group = world.group(alice, bob, carol)
    assert world.post(alice, [group], verb=verb, type=2) == {"code": 200, "data": True, "message": None, "msg_ids": [1]}
    assert len(world.rows("Messages")) == 1
    world.drain()
    assert [world.unread(member) for member in (alice, bob, carol)] == [{group: 0}, {group: 1}, {group: 1}]


def test_both_sides_of_a_conversation_share_one_numbering_without_a_gap(world: World, alice: int, bob: int) -> None:
    sent = [world.send(*pair)[0] for pair in [(alice, [bob]), (bob, [alice]), (bob, [alice]), (alice, [bob])]]
    assert sent == [1, 2, 3, 4]


def test_every_conversation_has_a_numbering_of_its_own(world: World, alice: int, bob: int, carol: int) -> None:
    group = world.group(alice, bob)
    assert world.send(alice, [bob]) == world.send(alice, [carol]) == world.send(bob, [carol]) == [world.say(alice, group)] == [1]


def test_msg_ids_line_up_with_the_targets(world: World, alice: int, bob: int, carol: int) -> None:
    world.send(alice, [bob])
    world.send(bob, [alice])
    assert world.send(alice, [carol, bob]) == [1, 3]
    assert world.send(alice, [bob, carol]) == [4, 2]


def test_msg_ids_line_up_with_the_groups(world: World, alice: int) -> None:
    one, other = world.group(alice), world.group(alice)
    world.say(alice, other)
    assert world.send(alice, [other, one], type=2) == [2, 1]


def test_a_repeated_target_counts_once(world: World, alice: int, bob: int, carol: int) -> None:
    world.send(alice, [bob])
    assert world.send(alice, [bob, carol, str(bob), carol, bob]) == [2, 1, 2, 1, 2]
    assert len(world.rows("Messages")) == 3


def test_a_message_to_oneself_is_stored_and_never_unread(world: World, alice: int) -> None:
    assert world.send(alice, [alice], content="note") == [1]
    assert world.contents(alice, alice) == ["note"]
    world.drain()
    assert world.unread(alice) == {alice: 0}


def test_oneself_may_be_among_the_targets(world: World, alice: int, bob: int) -> None:
    assert world.send(alice, [bob, alice]) == [1, 1]
    world.drain()
    assert world.unread(alice) == {alice: 0, bob: 0}


def test_a_message_is_stored_as_it_was_sent(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob], content_type=1, content="look", attachment='{"w": 1}', config="c", ext="e")
    (row,) = world.rows("Messages")
    expected = {"conversation": f"demo#user#{alice}#{bob}", "msg_id": 1, "sender": alice, "ctype": 1}
    assert row == row | expected | {"content": "look", "attachment": '{"w": 1}', "config": "c", "ext": "e"}


def test_unknown_fields_are_ignored(world: World, alice: int, bob: int) -> None:
    assert world.send(alice, [bob], colour="red", msg_id=77, **{"": {"is_system": [True]}}) == [1]
    assert world.contents(bob, alice) == ["hello"]


def test_a_field_that_is_null_counts_as_absent(world: World, alice: int, bob: int) -> None:
    assert world.send(alice, [bob], attachment=None, config=None, ext=None, from_user_id=None, transaction_id=None) == [1]


def test_without_a_content_type_it_is_a_text(world: World, alice: int, bob: int) -> None:
    body = {"type": 1, "targets": [bob], "content": "hi"}
    assert world.call("POST", "/message/send", world.token(alice), body=body)["msg_ids"] == [1]
    assert world.history(alice, bob)["messages"][0]["ctype"] == "TEXT"


def test_numeric_strings_count_as_the_integers_that_they_spell(world: World, alice: int, bob: int) -> None:
    fields = {"type": "1", "content_type": "6", "from_user_id": str(alice), "transaction_id": "7"}
    assert world.post(alice, [str(bob)], **fields) == {"code": 200, "data": True, "message": None, "msg_ids": [1]}
    assert world.send(alice, [bob], content_type=6, transaction_id=7) == [1]
    assert len(world.rows("Messages")) == 1


def test_the_largest_id_loses_no_digit(world: World, alice: int) -> None:
    far = world.user(number=LARGEST)
    world.send(far, [alice])
    assert world.history(alice, far)["messages"][0]["from_xid"]["uid"] == LARGEST
    world.drain()
    assert world.unread(alice) == {LARGEST: 1}


# --- targets


def test_500_targets_are_accepted(world: World, alice: int) -> None:
    users = [world.user(number=5000 + n) for n in range(MAX_TARGETS)]
    assert MAX_TARGETS == 500
    assert world.send(alice, users) == [1] * 500
    assert len(world.rows("Messages")) == 500


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_more_than_500_targets_are_refused(world: World, alice: int, verb: str) -> None:
    assert_refused(world, 12005, "targets", lambda: world.post(alice, list(range(1, 502)), verb=verb))


def test_unknown_users_are_refused_by_name_and_nothing_is_sent(world: World, alice: int, bob: int) -> None:
    assert_refused(world, 10000, "777777, 888888", lambda: world.post(alice, [bob, 888888, 777777]))


def test_unknown_groups_are_refused_by_name_and_nothing_is_sent(world: World, alice: int) -> None:
    group = world.group(alice)
    assert_refused(world, 20001, "777777, 888888", lambda: world.post(alice, [group, 888888, 777777], type=2))


def test_groups_without_membership_are_refused_by_name_and_nothing_is_sent(world: World, alice: int, bob: int) -> None:
    own, one, other = world.group(alice), world.group(bob), world.group(bob)
    assert_refused(world, 20002, f"{one}, {other}", lambda: world.post(alice, [own, one, other], type=2))


def test_who_has_left_a_group_is_no_member(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.leave(group, bob)
    assert_refused(world, 20002, group, lambda: world.post(bob, [group], type=2))


def test_a_group_is_no_user(world: World, alice: int) -> None:
    group = world.group(alice)
    assert_refused(world, 10000, group, lambda: world.post(alice, [group], type=1))


def test_a_user_is_no_group(world: World, alice: int, bob: int) -> None:
    assert_refused(world, 20001, bob, lambda: world.post(alice, [bob], type=2))


def test_a_number_without_a_user_is_refused_even_if_a_conversation_row_names_it(world: World, alice: int, bob: int) -> None:
    group = world.group(bob)
    world.send(alice, [bob])
    world.drain()
    assert_refused(world, 20001, alice, lambda: world.post(bob, [alice], type=2))
    assert_refused(world, 10000, group, lambda: world.post(bob, [group], type=1))


# --- fields


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("type", [*NO_INTEGERS, None, 0, 3, -1, 10**30]),
        ("targets", [None, [], {}, 7, "7", True, *([value] for value in [*NO_IDS, None])]),
        ("content_type", [*NO_INTEGERS, -1, 8, "TEXT", 10**30]),
        ("content", [7, True, 1.5, [], {}, ["x"]]),
        ("attachment", [7, True, 1.5, [], {"url": "x"}]),
        ("config", [7, True, 1.5, [], {}]),
        ("ext", [7, True, 1.5, [], {}]),
        ("from_user_id", [value for value in NO_IDS if value not in (0, "0")]),
        (
            "transaction_id",
            [
                True,
                1.0,
                1.5,
                "",
                "١",
                [],
                [1],
                {},
                INT64 + 1,
                -INT64 - 2,
                10**30,
                "x" * 65,
                "9" * 65,
                "a b",
                "a#1",
                "1#send#7",
                "a\n",
                "ä",
                "+1",
            ],
        ),
    ],
)
def test_a_field_of_the_wrong_type_or_out_of_range_is_refused_by_name(
    world: World, alice: int, bob: int, field: str, wrong: list[Any]
) -> None:
    requests = [partial(world.post, alice, **{"targets": [bob]} | {field: value}) for value in wrong]
    assert_refused(world, 10002, field, *requests)


@pytest.mark.parametrize("verb", ["POST", "PUT"])
@pytest.mark.parametrize("field", ["type", "targets", "content"])
def test_a_missing_field_is_refused_by_name(world: World, alice: int, bob: int, verb: str, field: str) -> None:
    body = {"type": 1, "targets": [bob], "content_type": 0, "content": "hello"}
    del body[field]
    assert_refused(world, 10002, field, lambda: world.call(verb, "/message/send", world.token(alice), body=body))


@pytest.mark.parametrize("content", [None, ""])
def test_a_text_needs_content(world: World, alice: int, bob: int, content: str | None) -> None:
    assert_refused(world, 10002, "content", lambda: world.post(alice, [bob], content_type=0, content=content, attachment="x"))


@pytest.mark.parametrize("attachment", [None, ""])
@pytest.mark.parametrize("content_type", [1, 2, 3, 4])
def test_image_audio_video_and_file_need_an_attachment(
    world: World, alice: int, bob: int, content_type: int, attachment: str | None
) -> None:
    assert_refused(world, 10002, "attachment", lambda: world.post(alice, [bob], content_type=content_type, attachment=attachment))


@pytest.mark.parametrize(
    ("content_type", "name", "fields"),
    [
        (0, "TEXT", {"content": "x"}),
        (1, "IMAGE", {"attachment": "x"}),
        (2, "AUDIO", {"attachment": "x"}),
        (3, "VIDEO", {"attachment": "x"}),
        (4, "FILE", {"attachment": "x"}),
        (5, "LOCATION", {}),
        (6, "COMMAND", {}),
        (7, "FORWARD", {}),
    ],
)
def test_each_content_type_needs_no_more_than_its_own_field(
    world: World, alice: int, bob: int, content_type: int, name: str, fields: dict[str, str]
) -> None:
    world.send(alice, [bob], **{"content": None, "content_type": content_type} | fields)
    assert world.history(bob, alice)["messages"][0]["ctype"] == name


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "x" * LIMIT},
        {"content": "ü" * (LIMIT // 2)},
        {"content": "🙂" * (LIMIT // 4)},
        dict.fromkeys(("content", "attachment", "config", "ext"), "x" * (LIMIT // 4)),
    ],
    ids=["ascii", "two bytes each", "four bytes each", "four fields"],
)
def test_32_kib_of_text_is_accepted_and_one_byte_more_is_not(world: World, alice: int, bob: int, fields: dict[str, str]) -> None:
    assert world.send(alice, [bob], **fields) == [1]
    longer = [fields | {name: text + "x"} for name, text in fields.items()]
    assert_refused(world, 50003, LIMIT, *(partial(world.post, alice, [bob], **fields) for fields in longer))


def test_the_size_limit_is_a_setting(world: World, alice: int, bob: int) -> None:
    os.environ["MESSAGE_LIMIT_BYTES"] = "5"
    settings.settings.cache_clear()
    assert world.send(alice, [bob], content="12345") == [1]
    assert_refused(world, 50003, "content", lambda: world.post(alice, [bob], content="123456"))


# --- transaction_id


@pytest.mark.parametrize(("first", "second"), [("POST", "POST"), ("PUT", "PUT"), ("POST", "PUT"), ("PUT", "POST")])
def test_repeating_a_transaction_id_stores_nothing_new(world: World, alice: int, bob: int, first: str, second: str) -> None:
    reply = world.post(alice, [bob], verb=first, transaction_id=7)
    assert world.post(alice, [bob], verb=second, transaction_id=7) == reply  # which finds it done, and notes that
    before = world.snapshot()
    assert world.post(alice, [bob], verb=second, transaction_id=7) == reply == {"code": 200, "data": True, "message": None, "msg_ids": [1]}
    assert world.snapshot() == before


def test_repeating_a_batch_stores_nothing_new(world: World, alice: int, bob: int, carol: int) -> None:
    world.send(alice, [bob])
    reply = world.post(alice, [carol, bob, carol], transaction_id=7)
    assert world.post(alice, [carol, bob, carol], transaction_id=7) == reply  # which finds it done, and notes that
    before = world.snapshot()
    assert world.post(alice, [carol, bob, carol], transaction_id=7) == reply
    assert reply["msg_ids"] == [1, 2, 1]
    assert world.snapshot() == before


def test_a_repeat_gets_the_first_reply_whatever_was_sent_since(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob], transaction_id=7)
    world.send(bob, [alice])
    assert world.send(alice, [bob], transaction_id=7) == [1]
    assert world.send(alice, [bob]) == [3]


def test_a_repeat_gets_the_first_reply_also_after_leaving_the_group(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(bob, group, transaction_id=7)
    world.leave(group, bob)
    assert world.say(bob, group, transaction_id=7) == 1
    assert len(world.rows("Messages")) == 1


def test_after_24_hours_who_has_left_the_group_is_refused_like_anybody(
    world: World, alice: int, bob: int, later: Callable[[float], None]
) -> None:
    group = world.group(alice, bob)
    world.say(bob, group, transaction_id=7)
    world.leave(group, bob)
    later(86_401)
    assert _dedup_rows(world) == 1
    assert world.post(bob, [group], type=2, transaction_id=7)["code"] == 20002


@pytest.mark.parametrize(
    "other",
    [{"content": "other"}, {"attachment": "a"}, {"attachment": ""}, {"config": "c"}, {"ext": "e"}, {"content_type": 6}],
    ids=lambda other: f"{other}",
)
def test_the_same_transaction_id_with_other_content_is_refused(world: World, alice: int, bob: int, other: dict[str, Any]) -> None:
    world.send(alice, [bob], transaction_id=7)
    assert_refused(world, 50002, "transaction_id", lambda: world.post(alice, [bob], transaction_id=7, **other))


def test_the_same_transaction_id_with_other_targets_is_refused(world: World, alice: int, bob: int, carol: int) -> None:
    group = world.group(alice)
    world.send(alice, [bob], transaction_id=7)
    others: list[dict[str, Any]] = [{"targets": [carol]}, {"targets": [bob, carol]}, {"targets": [group], "type": 2}]
    assert_refused(world, 50002, "transaction_id", *(partial(world.post, alice, transaction_id=7, **other) for other in others))


def test_a_refused_request_does_not_use_up_its_transaction_id(world: World, alice: int, bob: int) -> None:
    foreign = world.group(bob)
    refused: list[tuple[int, dict[str, Any]]] = [
        (10002, {"targets": [bob], "content": ""}),
        (50003, {"targets": [bob], "content": "x" * (LIMIT + 1)}),
        (12005, {"targets": [bob] * 501}),
        (10000, {"targets": [bob, 777777]}),
        (20001, {"targets": [777777], "type": 2}),
        (20002, {"targets": [foreign], "type": 2}),
        (10010, {"targets": [bob], "from_user_id": bob}),
    ]
    for code, fields in refused:
        assert_refused(world, code, "", partial(world.post, alice, transaction_id=7, **fields))
    assert world.send(alice, [bob], transaction_id=7) == [1]


def test_a_clash_does_not_disturb_the_first_request(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob], transaction_id=7)
    assert world.post(alice, [bob], transaction_id=7, content="other")["code"] == 50002
    assert world.send(alice, [bob], transaction_id=7) == [1]


@pytest.mark.parametrize("unset", [0, None, "0"])
def test_a_transaction_id_of_0_or_null_deduplicates_nothing(world: World, alice: int, bob: int, unset: int | str | None) -> None:
    assert [world.send(alice, [bob], transaction_id=unset) for _ in range(2)] == [[1], [2]]
    assert _dedup_rows(world) == 0


def test_without_a_transaction_id_nothing_is_deduplicated(world: World, alice: int, bob: int) -> None:
    assert [world.send(alice, [bob]) for _ in range(2)] == [[1], [2]]
    assert _dedup_rows(world) == 0


@pytest.mark.parametrize("number", [1, -1, LARGEST + 2, INT64, -INT64 - 1, "5", "-5", str(INT64), "007"])
def test_every_other_integer_is_a_transaction_id(world: World, alice: int, bob: int, number: int | str) -> None:
    assert [world.send(alice, [bob], transaction_id=number) for _ in range(2)] == [[1], [1]]
    assert world.post(alice, [bob], transaction_id=number, content="other")["code"] == 50002
    assert len(world.rows("Messages")) == 1


@pytest.mark.parametrize("text", ["8f14e45f-ceea-467f-ab5c-2b5d5a6e1a11", "order:7", "a.b_C-1", "x" * 64, "-", str(INT64 + 1), "9" * 64])
def test_a_string_is_a_transaction_id(world: World, alice: int, bob: int, text: str) -> None:
    assert [world.send(alice, [bob], transaction_id=text) for _ in range(2)] == [[1], [1]]
    assert world.post(alice, [bob], transaction_id=text, content="other")["code"] == 50002
    assert world.send(alice, [bob], transaction_id=text.swapcase() + "_"[: 64 - len(text)] if len(text) < 64 else "y") == [2]


@pytest.mark.parametrize(("one", "other"), [("007", 7), ("-7", -7), (str(INT64), INT64), ("0" * 70 + "7", 7)])
def test_a_string_of_digits_is_the_integer_that_it_spells(world: World, alice: int, bob: int, one: str, other: int) -> None:
    assert [world.send(alice, [bob], transaction_id=each) for each in (one, other)] == [[1], [1]]


def test_a_request_writes_at_most_2_mib_over_all_its_targets(world: World, alice: int, bob: int, carol: int) -> None:
    os.environ["REQUEST_LIMIT_BYTES"] = "20"
    settings.settings.cache_clear()
    assert world.send(alice, [bob, carol, bob], content="x" * 10) == [1, 1, 1]
    with world.calls() as calls:
        assert_refused(world, 50003, 20, lambda: world.post(alice, [bob, carol], content="x" * 11))
    asked = {str(call.request) for call in calls if "TableName" in call.request or "RequestItems" in call.request}
    assert not [call for call in asked if str(bob) in call and "Scan" not in call and "Key" in call]


def test_a_transaction_id_counts_per_sender(world: World, alice: int, bob: int, carol: int) -> None:
    assert world.send(alice, [carol], transaction_id=7) == world.send(bob, [carol], transaction_id=7) == [1]
    assert len(world.rows("Messages")) == 2


def test_a_transaction_id_belongs_to_the_sender_whoever_sends_in_its_name(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob], transaction_id=7)
    body = {"type": 1, "targets": [bob], "content": "hello", "from_user_id": alice, "transaction_id": 7}
    assert world.call("POST", "/message/send", world.admin(), body=body)["msg_ids"] == [1]
    assert len(world.rows("Messages")) == 1


def test_a_transaction_id_counts_per_app(world: World) -> None:
    world.app("other")
    for app in ("demo", "other"):
        for number in (7001, 7002):
            world.user(app=app, number=number)
    assert world.send(7001, [7002], transaction_id=7, content="here") == [1]
    assert world.send(7001, [7002], transaction_id=7, content="there", app="other") == [1]


def test_a_transaction_id_is_free_again_after_24_hours_with_its_row_still_there(
    world: World, alice: int, bob: int, later: Callable[[float], None]
) -> None:
    world.send(alice, [bob], transaction_id=7)
    later(86_400 - 10)
    assert world.send(alice, [bob], transaction_id=7) == [1]
    later(11)
    assert _dedup_rows(world) == 1
    assert world.send(alice, [bob], transaction_id=7, content="other") == [2]
    assert world.send(alice, [bob], transaction_id=7, content="other") == [2]
    assert world.contents(bob, alice) == ["hello", "other"]


def test_the_same_request_after_24_hours_is_a_new_message(world: World, alice: int, bob: int, later: Callable[[float], None]) -> None:
    world.send(alice, [bob], transaction_id=7)
    later(86_401)
    assert world.send(alice, [bob], transaction_id=7) == [2]
    assert world.send(alice, [bob], transaction_id=7) == [2]


def test_the_dedup_window_is_a_setting(world: World, alice: int, bob: int, later: Callable[[float], None]) -> None:
    os.environ["DEDUP_WINDOW_SECONDS"] = "60"
    settings.settings.cache_clear()
    world.send(alice, [bob], transaction_id=7)
    later(61)
    assert world.send(alice, [bob], transaction_id=7) == [2]


@pytest.mark.parametrize("zero", [0, "0"])
def test_a_from_user_id_of_0_is_not_set(world: World, alice: int, bob: int, zero: Any) -> None:
    assert world.send(alice, [bob], from_user_id=zero) == [1]
    assert world.history(bob, alice)["messages"][0]["from_xid"]["uid"] == alice
