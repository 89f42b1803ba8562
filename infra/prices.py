"""What AWS asks for, position by position: `prices.json`, each with its source, all of one date."""

import json
from typing import Any

from infra.settings import ROOT

PATH = ROOT / "infra" / "prices.json"
PRICES: dict[str, Any] = json.loads(PATH.read_text())


def usd(position: str) -> float:
    """Dollars for one unit of the position; for `…_million` a million of them."""
    return float(PRICES[position]["usd"])
