"""Tokens: what is let in, and everything that is not."""

import base64
import hmac
import json
import string
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from types import SimpleNamespace
from typing import Any

import boto3
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.base import memory, settings, store
from messaging.base.errors import ApiError, Code
from messaging.people import directory, tokens
from messaging.people.models import USER, Claims
from tests.faults.sdk import error, tampered
from tests.world import APP, World, cold

NOW_MS = 1_795_425_121_123
NOW_S = NOW_MS / 1000
GOOD = {"app": APP, "sub": "7", "role": USER, "iat": NOW_S, "exp": NOW_S + 3600}
GOOD_PAYLOAD = json.dumps(GOOD).encode()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(payload: str | bytes | dict[str, Any], key: str, header: dict[str, Any] | None = None, hash_: str = "sha256") -> str:
    """A token as somebody else would make it: any header, any payload, any key."""
    head = {"alg": "HS256", "typ": "JWT", "kid": "k1.1"} | (header or {})
    text = json.dumps(payload) if isinstance(payload, dict) else payload
    signed = b64(json.dumps(head).encode()) + "." + b64(text if isinstance(text, bytes) else text.encode())
    return signed + "." + b64(hmac.new(key.encode(), signed.encode(), hash_).digest())


def spelled(head: bytes, payload: bytes, key: str) -> str:
    """A rightly signed token of exactly these octets."""
    signed = b64(head) + "." + b64(payload)
    return signed + "." + b64(hmac.new(key.encode(), signed.encode(), "sha256").digest())


def code_of(token: str, now_ms: int = NOW_MS, app: str = APP) -> int:
    try:
        read(token, now_ms, app)
    except ApiError as refusal:
        return refusal.code
    return 200


def read(token: str, now_ms: int = NOW_MS, app: str = APP) -> Claims:
    return tokens.verify(token, directory.app(app), now_ms, {})


@pytest.fixture
def key(world: World) -> str:
    """The app's key, `k1.1`."""
    return world.key().value


class Clock:
    """The time that the caches see; `go(seconds)` lets it pass."""

    def __init__(self) -> None:
        self.passed = 0.0

    def go(self, seconds: float) -> None:
        self.passed += seconds


