"""What must stay between two people, a client and its keys is marked, sent through everything, and then looked for.

Contents come out of history and nowhere else. Tokens and keys come out nowhere: in no log line, metric, other reply, table or queue.
"""

import base64
import io
import json
import logging
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.exceptions import ClientError, ParamValidationError, ReadTimeoutError
from pydantic import BaseModel, ValidationError

from messaging.base import telemetry
from messaging.conversations.rules import PARTS
from messaging.people import directory, tokens
from messaging.people.models import ADMIN
from tests import world as worlds
from tests.faults.sdk import tampered
from tests.world import APP, ENDPOINTS, World

CONTENTS = {name: f"CANARY0{name}0f3a91c" for name in PARTS}
KEY = "CANARY0key0" + "7d" * 30
STRAY = {name: f"CANARY0{name}0b5e2d8" for name in ("field", "value", "query", "header", "kid", "claim", "junk")}
MOST_CALLS = 20  # more AWS calls than any invocation makes
NUMBERS = ALICE, BOB, GROUP, STRANGER, NOBODY = 1001, 1002, 1003, 1004, 777777
Poison = Callable[[str], Exception]  # what is quoted → the exception that quotes it


def spellings(canary: str) -> set[str]:
    """How a canary may be written: as it is, in hexadecimal, and inside of something in base64, wherever it begins there."""
    shifted = [base64.urlsafe_b64encode(b"\0" * shift + canary.encode()).decode()[4 if shift else 0 : -4] for shift in range(3)]
    return {canary, canary.encode().hex(), *shifted}


class Told(NamedTuple):
    """What came of one invocation: the reply, and all that was written down on the way."""

    reply: str
    lines: str


