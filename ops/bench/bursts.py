"""Many containers that write into one conversation at once, in virtual time: how often an append loses its race, and what that costs.

The real handler of `send` runs on the in-process AWS. Each of its AWS calls takes `Load.latency_s` on average, uniform by ± 30 %, and
takes effect in its middle, or at another share of it; a pause takes as long as it says; computing takes no time. Clients arrive at
random (Poisson) and do not ask again when they are refused.

python -m ops.bench.bursts --rate 200 --to group --constant messaging.conversations.log.APPEND_ATTEMPTS=8
"""

import ast
import itertools
import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, NamedTuple

import pytest
import typer
from rich.table import Table

from endpoints.send import handler
from infra.settings import load as load_settings
from messaging.base import store
from messaging.base.errors import Code
from messaging.conversations.rules import TEXT
from ops.bench.deployed import STAGE
from ops.bench.figures import Figure, Line, Part, Progress
from ops.bench.virtual_time import VirtualTime
from ops.console import err, out
from tests.fast_world import START_MS, FastWorld, fast_world
from tests.faults.sdk import WRITES
from tests.world import EVENTS, Context

RATES = (1, 10, 50, 100, 200)  # messages a second
MESSAGES, SECONDS = 2_000, 20  # a run has at least so many, and lasts at least so long
LATENCY_S, SPREAD = 0.005, 0.3  # of an AWS call: the mean, and how far it may be off, as a share of it
EFFECT = 0.5  # the share of its time after which a call takes effect
MEMBERS = 100  # of the group; everybody writes
LIFE_S = 1e6  # of a token: longer than any run
SHOWN_EVERY_S = 1.0
CHOSEN = load_settings(STAGE)
DEPLOYED = {
    "CONVERSATION_RATE_PER_SECOND": str(CHOSEN.conversation_rate_per_second),
    "CONVERSATION_BURST_MESSAGES": str(CHOSEN.conversation_burst_messages),
}
GOALS: dict[float, float] = {50: 1.4, 200: 2.5}  # writes for an accepted message at that rate, where one is needed

EVENT: dict[str, Any] = json.loads((EVENTS / "send.http.json").read_text())


class Broken(Exception):
    """What was measured is not what is promised: a figure of it would say nothing."""


class To(StrEnum):
    """Whose conversation it is that all of them write into."""

    USER = "user"
    GROUP = "group"


@dataclass(frozen=True)
class Load:
    """What is offered, and to which Parley."""

    rate: float  # messages a second
    to: To = To.USER
    transactions: bool = False  # whether each message carries a transaction_id
    flooded: float = 0  # messages a second of one member, who floods the conversation, beside `rate` of all the others
    messages: int | None = None
    seed: int = 1
    latency_s: float = LATENCY_S
    effect: float = EFFECT
    settings: Mapping[str, str] = field(default_factory=lambda: DEPLOYED)  # environment of the functions
    constants: Mapping[str, object] = field(default_factory=dict)  # "messaging.conversations.log.APPEND_ATTEMPTS": 8

    @property
    def count(self) -> int:
        return self.messages or max(MESSAGES, math.ceil((self.rate + self.flooded) * SECONDS))

    def __str__(self) -> str:
        where = "conversation" if self.to is To.USER else "group"
        how = ", with transaction_id" * self.transactions + f", {self.latency_s * 1000:g} ms a call"
        flood = f" beside {self.flooded:g} of one member" if self.flooded else ""
        return f"{self.rate:g} messages a second into one {where}{flood}{how}"


@dataclass
class Run:
    """What became of a load."""

    load: Load
    seconds: float = 0.0  # until the last message was offered
    latencies_s: list[float] = field(default_factory=list)  # of what was accepted
    refused: int = 0
    others: int = 0  # of the messages that are not a flooder's, how many were offered
    others_refused: int = 0
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)  # by operation and table

    @property
    def accepted(self) -> int:
        return len(self.latencies_s)

    @property
    def puts(self) -> float:
        """Attempts to put a message for each that was accepted, those of refused requests included."""
        return self.calls["PutItem", "Messages"] / self.accepted

    @property
    def writes(self) -> float:
        """The same for all writes to Messages and Dedup: failed ones are billed too."""
        return sum(self.calls[write, table] for write in WRITES for table in ("Messages", "Dedup")) / self.accepted

    @property
    def refused_share(self) -> float:
        return self.refused / self.load.count

    @property
    def accepted_per_s(self) -> float:
        return self.accepted / self.seconds

    def latency_ms(self, share: float) -> float:
        return sorted(self.latencies_s)[math.ceil(share * self.accepted) - 1] * 1000


