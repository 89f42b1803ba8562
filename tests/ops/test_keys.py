"""Keys are changed while everybody goes on working: no valid token is refused, none of a retired key gets in."""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import boto3
import jwt
import pytest

from messaging.base import settings
from messaging.people import tokens
from messaging.people.models import USER
from ops import keyring
from tests.faults.sdk import lost_reply, tampered
from tests.ops.conftest import Parley
from tests.world import APP, World

DAY_MS = 86_400_000
PICKED_UP_S = 60.0  # until the functions go by a change of the keys


@pytest.fixture
def elapse(later: Callable[..., None]) -> Callable[[float], None]:
    """Lets time pass, in which the container does not run."""
    return partial(later, frozen=True)


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def code(world: World, token: str) -> int:
    return int(world.call("GET", "/message/unread", token)["code"])


def secret() -> dict[str, str]:
    value = boto3.client("secretsmanager").get_secret_value(SecretId=settings.settings().token_secret)["SecretString"]
    return dict(json.loads(value))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_a_drill_old_tokens_stay_good_after_a_rotation_and_are_refused_after_the_key_is_retired(
    world: World, alice: int, parley: Parley, elapse: Callable[[float], None]
) -> None:
    old = world.token(alice)
    assert code(world, old) == 200
    assert parley("keys", "rotate").code == 0
    new = world.token(alice)
    assert kid(old) == "k1.1"
    assert kid(new) == parley("keys", "list", "--json").json[-1]["kid"] + ".1" != "k1.1"
    assert (code(world, old), code(world, new)) == (200, 200)

    refused = parley("keys", "retire")
    assert refused.code == 1
    assert "--longest-token-days" in refused.err
    assert code(world, old) == 200
    assert parley("keys", "retire", "--force").out.startswith("k1 is gone")
    elapse(PICKED_UP_S)
    assert (code(world, old), code(world, new)) == (10008, 200)


def test_a_function_that_knows_only_the_old_keys_takes_a_new_one_at_once(
    world: World, alice: int, parley: Parley, elapse: Callable[[float], None]
) -> None:
    assert code(world, world.token(alice)) == 200
    elapse(10)
    parley("keys", "rotate")
    assert code(world, world.token(alice)) == 200


def signed(user: int, key: dict[str, str], app: str = APP) -> str:
    """A token as a company's backend makes it."""
    now = int(time.time())
    claims = {"app": app, "sub": str(user), "role": 1, "iat": now, "exp": now + 3600}
    return jwt.encode(claims, key["key"], key["alg"], {"kid": key["kid"]})


def test_a_backend_signs_with_what_keys_show_prints_and_for_its_app_alone(world: World, alice: int, parley: Parley) -> None:
    world.app("other")
    world.user(app="other", number=alice)
    key = parley("keys", "show", "--app", APP, "--json").json
    assert set(key) == {"kid", "key", "alg"}
    assert code(world, signed(alice, key)) == 200
    for app in (APP, "other"):
        assert world.call("GET", "/message/unread", signed(alice, key, app), app="other")["code"] == 10008
    assert key["key"] != parley("keys", "show", "--app", "other", "--json").json["key"]
    assert "does not exist" in parley("keys", "show", "--app", "nowhere").err


def test_of_an_apps_keys_the_old_one_stays_good_until_it_is_retired(
    world: World, alice: int, parley: Parley, elapse: Callable[[float], None]
) -> None:
    old = parley("keys", "show", "--app", APP, "--json").json
    assert code(world, signed(alice, old)) == 200
    assert parley("keys", "rotate", "--app", APP, "--json").json == {"app_id": APP, "generation": 2}
    elapse(PICKED_UP_S)
    new = parley("keys", "show", "--app", APP, "--json").json
    assert (old["kid"], new["kid"]) == ("k1.1", "k1.2")
    assert [code(world, signed(alice, key)) for key in (old, new)] == [200, 200]
    assert "only key 2 of demo is left" in parley("keys", "retire", "--app", APP).out
    assert parley("keys", "retire", "--app", APP, "--json").json == {"app_id": APP, "generation": 2}  # again
    elapse(PICKED_UP_S)
    assert [code(world, signed(alice, key)) for key in (old, new)] == [10008, 200]
    assert [code(world, signed(alice, {**key, "kid": "k1.2"})) for key in (old, new)] == [10008, 200]


def test_a_new_key_of_an_app_is_taken_at_once(world: World, alice: int, parley: Parley) -> None:
    assert code(world, world.token(alice)) == 200  # the container remembers the app as it was
    keyring.rotate_app(APP)
    assert code(world, tokens.issue(APP, alice, USER, 60, now_ms())) == 200


def test_retiring_an_app_of_0_1_0_ends_what_the_stacks_key_has_signed(
    world: World, alice: int, parley: Parley, elapse: Callable[[float], None]
) -> None:
    world.old()
    stacks = {"kid": "k1", "key": world.keys["k1"], "alg": "HS256"}
    own = parley("keys", "show", "--app", APP, "--json").json
    assert [code(world, signed(alice, key)) for key in (stacks, own)] == [200, 200]
    parley("keys", "rotate", "--app", APP)
    elapse(PICKED_UP_S)
    assert [code(world, signed(alice, key)) for key in (stacks, own)] == [200, 200]
    parley("keys", "retire", "--app", APP)
    elapse(PICKED_UP_S)
    new = parley("keys", "show", "--app", APP, "--json").json
    assert [code(world, signed(alice, key)) for key in (stacks, own, new)] == [10008, 10008, 200]


