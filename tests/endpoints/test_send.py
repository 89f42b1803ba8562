"""POST|PUT /message/send."""

import pytest

from tests.world import World


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_a_message_is_in_both_histories_and_unread_for_the_recipient(world: World, alice: int, bob: int, verb: str) -> None:
    assert world.post(alice, [bob], verb=verb, content="hi") == {"code": 200, "data": True, "message": None, "msg_ids": [1]}
    assert world.contents(alice, bob) == world.contents(bob, alice) == ["hi"]
    world.drain()
    assert world.unread(bob) == {alice: 1}
    assert world.unread(alice) == {bob: 0}