def run(load: Load, progress: Progress) -> Run:
    """Offers the load; Broken where what was accepted is not stored once, numbered 1, 2, 3, … without a gap."""
    done = Run(load)
    with _parley(load, done) as (clock, world, senders):
        rng, accepted, shown = random.Random(load.seed), dict[int, str](), time.monotonic()

        def request(headers: dict[str, str], body: dict[str, Any], floods: bool) -> None:
            nonlocal shown
            started = clock.now_s
            reply = json.loads(handler({**EVENT, "headers": headers, "body": json.dumps(body)}, Context())["body"])
            if reply["code"] == Code.OK:
                done.latencies_s.append(clock.now_s - started)
                accepted[reply["msg_ids"][0]] = body["content"]
            elif reply["code"] == Code.TOO_MANY_REQUESTS:
                done.refused += 1
                done.others_refused += not floods
            else:
                raise Broken(f"{load}: refused with {reply}")
            if time.monotonic() - shown > SHOWN_EVERY_S:
                shown = time.monotonic()
                progress(f"{load}: {done.accepted + done.refused:,} of {load.count:,}")

        progress(str(load))
        tasks = []
        for serial in range(1, load.count + 1):
            clock.sleep(rng.expovariate(load.rate + load.flooded))
            floods = load.flooded > 0 and rng.random() < load.flooded / (load.rate + load.flooded)
            sender = senders[0] if floods else rng.choice(senders[load.flooded > 0 :])
            done.others += not floods
            body = sender.body | {"content": f"message {serial}"} | ({"transaction_id": serial} if load.transactions else {})
            tasks.append(clock.start(partial(request, sender.headers, body, floods)))
        done.seconds = clock.now_s
        clock.join(tasks)
        _require_one_log(accepted, {place[1]: item["content"]["S"] for place, item in world.aws.tables["Messages"].items()})
    return done


def _require_one_log(accepted: Mapping[int, str], stored: Mapping[int, str]) -> None:
    """`accepted`, `stored`: what was said under which number."""
    if sorted(stored) != list(range(1, len(stored) + 1)):
        raise Broken(f"a gap: {len(stored)} messages up to number {max(stored)}")
    if accepted != stored:
        raise Broken(
            f"{len(accepted)} messages were accepted, {len(stored)} stored, {len(accepted.items() & stored.items())} of them alike"
        )


class _Sender(NamedTuple):
    """A client: the headers of its requests, and the body but for what each one says."""

    headers: dict[str, str]
    body: dict[str, Any]


