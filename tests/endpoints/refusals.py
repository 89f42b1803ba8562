"""What a refusal looks like: its code, a message that names what is wrong, no data, and not a row changed."""

import json
from collections.abc import Callable
from typing import Any

from tests.world import World


def assert_refused(world: World, code: int, naming: object, *requests: Callable[[], dict[str, Any]]) -> None:
    before = world.snapshot()
    for request in requests:
        envelope = request()
        assert envelope == {"code": code, "data": None, "message": envelope["message"]}, request
        json.dumps(envelope, ensure_ascii=False).encode()  # half a surrogate pair in a reply would be a fault of ours
        assert str(naming) in envelope["message"], request
    assert world.snapshot() == before
