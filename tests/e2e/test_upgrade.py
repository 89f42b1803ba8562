"""After an upgrade from the previous release's stack everything is as it was, and goes on. `tests/upgrade.py` makes what was before."""

import json

import pytest

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
