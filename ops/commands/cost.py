"""parley cost"""

import json
from typing import Annotated

import typer
from rich.table import Table

from infra.prices import PRICES
from ops import cost
from ops.commands.common import Json
from ops.console import err, out


def cost_of(
    messages: Annotated[int, typer.Option("--messages", min=0, help="Messages sent in a month.")],
    group_size: Annotated[
        int, typer.Option("--group-size", min=2, help="Members that each goes to, its sender included; 2: one-to-one.")
    ] = 2,
    polls: Annotated[int, typer.Option("--polls", min=0, help="How often clients ask for what is unread, in a month.")] = 0,
    pages: Annotated[int | None, typer.Option("--pages", min=0, help="Pages of history in a month; one a message unless said.")] = None,
    receipts: Annotated[int | None, typer.Option("--receipts", min=0, help="Read receipts; one a message unless said.")] = None,
    size: Annotated[int, typer.Option("--bytes", min=1, help="What a message says, in bytes.")] = 200,
    conversations: Annotated[int, typer.Option("--conversations", min=1, help="In the list of a user.")] = 20,
    transactions: Annotated[float, typer.Option("--transactions", min=0, max=1, help="Share of messages with a transaction_id.")] = 1.0,
    months_kept: Annotated[int, typer.Option("--months-kept", min=0, help="Months of messages that are stored.")] = 12,
    own_key: Annotated[bool, typer.Option("--own-key", help="A KMS key of your own encrypts the data.")] = False,
    traced: Annotated[bool, typer.Option("--tracing", help="With tracing on.")] = False,
    access_log: Annotated[bool, typer.Option("--access-log", help="With API Gateway's access log on.")] = False,
    as_json: Json = False,
) -> None:
    """What a month costs, in dollars: an estimate from the prices of one file, without free tiers."""
    usage = cost.Usage(
        messages=messages,
        group_size=group_size,
        polls=polls,
        pages=messages if pages is None else pages,
        receipts=messages if receipts is None else receipts,
        bytes=size,
        conversations=conversations,
        transactions=transactions,
        months_kept=months_kept,
        own_key=own_key,
        traced=traced,
        access_log=access_log,
    )
    positions = cost.bill(usage)
    total = sum(position.usd for position in positions)
    each_million = total / messages * 1e6 if messages else None
    if as_json:
        lines = [position._asdict() for position in positions]
        print(json.dumps({"positions": lines, "total_usd": total, "usd_per_million_messages": each_million, "prices_of": PRICES["as_of"]}))
        return
    table = Table("position", "amount", "$ a month", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for position in positions:
        table.add_row(position.what, f"{position.amount:,.3f}", f"{position.usd:,.2f}")
    table.add_row("[bold]total[/bold]", "", f"[bold]{total:,.2f}[/bold]")
    if each_million is not None:
        table.add_row("of it for each million messages", "", f"{each_million:,.2f}")
    out.print(table)
    err.print(f"Prices of {PRICES['as_of']}, {PRICES['region']}, without free tiers: infra/prices.json names the source of each.")