@pytest.fixture
def clock(world: World, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(memory, "time", SimpleNamespace(time=lambda: time.time() + clock.passed))
    return clock


def store_keys(**keys: str) -> None:
    [secret] = boto3.client("secretsmanager").list_secrets()["SecretList"]
    boto3.client("secretsmanager").put_secret_value(SecretId=secret["ARN"], SecretString=json.dumps(keys))


# --- what is let in


def test_a_token_that_we_signed_is_read_back(world: World) -> None:
    claims = Claims.model_validate(GOOD)
    assert read(tokens.sign(claims, directory.app(APP))) == claims


def test_a_token_made_elsewhere_with_our_key_is_as_good(key: str) -> None:
    assert code_of(forged(GOOD, key)) == 200


def test_claims_that_we_do_not_know_are_ignored(key: str) -> None:
    assert code_of(forged(GOOD | {"name": "Alice", "aud": "somebody", "jti": [None], "admin": True}, key)) == 200


# --- how it is signed


NONES = ["".join(cases) for cases in product(*((letter, letter.upper()) for letter in "none"))]
NO_ALGORITHMS = ["", " ", "none ", "\0none", "HS256 ", "hs256", "HS256\0", None, True, 256, ["HS256"], {"HS256": 1}]
ALGORITHMS = sorted(
    set(jwt.algorithms.get_default_algorithms()) - {tokens.ALGORITHM, "none"} | {"RS256", "ES256", "ES256K", "PS256", "EdDSA"}
)


@pytest.mark.parametrize("algs", [NONES, NO_ALGORITHMS, ALGORITHMS], ids=["none", "no name", "others"])
def test_any_algorithm_but_ours_is_refused(key: str, algs: list[Any]) -> None:
    assert len(algs) >= 12
    for alg in algs:
        token = forged(GOOD, key, {"alg": alg})
        unsigned = token.rpartition(".")[0] + "."
        assert [code_of(text) for text in (token, unsigned)] == [Code.TOKEN_INVALID] * 2, alg


def test_a_token_that_names_no_algorithm_is_refused(key: str) -> None:
    assert code_of(spelled(b'{"kid":"k1.1"}', GOOD_PAYLOAD, key)) == Code.TOKEN_INVALID


@pytest.mark.parametrize("alg", ["HS384", "HS512"])
def test_a_token_rightly_signed_by_another_algorithm_is_refused(key: str, alg: str) -> None:
    assert code_of(forged(GOOD, key, {"alg": alg}, alg.replace("HS", "sha"))) == Code.TOKEN_INVALID


def test_a_token_without_a_signature_is_refused(key: str) -> None:
    unsigned = forged(GOOD, key, {"alg": "none"}).rpartition(".")[0]
    assert code_of(unsigned + ".") == Code.TOKEN_INVALID


def test_another_key_is_refused(key: str) -> None:
    assert code_of(forged(GOOD, "1" * 64)) == Code.TOKEN_INVALID


def test_the_empty_key_is_refused(key: str) -> None:
    assert code_of(forged(GOOD, "")) == Code.TOKEN_INVALID


KIDS = [
    *["k1", "k1.0", "k1.01", "k1.-1", "k1.+1", "k1.１", "k1.1.1", "k1..1", "k1.", ".1", "k2.1", "current", "current.1", "k1.1e0", "k1.1\n"],
    *["", " k1.1", "k1.1 ", "K1.1", "k1\0.1", "k\u200b1.1", "ｋ1.1", "__class__", "get", "get.1", "k1." + "9" * 9, "k1." + "1" * 400],
    *["../k1", "../../../../dev/null", "/proc/self/environ", "file:///etc/passwd", "http://169.254.169.254/latest", "${jndi:ldap://x}"],
    *["k1' OR '1'='1", "x' UNION SELECT 'key'; --", "k1|whoami", "`id`", "%00", "x" * 2000, "\ud800"],
    *[None, True, 0, 1, 1.5, [], ["k1"], {}, {"k1": 1}],
]


def test_a_kid_that_names_no_key_is_refused_whatever_it_is_signed_with(world: World, key: str) -> None:
    for kid in KIDS:
        signing = (
            key,
            "",
            "k1",
            world.keys["k1"],
            world.key(kid="current", value="k1").value,
            str(kid).encode("utf-8", "replace").decode(),
        )
        assert {code_of(forged(GOOD, each, {"kid": kid})) for each in signing} == {Code.TOKEN_INVALID}, kid


def test_the_name_of_the_current_key_is_no_key(key: str) -> None:
    assert code_of(forged(GOOD, "k1", {"kid": "current"})) == Code.TOKEN_INVALID


def test_a_token_without_a_kid_is_refused(key: str) -> None:
    assert code_of(spelled(b'{"alg":"HS256"}', GOOD_PAYLOAD, key)) == Code.TOKEN_INVALID


def test_a_header_that_must_be_understood_and_is_not_is_refused(key: str) -> None:
    crits: list[Any] = [["exp"], ["alg"], ["jku"], ["b64"], ["x"], ["b64", "x"], [], [1], "b64", {}, True, None]
    for crit in crits:
        assert code_of(forged(GOOD, key, {"crit": crit, "x": 1})) == Code.TOKEN_INVALID, crit


def test_a_payload_that_is_not_encoded_or_is_somewhere_else_is_refused(key: str) -> None:
    headers: list[dict[str, Any]] = [{}, {"crit": ["b64"]}]
    for crit in headers:
        head = json.dumps({"alg": "HS256", "kid": "k1.1", "b64": False} | crit).encode()
        plain = b64(head) + "." + GOOD_PAYLOAD.decode()
        signature = b64(hmac.new(key.encode(), plain.encode(), "sha256").digest())
        refused = [f"{plain}.{signature}", f"{b64(head)}..{signature}", spelled(head, GOOD_PAYLOAD, key), spelled(head, b"", key)]
        assert [code_of(token) for token in refused] == [Code.TOKEN_INVALID] * 4


def test_what_a_header_says_of_the_kind_of_token_changes_nothing(key: str) -> None:
    for header in [{"typ": typ} for typ in ("at+jwt", "JWE", None, 7)] + [{"cty": "JWT"}, {"zip": "DEF"}, {"enc": "A"}, {"b64": True}]:
        assert code_of(forged(GOOD, key, header)) == 200, header
        for payload in (forged(GOOD, key), zlib.compress(GOOD_PAYLOAD)[2:-4]):  # a token in a token, a payload that is packed
            assert code_of(forged(payload, key, header)) == Code.TOKEN_INVALID, header


def test_a_header_that_occurs_twice_is_refused(key: str) -> None:  # RFC 7515, section 4
    heads = ['"alg":"HS256","alg":"none","kid":"k1.1"', '"alg":"HS256","kid":"k1.1","kid":"k9"', '"alg":"HS256","kid":"k1.1","kid":null']
    for head in [*heads, '"alg":"none","alg":"HS256","kid":"k1.1"', '"alg":"HS256","kid":"k9","kid":"k1.1"']:
        assert code_of(spelled(f"{{{head}}}".encode(), GOOD_PAYLOAD, key)) == Code.TOKEN_INVALID, head


def test_no_single_bit_of_a_token_can_be_flipped(key: str) -> None:
    token = forged(GOOD, key)
    for at, character in enumerate(token):
        for bit in range(7):
            bent = token[:at] + chr(ord(character) ^ 1 << bit) + token[at + 1 :]
            assert code_of(bent) == Code.TOKEN_INVALID, bent


def test_a_token_of_another_shape_is_refused(key: str) -> None:
    token = forged(GOOD, key)
    head, payload, signature = token.split(".")
    parts = ["", ".", "..", "...", head, f"{head}.{payload}", f"{token}.", f"{token}.e30", f".{token}", f"{head}..{payload}..{signature}"]
    others = [
        token[:-1],
        token[::-1],
        "Bearer " + token,
        "bearer:" + token,
        f'"{token}"',
        token + token,
        token + "\ud800",
        token + "é",
        "é",
    ]
    assert {text: code for text in parts + others if (code := code_of(text)) != Code.TOKEN_INVALID} == {}


WHITESPACE = [" ", "\t", "\n", "\r\n", "\0", "\u00a0", "\u200b"]


def test_whitespace_anywhere_in_a_token_is_refused(key: str) -> None:
    token = forged(GOOD, key)
    places = [0, 1, token.index("."), token.index(".") + 1, token.rindex("."), token.rindex(".") + 1, len(token) - 1, len(token)]
    assert {code_of(token[:at] + space + token[at:]) for at in places for space in WHITESPACE} == {Code.TOKEN_INVALID}


def test_an_octet_has_one_spelling(key: str) -> None:
    token = forged(GOOD | {"name": "\U0010ffff>>>???"}, key)
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    head, payload, signature = token.split(".")
    last = alphabet.index(signature[-1])
    spellings = [f"{head}.{payload}.{signature[:-1]}{alphabet[last ^ bits]}" for bits in (1, 2, 3)]  # bits that stand for nothing
    spellings += [f"{head}.{payload}.{signature}{padding}" for padding in ("==", "===", "=" * 5, "A", "AAAA")]
    spellings += [f"{head}=.{payload}.{signature}", f"{head}==.{payload}.{signature}", f"{head}.{payload}=.{signature}"]
    spellings += [token.replace("-", "+"), token.replace("_", "/")] if set("-_") <= set(token) else []
    for spelling in set(spellings) - {token}:
        assert code_of(spelling) == Code.TOKEN_INVALID, spelling


def test_the_padding_of_a_signature_makes_no_other_token_of_it(key: str) -> None:
    token = forged(GOOD, key) + "="
    assert read(token) == Claims.model_validate(GOOD)
    assert code_of(token, NOW_MS + 3_600_000) == Code.TOKEN_EXPIRED


def test_a_huge_token_is_refused_without_being_looked_at(key: str, world: World) -> None:
    token = forged(GOOD | {"filler": "x" * 10_000}, key)
    with world.calls() as calls:
        assert code_of(token) == Code.TOKEN_INVALID
    assert calls == []


@given(st.text(max_size=40))
def test_any_text_is_refused_without_ado(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        tokens.verify(text, {"entity": APP}, NOW_MS, {})
    assert refused.value.code == Code.TOKEN_INVALID


# --- what it says


@pytest.mark.parametrize("claim", sorted(GOOD))
def test_every_claim_is_needed(key: str, claim: str) -> None:
    assert code_of(forged({name: value for name, value in GOOD.items() if name != claim}, key)) == Code.TOKEN_INVALID


NO_TIMES = [
    *["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "-1", "-0.5", "null", "true", "false", f'"{NOW_S}"', "[]", "{}", "01", "1e", ""],
    *["9" * digits for digits in (309, 400, 999, 1000, 3000)],  # integers beyond every float
]


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
def test_a_time_that_is_no_time_is_refused(key: str, claim: str) -> None:
    for value in NO_TIMES:
        text = json.dumps(GOOD | {claim: 0.125}).replace("0.125", value)
        assert code_of(forged(text, key)) == Code.TOKEN_INVALID, value


def test_a_claim_of_another_kind_is_refused(key: str) -> None:
    kinds: list[dict[str, Any]] = [{"role": 3}, {"role": "2"}, {"role": True}, {"role": 1.0}, {"sub": "0"}, {"sub": "x"}, {"sub": 7}]
    for claims in [*kinds, {"sub": "٧"}, {"sub": "7\n"}, {"sub": " 7"}, {"sub": "07"}, {"sub": str(2**53)}, {"app": None}, {"app": [APP]}]:
        assert code_of(forged(GOOD | claims, key)) == Code.TOKEN_INVALID, claims


def test_a_claim_that_occurs_twice_is_refused(key: str) -> None:
    for again in ('"role": 2', '"role": 1', '"app": "demo"', '"exp": 9999999999', '"x": 1, "x": 1', '"x": {"y": 1, "y": 1}'):
        assert code_of(forged(json.dumps(GOOD)[:-1] + f", {again}}}", key)) == Code.TOKEN_INVALID, again


def test_a_payload_that_is_no_object_is_refused(key: str) -> None:
    for payload in ("", "null", "[]", "7", '"{}"', "{", b"\xff\xfe", b'{"a": "\xff"}', "[" * 2000):
        assert code_of(forged(payload, key)) == Code.TOKEN_INVALID, payload


def test_a_token_of_another_app_is_refused(world: World, key: str) -> None:
    world.app("other")
    assert code_of(forged(GOOD | {"app": "other"}, key)) == Code.TOKEN_INVALID
    assert code_of(forged(GOOD, key), app="other") == Code.TOKEN_INVALID


# --- when


@pytest.mark.parametrize(("now_ms", "expected"), [(NOW_MS + 3_599_999, 200), (NOW_MS + 3_600_000, 402), (NOW_MS + 10**9, 402)])
def test_a_token_ends_at_the_millisecond(key: str, now_ms: int, expected: int) -> None:
    assert code_of(forged(GOOD, key), now_ms) == expected


def test_the_signers_clock_may_be_a_little_ahead_and_no_more(key: str) -> None:
    assert code_of(forged(GOOD | {"iat": NOW_S + tokens.LEEWAY_S}, key)) == 200
    assert code_of(forged(GOOD | {"iat": NOW_S + tokens.LEEWAY_S + 1}, key)) == Code.TOKEN_INVALID
    assert code_of(forged(GOOD | {"iat": 10**300}, key)) == Code.TOKEN_INVALID


def test_a_token_is_not_good_before_the_time_that_it_names(key: str) -> None:
    assert {code_of(forged(GOOD | {"nbf": nbf}, key)) for nbf in (0, NOW_S, NOW_S + tokens.LEEWAY_S)} == {200}
    assert code_of(forged(GOOD | {"nbf": NOW_S + tokens.LEEWAY_S + 1}, key)) == Code.TOKEN_INVALID


def test_a_time_may_be_a_fraction(key: str) -> None:
    token = forged(GOOD | {"iat": NOW_S - 0.5, "exp": NOW_S + 0.5}, key)
    assert [code_of(token, NOW_MS + ms) for ms in (499, 500)] == [200, Code.TOKEN_EXPIRED]


def test_a_wrongly_signed_token_that_has_expired_is_invalid_rather_than_expired(key: str) -> None:
    assert code_of(forged(GOOD | {"exp": 1}, "1" * 64)) == Code.TOKEN_INVALID


LONGEST_S = 400 * 86400


@pytest.mark.parametrize(("exp", "expected"), [(NOW_S + LONGEST_S, 200), (NOW_S + LONGEST_S + 1, 10008), (1e308, 10008), (10**308, 10008)])
def test_a_token_lives_for_400_days_at_most(key: str, exp: float, expected: int) -> None:
    assert code_of(forged(GOOD | {"exp": exp}, key)) == expected


def test_how_long_a_token_may_live_is_a_setting(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_MAX_DAYS", "1")
    settings.settings.cache_clear()
    assert [code_of(forged(GOOD | {"exp": NOW_S + seconds}, key)) for seconds in (86400, 86401)] == [200, Code.TOKEN_INVALID]


def test_an_over_long_token_is_invalid_also_once_it_has_ended(key: str) -> None:
    assert code_of(forged(GOOD | {"iat": 1, "exp": NOW_S - 1}, key)) == Code.TOKEN_INVALID


# --- whose key


def test_who_may_sign_for_one_app_cannot_sign_for_another(world: World, key: str) -> None:
    world.app("other")
    for_other = forged(GOOD | {"app": "other"}, key)
    assert {code_of(for_other, app="other"), code_of(for_other), code_of(forged(GOOD, world.key("other").value))} == {Code.TOKEN_INVALID}
    assert code_of(forged(GOOD | {"app": "other"}, world.key("other").value), app="other") == 200


def test_the_stacks_own_key_signs_for_no_app_that_is_made_from_now_on(world: World, key: str) -> None:
    now_ms = directory.app(APP)["created_at"] + 1000
    fresh = GOOD | {"iat": now_ms / 1000, "exp": now_ms / 1000 + 60}
    assert code_of(forged(fresh, world.keys["k1"], {"kid": "k1"}), now_ms) == Code.TOKEN_INVALID
    assert code_of(forged(fresh, key), now_ms) == 200


def test_an_app_of_0_1_0_takes_what_the_stacks_key_has_signed_and_has_a_key_of_its_own(world: World) -> None:
    world.old(created_at=NOW_MS)
    assert code_of(forged(GOOD, world.keys["k1"], {"kid": "k1"})) == 200
    assert code_of(forged(GOOD, world.key(generation=0).value, {"kid": "k1.0"})) == 200
    assert code_of(forged(GOOD, world.keys["k1"], {"kid": "k1.0"})) == Code.TOKEN_INVALID


def test_a_key_of_0_1_0_whose_kid_looks_like_an_apps_is_still_the_stacks(world: World) -> None:
    world.old(created_at=NOW_MS)
    store_keys(**{"current": "prod.2", "prod.2": "2" * 64, "k1": world.keys["k1"]})
    assert code_of(forged(GOOD, "2" * 64, {"kid": "prod.2"})) == 200
    assert code_of(tokens.sign(Claims.model_validate(GOOD), directory.app(APP))) == 200


def test_an_app_of_0_1_0_that_was_made_anew_refuses_what_was_signed_for_the_one_before(world: World) -> None:
    world.old(created_at=NOW_MS)
    before = GOOD | {"iat": NOW_MS // 1000 - 1}
    assert code_of(forged(before, world.keys["k1"], {"kid": "k1"})) == Code.TOKEN_INVALID


def test_an_app_that_is_made_again_takes_no_token_from_before_whatever_the_clock_says(world: World, key: str) -> None:
    now_ms = directory.app(APP)["created_at"]
    before = forged(GOOD, key)
    assert code_of(before) == 200
    for place in (directory.app_ref(APP), directory.ref(APP, directory.ADMINISTRATOR_ID)):
        store.dynamodb().delete_item(TableName=place[0], Key=store.pack(place[1]))
    directory.create_app(APP, now_ms)
    cold()
    assert code_of(before) == Code.TOKEN_INVALID


# --- rotation


def test_a_new_key_works_at_once(clock: Clock, world: World, key: str) -> None:
    assert code_of(forged(GOOD, key)) == 200
    clock.go(tokens.REFRESH_S + 1)
    store_keys(current="k2", k1=world.keys["k1"], k2="2" * 64)
    assert code_of(forged(GOOD, world.key(kid="k2", value="2" * 64).value, {"kid": "k2.1"})) == 200
    assert code_of(forged(GOOD, key)) == 200


def test_new_tokens_are_signed_with_the_new_key_at_once(clock: Clock, world: World, key: str) -> None:
    tokens.sign(Claims.model_validate(GOOD), directory.app(APP))
    store_keys(current="k2", k1=world.keys["k1"], k2="2" * 64)
    assert jwt.get_unverified_header(tokens.sign(Claims.model_validate(GOOD), directory.app(APP)))["kid"] == "k2.1"


def test_a_retired_key_is_refused_within_a_minute(clock: Clock, key: str) -> None:
    assert code_of(forged(GOOD, key)) == 200
    store_keys(current="k2", k2="2" * 64)
    assert code_of(forged(GOOD, key)) == 200  # from memory
    clock.go(60)
    assert code_of(forged(GOOD, key)) == Code.TOKEN_INVALID


def test_a_key_retired_right_after_a_refresh_is_refused_within_a_minute(clock: Clock, key: str) -> None:
    assert code_of(forged(GOOD, key, {"kid": "k9.1"})) == Code.TOKEN_INVALID  # fetched afresh
    store_keys(current="k2", k2="2" * 64)
    clock.go(60)
    assert code_of(forged(GOOD, key)) == Code.TOKEN_INVALID


def test_a_clock_that_is_set_back_does_not_keep_a_retired_key(clock: Clock, key: str) -> None:
    assert code_of(forged(GOOD, key)) == 200
    store_keys(current="k2", k2="2" * 64)
    clock.go(-3600)
    assert code_of(forged(GOOD, key)) == Code.TOKEN_INVALID


def test_unknown_kids_have_the_secret_fetched_no_more_than_once_in_a_while(clock: Clock, key: str, world: World) -> None:
    code_of(forged(GOOD, key))
    with world.calls() as calls:
        for number in range(20):
            for kid in (f"x{number}", f"x{number}.1"):
                assert code_of(forged(GOOD, key, {"kid": kid})) == Code.TOKEN_INVALID
    assert len(calls) <= 2  # the second where a period ends in between


def test_a_known_key_costs_no_call(key: str, world: World) -> None:
    code_of(forged(GOOD, key))
    with world.calls() as calls:
        assert code_of(forged(GOOD, key)) == 200
    assert calls == []


# --- the secret cannot be had


@contextmanager
def outage(failure: str = "InternalServiceError") -> Iterator[list[str]]:
    """Secrets Manager fails; the calls that were made of it."""
    asked: list[str] = []

    def answer(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if operation != "GetSecretValue":
            return perform()
        asked.append(operation)
        raise error(failure, 500)

    with tampered(answer):
        yield asked


@pytest.mark.parametrize("failure", ["AccessDeniedException", "ResourceNotFoundException", "InternalServiceError", "ThrottlingException"])
def test_without_the_keys_nobody_gets_in(key: str, failure: str) -> None:
    with outage(failure):
        assert code_of(forged(GOOD, key)) == Code.STORE_FAILED


def test_a_secret_that_is_not_json_lets_nobody_in(key: str) -> None:
    [secret] = boto3.client("secretsmanager").list_secrets()["SecretList"]
    boto3.client("secretsmanager").put_secret_value(SecretId=secret["ARN"], SecretString="{broken")
    assert code_of(forged(GOOD, key)) == Code.STORE_FAILED


def test_an_outage_after_the_cache_time_lets_nobody_in(clock: Clock, key: str) -> None:
    assert code_of(forged(GOOD, key)) == 200
    clock.go(60)
    with outage():
        assert code_of(forged(GOOD, key)) == Code.STORE_FAILED


def test_a_token_that_nobody_signed_takes_the_keys_from_nobody_who_has_one_during_an_outage(clock: Clock, key: str) -> None:
    good, unknown = forged(GOOD, key), forged(GOOD, key, {"kid": "x.1"})
    assert code_of(good) == 200
    clock.go(tokens.CACHE_S - 10)
    with outage() as asked:
        assert [code_of(each) for each in (unknown, good) * 20] == [Code.STORE_FAILED, 200] * 20  # whether it is unknown cannot be told
        assert len(asked) == 1
    clock.go(tokens.REFRESH_S)
    assert [code_of(each) for each in (unknown, good)] == [Code.TOKEN_INVALID, 200]


def test_an_outage_is_asked_about_and_logged_once_in_a_while(clock: Clock, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(tokens.logger, "exception", told.append)
    with outage() as asked:
        for _ in range(2):
            assert {code_of(forged(GOOD, key)) for _ in range(20)} == {Code.STORE_FAILED}
            clock.go(tokens.REFRESH_S)
    assert len(asked) == len(told) == 2
    assert code_of(forged(GOOD, key)) == 200
