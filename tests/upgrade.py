"""An upgrade as an operator makes it: the previous release's stack, in use, and then `cdk deploy` of this one.

    python -m tests.upgrade          starts the local AWS, deploys the previous release's template to it, and fills it
    python -m tests.upgrade --back   deploys that template again, over the upgrade: everybody has to see what they saw

The next `make up` on the same local AWS is the upgrade; `tests/e2e/test_upgrade.py` then reads everything back. Of the previous release
it is the template that is kept, in `tests/releases`; the code in it is today's.
"""

import hashlib
import json
import time
from pathlib import Path
from typing import Annotated, Any

import boto3
import jwt
import typer

from infra import settings as stage_settings
from infra.settings import ROOT
from messaging.base import store
from messaging.conversations import membership
from messaging.people import directory, tokens
from messaging.people.models import USER
from ops import cdk, local, stack
from ops.console import fail, run, step

RELEASES = ROOT / "tests" / "releases"
APP = "upgraded"
LIMIT_S = 600  # until everything is delivered
MESSAGES = 5
STATEFUL = ("MessagesTable", "InboxTable", "DedupTable", "DirectoryTable", "TokenSecret", "FanoutQueueUrl", "ApiId")


def before() -> Path:
    """What was there before the upgrade, as everybody saw it."""
    return stack.home() / "before-upgrade.json"


def main(back: Annotated[bool, typer.Option("--back", help="Roll back instead.")] = False) -> None:
    """The previous release, in use; or again."""
    port = local._port()
    endpoint = f"http://127.0.0.1:{port}"
    stack.use_local(endpoint)
    if back:
        _roll_back(endpoint)
        return
    local._start(port, endpoint)
    _deploy_previous(endpoint)
    name = stage_settings.load(local.STAGE).stack_name
    local._write({"aws_endpoint_url": endpoint, "stack": name})
    outputs = stack.connect(None)
    if _resources(name) != set(json.loads(_release().read_text())["Resources"]):
        fail("what was deployed is not the previous release")
    local._correct_policies(outputs)
    with step("Filling it"):
        people = _fill(outputs)
        told = {"outputs": {output: outputs[output] for output in STATEFUL}, "people": people, "seen": seen(outputs, people)}
        before().write_text(json.dumps(told, indent=2))


def _roll_back(endpoint: str) -> None:
    outputs, told = stack.connect(None), json.loads(before().read_text())
    now = seen(outputs, told["people"])
    _deploy_previous(endpoint)
    local._correct_policies(outputs)
    if {output: stack.connect(None)[output] for output in STATEFUL} != told["outputs"] or seen(outputs, told["people"]) != now:
        fail("after rolling back, not everything is as it was")


def _deploy_previous(endpoint: str) -> None:
    """The real CDK CLI deploys a cloud assembly of today whose template is the previous release's."""
    env, logs, where = cdk.environment(stack.local_env(endpoint)), stack.home() / "logs", stack.home() / "previous.out"
    cli, release = cdk.cli(env, logs), _release()
    cloud: list[str | Path] = ["-c", f"stage={local.STAGE}", "--output", where]
    run("cdk bootstrap", [cli, "bootstrap", f"aws://{stack.ACCOUNT}/{stack.REGION}", *cdk.APP, *cloud], env, logs / "bootstrap.log", ROOT)
    local._open_assets()
    run("cdk synth", [cli, "synth", "--quiet", *cdk.APP, *cloud], env, logs / "synth.log", ROOT)
    _replace_template(where, json.loads(release.read_text()))
    deploy: list[str | Path] = [cli, "deploy", "--require-approval", "never", "--progress", "events", "--app", where]
    run(f"cdk deploy of release {release.name.removesuffix('.template.json')}", deploy, env, logs / "deploy-previous.log", ROOT)


def _release() -> Path:
    """The template of the newest release."""
    return max(RELEASES.glob("*.template.json"), key=lambda path: [int(part) for part in path.name.split(".")[:3]])


def _resources(name: str) -> set[str]:
    pages = boto3.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
    return {each["LogicalResourceId"] for page in pages for each in page["StackResourceSummaries"]}


