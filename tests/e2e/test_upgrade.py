"""After an upgrade from the previous release's stack everything is as it was, and goes on. `tests/upgrade.py` makes what was before."""

import json
import time
import urllib.request

import pytest

from messaging.people import directory, tokens
from messaging.people.models import USER
from ops import stack
from tests import upgrade


def test_an_upgrade_keeps_every_table_and_what_everybody_sees() -> None:
    if not upgrade.before().exists():
        pytest.fail("nothing was upgraded: `make test` deploys the previous release first, or see tests/upgrade.py")
    told = json.loads(upgrade.before().read_text())
    outputs, people = stack.connect(None), told["people"]
    assert {output: outputs[output] for output in upgrade.STATEFUL} == told["outputs"]
    assert upgrade.seen(outputs, people) == told["seen"]

    alice, bob, group = people["alice"], people["bob"], people["group"]
    first = {"type": 1, "targets": [bob, people["carol"]], "content": "message 0", "transaction_id": 1}
    assert upgrade.invoke(outputs, "Send", alice, body=first)["msg_ids"] == [1, 1]  # what was remembered is remembered
    later = {"type": 2, "targets": [group], "content": "after the upgrade"}
    assert upgrade.invoke(outputs, "Send", alice, body=later)["msg_ids"][0] > upgrade.MESSAGES


def test_an_upgrade_keeps_every_token_and_every_revocation() -> None:
    stack.connect(None)
    people = json.loads(upgrade.before().read_text())["people"]
    assert "revoked" in directory.app(upgrade.APP)

    def code(token: str) -> int:
        headers = {"app_id": upgrade.APP, "access-token": token}
        request = urllib.request.Request(stack.local()["api_url"] + "/message/unread", headers=headers)  # noqa: S310 - the local AWS
        with urllib.request.urlopen(request, timeout=120) as reply:  # noqa: S310
            return int(json.load(reply)["code"])

    assert [code(upgrade.token(people[name])) for name in ("alice", "carol")] == [200, 402]
    now_ms = time.time_ns() // 1_000_000
    assert [code(tokens.issue(upgrade.APP, people[name], USER, 60, now_ms)) for name in ("alice", "carol")] == [200, 200]
