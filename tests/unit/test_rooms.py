"""The rooms of `functions/`: which may import which. An import the wrong way fails here, wherever in a module it stands."""

import ast
from pathlib import Path

import pytest

from infra.settings import ROOT

FUNCTIONS = ROOT / "functions"
MAY_IMPORT = {
    "messaging.base": set[str](),
    "messaging.people": {"messaging.base"},
    "messaging.conversations": {"messaging.base", "messaging.people"},
    "messaging.edge": {"messaging.base", "messaging.people", "messaging.conversations"},
}
SHARED = set(MAY_IMPORT)
MAY_IMPORT |= {"endpoints": SHARED, "workers": SHARED, "messaging": set()}  # `messaging` itself is a docstring


def room_of(module: str) -> str | None:
    """The room that a dotted name lies in; None for what is not ours."""
    first, *rest = module.split(".")
    if first in ("endpoints", "workers"):
        return first
    return (f"messaging.{rest[0]}" if rest else "messaging") if first == "messaging" else None


def imported(source: str) -> set[str]:
    """Every module that is imported anywhere in it, those for type checkers included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def wrong(module: str, source: str) -> set[str]:
    """The rooms that this module imports and may not."""
    own = room_of(module)
    assert own in MAY_IMPORT, f"{module} is in no room"
    return {room for room in map(room_of, imported(source)) if room is not None} - MAY_IMPORT[own] - {own}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(FUNCTIONS).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", sorted(FUNCTIONS.rglob("*.py")), ids=dotted)
def test_an_arrow_points_one_way(path: Path) -> None:
    assert wrong(dotted(path), path.read_text()) == set()


@pytest.mark.parametrize(
    ("module", "source", "room"),
    [
        ("messaging.base.store", "from messaging.people import directory", "messaging.people"),
        ("messaging.base.keys", "import messaging.conversations.log", "messaging.conversations"),
        ("messaging.people.tokens", "def f():\n    from messaging.conversations.log import tip", "messaging.conversations"),
        ("messaging.conversations.log", "from messaging import edge", "messaging.edge"),
        ("messaging.edge", "if TYPE_CHECKING:\n    from endpoints.send import handler", "endpoints"),
        ("endpoints.send", "from workers import deliver", "workers"),
    ],
)
def test_an_import_the_wrong_way_is_noticed(module: str, source: str, room: str) -> None:
    assert wrong(module, source) == {room}


@pytest.mark.parametrize("room", ["base", "people", "conversations"])
def test_a_room_says_what_it_owns_and_what_it_may_import(room: str) -> None:
    said = ast.get_docstring(ast.parse((FUNCTIONS / "messaging" / room / "__init__.py").read_text())) or ""
    assert said.startswith("Owns ")
    allowed = {name.removeprefix("messaging.") for name in MAY_IMPORT[f"messaging.{room}"]}
    sentence = said[said.index("May import ") :].split(".")[0]
    assert {name for name in ("base", "people", "conversations", "edge") if f"`{name}`" in sentence} == allowed
