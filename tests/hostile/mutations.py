"""Requests that are malformed by construction: a sample event that works, with one thing made wrong, and what has to be said to it.

What a field takes, and so what it does not take, is read from the OpenAPI document. Every request is made from its own seed, so that
any of them can be made again: `nth(samples, batch, index)`.
"""

import base64
import copy
import gzip
import json
import random
import re
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from messaging.base import keys
from messaging.base.errors import Code
from messaging.conversations.rules import PARTS, TEXT, WITH_ATTACHMENT
from messaging.edge import MAX_BODY_BYTES, REPLACEMENT
from ops import openapi
from tests.world import ENDPOINTS, EVENTS

SEED = 20261123
TEXT_LIMIT = 32768  # bytes of content, attachment, config and ext together: the default setting
DOCUMENT = openapi.document()
SURROGATES = ("\ud800", "a\udfffb", "\udc00\ud800")
NOT_INTEGERS = (  # text that spells no integer
    *("", "abc", "1.0", "1e3", "0x10", "+1", "1_000", "1,2", "1 2", "--1", "-", "1-", "NaN", "Infinity", "true", "null", "[1]", "{}"),
    *(
        "١٢",
        "１２",
        "²",
        "½",
        "🙂",
        "\0",
        "1\0",
        "1;",
        "1'",
        '"1"',
        "%31",
        "1 OR 1=1",
        "../1",
        "9" * 1000,
        "-" + "9" * 1000,
        "9" * 5000,
        "x" * 100_000,
        *SURROGATES,
    ),
)
PADDED = (" 1", "1 ", "1\n", "\t1", "\ufeff1", "\u00a01")  # the padding of a header is taken off
NOT_CURSORS = ("", "1", "1-", "-1", "1-2-3", "a-b", "1 - 2", "1--2", "1_2", f"{10**16}-1", f"1-{10**16}", "١-٢", "1-2\n", "\0", *SURROGATES)
NOT_APPS = ("", " ", "a b", "demo#", "x" * 65, "d\u00e9mo", "demo\0", "../demo", "demo,demo", "demo/other", "demo%20", "🙂", *SURROGATES)
NOT_TEXTS: tuple[Any, ...] = (0, 1, -1.5, True, False, [], ["a"], {}, {"text": "a"}, [None], *SURROGATES)
NOT_ARRAYS: tuple[Any, ...] = (0, 1002, 1.5, True, "", "1002", "[1002]", "1002,1003", {}, {"0": 1002}, *SURROGATES)
NOT_OBJECTS: tuple[Any, ...] = (0, 1, 1.5, True, "", "{}", "x", [], [{}], [["type", 1]])
NOT_JSON = (  # in place of a value
    *("NaN", "Infinity", "-Infinity", "nan", "undefined", "None", "True", "01", "+1", ".5", "1.", "1e", "0x1", "1_000", "--1", "1 2"),
    *(
        "'x'",
        "`x`",
        '"\\x"',
        '"\\u12"',
        '"\t"',
        '"\n"',
        '"\0"',
        '"open',
        "[1,]",
        "[1 2]",
        '{"a":}',
        '{"a" 1}',
        "{a: 1}",
        '{"a": 1,}',
        "<x/>",
    ),
    *("/* */", "9" * 1000, '{"a": 1, "a": 1}', '[{"": 1, "": 2}]', "", ",", "]", "}"),
)
NOT_BODIES = (
    "",
    " ",
    "null",
    "true",
    "7",
    "1.5",
    '"x"',
    "[]",
    "[{}]",
    "not json",
    "type=1&targets=1002",
    "<xml/>",
    "--x\r\n\r\n",
    "\0",
    "\x1f\x8b",
)
JUNK = "@#$%&*?!;|~^<>=()'`\\\0\x07\ufeff§é🙂"  # nowhere in JSON outside of a string


@dataclass(frozen=True)
class Malformed:
    """A request, and the refusal that it has to get: HTTP status, code, and how the message begins (one of `naming`)."""

    endpoint: str
    event: Any
    what: str
    code: int
    naming: tuple[str, ...]
    status: int = 200


