"""Whose token is taken: revocations by what a token knows, not by clocks; and what a container remembers of users, by the wall clock."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from messaging.base import store
from messaging.base.errors import ApiError
from messaging.people import directory, standing, tokens
from messaging.people.models import USER, Claims
from ops.bench.meter import size
from tests.fast_world import FastWorld, fast_world
from tests.faults.sdk import lost_reply
from tests.world import APP, World, cold

NOW_MS = 1_795_425_121_123
INSTANTS = 200  # milliseconds tried


def claims(**said: Any) -> Claims:
    return Claims(**({"app": APP, "sub": "1001", "role": USER, "iat": NOW_MS / 1000, "exp": NOW_MS / 1000 + 3600} | said))


@pytest.fixture
def fast() -> Iterator[FastWorld]:
    with fast_world() as world:
        world.user(number=1001)
        yield world


def code(world: World, token: str) -> int:
    return int(world.call("GET", "/message/unread", token)["code"])


# --- the rule


@pytest.mark.parametrize(
    ("issued_ms", "refused"), [(-(10**6), True), (0, True), (4_000, True), (5_000, True), (5_001, False), (10**6, False)]
)
def test_a_token_that_others_made_is_refused_up_to_5_s_after_the_revocation(issued_ms: int, refused: bool) -> None:
    assert standing.is_revoked(claims(iat=(NOW_MS + issued_ms) / 1000), NOW_MS) is refused


def test_who_was_never_revoked_is_not_whenever_the_token_was_made() -> None:
    assert not standing.is_revoked(claims(iat=0), 0)
    assert not standing.is_revoked(claims(iat=0, rev=0), 0)


@pytest.mark.parametrize(("rev", "refused"), [(0, True), (NOW_MS - 1, True), (NOW_MS, False), (NOW_MS + 1, False)])
@pytest.mark.parametrize("issued_ms", [-(10**9), 0, 10**9])
def test_a_token_that_knows_of_a_revocation_is_judged_by_that_whatever_clocks_say(issued_ms: int, rev: int, refused: bool) -> None:
    assert standing.is_revoked(claims(iat=(NOW_MS + issued_ms) / 1000, rev=rev), NOW_MS) is refused


@pytest.mark.parametrize("rev", [-1, 1.5, True, "7", 2**53, float("nan")])
def test_a_revocation_that_is_none_is_no_claim(rev: Any) -> None:
    with pytest.raises(ValueError, match="rev"):
        claims(rev=rev)


# --- revoking


def test_a_token_made_in_the_millisecond_of_a_revocation_is_good_and_one_from_before_is_not(fast: FastWorld) -> None:
    for at_ms in random.Random(1).sample(range(NOW_MS, NOW_MS + 10**9), INSTANTS):
        fast.now_ms = at_ms
        before = tokens.issue(APP, 1001, USER, 3600, at_ms)
        assert code(fast, before) == 200
        directory.revoke(APP, 1001, at_ms)
        after = tokens.issue(APP, 1001, USER, 3600, at_ms)
        cold()
        assert (code(fast, before), code(fast, after)) == (402, 200)


def test_a_revocation_never_goes_back_whatever_the_operators_clock_says(fast: FastWorld) -> None:
    first = directory.revoke(APP, 1001, NOW_MS)
    for clock_ms in (NOW_MS, NOW_MS - 10**9, 0, NOW_MS + 1):
        known = tokens.issue(APP, 1001, USER, 3600, fast.now_ms)
        later = directory.revoke(APP, 1001, clock_ms)
        assert later > first
        cold()
        assert code(fast, known) == 402
        first = later


def test_a_revocation_that_meets_another_one_is_later_than_that(fast: FastWorld) -> None:
    made: list[int] = []

    def meanwhile(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        if operation == "UpdateItem" and not made:
            made.append(0)
            made[0] = directory.revoke(APP, 1001, NOW_MS)
        return perform()

    fast.injector = meanwhile
    assert directory.revoke(APP, 1001, NOW_MS) == made[0] + 1


def test_a_revocation_whose_reply_was_lost_holds(fast: FastWorld) -> None:
    old = tokens.issue(APP, 1001, USER, 3600, NOW_MS)
    fast.injector = lost_reply
    since_ms = directory.revoke(APP, 1001, NOW_MS)
    fast.injector = None
    assert store.get(directory.ref(APP, 1001))["revoked_at"] == since_ms  # type: ignore[index]
    assert code(fast, old) == 402


@pytest.mark.parametrize("number", [777, 2001])
def test_nobody_and_a_group_cannot_be_revoked(fast: FastWorld, number: int) -> None:
    fast.group(1001, number=2001)
    before = fast.snapshot()
    with pytest.raises(ApiError, match="no user"):
        directory.revoke(APP, number, NOW_MS)
    assert fast.snapshot() == before


def test_a_million_revocations_leave_every_operation_as_quick_as_none(fast: FastWorld) -> None:
    """Nothing that two users share, and nothing that is read for everybody, grows with them."""
    place = fast.aws._place("Directory", store.pack(directory.app_ref(APP)[1]))
    profile = fast.aws._place("Directory", store.pack(directory.ref(APP, 1001)[1]))
    before = size(fast.aws.tables["Directory"][place]), len(fast.aws.tables["Directory"])
    sizes = set()
    for _ in range(100):
        directory.revoke(APP, 1001, fast.now_ms)
        sizes.add(size(fast.aws.tables["Directory"][profile]))
    assert (size(fast.aws.tables["Directory"][place]), len(fast.aws.tables["Directory"])) == before
    assert max(sizes) - min(sizes) < 5  # digits, of a time and of a nonce


# --- what 0.1.0 left behind


def test_a_revocation_of_0_1_0_holds_and_a_token_made_afterwards_is_good(fast: FastWorld) -> None:
    fast.old(revoked={"1001": NOW_MS + 60_000}, created_at=NOW_MS - 1000)
    old = fast.token(1001)
    made = tokens.issue(APP, 1001, USER, 3600, fast.now_ms)
    assert (code(fast, old), code(fast, made)) == (402, 200)
    assert directory.revoke(APP, 1001, NOW_MS) == NOW_MS + 60_001  # later than that of the map
    cold()
    assert (code(fast, made), code(fast, tokens.issue(APP, 1001, USER, 3600, fast.now_ms))) == (402, 200)
    assert store.get(directory.app_ref(APP))["revoked"] == {"1001": NOW_MS + 60_000}  # type: ignore[index]


def test_the_map_of_0_1_0_is_never_written_and_new_apps_have_none(fast: FastWorld) -> None:
    assert "revoked" not in directory.app(APP)
    fast.old()
    before = store.get(directory.app_ref(APP))
    directory.revoke(APP, 1001, fast.now_ms)
    directory.erase(APP, 1001, fast.now_ms)
    assert store.get(directory.app_ref(APP)) == before


# --- weak reads, and what is remembered


def test_a_user_whom_a_weak_read_does_not_know_yet_gets_in(fast: FastWorld) -> None:
    def stale(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        return perform(stale=operation == "GetItem")

    fast.aws.mark()
    fast.injector = stale
    assert code(fast, fast.token(fast.user())) == 200
    token = fast.token(1001)
    directory.revoke(APP, 1001, fast.now_ms)
    assert code(fast, token) == 200  # up to a minute
    fast.aws.mark()
    fast.now_ms += 30_000
    assert code(fast, token) == 402


def test_a_user_who_is_enabled_again_gets_in_at_once(fast: FastWorld) -> None:
    token = fast.token(1001)
    store.update(directory.ref(APP, 1001), {"disabled": True}, "attribute_exists(entity)")
    assert code(fast, token) == 402
    store.update(directory.ref(APP, 1001), {"what": "user"}, "attribute_exists(entity)", remove="disabled")
    assert code(fast, token) == 200


def test_a_container_remembers_a_user_for_30_s_and_reads_nothing_for_them(fast: FastWorld) -> None:
    token, reads = fast.token(1001), list[str]()

    def count(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        reads.append(operation)
        return perform()

    fast.injector = count
    for _ in range(6):
        assert code(fast, token) == 200
        fast.now_ms += 7_000
    assert reads.count("GetItem") == 3  # the user at 0 s; the user and the app at 35 s