def _replace_template(where: Path, then: dict[str, Any]) -> None:
    """Puts another template into a cloud assembly, with the assets that are there and under a name of its own in the assets' bucket."""
    (path,) = where.glob("*.template.json")
    now = json.loads(path.read_text())
    for type_, part in (("AWS::Lambda::Function", "Code"), ("AWS::Lambda::LayerVersion", "Content")):
        asset = next(each["Properties"][part] for each in now["Resources"].values() if each["Type"] == type_)
        for each in then["Resources"].values():
            if each["Type"] == type_:
                each["Properties"][part] = asset
    path.write_text(json.dumps(then))
    assets = path.with_name(path.name.replace(".template.", ".assets."))
    (key,) = (key for key, file in json.loads(assets.read_text())["files"].items() if file["source"]["path"] == path.name)
    for named in (assets, where / "manifest.json"):
        named.write_text(named.read_text().replace(key, hashlib.sha256(path.read_bytes()).hexdigest()))


def _fill(outputs: dict[str, str]) -> dict[str, int]:
    """An app in use: one-to-one and group conversations, a deletion, a receipt, a reservation. Returns users and group by name."""
    now_ms = time.time_ns() // 1_000_000
    directory.create_app(APP, now_ms)
    alice, bob, carol = (int(directory.create(APP, "user", now_ms, title=name)["entity_id"]) for name in ("alice", "bob", "carol"))
    group = membership.create(APP, alice, [bob, carol], False, now_ms, None, lambda done: None)
    for number in range(MESSAGES):
        body = {"type": 1, "targets": [bob, carol], "content": f"message {number}", "transaction_id": number + 1}
        invoke(outputs, "Send", alice, body=body)
        invoke(outputs, "Send", bob, body={"type": 2, "targets": [group], "content": f"to all {number}"})
    people = {"alice": alice, "bob": bob, "carol": carol, "group": group}
    _as_0_1_0_made_it(carol, now_ms)
    _delivered(outputs, people)
    invoke(outputs, "Ack", bob, query={"conversation_id": alice, "msg_id": 2})
    invoke(outputs, "Forget", carol, query={"conversation_id": alice})
    return people


def _as_0_1_0_made_it(revoked: int, now_ms: int) -> None:
    """The app's item: no generations of a key, and a map of whose tokens are revoked."""
    item = store.get(directory.app_ref(APP)) or {}
    aged = {name: value for name, value in item.items() if name not in (directory.NEWEST_KEY, directory.OLDEST_KEY)}
    aged["revoked"] = {str(revoked): now_ms}
    store.dynamodb().put_item(TableName=directory.app_ref(APP)[0], Item=store.pack(aged))


def token(user: int) -> str:
    """A token as 0.1.0 made it when the app was filled, signed with the stack's own key."""
    ring, iat = tokens.keyring(), directory.app(APP)["created_at"] / 1000
    claims = {"app": APP, "sub": str(user), "role": USER, "iat": iat, "exp": iat + 86400}
    return jwt.encode(claims, ring.keys[ring.current], tokens.ALGORITHM, {"kid": ring.current})


def _delivered(outputs: dict[str, str], people: dict[str, int]) -> None:
    deadline = time.monotonic() + LIMIT_S
    expected = {people["group"]: MESSAGES, people["alice"]: MESSAGES}
    while unread(outputs, people["carol"]) != expected:
        if time.monotonic() > deadline:
            fail(f"not everything was delivered within {LIMIT_S} s")
        time.sleep(0.2)


def unread(outputs: dict[str, str], user: int) -> dict[int, int]:
    return {entry["conversation_id"]["uid"]: entry["num"] for entry in invoke(outputs, "Unread", user)["data"]}


def seen(outputs: dict[str, str], people: dict[str, int]) -> dict[str, Any]:
    """What everybody sees: the list with its numbers, and every conversation."""
    found: dict[str, Any] = {}
    for name in ("alice", "bob", "carol"):
        numbers = [number for other, number in people.items() if other != name]
        pages = {
            number: invoke(outputs, "History", people[name], query={"opposite_id": number, "limit": 100})["data"] for number in numbers
        }
        listed = unread(outputs, people[name])
        found[name] = {"unread": listed, "contents": {number: _contents(page) for number, page in pages.items()}}
    return dict(json.loads(json.dumps(found)))


def _contents(page: dict[str, Any]) -> list[tuple[int, str]]:
    return [(message["msg_id"], message["content"]) for message in page["messages"]]


def invoke(outputs: dict[str, str], name: str, user: int, **request: Any) -> dict[str, Any]:
    """The reply to a direct invocation that succeeds."""
    event = {"app_id": APP, "user_id": user, **request}
    reply = boto3.client("lambda").invoke(FunctionName=outputs[f"{name}Function"], Payload=json.dumps(event).encode())
    envelope: dict[str, Any] = json.loads(reply["Payload"].read())
    if envelope.get("code") != 200:
        fail(f"{name} of {event}: {envelope}")
    return envelope


if __name__ == "__main__":
    typer.run(main)