class Aviary:
    """The world with marked contents, tokens and keys, and an ear at everything that a container writes."""

    def __init__(self, world: World, written: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
        self.world, self.written, self.capfd = world, written, capfd
        self.keep({"current": "k1", "k1": KEY})
        for number in (ALICE, BOB, STRANGER):
            world.user(number=number)
        world.group(ALICE, BOB, number=GROUP)
        world.app("other")
        self.user, self.admin = world.token(ALICE), world.admin()
        self.canaries = {*CONTENTS.values(), *STRAY.values(), KEY, world.key(value=KEY).value}
        self.guard(self.user, self.admin)
        self.heard()

    def keep(self, secret: Any) -> None:
        text = secret if isinstance(secret, str) else json.dumps(secret)
        boto3.client("secretsmanager").put_secret_value(SecretId="TokenKeys", SecretString=text)
        worlds.cold()

    def guard(self, *texts: str) -> None:
        """Tokens are canaries too: what they say and how they are signed."""
        self.canaries |= {part for token in texts for part in [token, *token.split(".")[1:]] if len(part) > 20}

    def heard(self) -> str:
        """What has been written since the last time, on any way out."""
        printed = self.capfd.readouterr()
        text = self.written.getvalue() + printed.out + printed.err
        self.written.seek(0)
        self.written.truncate()
        return text

    def found_in(self, text: str) -> set[str]:
        return {canary for canary in self.canaries if any(spelling in text for spelling in spellings(canary))}

    def invoke(self, handler: Callable[[], Any]) -> Told:
        reply: Any = None
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                reply = handler()
            except Exception:  # Lambda's runtime would write it down
                self.written.write(traceback.format_exc())
        return Told(json.dumps(reply, ensure_ascii=False), self.heard() + "".join(str(warning.message) for warning in warned))

    # --- requests, each with everything marked that can be

    def http(self, verb: str, path: str, token: str | None, **request: Any) -> Callable[[], Any]:
        headers = {
            "authorization": f"Bearer {STRAY['header']}",
            "cookie": STRAY["header"],
            "user-agent": STRAY["header"],
            STRAY["header"]: "x",
        }
        headers |= request.pop("headers", {})
        return lambda: self.world.http(verb, path, token, headers=headers, **request)

    def direct(self, name: str, fields: dict[str, Any], **event: Any) -> Callable[[], Any]:
        part = "body" if name in ("send", "notify") else "query"
        return lambda: self.world.direct(name, {"app_id": APP, "user_id": ALICE, part: fields, STRAY["field"]: STRAY["value"], **event})

    def good(self) -> dict[str, Callable[[], Any]]:
        """A request to every endpoint, by every verb and directly, that succeeds and has something to do."""
        numbers = count(int(time.time() * 1000))
        requests: dict[str, Callable[[], Any]] = {}
        for (verb, path), name in ENDPOINTS.items():
            for kind, target in ((1, BOB), (2, GROUP)):
                body = message(kind, target, transaction_id=next(numbers))
                fields = {"send": body, "notify": body, "unread": {}}.get(name, {"opposite_id": target, "conversation_id": target})
                fields = {**fields, STRAY["field"]: STRAY["value"]}
                part: dict[str, Any] = {"body": fields} if name in ("send", "notify") else {"query": {**fields, "x": STRAY["query"]}}
                requests[f"{verb} {path} {kind}"] = self.http(verb, path, self.admin if name == "notify" else self.user, **part)
                requests[f"{name} directly {kind}"] = self.direct(name, fields)
        return requests


def message(kind: int = 1, *targets: int, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "targets": list(targets or [BOB]), **CONTENTS, **fields}


@pytest.fixture
def aviary(world: World, capfd: pytest.CaptureFixture[str]) -> Iterator[Aviary]:
    """Listens as Lambda does: to our own lines, to those of all others from INFO on, and to what is printed."""
    written, root, ours = io.StringIO(), logging.getLogger(), telemetry.logger.handlers[0]
    others = logging.StreamHandler(written)
    others.addFilter(lambda record: record.name != telemetry.logger.name)  # Powertools keeps our lines from the runtime's own handler
    level = root.level
    root.addHandler(others)
    root.setLevel(logging.INFO)
    assert isinstance(ours, logging.StreamHandler)
    before = ours.setStream(written)
    try:
        yield Aviary(world, written, capfd)
    finally:
        ours.setStream(before)
        root.setLevel(level)
        root.removeHandler(others)


def refused(aviary: Aviary) -> dict[str, Callable[[], Any]]:
    """Every kind of refusal, each with marked input where the fault is and everywhere else."""
    junk, world = STRAY["junk"], aviary.world
    kid, claim = STRAY["kid"], STRAY["claim"]
    expired, elsewhere = world.token(ALICE, lives_s=-1), world.token(ALICE, app="other")
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": kid}).encode()).decode().rstrip("=")
    says = base64.urlsafe_b64encode(json.dumps({"app": APP, "sub": claim, claim: claim}).encode()).decode().rstrip("=")
    bad = [
        expired,
        elsewhere,
        f"{head}.{aviary.user.partition('.')[2]}",
        f"{head}.{says}.{says}",
        f"{aviary.user}x",
        f"Bearer {aviary.user}",
        junk,
    ]
    aviary.guard(*bad)
    texts = [
        *[
            junk,
            f'"{junk}"',
            f"[{junk}]",
            f'{{"content": {junk}}}',
            f'{{"content": "{junk}"',
            f'{{"{junk}": 1, "{junk}": 2}}',
            f"{{}}{junk}",
        ],
        *[
            f'{{"content": "{junk}\\x"}}',
            f'{{"content": "{junk}\ufffd"}}',
            f'{{"{junk}": NaN}}',
            f'{{"{junk}": {"9" * 2000}}}',
            "[" * 9999 + junk,
        ],
    ]
    bodies: list[dict[str, Any]] = [
        *[{**message(), field: junk} for field in ("type", "targets", "content_type", "from_user_id")],
        {**message(), "transaction_id": f"{junk} "},
        *[{**message(), field: [junk]} for field in ("targets", *PARTS)],
        *[{**message(), field: {junk: junk}} for field in PARTS],
        *[{**message(), field: f"{junk}\ud800"} for field in PARTS],
        {**message(), "content": junk * 3000},
        {**message(), "content": None},
        {**message(), "content_type": 1, "attachment": ""},
        {**message(), "targets": [BOB] * 501},
        message(1, NOBODY),
        message(1, GROUP),
        message(2, NOBODY),
        message(2, BOB),
        message(1, BOB, from_user_id=NOBODY),
        message(1, BOB, from_user_id=BOB),
        message(1, BOB, transaction_id=1),
    ]
    requests: dict[str, Callable[[], Any]] = {}
    for (verb, path), name in ENDPOINTS.items():
        part = (
            {"body": message()} if verb in ("POST", "PUT") else {"query": {"opposite_id": BOB, "conversation_id": BOB, "x": STRAY["query"]}}
        )
        for at, token in enumerate([None, *bad]):
            requests[f"{verb} {path} token {at}"] = aviary.http(verb, path, token, **part)
        requests[f"{verb} {path} no token"] = aviary.http(verb, path, None, headers={"authorization": f"Basic {junk}"}, **part)
        for at, headers in enumerate([{"user_id": junk}, {"group_id": junk}, {"app_id": f"a {junk}"}, {"app_id": "nowhere"}]):
            for of, token in (("user", aviary.user), ("admin", aviary.admin)):
                requests[f"{verb} {path} header {at} {of}"] = aviary.http(verb, path, token, headers=headers, **part)
        for at, number in enumerate((NOBODY, STRANGER, GROUP)):
            for header in ("user_id", "group_id"):
                requests[f"{verb} {path} {header} {at}"] = aviary.http(verb, path, aviary.admin, headers={header: str(number)}, **part)
        if verb in ("POST", "PUT"):
            for at, text in enumerate(texts):
                requests[f"{verb} {path} text {at}"] = aviary.http(verb, path, aviary.admin, raw=text)
                packed = base64.b64encode(text.encode() + b"\xff" * (at % 2)).decode()
                requests[f"{verb} {path} octets {at}"] = aviary.http(verb, path, aviary.admin, raw=packed, base64=True)
            requests[f"{verb} {path} too large"] = aviary.http(verb, path, aviary.admin, raw=junk * 400_000)
            for at, body in enumerate(bodies):
                for of, token in (("user", aviary.user), ("admin", aviary.admin)):
                    requests[f"{verb} {path} body {at} {of}"] = aviary.http(verb, path, token, body=body)
                requests[f"{name} directly {at}"] = aviary.direct(name, body)
        else:
            wrong = [
                {field: junk} for field in ("opposite_id", "conversation_id", "msg_id", "msg_id_start", "limit", "cursor", "device_sn")
            ]
            unknown: list[dict[str, Any]] = [
                {"conversation_id": BOB, "msg_id": 999},
                {"opposite_id": NOBODY, "conversation_id": NOBODY},
                {},
            ]
            others = [{"opposite_id": number, "conversation_id": number} for number in (GROUP, STRANGER)]
            for at, query in enumerate([*wrong, *unknown, *others]):
                full = {"opposite_id": BOB, "conversation_id": BOB, **query} if query else {}
                requests[f"{verb} {path} query {at}"] = aviary.http(verb, path, world.token(STRANGER), query=full)
                requests[f"{name} directly {at}"] = aviary.direct(name, full, user_id=STRANGER)
        events: list[Any] = [
            {"app_id": junk + "#"},
            {"app_id": APP, "user_id": junk},
            {"app_id": APP, "body": junk, "query": junk},
            junk,
            [junk],
        ]
        events += [
            {"routeKey": junk, "headers": {junk: [junk]}},
            {"routeKey": junk, "headers": [junk]},
            {"app_id": APP, "group_id": [junk]},
        ]
        for at, event in enumerate(events):
            requests[f"{name} event {at}"] = lambda name=name, event=event: world.direct(name, event)  # type: ignore[misc]
    return requests


# --- exceptions that quote what they were given, as those of others do


def _pydantic(text: str) -> Exception:
    class Open(BaseModel):
        content: int

    try:
        Open.model_validate({"content": text})
    except ValidationError as error:
        return error
    raise AssertionError


def _linked(error: Exception, **links: Exception) -> Exception:
    for name, other in links.items():
        setattr(error, f"__{name}__", other)
    return error


def _noted(error: Exception, note: str) -> Exception:
    error.add_note(note)
    return error


def _aws(code: str, status: int) -> Poison:
    def refuse(text: str) -> Exception:
        reply: Any = {"Error": {"Code": code, "Message": f"invalid: {text}"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        return ClientError(reply, "PutItem")

    return refuse


POISONS: dict[str, Poison] = {
    "says nothing": lambda text: RuntimeError(),
    "a refusal by AWS": _aws("ValidationException", 400),
    "a throttle": _aws("ThrottlingException", 400),
    "a fault of AWS": _aws("InternalServerError", 500),
    "a refusal by boto3": lambda text: ParamValidationError(report=f"Invalid type for parameter Item.content.S, value: {text}"),
    "an outage": lambda text: ReadTimeoutError(endpoint_url=text),
    "a serializer": lambda text: TypeError(f'Unsupported type "<class \'object\'>" for value "{text}"'),
    "a missing key": lambda text: KeyError(text),
    "a number": lambda text: ValueError(f"invalid literal for int() with base 10: {text!r}"),
    "pydantic": _pydantic,
    "json": lambda text: json.JSONDecodeError(f"Expecting value near {text}", text, 0),
    "caused": lambda text: _linked(KeyError("x"), cause=ValueError(text)),
    "in between": lambda text: _linked(KeyError("x"), context=_linked(ValueError(text), cause=TypeError(text))),
    "noted": lambda text: _noted(RuntimeError("x"), text),
    "several": lambda text: ExceptionGroup(text, [ValueError(text), KeyError(text)]),
}


@contextmanager
def failing(at: int, poison: Poison, more: str) -> Iterator[list[str]]:
    """The `at`-th AWS call fails with an exception that quotes the whole request, and more."""
    made: list[str] = []

    def answer(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        made.append(operation)
        if len(made) == at:
            raise poison(json.dumps(request, default=str) + more)
        return perform()

    with tampered(answer):
        yield made


def leaks(aviary: Aviary, invocation: Callable[[], Any]) -> tuple[list[tuple[int, str, set[str]]], int, str]:
    """What one invocation gives away when each of its AWS calls fails in turn, in every way; how many failures; what was written."""
    found, failures, lines = [], 0, ""
    everything = " ".join(sorted(aviary.canaries))
    for name, poison in POISONS.items():
        for at in range(1, MOST_CALLS):
            worlds.cold()
            with failing(at, poison, everything) as made:
                told = aviary.invoke(invocation)
            if len(made) < at:
                break
            failures += 1
            lines += told.lines
            if hit := aviary.found_in(told.reply + told.lines):
                found.append((at, name, hit))
    return found, failures, lines


def test_the_canaries_are_found_where_they_belong(aviary: Aviary) -> None:
    sent = aviary.invoke(aviary.http("POST", "/message/send", aviary.user, body=message()))
    read = aviary.invoke(aviary.direct("history", {"opposite_id": BOB}))
    assert aviary.found_in(sent.reply) == set()
    assert aviary.found_in(read.reply) == set(CONTENTS.values())
    for text in (KEY, aviary.user, base64.b64encode(f"xx{KEY}".encode()).decode(), KEY.encode().hex(), f"... {STRAY['junk']} ..."):
        assert aviary.found_in(text), text


def test_no_line_is_lost_on_the_listener(aviary: Aviary) -> None:
    told = aviary.invoke(aviary.http("GET", "/message/unread", aviary.user))
    line = json.loads(told.lines)
    assert (line["op"], line["code"], line["app"]) == ("unread", 200, APP)
    logging.getLogger("botocore").info("of others")
    print("printed")  # noqa: T201
    assert aviary.heard().split() == ["of", "others", "printed"]


def test_a_success_gives_away_nothing_but_history_to_its_reader(aviary: Aviary) -> None:
    for _ in range(2):
        for name, request in aviary.good().items():
            told = aviary.invoke(request)
            assert '"code": 200' in told.reply or '\\"code\\":200' in told.reply, (name, told)
            is_history = name.startswith(("history", "GET /message/conversation"))
            assert aviary.found_in(told.lines + ("" if is_history else told.reply)) == set(), (name, told)
        for delivery in (lambda: aviary.world.deliver(aviary.world.stream()), lambda: aviary.world.fan_out(aviary.world.jobs())):
            told = aviary.invoke(delivery)
            assert aviary.found_in(told.reply + told.lines) == set()


def test_no_refusal_gives_anything_away(aviary: Aviary) -> None:
    aviary.world.direct("send", {"app_id": APP, "user_id": ALICE, "body": {**message(), "content": "other", "transaction_id": 1}})
    codes = set()
    for name, request in refused(aviary).items():
        told = aviary.invoke(request)
        reply = json.loads(told.reply)
        code = (json.loads(reply["body"]) if "body" in reply else reply)["code"]
        codes.add(code)
        assert aviary.found_in(told.lines + (told.reply if code != 200 else "")) == set(), (name, told)
    assert codes >= {402, 10000, 10002, 10003, 10008, 10010, 12005, 20001, 20002, 40000, 50001, 50002, 50003}


@pytest.mark.parametrize("endpoint", sorted(set(ENDPOINTS.values())))
def test_no_failure_gives_anything_away_whatever_its_exception_quotes(aviary: Aviary, endpoint: str) -> None:
    verb, path = next(route for route, name in ENDPOINTS.items() if name == endpoint)
    aviary.invoke(aviary.direct("send", message(1, ALICE), user_id=BOB))
    requests = [request for name, request in aviary.good().items() if name in (f"{verb} {path} 1", f"{endpoint} directly 2")]
    assert len(requests) == 2
    for request in requests:
        found, failures, lines = leaks(aviary, request)
        assert found == []
        assert failures >= 2 * len(POISONS)
        assert '"level":"ERROR"' in lines


def test_no_failed_delivery_gives_anything_away(aviary: Aviary) -> None:
    world = aviary.world
    for kind, target in ((1, BOB), (2, GROUP)):
        world.direct("send", {"app_id": APP, "user_id": ALICE, "body": message(kind, target)})
    records = world.stream()
    for record in records:
        found, failures, lines = leaks(aviary, lambda record=record: world.deliver([record]))  # type: ignore[misc]
        assert found == []
        assert failures >= 2 * len(POISONS)
        assert '"message":"delivery failed"' in lines
    jobs = world.jobs()
    found, failures, lines = leaks(aviary, lambda: world.fan_out(jobs))
    assert found == []
    assert failures >= len(POISONS)
    assert '"message":"fan-out failed"' in lines


def test_no_poisoned_record_gives_anything_away(aviary: Aviary) -> None:
    aviary.world.direct("send", {"app_id": APP, "user_id": ALICE, "body": message()})
    [record] = aviary.world.stream()
    change, junk = record["dynamodb"], STRAY["junk"]
    image = change["NewImage"]
    assert set(CONTENTS) < set(image)
    poisoned = [
        *[{**image, name: value} for name in CONTENTS for value in ({"N": junk}, {"X": junk}, {}, {"S": [junk]}, None)],
        *[{key: value for key, value in image.items() if key != name} for name in image],
        {**image, "conversation": {"S": "demo#nothing#1"}},
        {**image, "conversation": {"N": "1"}},
        {**image, "sender": {"S": "x"}},
        {**image, "msg_id": {"S": "x"}},
        {**image, STRAY["field"]: {"S": junk}},
        {},
    ]
    changes = [change | {"NewImage": each, "OldImage": image, STRAY["field"]: junk} for each in poisoned]
    changes += [{"SequenceNumber": "1", "OldImage": image}, {"NewImage": image}]
    for each in changes:
        told = aviary.invoke(lambda each=each: aviary.world.deliver([{**record, "dynamodb": each, STRAY["field"]: junk}]))  # type: ignore[misc]
        assert aviary.found_in(told.reply + told.lines) == set(), (each, told)


def test_no_poisoned_job_gives_anything_away(aviary: Aviary) -> None:
    junk = STRAY["junk"]
    job = {"conversation": "demo#group#1003", "last_seq": 1, "last_at": 1, "skip_seq": 0, "members": [ALICE]}
    bodies = [
        junk,
        f'"{junk}"',
        f'{{"{junk}',
        f'{{"{junk}": NaN}}',
        "[]",
        *(json.dumps({**job, name: junk}) for name in job if name != "conversation"),
    ]
    bodies += [
        json.dumps({**job, "members": [ALICE, junk]}),
        json.dumps({**job, junk: CONTENTS}),
        json.dumps({**job, "conversation": {"x": junk}}),
    ]
    for body in bodies:
        told = aviary.invoke(lambda body=body: aviary.world.fan_out([{"messageId": "m1", "body": body, "attributes": {junk: junk}}]))  # type: ignore[misc]
        assert aviary.found_in(told.reply + told.lines) == set(), (body, told)
        assert "m1" in told.reply or json.loads(told.reply) == {"batchItemFailures": []}


def test_no_secret_is_given_away_however_it_is_broken(aviary: Aviary) -> None:
    pem = f"-----BEGIN PUBLIC KEY-----\n{KEY}\n-----END PUBLIC KEY-----"
    keys: list[Any] = [[KEY], {KEY: KEY}, pem, f"ssh-rsa {KEY}", f"{KEY}\ud800", {"k": KEY}]
    secrets = [f"{{{KEY}", f'"{KEY}"', f'["{KEY}"]', f'{{"k1": {KEY}}}', KEY, *({"current": KEY, "k1": key} for key in keys)]
    for secret in secrets:
        with suppress(UnicodeEncodeError):
            aviary.keep(secret)
        for verb, path in ENDPOINTS:
            told = aviary.invoke(aviary.http(verb, path, aviary.user, body=message()))
            assert aviary.found_in(told.reply + told.lines) == set(), (secret, told)
            assert json.loads(json.loads(told.reply)["body"])["code"] in (10008, 20000, 50000)


def put_fails(poison: Poison, operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
    if operation == "PutItem":
        raise poison(json.dumps(request))
    return perform()


def test_a_line_about_a_failure_tells_its_kind_and_its_place(aviary: Aviary) -> None:
    for poison, kind in (("a refusal by AWS", "ValidationException"), ("a serializer", "TypeError"), ("caused", "ValueError")):
        with tampered(partial(put_fails, POISONS[poison])):
            told = aviary.invoke(aviary.direct("send", message()))
        line = json.loads(told.lines.splitlines()[0])
        assert (line["level"], line["message"]) == ("ERROR", "unexpected")
        assert {part for part in (kind, "in append", "log.py") if part not in line["exception"]} == set()


def test_nobody_has_turned_up_the_loggers_of_the_sdk(aviary: Aviary) -> None:
    aviary.invoke(aviary.http("GET", "/message/unread", aviary.user))
    for name in ("boto3", "botocore", "urllib3"):
        logger = logging.getLogger(name)
        assert not logger.isEnabledFor(logging.DEBUG)  # at DEBUG botocore writes whole requests down
        assert all(isinstance(handler, logging.NullHandler) for handler in logger.handlers), name


# --- what is stored


def test_contents_are_stored_as_messages_and_nowhere_else_and_tokens_and_keys_nowhere_at_all(aviary: Aviary) -> None:
    world = aviary.world
    jobs = []
    for requests in (aviary.good(), refused(aviary), aviary.good()):
        for request in requests.values():
            aviary.invoke(request)
        world.deliver(world.stream())
        jobs += world.jobs()
        world.fan_out(jobs)
    assert {canary for rows in world.snapshot().values() for canary in aviary.found_in(json.dumps(rows))} == set(CONTENTS.values())
    for table, rows in world.snapshot().items():
        assert len(rows) > 1
        assert aviary.found_in(json.dumps(rows)) == (set(CONTENTS.values()) if table == "Messages" else set()), table
    for row in world.rows("Messages"):
        assert aviary.found_in(json.dumps({name: value for name, value in row.items() if name not in PARTS})) == set()
    assert jobs
    assert aviary.found_in(json.dumps(jobs)) == set()


def test_commands_of_an_operator_store_no_token(aviary: Aviary) -> None:
    issued = tokens.issue(APP, ALICE, ADMIN, 3600, time.time_ns() // 1_000_000)
    directory.revoke(APP, ALICE, time.time_ns() // 1_000_000)
    aviary.guard(issued)
    assert aviary.found_in(json.dumps(aviary.world.snapshot()) + aviary.heard()) == set()
