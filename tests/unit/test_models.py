"""The shapes on the wire: what is accepted, what is refused, and what a client sees."""

from typing import Any

import pytest
from pydantic import ValidationError

from messaging.base import keys, wire
from messaging.base.errors import ApiError, Code
from messaging.conversations import models
from messaging.conversations.models import HistoryQuery, Message, SendRequest, UnreadQuery
from messaging.conversations.rules import Marks
from messaging.edge import ActingHeaders, AppHeader, DirectEvent
from messaging.people.models import Claims


def send(**fields: Any) -> SendRequest:
    return SendRequest.model_validate({"type": 1, "targets": [2], "content": "hi"} | fields)


@pytest.mark.parametrize(("spelled", "number"), [("1", 1), ("007", 7), ("9007199254740991", keys.MAX_ID)])
def test_a_numeric_string_counts_as_its_integer(spelled: str, number: int) -> None:
    assert send(targets=[spelled], from_user_id=spelled, transaction_id=spelled, type="1", content_type="0") == send(
        targets=[number], from_user_id=number, transaction_id=number
    )
    assert ActingHeaders.model_validate({"user_id": spelled, "group_id": spelled}) == ActingHeaders(user_id=number, group_id=number)
    assert HistoryQuery.model_validate({"opposite_id": spelled}).opposite_id == number


@pytest.mark.parametrize(
    "value", ["", " 1", "1 ", "+1", "1.0", "1e3", "0x1", "1_0", "١", "one", "-", "1" * 17, 1.0, True, None, [1], {}], ids=repr
)
def test_nothing_else_counts_as_an_integer(value: Any) -> None:
    with pytest.raises(ValidationError):
        send(targets=[value])


@pytest.mark.parametrize("number", [0, -1, keys.MAX_ID + 1, "0", "-1", str(keys.MAX_ID + 1)])
def test_an_id_is_between_1_and_the_largest_that_javascript_reads(number: int | str) -> None:
    with pytest.raises(ValidationError):
        send(targets=[number])


def test_a_send_has_up_to_500_targets() -> None:
    assert len(send(targets=list(range(1, 501))).targets) == 500
    with pytest.raises(ApiError) as refusal:
        send(targets=list(range(1, 502)))
    assert refusal.value.code == Code.TOO_MANY_TARGETS


@pytest.mark.parametrize("targets", [[], "2", 2, None, {"0": 2}], ids=repr)
def test_targets_are_a_list_that_is_not_empty(targets: Any) -> None:
    with pytest.raises(ValidationError):
        send(targets=targets)


@pytest.mark.parametrize(
    "field",
    [{"type": 0}, {"type": 3}, {"content_type": -1}, {"content_type": 8}, {"content": 5}, {"ext": {}}, {"content": "\ud800"}],
    ids=repr,
)
def test_a_field_of_the_wrong_kind_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        send(**field)


def test_unknown_fields_are_ignored() -> None:
    assert send(colour="red") == send()


def test_an_error_never_repeats_what_was_sent() -> None:
    with pytest.raises(ValidationError) as refusal:
        send(content=["secret"])
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("app_id", ["", "a" * 65, "a b", "a#b", "demo\n", "dém"], ids=repr)
def test_an_app_id_is_1_to_64_plain_characters(app_id: str) -> None:
    assert AppHeader.model_validate({"app_id": "a-Z_0" * 12 + "abcd"}).app_id
    with pytest.raises(ValidationError):
        AppHeader.model_validate({"app_id": app_id})


@pytest.mark.parametrize("cursor", ["", "1", "1-", "1-2-3", "-1-2", "a-b", "1-2\n"], ids=repr)
def test_a_cursor_is_one_that_we_gave_out(cursor: str) -> None:
    assert UnreadQuery.model_validate({"cursor": "1-2"}).cursor == "1-2"
    with pytest.raises(ValidationError):
        UnreadQuery.model_validate({"cursor": cursor})


def test_a_direct_event_needs_no_more_than_an_app() -> None:
    assert DirectEvent.model_validate({"app_id": "demo"}) == DirectEvent(app_id="demo", query={}, body={})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "1",
        '"{}"',
        "{} {}",
        "{}x",
        "{'a': 1}",
        '{"a": 1,}',
        '{"a": 1, "a": 1}',
        '{"b": {"a": 1, "a": 2}}',
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": -Infinity}',
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=lambda text: text[:20],
)
def test_json_that_can_be_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        wire.json_object(text)


