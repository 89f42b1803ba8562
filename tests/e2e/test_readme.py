"""What the README and `make up` tell people to paste works, and replies as shown."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from string import Template
from typing import Any

import pytest

from infra.settings import ROOT
from ops.local import curl_lines
from tests.e2e.conftest import DELIVERED_S, Api, eventually

EXAMPLES = re.findall(r"```sh\n(curl [^\n]*)\n```\n```json\n([^\n]*)\n```", (ROOT / "README.md").read_text())


def curl(api: Api, line: str) -> dict[str, Any]:
    """The reply to a line of curl, made by our own client: curl need not be on the machine."""
    words = iter(shlex.split(line)[1:])
    verb, url, body = "GET", "", None
    headers = {"content-type": "application/x-www-form-urlencoded"}  # what curl says of -d
    for word in words:
        if word == "-X":
            verb = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words).encode()
        elif word != "-s":
            url = word
    reply = api.http.request(verb, url, body=body, headers=headers, retries=False)
    assert reply.status == 200
    return dict(json.loads(reply.data))


def shape(value: Any) -> Any:
    """A reply without what differs from one time to the next."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__


def test_every_operation_has_an_example() -> None:
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize(("line", "reply"), EXAMPLES, ids=lambda text: text.split('"')[1] if text.startswith("curl") else "")
def test_the_examples_of_the_readme_reply_as_shown(api: Api, line: str, reply: str) -> None:
    env = subprocess.run([Path(sys.executable).parent / "parley", "env"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    alice, bob = api.app()["users"][:2]
    api.send(alice["token"], [bob["user_id"]])  # so that there is something to read, whatever ran before
    assert alice["user_id"] in eventually(lambda: api.unread(bob["token"]), lambda listed: alice["user_id"] in listed, DELIVERED_S)
    variables = dict(shlex.split(line)[1].split("=", 1) for line in env.splitlines())
    answered = curl(api, Template(line).substitute(variables))
    assert answered["code"] == 200
    assert shape(answered) == shape(json.loads(reply))


def test_the_lines_that_make_up_prints_work(api: Api) -> None:
    sent, _, history = (curl(api, line) for line in curl_lines(api.info))
    assert sent["code"] == 200
    assert history["data"]["messages"][0]["content"] == "Hello Bob"
