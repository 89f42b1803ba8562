"""Random histories with faults, races, repeats and time, held to the model: nothing is lost, nothing doubled. A failing one is a script.

How many there were is in the test report (`histories`, `steps`, `calls`, `faults`, `races`).
"""

import subprocess
import sys
from collections.abc import Callable

import pytest

from infra.settings import ROOT
from messaging.base import store
from messaging.conversations import rules
from tests.histories import machine
from tests.histories.machine import KINDS, STEPS, Machine, Plain

HISTORIES = 100  # of each kind
SEED = 1  # the same histories every time; running the module looks for other ones

# What the code must not do, and what the history then finds.
UNREAD = """
from messaging.conversations import rules
rules.unread = lambda marks: max(0, marks.last_seq - marks.floor)
"""
TAKEN = """
from messaging.base import store
attempt = store.attempt
store.attempt = lambda write, **call: attempt(write, **call)._replace(**({"applied": True} if call["TableName"] == "Messages" else {}))
"""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__.lower())
def test_every_history_ends_as_the_model_says(kind: type[Machine], record_property: Callable[[str, object], None]) -> None:
    done = machine.run(kind, HISTORIES, SEED)
    assert done.histories >= HISTORIES
    assert done.steps >= HISTORIES * STEPS
    assert 0.03 <= done.faults / done.calls <= 0.1
    for name, number in vars(done).items():
        record_property(name, number)


@pytest.mark.parametrize(("wrong", "found"), [(UNREAD, "is told"), (TAKEN, "lost: ")], ids=["unread numbers", "taken slots"])
def test_a_failing_history_is_printed_as_a_script_that_fails_alike(monkeypatch: pytest.MonkeyPatch, wrong: str, found: str) -> None:
    for module, name in ((rules, "unread"), (store, "attempt")):
        monkeypatch.setattr(module, name, getattr(module, name))  # so that it is put back
    exec(wrong, {})  # noqa: S102
    with pytest.raises(AssertionError, match=found) as failed:
        machine.run(Plain, HISTORIES, SEED)
    script = "\n".join(failed.value.__notes__).partition("\n")[2]  # after hypothesis' headline
    assert script.count("\nstate.") <= 8  # shrunk
    environment = {"PYTHONPATH": "functions:.", "PATH": "/usr/bin:/bin"}
    assert replay(script, environment) == ""
    assert str(failed.value).splitlines()[0] in replay(wrong + script, environment)


def replay(script: str, environment: dict[str, str]) -> str:
    """What the script complains of."""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.stderr
