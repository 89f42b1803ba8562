"""Every key that is ever built: no two things share one, and a conversation's key leads back to it."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messaging import keys
from messaging.keys import Conversation

EXAMPLES = 500  # of each property; a few ms each hundred

# Few letters and small numbers as well as any: keys that could run into each other are then often tried.
apps = st.one_of(st.text("a1-_", min_size=1, max_size=4), st.from_regex(re.compile(keys.APP_ID), fullmatch=True))
ids = st.one_of(st.integers(1, 25), st.integers(1, keys.MAX_ID))
conversations = st.one_of(
    st.builds(keys.between, apps, ids, ids),
    st.builds(keys.group, apps, ids),
    st.builds(keys.system, apps, ids),
)


@settings(max_examples=EXAMPLES)
@given(conversations, conversations)
def test_two_conversations_have_the_same_key_only_if_they_are_the_same(one: Conversation, other: Conversation) -> None:
    assert (one.key == other.key) == (one == other)


@settings(max_examples=EXAMPLES)
@given(conversations)
def test_a_conversation_is_read_back_from_its_key(conversation: Conversation) -> None:
    assert keys.parse(conversation.key) == conversation


@pytest.mark.parametrize(
    "key",
    [
        "",
        "demo",
        "demo#user",
        "demo#user#1",
        "demo#user#1#2#3",
        "demo#group#1#2",
        "demo#system#",
        "demo#room#1",
        "demo#user#one#2",
        "demo#group#1.5",
        "demo#group#01",
        "demo#group#-1",
        "demo#group#0",
        "demo#group#1_0",
        "demo#group# 1",
        "demo#group#١",
        "demo#user#2#1",
    ],
)
def test_what_cannot_be_a_key_is_no_conversation(key: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        keys.parse(key)


@settings(max_examples=EXAMPLES)
@given(st.tuples(apps, ids), st.tuples(apps, ids))
def test_two_users_or_groups_never_share_an_entity_key(one: tuple[str, int], other: tuple[str, int]) -> None:
    assert (keys.entity(*one) == keys.entity(*other)) == (one == other)


@given(apps, apps, ids)
def test_no_app_is_taken_for_one_of_its_or_another_apps_users(app: str, other: str, number: int) -> None:
    assert app != keys.entity(other, number)
    assert app != keys.APPS


requests = st.tuples(apps, st.one_of(st.just(0), ids), st.sampled_from(["send", "notify"]), ids)


@settings(max_examples=EXAMPLES)
@given(requests, requests)
def test_a_transaction_id_is_one_senders_and_one_operations_own(one: tuple[str, int, str, int], other: tuple[str, int, str, int]) -> None:
    assert (keys.request(*one) == keys.request(*other)) == (one == other)


@given(ids, ids)
def test_a_member_is_listed_under_a_facet_of_their_own(one: int, other: int) -> None:
    assert (keys.member(one) == keys.member(other)) == (one == other)
    assert keys.member(one) != keys.PROFILE


listings = st.tuples(apps, st.sampled_from(["user", "group"]), ids)


@settings(max_examples=EXAMPLES)
@given(listings, listings)
def test_a_listing_never_mixes_two_apps_or_kinds(one: tuple[str, str, int], other: tuple[str, str, int]) -> None:
    if keys.listing(*one) == keys.listing(*other):
        assert one[:2] == other[:2]
    assert keys.listing(*one) != keys.APPS


def test_a_listing_is_spread_over_all_its_partitions() -> None:
    assert len({keys.listing("demo", "user", number) for number in range(1001, 1001 + keys.LISTING_SHARDS)}) == keys.LISTING_SHARDS


@given(apps, ids, ids)
def test_both_users_reach_the_same_conversation_and_each_names_it_by_the_other(app: str, one: int, other: int) -> None:
    assert keys.between(app, one, other) == keys.between(app, other, one)
    assert keys.between(app, one, other).number_for(one) == other
    assert keys.between(app, one, other).recipient_of(one) == other


def test_everybody_names_a_group_by_its_own_number_and_the_system_by_0() -> None:
    assert keys.group("demo", 9).number_for(7) == 9
    assert keys.system("demo", 7).number_for(7) == 0


def test_a_message_to_oneself_lands_in_one_inbox_row() -> None:
    assert keys.between("demo", 7, 7).users() == (7,)
    assert keys.between("demo", 8, 7).users() == (7, 8)
    assert keys.system("demo", 7).users() == (7,)
    assert keys.group("demo", 9).users() == ()