def test_a_rotation_of_an_apps_key_whose_reply_was_lost_is_done_once(world: World) -> None:
    with tampered(lost_reply):
        assert keyring.rotate_app(APP) == 2
    assert keyring.rotate_app(APP) == 3


def test_which_key_is_meant_has_to_be_one_thing(world: World, parley: Parley) -> None:
    assert parley("keys", "retire", "k1", "--app", APP, "--force").code == 1
    assert parley("keys", "show").code == 2


def test_a_kid_of_0_1_0_says_when_its_key_began_and_so_do_new_ones(world: World) -> None:
    assert keyring.began_ms("k-20261123T064500Z-3f9c") == 1_795_416_300_000
    assert keyring.rotate(1_795_416_300_999).kid == f"k{1_795_416_300:x}"
    assert keyring.began_ms(f"k{1_795_416_300:x}") == 1_795_416_300_000
    assert keyring.began_ms("k1") == 0


def test_a_key_is_retired_when_the_longest_token_has_ended_and_not_before(world: World) -> None:
    start = now_ms()
    second = keyring.rotate(start)
    for too_early in (start, start + 29 * DAY_MS):
        with pytest.raises(Exception, match="k1 signed tokens until"):
            keyring.retire(too_early, 30)
    assert keyring.retire(second.since_ms + 30 * DAY_MS, 30) == "k1"
    assert secret() == {"current": second.kid, second.kid: secret()[second.kid]}


def test_each_key_counts_from_when_the_next_one_began(world: World) -> None:
    start = now_ms()
    second = keyring.rotate(start)
    third = keyring.rotate(start + 10 * DAY_MS)
    assert [key.until_ms for key in keyring.read()] == [second.since_ms, third.since_ms, None]
    assert keyring.retire(start + 31 * DAY_MS, 30) == "k1"
    with pytest.raises(Exception, match=second.kid):
        keyring.retire(start + 31 * DAY_MS, 30)


def test_the_key_that_signs_is_never_removed(world: World, parley: Parley) -> None:
    assert "the only key: rotate first" in parley("keys", "retire", "--force").err
    keyring.rotate(now_ms())
    signing = next(key.kid for key in keyring.read() if key.signs)
    assert "rotate first" in parley("keys", "retire", signing, "--force").err
    assert signing in secret()


def test_a_leaked_key_in_the_middle_is_removed_by_name(world: World, parley: Parley) -> None:
    second = keyring.rotate(now_ms())
    keyring.rotate(now_ms())
    assert parley("keys", "retire", second.kid, "--force", "--json").json == {"kid": second.kid}
    assert next(key.kid for key in keyring.read()) == "k1"
    assert "there is no key k9" in parley("keys", "retire", "k9").err


def test_where_an_older_key_was_made_the_current_one_by_hand_only_force_removes_the_newer(world: World, parley: Parley) -> None:
    newer = keyring.rotate(now_ms() - 90 * DAY_MS)
    value = json.dumps({**secret(), "current": "k1"})
    boto3.client("secretsmanager").put_secret_value(SecretId=settings.settings().token_secret, SecretString=value)
    assert "cannot be told" in parley("keys", "retire").err
    assert parley("keys", "retire", "--force", "--json").json == {"kid": newer.kid}


def test_two_rotations_at_the_same_time_lose_no_key(world: World) -> None:
    inner: list[keyring.Key] = []

    def meanwhile(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if operation == "PutSecretValue" and not inner:
            inner.append(keyring.Key("", 0, None, False))  # once
            inner[0] = keyring.rotate(now_ms())
        return perform()

    with tampered(meanwhile):
        outer = keyring.rotate(now_ms())
    assert set(secret()) == {"current", "k1", inner[0].kid, outer.kid}
    assert secret()["current"] == outer.kid
    assert [key.kid for key in keyring.read()] == ["k1", inner[0].kid, outer.kid]


def test_a_rotation_whose_last_reply_was_lost_is_done_once(world: World) -> None:
    def lost(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if operation == "UpdateSecretVersionStage":
            perform()  # the SDK repeats it
        return perform()

    with tampered(lost):
        key = keyring.rotate(now_ms())
    assert set(secret()) == {"current", "k1", key.kid}


@pytest.mark.parametrize(
    "content", ["{}", "[]", "no JSON", '{"current": "k9", "k1": "x"}', '{"current": "current"}', '{"current": "k1", "k1": 5}']
)
def test_a_secret_that_is_damaged_is_not_written_over(world: World, content: str) -> None:
    client = boto3.client("secretsmanager")
    client.put_secret_value(SecretId=settings.settings().token_secret, SecretString=content)
    with pytest.raises(Exception, match="secret"):
        keyring.rotate(now_ms())
    assert client.get_secret_value(SecretId=settings.settings().token_secret)["SecretString"] == content


def test_what_is_told_of_keys_is_never_a_key(world: World, parley: Parley) -> None:
    parley("keys", "rotate")
    values = [value for kid, value in secret().items() if kid != "current"]
    told = "".join(said.out + said.err for said in (parley("keys", "list"), parley("keys", "rotate"), parley("keys", "retire", "--force")))
    assert not [value for value in values if value in told]