@dataclass
class Sample:
    """An event that works. `fields` are its query or its body, to be changed and then sealed into it."""

    endpoint: str
    event: dict[str, Any]
    part: str  # query or body
    schemas: dict[str, Any]  # of each field, by the document
    required: tuple[str, ...]
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def http(self) -> bool:
        return "routeKey" in self.event

    def copy(self) -> "Sample":
        event = copy.deepcopy(self.event)
        if not self.http:
            fields = event.get(self.part, {})
        else:
            fields = json.loads(event["body"]) if self.part == "body" else dict(event.get("queryStringParameters", {}))
        return Sample(self.endpoint, event, self.part, self.schemas, self.required, fields)

    def sealed(self, rng: random.Random) -> Any:
        """The event with `fields` in it, a body as JSON in one of its spellings or in base64."""
        if not self.http:
            return self.event | {self.part: self.fields}
        if self.part == "query":
            return self.event | {"queryStringParameters": self.fields}
        return self.with_body(json.dumps(self.fields), encoded=rng.random() < 0.3)

    def with_body(self, raw: str | bytes, encoded: bool = False) -> Any:
        """The event with exactly this body; octets come in base64."""
        if encoded or isinstance(raw, bytes):
            octets = raw if isinstance(raw, bytes) else raw.encode()
            return self.event | {"body": base64.b64encode(octets).decode(), "isBase64Encoded": True}
        return self.event | {"body": raw, "isBase64Encoded": False}


def samples(token: Callable[[str], str]) -> list[Sample]:
    """Every route with its sample event over HTTP, and every endpoint with its direct one; `token` makes those that the events ask for."""
    made = []
    for (verb, path), name in ENDPOINTS.items():
        event = json.loads((EVENTS / f"{name}.http.json").read_text())
        event["routeKey"] = event["requestContext"]["routeKey"] = f"{verb} {path}"
        event["requestContext"]["http"]["method"] = verb
        event["headers"]["access-token"] = token(event["headers"]["access-token"])
        operation = DOCUMENT["paths"][path][verb.lower()]
        if "requestBody" in operation:
            (content,) = operation["requestBody"]["content"].values()
            model = _resolved(content["schema"])
            part, schemas, required = "body", model["properties"], tuple(model["required"])
        else:
            query = [parameter for parameter in operation["parameters"] if parameter.get("in") == "query"]
            part, schemas = "query", {parameter["name"]: parameter["schema"] for parameter in query}
            required = tuple(parameter["name"] for parameter in query if parameter["required"])
        made.append(Sample(name, event, part, schemas, required))
        if f"{verb} {path}" == json.loads((EVENTS / f"{name}.http.json").read_text())["routeKey"]:
            made.append(Sample(name, json.loads((EVENTS / f"{name}.direct.json").read_text()), part, schemas, required))
    return made


def nth(all_samples: list[Sample], batch: int, index: int) -> Malformed:
    """The malformed request of this number."""
    rng = random.Random(f"{SEED}/{batch}/{index}")
    sample = rng.choice(all_samples).copy()
    if rng.random() < 0.8:  # what is ignored, here or there
        known = list(sample.fields.items())
        known.insert(rng.randrange(len(known) + 1), (f"x{rng.getrandbits(20)}", rng.choice(("", "x", "[1]", str(rng.random())))))
        sample.fields = dict(known)
    mutations = [(mutation, weight) for mutation, weight, applies in MUTATIONS if applies(sample)]
    mutation = rng.choices([mutation for mutation, _ in mutations], [weight for _, weight in mutations])[0]
    return mutation(rng, sample)


# --- wrong values


def wrong_value(rng: random.Random, schema: dict[str, Any], json_: bool) -> Any:
    """What a field with this schema does not take: any JSON, or, for a parameter, text. Never null, which counts as absent."""
    kinds = [_resolved(each) for each in schema.get("anyOf", [schema])]
    integer = next((kind for kind in kinds if kind["type"] == "integer"), None)
    if integer:
        texts = [kind["pattern"] for kind in kinds if kind["type"] == "string" and re.fullmatch(kind.get("pattern", ""), "word")]
        while True:
            wrong = wrong_integer(rng, integer, json_)
            if wrong == "" and integer.get("maximum") == 0:  # as good as absent, where nothing may be given
                continue
            if not any(isinstance(wrong, str) and re.fullmatch(text, wrong) for text in texts):  # many a text is a transaction_id
                return wrong
    kind = kinds[0]
    if kind["type"] == "array":
        return wrong_array(rng, kind)
    if "pattern" in kind:
        texts = [rng.choice(NOT_CURSORS), _junk(rng, lambda text: not re.fullmatch(kind["pattern"], text))]
        return rng.choice([*texts, rng.choice((1, 1.5, True, [], {}))] if json_ else texts)
    return rng.choice(NOT_TEXTS)