@contextmanager
def _parley(load: Load, done: Run) -> Iterator[tuple[VirtualTime, FastWorld, list[_Sender]]]:
    """A Parley in virtual time, and who writes. The jitter of the functions' pauses comes from a seed, too."""
    state = random.getstate()
    with fast_world(**load.settings) as world, pytest.MonkeyPatch.context() as patch:
        for name, value in load.constants.items():
            patch.setattr(name, value)
        clock, rng = VirtualTime(), random.Random(f"{load.seed} latencies")

        def answer(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
            took_s = load.latency_s * rng.uniform(1 - SPREAD, 1 + SPREAD)
            done.calls[operation, request.get("TableName", "")] += 1
            clock.sleep(took_s * load.effect)
            try:
                return perform()
            finally:
                clock.sleep(took_s * (1 - load.effect))

        users = [world.user() for _ in range(2 if load.to is To.USER else MEMBERS)]
        group = world.group(*users) if load.to is To.GROUP else None
        senders = []
        for user in users:
            target = group or sum(users) - user  # of two users the other one
            body = {"type": 2 if group else 1, "targets": [target], "content_type": TEXT}
            headers = EVENT["headers"] | {"access-token": world.token(user, lives_s=LIFE_S)}
            senders.append(_Sender(headers, body))
        world.injector = answer
        clock.moved = lambda now_s: setattr(world, "now_ms", START_MS + int(now_s * 1000))
        patch.setattr(store, "parallel", clock.parallel)
        patch.setattr("messaging.base.store.time.sleep", clock.sleep)
        random.seed(f"{load.seed} pauses")
        try:
            yield clock, world, senders
        finally:
            random.setstate(state)


HELD = "without a transaction_id"  # the series that the goals are for
SERIES = {
    HELD: Load(0, messages=10_000),  # enough for a second decimal
    "with a transaction_id": Load(0, transactions=True),
    "to a group": Load(0, To.GROUP),
    "11 ms a call": Load(0, latency_s=0.011),
}
FLOODS = (100, 400)  # messages a second of one member of a group, while all others together send `QUIET`
QUIET = 10
TOLD: dict[str, Callable[[Run], float]] = {  # of each rate; `bursts` is plotted
    "bursts": lambda done: done.writes,
    "bursts: refused": lambda done: done.refused_share,
    "bursts: accepted a second": lambda done: done.accepted_per_s,
    "bursts: p50 ms": lambda done: done.latency_ms(0.5),
    "bursts: p99 ms": lambda done: done.latency_ms(0.99),
}


def measure(progress: Progress) -> Part:
    """Every series at every rate. A group differs from a user in what is checked alone."""
    figures, lines = list[Figure](), dict[str, list[Line]]()
    for name, load in SERIES.items():
        runs = [run(replace(load, rate=rate), progress) for rate in RATES]
        figures += [_figure(done, GOALS[done.load.rate] if name == HELD else None) for done in runs if done.load.rate in GOALS]
        for plot, value in TOLD.items():
            lines.setdefault(plot, []).append(Line(name, list(RATES), [value(done) for done in runs]))
    figures += [_spared(run(Load(QUIET, To.GROUP, flooded=flooded), progress)) for flooded in FLOODS]
    return Part("bursts", figures, lines)


def _spared(done: Run) -> Figure:
    """What a flooder costs the others, though no limit of the sender's own is set here."""
    note = f"of {done.others:,}; of the flooder's {(done.refused - done.others_refused) / (done.load.count - done.others):.0%} were refused"
    return Figure(f"Refused of {done.load}, without the member's", done.others_refused, "messages", 0, note=note)


def _figure(done: Run, goal: float | None) -> Figure:
    needed = 2 if done.load.transactions else 1
    note = f"{needed} needed; {done.refused_share:.0%} refused, {done.accepted_per_s:.0f} accepted a second"
    latencies = f"p50 {done.latency_ms(0.5):,.0f} ms, p99 {done.latency_ms(0.99):,.0f} ms"
    return Figure(f"Writes for a message, {done.load}", done.writes, "writes", goal, note=f"{note}, {latencies}")


def main(
    rate: Annotated[list[float] | None, typer.Option(help="Messages a second; may be repeated.")] = None,
    to: Annotated[list[To] | None, typer.Option(help="user or group; may be repeated.")] = None,
    transactions: Annotated[bool | None, typer.Option(help="With a transaction_id or without; both unless said.")] = None,
    messages: Annotated[int | None, typer.Option(help=f"How many to offer; {MESSAGES:,}, and {SECONDS} s, at least, unless said.")] = None,
    seed: int = 1,
    latency_ms: Annotated[float, typer.Option(help="Of an AWS call, on average.")] = LATENCY_S * 1000,
    effect: Annotated[float, typer.Option(help="The share of its time after which a call takes effect.", min=0, max=1)] = EFFECT,
    setting: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of the functions' environment; may be repeated.")] = None,
    constant: Annotated[list[str] | None, typer.Option(help="package.module.NAME=VALUE; may be repeated.")] = None,
) -> None:
    """One line a run: what was offered, what came of it."""
    settings = DEPLOYED | dict(pair.split("=", 1) for pair in setting or [])
    constants = {name: ast.literal_eval(value) for name, value in (pair.split("=", 1) for pair in constant or [])}
    columns = ("offered a second", "to", "transaction_id", "accepted a second", "refused", "puts", "writes", "p50 ms", "p99 ms", "CPU s")
    table = Table(*columns)
    for kind, with_id, each in itertools.product(to or list(To), (False, True) if transactions is None else (transactions,), rate or RATES):
        load = Load(each, kind, with_id, 0, messages, seed, latency_ms / 1000, effect, settings, constants)
        cpu_s = time.process_time()
        done = run(load, err.print)
        cells = (f"{done.accepted_per_s:.1f}", f"{done.refused_share:.1%}", f"{done.puts:.2f}", f"{done.writes:.2f}")
        latencies = (f"{done.latency_ms(0.5):.0f}", f"{done.latency_ms(0.99):.0f}", f"{time.process_time() - cpu_s:.1f}")
        table.add_row(f"{each:g}", kind, "yes" if with_id else "no", *cells, *latencies)
    out.print(table)


if __name__ == "__main__":
    typer.run(main)
