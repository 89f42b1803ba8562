"""Whether the account lets Lambda run all at once what a stage may run: its limit is shared by every function of the region.

Fan-out and delivery have bounds of their own. What they may take together has to leave enough to the endpoints, or a busy group has
everybody's requests refused. A new account's limit may be as low as 10.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

from infra.catalog import SHARDS

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

SHARE = 0.5  # of what is not reserved that the workers may take without a remark
QUOTA = "https://console.aws.amazon.com/servicequotas/home/services/lambda/quotas/L-B99A9384"  # Concurrent executions


class Capacity(NamedTuple):
    """Of an account in one region: invocations at the same time, and those that no function has reserved."""

    limit: int
    free: int


class Demand(NamedTuple):
    """What the workers of a stage may take: `fanout_max_concurrency`, and `deliver_lanes` of each shard of the stream."""

    fanout: int
    lanes: int

    @property
    def most(self) -> int:
        return self.fanout + self.lanes * SHARDS


def capacity(client: "LambdaClient") -> Capacity:
    found = client.get_account_settings()["AccountLimit"]
    return Capacity(found["ConcurrentExecutions"], found["UnreservedConcurrentExecutions"])


def judged(demand: Demand, has: Capacity) -> tuple[Literal["ok", "note", "red"], str]:
    """`red`: the workers may take everything, and no request is answered while they do. `note`: they may take more than half."""
    takes = f"fan-out may take {demand.fanout} and delivery {demand.lanes * SHARDS} of {has.free} invocations at a time"
    of = f" ({has.limit} in all, the others are reserved)" if has.free < has.limit else ""
    if demand.most <= has.free * SHARE:
        return "ok", f"{takes}{of}"
    within = int(has.free * SHARE) - demand.lanes * SHARDS
    lower = (
        f"lower fanout_max_concurrency to {within}" if within >= 2 else "lower fanout_max_concurrency and deliver_lanes"
    )  # 2: AWS minimum
    left = "nothing is left" if demand.most >= has.free else f"only {has.free - demand.most} are left"
    state: Literal["note", "red"] = "red" if demand.most >= has.free else "note"
    return state, f"{takes}{of}: {left} to the endpoints. Ask AWS for more concurrent executions ({QUOTA}), or {lower} in cdk.json"