def test_json_is_read_as_it_stands() -> None:
    assert wire.json_object(' {"a": [1, "ü", {"b": null}]}\n') == {"a": [1, "ü", {"b": None}]}


def test_a_refusal_of_json_never_quotes_it() -> None:
    with pytest.raises(ValueError, match=r".+") as refusal:
        wire.json_object('{"password" "secret"}')
    assert "secret" not in str(refusal.value)


def test_every_field_of_a_reply_has_a_flag_that_says_whether_it_carries_a_value() -> None:
    assert wire.flagged({"a": None, "b": 0, "c": []}) == {"a": None, "b": 0, "c": [], "set_a": False, "set_b": True, "set_c": True}


def test_a_page_tells_its_size_and_where_to_go_on() -> None:
    assert models.page_view([], 0) == {
        "is_last": True,
        "messages": [],
        "next_msg_id": 0,
        "set_is_last": True,
        "set_messages": True,
        "set_next_msg_id": True,
        "messages_iterator": {},
        "messages_size": 0,
    }
    assert models.page_view([{}], 7)["is_last"] is False
    assert models.page_view([{}], 7)["messages_size"] == 1


def message(sender: int, conversation: keys.Conversation) -> Message:
    return Message(conversation=conversation.key, msg_id=5, sent_at=10, sender=sender, ctype=0, written_by="n", content="hi")


def test_a_message_on_the_wire() -> None:
    view = models.message_view(message(1, keys.between("demo", 1, 2)), 2, Marks(), Marks())
    assert view == {
        "attachment": None,
        "config": None,
        "content": "hi",
        "ctype": "TEXT",
        "ext": None,
        "from_xid": {"uid": 1, "device_sn": 0, "set_uid": True, "set_device_sn": True},
        "msg_id": 5,
        "status": "UNREAD",
        "timestamp": 10,
        "to_xid": {"uid": 2, "device_sn": 0, "set_uid": True, "set_device_sn": True},
        "set_attachment": False,
        "set_config": False,
        "set_content": True,
        "set_ctype": True,
        "set_ext": False,
        "set_from_xid": True,
        "set_msg_id": True,
        "set_status": True,
        "set_timestamp": True,
        "set_to_xid": True,
        "is_system": False,
    }


READ, FETCHED = Marks(read_seq=5), Marks(fetched_seq=5)


@pytest.mark.parametrize(
    ("sender", "conversation", "own", "opposite", "expected"),
    [
        (2, keys.between("demo", 1, 2), READ, FETCHED, "READ"),
        (1, keys.between("demo", 1, 2), READ, FETCHED, "DELIVERED"),
        (1, keys.between("demo", 1, 1), READ, FETCHED, "READ"),
        (2, keys.group("demo", 9), READ, READ, "READ"),
        (2, keys.group("demo", 9), Marks(), Marks(), "UNREAD"),
        (1, keys.group("demo", 9), READ, READ, "DELIVERED"),
        (0, keys.system("demo", 1), READ, READ, "READ"),
        (0, keys.group("demo", 9), FETCHED, FETCHED, "DELIVERED"),
    ],
    ids=["theirs", "mine", "to myself", "theirs in a group", "new in a group", "mine in a group", "from the system", "from it in a group"],
)
def test_the_status_goes_by_the_marks_of_whoever_was_to_read(
    sender: int, conversation: keys.Conversation, own: Marks, opposite: Marks, expected: str
) -> None:
    assert models.message_view(message(sender, conversation), 1, own, opposite)["status"] == expected


@pytest.mark.parametrize(
    "claim",
    [
        {"role": 3},
        {"role": "1"},
        {"sub": "0"},
        {"sub": "01"},
        {"sub": 1},
        {"sub": "1 "},
        {"iat": "1"},
        {"exp": None},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": True},
        {"exp": -1},
        {"app": None},
    ],
    ids=repr,
)
def test_claims_of_another_form_are_refused(claim: dict[str, Any]) -> None:
    good = {"app": "demo", "sub": "1", "role": 1, "iat": 1, "exp": 2.5}
    assert Claims.model_validate(good).exp == 2.5
    with pytest.raises(ValidationError):
        Claims.model_validate(good | claim)