def wrong_integer(rng: random.Random, schema: dict[str, Any], json_: bool) -> Any:
    bounds = [schema["minimum"] - 1 - rng.choice((0, rng.getrandbits(20), 2**53, 2**63, 10**400))]
    if "maximum" in schema:
        bounds.append(schema["maximum"] + 1 + rng.choice((0, rng.getrandbits(20), 2**53, 2**63, 10**400)))
    texts = [rng.choice(NOT_INTEGERS), rng.choice(PADDED), _junk(rng, _no_integer), str(rng.choice(bounds)), str(rng.choice(bounds))]
    if not json_:
        return rng.choice(texts)
    return rng.choice([*texts, *bounds, rng.choice((True, False, 1.5, 1.0, -0.0, 1e300, -2.5e-8, [], [1], {}, {"id": 1}, [[1]]))])


def wrong_array(rng: random.Random, schema: dict[str, Any]) -> Any:
    if rng.random() < 0.3:
        return rng.choice((*NOT_ARRAYS, []))
    ids = [1002 + rng.randrange(4) for _ in range(rng.choice((0, 1, 3, 30)))]
    item = rng.choice((None, wrong_value(rng, schema["items"], True)))
    return [*ids, item, *ids[: rng.randrange(3)]]


def _no_integer(text: str) -> bool:
    return not re.fullmatch(r"-?[0-9]+", text.strip())


