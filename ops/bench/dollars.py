"""What operations cost: what was metered, times the prices of `infra/prices.json`. Storage is told apart, because it grows with time.

A Lambda bill is milliseconds, as `ops/cost.py` reckons them: AWS calls one after another, and CPU. How many records or jobs share an
invocation follows from the traffic, which is stated.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

from infra.catalog import SHARDS
from infra.prices import PRICES, usd
from ops import cost
from ops.bench.deployed import Deployment
from ops.bench.meter import sqs_requests
from ops.bench.stage import Work

Amounts = Mapping[str, float]  # by position of the price list, in its unit


class Traffic(NamedTuple):
    """Requests of one kind a second, evenly spread, on what is deployed."""

    a_second: float
    deployed: Deployment

    @property
    def records(self) -> int:
        """In a delivery: what its lane gets within the window, at least the one that opened it."""
        lanes = SHARDS * self.deployed.lanes
        return max(1, min(int(self.a_second / lanes * self.deployed.window_s), self.deployed.stream_batch))


def request(work: Work, traffic: Traffic, *, cpu_ms: float | None = None) -> Amounts:
    """Of one HTTP request. `cpu_ms` on a full core: estimated by its AWS calls unless it was measured."""
    containers = ceil(traffic.a_second * billed_ms(work, traffic.deployed, cpu_ms) / 1000)
    secret_calls = min(1, containers / cost.KEYS_EVERY_S / traffic.a_second)
    gateway = {
        "http_million": 1 / 1e6,
        "log_gb": traffic.deployed.access_line_bytes / 1e9,
        "out_gb": work.reply_bytes / 1e9,
        "secret_ten_thousand": secret_calls / 1e4,
    }
    return total(invocation(work, traffic.deployed, traffic.a_second, cpu_ms=cpu_ms), gateway)


def invocation(work: Work, deployed: Deployment, a_second: float, *, cpu_ms: float | None = None) -> Amounts:
    """Of one invocation of a function that is invoked so often."""
    traced = cost.TRACED_SHARE + (1 - cost.TRACED_SHARE) * min(1, cost.TRACED_PER_S / a_second) if deployed.traced else 0
    return {
        "lambda_million": 1 / 1e6,
        "lambda_gb_s_million": billed_ms(work, deployed, cpu_ms) / 1000 * deployed.memory_mb / 1024 / 1e6,
        "read_unit_million": work.metered.reads / 1e6,
        "write_unit_million": work.metered.writes / 1e6,
        "sqs_million": work.metered.sqs_requests / 1e6,
        "secret_ten_thousand": work.metered.secret_calls / 1e4,
        "log_gb": work.log_bytes / 1e9,
        "trace_million": traced / 1e6,
    }


def polled(jobs: Sequence[Mapping[str, Any]]) -> Amounts:
    """What Lambda asks of the queue for one invocation: to receive the jobs, and to delete them."""
    return {"sqs_million": (sqs_requests([job["body"] for job in jobs]) + 1) / 1e6}


def billed_ms(work: Work, deployed: Deployment, cpu_ms: float | None) -> float:
    return cost.billed_ms(work.metered.calls, work.round_trips, cpu_ms, deployed.memory_mb)


def total(*parts: Amounts) -> Amounts:
    added: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        for position, amount in part.items():
            added[position] += amount
    return added


def share(amounts: Amounts, messages: int) -> Amounts:
    """What each of the messages has to bear that were handled together."""
    return {position: amount / messages for position, amount in amounts.items()}


def a_million(amounts: Amounts) -> float:
    """Dollars of a million times as much."""
    return sum(amount * usd(position) for position, amount in amounts.items()) * 1e6


def largest(amounts: Amounts, count: int = 4) -> str:
    """The positions that make most of it, in dollars of a million times as much."""
    positions = sorted(((amount * usd(name) * 1e6, name) for name, amount in amounts.items()), reverse=True)[:count]
    return ", ".join(f"{PRICES[name]['what'].split(',')[0]} {each:.2f}" for each, name in positions)
