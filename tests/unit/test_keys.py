"""Every key that is ever built: no two things share one, and a conversation's key leads back to it."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.settings import ROOT
from messaging.base import keys, wire
from messaging.base.keys import Conversation, Table

EXAMPLES = 300  # of each property; a few ms each hundred

# A few that could run into each other when they are glued together, as well as any.
APPS = ("a", "a1", "a-1", "a_1", "a-1-1", "a-user", "a_1_send", "1", "-", "profile")
IDS = (1, 2, 11, 12, 21, 111)
apps = st.one_of(st.sampled_from(APPS), st.text("a1-_", min_size=1, max_size=4), st.from_regex(re.compile(keys.APP_ID), fullmatch=True))
ids = st.one_of(st.sampled_from(IDS), st.integers(1, 25), st.integers(1, keys.MAX_ID))
conversations = st.one_of(
    st.builds(keys.between, apps, ids, ids),
    st.builds(keys.group, apps, ids),
    st.builds(keys.system, apps, ids),
)


class Thing(NamedTuple):
    """What a key is built for: the builder that builds it, and the arguments that tell it from every other thing."""

    builder: str
    identity: tuple[Any, ...]
    key: tuple[Any, ...]  # of the item, as far as it is built


class Argument(NamedTuple):
    few: tuple[Any, ...]
    any: st.SearchStrategy[Any]


class Made(NamedTuple):
    """How a builder is called: with which arguments, to build which key; `identity` of arguments that mean the same is the same."""

    arguments: tuple[Argument, ...]
    key: Callable[..., tuple[Any, ...]]
    identity: Callable[..., tuple[Any, ...]] = lambda *arguments: arguments


APP, ID = Argument(APPS, apps), Argument(IDS, ids)
ID_OR_0 = Argument((0, *IDS), st.one_of(st.just(0), ids))
KIND = Argument(("user", "group"), st.sampled_from(["user", "group"]))
OPERATION = Argument(("send", "notify"), st.sampled_from(["send", "notify"]))
STRINGS = ("-", "a", "1-1", "send", "1:send", "--1", "9" * 20)
TRANSACTION = Argument(
    (*IDS, *(-id for id in IDS), *STRINGS),
    st.one_of(ids, ids.map(lambda id: -id), st.from_regex(re.compile(wire.TRANSACTION_ID), fullmatch=True).map(wire.transaction_id)),
)

# For every table and index, everything that has a key in it, by the builder of that key.
SPACES: dict[Table, dict[str, Made]] = {
    keys.MESSAGES: {
        "between": Made((APP, ID, ID), lambda app, *two: (keys.between(app, *two).key,), lambda app, *two: (app, *sorted(two))),
        "group": Made((APP, ID), lambda app, id: (keys.group(app, id).key,)),
        "system": Made((APP, ID), lambda app, id: (keys.system(app, id).key,)),
    },
    keys.INBOX: {"entity": Made((APP, ID, ID_OR_0), lambda app, user, number: (keys.entity(app, user), number))},
    keys.DEDUP: {
        "request": Made((APP, ID_OR_0, OPERATION, TRANSACTION), lambda *what: (keys.request(*what),)),
        "limited": Made((APP, ID_OR_0), lambda *what: (keys.limited(*what),)),
    },
    keys.DIRECTORY: {
        "app": Made((APP,), lambda app: (app, keys.PROFILE)),
        "entity": Made((APP, ID), lambda app, id: (keys.entity(app, id), keys.PROFILE)),
        "member": Made((APP, ID, ID), lambda app, id, user: (keys.entity(app, id), keys.member(user))),
    },
    keys.LISTING: {
        "apps": Made((), lambda: (keys.APPS,)),
        "listing": Made((APP, KIND, ID), lambda *what: (keys.listing(*what),), lambda app, kind, id: (app, kind, id % keys.LISTING_SHARDS)),
    },
}
READERS = {"parse", "signing"}  # functions of the module that build no key of a table


def thing(builder: str, made: Made, *arguments: Any) -> Thing:
    return Thing(builder, made.identity(*arguments), made.key(*arguments))


def crowd(table: Table) -> list[Thing]:
    """Everything that the few arguments make."""
    return [thing(name, made, *each) for name, made in SPACES[table].items() for each in product(*(one.few for one in made.arguments))]


def anything(table: Table) -> st.SearchStrategy[Thing]:
    made = SPACES[table].items()
    return st.one_of(*(st.builds(partial(thing, name, how), *(one.any for one in how.arguments)) for name, how in made))


@pytest.mark.parametrize("table", SPACES, ids=lambda table: table.partition)
def test_no_two_things_of_a_table_share_a_key(table: Table) -> None:
    owners: dict[tuple[Any, ...], set[tuple[Any, ...]]] = {}
    for one in crowd(table):
        owners.setdefault(one.key, set()).add((one.builder, *one.identity))
    assert [several for several in owners.values() if len(several) > 1] == []

    @settings(max_examples=EXAMPLES)
    @given(anything(table), anything(table))
    def check(one: Thing, other: Thing) -> None:
        assert (one.key == other.key) == (one[:2] == other[:2])

    check()


@pytest.mark.parametrize("table", SPACES, ids=lambda table: table.partition)
def test_nothing_of_an_app_has_the_partition_of_another_apps(table: Table) -> None:
    owners: dict[str, set[tuple[Any, ...]]] = {}
    for one in crowd(table):
        owners.setdefault(one.key[0], set()).add(one.identity[:1])
    assert [several for several in owners.values() if len(several) > 1] == []


def test_every_builder_and_every_table_is_covered() -> None:
    builders = {name for name, function in inspect.getmembers(keys, inspect.isfunction) if function.__module__ == keys.__name__}
    covered = {name for things in SPACES.values() for name in things}
    assert builders - READERS <= covered
    assert covered - builders == {"app", "apps"}  # an app is its own key, and the list of apps has a name
    assert {table for _, table in inspect.getmembers(keys) if isinstance(table, Table)} == set(SPACES)


def _formatted() -> Iterator[tuple[str, str]]:
    """Every string with values in it that has a `#` between them, and where it is."""
    for path in sorted((ROOT / "functions").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
                if "#" in text:
                    yield path.name, text


def test_no_other_module_builds_a_key() -> None:
    assert {name for name, _ in _formatted()} == {"keys.py"}


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


requests = st.tuples(apps, st.one_of(st.just(0), ids), st.sampled_from(["send", "notify"]), ids)


listings = st.tuples(apps, st.sampled_from(["user", "group"]), ids)


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