def _junk(rng: random.Random, wrong: Callable[[str], bool]) -> str:
    """Random text that is wrong."""
    alphabet = rng.choice((string.printable, string.digits + "-+. ", "٠١٢٣", "\u200b\u202e\u0000é🙂", '{}[]",:0'))
    while not wrong(text := "".join(rng.choices(alphabet, k=rng.randrange(1, 40)))):
        pass
    return text


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    found: Any = DOCUMENT
    if "$ref" not in schema:
        return schema
    for name in schema["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return dict(found)


# --- wrong fields, over HTTP and direct


def a_wrong_value(rng: random.Random, sample: Sample) -> Malformed:
    name = rng.choice(list(sample.schemas))
    sample.fields[name] = wrong_value(rng, sample.schemas[name], not sample.http or sample.part == "body")
    return Malformed(sample.endpoint, sample.sealed(rng), f"wrong {name}", Code.BAD_PARAMETER, (name,))


def several_wrong_values(rng: random.Random, sample: Sample) -> Malformed:
    names = rng.sample(list(sample.schemas), min(len(sample.schemas), rng.randrange(2, 5)))
    for name in names:
        sample.fields[name] = wrong_value(rng, sample.schemas[name], not sample.http or sample.part == "body")
    return Malformed(sample.endpoint, sample.sealed(rng), f"wrong {', '.join(names)}", Code.BAD_PARAMETER, tuple(names))


def a_missing_field(rng: random.Random, sample: Sample) -> Malformed:
    name = rng.choice(sample.required)
    if rng.random() < 0.5:
        del sample.fields[name]
    elif sample.http and sample.part == "query":
        sample.fields[rng.choice((name.upper(), f"{name} ", f"{name}[]", f"x{name}"))] = sample.fields.pop(name)
    else:
        sample.fields[name] = None
    return Malformed(sample.endpoint, sample.sealed(rng), f"no {name}", Code.BAD_PARAMETER, (name,))


def no_fields(rng: random.Random, sample: Sample) -> Malformed:
    name = sample.required[0]
    key = "queryStringParameters" if sample.http else sample.part
    event = {key_: value for key_, value in sample.event.items() if key_ != key} | rng.choice(({}, {key: None}, {key: {}}))
    return Malformed(sample.endpoint, event, "no fields", Code.BAD_PARAMETER, (name,))


def too_many_targets(rng: random.Random, sample: Sample) -> Malformed:
    sample.fields["targets"] = [1002 + n % rng.choice((1, 1000)) for n in range(501 + rng.choice((0, 1, 1000)))]
    return Malformed(sample.endpoint, sample.sealed(rng), "too many targets", Code.TOO_MANY_TARGETS, ("targets",))


def a_missing_part(rng: random.Random, sample: Sample) -> Malformed:
    ctype = rng.choice((TEXT, *WITH_ATTACHMENT))
    name = "content" if ctype == TEXT else "attachment"
    sample.fields |= {"content_type": rng.choice((ctype, str(ctype))), "content": "hi", "attachment": "{}", name: rng.choice((None, ""))}
    if rng.random() < 0.3:
        del sample.fields[name]
    return Malformed(sample.endpoint, sample.sealed(rng), f"no {name}", Code.BAD_PARAMETER, (name,))


def too_much_text(rng: random.Random, sample: Sample) -> Malformed:
    names = rng.sample(PARTS, rng.randrange(1, 5))
    letter = rng.choice("x\0é🙂\u2028")
    for name in names:
        sample.fields[name] = letter * (TEXT_LIMIT // len(letter.encode()) // len(names))
    sample.fields[names[0]] += "x" * rng.choice((1 + len(names) * len(letter.encode()), 5000))
    sample.fields |= {"content": sample.fields.get("content") or "x"}
    return Malformed(sample.endpoint, sample.sealed(rng), "too much text", Code.MESSAGE_TOO_LARGE, ("content, attachment, config and ext",))


# --- bodies that are not what they should be


def a_truncated_body(rng: random.Random, sample: Sample) -> Malformed:
    text = json.dumps(sample.fields)
    return _body(sample, "truncated", sample.with_body(text[: rng.randrange(len(text))], encoded=rng.random() < 0.3))


def a_broken_body(rng: random.Random, sample: Sample) -> Malformed:
    """JSON with a sign too few or too many, or with something before or after it."""
    text = json.dumps(sample.fields)
    outside = [match for match in re.finditer(r'"(?:[^"\\]|\\.)*"|(.)', text, re.DOTALL) if match[1]]
    at = rng.choice([match.start() for match in outside if match[1] in "{}[]:"])
    inside = rng.choice([match.start() for match in outside])
    broken = (
        text[:at] + text[at + 1 :],
        text[:inside] + rng.choice(JUNK) + text[inside:],
        text + rng.choice(("x", "{}", ",", "]", "}", "\0", "//", "\ufeff", text)),
        rng.choice(("\ufeff", "x", "[", "{", "//", ")]}',\n")) + text,
        text.replace('"', "'"),
        text.replace(":", "="),
        f"[{text}]",
        json.dumps(text),
        text.replace("{", '{"type": 1, ', 1),
        text[:-1] + f", {text[1 : text.index(':')]}: 0}}",
    )
    return _body(sample, "broken", sample.with_body(rng.choice(broken), encoded=rng.random() < 0.3))


def a_value_that_is_no_json(rng: random.Random, sample: Sample) -> Malformed:
    name = rng.choice([*sample.schemas, "unknown"])
    text = json.dumps({**sample.fields, name: "<here>"})
    return _body(sample, "no JSON", sample.with_body(text.replace('"<here>"', rng.choice(NOT_JSON)), encoded=rng.random() < 0.3))


def no_object(rng: random.Random, sample: Sample) -> Malformed:
    return _body(sample, "no object", sample.with_body(rng.choice(NOT_BODIES), encoded=rng.random() < 0.3))


def no_body(rng: random.Random, sample: Sample) -> Malformed:
    event = {key: value for key, value in sample.event.items() if key != "body"} | rng.choice(({}, {"body": None}, {"body": ""}))
    return _body(sample, "no body", event | {"isBase64Encoded": rng.random() < 0.5})


def deep_nesting(rng: random.Random, sample: Sample) -> Malformed:
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
    depth = rng.randrange(1500, 20_000)
    nested = opening * depth + rng.choice(("1" + closing * depth, ""))
    text = rng.choice((nested, json.dumps(sample.fields)[:-1] + f', "unknown": {nested}}}'))
    return _body(sample, "nested", sample.with_body(text, encoded=rng.random() < 0.3))


def another_encoding(rng: random.Random, sample: Sample) -> Malformed:
    """Octets that are not UTF-8, or not the JSON that they are the encoding of."""
    text = json.dumps({**sample.fields, "ext": "é"}, ensure_ascii=False)
    octets = (
        *(text.encode(each) for each in ("latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp037", "cp1252")),
        *(text.encode().replace("é".encode(), each) for each in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82")),
        gzip.compress(text.encode(), 1),
        base64.b64encode(text.encode()),
        base64.b85encode(text.encode()),
        text.encode().hex().encode(),
        rng.randbytes(rng.randrange(1, 200)) + b"\xff",
    )
    return _body(sample, "another encoding", sample.with_body(rng.choice(octets)))


def no_base64(rng: random.Random, sample: Sample) -> Malformed:
    text = json.dumps(sample.fields)
    encoded = base64.b64encode(text.encode()).decode()
    at = rng.randrange(len(encoded.rstrip("=")))
    raws = (
        text,
        encoded[:at] + rng.choice(" \n-_.%$é\0") + encoded[at:],
        encoded + "=x",
        "A" + encoded.rstrip("=")[: len(encoded) // 4 * 4 - 4],
    )
    return _body(sample, "no base64", sample.event | {"body": rng.choice(raws), "isBase64Encoded": True})


def what_the_gateway_has_replaced(rng: random.Random, sample: Sample) -> Malformed:
    name = rng.choice([*PARTS, "unknown"])
    sample.fields[name] = rng.choice(("", "a")) + REPLACEMENT + rng.choice(("", "b" * 100, "\n", "é"))
    event = sample.with_body(json.dumps(sample.fields, ensure_ascii=False))
    return Malformed(sample.endpoint, event, "replaced", Code.BAD_PARAMETER, (name if name in PARTS else "body",))


def a_huge_body(rng: random.Random, sample: Sample) -> Malformed:
    text = json.dumps({**sample.fields, "unknown": "x" * (MAX_BODY_BYTES + rng.randrange(1_000_000))})
    event = sample.with_body(rng.choice((text, text[: MAX_BODY_BYTES + 1])))
    return Malformed(sample.endpoint, event, "huge", Code.MESSAGE_TOO_LARGE, ("body",), 413)


def _body(sample: Sample, what: str, event: Any) -> Malformed:
    return Malformed(sample.endpoint, event, f"body: {what}", Code.BAD_PARAMETER, ("body",))


# --- headers


def a_wrong_header(rng: random.Random, sample: Sample) -> Malformed:
    name = rng.choice(("app_id", "user_id", "group_id"))
    if name == "app_id":
        value = rng.choice((rng.choice(NOT_APPS), _junk(rng, _no_app)))
    else:
        schema = DOCUMENT["components"]["parameters"][name]["schema"]
        value = wrong_integer(rng, schema, False)
        while value in PADDED or not value.strip():  # an empty one is as good as absent
            value = wrong_integer(rng, schema, False)
    spelled = rng.choice((name, name.upper(), name.title()))
    sample.event["headers"] = {key: kept for key, kept in sample.event["headers"].items() if key != name} | {spelled: value}
    return Malformed(sample.endpoint, sample.sealed(rng), f"header {name}", Code.BAD_PARAMETER, (name,))


def a_missing_header(rng: random.Random, sample: Sample) -> Malformed:
    name, code = rng.choice((("app_id", Code.BAD_PARAMETER), ("access-token", Code.TOKEN_MISSING)))
    if name == "access-token" and rng.random() < 0.5:
        sample.event["headers"][name] = rng.choice(("", " ", "\t"))
    else:
        del sample.event["headers"][name]
    return Malformed(sample.endpoint, sample.sealed(rng), f"no header {name}", code, (name,))


def no_headers(rng: random.Random, sample: Sample) -> Malformed:
    del sample.event["headers"]
    event = sample.sealed(rng) | rng.choice(({}, {"headers": None}, {"headers": {}}, {"headers": {"accept": "*/*"}}))
    return Malformed(sample.endpoint, event, "no headers", Code.BAD_PARAMETER, ("app_id",))


def a_wrong_token(rng: random.Random, sample: Sample) -> Malformed:
    """Any change to a token but to its very last letter, of which some bits mean nothing."""
    token = sample.event["headers"]["access-token"]
    header, payload, signature = token.split(".")
    at, other = int(rng.random() * (len(token) - 1)), rng.choice(string.ascii_letters + "-_.")  # whatever the token's length
    other = other if other != token[at] else "~"
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"k1"}').decode().rstrip("=")
    wrong = (
        token[:at] + other + token[at + 1 :],
        token[:at] + other + token[at:],
        token[: at + 1],
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{header}.{payload}",
        f"{payload}.{header}.{signature}",
        f"{token}.{signature}",
        f"{token},{token}",
        f"Bearer {token}",
        f'"{token}"',
        token + "x" * 5000,
        _junk(rng, lambda text: bool(text.strip())),
        "é" + token,
        "null",
        "..",
    )
    sample.event["headers"]["access-token"] = rng.choice(wrong)
    return Malformed(sample.endpoint, sample.sealed(rng), "wrong token", Code.TOKEN_INVALID, ("access-token",))


def _no_app(text: str) -> bool:
    return not re.fullmatch(keys.APP_ID, text.strip())


# --- the shape of the event


def a_part_of_another_type(rng: random.Random, sample: Sample) -> Malformed:
    """An HTTP event that is none of API Gateway's: whoever may invoke a function directly may send it anything."""
    key = rng.choice(("headers", "queryStringParameters" if sample.part == "query" else "body"))
    value = rng.choice([value for value in NOT_OBJECTS if value and not (key == "body" and isinstance(value, str))])
    if key == "body" and rng.random() < 0.5:
        value = sample.fields
    return Malformed(sample.endpoint, sample.sealed(rng) | {key: value}, f"{key} of another type", Code.BAD_PARAMETER, (key,))


def a_header_of_another_type(rng: random.Random, sample: Sample) -> Malformed:
    name = rng.choice(("app_id", "user_id", "group_id", "access-token"))
    sample.event["headers"][name] = rng.choice(([], ["demo"], {}, {"a": 1}, 1.5, -1.0))
    code = Code.TOKEN_INVALID if name == "access-token" else Code.BAD_PARAMETER
    return Malformed(sample.endpoint, sample.sealed(rng), f"{name} of another type", code, (name,))


def a_wrong_direct_event(rng: random.Random, sample: Sample) -> Malformed:
    name = rng.choice(("app_id", "user_id", "group_id", sample.part))
    if name == sample.part:
        value = rng.choice(NOT_OBJECTS)
    elif name == "app_id":
        value = rng.choice((*NOT_APPS, None, 0, 1, True, [], ["demo"], {}, _junk(rng, _no_app), "demo\n", " demo"))
    else:
        value = wrong_integer(rng, DOCUMENT["components"]["parameters"][name]["schema"], True)
    return Malformed(sample.endpoint, sample.sealed(rng) | {name: value}, f"direct {name}", Code.BAD_PARAMETER, (name,))


def no_direct_event(rng: random.Random, sample: Sample) -> Malformed:
    events: tuple[Any, ...] = (
        None,
        *NOT_OBJECTS,
        {},
        {"app": "demo"},
        {"Records": []},
        [sample.event],
        json.dumps(sample.event),
        sample.fields,
    )
    return Malformed(sample.endpoint, rng.choice(events), "no event", Code.BAD_PARAMETER, ("app_id",))


def _bodily(sample: Sample) -> bool:
    return sample.http and sample.part == "body"


MUTATIONS: list[tuple[Callable[[random.Random, Sample], Malformed], float, Callable[[Sample], bool]]] = [
    (a_wrong_value, 30, lambda sample: True),
    (several_wrong_values, 8, lambda sample: len(sample.schemas) > 1),
    (a_missing_field, 6, lambda sample: bool(sample.required)),
    (no_fields, 2, lambda sample: bool(sample.required) and not _bodily(sample)),
    (too_many_targets, 1, lambda sample: "targets" in sample.schemas),
    (a_missing_part, 6, lambda sample: sample.part == "body"),
    (too_much_text, 1, lambda sample: sample.part == "body"),
    (a_truncated_body, 10, _bodily),
    (a_broken_body, 10, _bodily),
    (a_value_that_is_no_json, 8, _bodily),
    (no_object, 3, _bodily),
    (no_body, 1, _bodily),
    (deep_nesting, 1, _bodily),
    (another_encoding, 8, _bodily),
    (no_base64, 4, _bodily),
    (what_the_gateway_has_replaced, 4, _bodily),
    (a_huge_body, 0.05, _bodily),
    (a_wrong_header, 12, lambda sample: sample.http),
    (a_missing_header, 4, lambda sample: sample.http),
    (no_headers, 1, lambda sample: sample.http),
    (a_wrong_token, 8, lambda sample: sample.http),
    (a_part_of_another_type, 3, lambda sample: sample.http),
    (a_header_of_another_type, 3, lambda sample: sample.http),
    (a_wrong_direct_event, 12, lambda sample: not sample.http),
    (no_direct_event, 4, lambda sample: not sample.http),
]
